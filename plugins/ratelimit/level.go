package ratelimit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
)

// level is one counter of every request of a route that it concerns. It is immutable.
type level struct {
	name      string
	by        kind
	template  *pipeline.Template // of byTemplate alone
	otherwise kind
	policy    policy
	upgrades  []upgrade
	route     string // that has a counter of its own; empty: those that name the policy share it
	guard     guard

	anonymous, authenticated bool // callers that it concerns

	exhausted, unaffordable fault.Fault
}

// guard says whether Guard can tell what a level will be charged to.
type guard uint8

const (
	never           guard = iota // only whom authentication finds is concerned
	unlessPresented              // unless a credential was shown, which may change what is charged
	always
)

// policy is one that options name: by its name, whatever its numbers become. In programs
// that only show a route there are no more than the numbers of its configuration.
type policy struct {
	*limit.Named
	name  string
	shown *limit.Policy
}

// upgrade is a condition on the caller, and what it changes.
type upgrade struct {
	whom   principal.Match
	policy policy
	bypass bool
}

func newLevel(o *levelOptions, d *plugin.Deps) (v level, err error) {
	v = level{
		name: o.Name, by: kindOf(o.by()), otherwise: kindOf(o.Otherwise),
		anonymous: o.Callers != "authenticated", authenticated: o.Callers != "anonymous",
		exhausted: fault.RateLimited.Detail("level " + o.Name + " of the rate limit is exhausted"),
		unaffordable: fault.RateLimited.After(unaffordableFor).
			Detail("a request here costs more than level " + o.Name + " of the rate limit ever admits at once"),
	}
	if v.policy, err = findPolicy(o.Policy, d); err != nil {
		return v, err
	}
	if v.by == byTemplate {
		if v.template, err = pipeline.ParseTemplate(o.By); err != nil {
			return v, err
		}
	}
	if o.Scope != "" {
		v.route = d.Route
	}
	for i := range o.Upgrade {
		u, err := newUpgrade(&o.Upgrade[i], d)
		if err != nil {
			return v, fmt.Errorf("upgrade[%d]: %w", i, err)
		}
		v.upgrades = append(v.upgrades, u)
	}
	needs := v.by.ofPrincipal() || v.template != nil && v.template.NeedsPrincipal()
	switch {
	case !v.anonymous:
	case needs || !v.authenticated || len(v.upgrades) > 0:
		v.guard = unlessPresented
	default:
		v.guard = always
	}
	return v, nil
}

// unaffordableFor is what Retry-After says where no wait helps but that of the
// operator, who may change the policy.
const unaffordableFor = time.Hour

func newUpgrade(o *upgradeOptions, d *plugin.Deps) (u upgrade, err error) {
	u = upgrade{whom: principal.Match{Scope: o.Scope}, bypass: o.Bypass}
	if o.Client != "" {
		u.whom.Clients = []string{o.Client}
	}
	for _, pointer := range slices.Sorted(maps.Keys(o.Claim)) {
		claim, err := principal.ParseClaim(pointer, o.Claim[pointer])
		if err != nil {
			return u, fmt.Errorf("claim: %w", err)
		}
		u.whom.Claims = append(u.whom.Claims, claim)
	}
	if !u.bypass {
		u.policy, err = findPolicy(o.Policy, d)
	}
	return u, err
}

// findPolicy wants the policy to exist where requests are counted by it.
func findPolicy(name string, d *plugin.Deps) (policy, error) {
	p := policy{name: name, shown: d.Policies[name]}
	if d.Limits == nil {
		return p, nil
	}
	var found bool
	if p.Named, found = d.Limits.Policies.Find(name); !found {
		return p, fmt.Errorf("there is no policy %q", name)
	}
	return p, nil
}

// concerns says whether the level counts requests of who calls, which is known now.
func (v *level) concerns(x *pipeline.Exchange) bool {
	if x.Principal == nil {
		return v.anonymous
	}
	return v.authenticated
}

// policyOf returns what x is counted by, and whether it is only counted. Where an
// upgrade fits, it decides: the route says so of this very caller. Else callers that
// carry a policy of their own bring it, where the level counts them by who they are.
func (v *level) policyOf(x *pipeline.Exchange, in *limit.Policies, otherwise bool) (p *limit.Policy, bypass bool) {
	if caller := x.Principal; caller != nil {
		for i := range v.upgrades {
			switch u := &v.upgrades[i]; {
			case !u.whom.Holds(caller, x.Claims):
			case u.bypass:
				return v.policy.Policy(), true
			default:
				return u.policy.Policy(), false
			}
		}
		if caller.Policy != "" && v.by.ofPrincipal() && !otherwise {
			if own, found := in.Find(caller.Policy); found {
				return own.Policy(), false
			}
		}
	}
	return v.policy.Policy(), false
}

// counter is what x is counted by, without the policy, and whether that is only in
// place of something that x has not. room may hold the value: it is borrowed as long as
// the counter is used.
func (v *level) counter(x *pipeline.Exchange, room []byte) (c limit.Counter, otherwise bool) {
	c.Route = v.route
	p := x.Principal
	switch v.by {
	case byTemplate:
		if value, whole := v.template.Append(room, x); whole {
			c.Level, c.Value = v.name, unsafe.String(&value[0], len(value)) // the room outlives the counter, and is written no more
			return c, false
		}
	case byUser:
		if p != nil && p.User != "" {
			c.Level, c.Value = v.by.String(), p.User
			return c, false
		}
	case byClient:
		if p != nil && p.Client != "" {
			c.Level, c.Value = v.by.String(), p.Client
			return c, false
		}
	case byKey:
		if p != nil && p.Key != "" {
			c.Level, c.Value = v.by.String(), p.Key
			return c, false
		}
	default:
		c.Level, c.Value = v.by.String(), there(v.by, x, room)
		return c, false
	}
	c.Level, c.Value = v.otherwise.String(), there(v.otherwise, x, room)
	return c, true
}

// there is the value of a kind that every request has.
func there(k kind, x *pipeline.Exchange, room []byte) string {
	switch k {
	case byRoute:
		return x.Route.Name
	case byService:
		if x.Route.Split == nil {
			return x.Route.ServiceName()
		}
		return x.Choose().Service.Name
	case byGlobal:
		return ""
	}
	address := x.AppendAddress(room)
	return unsafe.String(unsafe.SliceData(address), len(address)) // as above
}

// String says of the level what `gateway explain` shows.
func (v *level) String() string {
	var b strings.Builder
	by, otherwise := v.by.String(), ""
	if v.template != nil {
		by = v.template.String()
	}
	if v.by <= byTemplate {
		otherwise = ", otherwise by " + v.otherwise.String()
	}
	fmt.Fprintf(&b, "level %s: by %s%s, policy %s", v.name, by, otherwise, describe(v.policy.name, v.policy.shown))
	switch {
	case !v.anonymous:
		b.WriteString(", authenticated callers")
	case !v.authenticated:
		b.WriteString(", anonymous callers")
	}
	if v.route != "" {
		b.WriteString(", of this route alone")
	}
	for i := range v.upgrades {
		b.WriteString("; " + v.upgrades[i].String())
	}
	return b.String()
}

// String is whom the upgrade concerns, and what it changes.
func (u *upgrade) String() string {
	what := "bypass"
	if !u.bypass {
		what = describe(u.policy.name, u.policy.shown)
	}
	return strings.Join(u.whom.Strings(), " and ") + ": " + what
}
