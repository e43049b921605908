package proxy

import (
	"bytes"

	"github.com/suuupra/gateway/core/clientip"
)

// headRoom is what is kept free before a buffered body in bytes, so that head and
// body stand in one piece and leave in one write. A larger head is copied.
const headRoom = 4 << 10

// compose makes the head that e gets. The request is edited by hooks and stays
// as it is here: fields of one hop are added to the bytes, not to the request,
// for a further try may go to an endpoint with another name.
//
// Request.Write is not used: it builds target and Host anew from a URI that it
// has normalised, and turns userinfo into an Authorization (SECURITY C6, C7).
func (t *trip) compose(hostHeader string) {
	x := t.x
	h := &x.Request.Header
	t.lines = h.AppendBytes(t.lines[:0])
	dst := append(t.head[:0], h.Method()...)
	dst = append(dst, ' ')
	dst = append(dst, t.target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	switch {
	case x.Route.PreserveHost && len(h.Host()) > 0:
		dst = append(dst, h.Host()...)
	case x.Route.HostName != "":
		dst = append(dst, x.Route.HostName...)
	default:
		dst = append(dst, hostHeader...)
	}
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, t.lines)
	dst = t.appendForwarded(dst)
	dst = t.appendCaller(dst)
	dst = appendLine(dst, "X-Correlation-ID: ", x.CorrelationID())
	dst = append(dst, "Via: 1."...)
	dst = append(dst, '0'+x.Head.Minor)
	dst = append(dst, viaPseudonym...)
	if t.announce {
		dst = append(dst, "Trailer: "...)
		for i, name := range x.Route.Trailers {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(dst, name...)
		}
		dst = append(dst, "\r\n"...)
	}
	switch {
	case x.Upgrade != nil:
		dst = append(dst, upgradeLines...)
		respell(dst)
	case !t.keepAlive:
		dst = append(dst, "Connection: close\r\n"...)
	}
	t.head = append(dst, "\r\n"...)
}

// viaPseudonym stands for this gateway in Via, whose names could tell an
// outsider what stands behind it (RFC 9110 §7.6.3).
const viaPseudonym = " suuupra\r\n"

// appendFields appends the field lines of a head that fasthttp wrote, without
// its request line, its Host and the empty line at its end.
func appendFields(dst, head []byte) []byte {
	lines := head[bytes.IndexByte(head, '\n')+1 : len(head)-2]
	at := 0
	if !bytes.HasPrefix(lines, hostLine) {
		at = bytes.Index(lines, hostLineInside) + 1
		if at == 0 {
			return append(dst, lines...)
		}
	}
	end := at + bytes.IndexByte(lines[at:], '\n') + 1
	dst = append(dst, lines[:at]...)
	return append(dst, lines[end:]...)
}

var (
	hostLine       = []byte("Host: ")
	hostLineInside = []byte("\nHost: ")
)

func appendLine(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// appendForwarded appends the fields that tell who calls. Behind a trusted proxy
// Sanitize has set them already; from anybody else none is left.
func (t *trip) appendForwarded(dst []byte) []byte {
	x := t.x
	h := &x.Request.Header
	if len(h.PeekCanonical(forwardedForName)) > 0 {
		return dst
	}
	w := clientip.Forwarding{Peer: x.Client, Client: x.Client, Host: h.Host()}
	dst = append(dst, "X-Forwarded-For: "...)
	from := len(dst)
	dst = w.AppendRealIP(dst)
	address := dst[from:]
	dst = append(dst, "\r\nX-Real-IP: "...)
	dst = append(dst, address...)
	dst = append(dst, "\r\nX-Forwarded-Proto: "...)
	dst = append(dst, x.Scheme...)
	if len(w.Host) > 0 {
		dst = append(dst, "\r\nX-Forwarded-Host: "...)
		dst = append(dst, w.Host...)
	}
	dst = append(dst, "\r\nForwarded: "...)
	w.Scheme = []byte(x.Scheme)
	dst = w.AppendForwarded(dst, nil)
	return append(dst, "\r\n"...)
}
