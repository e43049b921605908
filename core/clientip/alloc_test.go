//go:build !race

package clientip_test

import (
	"net/netip"
	"testing"

	"github.com/suuupra/gateway/core/clientip"
)

func TestAllocsForwarding0(t *testing.T) {
	proxies := trusting(t, "10.0.0.0/8")
	peer := netip.MustParseAddr("::ffff:10.0.0.1")
	xff := bytesOf([]string{"1.1.1.1, 2001:db8:2::1", "[::ffff:10.0.0.3]:8080, 10.0.0.2"})
	proto, host := bytesOf([]string{"https"}), bytesOf([]string{"shop.example:8443"})
	own := []byte("http")
	buf := make([]byte, 0, 512)
	n := testing.AllocsPerRun(200, func() {
		w := proxies.Read(peer, xff)
		w.Scheme = own
		w.TakeProto(proto)
		w.TakeHost(host)
		buf = w.AppendFor(buf[:0], xff)
		buf = w.AppendForwarded(buf, xff)
		buf = w.AppendRealIP(buf)
	})
	if n != 0 {
		t.Errorf("allocates %v times", n)
	}
}

func TestAllocsNetworks0(t *testing.T) {
	var all []netip.Prefix
	for i := range 5000 {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 25))
	}
	set := clientip.NewNetworks(all)
	inside, mapped := netip.MustParseAddr("10.3.7.1"), netip.MustParseAddr("::ffff:10.3.7.200")
	if n := testing.AllocsPerRun(200, func() {
		if !set.Contains(inside) || set.Contains(mapped) {
			t.Error("found wrong")
		}
	}); n != 0 {
		t.Errorf("allocates %v times", n)
	}
}
