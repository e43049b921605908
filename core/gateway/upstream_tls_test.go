package gateway_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// guests notes which certificates a service was shown.
type guests struct {
	mu    sync.Mutex
	names []string
}

// config is a service that wants a certificate of ca's.
func (g *guests) config(t *testing.T, ca *certificatetest.Authority, names ...string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{ca.Issue(t, names...).TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool,
		VerifyConnection: func(s tls.ConnectionState) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.names = append(g.names, s.PeerCertificates[0].DNSNames[0])
			return nil
		},
	}
}

func (g *guests) seen() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.names, " ")
}

// authority writes the authority's certificate, and returns the file.
func (s site) authority(t *testing.T) string {
	t.Helper()
	file := filepath.Join(s.dir, "ca.pem")
	if err := os.WriteFile(file, []byte(s.ca.PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestUP7_Exchange compares what service and client see of a request that goes on over
// TLS: the client came by plain HTTP, and that is what the service is told.
func TestUP7_Exchange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewTLSOrigin(t, &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(t, "127.0.0.1").TLS()}},
		func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: %q}], tls: {ca_file: %q}}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
`, origin.URL(), s.authority(t)))
	for range 2 {
		same(t, "the answer", gatewaytest.Scrub(g.Do("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok")
	}
	for _, request := range origin.Requests() {
		same(t, "the request", gatewaytest.Scrub(request), "GET /x HTTP/1.1\r\nHost: "+origin.Address()+"\r\n"+forwarded)
	}
	if origin.Accepts() != 1 {
		t.Errorf("%d connections for two requests", origin.Accepts())
	}
	if metrics := g.Metrics(); !strings.Contains(metrics, `gateway_upstream_tls_handshakes_total{service="a",resumed="false"} 1`) ||
		!strings.Contains(metrics, `gateway_upstream_tls_errors_total{service="a",reason="unknown_authority"} 0`) {
		t.Errorf("metrics:\n%s", metrics)
	}
}

// TestUP7_UnknownAuthority: there is no service whose certificate is not verified.
func TestUP7_UnknownAuthority(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewTLSOrigin(t, &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(t, "127.0.0.1").TLS()}},
		func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, oneService(origin))
	if got := g.Do("GET /x HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502") || strings.Contains(got, "x509") {
		t.Errorf("got\n%s", got)
	}
	if len(origin.Requests()) != 0 {
		t.Errorf("the service got %q", origin.Requests())
	}
	if metrics := g.Metrics(); !strings.Contains(metrics, `gateway_upstream_tls_errors_total{service="a",reason="unknown_authority"} `) {
		t.Errorf("metrics:\n%s", metrics)
	}
}

// TestUP7_Rotation: a reload reads the files again. A new certificate is shown from
// then on, and connections of other services stay. (Files that don't fit together are
// problems of the configuration: core/config/testdata/bad/service-tls.yaml.)
func TestUP7_Rotation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var shown, others guests
	origin := gatewaytest.NewTLSOrigin(t, shown.config(t, s.ca, "payments.internal"), func(string) string { return gatewaytest.OK })
	other := gatewaytest.NewTLSOrigin(t, others.config(t, s.ca, "127.0.0.1"), func(string) string { return gatewaytest.OK })
	ca := s.authority(t)
	s.issue(t, "one", "one.test")
	s.issue(t, "other", "other.test")
	yaml := fmt.Sprintf(`
services:
  a: {endpoints: [{url: %q}], tls: {ca_file: %[3]q, server_name: payments.internal, certificate_file: %[4]q, key_file: %[5]q}}
  b: {endpoints: [{url: %[2]q}], tls: {ca_file: %[3]q, certificate_file: %[6]q, key_file: %[7]q}}
routes:
  a: {match: {path: /a}, service: a}
  b: {match: {path: /b}, service: b}
`, origin.URL(), other.URL(), ca, s.dir+"/one.pem", s.dir+"/one.key", s.dir+"/other.pem", s.dir+"/other.key")
	g := gatewaytest.Run(t, yaml)
	both := func(what, want string) {
		t.Helper()
		for _, path := range []string{"/a", "/b"} {
			if got := g.Do("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
				t.Fatalf("%s: %s got\n%s", what, path, got)
			}
		}
		if shown.seen() != want || others.seen() != "other.test" {
			t.Fatalf("%s: the services were shown %q and %q", what, shown.seen(), others.seen())
		}
	}
	both("at first", "one.test")
	g.Reconfigure(yaml)
	both("after a reload of the same", "one.test")
	s.issue(t, "one", "two.test")
	both("before the reload", "one.test")
	g.Reconfigure(yaml)
	both("after it", "one.test two.test")
}

// TestUP7_Example runs configs/examples/tls-to-services.yaml as its comments say it
// behaves, and the README's lines.
func TestUP7_Example(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../../configs/examples/tls-to-services.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, found := strings.Cut(string(readme), "An endpoint whose URL begins with `https://`")
	_, lines, _ = strings.Cut(lines, "```yaml\n")
	lines, _, _ = strings.Cut(lines, "```")
	if !found {
		t.Fatal("the README shows no TLS to services")
	}
	for name, yaml := range map[string]string{"example": string(example), "README": lines} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if err := os.Rename(s.authority(t), filepath.Join(s.dir, "internal-ca.pem")); err != nil {
				t.Fatal(err)
			}
			s.issue(t, "gateway", "gateway.internal")
			var shown guests
			origin := gatewaytest.NewTLSOrigin(t, shown.config(t, s.ca, "payments.internal"), func(string) string { return gatewaytest.OK })
			yaml := strings.NewReplacer(
				"https://10.0.0.11:8443", origin.URL(), "https://10.0.0.12:8443", strings.Replace(origin.URL(), "127.0.0.1", "localhost", 1),
				"/etc/gateway/tls", s.dir, "_file: internal-ca", "_file: "+s.dir+"/internal-ca", "_file: gateway.", "_file: "+s.dir+"/gateway.",
			).Replace(yaml)
			g := gatewaytest.Run(t, yaml)
			for range 2 {
				if got := g.Do("GET /payments/x HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
					t.Errorf("got\n%s", got)
				}
			}
			if seen := shown.seen(); !strings.HasPrefix(seen, "gateway.internal") {
				t.Errorf("the service was shown %q", seen)
			}
		})
	}
}

// A WebSocket goes on over TLS when its service speaks it.
func TestUP7_WebSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewRawTLSOrigin(t, &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(t, "127.0.0.1").TLS()}}, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err != nil {
			return
		}
		if _, err := io.WriteString(c, gatewaytest.Switching); err == nil {
			gatewaytest.Echo(c)
		}
	})
	g := gatewaytest.Run(t, strings.Replace(sockets(origin, ""), "retry: off", fmt.Sprintf("retry: off, tls: {ca_file: %q}", s.authority(t)), 1))
	c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	for _, word := range []string{"hello", strings.Repeat("long ", 20_000)} {
		wantEcho(t, c, text(word))
	}
}
