package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// seenFields sends one request with fields and returns the lines that the
// endpoint saw of them: all but those that every request has.
func seenFields(t *testing.T, g *gatewaytest.Gateway, o *gatewaytest.Origin, fields string) []string {
	t.Helper()
	before := len(o.Requests())
	if got := g.Do("GET /a HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatalf("%q got %q", fields, got)
	}
	head, _, _ := strings.Cut(gatewaytest.Scrub(o.Requests()[before]), "\r\n\r\n")
	return strings.Split(head, "\r\n")[2:]
}

// usual are the fields that the gateway adds to a request without any.
const usual = "X-Forwarded-For: 127.0.0.1|X-Real-IP: 127.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: h|" +
	"Forwarded: for=127.0.0.1;host=h;proto=http|X-Correlation-ID: <id>|Via: 1.1 suuupra"

// Names that only the gateway may set never arrive, however they are spelled.
func TestC3_SpoofedNamesNeverArrive(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, oneService(origin))
	for _, name := range []string{"X-User-ID", "X-Client-ID", "X-Scopes", "X-Gateway-Token", "X-Gateway-Anything"} {
		for _, spelled := range []string{
			name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"),
			strings.ReplaceAll(name, "-", "."), strings.Replace(strings.ToLower(name), "-", "_", 1),
		} {
			got := seenFields(t, g, origin, spelled+": admin\r\nX-Kept: 1\r\n"+spelled+": again\r\n")
			if want := "X-Kept: 1|" + usual; strings.Join(got, "|") != want {
				t.Errorf("%s: the endpoint saw %q", spelled, got)
			}
		}
	}
	for _, odd := range []string{"X_Other", "X.Other", "X!Other", "X~", "X'Y"} {
		if got := seenFields(t, g, origin, odd+": 1\r\n"); strings.Join(got, "|") != usual {
			t.Errorf("%s: the endpoint saw %q", odd, got)
		}
	}
}

func TestC3_OddNames(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	t.Run("refuse", func(t *testing.T) {
		g := gatewaytest.Run(t, oneService(origin)+"odd_header_names: refuse\n")
		if got := g.Do("GET /a HTTP/1.1\r\nHost: h\r\nX_Other: 1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("allow", func(t *testing.T) {
		g := gatewaytest.Run(t, oneService(origin)+"odd_header_names: allow\n")
		got := seenFields(t, g, origin, "X_other: 1\r\nX_User_ID: 2\r\nx.user.id: 3\r\n")
		if strings.Join(got, "|") != "X_other: 1|"+usual {
			t.Errorf("the endpoint saw %q", got)
		}
	})
}

// Trailers pass from the route's list only, and never one that only the gateway may set.
func TestC3_Trailers(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 2\r\nX-Secret: 3\r\n\r\n"
	})
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes:
  bare: {match: {path: /none}, service: a}
  listed: {match: {path: /listed}, service: a, trailers: [X-Sum]}
`)
	for _, c := range []struct{ path, announce, seen string }{
		{"/none", "", "0\r\n\r\n"},
		{"/none", "Trailer: X-Sum, X-User-ID\r\n", "0\r\n\r\n"},
		{"/listed", "Trailer: X-Sum, X-User-ID\r\n", "0\r\nX-Sum: 1\r\n\r\n"},
	} {
		request := "POST " + c.path + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + c.announce + "\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nX-Other: z\r\n"
		before := len(origin.Requests())
		for _, spoofed := range []string{"X-User-ID: admin", "X_User_ID: admin", "X-Forwarded-For: 1.2.3.4", "Authorization: admin"} {
			if got := g.Do(request + spoofed + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") || len(origin.Requests()) != before {
				t.Errorf("trailer %s got %q, the endpoint saw %q", spoofed, got, origin.Requests()[before:])
			}
		}
		got := g.Do(request + "\r\n")
		seen := origin.Requests()[before]
		if !strings.HasSuffix(seen, "\r\n1\r\na\r\n"+c.seen) {
			t.Errorf("%s %q: the endpoint saw %q", c.path, c.announce, seen)
		}
		wantTrailer := ""
		if c.path == "/listed" {
			wantTrailer = "X-Sum: 2\r\n"
		}
		if !strings.HasSuffix(got, "\r\n0\r\n"+wantTrailer+"\r\n") {
			t.Errorf("%s: the client saw %q", c.path, got)
		}
	}
}

// What Connection names is gone before anything looks; what must not be named is refused.
func TestC4_Connection(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, oneService(origin))
	for fields, want := range map[string]string{
		"Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\n":                                              "X-B: 2|",
		"X-A: 1\r\nX-B: 2\r\nConnection: x-b , X-a\r\n":                                        "",
		"Connection: X-A\r\nX-A: 1\r\nConnection: X-B\r\nX-B: 2\r\n":                           "",
		"Connection: keep-alive, X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4\r\n":              "",
		"Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authorization: Basic x\r\n": "",
		"TE: trailers, gzip\r\nConnection: TE\r\n":                                             "Te: trailers|",
		"TE: gzip\r\nConnection: TE\r\n":                                                       "",
		"Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: Upgrade, HTTP2-Settings\r\n":         "",
		"Upgrade: websocket\r\nConnection: Upgrade\r\n":                                        "",
	} {
		if got := strings.Join(seenFields(t, g, origin, fields), "|"); got != want+usual {
			t.Errorf("%q: the endpoint saw %q", fields, got)
		}
	}
	before := len(origin.Requests())
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Authorization", "Cookie", "X-API-Key", "Origin", "Expect", "Idempotency-Key"} {
		for _, line := range []string{name, strings.ToLower(name), "close, " + name, "X-A ,\t" + strings.ToUpper(name)} {
			got := g.Do("GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: " + line + "\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("Connection: %s got %q", line, got)
			}
		}
	}
	if got := origin.Requests()[before:]; len(got) > 0 {
		t.Errorf("the endpoint saw %q", got)
	}
}

// Forwarded fields are believed from trusted proxies only.
func TestC10_ForwardedFields(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	const sent = "X-Forwarded-For: 1.2.3.4, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www.example\r\nForwarded: for=6.6.6.6\r\n" +
		"X-Real-IP: 7.7.7.7\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /p\r\nX-Forwarded-Server: s\r\nX-Forwarded-Ssl: on\r\nX-Original-URL: /x\r\n" +
		"X-Rewrite-URL: /y\r\nTrue-Client-IP: 8.8.8.8\r\nCF-Connecting-IP: 8.8.8.8\r\nX-Client-IP: 8.8.8.8\r\nX-Client-Cert: c\r\n"
	t.Run("from anybody", func(t *testing.T) {
		log := &record{}
		file, wait := accessLog(t)
		g := gatewaytest.RunOptions(t, oneService(origin)+`
defaults: {plugins: {access_log: {to: "`+file+`"}}}
`, gatewaytest.Options{Log: log})
		for range 3 {
			if got := strings.Join(seenFields(t, g, origin, sent), "|"); got != usual {
				t.Errorf("the endpoint saw %q", got)
			}
		}
		wait(`"client":"127.0.0.1"`, 3)
		if n := log.count("trusted_proxies"); n != 1 {
			t.Errorf("the peer was logged %d times", n)
		}
		if !strings.Contains(g.Metrics(), "\ngateway_forwarded_untrusted_total 3\n") {
			t.Error("not counted")
		}
	})
	t.Run("from a trusted proxy", func(t *testing.T) {
		file, wait := accessLog(t)
		g := gatewaytest.Run(t, oneService(origin)+`
trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]
defaults: {plugins: {access_log: {to: "`+file+`"}}}
`)
		got := strings.Join(seenFields(t, g, origin, sent), "|")
		for _, want := range []string{
			"X-Forwarded-For: 1.2.3.4, 10.0.0.1, 127.0.0.1", "X-Real-IP: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: www.example",
		} {
			if !strings.Contains(strings.ToLower("|"+got+"|"), strings.ToLower("|"+want+"|")) {
				t.Errorf("want %q, the endpoint saw %q", want, got)
			}
		}
		if strings.Contains(got, "6.6.6.6") || strings.Contains(got, "7.7.7.7") {
			t.Errorf("an override was believed: %q", got)
		}
		wait(`"client":"1.2.3.4"`, 1)
	})
	t.Run("a hop that can't be read ends the walk", func(t *testing.T) {
		file, wait := accessLog(t)
		g := gatewaytest.Run(t, oneService(origin)+`
trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]
defaults: {plugins: {access_log: {to: "`+file+`"}}}
`)
		seenFields(t, g, origin, "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: unknown, 10.0.0.9\r\n")
		wait(`"client":"10.0.0.9"`, 1)
	})
}

// A multipart body is bytes like any other: nothing parses it, whatever it claims.
func TestC13_MultipartIsNotParsed(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, oneService(origin))
	body := "--b\r\nContent-Disposition: form-data; name=a; filename=f\r\n\r\n" + strings.Repeat("m", 100_000) // never ends
	request := "POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=b\r\n"
	for _, framed := range []string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body),
		"Content-Length: 5\r\n\r\nno --",
	} {
		before := len(origin.Requests())
		if got := g.Do(request + framed); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
		_, sent, _ := strings.Cut(framed, "\r\n\r\n")
		if seen := origin.Requests()[before]; !strings.HasSuffix(seen, "\r\n\r\n"+sent) {
			t.Errorf("the endpoint saw %.300q", seen)
		}
	}
}
