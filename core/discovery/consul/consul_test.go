package consul_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/discovery/consul"
	"github.com/suuupra/gateway/core/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent speaks the part of Consul's HTTP API that is asked for: /v1/health/service with
// its blocking queries, indexes and headers.
type agent struct {
	*httptest.Server

	mu        sync.Mutex
	changed   chan struct{} // closed at each change
	index     uint64
	instances []map[string]any
	headers   map[string]string
	answer    http.HandlerFunc // in place of all that, if not nil
	asked     []string
	tokens    []string
}

func newAgent(t testing.TB) *agent {
	a := &agent{changed: make(chan struct{}), index: 10, headers: map[string]string{"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// set changes what the agent knows.
func (a *agent) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// instance is one as Consul 1.13 writes it, as far as it is read.
func instance(id, node, address string, port, weight int) map[string]any {
	return map[string]any{
		"Node":    map[string]any{"ID": "9f1c", "Node": "n1", "Address": node, "Datacenter": "dc1"},
		"Service": map[string]any{"ID": id, "Service": "shop", "Tags": []string{"v1"}, "Address": address, "Port": port, "Weights": map[string]int{"Passing": weight, "Warning": 1}},
		"Checks":  []any{map[string]any{"CheckID": "serfHealth", "Status": "passing"}},
	}
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked, a.tokens = append(a.asked, r.URL.String()), append(a.tokens, r.Header.Get("X-Consul-Token"))
	if a.answer != nil {
		a.answer(w, r)
		return
	}
	index, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	over := time.After(wait)
	for index != 0 && a.index == index {
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
			a.mu.Lock()
			continue
		case <-over:
		case <-r.Context().Done():
		}
		a.mu.Lock()
		break
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(a.index, 10))
	for name, value := range a.headers {
		w.Header().Set(name, value)
	}
	_ = json.NewEncoder(w).Encode(a.instances)
}

var shop = upstream.Discovery{Source: consul.Name, Name: "shop", Tag: "v1"}

func (a *agent) open(t testing.TB) discovery.Query {
	t.Helper()
	return a.source(t, consul.Options{}).Open(shop)
}

func (a *agent) source(t testing.TB, o consul.Options) *consul.Source {
	t.Helper()
	if o.Address == "" {
		o.Address = a.URL
	}
	s, err := consul.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func next(t testing.TB, q discovery.Query, wait time.Duration) discovery.Answer {
	t.Helper()
	a, err := q.Next(context.Background(), wait)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func addresses(a discovery.Answer) string {
	var out []string
	for _, e := range a.Endpoints {
		out = append(out, fmt.Sprintf("%s=%d", e.Address, e.Weight))
	}
	return strings.Join(out, " ")
}

func fails(t testing.TB, q discovery.Query, kind discovery.Kind) {
	t.Helper()
	a, err := q.Next(context.Background(), time.Second)
	var e *discovery.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("answer %v, error %v; want one of kind %s", a, err, kind)
	}
}

// TestBlockingQueries: the first answer comes at once, the next with the next change.
func TestBlockingQueries(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.instances = []map[string]any{instance("1", "10.0.0.9", "10.0.0.1", 80, 5), instance("2", "10.0.0.9", "", 81, 1), instance("3", "fd00::9", "", 82, 0), nil, {}}
	q := a.open(t)
	first := next(t, q, time.Minute)
	if got, want := addresses(first), "10.0.0.1:80=5 10.0.0.9:81=1 [fd00::9]:82=0"; got != want || first.Doubtful {
		t.Errorf("found %s (doubtful: %v), want %s", got, first.Doubtful, want)
	}
	answer := make(chan discovery.Answer)
	go func() { answer <- next(t, q, time.Minute) }() // awaited below
	began := time.Now()
	a.set(func() { a.index, a.instances = 11, a.instances[:1] })
	if got := addresses(<-answer); got != "10.0.0.1:80=5" {
		t.Errorf("found %s", got)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a change took %v", took)
	}
	if got := addresses(next(t, q, 20*time.Millisecond)); got != "10.0.0.1:80=5" {
		t.Errorf("at the end of the wait: %s", got)
	}
	a.set(func() {})
	for _, want := range []string{"/v1/health/service/shop?", "tag=v1", "passing=1", "stale="} {
		if !strings.Contains(a.asked[0], want) {
			t.Errorf("asked %s, want %s in it", a.asked[0], want)
		}
	}
	if strings.Contains(a.asked[0], "index=") || !strings.Contains(a.asked[1], "index=10") || !strings.Contains(a.asked[2], "index=11") {
		t.Errorf("indexes of %q", a.asked)
	}
}

// TestIndexGoesBackwards, as it does after a restart: the next question has none, and what
// is answered is doubtful.
func TestIndexGoesBackwards(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.instances = []map[string]any{instance("1", "10.0.0.9", "10.0.0.1", 80, 1)}
	q := a.open(t)
	next(t, q, time.Minute)
	a.set(func() { a.index = 3 })
	if got := next(t, q, time.Minute); !got.Doubtful {
		t.Error("an answer from before is not doubtful")
	}
	if got := next(t, q, time.Minute); got.Doubtful {
		t.Error("the answer to a new question is doubtful")
	}
	if strings.Contains(a.asked[2], "index=") {
		t.Errorf("asked %s after an index went backwards", a.asked[2])
	}
	a.set(func() { a.index, a.headers["X-Consul-KnownLeader"] = 4, "false" })
	if got := next(t, q, time.Minute); got.Doubtful {
		t.Error("what an agent says that is streamed to is doubtful")
	}
}

// TestBadAnswers are errors, each of its kind; what comes after one is doubtful.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	with := func(body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Consul-Index", "10")
			w.Header().Set("X-Consul-LastContact", "0")
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			_, _ = io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kind   discovery.Kind
	}{
		"too often":     {status(http.StatusTooManyRequests), discovery.Overloaded},
		"a problem":     {status(http.StatusInternalServerError), discovery.Broken},
		"no token":      {status(http.StatusForbidden), discovery.Denied},
		"not known":     {status(http.StatusUnauthorized), discovery.Denied},
		"elsewhere":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ui/", http.StatusMovedPermanently) }, discovery.Nonsense},
		"HTML":          {with("<!DOCTYPE html><html>"), discovery.Nonsense},
		"other JSON":    {with(`{"instances": []}`), discovery.Nonsense},
		"half":          {with(`[{"Node":`), discovery.Unreachable},
		"no index":      {with("[]", "X-Consul-Index", ""), discovery.Nonsense},
		"no number":     {with("[]", "X-Consul-Index", "many"), discovery.Nonsense},
		"hidden by ACL": {with("[]", "X-Consul-Results-Filtered-By-ACLs", "true"), discovery.Denied},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Consul-Index", "10")
			piece := `{"Node":{"Meta":{"x":"` + strings.Repeat("y", 1<<20) + `"}}},`
			_, _ = io.WriteString(w, "[")
			for range 64 {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
		}, discovery.Nonsense},
		"a broken connection": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Consul-Index", "10")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "[")
			panic(http.ErrAbortHandler)
		}, discovery.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t)
			a.instances = []map[string]any{instance("1", "10.0.0.9", "10.0.0.1", 80, 1)}
			q := a.open(t)
			next(t, q, time.Minute)
			a.set(func() { a.answer = c.answer })
			fails(t, q, c.kind)
			fails(t, q, c.kind)
			a.set(func() { a.answer = nil })
			if got := next(t, q, time.Minute); !got.Doubtful || addresses(got) != "10.0.0.1:80=1" {
				t.Errorf("after it: %v", got)
			}
		})
	}
}

// TestAway: nobody listens, or nobody answers within the wait and a little.
func TestAway(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	q := a.open(t)
	a.Close()
	fails(t, q, discovery.Unreachable)
	b := newAgent(t)
	b.set(func() { b.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() } })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := b.open(t).Next(ctx, time.Minute)
	var e *discovery.Error
	if !errors.As(err, &e) || e.Kind != discovery.Timeout {
		t.Errorf("error %v, want one of kind timeout", err)
	}
}

// TestTokens are those of the configuration, never of the environment.
func TestTokens(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "of-the-environment")
	t.Setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	a := newAgent(t)
	s := a.source(t, consul.Options{Datacenter: "dc2"})
	q := s.Open(shop)
	next(t, q, time.Minute)
	s.SetToken("one")
	a.set(func() { a.index++ })
	next(t, q, time.Minute)
	a.set(func() {})
	if want := []string{"", "one"}; !slices.Equal(a.tokens, want) || !strings.Contains(a.asked[0], "dc=dc2") {
		t.Errorf("tokens %q, want %q; asked %q", a.tokens, want, a.asked)
	}
	if _, err := consul.New(consul.Options{Address: "http://[::1"}); err == nil {
		t.Error("an address that is none is taken")
	}
}
