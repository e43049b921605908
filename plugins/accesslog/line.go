package accesslog

import (
	"bytes"
	"strconv"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/principal"
)

const (
	// longestText is the most that appendText appends.
	longestText = maxText + len(`""`)
	// texts is how many strings a line has beside those of headers.
	texts = 16
	// longestLine bounds a line without its headers: its strings, and generous
	// room for its keys and numbers.
	longestLine = texts*longestText + 1024
)

// appendLine appends the line of x, which has ended, with its line break.
func (l *logger) appendLine(dst []byte, x *pipeline.Exchange, cause string) []byte {
	h := &x.Request.Header
	dst = appendTime(append(dst, `{"time":"`...), x.Timing.End+l.sink.offset.Load())
	dst = appendText(append(dst, `","correlation_id":`...), x.CorrelationID())
	dst = appendClient(append(dst, `,"client":"`...), x)
	dst = appendCaller(append(dst, '"'), x.Principal)
	dst = appendText(append(dst, `,"listener":`...), x.Peer.Listener)
	dst = appendText(append(dst, `,"method":`...), h.Method())
	dst = appendText(append(dst, `,"host":`...), or(x.Host, h.Host()))
	dst = appendText(append(dst, `,"path":`...), path(x))
	if l.query {
		dst = appendNames(append(dst, `,"query":`...), x.Query)
	}
	dst = appendText(append(dst, `,"route":`...), x.Route.Name)
	dst = appendUpstream(dst, x)
	dst = strconv.AppendInt(append(dst, `,"status":`...), int64(x.Status), 10)
	if x.FromService {
		dst = append(dst, `,"answered_by":"service"`...)
	} else {
		dst = append(dst, `,"answered_by":"gateway"`...)
	}
	if !x.Fault.IsZero() {
		dst = appendText(append(dst, `,"fault":`...), x.Fault.Code())
	}
	if cause != "" {
		dst = appendText(append(dst, `,"cause":`...), cause)
	}
	dst = strconv.AppendInt(append(dst, `,"bytes_in":`...), x.BytesIn, 10)
	dst = strconv.AppendInt(append(dst, `,"bytes_out":`...), x.BytesOut, 10)
	dst = appendSeconds(append(dst, `,"duration":`...), x.Timing.End-x.Timing.Start)
	dst = l.appendHeaders(dst, x)
	return append(dst, "}\n"...)
}

// or returns a, or b if a is empty.
func or(a, b []byte) []byte {
	if len(a) > 0 {
		return a
	}
	return b
}

// path returns the canonical path; of a request that was refused before it had
// one, what stands before the query.
func path(x *pipeline.Exchange) []byte {
	if len(x.Path) > 0 {
		return x.Path
	}
	raw, _, _ := bytes.Cut(x.Request.Header.RequestURI(), []byte("?"))
	return raw
}

// appendClient appends who called: the address by SECURITY C10, or the socket's
// as long as that was not decided. A zone is a text of the caller's choice, so it is left out.
func appendClient(dst []byte, x *pipeline.Exchange) []byte {
	client := x.Client
	if !client.IsValid() {
		client = x.Peer.Address.Addr().Unmap()
	}
	if !client.IsValid() {
		return dst
	}
	return client.WithZone("").AppendTo(dst)
}

// appendCaller appends who called, if that is known: ids, and never a credential.
func appendCaller(dst []byte, p *principal.Principal) []byte {
	if p == nil {
		return dst
	}
	for _, id := range [...]struct{ key, value string }{
		{`,"user_id":`, p.User}, {`,"client_id":`, p.Client}, {`,"key_id":`, p.Key}, {`,"session_id":`, p.Session},
	} {
		if id.value != "" {
			dst = appendText(append(dst, id.key...), id.value)
		}
	}
	return dst
}

// appendUpstream appends what concerns the service, if one was called.
func appendUpstream(dst []byte, x *pipeline.Exchange) []byte {
	if x.Service == nil {
		return dst
	}
	dst = appendText(append(dst, `,"service":`...), x.Service.Name)
	if x.Endpoint != nil {
		dst = appendText(append(dst, `,"endpoint":`...), x.Endpoint.Address)
	}
	dst = strconv.AppendInt(append(dst, `,"tries":`...), int64(x.Tries), 10)
	t := &x.Timing
	if t.Upstream == 0 {
		return dst
	}
	dst = appendSeconds(append(dst, `,"timings":{"before":`...), t.Upstream-t.Start)
	if t.Head != 0 {
		dst = appendSeconds(append(dst, `,"head":`...), t.Head-t.Upstream)
		dst = appendSeconds(append(dst, `,"body":`...), t.End-t.Head)
	}
	return append(dst, '}')
}

// appendNames appends the names of a raw query's parameters as a JSON list that,
// like a string, has at most maxText bytes between its brackets.
func appendNames(dst, query []byte) []byte {
	dst = append(dst, '[')
	start := len(dst)
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		name, _, _ := bytes.Cut(pair, []byte("="))
		if len(name) == 0 {
			continue
		}
		before := len(dst)
		if before > start {
			dst = append(dst, ',')
		}
		dst = appendText(dst, name)
		if len(dst)-start > maxText-len(`,"`+ellipsis+`"`) {
			dst = dst[:before]
			if before > start {
				dst = append(dst, ',')
			}
			dst = append(dst, `"`+ellipsis+`"`...)
			break
		}
	}
	return append(dst, ']')
}

// appendHeaders appends the request fields that are present, first lines only.
func (l *logger) appendHeaders(dst []byte, x *pipeline.Exchange) []byte {
	before := len(dst)
	opened := false
	for i := range l.headers {
		h := &l.headers[i]
		value := x.Request.Header.Peek(h.name)
		if len(value) == 0 {
			continue
		}
		if opened {
			dst = append(dst, ',')
		} else {
			dst = append(dst, `,"headers":{`...)
			opened = true
		}
		dst = append(dst, h.key...)
		if h.redacted {
			dst = append(dst, `"[redacted]"`...)
		} else {
			dst = appendText(dst, value)
		}
	}
	if len(dst) == before {
		return dst
	}
	return append(dst, '}')
}

// appendSeconds appends nanoseconds as seconds with six decimals.
func appendSeconds(dst []byte, ns int64) []byte {
	us := max(ns, 0) / int64(time.Microsecond)
	dst = strconv.AppendInt(dst, us/1e6, 10)
	return appendDigits(append(dst, '.'), int(us%1e6), 6)
}

// appendTime appends a wall time in nanoseconds since 1970 as RFC 3339 in UTC,
// always with six decimals, so that lines can be sorted as text.
func appendTime(dst []byte, ns int64) []byte {
	t := time.Unix(0, ns).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(dst, year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, 'Z')
}

// appendDigits appends n with exactly the given number of digits, at most 9.
func appendDigits(dst []byte, n, digits int) []byte {
	var text [9]byte
	for i := digits - 1; i >= 0; i-- {
		text[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, text[:digits]...)
}
