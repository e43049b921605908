package config

import (
	"strconv"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/setting"
)

// Policy is named rate-limit numbers.
type Policy struct {
	Name      string           `yaml:"@key"`
	At        setting.Position `yaml:"@at"`
	Node      *setting.Node    `yaml:"@node"`
	Algorithm string           `yaml:"algorithm" default:"token_bucket" enum:"token_bucket|sliding_window|sliding_log" doc:"How it counts: token_bucket refills evenly and lets bursts pass; sliding_window never admits more than the rate in any span of its time; sliding_log does so to the last request, and remembers each."`
	Rate      setting.Rate     `yaml:"rate" doc:"What it admits, such as 1000/1m."`
	// Burst is that of a token bucket, filled in; else 0.
	Burst int64 `yaml:"burst" min:"1" max:"1000000000" doc:"What a token bucket holds when it is full: the most that it admits at once; the count of its rate by default."`

	// Limit is the policy as it is counted; nil if its numbers make no sense or
	// aren't known.
	Limit *limit.Policy `yaml:"-"`
}

// Limiter says where requests are counted.
type Limiter struct {
	Mode         string `yaml:"mode" default:"auto" enum:"auto|exact|leased|memory" doc:"exact asks Redis for every request; leased takes tokens from Redis ahead of need and never admits more; memory counts in this instance alone. auto is leased with stores.redis, else memory."`
	OnStoreError string `yaml:"on_store_error" default:"local" enum:"local|allow|deny" doc:"What happens while Redis does not answer: local admits this instance's share of each policy, allow everything, deny nothing."`
}

// The modes of a limiter, as LimiterMode returns them.
const (
	LimiterExact  = "exact"
	LimiterLeased = "leased"
	LimiterMemory = "memory"
)

// LimiterMode is limiter.mode with auto decided: what is there decides it.
func (c *Config) LimiterMode() string {
	switch {
	case c.Limiter.Mode != "auto":
		return c.Limiter.Mode
	case c.Stores != nil && c.Stores.Redis != nil:
		return LimiterLeased
	default:
		return LimiterMemory
	}
}

// LimitPolicies returns the policies by name, as they are counted; one is nil if its
// numbers aren't known, which is never so in a Config that may be put in force. The
// map must not be written.
func (c *Config) LimitPolicies() map[string]*limit.Policy { return c.policies }

// algorithms are the words of the configuration.
var algorithms = map[string]limit.Algorithm{
	limit.TokenBucket.String(): limit.TokenBucket, limit.SlidingWindow.String(): limit.SlidingWindow, limit.SlidingLog.String(): limit.SlidingLog,
}

// limiter checks the policies, and where they are counted.
func (c *checker) limiter() {
	c.cfg.policies = make(map[string]*limit.Policy, len(c.cfg.Policies))
	for _, p := range c.cfg.Policies {
		if p.Node.Kind == setting.Map {
			c.policy(p)
		}
		c.cfg.policies[p.Name] = p.Limit
	}
	n := mapOf(c.cfg.tree.Get("limiter"))
	stores := c.cfg.tree.Get("stores")
	if n == nil || stores != nil && stores.Unset || given(stores, "redis") != nil || !missing(stores, "redis") {
		return
	}
	if mode := given(n, "mode"); mode != nil && (c.cfg.Limiter.Mode == LimiterExact || c.cfg.Limiter.Mode == LimiterLeased) {
		c.r.AddNode(mode, mode.Text+" counts in Redis: want stores.redis as well, or mode: memory", LimiterMemory)
	} else if on := given(n, "on_store_error"); on != nil && c.cfg.Limiter.OnStoreError != "local" {
		c.r.WarnNode(on, "it changes nothing without stores.redis: memory always answers", "")
	}
}

// manyRemembered is from how many admissions on a log of them is worth a warning: at
// 16 bytes each, for every caller.
const manyRemembered = 10_000

// policy wants numbers that can be counted exactly, and that say one thing.
func (c *checker) policy(p *Policy) {
	rate, burst := given(p.Node, "rate"), given(p.Node, "burst")
	if missing(p.Node, "rate") {
		c.r.AddNode(p.Node, "want a rate, such as rate: 1000/1m", "")
	}
	algorithm := algorithms[p.Algorithm]
	if algorithm == 0 {
		return // reported
	}
	if burst != nil && algorithm != limit.TokenBucket {
		c.r.AddNode(burst, "only a token_bucket has a burst; a "+p.Algorithm+" admits what its rate says: leave it out, or choose the other algorithm", "")
		return
	}
	if rate == nil || p.Rate.Count == 0 || burst != nil && (p.Burst < 1 || p.Burst > limit.Largest) || hasUnset(p.Node) {
		return // unknown, or reported
	}
	if fault, near := rateFault(p.Rate); fault != "" {
		c.r.AddNode(rate, fault+", got "+rate.Describe(), near)
		return
	}
	if algorithm == limit.TokenBucket && burst == nil {
		p.Burst = p.Rate.Count
	}
	counted := &limit.Policy{Name: p.Name, Algorithm: algorithm, Count: p.Rate.Count, Per: p.Rate.Per, Burst: p.Burst}
	if err := counted.Validate(); err != nil {
		c.r.AddNode(rate, err.Error(), "")
		return
	}
	if algorithm == limit.SlidingLog && p.Rate.Count > manyRemembered {
		c.r.WarnNode(rate, "a sliding_log remembers every request that it admits; for counts as large a sliding_window does the same in constant memory", "")
	}
	p.Limit = counted
}

// rateFault says what is wrong with the numbers of a rate, or returns "", and what
// would be right.
func rateFault(r setting.Rate) (fault, near string) {
	switch {
	case r.Count > limit.Largest:
		return "want a rate that counts to " + strconv.Itoa(limit.Largest) + " at most", ""
	case r.Per < time.Millisecond:
		if factor := int64(time.Millisecond / r.Per); r.Per*time.Duration(factor) == time.Millisecond && r.Count <= limit.Largest/factor {
			near = setting.Rate{Count: r.Count * factor, Per: time.Millisecond}.String()
		}
		return "want a rate over 1ms or longer", near
	case r.Per > limit.Longest:
		return "want a rate over " + setting.Duration(limit.Longest).String() + " (31 days) or less", ""
	case r.Per%time.Microsecond != 0:
		return "want a rate over whole microseconds", setting.Rate{Count: r.Count, Per: r.Per.Round(time.Microsecond)}.String()
	}
	return "", ""
}

// policyName wants the name of a policy under the key policy of n.
func (c *checker) policyName(n *setting.Node) {
	name := given(n, "policy")
	if name == nil || name.Kind != setting.Scalar || name.Text == "" {
		return
	}
	known := c.cfg.tree.Get("policies")
	if v := known.Get(name.Text); v == nil || v.IsOff() {
		c.r.AddNode(name, "want the name of one of the policies, got "+name.Describe(), nearest(name, keys(known)))
	}
}
