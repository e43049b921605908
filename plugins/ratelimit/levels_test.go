package ratelimit_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/plugins/ratelimit"
)

// keys are the counters that a request was charged to, in the order of its levels.
func (w *world) keys(more ...func(*pipeline.Exchange)) string {
	w.t.Helper()
	x := w.exchange(more...)
	if w.Run(pipeline.Limit, x) != pipeline.Continue {
		w.t.Fatalf("refused with %s", x.Fault)
	}
	var out []string
	for i := range x.Limits.Charges {
		out = append(out, x.Limits.Levels[i]+"="+strings.TrimPrefix(string(x.Limits.Charges[i].Key), "rate_limit:"))
	}
	return strings.Join(out, " ")
}

// TestRL2_EachLevelHasItsCounter, from the narrowest level, and by name among those
// of one kind; a caller without what a level counts by is counted by otherwise.
func TestRL2_EachLevelHasItsCounter(t *testing.T) {
	t.Parallel()
	w := build(t, `
levels:
  global: {policy: many}
  service: {policy: many}
  route: {policy: many}
  ip: {policy: many}
  z-ip: {by: ip, policy: short}
  api_key: {policy: many, otherwise: route}
  client: {policy: many, otherwise: service}
  user: {policy: many}
`)
	everybody := principal.Principal{User: "ann", Client: "app", Key: "k1"}
	w.wants("all", w.keys(as(everybody)), "user=user:ann:many client=client:app:many api_key=api_key:k1:many ip=ip:192.0.2.1:many z-ip=sliding:ip:192.0.2.1:short route=route:test:many service=service:none:many global=global:many")
	// Whom nothing is known of comes to counters that other levels charge: once.
	w.wants("nobody", w.keys(), "user=ip:192.0.2.1:many client=service:none:many api_key=route:test:many z-ip=sliding:ip:192.0.2.1:short global=global:many")
	w.wants("a key without a user", w.keys(as(principal.Principal{Client: "app", Key: "k1"})),
		"user=ip:192.0.2.1:many client=client:app:many api_key=api_key:k1:many z-ip=sliding:ip:192.0.2.1:short route=route:test:many service=service:none:many global=global:many")
	sum := sha256.Sum256([]byte(strings.Repeat("x", 300)))
	w.wants("odd ids", w.keys(as(principal.Principal{User: "a:b{c}", Client: strings.Repeat("x", 300), Key: "\n"})),
		"user=user:a%3Ab%7Bc%7D:many client=client:%sha256%"+base64.RawURLEncoding.EncodeToString(sum[:])+":many api_key=api_key:%0A:many ip=ip:192.0.2.1:many z-ip=sliding:ip:192.0.2.1:short route=route:test:many service=service:none:many global=global:many")
}

func TestRL2_Templates(t *testing.T) {
	t.Parallel()
	w := build(t, `
levels:
  team: {by: "{host}/{header.x-team}", policy: many}
  tenant: {by: "{host.tenant}", policy: many, otherwise: global}
  session: {by: "{principal.user}@{principal.session}", policy: short}
`)
	w.wants("somebody", w.keys(as(principal.Principal{User: "ann", Client: "app", Session: "s1"})),
		"session=sliding:session:ann%40s1:short team=team:h%2Fred:many tenant=global:many")
	w.wants("a session is missing", w.keys(as(principal.Principal{User: "ann", Client: "app"})),
		"session=sliding:ip:192.0.2.1:short team=team:h%2Fred:many tenant=global:many")
	without := func(x *pipeline.Exchange) { x.Request.Header.Del("X-Team") }
	w.wants("a field is missing", w.keys(without), "session=sliding:ip:192.0.2.1:short team=ip:192.0.2.1:many tenant=global:many")
	long := func(x *pipeline.Exchange) { x.Request.Header.Set("X-Team", strings.Repeat("t", 5000)) }
	if got := w.keys(long); !strings.Contains(got, "team=team:%sha256%") || len(got) > 300 {
		t.Errorf("5,000 bytes became %s", got)
	}
}

// TestRL2_AnIPv6CallerIsItsNetwork: it has 2^64 addresses to choose from.
func TestRL2_AnIPv6CallerIsItsNetwork(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: one}}}`)
	w.wants("key", w.keys(from("2001:db8:1:2:3:4:5:6")), "ip=ip:2001%3Adb8%3A1%3A2%3A%3A:one")
	w.wants("its neighbours", w.statuses(1, from("2001:db8:1:2::1"))+" "+w.statuses(1, from("2001:db8:1:2:ffff::")), "429 429")
	w.wants("the next network", w.statuses(1, from("2001:db8:1:3::1")), "200")
	w.wants("an IPv4 address", w.statuses(1, from("198.51.100.1"))+" "+w.statuses(1, from("198.51.100.2")), "200 200")
	w.wants("the same as IPv6", w.statuses(1, from("::ffff:198.51.100.1")), "429")
	broken := func(x *pipeline.Exchange) { x.Client = netip.Addr{} }
	w.wants("one that could not be read is its peer", w.keys(broken), "ip=ip:192.0.2.1:one")
}

func TestRL2_Callers(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: two, callers: anonymous}, user: {policy: one, callers: authenticated}}}`)
	w.wants("anonymous", w.statuses(3), "200 200 429")
	w.wants("authenticated from there", w.statuses(2, user("ann")), "200 429")
	w.wants("another user", w.statuses(1, user("bob")), "200")
	none := build(t, `{levels: {ip: {policy: one, callers: authenticated}}}`)
	w.wants("nothing concerns them", none.statuses(2), "200 200")
	if text := none.run(none.exchange()); strings.Contains(text, "RateLimit") {
		t.Errorf("nothing was counted, and it says\n%s", text)
	}
}

func TestRL5_Upgrades(t *testing.T) {
	t.Parallel()
	w := build(t, `
levels:
  user:
    policy: one
    upgrade:
      - {scope: premium, claim: {/plan: [pro, team]}, policy: five}
      - {scope: premium, policy: two}
      - {client: partner, bypass: true}
`)
	pro := func(x *pipeline.Exchange) { x.Claims = map[string]any{"plan": "pro"} }
	w.wants("plain", w.statuses(2, user("a")), "200 429")
	w.wants("premium", w.statuses(3, user("b", "premium")), "200 200 429")
	w.wants("a wider scope covers", w.statuses(3, user("c", "*")), "200 200 429")
	w.wants("a claim alone", w.statuses(2, user("d"), pro), "200 429")
	w.wants("premium with the claim", w.statuses(6, user("e", "premium"), pro), "200 200 200 200 200 429")
	partner := as(principal.Principal{User: "f", Client: "partner"})
	w.wants("a partner", w.statuses(4, partner), "200 200 200 200")
	// It is counted all the same.
	if got := w.statuses(1, user("f")); got != "429" {
		t.Errorf("what passed by was not counted: %s", got)
	}
	if text := w.run(w.exchange(partner)); strings.Contains(text, "RateLimit") {
		t.Errorf("nothing limits the partner, and it says\n%s", text)
	}
}

// TestRL5_OwnPolicies: a key or client that carries a policy is counted by that, where
// the level counts who they are.
func TestRL5_OwnPolicies(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {api_key: {policy: one, upgrade: [{scope: premium, policy: five}]}, ip: {policy: many}}}`)
	held, _ := principal.NewScopes([]string{"premium"})
	w.wants("its own", w.keys(as(principal.Principal{Client: "app", Key: "k", Policy: "two"})), "api_key=api_key:k:two ip=ip:192.0.2.1:many")
	w.wants("one that is gone", w.keys(as(principal.Principal{Client: "app", Key: "k", Policy: "gone"})), "api_key=api_key:k:one ip=ip:192.0.2.1:many")
	w.wants("an upgrade says more", w.keys(as(principal.Principal{Client: "app", Key: "k", Policy: "two", Scopes: held})), "api_key=api_key:k:five ip=ip:192.0.2.1:many")
	w.wants("who has no key is counted by the address", w.keys(as(principal.Principal{Client: "app", Policy: "two"})), "api_key=ip:192.0.2.1:one ip=ip:192.0.2.1:many")
}

func TestRL3_RoutesShareAPolicyUnlessTheySayNo(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: two}}}`)
	at := func(route, options string) *world {
		d := plugintest.Deps(t)
		d.Limits, d.Policies, d.Route = w.limits, policies, route
		other := *w
		other.Built = plugintest.BuildWith(t, ratelimit.Plugin, options, d)
		return &other
	}
	same, own := at("b", `{levels: {ip: {policy: two}}}`), at("c", `{levels: {ip: {policy: two, scope: route}}}`)
	w.wants("one here", w.statuses(1), "200")
	w.wants("one there", same.statuses(2), "200 429")
	w.wants("and its own", own.statuses(3), "200 200 429")
	w.wants("key", own.keys(from("192.0.2.9")), "ip=ip:192.0.2.9:two@c")
}

func TestRL1_Cost(t *testing.T) {
	t.Parallel()
	w := build(t, `{cost: 3, levels: {ip: {policy: five}, user: {policy: five, upgrade: [{scope: small, policy: two}]}}}`)
	if got := w.run(w.exchange(user("a"))); !strings.Contains(got, "X-RateLimit-Remaining: 2\n") {
		t.Errorf("got\n%s", got)
	}
	// Two are left: none of these passes, but a request that costs less would.
	w.wants("too dear now", w.statuses(2, user("b")), "429 429")
	w.wants("what costs less", rebuilt(w, `{levels: {ip: {policy: five}}}`).statuses(3), "200 200 429")
	// What can never pass says so.
	got := w.run(w.exchange(user("c", "small"), from("192.0.2.77")))
	if !strings.Contains(got, "\nRetry-After: 3600\n") || !strings.Contains(got, `"detail":"a request here costs more than level user of the rate limit ever admits at once"`) {
		t.Errorf("got\n%s", got)
	}
	if got := w.keys(user("d"), from("192.0.2.77")); got == "" {
		t.Error("the denial was charged")
	}
}

// TestRL7_PoliciesChangeWithoutLosingCounts: a wider policy lets more through at once,
// and what was counted stays counted.
func TestRL7_PoliciesChangeWithoutLosingCounts(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: two}}}`)
	w.wants("two", w.statuses(4), "200 200 429 429")
	wide := map[string]*limit.Policy{"two": {Name: "two", Algorithm: limit.TokenBucket, Count: 2, Per: time.Minute, Burst: 5}}
	w.limits.Replace(wide)
	w.wants("three more", w.statuses(5), "200 200 200 429 429")
	w.limits.Override(map[string]*limit.Policy{"two": {Name: "two", Algorithm: limit.TokenBucket, Count: 2, Per: time.Minute, Burst: 7}})
	w.wants("the table's", w.statuses(3), "200 200 429")
	w.limits.Override(nil)
	w.limits.Replace(nil) // a configuration that knows it no more takes over
	w.wants("what the route was built with", w.statuses(1), "429")
}
