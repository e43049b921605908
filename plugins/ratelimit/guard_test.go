package ratelimit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/pipeline"
)

func presents(x *pipeline.Exchange) { x.Presents = true }

// guarded says whether Guard lets a request through.
func (w *world) guarded(more ...func(*pipeline.Exchange)) bool {
	w.t.Helper()
	x := w.exchange(more...)
	return w.Run(pipeline.Guard, x) == pipeline.Continue
}

// TestI10_ExhaustedLevelsRefuseBeforeAnyCrypto: in Guard, where nobody knows yet who
// calls; levels that a credential may change are asked only of who shows none.
func TestI10_ExhaustedLevelsRefuseBeforeAnyCrypto(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, level string
		exhaust     []func(*pipeline.Exchange)
		nobody      bool // whether one without a credential passes Guard then
		somebody    bool // and one that shows one
	}{
		{"an address", "ip: {policy: one}", nil, false, false},
		{"everybody", "global: {policy: one}", nil, false, false},
		{"a template", `team: {by: "{header.X-Team}", policy: one}`, nil, false, false},
		{"anonymous callers", "ip: {policy: one, callers: anonymous}", nil, false, true},
		{"callers who may be upgraded", "ip: {policy: one, upgrade: [{scope: premium, policy: five}]}", nil, false, true},
		{"the address in place of a user", "user: {policy: one}", nil, false, true},
		{"a user", "user: {policy: one}", []func(*pipeline.Exchange){user("ann")}, true, true},
		{"authenticated callers", "ip: {policy: one, callers: authenticated}", []func(*pipeline.Exchange){user("ann")}, true, true},
		{"a template of the principal", `who: {by: "{principal.user}", policy: one}`, []func(*pipeline.Exchange){user("ann")}, true, true},
	} {
		w := build(t, "{levels: {"+c.level+"}}")
		if !w.guarded() || !w.guarded(presents) {
			t.Errorf("%s: refused before anything was counted", c.name)
		}
		w.wants(c.name, w.statuses(2, c.exhaust...), "200 429")
		if got := w.guarded(); got != c.nobody {
			t.Errorf("%s: without a credential Guard lets through %v, want %v", c.name, got, c.nobody)
		}
		if got := w.guarded(presents); got != c.somebody {
			t.Errorf("%s: with a credential Guard lets through %v, want %v", c.name, got, c.somebody)
		}
		w.clock.Advance(time.Minute)
		if !w.guarded() || !w.guarded(presents) {
			t.Errorf("%s: refused though there is something left again", c.name)
		}
	}
}

// TestI10_TheDenialInGuardIsTheSame but for what it can't know.
func TestI10_TheDenialInGuardIsTheSame(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: two}}}`)
	w.statuses(2)
	w.clock.Advance(9700 * time.Millisecond)
	asked := w.run(w.exchange())
	x := w.exchange()
	if w.Run(pipeline.Guard, x) != pipeline.Respond {
		t.Fatal("Guard lets it through")
	}
	remembered := w.run(w.exchange())
	if asked != remembered || !strings.Contains(asked, "\nRetry-After: 21\n") || !strings.Contains(asked, "X-RateLimit-Reset: 51\n") || !strings.Contains(asked, "X-RateLimit-Remaining: 0\n") {
		t.Errorf("asked, the store says\n%s\nand Guard\n%s", asked, remembered)
	}
}

// counting is a store that says how often it was asked.
type counting struct {
	limit.Store
	asked int
}

func (c *counting) Take(charges []limit.Charge) (int, error) {
	c.asked++
	return c.Store.Take(charges)
}

// TestWhatIsRememberedCostsNoStore: neither in Guard nor in Limit, for users who are
// known by then.
func TestWhatIsRememberedCostsNoStore(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {user: {policy: one}}}`)
	store := &counting{Store: w.limits.Store}
	w.limits.Store = store
	w = rebuilt(w, `{levels: {user: {policy: one}}}`)
	w.wants("a user", w.statuses(10, user("ann")), "200 429 429 429 429 429 429 429 429 429")
	if store.asked != 2 {
		t.Errorf("the store was asked %d times, want 2", store.asked)
	}
	w.clock.Advance(time.Minute)
	w.wants("a minute later", w.statuses(2, user("ann")), "200 429")
}
