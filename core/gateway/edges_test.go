package gateway_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// TestOP2_BrokenHandshakes: what is no handshake, and one that never ends, is closed and
// counted by its reason; meanwhile others are served at once, and nobody reaches a service
// by it.
func TestOP2_BrokenHandshakes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com"), origin.URL())+"limits: {header_timeout: 1s}\n")
	address := g.Gateway.Address("secure").String()
	// A ClientHello's record that says it is longer than what comes, of 1.0 to 1.3.
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 32)
	broken := map[string]string{
		"not_tls":    "\x00\x01\x02garbage garbage garbage\r\n\r\n",
		"plain_http": "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
		"timeout":    hello,
		"other":      "\x16\x03\x01\x00\x05\x05\x00\x00\x01\x00", // a record with no ClientHello in it
	}
	began := time.Now()
	clients := map[string]*gatewaytest.Client{}
	for reason, text := range broken {
		for range 10 {
			clients[reason] = gatewaytest.Dial(t, address)
			clients[reason].Write(text)
		}
	}
	silent := gatewaytest.Dial(t, address)
	for range 3 {
		c := gatewaytest.DialTLS(t, address, s.client("api.example.com"))
		c.Write("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a good client waited for the others: %v", took)
	}
	for reason, c := range clients {
		if got, _ := c.Rest(); strings.Contains(got, "200") {
			t.Errorf("%s: got %q", reason, got)
		}
	}
	if got, _ := silent.Rest(); got != "" {
		t.Errorf("a client that said nothing got %q", got)
	}
	gatewaytest.Eventually(t, "all are counted and gone", func() bool {
		m := g.Metrics()
		for reason, want := range map[string]int{"not_tls": 10, "plain_http": 10, "timeout": 11, "other": 10} {
			if !strings.Contains(m, fmt.Sprintf("gateway_tls_handshake_failures_total{reason=%q,listener=\"secure\"} %d\n", reason, want)) {
				return false
			}
		}
		return true
	})
	if n := len(origin.Requests()); n != 3 {
		t.Errorf("the service was asked %d times, want 3", n)
	}
}

// TestOP2_NobodysName: a name that no certificate has gets the first one, and whoever
// asks for it is told that it is not theirs; it gets no further than a name that is.
func TestOP2_NobodysName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com")+", "+s.issue(t, "b", "b.example.com"), origin.URL()))
	address := g.Gateway.Address("secure").String()
	first := shownTo(t, address, s.client("api.example.com"))
	for _, name := range []string{"nobody.example.com", "", strings.Repeat("a.", 100) + "example.com", "xn--nobody"} {
		got := shownTo(t, address, &tls.Config{ServerName: name, InsecureSkipVerify: true}) // the test looks itself
		if string(got) != string(first) {
			t.Errorf("%q is shown another certificate", name)
		}
	}
	conn, err := tls.Dial("tcp", address, s.client("nobody.example.com"))
	if err == nil {
		_ = conn.Close()
		t.Error("a client that verifies takes the certificate for nobody.example.com")
	}
	gatewaytest.Eventually(t, "the refusal is counted", func() bool {
		return strings.Contains(g.Metrics(), `gateway_tls_handshake_failures_total{reason="refused_by_client",listener="secure"} 1`)
	})
}

// TestC10_StalledHeaders: balancers whose PROXY header never ends keep nobody waiting:
// none is read by the accept loop.
func TestC10_StalledHeaders(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, `
listen: {public: {address: "127.0.0.1:0", proxy_protocol: {from: [127.0.0.0/8]}}}
limits: {header_timeout: 1s}
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
`)
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	var clients []*gatewaytest.Client
	for _, cut := range []string{"", "P", "PROXY TCP4 192.0.2.7 198.51.100.1 47", v2[:6], v2 + "\x21\x11\x00\x0c\x01\x02"} {
		for range 10 {
			c := gatewaytest.Dial(t, g.Address())
			c.Write(cut)
			clients = append(clients, c)
		}
	}
	c := gatewaytest.Dial(t, g.Address())
	c.Write("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{
		"PROXY " + strings.Repeat("x", 200) + "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", // longer than any header (107 bytes)
		"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		v2 + "\x21\x11\xff\xff" + strings.Repeat("x", 100),
		v2 + "\x31\x11\x00\x0c" + strings.Repeat("x", 12) + "GET / HTTP/1.1\r\nHost: a\r\n\r\n", // version 3
	} {
		c := gatewaytest.Dial(t, g.Address())
		_ = c.TryWrite(bad) // may be refused already
		if got, _ := c.Rest(); got != "" {
			t.Errorf("%.40q got %q", bad, got)
		}
	}
	for _, c := range clients {
		if got, _ := c.Rest(); got != "" {
			t.Errorf("a header that was cut got %q", got)
		}
	}
	if n := len(origin.Requests()); n != 1 {
		t.Errorf("the service was asked %d times, want once", n)
	}
}

// TestS1_AServiceIsRemovedUnderLoad: requests that were sent to it get its answer, those
// that come later the table without it; none fails. What it held is gone in the end.
func TestS1_AServiceIsRemovedUnderLoad(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	other := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	without := `
services: {b: {endpoints: [{url: "` + other.URL() + `"}]}}
routes: {b: {match: {path: /b}, service: b}}
`
	with := `
services: {a: {endpoints: [{url: "` + origin.URL() + `"}]}, b: {endpoints: [{url: "` + other.URL() + `"}]}}
routes: {a: {match: {path: /a}, service: a}, b: {match: {path: /b}, service: b}}
`
	g := gatewaytest.Run(t, with)
	var clients sync.WaitGroup
	var answered, missing atomic.Int64
	stop := make(chan struct{})
	for i := range 8 {
		path := []string{"/a", "/b"}[i%2]
		client := gatewaytest.Dial(t, g.Address())
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := client.TryWrite("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				got, err := client.TryRead("GET")
				switch {
				case err == nil && strings.HasPrefix(got, "HTTP/1.1 200 ") && strings.HasSuffix(got, "\r\n\r\nok"):
					answered.Add(1)
				case err == nil && path == "/a" && strings.HasPrefix(got, "HTTP/1.1 404 ") && strings.Contains(got, `"code":"no_route"`):
					missing.Add(1)
				default:
					t.Errorf("%s: %v, got %q", path, err, got)
					return
				}
			}
		})
	}
	for i := range 20 {
		seen, before := answered.Load(), missing.Load()
		g.Reconfigure([]string{without, with}[i%2])
		gatewaytest.Eventually(t, "answers under the new configuration", func() bool {
			return t.Failed() || answered.Load() > seen+5 && (i%2 == 1 || missing.Load() > before)
		})
	}
	g.Reconfigure(without)
	close(stop)
	clients.Wait()
	gatewaytest.Eventually(t, "the service is let go", func() bool {
		services, endpoints, _ := g.Held()
		return services == 1 && endpoints == 1
	})
}
