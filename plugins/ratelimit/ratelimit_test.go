package ratelimit_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/plugins/ratelimit"
)

// policies are those that tests name.
var policies = map[string]*limit.Policy{
	"one":    {Name: "one", Algorithm: limit.TokenBucket, Count: 1, Per: time.Minute, Burst: 1},
	"two":    {Name: "two", Algorithm: limit.TokenBucket, Count: 2, Per: time.Minute, Burst: 2},
	"five":   {Name: "five", Algorithm: limit.TokenBucket, Count: 60, Per: time.Minute, Burst: 5},
	"window": {Name: "window", Algorithm: limit.SlidingWindow, Count: 3, Per: 64 * time.Second},
	"short":  {Name: "short", Algorithm: limit.SlidingWindow, Count: 10, Per: 640 * time.Millisecond},
	"huge":   {Name: "huge", Algorithm: limit.TokenBucket, Count: 1_000_000, Per: time.Second, Burst: 1_000_000},
	"many":   {Name: "many", Algorithm: limit.TokenBucket, Count: 1000, Per: time.Second, Burst: 1000},

	"huge-window": {Name: "huge-window", Algorithm: limit.SlidingWindow, Count: 1_000_000_000, Per: time.Hour},
}

// world is one instance that counts, and the clock it does so by.
type world struct {
	*plugintest.Built
	t      testing.TB
	clock  *clock.Fake
	limits *plugin.Limits
}

// build builds the plugin with options on a clock that stands.
func build(t testing.TB, options string) *world {
	t.Helper()
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	w := &world{t: t, clock: c, limits: gatewaytest.NewLimits(t, c)}
	w.limits.Replace(policies)
	d := plugintest.Deps(t)
	d.Limits, d.Policies, d.Clock = w.limits, policies, c
	w.Built = plugintest.BuildWith(t, ratelimit.Plugin, options, d)
	return w
}

// rebuilt is another route of the same instance.
func rebuilt(w *world, options string) *world {
	w.t.Helper()
	d := plugintest.Deps(w.t)
	d.Limits, d.Policies, d.Clock = w.limits, policies, w.clock
	other := *w
	other.Built = plugintest.BuildWith(w.t, ratelimit.Plugin, options, d)
	return &other
}

// exchange is a request of somebody from address; more says what else it is.
func (w *world) exchange(more ...func(*pipeline.Exchange)) *pipeline.Exchange {
	w.t.Helper()
	x := plugintest.Exchange(w.t, "GET /a HTTP/1.1\r\nHost: h\r\nX-Team: red\r\nX-Correlation-ID: id\r\n\r\n")
	x.Timing.Start = w.clock.Mono()
	for _, f := range more {
		f(x)
	}
	return x
}

// run runs Guard, Limit and Response, and returns what was answered.
func (w *world) run(x *pipeline.Exchange) string {
	w.t.Helper()
	x.Presents = x.Presents || x.Principal != nil
	p := x.Principal
	x.Principal = nil
	verdict := w.Run(pipeline.Guard, x)
	if x.Principal = p; verdict == pipeline.Continue {
		verdict = w.Run(pipeline.Limit, x)
	}
	if verdict == pipeline.Continue {
		plugintest.Answer(w.t, x, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
	w.Run(pipeline.Response, x)
	return plugintest.Text(x)
}

// passes is the statuses of n requests.
func (w *world) statuses(n int, more ...func(*pipeline.Exchange)) string {
	w.t.Helper()
	var out []string
	for range n {
		text, _, _ := strings.Cut(w.run(w.exchange(more...)), "\n")
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func (w *world) wants(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func from(address string) func(*pipeline.Exchange) {
	return func(x *pipeline.Exchange) { x.Client = netip.MustParseAddr(address) }
}

func as(p principal.Principal) func(*pipeline.Exchange) {
	return func(x *pipeline.Exchange) { x.Principal = &p }
}

func user(id string, scopes ...string) func(*pipeline.Exchange) {
	held, err := principal.NewScopes(scopes)
	if err != nil {
		panic(err)
	}
	return as(principal.Principal{User: id, Client: "app", Scopes: held})
}

// TestRL4_Fields holds the whole answer to the letter.
func TestRL4_Fields(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: five}, global: {policy: window}, team: {by: "{header.X-Team}", policy: short}}}`)
	got := w.run(w.exchange())
	want := `200
Content-Length: 0
RateLimit-Policy: "team";q=10, "ip";q=60;w=60, "global";q=3;w=64
RateLimit: "team";r=9;t=1, "ip";r=4;t=1, "global";r=2;t=65
X-RateLimit-Limit: 3
X-RateLimit-Remaining: 2
X-RateLimit-Reset: 65

`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("admitted (-want +got):\n%s", diff)
	}
	w.statuses(2)
	got = w.run(w.exchange())
	want = `429
Content-Type: application/problem+json
RateLimit-Policy: "team";q=10, "ip";q=60;w=60, "global";q=3;w=64
RateLimit: "team";r=7;t=1, "ip";r=2;t=3, "global";r=0;t=65
Retry-After: 65
X-RateLimit-Limit: 3
X-RateLimit-Remaining: 0
X-RateLimit-Reset: 65

{"type":"https://suuupra.dev/faults/rate_limited","title":"Rate limit exceeded","status":429,"code":"rate_limited","error":"Rate limit exceeded","detail":"level global of the rate limit is exhausted","retryAfter":65,"correlationId":"id"}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("denied (-want +got):\n%s", diff)
	}
	// The next one is denied by what is remembered: of the other levels nothing is known.
	got = w.run(w.exchange())
	want = strings.NewReplacer(`"team";q=10, "ip";q=60;w=60, `, "", `"team";r=7;t=1, "ip";r=2;t=3, `, "").Replace(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("denied again (-want +got):\n%s", diff)
	}
}

var errAway = errors.New("away")

// away is a store that decides nothing.
type away struct{}

func (away) Take([]limit.Charge) (int, error) { return 0, errAway }

func TestRL6_WhatCantBeCountedIs503(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: five}}}`)
	w.limits.Store = away{}
	w = rebuilt(w, `{levels: {ip: {policy: five}}}`)
	x := w.exchange()
	want := `503
Content-Type: application/problem+json
Retry-After: 1

{"type":"https://suuupra.dev/faults/store_unavailable","title":"Store unavailable","status":503,"code":"store_unavailable","error":"Store unavailable","detail":"requests can't be counted now","retryAfter":1,"correlationId":"id"}`
	if diff := cmp.Diff(want, w.run(x)); diff != "" || !errors.Is(x.Cause, errAway) {
		t.Errorf("cause %v (-want +got):\n%s", x.Cause, diff)
	}
}
