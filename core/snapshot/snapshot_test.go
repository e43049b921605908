package snapshot_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// bench compiles configurations and counts what their parts open and close.
type bench struct {
	t        *testing.T
	services *upstream.Registry
	parts    snapshot.Parts
	open     atomic.Int64 // plugin instances that are not closed
}

type options struct {
	Fail bool `yaml:"fail" default:"false" doc:"Refuse to be built."`
}

type nothing struct{}

func (nothing) Close() {}

func (nothing) Count() (open, idle int) { return 0, 0 }

func newBench(t *testing.T) *bench {
	b := &bench{t: t, services: upstream.NewRegistry(func(upstream.Key) upstream.Connections { return nothing{} })}
	counted := plugin.Of("counted", nil, func(o options, _ *plugin.Deps) (pipeline.Instance, error) {
		if o.Fail {
			return pipeline.Instance{}, errors.New("told to fail")
		}
		b.open.Add(1)
		var i pipeline.Instance
		i.Hooks[pipeline.Guard] = func(*pipeline.Exchange) pipeline.Verdict { return pipeline.Continue }
		i.Hooks[pipeline.Receive] = func(*pipeline.Exchange) pipeline.Verdict { return pipeline.Respond }
		i.Close = func() { b.open.Add(-1) }
		return i, nil
	})
	plain := plugin.Of("plain", nil, func(options, *plugin.Deps) (pipeline.Instance, error) { return pipeline.Instance{}, nil })
	set := meter.NewSet(time.Now)
	b.parts = snapshot.Parts{
		Plugins: []plugin.Plugin{counted, plain}, Services: b.services, Meter: set,
		Deps: plugin.Deps{Meter: set, Clock: clock.Real(), Log: zerolog.Nop(), Keeper: plugin.NewKeeper(zerolog.Nop())},
	}
	return b
}

func (b *bench) load(yaml string) *config.Config {
	b.t.Helper()
	cfg, report := config.Load(config.LoadOptions{
		Files: []string{"gw.yaml"}, ReadFile: func(string) ([]byte, error) { return []byte(yaml), nil },
		Plugins: []string{"counted", "plain"},
		CheckPlugin: func(name string, n *setting.Node, cfg *config.Config, r *setting.Report) {
			for _, p := range b.parts.Plugins {
				if p.Name == name {
					p.Check(n, plugin.Around{Policies: cfg.LimitPolicies()}, r)
				}
			}
		},
	})
	if report.Failed() {
		b.t.Fatal(report.Err())
	}
	return cfg
}

func (b *bench) compile(yaml string) *snapshot.Snapshot {
	b.t.Helper()
	s, err := snapshot.Compile(b.load(yaml), b.parts)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// exchange is one as the walk hands it to Match.
func exchange(s *snapshot.Snapshot, method, host, target string) *pipeline.Exchange {
	x := pipeline.NewFactory(func(*pipeline.Exchange) {}).New()
	x.Request, x.Response, x.Head = &fasthttp.Request{}, &fasthttp.Response{}, &wire.RequestHead{}
	x.Request.Header.SetMethod(method)
	x.Request.Header.SetRequestURI(target)
	x.Request.Header.SetHost(host)
	x.Peer.Listener, x.Route = "public", s.None
	if x.SetHost([]byte(host)) != nil || x.SetTarget(s.Path) != nil {
		return nil
	}
	return x
}

const services = `
services:
  a: {endpoints: [{url: "http://127.0.0.1:1", weight: 2}, {url: "http://127.0.0.1:2"}], balance: least_requests,
      timeouts: {response: 3s}, retry: {retries: 2, per_try: 1s, when: [connect, 503], budget: 10%, backoff: {initial: 1ms, maximum: 2ms}}}
  b: {endpoints: [{url: "http://127.0.0.1:3"}], balance: random}
`

const whole = services + `
trusted_proxies: [10.0.0.0/8]
defaults: {plugins: {counted: {}}}
routes:
  rest: {match: {path: "/a/{rest...}"}, service: a, rewrite: "/x/{rest}", host: fixed.example, limits: {body: unlimited, buffer: 1KiB}, trailers: [X-Sum]}
  item: {match: {path: "/a/{id:[0-9]+}", methods: [GET]}, service: b, host: preserve, timeouts: {response: 1s}, retry: {idempotency_key: true}}
  odd: {match: {path: "/odd/{rest...}"}, service: a, path: {encoded_slashes: allow, double_slashes: keep}, plugins: {counted: off, plain: {}}}
  strip: {match: {path: "/strip/{rest...}"}, service: a, strip_prefix: /strip}
  away: {match: {path: "/away/{id}"}, redirect: {to: "/a/{id}", status: 308}}
  query: {match: {path: /query}, redirect: {to: "/a?b=c"}}
  fixed: {match: {path: /fixed}, respond: {status: 201, body: made}}
  two: {match: {paths: ["/t/{x}/{y}", "/u/{x}"]}, service: a, rewrite: "/{x}"}
`

func TestRoutesAreCompiledAsDeclared(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.compile(whole)
	rest := s.Routes["rest"]
	if rest.ServiceName() != "a" || rest.HostName != "fixed.example" || rest.PreserveHost || rest.BodyLimit != pipeline.Unlimited ||
		rest.Buffer != 1<<10 || len(rest.Trailers) != 1 || rest.Rewrite.String() != "/x/{rest}" || !strings.HasPrefix(rest.At, "gw.yaml:") {
		t.Errorf("rest: %+v", rest)
	}
	if r := rest.Destinations[0].Retry; r.Retries != 2 || r.PerTry != time.Second || r.When != upstream.OnConnect|upstream.On503 || r.Budget != 0.1 || r.Backoff.Initial != time.Millisecond {
		t.Errorf("retry: %+v", r)
	}
	item := s.Routes["item"]
	if !item.PreserveHost || item.HostName != "" || !item.Destinations[0].RetryIdempotencyKey || item.Destinations[0].Timeouts.Response != time.Second || item.Destinations[0].Timeouts.Connect != time.Second {
		t.Errorf("item: %+v", item)
	}
	if odd := s.Routes["odd"]; !odd.Path.EncodedSlashes || !odd.Path.DoubleSlashes || len(odd.Chain.Named()) != 1 {
		t.Errorf("odd: %+v", odd)
	}
	if away := s.Routes["away"].Redirect; away.Status != 308 || !away.KeepQuery || s.Routes["query"].Redirect.KeepQuery {
		t.Errorf("away: %+v", away)
	}
	if fixed := s.Routes["fixed"].Respond; fixed.Status != 201 || string(fixed.Body) != "made" {
		t.Errorf("fixed: %+v", fixed)
	}
	if s.None.Name != snapshot.RouteNone || s.None.ServiceName() != pipeline.NoService || len(s.Ordered()) != 8 {
		t.Errorf("none: %+v, %d routes", s.None, len(s.Ordered()))
	}
	if verdict := s.Receive(exchange(s, "GET", "h", "/")); verdict != pipeline.Respond {
		t.Error("the hooks of Receive did not run")
	}
	if err := s.Close(); err != nil || b.open.Load() != 0 {
		t.Errorf("closing: %v, %d instances open", err, b.open.Load())
	}
	if services, endpoints := b.services.Len(); services != 0 || endpoints != 0 {
		t.Errorf("%d services and %d endpoints are held after Close", services, endpoints)
	}
}

func TestMatchSaysWhatBecomesOfARequest(t *testing.T) {
	t.Parallel()
	s := newBench(t).compile(whole)
	for _, c := range []struct {
		method, target string
		want           snapshot.Outcome
		route, path    string
	}{
		{"GET", "/a/b/c", snapshot.Matched, "rest", "/a/b/c"},
		{"GET", "/a/7", snapshot.Matched, "item", "/a/7"},
		{"GET", "/a//7", snapshot.Matched, "item", "/a/7"},
		{"GET", "/a/b%2fc", snapshot.BadPath, "none", "/a/b%2Fc"},
		{"GET", "/odd/b%2fc", snapshot.Matched, "odd", "/odd/b%2Fc"},
		{"GET", "/odd//b", snapshot.Matched, "odd", "/odd//b"},
		{"GET", "/odd/x/..//b", snapshot.Matched, "odd", "/odd//b"},
		{"GET", "//odd//b", snapshot.Matched, "odd", "/odd//b"},
		{"GET", "/nothing", snapshot.NoRoute, "none", "/nothing"},
		{"GET", "/", snapshot.NoRoute, "none", "/"},
	} {
		x := exchange(s, c.method, "h", c.target)
		got := s.Match(x)
		if got != c.want || x.Route.Name != c.route || string(x.Path) != c.path {
			t.Errorf("%s %s: %v, route %s, path %s; want %v, %s, %s", c.method, c.target, got, x.Route.Name, x.Path, c.want, c.route, c.path)
		}
	}
}

// TestAKeptPathMustMatchTheSameRoute: a policy chosen by one path must not guard
// another.
func TestAKeptPathMustMatchTheSameRoute(t *testing.T) {
	t.Parallel()
	s := newBench(t).compile(services + `
routes:
  kept: {match: {path: "/k/{x}/{y}"}, service: a, path: {double_slashes: keep}}
`)
	x := exchange(s, "GET", "h", "/k//1/2")
	if got := s.Match(x); got != snapshot.NoRoute || x.Route != s.None {
		t.Errorf("got %v, route %s", got, x.Route.Name)
	}
}

func TestAllowAndExplain(t *testing.T) {
	t.Parallel()
	s := newBench(t).compile(services + `
routes:
  get: {match: {path: /a, methods: [GET]}, service: a}
  put: {match: {path: /a, methods: [PUT]}, service: b}
`)
	x := exchange(s, "DELETE", "h", "/a")
	if got := s.Match(x); got != snapshot.MethodNotAllowed {
		t.Errorf("got %v", got)
	}
	if got := string(s.Allow(nil, x)); got != "GET, HEAD, PUT, OPTIONS" {
		t.Errorf("Allow: %q", got)
	}
	if steps := s.Explain(x); len(steps) != 2 || steps[0].Matched || steps[1].Matched {
		t.Errorf("steps: %+v", steps)
	}
	for outcome, want := range map[snapshot.Outcome]string{
		snapshot.Matched: "the route's answer", snapshot.NoRoute: "404 no_route",
		snapshot.MethodNotAllowed: "405 method_not_allowed", snapshot.BadPath: "400 bad_request",
	} {
		if outcome.String() != want {
			t.Errorf("%d is %q, want %q", outcome, outcome, want)
		}
	}
}

func TestAFailedCompileLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, yaml := range map[string]string{
		"a plugin of a route": services + `
defaults: {plugins: {counted: {}}}
routes:
  a: {match: {path: /a}, service: a}
  b: {match: {path: /b}, service: b, plugins: {counted: {fail: true}}}
`,
		"a default plugin": services + `
defaults: {plugins: {plain: {}, counted: {fail: true}}}
routes: {a: {match: {path: /a}, service: a, plugins: {counted: off}}}
`,
	} {
		_, err := snapshot.Compile(b.load(yaml), b.parts)
		if err == nil || !strings.Contains(err.Error(), "told to fail") || !strings.Contains(err.Error(), "gw.yaml:") {
			t.Errorf("%s: %v", name, err)
		}
		services, endpoints := b.services.Len()
		if b.open.Load() != 0 || services != 0 || endpoints != 0 {
			t.Errorf("%s: %d instances, %d services, %d endpoints left", name, b.open.Load(), services, endpoints)
		}
	}
}

func TestBuiltInRoutesStandInTheSameTable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.parts.BuiltIns = []snapshot.BuiltIn{{
		Name: "probe", Match: router.Match{Paths: []string{"/readyz"}, Methods: []string{"GET"}},
		Answer: func(*pipeline.Exchange) pipeline.Verdict { return pipeline.Respond },
	}}
	s := b.compile(services + `routes: {all: {match: {path: "/{rest...}"}, service: a}}`)
	x := exchange(s, "GET", "h", "/readyz")
	if s.Match(x) != snapshot.Matched || x.Route.Name != "probe" || x.Route.BuiltIn(x) != pipeline.Respond {
		t.Errorf("route %s", x.Route.Name)
	}
	b.parts.BuiltIns = append(b.parts.BuiltIns, b.parts.BuiltIns[0])
	if _, err := snapshot.Compile(b.load(services+`routes: {all: {match: {path: "/{rest...}"}, service: a}}`), b.parts); err == nil {
		t.Error("two built-in routes with one match were accepted")
	}
}

func TestASnapshotIsIdleWhenAllHaveLeft(t *testing.T) {
	t.Parallel()
	s := newBench(t).compile(whole)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for range 1000 {
				s.Enter(uint32(i))
				if s.Idle() {
					t.Error("idle while an exchange walks it")
				}
				s.Release(uint32(i))
			}
		})
	}
	callers.Wait()
	if !s.Idle() || s.InFlight() != 0 {
		t.Errorf("idle %v, in flight %d", s.Idle(), s.InFlight())
	}
	s.Enter(3)
	if s.Idle() || s.InFlight() != 1 {
		t.Errorf("idle %v, in flight %d", s.Idle(), s.InFlight())
	}
}

func TestTenThousandRoutesCompile(t *testing.T) {
	t.Parallel()
	var yaml strings.Builder
	yaml.WriteString(services + "routes:\n")
	for i := range 10_000 {
		fmt.Fprintf(&yaml, "  r%d: {match: {path: \"/s%d/{id}/x\"}, service: a}\n", i, i)
	}
	s := newBench(t).compile(yaml.String())
	x := exchange(s, "GET", "h", "/s9999/7/x")
	if s.Match(x) != snapshot.Matched || x.Route.Name != "r9999" || string(x.Params.Get("id")) != "7" {
		t.Errorf("route %s", x.Route.Name)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// copies is a Copier that counts how often it is closed.
type copies struct{ closed *atomic.Int64 }

func (copies) Copy(*pipeline.Exchange, []byte, []byte) {}

func (copies) Skip(uint32) {}

func (c copies) Close() { c.closed.Add(1) }

func TestRT5_RoutesWithSeveralServices(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var made, closed atomic.Int64
	b.parts.Copier = func(r *pipeline.Route, to *pipeline.Destination) pipeline.Copier {
		made.Add(1)
		if to.Service.Name != "c" || to.Timeouts.Total != 3*time.Second || !r.PreserveHost {
			t.Errorf("copies of %s go to %+v", r.Name, to)
		}
		return copies{&closed}
	}
	s := b.compile(`
services:
  a: {endpoints: [{url: "http://127.0.0.1:1"}], timeouts: {total: 9s, connect: 2s}}
  b: {endpoints: [{url: "http://127.0.0.1:2"}], retry: off}
  c: {endpoints: [{url: "http://127.0.0.1:3"}], timeouts: {total: 3s}, balance: {consistent_hash: {by: {header: X-Team}}}}
routes:
  split:
    match: {path: /split}
    host: preserve
    split: {a: 1, b: {weight: 3, timeouts: {idle: 1s}}}
    split_by: {header: X-Team}
    timeouts: {total: 5s}
    retry: {idempotency_key: true}
    pin: [{headers: {X: "1"}, service: a}, {user: ann, service: c}]
    mirror: {service: c, share: 50%}
  one: {match: {path: /one}, split: {a: 1}}
  cookie: {match: {path: /cookie}, split: {a: 1, b: 1}, split_by: {cookie: s}}
  pinned: {match: {path: /pinned}, service: a, pin: [{query: {v: "1"}, service: b}]}
`)
	r := s.Routes["split"]
	if len(r.Destinations) != 3 || r.Split.Pins[0].To != r.Split.Shares[0].To || r.Split.Pins[1].To != r.Destinations[2] || len(r.Services()) != 3 {
		t.Errorf("a service with the same numbers is not one destination: %+v", r.Destinations)
	}
	for i, want := range []string{"a 2s 1m0s 5s 1", "b 1s 1s 5s 1", "c 1s 1m0s 5s 1"} {
		d := r.Destinations[i]
		if got := fmt.Sprint(d.Service.Name, " ", d.Timeouts.Connect, " ", d.Timeouts.Idle, " ", d.Timeouts.Total, " ", d.Retry.Retries); got != want || !d.RetryIdempotencyKey || d.Series == nil {
			t.Errorf("destination %d: %s, %+v, want %s", i, got, d, want)
		}
	}
	if r.Split.String() != "split a 25%, b 75%, sticky by header X-Team" || r.ServiceName() != pipeline.NoService || r.Mirror.String() != "50% to c" ||
		r.Destinations[2].Affinity.String() != "header X-Team" || r.Destinations[0].Affinity.String() != "nothing" {
		t.Errorf("it says %s, %s, %s", r.Split, r.ServiceName(), r.Mirror)
	}
	if one := s.Routes["one"]; one.Split != nil || one.ServiceName() != "a" {
		t.Errorf("one service is a split: %+v", one)
	}
	if got := s.Routes["cookie"].Split.By.String(); got != "cookie s" {
		t.Errorf("by %s", got)
	}
	if pinned := s.Routes["pinned"].Split; pinned.String() != "service a" || pinned.Pins[0].To.Service.Name != "b" || pinned.Pins[0].To.Retry.Retries != 0 {
		t.Errorf("pinned: %+v", pinned)
	}
	if err := s.Close(); err != nil || made.Load() != 1 || closed.Load() != 1 {
		t.Errorf("%v; %d copiers made, %d closed", err, made.Load(), closed.Load())
	}
	if services, endpoints := b.services.Len(); services+endpoints > 0 {
		t.Errorf("%d services and %d endpoints are held", services, endpoints)
	}
}
