package clientip_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/clientip"
)

func trusting(t testing.TB, prefixes ...string) *clientip.Trusted {
	t.Helper()
	var all []netip.Prefix
	for _, p := range prefixes {
		all = append(all, netip.MustParsePrefix(p))
	}
	return clientip.New(all)
}

func bytesOf(lines []string) [][]byte {
	var all [][]byte
	for _, l := range lines {
		all = append(all, []byte(l))
	}
	return all
}

func TestC10_Client(t *testing.T) {
	t.Parallel()
	proxies := trusting(t, "10.0.0.0/8", "2001:db8:1::/48", "::ffff:192.0.2.0/120")
	tests := []struct {
		name   string
		peer   string
		lines  []string
		client string
		hops   int
	}{
		{"untrusted peer is not believed", "203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9", 0},
		{"no field", "10.0.0.1", nil, "10.0.0.1", 0},
		{"one hop", "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1", 1},
		{"spoofed entries on the left", "10.0.0.1", []string{"1.1.1.1, 10.0.0.7, 198.51.100.1"}, "198.51.100.1", 1},
		{"two proxies", "10.0.0.1", []string{"1.1.1.1, 198.51.100.1, 10.0.0.2"}, "198.51.100.1", 2},
		{"several lines are one list", "10.0.0.1", []string{"1.1.1.1, 198.51.100.1", "10.0.0.2,10.0.0.3"}, "198.51.100.1", 3},
		{"the last line is the nearest", "10.0.0.1", []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1", 1},
		{"all trusted: the leftmost", "10.0.0.1", []string{"10.0.0.3 ,\t10.0.0.2 "}, "10.0.0.3", 2},
		{"unparsable stops before it", "10.0.0.1", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2", 1},
		{"unparsable at once", "10.0.0.1", []string{"198.51.100.1, _hidden"}, "10.0.0.1", 0},
		{"an empty entry stops", "10.0.0.1", []string{"198.51.100.1,"}, "10.0.0.1", 0},
		{"an empty line stops", "10.0.0.1", []string{"198.51.100.1", ""}, "10.0.0.1", 0},
		{"port", "10.0.0.1", []string{"198.51.100.1:65535"}, "198.51.100.1", 1},
		{"port out of range", "10.0.0.1", []string{"198.51.100.1:65536"}, "10.0.0.1", 0},
		{"port too long", "10.0.0.1", []string{"198.51.100.1:000080"}, "10.0.0.1", 0},
		{"empty port", "10.0.0.1", []string{"198.51.100.1:"}, "10.0.0.1", 0},
		{"no digits in the port", "10.0.0.1", []string{"198.51.100.1:8x"}, "10.0.0.1", 0},
		{"bare IPv6", "10.0.0.1", []string{"2001:DB8:2::1"}, "2001:db8:2::1", 1},
		{"IPv6 in brackets", "10.0.0.1", []string{"[2001:db8:2::1]"}, "2001:db8:2::1", 1},
		{"IPv6 with a port", "10.0.0.1", []string{"[2001:db8:2::1]:443"}, "2001:db8:2::1", 1},
		{"open bracket", "10.0.0.1", []string{"[2001:db8:2::1"}, "10.0.0.1", 0},
		{"bytes after the bracket", "10.0.0.1", []string{"[2001:db8:2::1]443"}, "10.0.0.1", 0},
		{"IPv4 in brackets", "10.0.0.1", []string{"[198.51.100.1]"}, "10.0.0.1", 0},
		{"empty brackets", "10.0.0.1", []string{"[]"}, "10.0.0.1", 0},
		{"zone", "10.0.0.1", []string{"fe80::1%eth0"}, "10.0.0.1", 0},
		{"quoted", "10.0.0.1", []string{`"198.51.100.1"`}, "10.0.0.1", 0},
		{"leading zeros", "10.0.0.1", []string{"198.051.100.1"}, "10.0.0.1", 0},
		{"no address of hex letters", "10.0.0.1", []string{"dead.beef"}, "10.0.0.1", 0},
		{"over-long", "10.0.0.1", []string{strings.Repeat("1", 100)}, "10.0.0.1", 0},
		{"IPv4-mapped entry", "10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1", 1},
		{"IPv4-mapped hop is the trusted proxy", "10.0.0.1", []string{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1", 2},
		{"IPv4-mapped peer", "::ffff:10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1", 1},
		{"IPv4-mapped prefix", "192.0.2.77", []string{"198.51.100.1"}, "198.51.100.1", 1},
		{"IPv6 peer", "2001:db8:1::5", []string{"2001:db8:2::1, 2001:db8:1::6"}, "2001:db8:2::1", 2},
		{"peer with a zone", "2001:db8:1::5%eth0", []string{"2001:db8:2::1"}, "2001:db8:2::1", 1},
		{"untrusted peer with a zone", "fe80::1%eth0", []string{"2001:db8:2::1"}, "fe80::1", 0},
	}
	for _, tt := range tests {
		client, hops := proxies.Client(netip.MustParseAddr(tt.peer), bytesOf(tt.lines))
		if client.String() != tt.client || hops != tt.hops {
			t.Errorf("%s: got %v after %d hops, want %s after %d", tt.name, client, hops, tt.client, tt.hops)
		}
	}
}

func TestC10_NobodyIsTrustedByDefault(t *testing.T) {
	t.Parallel()
	var none *clientip.Trusted
	peer := netip.MustParseAddr("127.0.0.1")
	for name, set := range map[string]*clientip.Trusted{"nil": none, "empty": clientip.New(nil), "invalid": clientip.New([]netip.Prefix{{}})} {
		if set.Contains(peer) {
			t.Errorf("%s: trusts %v", name, peer)
		}
		if client, hops := set.Client(peer, bytesOf([]string{"1.1.1.1"})); client != peer || hops != 0 {
			t.Errorf("%s: believed %v", name, client)
		}
	}
	if !trusting(t, "10.9.8.7/8").Contains(netip.MustParseAddr("10.0.0.1")) {
		t.Error("host bits of a prefix must not matter")
	}
}

func TestC10_Forwarding(t *testing.T) {
	t.Parallel()
	proxies := trusting(t, "10.0.0.0/8", "2001:db8:1::/48")
	tests := []struct {
		name             string
		peer             string
		xff, proto, host []string
		want             string // X-Forwarded-For | X-Real-IP | scheme host | Forwarded
	}{
		{"nobody in between", "203.0.113.9", nil, nil, nil,
			"203.0.113.9 | 203.0.113.9 | http api.example | for=203.0.113.9;host=api.example;proto=http"},
		{"untrusted peer", "203.0.113.9", []string{"1.1.1.1"}, []string{"https"}, []string{"evil"},
			"203.0.113.9 | 203.0.113.9 | http api.example | for=203.0.113.9;host=api.example;proto=http"},
		{"trusted, silent", "10.0.0.1", nil, nil, nil,
			"10.0.0.1 | 10.0.0.1 | http api.example | for=10.0.0.1;host=api.example;proto=http"},
		{"one proxy", "10.0.0.1", []string{"198.51.100.1"}, []string{"https"}, []string{"shop.example:8443"},
			`198.51.100.1, 10.0.0.1 | 198.51.100.1 | https shop.example:8443 | for=198.51.100.1;host="shop.example:8443";proto=https, for=10.0.0.1`},
		{"two proxies, lists aligned", "10.0.0.1", []string{"1.1.1.1, 198.51.100.1 ", "", " 10.0.0.2"}, nil, nil,
			"1.1.1.1, 198.51.100.1, 10.0.0.2, 10.0.0.1 | 10.0.0.2 | http api.example | for=10.0.0.2;host=api.example;proto=http, for=10.0.0.1"},
		{"three proxies", "10.0.0.1", []string{"1.1.1.1, 198.51.100.1", "10.0.0.3, [::ffff:10.0.0.2]:80"}, []string{"http, https", "http,http"}, []string{"evil,one", "two, three"},
			"1.1.1.1, 198.51.100.1, 10.0.0.3, [::ffff:10.0.0.2]:80, 10.0.0.1 | 198.51.100.1 | https one | for=198.51.100.1;host=one;proto=https, for=10.0.0.3, for=10.0.0.2, for=10.0.0.1"},
		{"one value passed on by all", "10.0.0.1", []string{"198.51.100.1, 10.0.0.2"}, []string{"HTTPS"}, []string{"one"},
			"198.51.100.1, 10.0.0.2, 10.0.0.1 | 198.51.100.1 | https one | for=198.51.100.1;host=one;proto=https, for=10.0.0.2, for=10.0.0.1"},
		{"IPv6", "2001:db8:1::5", []string{"2001:db8:2::1, 2001:db8:1::6"}, []string{"https"}, nil,
			`2001:db8:2::1, 2001:db8:1::6, 2001:db8:1::5 | 2001:db8:2::1 | https api.example | for="[2001:db8:2::1]";host=api.example;proto=https, for="[2001:db8:1::6]", for="[2001:db8:1::5]"`},
		{"peer with a zone", "fe80::1%eth0", nil, nil, nil,
			`fe80::1 | fe80::1 | http api.example | for="[fe80::1]";host=api.example;proto=http`},
		{"another scheme is not taken", "10.0.0.1", []string{"198.51.100.1"}, []string{"gopher"}, nil,
			"198.51.100.1, 10.0.0.1 | 198.51.100.1 | http api.example | for=198.51.100.1;host=api.example;proto=http, for=10.0.0.1"},
		{"letters that only fold to https are not taken", "10.0.0.1", []string{"198.51.100.1"}, []string{"http\u017f"}, []string{" "},
			"198.51.100.1, 10.0.0.1 | 198.51.100.1 | http api.example | for=198.51.100.1;host=api.example;proto=http, for=10.0.0.1"},
		{"back to plain http", "10.0.0.1", []string{"198.51.100.1"}, []string{"http"}, []string{`a"\b`},
			`198.51.100.1, 10.0.0.1 | 198.51.100.1 | http a"\b | for=198.51.100.1;host="a\"\\b";proto=http, for=10.0.0.1`},
	}
	for _, tt := range tests {
		xff := bytesOf(tt.xff)
		w := proxies.Read(netip.MustParseAddr(tt.peer), xff)
		w.Scheme, w.Host = []byte("http"), []byte("api.example")
		w.TakeProto(bytesOf(tt.proto))
		if took := w.TakeHost(bytesOf(tt.host)); took != (string(w.Host) != "api.example") {
			t.Errorf("%s: TakeHost says %v with %q", tt.name, took, w.Host)
		}
		got := string(w.AppendFor(nil, xff)) + " | " + string(w.AppendRealIP(nil)) + " | " + string(w.Scheme) + " " + string(w.Host) +
			" | " + string(w.AppendForwarded(nil, xff))
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// TestAppendForwardedBare: what is not known is left out, and lines that are not
// those that were read can do no harm.
func TestAppendForwardedBare(t *testing.T) {
	t.Parallel()
	w := clientip.Forwarding{Peer: netip.MustParseAddr("10.0.0.1"), Client: netip.MustParseAddr("198.51.100.1"), Hops: 4}
	if got := string(w.AppendForwarded([]byte("x "), bytesOf([]string{"198.51.100.1"}))); got != "x for=198.51.100.1, for=10.0.0.1" {
		t.Errorf("got %q", got)
	}
}
