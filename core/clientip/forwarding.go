package clientip

import (
	"bytes"
	"net/netip"
)

// Forwarding is what one request tells about its way here: found out by
// Trusted.Read, completed by TakeProto and TakeHost, and passed on by the Append
// methods. It belongs to one request; the byte slices in it are borrowed from
// that request.
//
//	w := trusted.Read(peer, h.PeekAll("X-Forwarded-For"))
//	w.Scheme, w.Host = own, h.Host()
//	w.TakeProto(h.PeekAll("X-Forwarded-Proto"))
//	w.TakeHost(h.PeekAll("X-Forwarded-Host"))
type Forwarding struct {
	// Peer is the other end of the connection, without a zone and with
	// IPv4-mapped addresses as IPv4.
	Peer netip.Addr
	// Client is who is believed to have sent the request.
	Client netip.Addr
	// Trusted says that Peer is a proxy whose forwarded fields are believed.
	Trusted bool
	// Hops is how many X-Forwarded-For entries, from the right, were believed.
	Hops int
	// Scheme is "http" or "https", as the outermost believed proxy saw it.
	Scheme []byte
	// Host is the authority that the client asked for, as the outermost believed
	// proxy saw it. It is not checked here: a host taken from a field must pass
	// the same grammar as the Host field before anything is done with it.
	Host []byte
}

var (
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
	comma       = []byte(",")
)

// Read finds the client behind peer. forwardedFor are the X-Forwarded-For lines
// in the order of the message, borrowed until it returns.
func (t *Trusted) Read(peer netip.Addr, forwardedFor [][]byte) Forwarding {
	client, hops := t.Client(peer, forwardedFor)
	return Forwarding{Peer: plain(peer), Client: client, Trusted: t.Contains(peer), Hops: hops}
}

// TakeProto sets Scheme from the X-Forwarded-Proto lines of a trusted peer; from
// any other, and from a value other than http and https, it is left alone.
func (w *Forwarding) TakeProto(lines [][]byte) {
	switch v := w.believed(lines); {
	case len(v) == len(schemeHTTP) && bytes.EqualFold(v, schemeHTTP):
		w.Scheme = schemeHTTP
	case len(v) == len(schemeHTTPS) && bytes.EqualFold(v, schemeHTTPS):
		w.Scheme = schemeHTTPS
	}
}

// TakeHost sets Host from the X-Forwarded-Host lines of a trusted peer and
// reports whether it did. The bytes are borrowed from the lines.
func (w *Forwarding) TakeHost(lines [][]byte) bool {
	v := w.believed(lines)
	if len(v) == 0 {
		return false
	}
	w.Host = v
	return true
}

// believed picks the entry that the outermost believed proxy wrote. Where every
// proxy appended its own, that is as far from the right as there are believed
// hops; where they passed one value on, the list is shorter and it is the
// leftmost. What stands further left came from beyond our proxies.
func (w *Forwarding) believed(lines [][]byte) []byte {
	if !w.Trusted {
		return nil
	}
	list := walk{lines: lines}
	for range max(w.Hops, 1) {
		if !list.prev() {
			break
		}
	}
	return list.entry
}

// AppendFor appends the X-Forwarded-For value to send on: the list that a
// trusted peer sent, with the peer at its end; from any other peer, the peer
// alone. forwardedFor are the lines that Read was given.
func (w *Forwarding) AppendFor(dst []byte, forwardedFor [][]byte) []byte {
	if w.Trusted {
		for _, line := range forwardedFor {
			if line = trimSpace(line); len(line) > 0 {
				dst = append(dst, line...)
				dst = append(dst, ", "...)
			}
		}
	}
	return w.Peer.AppendTo(dst)
}

// AppendRealIP appends the X-Real-IP value: the client's address.
func (w *Forwarding) AppendRealIP(dst []byte) []byte {
	return w.Client.AppendTo(dst)
}

// AppendForwarded appends the Forwarded value (RFC 7239): one element for each
// hop that is believed, the client first, with the host and the protocol that
// it asked by. It is always made afresh: a Forwarded field that came in may have
// been passed on unread by a proxy that only knows X-Forwarded-For.
func (w *Forwarding) AppendForwarded(dst []byte, forwardedFor [][]byte) []byte {
	dst = append(dst, "for="...)
	dst = appendNode(dst, w.Client)
	if len(w.Host) > 0 {
		dst = append(dst, ";host="...)
		dst = appendValue(dst, w.Host)
	}
	if len(w.Scheme) > 0 {
		dst = append(dst, ";proto="...)
		dst = appendValue(dst, w.Scheme)
	}
	if w.Hops > 0 {
		dst = w.appendBelieved(dst, forwardedFor)
		dst = append(dst, ", for="...)
		dst = appendNode(dst, w.Peer)
	}
	return dst
}

// appendBelieved appends the elements between the client's and the peer's. It
// goes back to the client's entry once, and from there on to the right.
func (w *Forwarding) appendBelieved(dst []byte, lines [][]byte) []byte {
	list := walk{lines: lines}
	for range w.Hops {
		if !list.prev() {
			return dst
		}
	}
	at, start := len(list.lines), 0
	if list.open {
		start = len(list.rest) + 1
	}
	first := true
	for ; at < len(lines); at++ {
		rest, more := lines[at][start:], true
		for start = 0; more; first = false {
			var entry []byte
			entry, rest, more = bytes.Cut(rest, comma)
			if hop, ok := parseHop(trimSpace(entry)); ok && !first {
				dst = append(dst, ", for="...)
				dst = appendNode(dst, hop)
			}
		}
	}
	return dst
}

// appendNode appends a node (RFC 7239 §6): IPv6 addresses stand in brackets, and
// quoted because brackets and colons are no token characters.
func appendNode(dst []byte, a netip.Addr) []byte {
	if a.Is4() {
		return a.AppendTo(dst)
	}
	dst = append(dst, `"[`...)
	dst = a.AppendTo(dst)
	return append(dst, `]"`...)
}

// appendValue appends a token as it is and anything else as a quoted-string
// (RFC 9110 §5.6.4).
func appendValue(dst, value []byte) []byte {
	if isToken(value) {
		return append(dst, value...)
	}
	dst = append(dst, '"')
	for _, c := range value {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// isToken reports whether b is a token (RFC 9110 §5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}
