package clientip

import (
	"net/netip"
	"slices"
)

// Networks is a set of IP networks: one look halves what is left of it, so that
// thousands cost little more than ten. It is immutable; the zero one is empty.
type Networks struct {
	spans []span
}

// span is the addresses from first to last. The spans of a set are sorted, and
// between two of them stands an address of neither.
type span struct{ first, last netip.Addr }

// NewNetworks makes the set. IPv4-mapped IPv6 prefixes mean the IPv4 ones; invalid
// prefixes contain nothing.
func NewNetworks(prefixes []netip.Prefix) Networks {
	all := make([]span, 0, len(prefixes))
	for _, p := range prefixes {
		if s, ok := spanOf(p); ok {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	merged := all[:0]
	for _, s := range all {
		if n := len(merged); n > 0 && merged[n-1].reaches(s) {
			merged[n-1].last = later(merged[n-1].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	return Networks{spans: slices.Clip(merged)}
}

// spanOf returns the addresses of a prefix; ok is false if it has none.
func spanOf(p netip.Prefix) (s span, ok bool) {
	if !p.IsValid() {
		return span{}, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	s.first = p.Masked().Addr()
	bytes := s.first.AsSlice()
	for bit := p.Bits(); bit < 8*len(bytes); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	s.last, ok = netip.AddrFromSlice(bytes)
	return s, ok
}

// reaches says whether next, which begins no earlier, overlaps s or follows it at
// once. The last address of a family has none after it.
func (s span) reaches(next span) bool {
	if s.last.BitLen() != next.first.BitLen() {
		return false
	}
	after := s.last.Next()
	return !after.IsValid() || next.first.Compare(after) <= 0
}

func later(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

// Contains says whether the set holds a. An IPv4-mapped address is the IPv4 one,
// and a zone means nothing. The invalid address is in no set.
func (n Networks) Contains(a netip.Addr) bool {
	if len(n.spans) == 0 {
		return false
	}
	a = plain(a)
	i := n.upTo(a)
	return i > 0 && !n.spans[i-1].last.Less(a)
}

// Covers says whether the set holds every address of p.
func (n Networks) Covers(p netip.Prefix) bool {
	s, ok := spanOf(p)
	if !ok {
		return true
	}
	i := n.upTo(s.first)
	return i > 0 && !n.spans[i-1].last.Less(s.last)
}

// Overlaps says whether the set holds any address of p.
func (n Networks) Overlaps(p netip.Prefix) bool {
	s, ok := spanOf(p)
	if !ok {
		return false
	}
	i := n.upTo(s.last)
	return i > 0 && !n.spans[i-1].last.Less(s.first)
}

// upTo returns how many spans begin at a or before it. IPv4 stands before IPv6.
func (n Networks) upTo(a netip.Addr) int {
	low, high := 0, len(n.spans)
	for low < high {
		middle := int(uint(low+high) / 2)
		if a.Less(n.spans[middle].first) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
