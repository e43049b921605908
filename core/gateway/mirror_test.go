package gateway_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// mirrored is what /metrics says of the outcome of copies.
func mirrored(g *gatewaytest.Gateway, outcome string) string {
	_, rest, found := strings.Cut(g.Metrics(), `gateway_mirrored_requests_total{route="a",service="shadow",outcome="`+outcome+`"} `)
	if !found {
		return "0"
	}
	count, _, _ := strings.Cut(rest, "\n")
	return count
}

func mirrorOf(first, shadow *gatewaytest.Origin, more string) string {
	return fmt.Sprintf(`
services: {first: {endpoints: [{url: %q}]}, shadow: {endpoints: [{url: %q}]}}
routes: {a: {match: {path: "/a/{rest...}"}, service: first, rewrite: "/x/{rest}", mirror: {service: shadow}%s}}
`, first.URL(), shadow.URL(), more)
}

// line returns the field lines of a raw request, sorted, and what stands around them.
func parts(raw string) (start string, lines []string, body string) {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	all := strings.Split(head, "\r\n")
	slices.Sort(all[1:])
	return all[0], all[1:], body
}

func TestRT5_AMirrorSeesTheRequestWithoutCredentials(t *testing.T) {
	t.Parallel()
	first, shadow := calling(t, "first"), calling(t, "shadow")
	g := gatewaytest.Run(t, mirrorOf(first, shadow, ""))
	got := g.Do("POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\nX-Own: 1\r\nX-Gateway-Mirror: 0\r\n" +
		"Authorization: Bearer secret\r\nCookie: session=secret\r\nX-API-Key: secret\r\nX-Correlation-ID: one\r\n\r\nbody")
	if !strings.HasSuffix(got, "\r\n\r\nfirst") {
		t.Fatalf("the client got %s", got)
	}
	gatewaytest.Eventually(t, "the copy", func() bool { return mirrored(g, "answered") == "1" })
	start, lines, body := parts(shadow.Requests()[0])
	wantStart, want, _ := parts(first.Requests()[0])
	want = slices.DeleteFunc(want, func(l string) bool {
		return strings.HasPrefix(l, "Authorization") || strings.HasPrefix(l, "Cookie") || strings.HasPrefix(l, "Host:")
	})
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Host:") })
	want = append(want, "X-Gateway-Mirror: 1")
	slices.Sort(want)
	if start != wantStart || start != "POST /x/b?c=d HTTP/1.1" || body != "body" || !slices.Equal(lines, want) {
		t.Errorf("the mirror got %s\n%s\n%q\nwant\n%s", start, strings.Join(lines, "\n"), body, strings.Join(want, "\n"))
	}
	if strings.Contains(g.Metrics(), `gateway_requests_total{method="POST",route="a",status_code="200",service="shadow"}`) {
		t.Error("a copy is counted as a request")
	}
}

// What streams, what is large and what opens a WebSocket is not copied.
func TestRT5_WhatIsNotMirrored(t *testing.T) {
	t.Parallel()
	first, shadow := calling(t, "first"), calling(t, "shadow")
	g := gatewaytest.Run(t, mirrorOf(first, shadow, ", limits: {buffer: 1MiB}"))
	for i, raw := range []string{
		"POST /a/b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		"POST /a/b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000),
		"POST /a/b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1100000\r\n\r\n" + strings.Repeat("x", 1_100_000),
	} {
		if got := g.Do(raw); !strings.HasSuffix(got, "\r\n\r\nfirst") {
			t.Fatalf("the client got %s", got)
		}
		want := fmt.Sprint(i + 1)
		gatewaytest.Eventually(t, "request "+want, func() bool { return mirrored(g, "skipped") == want })
	}
	if n := len(shadow.Requests()); n != 0 {
		t.Errorf("the mirror got %d requests", n)
	}
}

func TestRT5_AShareIsMirrored(t *testing.T) {
	t.Parallel()
	for share, most := range map[string]int{"0%": 0, "20%": 100} {
		first, shadow := calling(t, "first"), calling(t, "shadow")
		yaml := strings.Replace(mirrorOf(first, shadow, ""), "service: shadow}", "service: shadow, share: "+share+"}", 1)
		g := gatewaytest.Run(t, yaml)
		client := gatewaytest.Dial(t, g.Address())
		for range 200 {
			client.Write("GET /a/b HTTP/1.1\r\nHost: h\r\n\r\n")
			client.Read("GET")
		}
		if got := len(shadow.Requests()); got > most || most > 0 && got == 0 {
			t.Errorf("of %s of 200 the mirror got %d", share, got)
		}
	}
}

// patienceWithMirrors is less than one request would take that waited for a copy to hang.
const patienceWithMirrors = 25 * time.Second

// A mirror that hangs, that breaks off and that never ends changes nothing for anybody: no
// request waits, copies are bounded, and a reload ends them.
func TestRT5_AMirrorHarmsNobody(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(*gatewaytest.OriginConn){
		"hangs": func(c *gatewaytest.OriginConn) {
			for {
				if _, err := c.ReadRequest(); err != nil {
					return
				}
			}
		},
		"breaks off": func(c *gatewaytest.OriginConn) {
			_, _ = c.ReadRequest()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
		},
		"is endless": func(c *gatewaytest.OriginConn) {
			_, err := c.ReadRequest()
			for err == nil {
				_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 64<<10))
			}
		},
		"drips": func(c *gatewaytest.OriginConn) {
			_, err := c.ReadRequest()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for err == nil {
				_, err = io.WriteString(c, "x")
				time.Sleep(10 * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, shadow := calling(t, "first"), gatewaytest.NewRawOrigin(t, serve)
			g := gatewaytest.Run(t, mirrorOf(first, shadow, ""))
			client := gatewaytest.Dial(t, g.Address())
			began := time.Now()
			for range 200 {
				client.Write("GET /a/b HTTP/1.1\r\nHost: h\r\n\r\n")
				if got := client.Read("GET"); !strings.HasSuffix(got, "\r\n\r\nfirst") {
					t.Fatalf("the client got %s", got)
				}
			}
			if took := time.Since(began); took > patienceWithMirrors {
				t.Errorf("200 requests took %s", took)
			}
			if name == "hangs" || name == "drips" {
				if got := mirrored(g, "dropped"); got != "168" {
					t.Errorf("of 200 copies %s were dropped, want 168", got)
				}
			}
			began = time.Now()
			g.Reconfigure(strings.Replace(mirrorOf(first, shadow, ""), "mirror: {service: shadow}", "priority: 1", 1))
			gatewaytest.Eventually(t, "the copies' end", func() bool {
				return !strings.Contains(g.Metrics(), `service="shadow",endpoint=`) || !strings.Contains(g.Metrics(), `gateway_upstream_in_flight{service="shadow"`) ||
					strings.Contains(g.Metrics(), `gateway_upstream_in_flight{service="shadow",endpoint="`+shadow.Address()+`"} 0`)
			})
			if took := time.Since(began); took > patienceWithMirrors {
				t.Errorf("after a reload the copies took %s to end", took)
			}
		})
	}
}

// A handshake is for one service alone, and a token that vouches for the caller too.
func TestRT5_AMirrorOpensNoWebSocketAndGetsNoVoucher(t *testing.T) {
	t.Parallel()
	first, shadow := answering(t, gatewaytest.Switching), calling(t, "shadow")
	g := gatewaytest.Run(t, mirrorOf(first, shadow, ", plugins: {websocket: {}}"))
	c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/a/b", "")
	wantEcho(t, c, text("hello"))
	gatewaytest.Eventually(t, "the handshake", func() bool { return mirrored(g, "skipped") == "1" })
	if n := len(shadow.Requests()); n != 0 {
		t.Errorf("the mirror got %d handshakes", n)
	}

	id := gatewaytest.NewIdentity(t)
	first, shadow = calling(t, "first"), calling(t, "shadow")
	g = gatewaytest.RunOptions(t, mirrorOf(first, shadow, ", plugins: {auth: {internal_token: true, forward_credentials: true}}"), gatewaytest.Options{Identity: &id.Identity})
	g.Do("GET /a/b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer " + id.Token("ann") + "\r\n\r\n")
	gatewaytest.Eventually(t, "the copy", func() bool { return mirrored(g, "answered") == "1" })
	served, copied := first.Requests()[0], shadow.Requests()[0]
	for _, name := range []string{"\r\nX-Gateway-Token: ", "\r\nAuthorization: "} {
		if !strings.Contains(served, name) || strings.Contains(copied, name) {
			t.Errorf("%q: the service got\n%s\nand the mirror\n%s", name, served, copied)
		}
	}
	if !strings.Contains(copied, "\r\nX-User-ID: ann\r\n") {
		t.Errorf("the mirror is not told who calls:\n%s", copied)
	}
}
