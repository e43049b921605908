// Package clientip decides who the client of a request is when proxies stand
// between (SECURITY C10), and writes the forwarded fields that tell an upstream.
//
// Only peers inside the configured prefixes are believed; by default nobody is.
// From such a peer all X-Forwarded-For lines are read as one list, from right to
// left: each entry was written by the hop on its right, so it is worth as much
// as that hop. The walk ends at the first address that is not a trusted proxy
// (that is the client) and before the first entry that is no address (then the
// client is the hop that wrote it).
//
// Nothing here allocates on entries that are addresses, and nothing keeps the
// byte slices that it is given, unless the field says so.
package clientip

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// Trusted is the set of proxies whose forwarded fields are believed. It is
// immutable and may be shared; nil trusts nobody.
type Trusted struct {
	proxies Networks
}

// New makes the set. IPv4-mapped IPv6 prefixes mean the IPv4 ones; invalid
// prefixes contain nothing.
func New(prefixes []netip.Prefix) *Trusted { return &Trusted{proxies: NewNetworks(prefixes)} }

// Contains reports whether a is a proxy to be believed.
func (t *Trusted) Contains(a netip.Addr) bool { return t != nil && t.proxies.Contains(a) }

// Client finds the client of a request that came from peer with these
// X-Forwarded-For lines (in the order of the message; borrowed). hops is how
// many entries of the list, from the right, were believed: 0 means that the
// client is peer itself.
func (t *Trusted) Client(peer netip.Addr, forwardedFor [][]byte) (client netip.Addr, hops int) {
	client = plain(peer)
	list := walk{lines: forwardedFor}
	for t.Contains(client) && list.prev() {
		hop, ok := parseHop(list.entry)
		if !ok {
			break
		}
		client = hop
		hops++
	}
	return client, hops
}

// plain is a as it is compared and written: an IPv4-mapped address is the IPv4
// one, and a zone means nothing outside this machine.
func plain(a netip.Addr) netip.Addr {
	return a.Unmap().WithZone("")
}

// longestAddr is the longest text of an IPv6 address without a zone.
const longestAddr = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")

// parseHop reads one entry as proxies write it: an address, with a port or not,
// IPv6 in brackets or bare. IPv4-mapped addresses become IPv4 ones. Zones,
// names, "unknown" and obfuscated identifiers are no addresses.
func parseHop(b []byte) (netip.Addr, bool) {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !validPort(b[end+1:]) || bytes.IndexByte(b[:end], ':') < 0 {
			return netip.Addr{}, false
		}
		b = b[1:end]
	} else if colon := bytes.IndexByte(b, ':'); colon >= 0 && bytes.LastIndexByte(b, ':') == colon {
		if !validPort(b[colon:]) {
			return netip.Addr{}, false
		}
		b = b[:colon]
	}
	return parseAddr(b)
}

// validPort accepts nothing at all, or ":" and one to five digits.
func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	n := 0
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

// parseAddr reads a bare address. The look at its bytes first keeps zones (which
// netip interns) and arbitrary text (for which it makes an error) away.
func parseAddr(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || len(b) > longestAddr {
		return netip.Addr{}, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F', c == '.', c == ':':
		default:
			return netip.Addr{}, false
		}
	}
	// No copy: without a zone the string lives on only in the error, which is
	// dropped here.
	a, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	return a.Unmap(), err == nil
}

// walk goes over the entries of a list that is spread over several lines, from
// the last to the first.
type walk struct {
	lines [][]byte // what is left of the list
	rest  []byte   // what is left of the line at hand
	open  bool     // a line is at hand
	entry []byte   // the entry met, without whitespace around it
}

// prev steps to the entry on the left of the present one.
func (w *walk) prev() bool {
	if !w.open {
		if len(w.lines) == 0 {
			return false
		}
		last := len(w.lines) - 1
		w.rest, w.lines, w.open = w.lines[last], w.lines[:last], true
	}
	cut := bytes.LastIndexByte(w.rest, ',')
	w.entry = trimSpace(w.rest[cut+1:])
	if cut < 0 {
		w.open = false
	} else {
		w.rest = w.rest[:cut]
	}
	return true
}

// trimSpace takes away optional whitespace (RFC 9110 §5.6.3).
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
