package plugins_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// Every example of the configuration runs as it stands, but for the addresses.
func TestConfigExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../configs/examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples: %q, %v", files, err)
	}
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "tls") {
			continue // needs certificates: core/gateway runs it with some
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			gatewaytest.Run(t, read(t, file))
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the example of browsers and networks says of itself is so.
func TestExampleOfBrowsersAndNetworks(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	yaml := read(t, "../configs/examples/browsers-and-networks.yaml")
	yaml = strings.NewReplacer("127.0.0.1:9003", origin.Address(), "127.0.0.1:9002", origin.Address(), "10.0.0.0/24", "127.0.0.0/8").Replace(yaml)
	open := gatewaytest.Run(t, yaml)
	closed := gatewaytest.Run(t, strings.ReplaceAll(yaml, "${SHOP_MAINTENANCE:-false}", "${SHOP_MAINTENANCE:-true}"))
	const app, other = "https://app.example.com", "https://other.example"
	for _, c := range []struct {
		g                      *gatewaytest.Gateway
		client, method, target string
		origin, asks           string
		status, grants         string
	}{
		{open, "198.51.100.1", "OPTIONS", "/shop/1", app, "PUT", "204", app},
		{open, "198.51.100.1", "OPTIONS", "/shop/1", other, "PUT", "403", ""},
		{open, "198.51.100.1", "OPTIONS", "/catalogue/1", other, "GET", "204", "*"},
		{open, "198.51.100.1", "OPTIONS", "/catalogue/1", app, "PUT", "204", app}, // no route takes it, so the defaults answer
		{open, "198.51.100.1", "GET", "/shop/1", app, "", "200", app},
		{open, "203.0.113.9", "GET", "/shop/1", app, "", "403", app},
		{open, "198.51.100.1", "GET", "/nothing", app, "", "404", app},
		{closed, "203.0.113.9", "GET", "/shop/1", app, "", "403", app},
		{closed, "198.51.100.1", "OPTIONS", "/shop/1", app, "PUT", "204", app},
		{closed, "198.51.100.1", "GET", "/shop/1", app, "", "503", app},
		{closed, "192.0.2.9", "GET", "/shop/1", app, "", "200", app},
		{open, "192.0.2.9", "GET", "/shop/admin/1", app, "", "200", ""},
		{open, "192.0.2.200", "GET", "/shop/admin/1", app, "", "403", ""},
		{open, "198.51.100.1", "OPTIONS", "/shop/admin/1", app, "PUT", "403", ""},
	} {
		request := c.method + " " + c.target + " HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: " + c.client + "\r\nOrigin: " + c.origin + "\r\n"
		if c.asks != "" {
			request += "Access-Control-Request-Method: " + c.asks + "\r\n"
		}
		answer := c.g.Do(request + "\r\n")
		status := strings.Fields(answer)[1]
		_, grants, _ := strings.Cut(answer, "\r\nAccess-Control-Allow-Origin: ")
		grants, _, _ = strings.Cut(grants, "\r\n")
		if status != c.status || grants != c.grants {
			t.Errorf("%s %s of %s from %s: %s for %q, want %s for %q", c.method, c.target, c.client, c.origin, status, grants, c.status, c.grants)
		}
	}
}
