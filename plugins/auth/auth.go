// Package auth is the plugin auth: it finds out who calls, and whether they may
// (SPEC ID9, SECURITY I6, I9, I10, I14–I16). Every route has it that does not say
// `auth: off`.
//
// A credential that was shown must be good: a bad one, and one of a kind that the
// route does not take, is 401 and never "nobody". Who calls is told to the
// service by package proxy, which takes the credentials away.
//
// For a token or key that is known nothing is allocated: the exchange points at
// the principal in the cache of whoever verified it.
package auth

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/wire"
)

// Plugin is auth.
var Plugin = plugin.Of("auth", check, build)

// auth is the rules of one route. It is immutable.
type auth struct {
	plugin.Identity
	refused  *refused
	outcomes outcomes

	required, bound, strict, forward bool
	takes                            principal.Credential // all that some set of accept holds
	covered                          [16]principal.Credential
	issuers                          []string // whose tokens are taken, "" for our own; nil: all
	all, any                         []string // scopes
	claims                           []principal.Claim
	narrow                           []byte // WWW-Authenticate of who holds too few scopes
	authorizes                       bool   // there is an Authorize hook
	mute                             map[string]any
}

func build(o options, d *plugin.Deps) (pipeline.Instance, error) {
	a := &auth{
		required: o.Required, bound: o.Bound, strict: o.Strict, forward: o.ForwardCredentials,
		all: o.Scopes.All, any: o.Scopes.Any, outcomes: newOutcomes(d), mute: map[string]any{},
	}
	if d.Identity != nil {
		a.Identity = *d.Identity
	}
	if a.Revocations == nil && (a.Tokens != nil || a.Tickets != nil) {
		return pipeline.Instance{}, errors.New("BUG: there are tokens, and nobody knows which are revoked")
	}
	if err := a.compile(o, d.Identity != nil); err != nil {
		return pipeline.Instance{}, err
	}
	rate := a.Refused
	if rate.Count == 0 {
		rate = plugin.DefaultRefused()
	}
	bucket, release, err := plugin.Keep(d.Keeper, "auth", rate, func() (*refused, error) { return newRefused(rate, d.Clock) })
	if err != nil {
		return pipeline.Instance{}, err
	}
	a.refused = bucket
	instance := pipeline.Instance{Close: release}
	a.hooks(o, d.Identity == nil, &instance)
	return instance, nil
}

// compile makes of the options what requests look at. Whether issuers exist is known
// only to programs that serve.
func (a *auth) compile(o options, serving bool) error {
	accept := o.Accept
	if accept == nil {
		accept = byDefault
	}
	a.takes = accept.union()
	for have := range a.covered {
		for _, set := range accept {
			if set&^principal.Credential(have) == 0 {
				a.covered[have] |= set
			}
		}
	}
	for i, name := range o.Issuers {
		switch {
		case name == own:
			name = ""
		case serving && !slices.Contains(a.Issuers, name):
			return fmt.Errorf("issuers[%d]: there is no identity.issuers.%s", i, name)
		}
		a.issuers = append(a.issuers, name)
	}
	for pointer, values := range o.Claims {
		claim, err := principal.ParseClaim(pointer, values)
		if err != nil {
			return fmt.Errorf("claims: %s: %w", pointer, err)
		}
		a.claims = append(a.claims, claim)
	}
	a.narrow = []byte(`Bearer error="insufficient_scope", scope="` + strings.Join(slices.Concat(a.all, a.any), " ") + `"`)
	return nil
}

// hooks gives the instance those hooks that have something to do; a program that only
// shows them is shown all.
func (a *auth) hooks(o options, shown bool, instance *pipeline.Instance) {
	instance.Hooks[pipeline.Guard] = a.guard
	instance.Hooks[pipeline.Authenticate] = a.authenticate
	if a.authorizes = len(a.all)+len(a.any)+len(a.claims) > 0; a.authorizes {
		instance.Hooks[pipeline.Authorize] = a.authorize
	}
	if o.InternalToken {
		instance.Hooks[pipeline.Request] = newVoucher(a.Vouchers).request
	}
	if (a.Keys != nil || shown) && a.takes&principal.Key != 0 {
		instance.Hooks[pipeline.Log] = a.log
	}
}

// guard is the Guard hook: whose address was refused too often lately is not looked
// at (SECURITY I10). Who shows nothing costs nothing, and is not concerned.
func (a *auth) guard(x *pipeline.Exchange) pipeline.Verdict {
	x.Presents = true
	if !x.Head.Names.Has(wire.NameAuthorization|wire.NameAPIKey) && (a.takes&principal.Ticket == 0 || !holdsTicket(x.Query)) {
		x.Presents = a.takes&principal.Certificate != 0 && certified(x)
		return pipeline.Continue
	}
	if wait := a.refused.wait(x.Client, x.Timing.Start); wait > 0 {
		return a.refuse(x, fault.RateLimited.After(wait).Detail("too many credentials from this address were refused"), nil)
	}
	return pipeline.Continue
}

// authenticate is the Authenticate hook: it finds out who calls.
func (a *auth) authenticate(x *pipeline.Exchange) pipeline.Verdict {
	var c caller
	names := x.Head.Names
	if names.Has(wire.NameAuthorization) {
		if verdict := a.readToken(x, &c); verdict != pipeline.Continue {
			return verdict
		}
	}
	if names.Has(wire.NameAPIKey) {
		if verdict := a.readKey(x, &c); verdict != pipeline.Continue {
			return verdict
		}
	}
	if a.takes&principal.Ticket != 0 && holdsTicket(x.Query) {
		if verdict := a.readTicket(x, &c); verdict != pipeline.Continue {
			return verdict
		}
	}
	if a.takes&principal.Certificate != 0 {
		c.readCertificate(x)
	}
	return a.conclude(x, &c)
}

// What a caller is told whose credentials don't do. None tells more than the
// caller knows.
var (
	nothingShown  = fault.Unauthenticated.Detail("this route wants a credential")
	noTokens      = fault.Unauthenticated.Detail("tokens are not taken here")
	noKeys        = fault.Unauthenticated.Detail("API keys are not taken here")
	notAlone      = fault.Unauthenticated.Detail("this credential is taken here only together with another")
	strangers     = fault.Forbidden.Detail("the credentials belong to different callers")
	errUnsendable = errors.New("the ids of the caller hold characters that no field may hold")
)

// conclude decides who calls, of all that was shown and was good (SECURITY I16).
func (a *auth) conclude(x *pipeline.Exchange, c *caller) pipeline.Verdict {
	covered := a.covered[c.have]
	switch {
	case c.have&^(covered|principal.Certificate) != 0:
		return a.refuse(x, notAlone, nil)
	case covered != 0:
	case a.required:
		return a.refuse(x, nothingShown, nil)
	default:
		return a.identified(x)
	}
	c.have &= covered
	p, same := c.principal()
	switch {
	case !same:
		return a.refuse(x, strangers, nil)
	case !visible(p.User) || !visible(p.Client):
		return a.refuse(x, fault.Internal, errUnsendable)
	}
	x.Principal, x.PrincipalExpires, x.KeepCredentials = p, c.expires(), a.forward
	x.PrincipalIssued = math.MaxInt64 // a key is older than no end of its user's sessions
	if t := c.spoken(); t != nil {
		x.PrincipalIssued, x.PrincipalKeys = t.IssuedAt, t.Foreign
		x.Claims = t.Claims
		if x.Claims == nil {
			x.Claims = a.mute // says nothing, which is not the same as being no token
		}
	}
	return a.identified(x)
}

// identified lets x go on to Authorize, if there is one.
func (a *auth) identified(x *pipeline.Exchange) pipeline.Verdict {
	if a.authorizes {
		return pipeline.Continue
	}
	return a.pass(x)
}

// visible says whether s can stand in a field as it is.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// pass lets x go on, as who it is by now.
func (a *auth) pass(x *pipeline.Exchange) pipeline.Verdict {
	var shown principal.Credential
	if x.Principal != nil {
		shown = x.Principal.Shown
	}
	a.outcomes.passed[shown%16].Add(x.Stripe, 1)
	return pipeline.Continue
}

// refuse answers x with a fault, and counts it.
func (a *auth) refuse(x *pipeline.Exchange, f fault.Fault, cause error) pipeline.Verdict {
	a.outcomes.refused[f.Code()].Add(x.Stripe, 1)
	return x.FailBy(f, cause)
}

// authorize is the Authorize hook: whether the caller may. Nobody has no scopes to
// be too narrow: an optional route takes them.
func (a *auth) authorize(x *pipeline.Exchange) pipeline.Verdict {
	p := x.Principal
	if p == nil {
		return a.pass(x)
	}
	for _, scope := range a.all {
		if !p.Scopes.Covers(scope) {
			return a.tooNarrow(x)
		}
	}
	if len(a.any) > 0 && !slices.ContainsFunc(a.any, p.Scopes.Covers) {
		return a.tooNarrow(x)
	}
	if x.Claims == nil {
		return a.pass(x) // a key or certificate says nothing of its holder
	}
	for i := range a.claims {
		if !a.claims[i].Holds(x.Claims) {
			return a.refuse(x, fault.Forbidden.Detail("the token does not say of its holder what this route asks for"), nil)
		}
	}
	return a.pass(x)
}

// tooNarrow answers who holds too few scopes, and tells holders of tokens which ones
// would do (RFC 6750 §3.1).
func (a *auth) tooNarrow(x *pipeline.Exchange) pipeline.Verdict {
	verdict := a.refuse(x, fault.InsufficientScope, nil)
	if x.Claims != nil {
		x.Response.Header.SetCanonical(authenticateName, a.narrow)
	}
	return verdict
}

// authenticateName is spelt as package fault has it.
var authenticateName = []byte("Www-Authenticate")

// log is the Log hook: it counts the use of a key, whatever came of it.
func (a *auth) log(x *pipeline.Exchange) pipeline.Verdict {
	if k, ok := x.Shown.(*apikey.Key); ok {
		a.Keys.Used(k, apikey.Use{
			Route: x.Route.Name, Status: x.Status, In: x.BytesIn, Out: x.BytesOut, Limited: x.Status == fault.RateLimited.Status(),
		})
	}
	return pipeline.Continue
}
