package clientip_test

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clientip"
)

// slowClient is the same rule written down plainly, over the standard parsers.
func slowClient(trusted func(netip.Addr) bool, peer netip.Addr, lines []string) (netip.Addr, int) {
	var entries []string
	for _, line := range lines {
		entries = append(entries, strings.Split(line, ",")...)
	}
	client, hops := peer, 0
	for i := len(entries) - 1; i >= 0 && trusted(client); i-- {
		hop, ok := slowHop(strings.Trim(entries[i], " \t"))
		if !ok {
			break
		}
		client, hops = hop, hops+1
	}
	return client, hops
}

func slowHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap(), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		a, err := netip.ParseAddr(s[1 : len(s)-1])
		return a.Unmap(), err == nil && a.Zone() == "" && a.Is6()
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || len(port) == 0 || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return netip.Addr{}, false
	}
	if n, err := strconv.Atoi(port); err != nil || n > 65535 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	return a.Unmap(), err == nil && a.Zone() == "" && a.Is6() == strings.HasPrefix(s, "[")
}

func checkForwarded(t interface {
	Helper()
	Fatalf(string, ...any)
}, peer netip.Addr, lines []string) {
	t.Helper()
	proxies := clientip.New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")})
	raw := bytesOf(lines)
	client, hops := proxies.Client(peer, raw)
	if want, n := slowClient(proxies.Contains, peer, lines); client != want || hops != n {
		t.Fatalf("%v %q: got %v after %d, want %v after %d", peer, lines, client, hops, want, n)
	}
	w := proxies.Read(peer, raw)
	w.TakeProto(raw)
	w.TakeHost(raw)
	forwarded := w.AppendForwarded(nil, raw)
	if w.Host == nil {
		// One element for each believed hop and one for the peer, none of a hop
		// that was not believed.
		if n := bytes.Count(forwarded, []byte("for=")); n != hops+1 {
			t.Fatalf("%v %q: %d elements for %d hops: %s", peer, lines, n, hops, forwarded)
		}
	}
	list := w.AppendFor(nil, raw)
	again, n := proxies.Client(netip.MustParseAddr("10.0.0.99"), [][]byte{list})
	clean := true
	for _, l := range lines {
		clean = clean && strings.Trim(l, " \t") != ""
	}
	if clean && (again != client || n != hops+1) {
		t.Fatalf("%v %q: the next hop reads %q as %v after %d, we as %v after %d", peer, lines, list, again, n, client, hops)
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("10.0.0.1", "198.51.100.1, 10.0.0.2", "10.0.0.3")
	f.Add("10.0.0.1", "[2001:db8::1]:443,::ffff:10.1.2.3", "unknown")
	f.Add("2001:db8:1::1", "1.2.3.4:80,,", "\t")
	f.Add("203.0.113.1", "\"[::1]\"", "fe80::1%lo")
	f.Fuzz(func(t *testing.T, peer, first, second string) {
		a, err := netip.ParseAddr(peer)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			a = netip.MustParseAddr("10.0.0.1")
		}
		checkForwarded(t, a, []string{first, second})
		checkForwarded(t, a, []string{first})
	})
}

func TestC10_AnyChain(t *testing.T) {
	t.Parallel()
	hop := rapid.SampledFrom([]string{"10.0.0.2", "10.1.1.1:80", "[2001:db8:1::9]", "2001:db8:1::9", "[2001:db8:1::9]:1", "::ffff:10.0.0.4",
		"198.51.100.1", "2001:db8:2::1", "unknown", "", "10.0.0.256", "10.0.0.1:", "[10.0.0.1]"})
	peer := rapid.SampledFrom([]string{"10.0.0.1", "2001:db8:1::5", "203.0.113.9"})
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for range rapid.IntRange(0, 4).Draw(t, "lines") {
			lines = append(lines, strings.Join(rapid.SliceOfN(hop, 1, 4).Draw(t, "hops"), rapid.SampledFrom([]string{",", ", ", " ,\t"}).Draw(t, "comma")))
		}
		checkForwarded(t, netip.MustParseAddr(peer.Draw(t, "peer")), lines)
	})
}
