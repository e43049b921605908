package endtoend

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/testenv"
)

// outage is how long Consul is dead at least.
const outage = time.Minute

// registered has the endpoints of its service in Consul. Nothing is tried twice: a request
// to an endpoint that is gone fails.
const registered = `
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s}
discovery: {consul: {address: "%s"%s}}
services: {shop: {consul: {service: shop, tag: v1}, retry: off}}
routes: {shop: {match: {path: "/{rest...}"}, service: shop}}
defaults: {plugins: {auth: off, access_log: off}}
`

// serveIn starts a gateway in dir over its gateway.yaml, be it for a second time.
func serveIn(t *testing.T, dir string) *served {
	t.Helper()
	return serveBy(t, command(dir, "serve"))
}

// instance is one of the service, with the tag that the gateway looks for.
func instance(id string, port int) testenv.ConsulInstance {
	return testenv.ConsulInstance{ID: id, Service: "shop", Tags: []string{"v1"}, Port: port}
}

// health is what /health says.
func (s *served) health(t *testing.T) string {
	return gatewaytest.Do(t, s.admin, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

// troubled waits for a line about endpoints of which there is no word, of one kind.
func (s *served) troubled(kind string) (found logLine) {
	s.t.Helper()
	gatewaytest.Eventually(s.t, "a line of the log of kind "+kind, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.log {
			if l.Kind == kind && l.Message == "no word of these endpoints; those that are known stay in use" {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// TestConsul: the built gateway and a real agent, which dies for a minute. What needs no
// minute of its own is looked at meanwhile.
func TestConsul(t *testing.T) {
	t.Parallel()
	consul := testenv.NewConsul(t, testenv.ConsulOptions{})
	two, three := named(t, "two", "127.0.0.1:0").Port, named(t, "three", "127.0.0.1:0").Port
	consul.Register(t, instance("one", named(t, "one", "127.0.0.1:0").Port))
	consul.Register(t, instance("two", two))
	dir := files(t, "gateway.yaml", fmt.Sprintf(registered, consul.URL(), ""))
	s := serveIn(t, dir)

	t.Run("instances come and go", func(t *testing.T) {
		x := sendTo(t, "http://"+s.public+"/", 4, 10*time.Millisecond)
		var came, failed, passed, left []time.Duration
		for range 5 {
			began := time.Now()
			consul.Register(t, instance("three", three))
			came = append(came, x.appears(t, "three", began))
			began = time.Now()
			consul.Check(t, "three", "critical")
			failed = append(failed, x.disappears(t, "three", began))
			began = time.Now()
			consul.Check(t, "three", "passing")
			passed = append(passed, x.appears(t, "three", began))
			began = time.Now()
			consul.Deregister(t, "three")
			left = append(left, x.disappears(t, "three", began))
		}
		within(t, "in use after it was registered", time.Second, came)
		within(t, "out of use after its check failed", time.Second, failed)
		within(t, "in use after its check passed", time.Second, passed)
		within(t, "out of use after it was deregistered", time.Second, left)
	})

	x := sendTo(t, "http://"+s.public+"/", 2, 40*time.Millisecond)
	consul.Stop()
	died := time.Now()
	t.Run("a start while it is dead", func(t *testing.T) { startsWithout(t, dir) })
	t.Run("TLS and a token", closedConsul)
	if s.troubled("unreachable").Error == "" {
		t.Error("the log does not say why there is no word of Consul")
	}
	if got := s.health(t); !strings.Contains(got, `"status":"degraded"`) || !strings.Contains(got, `"discovery":false`) {
		t.Errorf("/health says %q", got)
	}
	t.Run("it is back", func(t *testing.T) {
		t.Parallel() // at the end of the queue: meanwhile other tests run
		time.Sleep(time.Until(died.Add(outage)))
		consul.Start()
		began := time.Now()
		consul.Register(t, instance("three", three))
		t.Logf("Consul was dead for %v; %v after it was back a new instance was in use", began.Sub(died), x.appears(t, "three", began))
		began = time.Now()
		consul.Deregister(t, "two")
		t.Logf("%v after it was deregistered an instance was out of use", x.disappears(t, "two", began))
		gatewaytest.Eventually(t, "/health is well", func() bool { return strings.Contains(s.health(t), `"discovery":true`) })
	})
}

// startsWithout starts a gateway without Consul, with what another one knew.
func startsWithout(t *testing.T, known string) {
	dir := files(t, "gateway.yaml", readFile(t, filepath.Join(known, "gateway.yaml")))
	inherit(t, known, dir, 2)
	s := serveIn(t, dir)
	x := sendTo(t, "http://"+s.public+"/", 2, 10*time.Millisecond)
	began := time.Now()
	x.appears(t, "one", began)
	x.appears(t, "two", began)
	s.logged("starting with the endpoints that were known last")
	s.troubled("unreachable")
	gatewaytest.Eventually(t, "/health says that Consul is away", func() bool { return strings.Contains(s.health(t), `"discovery":false`) })
	x.end()
}

// inherit gives the gateway in folder to what the one in folder from has on disk, once that
// is n endpoints.
func inherit(t *testing.T, from, to string, n int) {
	t.Helper()
	var name, text string
	gatewaytest.Eventually(t, fmt.Sprintf("%d endpoints on disk", n), func() bool {
		kept, err := filepath.Glob(filepath.Join(from, "state", "discovery", "*.json"))
		if err != nil || len(kept) != 1 {
			return false
		}
		name, text = filepath.Base(kept[0]), readFile(t, kept[0])
		return strings.Count(text, `"address"`) == n
	})
	folder := filepath.Join(to, "state", "discovery")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// closedConsul is one that wants a certificate and a token: what the log says when one of
// them is wrong, and that the endpoints stay.
func closedConsul(t *testing.T) {
	authority, other := certificatetest.NewAuthority(t), certificatetest.NewAuthority(t)
	leaf, dir := authority.Issue(t, "127.0.0.1"), t.TempDir()
	caFile, _ := (&certificatetest.Leaf{Certificate: authority.PEM}).Write(t, dir, "authority")
	otherFile, _ := (&certificatetest.Leaf{Certificate: other.PEM}).Write(t, dir, "other")
	certificateFile, keyFile := leaf.Write(t, dir, "leaf")
	consul := testenv.NewConsul(t, testenv.ConsulOptions{
		Token: "3d1a8f52-7c64-4e0b-9b1f-5e2a6c8d7041",
		TLS: &testenv.ConsulTLS{
			Authority: caFile, Certificate: certificateFile, Key: keyFile,
			Client: &tls.Config{RootCAs: authority.Pool, Certificates: []tls.Certificate{leaf.TLS()}},
		},
	})
	const reader, powerless, unknown = "a5b0c1d2-0000-4000-8000-000000000001", "a5b0c1d2-0000-4000-8000-000000000002", "a5b0c1d2-0000-4000-8000-000000000003"
	consul.Do(t, http.MethodPut, "/v1/acl/policy", map[string]any{
		"Name": "gateway", "Rules": `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`,
	})
	consul.Do(t, http.MethodPut, "/v1/acl/token", map[string]any{"SecretID": reader, "Policies": []any{map[string]string{"Name": "gateway"}}})
	consul.Do(t, http.MethodPut, "/v1/acl/token", map[string]any{"SecretID": powerless})
	consul.Register(t, instance("one", named(t, "one", "127.0.0.1:0").Port))

	shown := fmt.Sprintf(`, token_file: token, tls: {ca_file: %q, certificate_file: %q, key_file: %q}`, caFile, certificateFile, keyFile)
	folder := files(t, "token", reader+"\n", "gateway.yaml", fmt.Sprintf(registered, consul.URL(), shown))
	s := serveIn(t, folder)
	x := sendTo(t, "http://"+s.public+"/", 2, 10*time.Millisecond)
	ports := map[string]int{"two": named(t, "two", "127.0.0.1:0").Port, "three": named(t, "three", "127.0.0.1:0").Port}
	began := time.Now()
	consul.Register(t, instance("two", ports["two"]))
	t.Logf("in use %v after it was registered, over TLS with a token", x.appears(t, "two", began))

	renew := func(token string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "token"), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.signal(syscall.SIGHUP)
		s.logged("the configuration was reloaded")
	}
	renew(unknown)
	consul.Register(t, instance("three", ports["three"])) // the question that waits is answered; the next one has the new token
	if l := s.troubled("denied"); !strings.Contains(l.Error, "status 403: the token") {
		t.Errorf("the log says %q of a token that nobody knows", l.Error)
	}
	began = time.Now()
	x.appears(t, "one", began)
	x.appears(t, "two", began)
	renew(reader)
	x.appears(t, "three", began)
	x.end()

	for _, c := range []struct{ name, token, shown, kind, want string }{
		{"a token without rights", powerless, shown, "denied", "it needs service:read and node:read"},
		{"the certificate of another authority", reader, strings.Replace(shown, caFile, otherFile, 1), "unreachable", "certificate signed by unknown authority"},
		{"no certificate", reader, fmt.Sprintf(`, token_file: token, tls: {ca_file: %q}`, caFile), "unreachable", "certificate required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := files(t, "token", c.token+"\n", "gateway.yaml", fmt.Sprintf(registered, consul.URL(), c.shown))
			inherit(t, folder, dir, 3)
			s := serveIn(t, dir)
			if l := s.troubled(c.kind); !strings.Contains(l.Error, c.want) || l.Level != "warn" {
				t.Errorf("the log says %q with level %s, want %q", l.Error, l.Level, c.want)
			}
			x := sendTo(t, "http://"+s.public+"/", 2, 10*time.Millisecond)
			began := time.Now()
			for _, name := range []string{"one", "two", "three"} {
				x.appears(t, name, began)
			}
			x.end()
		})
	}
}
