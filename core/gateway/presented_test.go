package gateway_test

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// twoServices are two that want certificates of the gateway's, and a listener that shows
// one of its own.
type twoServices struct {
	*gatewaytest.Gateway
	site
	t              *testing.T
	yaml           string
	log            *syncBuffer
	shown, others  guests
	origin, other  *gatewaytest.Origin
	listenerShows  func() []byte
	certificateKey string // of the first service, as metrics have it
}

func newTwoServices(t *testing.T) *twoServices {
	w := &twoServices{site: newSite(t), t: t, log: new(syncBuffer)}
	w.origin = gatewaytest.NewTLSOrigin(t, w.shown.config(t, w.ca, "payments.internal"), func(string) string { return gatewaytest.OK })
	w.other = gatewaytest.NewTLSOrigin(t, w.others.config(t, w.ca, "127.0.0.1"), func(string) string { return gatewaytest.OK })
	w.issue(t, "one", "one.test")
	w.issue(t, "other", "other.test")
	w.yaml = fmt.Sprintf(`
listen: {public: {address: "127.0.0.1:0"}, secure: {address: "127.0.0.1:0", tls: {certificates: [%s]}}}
services:
  a: {endpoints: [{url: %q}], tls: {ca_file: %[4]q, server_name: payments.internal, certificate_file: %[5]q, key_file: %[6]q}}
  b: {endpoints: [{url: %[3]q}], tls: {ca_file: %[4]q, certificate_file: %[7]q, key_file: %[8]q}}
routes:
  a: {match: {path: /a}, service: a}
  b: {match: {path: /b}, service: b}
`, w.issue(t, "listener", "api.example.com"), w.origin.URL(), w.other.URL(), w.authority(t), w.dir+"/one.pem", w.dir+"/one.key", w.dir+"/other.pem", w.dir+"/other.key")
	w.Gateway = gatewaytest.RunOptions(t, w.yaml, gatewaytest.Options{Log: w.log})
	w.listenerShows = func() []byte {
		return shownTo(t, w.Gateway.Gateway.Address("secure").String(), w.client("api.example.com"))
	}
	w.certificateKey = `{service="a",certificate="` + w.dir + `/one.pem"} `
	return w
}

// ask sends a request to both services, and wants that they were shown this.
func (w *twoServices) ask(what, want string) {
	w.t.Helper()
	for _, path := range []string{"/a", "/b"} {
		if got := w.Do("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			w.t.Fatalf("%s: %s got\n%s", what, path, got)
		}
	}
	if w.shown.seen() != want || w.others.seen() != "other.test" {
		w.t.Fatalf("%s: the services were shown %q and %q, want %q", what, w.shown.seen(), w.others.seen(), want)
	}
}

// health is the status of /health.
func (w *twoServices) health() string {
	w.t.Helper()
	return gatewaytest.Do(w.t, w.Admin(), "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[len("HTTP/1.1 "):len("HTTP/1.1 200")]
}

// TestUP7_Renewal: a renewed certificate is shown to its service without a reload, on
// connections of its own; those of other services stay, and what else has changed in
// files waits for a reload.
func TestUP7_Renewal(t *testing.T) {
	t.Parallel()
	w := newTwoServices(t)
	w.ask("at first", "one.test")
	in := w.Current()
	w.Renew()
	w.ask("after a look that found nothing", "one.test")
	if w.Current() != in {
		t.Error("a snapshot was replaced though nothing has changed")
	}
	listener := w.ca.Issue(t, "api.example.com")
	listener.Write(t, w.dir, "listener")
	w.Renew()
	renewed := w.ca.Issue(t, "two.test")
	renewed.Write(t, w.dir, "one")
	w.ask("before the look", "one.test")
	w.Renew()
	w.ask("after it", "one.test two.test")
	w.ask("on the new connection", "one.test two.test")
	w.issue(t, "one", "three.test")
	w.Renew()
	w.ask("after a second renewal", "one.test two.test three.test")
	if string(w.listenerShows()) != listener.Certificate {
		t.Error("the listener shows its old certificate again")
	}
	if !strings.Contains(w.log.String(), "a renewed certificate is shown to the service") {
		t.Errorf("the log tells nobody:\n%s", w.log)
	}
	w.Reconfigure(strings.Replace(w.yaml, "path: /b", "paths: [/b, /c]", 1))
	w.ask("after a reload of the same files", "one.test two.test three.test")
	w.issue(t, "one", "four.test")
	w.Renew()
	w.ask("after a renewal behind the reload", "one.test two.test three.test four.test")
	if got := w.Do("GET /c HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("the renewal took the reload back: got\n%s", got)
	}
}

// TestUP7_BadRenewal: what is not good is shown to no service, and told to operators by
// metrics and health until it is.
func TestUP7_BadRenewal(t *testing.T) {
	t.Parallel()
	w := newTwoServices(t)
	w.ask("at first", "one.test")
	fresh := w.ca.Issue(t, "two.test")
	replace := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expired := w.ca.IssueWith(t, fresh.Pair.TLS.PrivateKey.(crypto.Signer), func(c *x509.Certificate) {
		c.DNSNames, c.NotBefore, c.NotAfter = []string{"two.test"}, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	want := "one.test"
	for i, c := range []struct {
		what  string
		write func()
	}{
		{"a certificate without its key", func() { replace("one.pem", fresh.Certificate) }},
		{"no certificate", func() { replace("one.pem", "") }},
		{"a key that vanished", func() { _ = os.Remove(filepath.Join(w.dir, "one.key")) }},
		{"an expired certificate", func() { expired.Write(t, w.dir, "one") }},
	} {
		c.write()
		w.Renew()
		if w.health() != "200" {
			t.Errorf("%s: ill at the first look: files may be amid their renewal", c.what)
		}
		w.Renew()
		if w.health() != "503" || !strings.Contains(w.Metrics(), "gateway_upstream_certificate_unreadable"+w.certificateKey+"1") {
			t.Errorf("%s: nobody is told:\n%s", c.what, w.Metrics())
		}
		w.ask(c.what, want)
		name := fmt.Sprintf("good%d.test", i)
		w.issue(t, "one", name)
		w.Renew()
		want += " " + name
		w.ask("good files after "+c.what, want)
		if w.health() != "200" || !strings.Contains(w.Metrics(), "gateway_upstream_certificate_unreadable"+w.certificateKey+"0") {
			t.Errorf("good files after %s: still called ill", c.what)
		}
	}
}

// TestOB3_ExpiredForServicesShows: the expiry of what services are shown stands beside
// that of what clients are.
func TestOB3_ExpiredForServicesShows(t *testing.T) {
	t.Parallel()
	w := newTwoServices(t)
	end := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	key := w.ca.Issue(t).Pair.TLS.PrivateKey.(crypto.Signer)
	w.ca.IssueWith(t, key, func(c *x509.Certificate) {
		c.DNSNames, c.NotBefore, c.NotAfter = []string{"one.test"}, end.Add(-24*time.Hour), end
	}).Write(t, w.dir, "one")
	w.Reconfigure(w.yaml)
	line := "gateway_upstream_certificate_not_after_seconds" + w.certificateKey + strconv.FormatFloat(float64(end.Unix()), 'g', -1, 64) + "\n"
	if w.health() != "503" || !strings.Contains(w.Metrics(), line) {
		t.Errorf("health %s, want 503 and %q in\n%s", w.health(), line, w.Metrics())
	}
	w.issue(t, "one", "one.test")
	w.Renew()
	if w.health() != "200" || strings.Contains(w.Metrics(), line) {
		t.Errorf("health %s after a renewal, and\n%s", w.health(), w.Metrics())
	}
	w.Reconfigure(strings.Replace(w.yaml, "services:\n", "services:\n  c: {endpoints: [{url: \"http://127.0.0.1:9\"}]}\n", 1))
	if n := strings.Count(w.Metrics(), "\ngateway_upstream_certificate_not_after_seconds{"); n != 2 {
		t.Errorf("%d certificates for services in the metrics, want 2", n)
	}
}

// TestUP7_RenewalsAndReloadsTakeTurns: neither undoes the other, and no request fails.
func TestUP7_RenewalsAndReloadsTakeTurns(t *testing.T) {
	t.Parallel()
	w := newTwoServices(t)
	other := strings.Replace(w.yaml, "path: /b", "paths: [/b, /c]", 1)
	// One key for all, so that no reload finds a certificate with another's.
	key := w.ca.Issue(t).Pair.TLS.PrivateKey.(crypto.Signer)
	issue := func(name string) {
		w.ca.IssueWith(t, key, func(c *x509.Certificate) { c.DNSNames = []string{name} }).Write(t, w.dir, "one")
	}
	issue("first.test")
	w.Renew()
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 30 {
			issue(fmt.Sprintf("%d.test", i))
			w.Renew()
		}
	})
	for i := range 30 {
		w.Reconfigure([]string{w.yaml, other}[i%2])
		if got := w.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("got\n%s", got)
		}
	}
	group.Wait()
	w.Renew()
	for _, path := range []string{"/a", "/c"} {
		if got := w.Do("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("the last reload is not in force: %s got\n%s", path, got)
		}
	}
	if seen := w.shown.seen(); !strings.HasSuffix(seen, " 29.test") {
		t.Errorf("the last renewal is not in force: the service was shown %q", seen)
	}
}
