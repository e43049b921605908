// Package ratelimit is the plugin rate_limit: it says which counters a request is
// charged to, and refuses what they deny (SPEC RL1–RL7, SECURITY I10).
//
// What counts, and where, is none of its business: it asks a limit.Store once for all
// levels of a route, in phase Limit. In Guard, before any signature is verified, it only
// looks whether a level that it can tell already is known to be exhausted.
//
// The keys and charges of a request live in its exchange, so that nothing is allocated.
package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// Plugin is rate_limit.
var Plugin = plugin.OfAround("rate_limit", check, build)

// limiter is the levels of one route. It is immutable.
type limiter struct {
	store    limit.Store
	policies *limit.Policies
	known    *limit.Denied
	levels   []level // in the order in which they are asked
	cost     int64

	meter            *meter.Set
	exceeded, denied *meter.Tally
}

func build(o options, d *plugin.Deps) (pipeline.Instance, error) {
	l := &limiter{
		cost: o.Cost, meter: d.Meter,
		exceeded: d.Meter.Tally("gateway_rate_limit_exceeded_total", "Requests that a rate limit denied, by who called and the policy; further callers than telemetry.metrics.identities are other.", "user_id", "client_id", "policy"),
		denied:   d.Meter.Tally("gateway_rate_limit_denied_total", "Requests that a rate limit denied, by level and policy.", "level", "policy"),
	}
	if d.Limits != nil {
		if d.Limits.Store == nil {
			return pipeline.Instance{}, errors.New("BUG: nothing counts requests")
		}
		l.store, l.policies, l.known = d.Limits.Store, d.Limits.Policies, d.Limits.Denied
	}
	var instance pipeline.Instance
	for _, given := range o.Levels {
		v, err := newLevel(given, d)
		if err != nil {
			return pipeline.Instance{}, fmt.Errorf("levels.%s: %w", given.Name, err)
		}
		l.levels = append(l.levels, v)
	}
	slices.SortStableFunc(l.levels, func(a, b level) int { return cmp.Compare(a.by, b.by) }) // by name they are sorted
	for i := range l.levels {
		if l.levels[i].guard != never {
			instance.Hooks[pipeline.Guard] = l.guard
		}
		instance.Notes = append(instance.Notes, l.levels[i].String())
	}
	instance.Hooks[pipeline.Limit] = l.limit
	instance.Hooks[pipeline.Response] = l.respond
	return instance, nil
}

// guard is the Guard hook: what is known to be exhausted whoever calls is refused
// before anything is spent on finding that out (SECURITY I10).
func (l *limiter) guard(x *pipeline.Exchange) pipeline.Verdict {
	x.Limits.Reset()
	for i := range l.levels {
		v := &l.levels[i]
		if x.Route.Split != nil && (v.by == byService || v.otherwise == byService) {
			continue // who calls decides which service it is
		}
		if v.guard == always || v.guard == unlessPresented && !x.Presents {
			l.add(v, x)
		}
	}
	return l.recall(x)
}

// limit is the Limit hook: it charges all levels at once, or none (SPEC RL2).
func (l *limiter) limit(x *pipeline.Exchange) pipeline.Verdict {
	x.Limits.Reset()
	for i := range l.levels {
		if v := &l.levels[i]; v.concerns(x) {
			l.add(v, x)
		}
	}
	if len(x.Limits.Charges) == 0 {
		return pipeline.Continue
	}
	if verdict := l.recall(x); verdict != pipeline.Continue {
		return verdict
	}
	denied, err := l.store.Take(x.Limits.Charges)
	switch {
	case err != nil:
		x.Limits.Reset()
		return x.FailBy(uncounted, err)
	case denied == limit.Admitted:
		return pipeline.Continue
	}
	if wait := x.Limits.Charges[denied].Wait; wait != limit.Never {
		l.known.Note(x.Limits.Mark(denied), x.Timing.Start, x.Timing.Start+int64(wait))
	}
	return l.refuse(x, denied)
}

// uncounted answers where nobody could say whether a request may pass, and such are
// not let through.
var uncounted = fault.StoreUnavailable.Detail("requests can't be counted now")

// add adds the charge of one level.
func (l *limiter) add(v *level, x *pipeline.Exchange) {
	var room [roomForValue]byte
	counter, otherwise := v.counter(x, room[:0])
	p, bypass := v.policyOf(x, l.policies, otherwise)
	counter.Policy = p
	x.Limits.Add(v.name, &counter, limit.Charge{Policy: p, Cost: l.cost, Bypass: bypass})
}

// roomForValue is how long the value of a template may be until it costs an allocation,
// in bytes.
const roomForValue = 256

// recall refuses x if one of its levels is known to be exhausted: a flood of who is
// denied costs no round trip.
func (l *limiter) recall(x *pipeline.Exchange) pipeline.Verdict {
	for i := range x.Limits.Charges {
		c := &x.Limits.Charges[i]
		if c.Bypass {
			continue
		}
		if wait := l.known.Until(x.Limits.Mark(i), x.Timing.Start); wait > 0 {
			c.Remaining, c.Wait, c.Reset = 0, wait, untilWhole(c, wait)
			x.Limits.Keep(i) // of the others nothing is known
			return l.refuse(x, 0)
		}
	}
	return pipeline.Continue
}

// untilWhole is about when all of a counter is there again of which it is known that
// it has enough for c after wait.
func untilWhole(c *limit.Charge, wait time.Duration) time.Duration {
	if p := c.Policy; p.Algorithm == limit.TokenBucket {
		more := float64(p.Burst-c.Cost) * float64(p.Per) / float64(p.Count)
		return time.Duration(min(float64(wait)+more, math.MaxInt64/2))
	}
	return max(wait, c.Policy.Per)
}

// refuse answers x, which its i-th charge denies, and counts that.
func (l *limiter) refuse(x *pipeline.Exchange, i int) pipeline.Verdict {
	c, name := &x.Limits.Charges[i], x.Limits.Levels[i]
	var user, client string
	if p := x.Principal; p != nil {
		user, client = l.meter.Identity(p.User, p.Client)
	}
	l.exceeded.Add(x.Stripe, 1, [3]string{user, client, c.Policy.Name})
	l.denied.Add(x.Stripe, 1, [3]string{name, c.Policy.Name})
	at := slices.IndexFunc(l.levels, func(v level) bool { return v.name == name })
	if c.Wait == limit.Never {
		return x.Fail(l.levels[at].unaffordable)
	}
	return x.Fail(l.levels[at].exhausted.After(c.Wait))
}
