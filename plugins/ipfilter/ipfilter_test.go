package ipfilter

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\nX-Correlation-ID: c-1\r\n\r\n"

const refused = `403
Content-Type: application/problem+json

{"type":"https://suuupra.dev/faults/forbidden","title":"Forbidden","status":403,"code":"forbidden","error":"Forbidden",` +
	`"detail":"clients of this address are not allowed","correlationId":"c-1"}`

func TestClients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options string
		in, out       []string
	}{
		{"deny alone", `{deny: [203.0.113.0/24, 2001:db8::/32]}`, []string{"203.0.112.255", "203.0.114.0", "2001:db9::1"}, []string{"203.0.113.0", "203.0.113.255", "2001:db8::1"}},
		{"allow alone", `{allow: "10.0.0.0/8, fd00::/8"}`, []string{"10.1.2.3", "fd00::1"}, []string{"11.0.0.1", "fe80::1", "::1"}},
		{"deny wins", `{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}`, []string{"10.0.0.1", "10.2.0.1"}, []string{"10.1.0.0", "10.1.255.255", "192.0.2.1"}},
		{"C10 IPv4-mapped addresses are the IPv4 ones", `{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}`, []string{"::ffff:10.0.0.1"}, []string{"::ffff:10.1.0.1", "::ffff:192.0.2.1"}},
		{"the other family is not meant", `{deny: [0.0.0.0/0]}`, []string{"::1", "2001:db8::1"}, []string{"0.0.0.0", "::ffff:1.2.3.4", "255.255.255.255"}},
		{"a zone means nothing", `{deny: [fe80::/10]}`, nil, []string{"fe80::1%eth0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			built := plugintest.Build(t, Plugin, c.options)
			for _, client := range c.in {
				x := plugintest.Exchange(t, get)
				x.Client = netip.MustParseAddr(client)
				if built.Run(pipeline.Guard, x) != pipeline.Continue || !x.Fault.IsZero() {
					t.Errorf("%s may not come in", client)
				}
			}
			for _, client := range c.out {
				x := plugintest.Exchange(t, get)
				x.Client = netip.MustParseAddr(client)
				if built.Run(pipeline.Guard, x) != pipeline.Respond {
					t.Errorf("%s may come in", client)
				}
				if diff := cmp.Diff(refused, plugintest.Text(x)); diff != "" {
					t.Errorf("%s: %s", client, diff)
				}
			}
		})
	}
}

// A request that could not be read has no client: its peer is looked at, and nobody
// passes a list of those allowed for want of an address.
func TestWithoutAClientThePeerIsLookedAt(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{allow: [192.0.2.0/24]}`)
	x := plugintest.Exchange(t, get)
	x.Client = netip.Addr{}
	if built.Run(pipeline.Guard, x) != pipeline.Continue {
		t.Error("the peer 192.0.2.1 may not come in")
	}
	x.Peer.Address = netip.AddrPort{}
	if built.Run(pipeline.Guard, x) != pipeline.Respond {
		t.Error("nobody in particular may come in")
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{allow: [10.0.0.0/8], deny: [10.1.0.0/16]}`)
	for _, client := range []string{"10.1.0.1", "10.1.0.2", "192.0.2.1", "10.0.0.1"} {
		x := plugintest.Exchange(t, get)
		x.Client = netip.MustParseAddr(client)
		built.Run(pipeline.Guard, x)
	}
	for _, line := range []string{`gateway_ip_filter_refused_total{reason="denied"} 2`, `gateway_ip_filter_refused_total{reason="not_allowed"} 1`} {
		if !strings.Contains(built.Metrics(), line+"\n") {
			t.Errorf("%s is missing in\n%s", line, built.Metrics())
		}
	}
}

// TestAgreesWithAScan: who may come in is who a scan of both lists lets in.
func TestAgreesWithAScan(t *testing.T) {
	t.Parallel()
	address := rapid.Custom(func(t *rapid.T) netip.Addr {
		a, b := byte(rapid.IntRange(0, 3).Draw(t, "a")), byte(rapid.IntRange(0, 255).Draw(t, "b"))
		if rapid.Bool().Draw(t, "IPv6") {
			return netip.AddrFrom16([16]byte{0: 0x20, 1: a, 15: b})
		}
		return netip.AddrFrom4([4]byte{10, a, 0, b})
	})
	network := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := address.Draw(t, "address")
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
	})
	rapid.Check(t, func(rt *rapid.T) {
		allow, deny := rapid.SliceOfN(network, 0, 12).Draw(rt, "allow"), rapid.SliceOfN(network, 1, 12).Draw(rt, "deny")
		options := "{deny: " + list(deny)
		if len(allow) > 0 {
			options += ", allow: " + list(allow)
		}
		built := plugintest.Build(t, Plugin, options+"}")
		for range 20 {
			x := plugintest.Exchange(t, get)
			x.Client = address.Draw(rt, "client")
			want := (len(allow) == 0 || contains(allow, x.Client)) && !contains(deny, x.Client)
			if got := built.Run(pipeline.Guard, x) == pipeline.Continue; got != want {
				rt.Fatalf("%v comes in: %v, want %v", x.Client, got, want)
			}
		}
	})
}

func list(prefixes []netip.Prefix) string {
	var texts []string
	for _, p := range prefixes {
		texts = append(texts, fmt.Sprintf("%q", p))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, options, want string }{
		{"nothing", `{}`, "options.yaml:1:1: deny: want networks in allow or deny: without any the plugin does nothing"},
		{"empty lists", `{allow: [], deny: []}`, "options.yaml:1:19: deny: want networks in allow or deny: without any the plugin does nothing"},
		{"an address", `{deny: [203.0.113.7]}`, `options.yaml:1:9: deny[0]: want a network such as 10.0.0.0/8 or fd00::/8, got "203.0.113.7" (did you mean "203.0.113.7/32"?)`},
		{"host bits", `{allow: ["10.0.0.0/8", "10.1.2.3/8"]}`, `options.yaml:1:24: allow[1]: want a network whose address ends where its length says, got "10.1.2.3/8" (did you mean "10.0.0.0/8"?)`},
		{"a mapped network", `{deny: "::ffff:10.0.0.0/104"}`, `options.yaml:1:8: deny: want an IPv4 network without the prefix ::ffff:, got "::ffff:10.0.0.0/104"`},
		{"a name", `{deny: [internal]}`, `options.yaml:1:9: deny[0]: want a network such as 10.0.0.0/8 or fd00::/8, got "internal"`},
		{"a map", `{deny: {a: b}}`, `options.yaml:1:8: deny: want a list or a comma-separated string, got a map`},
		{"an unknown key", `{block: [10.0.0.0/8]}`, `options.yaml:1:2: block: unknown key "block"; known here: allow, deny`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{c.want}, plugintest.Problems(t, Plugin, c.options)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options string
		want          []string
	}{
		{"nothing to say", `{allow: [10.0.0.0/8, "fd00::/8"], deny: [10.1.0.0/16, 10.2.0.0/16]}`, nil},
		{"twice", `{deny: [10.0.0.0/8, 192.0.2.0/24, 10.0.0.0/8]}`, []string{"options.yaml:1:35: warning: deny[2]: 10.0.0.0/8 is listed twice"}},
		{"one within another", `{deny: [10.1.2.0/24, 10.0.0.0/8, 11.0.0.0/8]}`, []string{"options.yaml:1:9: warning: deny[0]: 10.1.2.0/24 changes nothing: 10.0.0.0/8 holds all of it"}},
		{"every client", `{allow: [10.0.0.0/8], deny: [0.0.0.0/0]}`, []string{
			"options.yaml:1:10: warning: allow[0]: 10.0.0.0/8 changes nothing: deny lists all of it, and wins",
			"options.yaml:1:30: warning: deny[0]: 0.0.0.0/0 denies every IPv4 client, whatever allow says",
		}},
		{"allow of everybody", `{allow: ["::/0"], deny: [10.0.0.0/8]}`, []string{
			"options.yaml:1:10: warning: allow[0]: ::/0 allows every IPv6 client but those of deny; for both families, leave allow out",
			"options.yaml:1:26: warning: deny[0]: 10.0.0.0/8 changes nothing: allow lists none of it, so it is denied anyway",
		}},
		{"covered by two together", `{allow: [10.0.0.0/8], deny: [10.0.0.0/9, 10.128.0.0/9]}`, []string{
			"options.yaml:1:10: warning: allow[0]: 10.0.0.0/8 changes nothing: deny lists all of it, and wins",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, plugintest.Warnings(t, Plugin, c.options)); diff != "" {
				t.Error(diff)
			}
			if problems := plugintest.Problems(t, Plugin, c.options); problems != nil {
				t.Errorf("refused: %q", problems)
			}
		})
	}
}
