package gateway_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// site is a folder with certificates, and how clients reach what shows them.
type site struct {
	ca  *certificatetest.Authority
	dir string
}

func newSite(t *testing.T) site {
	return site{ca: certificatetest.NewAuthority(t), dir: t.TempDir()}
}

// issue writes a certificate for names, and returns its line of a configuration.
func (s site) issue(t *testing.T, file string, names ...string) string {
	certificate, key := s.ca.Issue(t, names...).Write(t, s.dir, file)
	return fmt.Sprintf("{certificate_file: %q, key_file: %q}", certificate, key)
}

func (s site) client(name string) *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool, ServerName: name}
}

const secureYAML = `
listen: {secure: {address: "127.0.0.1:0", %s tls: {certificates: [%s]}}}
services:
  a: {endpoints: [{url: "%s"}]}
defaults: {plugins: {security_headers: {}}}
routes:
  a: {match: {path: "/{rest...}"}, service: a}
`

// TestOP2_Exchange: what a service and a client see of a request over TLS.
func TestOP2_Exchange(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com"), origin.URL()))
	address := g.Gateway.Address("secure").String()
	c := gatewaytest.DialTLS(t, address, s.client("api.example.com"))
	for range 2 {
		c.Write("GET /x HTTP/1.1\r\nHost: api.example.com\r\nX-Correlation-ID: one\r\nX-Forwarded-Proto: http\r\n\r\n")
		same(t, "the answer", c.Read("GET"), "HTTP/1.1 200 OK\r\n"+
			"Content-Length: 2\r\nX-Content-Type-Options: nosniff\r\n"+
			"Content-Security-Policy: base-uri 'self'; object-src 'none'; frame-ancestors 'none'\r\nX-Frame-Options: DENY\r\n"+
			"Referrer-Policy: strict-origin-when-cross-origin\r\nPermissions-Policy: camera=(self), geolocation=(self), microphone=(self)\r\nStrict-Transport-Security: max-age=31536000\r\nX-Correlation-ID: one\r\n\r\nok")
	}
	for _, request := range origin.Requests() {
		for _, field := range []string{"X-Forwarded-Proto: https", "Forwarded: for=127.0.0.1;host=api.example.com;proto=https"} {
			if !strings.Contains(request, field+"\r\n") {
				t.Errorf("the service does not see %q in\n%s", field, request)
			}
		}
	}
	same(t, "plain HTTP on a port of TLS", gatewaytest.Do(t, address, "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"),
		"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: "+
			strconv.Itoa(len(faultBody("bad_request", "Bad request", "400", "this port speaks TLS: use https://"))+len("0123456789abcdef0123456789abcdef")-len("<id>"))+
			"\r\nX-Correlation-ID: <id>\r\nConnection: close\r\n\r\n"+faultBody("bad_request", "Bad request", "400", "this port speaks TLS: use https://"))
	for _, line := range []string{
		`gateway_tls_handshakes_total{resumed="false",listener="secure"} 1`, `gateway_tls_handshake_failures_total{reason="plain_http",listener="secure"} 1`,
		`gateway_certificate_not_after_seconds{listener="secure",certificate="` + filepath.Join(s.dir, "a.pem") + `"}`, `gateway_certificate_unreadable{`,
	} {
		if text := g.Metrics(); !strings.Contains(text, line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

// TestOP2_Streams: large bodies pass both ways, byte for byte, on one connection.
func TestOP2_Streams(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	large := strings.Repeat("0123456789abcdef", 1<<17) // 2 MiB
	chunked := fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large)
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large)
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		switch {
		case strings.HasPrefix(request, "GET /chunked"):
			return chunked
		case strings.HasPrefix(request, "GET /whole"):
			return whole
		default:
			_, body, _ := strings.Cut(request, "\r\n\r\n")
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%v", map[bool]string{true: "same", false: "diff"}[body == large])
		}
	})
	g := gatewaytest.Run(t, fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com"), origin.URL()))
	c := gatewaytest.DialTLS(t, g.Gateway.Address("secure").String(), s.client("api.example.com"))
	for _, path := range []string{"/chunked", "/whole", "/chunked"} {
		c.Write("GET " + path + " HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
		_, body, _ := strings.Cut(c.Read("GET"), "\r\n\r\n")
		if path == "/chunked" {
			body = unchunked(t, body)
		}
		if body != large {
			t.Errorf("%s: %d bytes, want %d", path, len(body), len(large))
		}
		c.Write(fmt.Sprintf("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
		if got := c.Read("POST"); !strings.HasSuffix(got, "\r\n\r\nsame") {
			t.Errorf("an upload: got\n%s", got)
		}
	}
}

// unchunked joins chunks.
func unchunked(t *testing.T, body string) string {
	t.Helper()
	b, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestC7_RedirectFrom: the same host and target over TLS, for hosts that have a
// certificate, and nowhere else.
func TestC7_RedirectFrom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	own := fmt.Sprintf(secureYAML, `redirect_from: "127.0.0.1:0",`, s.issue(t, "a", "api.example.com", "*.b.example.com", "127.0.0.1", "::1"), origin.URL())
	g := gatewaytest.Run(t, own+"  exact: {match: {hosts: [api.example.com], path: /exact}, priority: 1000000, service: a}\n")
	outside := gatewaytest.Run(t, strings.Replace(own, "redirect_from", "redirect_port: 443, redirect_from", 1))
	_, port, _ := strings.Cut(g.Gateway.Address("secure").String(), ":")
	get := func(target, host string) string { return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	tests := []struct{ name, request, status, location string }{
		{"root", get("/", "api.example.com"), "308", "https://api.example.com:" + port + "/"},
		{"a route's path", get("/exact", "api.example.com"), "308", "https://api.example.com:" + port + "/exact"},
		{"target and query", get("/a%2fb//c/../d?x=%20&y", "api.example.com"), "308", "https://api.example.com:" + port + "/a%2Fb//d?x=%20&y"},
		{"double slash", get("//evil.com/x", "api.example.com"), "308", "https://api.example.com:" + port + "/evil.com/x"},
		{"spelling and port of the host", get("/", "API.example.com.:80"), "308", "https://api.example.com:" + port + "/"},
		{"wildcard", get("/", "x.b.example.com"), "308", "https://x.b.example.com:" + port + "/"},
		{"address", get("/", "127.0.0.1:8080"), "308", "https://127.0.0.1:" + port + "/"},
		{"IPv6", get("/", "[0::1]"), "308", "https://[::1]:" + port + "/"},
		{"absolute form", get("http://api.example.com/x?y", "api.example.com"), "308", "https://api.example.com:" + port + "/x?y"},
		{"POST", "POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\n\r\nhi", "308", "https://api.example.com:" + port + "/x"},
		{"POST that waits", "POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", "100", ""},
		{"unknown host", get("/", "evil.com"), "421", ""},
		{"deeper than the wildcard", get("/", "x.y.b.example.com"), "421", ""},
		{"another address", get("/", "127.0.0.2"), "421", ""},
		{"userinfo", get("/", "api.example.com@evil.com"), "400", ""},
		{"CR in the query", get("/?x=\r\n", "api.example.com"), "400", ""},
		{"no host", "GET / HTTP/1.0\r\n\r\n", "400", ""},
		{"bad path", get("/%00", "api.example.com"), "400", ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n\r\n", "204", ""},
	}
	for _, tt := range tests {
		got := gatewaytest.Do(t, g.Gateway.Address("secure redirect").String(), tt.request)
		_, status, _ := strings.Cut(got, " ")
		if location := field(got, "Location"); status[:3] != tt.status || location != tt.location {
			t.Errorf("%s: got %s to %q, want %s to %q", tt.name, status[:3], location, tt.status, tt.location)
		}
	}
	got := gatewaytest.Do(t, outside.Gateway.Address("secure redirect").String(), get("/x", "api.example.com"))
	if location := field(got, "Location"); location != "https://api.example.com/x" || field(got, "Strict-Transport-Security") != "" || field(got, "X-Correlation-ID") == "" {
		t.Errorf("with another port outside: got\n%s", got)
	}
	if requests := origin.Requests(); len(requests) > 0 {
		t.Errorf("the service was asked %q", requests)
	}
	if !strings.Contains(g.Metrics(), `route="redirect to secure",status_code="308"`) {
		t.Error("redirects are not counted")
	}
}

// field returns the value of a field of a raw answer.
func field(answer, name string) string {
	_, rest, found := strings.Cut(answer, "\r\n"+name+": ")
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// TestL_Misdirected: a host that asks for client certificates is not served over a
// connection that was made for another.
func TestL_Misdirected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	partners := certificatetest.NewAuthority(t)
	if err := os.WriteFile(filepath.Join(s.dir, "partners.pem"), []byte(partners.PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := strings.TrimSuffix(s.issue(t, "partner", "partner.example.com"), "}") + fmt.Sprintf(", client_ca_file: %q}", filepath.Join(s.dir, "partners.pem"))
	open := s.issue(t, "open", "open.example.com", "other.example.com")
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(secureYAML, "", open+", "+closed, origin.URL()))
	address := g.Gateway.Address("secure").String()
	asPartner := s.client("partner.example.com")
	asPartner.Certificates = []tls.Certificate{partners.Issue(t, "partner").TLS()}
	tests := []struct {
		config *tls.Config
		host   string
		want   string
	}{
		{s.client("open.example.com"), "open.example.com", "200"},
		{s.client("open.example.com"), "other.example.com:443", "200"},
		{s.client("open.example.com"), "partner.example.com", "421"},
		{s.client("open.example.com"), "PARTNER.example.com.", "421"},
		{asPartner, "partner.example.com", "200"},
		{asPartner, "open.example.com", "421"},
	}
	for _, tt := range tests {
		c := gatewaytest.DialTLS(t, address, tt.config)
		c.Write("GET / HTTP/1.1\r\nHost: " + tt.host + "\r\n\r\n")
		got := c.Read("GET")
		if _, status, _ := strings.Cut(got, " "); status[:3] != tt.want {
			t.Errorf("%s, asked for %s: got\n%s", tt.config.ServerName, tt.host, got)
		}
		if tt.want == "421" {
			c.Closed()
			if !strings.Contains(got, `"code":"misdirected"`) || field(got, "Connection") != "close" {
				t.Errorf("got\n%s", got)
			}
		}
	}
	if n := len(origin.Requests()); n != 3 {
		t.Errorf("the service was asked %d times", n)
	}
}

// TestOP2_Reload: 50 reloads under kept-alive connections drop none and fail no
// request, and each is shown to the next handshake.
func TestOP2_Reload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	yaml := fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com"), origin.URL())
	g := gatewaytest.Run(t, yaml)
	address := g.Gateway.Address("secure").String()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		c := gatewaytest.DialTLS(t, address, s.client("api.example.com"))
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.TryWrite("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				if got, err := c.TryRead("GET"); err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
					t.Errorf("got %q, %v", got, err)
					return
				}
			}
		})
	}
	for range 50 {
		s.issue(t, "a", "api.example.com")
		want, err := os.ReadFile(filepath.Join(s.dir, "a.pem"))
		if err != nil {
			t.Fatal(err)
		}
		g.Reconfigure(yaml)
		if got := shownTo(t, address, s.client("api.example.com")); !bytes.Equal(got, want) {
			t.Error("the certificate of before is shown")
		}
	}
	close(stop)
	clients.Wait()
}

// shownTo is the certificate that a client is shown, in PEM form.
func shownTo(t *testing.T, address string, config *tls.Config) []byte {
	t.Helper()
	c := gatewaytest.DialTLS(t, address, config)
	leaf := c.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestOP2_Renewal: renewed files are shown without a reload; what is not good is
// not, and shows in metrics and health until it is.
func TestOP2_Renewal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	log := new(syncBuffer)
	yaml := fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com")+", "+s.issue(t, "b", "b.example.com"), "http://127.0.0.1:9")
	g := gatewaytest.RunOptions(t, yaml, gatewaytest.Options{Log: log})
	address := g.Gateway.Address("secure").String()
	shown := func() []byte { return shownTo(t, address, s.client("api.example.com")) }
	health := func() string {
		got := gatewaytest.Do(t, g.Admin(), "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		return got[len("HTTP/1.1 "):len("HTTP/1.1 200")]
	}
	first := shown()
	g.Renew()
	if !bytes.Equal(shown(), first) || health() != "200" {
		t.Error("something changed though nothing did")
	}
	fresh := s.ca.Issue(t, "api.example.com")
	trouble := func(what string, write func()) {
		t.Helper()
		write()
		g.Renew()
		if health() != "200" {
			t.Errorf("%s: ill at the first look: files may be amid their renewal", what)
		}
		g.Renew()
		if health() != "503" || !strings.Contains(g.Metrics(), `gateway_certificate_unreadable{listener="secure",certificate="`+filepath.Join(s.dir, "a.pem")+`"} 1`) {
			t.Errorf("%s: nobody is told", what)
		}
		if !bytes.Equal(shown(), first) {
			t.Errorf("%s: another certificate is shown", what)
		}
	}
	replace := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := func() {
		t.Helper()
		fresh.Write(t, s.dir, "a")
		g.Renew()
		if first = shown(); string(first) != fresh.Certificate || health() != "200" {
			t.Error("good files are not shown, or still called ill")
		}
	}
	trouble("a certificate without its key", func() { replace("a.pem", fresh.Certificate) })
	good()
	trouble("no certificate", func() { replace("a.pem", "") })
	good()
	trouble("a key that vanished", func() { _ = os.Remove(filepath.Join(s.dir, "a.key")) })
	good()
	trouble("an expired certificate", func() {
		expired := s.ca.IssueWith(t, fresh.Pair.TLS.PrivateKey.(crypto.Signer), func(c *x509.Certificate) {
			c.DNSNames, c.NotBefore, c.NotAfter = []string{"api.example.com"}, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		})
		replace("a.pem", expired.Certificate)
	})
	for _, line := range []string{"a renewed certificate is shown to new connections", "the files of a certificate can't be read again", "a.key: no such file or directory"} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log does not say %q:\n%s", line, log)
		}
	}
}

// TestOB3_ExpiredShows: an expired certificate is shown to operators until a reload
// brings another.
func TestOB3_ExpiredShows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	key := s.ca.Issue(t).Pair.TLS.PrivateKey.(crypto.Signer)
	s.ca.IssueWith(t, key, func(c *x509.Certificate) {
		c.DNSNames, c.NotBefore, c.NotAfter = []string{"api.example.com"}, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}).Write(t, s.dir, "a")
	files := fmt.Sprintf("{certificate_file: %q, key_file: %q}", filepath.Join(s.dir, "a.pem"), filepath.Join(s.dir, "a.key"))
	yaml := fmt.Sprintf(secureYAML, "", files, origin.URL())
	g := gatewaytest.Run(t, yaml)
	got := gatewaytest.Do(t, g.Admin(), "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 503") || !strings.Contains(got, `"certificates":false`) {
		t.Errorf("an expired certificate: got\n%s", got)
	}
	s.issue(t, "a", "api.example.com")
	g.Reconfigure(yaml)
	if got := gatewaytest.Do(t, g.Admin(), "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("after a reload: got\n%s", got)
	}
	if n := strings.Count(g.Metrics(), "\ngateway_certificate_not_after_seconds{"); n != 1 {
		t.Errorf("%d certificates in the metrics", n)
	}
}

// TestC10_ProxyProtocol: the client that a header announces is the peer: it is what
// services are told, and what trusted_proxies looks at.
func TestC10_ProxyProtocol(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	yaml := `
listen: {public: {address: "127.0.0.1:0", proxy_protocol: {from: [%s]}}}
trusted_proxies: [192.0.2.0/24]
services:
  a: {endpoints: [{url: "` + origin.URL() + `"}]}
routes:
  a: {match: {path: "/{rest...}"}, service: a}
`
	g := gatewaytest.Run(t, fmt.Sprintf(yaml, "127.0.0.0/8"))
	for announced, want := range map[string]string{"192.0.2.7": "X-Forwarded-For: 203.0.113.9, 192.0.2.7", "198.51.100.7": "X-Forwarded-For: 198.51.100.7"} {
		g.Do("PROXY TCP4 " + announced + " 198.51.100.1 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
		requests := origin.Requests()
		if last := requests[len(requests)-1]; !strings.Contains(last, want+"\r\n") {
			t.Errorf("announced as %s: the service sees\n%s", announced, last)
		}
	}
	log := new(syncBuffer)
	strangers := gatewaytest.RunOptions(t, fmt.Sprintf(yaml, "192.0.2.0/24"), gatewaytest.Options{Log: log})
	for _, to := range []string{g.Address(), strangers.Address()} {
		for range 2 {
			c := gatewaytest.Dial(t, to)
			_ = c.TryWrite("GET / HTTP/1.1\r\nHost: a\r\n\r\n") // may be refused already
			if rest, _ := c.Rest(); rest != "" {
				t.Errorf("got %q", rest)
			}
		}
	}
	if n := len(origin.Requests()); n != 2 {
		t.Errorf("the service was asked %d times", n)
	}
	gatewaytest.Eventually(t, "the log names the key once", func() bool { return strings.Count(log.String(), "add it to proxy_protocol.from") == 1 })
	for _, check := range []struct {
		g    *gatewaytest.Gateway
		line string
	}{
		{g, `gateway_proxy_header_refused_total{reason="header",listener="public"} 2`},
		{strangers, `gateway_proxy_header_refused_total{reason="stranger",listener="public"} 2`},
	} {
		if !strings.Contains(check.g.Metrics(), check.line) {
			t.Errorf("no %s in\n%s", check.line, check.g.Metrics())
		}
	}
}

// TestPX5_SecureClientGone: a client that closes a TLS connection frees the
// service's in time.
func TestPX5_SecureClientGone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	freed := make(chan time.Time, 1)
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err != nil {
			return
		}
		if _, err := c.R.ReadByte(); !errors.Is(err, io.EOF) {
			t.Logf("the connection ends with %v", err)
		}
		freed <- time.Now()
	})
	g := gatewaytest.Run(t, fmt.Sprintf(secureYAML, "", s.issue(t, "a", "api.example.com"), origin.URL()))
	c := gatewaytest.DialTLS(t, g.Gateway.Address("secure").String(), s.client("api.example.com"))
	c.Write("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
	gatewaytest.Eventually(t, "the service is asked", func() bool { return len(origin.Requests()) == 1 })
	left := time.Now()
	_ = c.Conn.Close()
	if took := (<-freed).Sub(left); took > 5*time.Second { // 500 ms on a machine that is not busy
		t.Errorf("freed after %s", took)
	}
}
