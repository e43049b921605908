package clientip_test

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clientip"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	set := clientip.NewNetworks(append(prefixes("10.0.0.0/9", "10.128.0.0/9", "192.0.2.7/32", "255.255.255.0/24", "::/127",
		"2001:db8::/32", "2001:db8:1::/48", "::ffff:198.51.100.0/120", "ffff::/16"), netip.Prefix{}))
	for text, want := range map[string]bool{
		"9.255.255.255": false, "10.0.0.0": true, "10.127.255.255": true, "10.128.0.0": true, "10.255.255.255": true, "11.0.0.0": false,
		"192.0.2.6": false, "192.0.2.7": true, "192.0.2.8": false, "255.255.254.255": false, "255.255.255.255": true,
		"0.0.0.0": false, "::": true, "::1": true, "::2": false, "2001:db7:ffff::": false, "2001:db8::1": true, "2001:db9::": false,
		"198.51.100.9": true, "::ffff:198.51.100.9": true, "::ffff:10.1.2.3": true, "::ffff:9.1.2.3": false,
		"2001:db8::1%eth0": true, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": true,
	} {
		if got := set.Contains(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if set.Contains(netip.Addr{}) || (clientip.Networks{}).Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Error("an address that is none, or any address in the empty set, is contained")
	}
	for _, c := range []struct {
		prefix           string
		covers, overlaps bool
	}{
		{"10.0.0.0/8", true, true}, {"10.1.0.0/16", true, true}, {"8.0.0.0/7", false, false}, {"8.0.0.0/6", false, true}, {"0.0.0.0/0", false, true},
		{"192.0.2.0/24", false, true}, {"192.0.3.0/24", false, false}, {"::/0", false, true}, {"2001:db8::/33", true, true}, {"fe80::/10", false, false},
	} {
		if p := netip.MustParsePrefix(c.prefix); set.Covers(p) != c.covers || set.Overlaps(p) != c.overlaps {
			t.Errorf("%s: covers %v, overlaps %v", p, set.Covers(p), set.Overlaps(p))
		}
	}
	if !set.Covers(netip.Prefix{}) || set.Overlaps(netip.Prefix{}) {
		t.Error("a prefix that is none holds an address")
	}
}

// anyPrefix draws from few addresses, so that networks nest, touch and repeat.
func anyPrefix(t *rapid.T) netip.Prefix {
	a := anyAddress(t)
	bits := rapid.IntRange(0, a.BitLen()).Draw(t, "bits")
	if rapid.Bool().Draw(t, "long") {
		bits = a.BitLen() - rapid.IntRange(0, 6).Draw(t, "short of")
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func anyAddress(t *rapid.T) netip.Addr {
	last := byte(rapid.IntRange(0, 255).Draw(t, "last"))
	high := rapid.SampledFrom([]byte{0, 1, 127, 128, 255}).Draw(t, "high")
	switch rapid.IntRange(0, 3).Draw(t, "family") {
	case 0:
		return netip.AddrFrom16([16]byte{0: high, 14: high, 15: last})
	case 1:
		return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: high, 15: last})
	default:
		return netip.AddrFrom4([4]byte{high, high, 0, last})
	}
}

// TestNetworksAgreeWithAScan: what a look finds is what asking every prefix finds.
func TestNetworksAgreeWithAScan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all []netip.Prefix
		for range rapid.IntRange(0, 30).Draw(t, "networks") {
			all = append(all, anyPrefix(t))
		}
		set := clientip.NewNetworks(all)
		for range 20 {
			a := anyAddress(t)
			if got, want := set.Contains(a), scan(all, a); got != want {
				t.Fatalf("%v of %v: %v, want %v", a, all, got, want)
			}
		}
		p := anyPrefix(t)
		overlaps := false
		for _, other := range all {
			overlaps = overlaps || mapped(p).Overlaps(mapped(other))
		}
		if set.Overlaps(p) != overlaps {
			t.Fatalf("%v overlaps %v: %v", p, all, !overlaps)
		}
		if mapped(p).Bits() < mapped(p).Addr().BitLen()-8 {
			return // too many addresses to ask for each
		}
		covers := true
		for a := mapped(p).Addr(); a.IsValid() && mapped(p).Contains(a); a = a.Next() {
			covers = covers && scan(all, a)
		}
		if set.Covers(p) != covers {
			t.Fatalf("%v is covered by %v: %v", p, all, !covers)
		}
	})
}

// mapped is the IPv4 prefix of an IPv4-mapped one.
func mapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func scan(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if mapped(p).Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

func BenchmarkNetworks(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := make([]netip.Prefix, n)
			for i := range all {
				all[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 25)
			}
			set, a := clientip.NewNetworks(all), netip.AddrFrom4([4]byte{10, byte(n / 2 >> 8), byte(n / 2), 1})
			b.ReportAllocs()
			for b.Loop() {
				set.Contains(a)
			}
		})
	}
}
