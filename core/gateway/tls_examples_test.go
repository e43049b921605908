package gateway_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

var listenPort = regexp.MustCompile(`":8443"|":8080"`)

// onFreePorts is an example as it stands, but for its addresses and folders.
func onFreePorts(yaml, origin, from, to string) string {
	yaml = listenPort.ReplaceAllString(yaml, `"127.0.0.1:0"`)
	yaml = strings.ReplaceAll(yaml, "http://127.0.0.1:9001", origin)
	return strings.ReplaceAll(yaml, from, to)
}

// TestOP2_Example runs configs/examples/tls.yaml as its comments say it behaves.
func TestOP2_Example(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../configs/examples/tls.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.issue(t, "api", "api.example.com")
	s.issue(t, "partners", "*.partners.example.com")
	partners := certificatetest.NewAuthority(t)
	if err := os.WriteFile(filepath.Join(s.dir, "partners-ca.pem"), []byte(partners.PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, onFreePorts(string(text), origin.URL(), "/etc/gateway/tls", s.dir))
	announce := "PROXY TCP4 203.0.113.5 198.51.100.1 4711 443\r\n"
	got := gatewaytest.Do(t, g.Gateway.Address("secure redirect").String(), announce+"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
	if field(got, "Location") != "https://api.example.com/x" {
		t.Errorf("redirect: got\n%s", got)
	}
	partner := s.client("one.partners.example.com")
	partner.Certificates = []tls.Certificate{partners.Issue(t, "one").TLS()}
	for host, config := range map[string]*tls.Config{"api.example.com": s.client("api.example.com"), "one.partners.example.com": partner} {
		c := gatewaytest.Dial(t, g.Gateway.Address("secure").String())
		c.Write(announce)
		c.Handshake(config)
		c.Write("GET /x HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200") || field(got, "Strict-Transport-Security") == "" {
			t.Errorf("%s: got\n%s", host, got)
		}
	}
	for _, request := range origin.Requests() {
		if !strings.Contains(request, "X-Forwarded-For: 203.0.113.5\r\n") {
			t.Errorf("the service does not see the client:\n%s", request)
		}
	}
}

// TestOP2_README runs the README's example.
func TestOP2_README(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "A listener with `tls` speaks it")
	_, example, _ = strings.Cut(example, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if !found {
		t.Fatal("the README shows no TLS")
	}
	s := newSite(t)
	s.issue(t, "api", "api.example.com")
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, onFreePorts(example, origin.URL(), "_file: api", "_file: "+s.dir+"/api"))
	c := gatewaytest.DialTLS(t, g.Gateway.Address("secure").String(), s.client("api.example.com"))
	c.Write("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
	if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("got\n%s", got)
	}
}
