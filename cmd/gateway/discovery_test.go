package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// registry answers what the gateway asks of Consul, blocking queries included. Its
// listener can go and come back at the same address.
type registry struct {
	t       *testing.T
	address string
	server  *http.Server

	mu      sync.Mutex
	changed chan struct{}
	index   int
	ports   []int
	token   string
}

func newRegistry(t *testing.T) *registry {
	r := &registry{t: t, address: "127.0.0.1:0", changed: make(chan struct{}), index: 10}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *registry) start() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.address = l.Addr().String()
	r.server = &http.Server{Handler: r}
	go func() { _ = r.server.Serve(l) }() // ended by kill
}

func (r *registry) kill() { _ = r.server.Close() }

// has sets where the service is.
func (r *registry) has(index int, ports ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.index, r.ports = index, ports
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	wait, _ := time.ParseDuration(q.URL.Query().Get("wait"))
	over := time.After(wait)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = q.Header.Get("X-Consul-Token")
	if q.URL.Query().Get("index") == strconv.Itoa(r.index) {
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-over:
		case <-q.Context().Done():
		}
		r.mu.Lock()
	}
	entries := []any{}
	for _, port := range r.ports {
		entries = append(entries, map[string]any{"Node": map[string]any{"Address": "127.0.0.1"}, "Service": map[string]any{"Port": port, "Weights": map[string]int{"Passing": 1}}})
	}
	h := w.Header()
	h.Set("X-Consul-Index", strconv.Itoa(r.index))
	h.Set("X-Consul-LastContact", "0")
	h.Set("X-Consul-KnownLeader", "true")
	_ = json.NewEncoder(w).Encode(entries)
}

// shop is an endpoint that answers its name.
func shop(t *testing.T, name string) int {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

const discovered = `listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s, drain: 5s}
discovery: {consul: {address: "http://%s", token_file: token}}
services: {shop: {consul: {service: shop, tag: v1}, timeouts: {total: %ds}}}
routes: {shop: {match: {path: /shop}, service: shop, plugins: {auth: off}}}
`

// bootDiscovered starts a gateway that asks consul, in a folder of an earlier one if
// there is one.
func bootDiscovered(t *testing.T, consul, earlier string) *running {
	t.Helper()
	folder := earlier
	if folder == "" {
		folder = t.TempDir()
	}
	writeFile(t, folder+"/token", "one\n")
	text := strings.NewReplacer("directory: state", "directory: "+folder+"/state", "token_file: token", "token_file: "+folder+"/token").Replace(fmt.Sprintf(discovered, consul, 5))
	r := boot(t, text, serveOptions{})
	r.folder = folder
	writeFile(t, folder+"/gateway.yaml", text)
	r.from.files = []string{folder + "/gateway.yaml"}
	return r
}

// TestUP6_EndpointsComeAndGo within a second, and Consul's absence, its emptiness and
// its loss of memory cost no request.
func TestUP6_EndpointsComeAndGo(t *testing.T) {
	one, two := shop(t, "one"), shop(t, "two")
	consul := newRegistry(t)
	consul.has(10, one)
	r := bootDiscovered(t, consul.address, "")
	if got := r.get("/shop"); got != "one" {
		t.Fatalf("the first request: %q\n%s", got, r.log)
	}

	var failed, sent atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // awaited below
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			sent.Add(1)
			if got := r.get("/shop"); got != "one" && got != "two" {
				failed.Add(1)
				t.Errorf("a request failed: %q", got)
			}
		}
	}()
	only := func(name string, within time.Duration) {
		t.Helper()
		began := time.Now()
		r.eventually("only "+name, func() bool {
			for range 4 {
				if r.get("/shop") != name {
					return false
				}
			}
			return true
		})
		if took := time.Since(began); took > within {
			t.Errorf("only %s after %v, want within %v", name, took, within)
		}
	}
	consul.has(11, two)
	only("two", 3*time.Second) // a second, on a machine that has one
	consul.has(12, one)
	only("one", 3*time.Second)

	consul.has(13)
	r.eventually("a word of the empty answer", func() bool { return strings.Contains(r.log.String(), `"kind":"empty"`) })
	consul.kill()
	r.eventually("a word of the outage", func() bool { return strings.Contains(r.log.String(), `"kind":"unreachable"`) })
	writeFile(t, r.folder+"/token", "two\n")
	text := strings.NewReplacer("total: 5s", "total: 6s")
	writeFile(t, r.folder+"/gateway.yaml", text.Replace(readText(t, r.folder+"/gateway.yaml")))
	if o := r.Reload(triggerSignal); len(o.Problems) > 0 {
		t.Errorf("reloading while Consul is away: %v", o.Problems)
	}
	only("one", patience)
	consul.has(3, two) // it has begun anew
	consul.start()
	r.eventually("what it knows now", func() bool { return r.get("/shop") == "two" })
	consul.mu.Lock()
	if consul.token != "two" {
		t.Errorf("asked with token %q after a reload", consul.token)
	}
	consul.mu.Unlock()
	close(stop)
	<-stopped
	t.Logf("%d of %d requests failed", failed.Load(), sent.Load())
	_, metrics := exchange(t, r.admin.Addr().String(), "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	for _, want := range []string{
		`gateway_discovery_errors_total{source="consul",kind="empty"}`, `gateway_discovery_errors_total{source="consul",kind="unreachable"}`,
		`gateway_discovery_endpoints{source="consul",name="consul shop with tag v1"} 2`, `gateway_discovery_age_seconds{source="consul"`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

// TestUP6_ColdStart with Consul down serves from disk; without anything there, it is 503
// until Consul comes.
func TestUP6_ColdStart(t *testing.T) {
	one := shop(t, "one")
	consul := newRegistry(t)
	consul.has(10, one)
	first := bootDiscovered(t, consul.address, "")
	first.get("/shop")
	if err := first.stop(nil); err != nil {
		t.Fatal(err)
	}
	consul.kill()
	second := bootDiscovered(t, consul.address, first.folder)
	if got := second.get("/shop"); got != "one" {
		t.Errorf("with Consul down: %q\n%s", got, second.log)
	}
	third := bootDiscovered(t, consul.address, "")
	if got := third.get("/shop"); !strings.Contains(got, "no_healthy_endpoint") {
		t.Errorf("with nothing known: %q", got)
	}
	consul.start()
	third.eventually("an answer", func() bool { return third.get("/shop") == "one" })
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
