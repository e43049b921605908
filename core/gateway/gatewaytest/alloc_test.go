//go:build !race

package gatewaytest_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// steady answers every request with the same bytes and allocates nothing. A POST has
// a body of 1 KiB.
func steady(t testing.TB, answer []byte) *gatewaytest.Origin {
	return gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		room, held := make([]byte, 64<<10), 0
		for {
			n, err := c.Conn.Read(room[held:])
			if err != nil {
				return
			}
			held += n
			end := bytes.Index(room[:held], []byte("\r\n\r\n"))
			if end < 0 {
				continue
			}
			if bytes.HasPrefix(room, []byte("POST")) && held < end+4+1024 {
				continue
			}
			held = 0
			if _, err := c.Conn.Write(answer); err != nil {
				return
			}
		}
	})
}

// mallocs is how many objects the whole process allocates for each of n exchanges, in the
// best of five rounds: in the others the collector has emptied pools that are being filled
// again, or copies of a mirror piled up on a busy machine. What each exchange allocates,
// it does in all of them.
func mallocs(t *testing.T, conn net.Conn, request []byte, size int) float64 {
	t.Helper()
	const n = 3000
	room := make([]byte, size)
	exchange := func() {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, room); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		exchange()
	}
	best := math.Inf(1)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n / 5 {
			exchange()
		}
		runtime.ReadMemStats(&after)
		best = min(best, float64(after.Mallocs-before.Mallocs)/(n/5))
	}
	return best
}

// TestAllocsOfAWholeExchange goes through listener, scanner, route, chain (every
// request logged to a file, security headers, CORS and a filter of addresses on),
// breaker, adaptive bulkhead, balancing, transport and metrics.
func TestAllocsOfAWholeExchange(t *testing.T) {
	small := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	large := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 65537\r\n\r\n"), make([]byte, 65537)...)
	for _, c := range []struct {
		name    string
		answer  []byte
		request string
		most    float64
	}{
		{"GET", small, "GET /a/b?c=d HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: test\r\nAccept: */*\r\nOrigin: https://app.example.com\r\n\r\n", 0.05},
		{"POST of 1 KiB", small, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1024\r\n\r\n" + string(make([]byte, 1024)), 1.05},
		{"64 KiB and a byte, streamed", large, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 1.05},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}], breaker: {slow: {}}, bulkhead: {adaptive: true}}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
defaults: {plugins: {access_log: {to: %q, sample: 100%%}, security_headers: {}, cors: {origins: [https://app.example.com]}, ip_filter: {deny: [203.0.113.0/24]}}}
`, steady(t, c.answer).URL(), filepath.Join(t.TempDir(), "access.log")))
			probe := gatewaytest.Dial(t, g.Address())
			probe.Write(c.request)
			size := len(probe.Read(c.request[:4]))
			conn, err := net.Dial("tcp", g.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := mallocs(t, conn, []byte(c.request), size)
			t.Logf("%.3f allocations an exchange", got)
			if got > c.most {
				t.Errorf("%.3f allocations an exchange, want at most %.2f", got, c.most)
			}
		})
	}
}

// TestAllocsOfAnAuthenticatedExchange: a token or key that is known costs nothing, from
// the client's bytes to the count of the key's use, with who calls in the log.
func TestAllocsOfAnAuthenticatedExchange(t *testing.T) {
	small := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	id := gatewaytest.NewIdentity(t)
	g := gatewaytest.RunOptions(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}]}}
routes:
  fields: {match: {path: "/fields/{rest...}"}, service: a, plugins: {auth: {scopes: {all: ["courses:read"]}}}}
  signed: {match: {path: "/signed/{rest...}"}, service: a, plugins: {auth: {internal_token: true}}}
defaults: {plugins: {access_log: {to: %q, sample: 100%%}, security_headers: {}}}
`, steady(t, small).URL(), filepath.Join(t.TempDir(), "access.log"))+"# auth: on\n", gatewaytest.Options{Identity: &id.Identity})
	for _, c := range []struct{ name, target, fields string }{
		{"a token", "/fields/a", "Authorization: Bearer " + id.Token("ann", "courses") + "\r\n"},
		{"a key", "/fields/a", "X-API-Key: " + id.Key("courses") + "\r\n"},
		{"a token, passed on signed", "/signed/a", "Authorization: Bearer " + id.Token("ann") + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := "GET " + c.target + " HTTP/1.1\r\nHost: h\r\n" + c.fields + "\r\n"
			probe := gatewaytest.Dial(t, g.Address())
			probe.Write(request)
			answer := probe.Read("GET ")
			if !bytes.HasPrefix([]byte(answer), []byte("HTTP/1.1 200 ")) {
				t.Fatalf("refused:\n%s", answer)
			}
			conn, err := net.Dial("tcp", g.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := mallocs(t, conn, []byte(request), len(answer))
			t.Logf("%.3f allocations an exchange", got)
			if got > 0.05 {
				t.Errorf("%.3f allocations an exchange, want none", got)
			}
		})
	}
}

// TestAllocsOfALimitedExchange: a known token, three levels that are charged together
// and told of in the answer, and a denial of one of them, cost nothing.
func TestAllocsOfALimitedExchange(t *testing.T) {
	small := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	id := gatewaytest.NewIdentity(t)
	g := gatewaytest.RunOptions(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}]}}
policies: {wide: {rate: 1000000/1s}, window: {algorithm: sliding_window, rate: 1000000000/1h}, narrow: {rate: 1/24h}}
routes:
  wide: {match: {path: "/wide/{rest...}"}, service: a, plugins: {rate_limit: {levels: {user: {policy: wide}, ip: {policy: window}, global: {policy: wide}}}}}
  narrow: {match: {path: "/narrow/{rest...}"}, service: a, plugins: {rate_limit: {levels: {user: {policy: narrow}, global: {policy: wide}}}}}
defaults: {plugins: {auth: {}, access_log: {to: %q, sample: 100%%}, security_headers: {}}}
`, steady(t, small).URL(), filepath.Join(t.TempDir(), "access.log")), gatewaytest.Options{Identity: &id.Identity})
	for _, c := range []struct{ name, target, status string }{
		{"admitted", "/wide/a", "200"},
		{"denied", "/narrow/a", "429"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := "GET " + c.target + " HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + id.Token("ann") + "\r\n\r\n"
			probe := gatewaytest.Dial(t, g.Address())
			var answer string
			for range 3 {
				probe.Write(request)
				answer = probe.Read("GET ")
			}
			if !bytes.HasPrefix([]byte(answer), []byte("HTTP/1.1 "+c.status+" ")) {
				t.Fatalf("want %s, got\n%s", c.status, answer)
			}
			conn, err := net.Dial("tcp", g.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := mallocs(t, conn, []byte(request), len(answer))
			t.Logf("%.3f allocations an exchange", got)
			if got > 0.05 {
				t.Errorf("%.3f allocations an exchange, want none", got)
			}
		})
	}
}

// TestAllocsOfASplitExchange: pins that are asked, a share that is drawn, a copy for
// a mirror and an endpoint found by a hash cost nothing.
func TestAllocsOfASplitExchange(t *testing.T) {
	small := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}]}, b: {endpoints: [{url: "%s"}]}, c: {endpoints: [{url: "%s"}]}, hashed: {endpoints: [{url: "%s"}, {url: "%s"}], balance: {consistent_hash: {by: cookie}}}}
routes:
  hashed: {match: {path: "/hashed/{rest...}"}, service: hashed}
  split: {match: {path: "/split/{rest...}"}, split: {a: 95, b: 5}, split_by: cookie, pin: [{headers: {X-Canary: "1"}, service: b}, {cookies: {beta: {regex: "^y"}}, service: b}]}
  random: {match: {path: "/random/{rest...}"}, split: {a: 95, b: 5}}
  mirror: {match: {path: "/mirror/{rest...}"}, service: a, mirror: {service: c}}
defaults: {plugins: {access_log: {to: %q, sample: 100%%}, security_headers: {}}}
`, steady(t, small).URL(), steady(t, small).URL(), steady(t, small).URL(), steady(t, small).URL(), steady(t, small).URL(), filepath.Join(t.TempDir(), "access.log")))
	for _, target := range []string{"/split/a", "/random/a", "/mirror/a", "/hashed/a"} {
		t.Run(target, func(t *testing.T) {
			request := "GET " + target + " HTTP/1.1\r\nHost: h\r\nX-Canary: 0\r\nCookie: beta=no; gateway_visitor=0123456789abcdef\r\n\r\n"
			probe := gatewaytest.Dial(t, g.Address())
			probe.Write(request)
			size := len(probe.Read("GET "))
			conn, err := net.Dial("tcp", g.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got := mallocs(t, conn, []byte(request), size)
			t.Logf("%.3f allocations an exchange", got)
			if got > 0.05 {
				t.Errorf("%.3f allocations an exchange, want none", got)
			}
		})
	}
}

// TestAllocsOfAnExchangeOverTLS: crypto/tls allocates once for each record that it
// reads, in the client and in the gateway; the gateway adds nothing.
func TestAllocsOfAnExchangeOverTLS(t *testing.T) {
	small := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	ca, dir := certificatetest.NewAuthority(t), t.TempDir()
	certificate, key := ca.Issue(t, "api.example.com").Write(t, dir, "a")
	g := gatewaytest.Run(t, fmt.Sprintf(`
listen: {secure: {address: "127.0.0.1:0", tls: {certificates: [{certificate_file: %q, key_file: %q}]}}}
services: {a: {endpoints: [{url: "%s"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
defaults: {plugins: {access_log: {to: %q, sample: 100%%}, security_headers: {}}}
`, certificate, key, steady(t, small).URL(), filepath.Join(dir, "access.log")))
	config := &tls.Config{RootCAs: ca.Pool, ServerName: "api.example.com"}
	request := "GET /a HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
	probe := gatewaytest.DialTLS(t, g.Gateway.Address("secure").String(), config)
	probe.Write(request)
	size := len(probe.Read("GET "))
	got := mallocs(t, gatewaytest.DialTLS(t, g.Gateway.Address("secure").String(), config).Conn, []byte(request), size)
	t.Logf("%.3f allocations an exchange", got)
	if got > 2.05 {
		t.Errorf("%.3f allocations an exchange, want 2", got)
	}
}
