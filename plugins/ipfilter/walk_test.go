package ipfilter_test

import (
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// TestC10_WhoIsFiltered: the address is the one that the gateway believes, and
// nobody but a trusted proxy can claim another.
func TestC10_WhoIsFiltered(t *testing.T) {
	t.Parallel()
	const routes = `
routes:
  open: {match: {path: /open}, respond: {status: 204}, plugins: {ip_filter: off}}
  some: {match: {path: /some}, respond: {status: 204}, plugins: {ip_filter: {allow: [198.51.100.0/24, "2001:db8::/32"], deny: [198.51.100.7/32]}}}
defaults: {plugins: {ip_filter: {deny: [203.0.113.0/24]}}}
`
	behind := gatewaytest.Run(t, "trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]"+routes)
	alone := gatewaytest.Run(t, routes)
	for _, c := range []struct {
		name    string
		g       *gatewaytest.Gateway
		path    string
		forward string
		want    string
	}{
		{"a client of the list", behind, "/some", "198.51.100.1", "204"},
		{"over IPv6", behind, "/some", "2001:db8::9", "204"},
		{"IPv4-mapped", behind, "/some", "::ffff:198.51.100.1", "204"},
		{"through two proxies", behind, "/some", "198.51.100.1, 10.0.0.9", "204"},
		{"denied though allowed", behind, "/some", "198.51.100.7", "403"},
		{"denied in another spelling", behind, "/some", "[::ffff:c633:6407]:80", "403"},
		{"not of the list", behind, "/some", "192.0.2.1", "403"},
		{"who claims one of the list", behind, "/some", "198.51.100.1, 192.0.2.1", "403"},
		{"garbage, so the proxy itself", behind, "/some", "198.51.100.1, unknown", "403"},
		{"nothing, so the proxy itself", behind, "/some", "", "403"},
		{"a peer that nobody trusts", alone, "/some", "198.51.100.1", "403"},
		{"the defaults' list", behind, "/nothing", "203.0.113.9", "403"},
		{"not of the defaults' list", behind, "/nothing", "203.0.114.9", "404"},
		{"a route without a filter", behind, "/open", "203.0.113.9", "204"},
		{"a bad path", behind, "/%zz", "203.0.113.9", "403"},
		{"a bad path of somebody else", behind, "/%zz", "203.0.114.9", "400"},
	} {
		forward := ""
		if c.forward != "" {
			forward = "X-Forwarded-For: " + c.forward + "\r\n"
		}
		answer := c.g.Do("GET " + c.path + " HTTP/1.1\r\nHost: h\r\n" + forward + "\r\n")
		if status := strings.Fields(answer)[1]; status != c.want || status == "403" && !strings.Contains(answer, `"code":"forbidden"`) {
			t.Errorf("%s: want %s, got\n%s", c.name, c.want, answer)
		}
	}
}

// A request that never became one is judged by its peer.
func TestBrokenRequestsAreFiltered(t *testing.T) {
	t.Parallel()
	for deny, want := range map[string]string{"127.0.0.0/8": "403", "203.0.113.0/24": "400"} {
		g := gatewaytest.Run(t, `
routes: {a: {match: {path: /a}, respond: {status: 204}}}
defaults: {plugins: {ip_filter: {deny: [`+deny+`]}}}
`)
		if answer := g.Do("GET /a HTTP/1.1\r\nHost : h\r\n\r\n"); strings.Fields(answer)[1] != want {
			t.Errorf("deny %s: want %s, got\n%s", deny, want, answer)
		}
	}
}
