package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// Bodies over the limit are refused by what they announce, else as they are counted.
func TestBodyLimits(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}], retry: off}}
limits: {body: 1KiB, uri: 100B, header: 500B, headers: 5}
routes:
  a: {match: {path: /a}, service: a}
  wide: {match: {path: /wide}, service: a, limits: {body: unlimited}}
  here: {match: {path: /here}, respond: {status: 200, body: x}}
`)
	bytes := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", n, strings.Repeat("b", n)) }
	chunks := func(n int) string {
		return "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk(1), n) + "0\r\n\r\n"
	}
	for _, c := range []struct {
		name, path, body string
		status           int
	}{
		{"within", "/a", bytes(1024), 200},
		{"one byte more", "/a", bytes(1025), 413},
		{"far more", "/a", bytes(3 << 20), 413},
		{"counted, within", "/a", chunks(1024), 200},
		{"counted, one more", "/a", chunks(1025), 413},
		{"counted, far more", "/a", chunks(100_000), 413},
		{"unlimited", "/wide", bytes(1 << 20), 200},
		{"unlimited, counted", "/wide", chunks(20_000), 200},
		{"for an answer of the gateway's own", "/here", bytes(2000), 413},
		{"no route", "/n", bytes(2000), 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(origin.Requests())
			client := gatewaytest.Dial(t, g.Address())
			_ = client.TryWrite("POST " + c.path + " HTTP/1.1\r\nHost: h\r\n" + c.body) // the answer may come first
			got := client.Read("POST")
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
				t.Errorf("got %q", got)
			}
			if c.status == 200 {
				return
			}
			for _, seen := range origin.Requests()[before:] {
				if strings.HasSuffix(seen, "0\r\n\r\n") || !strings.Contains(seen, "chunked") {
					t.Errorf("the endpoint got a whole request: %.300q", seen)
				}
			}
		})
	}
	for _, c := range []struct{ name, raw, want string }{
		{"target", "GET /" + strings.Repeat("a", 100) + " HTTP/1.1\r\nHost: h\r\n\r\n", "414 "},
		{"head", "GET /a HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 500) + "\r\n\r\n", "431 "},
		{"lines", "GET /a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: y\r\n", 5) + "\r\n", "431 "},
		{"within", "GET /a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: y\r\n", 4) + "\r\n", "200 "},
	} {
		if got := g.Do(c.raw); !strings.HasPrefix(got, "HTTP/1.1 "+c.want) {
			t.Errorf("%s: got %q", c.name, got)
		}
	}
}

// Slow requests are answered 408, connections beyond the totals are refused.
func TestTimesAndTotals(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, oneService(origin)+`
limits: {header_timeout: 50ms, body_timeout: 50ms, idle_timeout: 50ms, connections_per_ip: 3}
`)
	for name, part := range map[string]string{
		"a head":         "GET /a HTTP/1.1\r\nHos",
		"a short body":   "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
		"a chunked body": "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		client := gatewaytest.Dial(t, g.Address())
		client.Write(part)
		if got := client.Read("POST"); !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, `"code":"request_timeout"`) {
			t.Errorf("%s: got %q", name, got)
		}
		client.Closed()
	}
	idle := gatewaytest.Dial(t, g.Address())
	idle.Write("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	idle.Read("GET")
	idle.Closed()
	counted(t, g, `gateway_connections{listener="public"}`, "0")
	for range 3 {
		held := gatewaytest.Dial(t, g.Address())
		held.Write("GET /a HT")
	}
	if got := gatewaytest.Dial(t, g.Address()).Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 429 ") || !strings.Contains(got, `"code":"too_many_connections"`) {
		t.Errorf("a fourth connection got %q", got)
	}
}
