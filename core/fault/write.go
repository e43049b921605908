package fault

import (
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

// ContentType is the media type of every fault (RFC 9457 §3).
const ContentType = "application/problem+json"

// The field names that AppendResponse writes.
const (
	retryAfterName    = "Retry-After"
	correlationName   = "X-Correlation-ID"
	authenticateName  = "WWW-Authenticate"
	contentTypeName   = "Content-Type"
	contentLengthName = "Content-Length"
)

// What Write hands to fasthttp, names as it spells them after normalising: a
// field that an upstream's answer left under that spelling is replaced, never
// doubled.
var (
	retryAfterKey   = []byte("Retry-After")
	authenticateKey = []byte("Www-Authenticate")
	problemJSON     = []byte(ContentType)
)

// Write makes resp the answer for f: the status, the body, Content-Type,
// Retry-After where there is something to wait for (429 and 503 always), the
// challenge of a 401.
//
// X-Correlation-ID is not set here: every answer carries it, so that it has one
// place for all of them. correlationID, borrowed until Write returns, is the
// member of the body; when it is empty the member is left out.
//
// Other fields that are in resp already stay there (Allow, CORS): a caller that
// holds an answer of an upstream in resp resets it first. A body or body stream
// of before is dropped and closed. Nothing is allocated once resp has a body
// buffer. Writing the zero Fault is a mistake of the caller and answers as
// Internal.
func Write(resp *fasthttp.Response, f Fault, correlationID []byte) {
	f = f.orInternal()
	l := &table[f.code]
	resp.ResetBody()
	resp.SetStatusCode(f.Status())
	h := &resp.Header
	h.SetContentTypeBytes(problemJSON)
	if d := f.RetryAfter(); d > 0 {
		var digits [20]byte
		h.SetCanonical(retryAfterKey, strconv.AppendInt(digits[:0], int64(d/time.Second), 10))
	}
	if len(l.challenge) > 0 {
		h.SetCanonical(authenticateKey, l.challenge)
	}
	body := resp.SwapBody(nil)
	resp.SwapBody(AppendBody(body[:0], f, correlationID))
}

// AppendBody appends the problem details of f to dst: the body that Write sends.
// correlationID is borrowed; when it is empty the member is left out.
func AppendBody(dst []byte, f Fault, correlationID []byte) []byte {
	f = f.orInternal()
	l := &table[f.code]
	dst = append(dst, `{"type":"`...)
	dst = append(dst, typePrefix...)
	dst = append(dst, l.code...)
	dst = append(dst, `","title":"`...)
	dst = append(dst, l.title...)
	dst = append(dst, `","status":`...)
	dst = strconv.AppendInt(dst, int64(f.Status()), 10)
	dst = append(dst, `,"code":"`...)
	dst = append(dst, l.code...)
	dst = append(dst, `","error":"`...)
	dst = append(dst, l.title...)
	dst = append(dst, '"')
	if f.detail != "" {
		dst = append(dst, `,"detail":`...)
		dst = appendString(dst, f.detail)
	}
	if d := f.RetryAfter(); d > 0 {
		dst = append(dst, `,"retryAfter":`...)
		dst = strconv.AppendInt(dst, int64(d/time.Second), 10)
	}
	dst = append(dst, f.more...)
	if len(correlationID) > 0 {
		dst = append(dst, `,"correlationId":`...)
		dst = appendString(dst, correlationID)
	}
	return append(dst, '}')
}

// AppendResponse appends a whole HTTP/1.1 answer that ends the connection, for
// the places that have a socket and no request: a connection refused at accept.
func AppendResponse(dst []byte, f Fault, correlationID []byte) []byte {
	f = f.orInternal()
	l := &table[f.code]
	var room [1024]byte
	body := AppendBody(room[:0], f, correlationID)
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(f.Status()), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(f.Status())...)
	dst = append(dst, "\r\n"...)
	dst = appendField(dst, contentTypeName, ContentType)
	dst = append(dst, contentLengthName+": "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\r\n"...)
	if d := f.RetryAfter(); d > 0 {
		dst = append(dst, retryAfterName+": "...)
		dst = strconv.AppendInt(dst, int64(d/time.Second), 10)
		dst = append(dst, "\r\n"...)
	}
	if len(l.challenge) > 0 {
		dst = appendField(dst, authenticateName, l.challenge)
	}
	if len(correlationID) > 0 {
		dst = appendField(dst, correlationName, correlationID)
	}
	dst = append(dst, "Connection: close\r\n\r\n"...)
	return append(dst, body...)
}

// appendField appends one field line.
func appendField[V string | []byte](dst []byte, name string, value V) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// orInternal is what is written for f.
func (f Fault) orInternal() Fault {
	if f.IsZero() {
		return Internal
	}
	return f
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 §7), by hand because the
// standard encoder allocates. Like it, <, > and & are escaped so that a browser
// that sniffs sees no markup, U+2028 and U+2029 because they end lines in
// scripts, and each byte that is not UTF-8 becomes U+FFFD.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			dst = appendASCII(dst, c)
			i++
			continue
		}
		// No copy: the conversion of at most four bytes does not escape.
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028':
			dst = append(dst, `\u2028`...)
		case r == '\u2029':
			dst = append(dst, `\u2029`...)
		default:
			dst = append(dst, s[i:i+size]...)
		}
		i += size
	}
	return append(dst, '"')
}

// appendASCII appends one byte below 0x80 as it stands in a JSON string.
func appendASCII(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	}
	if c < ' ' || c == '<' || c == '>' || c == '&' {
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
	}
	return append(dst, c)
}
