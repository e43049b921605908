package auth

import (
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
)

// outcomes are the counters of what came of callers: who passed, by what they have
// shown, and who was refused, by the code of the fault.
type outcomes struct {
	passed  [16]*meter.Counter
	refused map[string]*meter.Counter
}

func newOutcomes(d *plugin.Deps) outcomes {
	counter := func(outcome string) *meter.Counter {
		return d.Meter.Counter("gateway_auth_total", "Requests on routes with auth, by what came of it: what was shown and was good, anonymous, or the code of the fault.", meter.Label{Name: "outcome", Value: outcome})
	}
	o := outcomes{refused: map[string]*meter.Counter{}}
	several := counter("several")
	for i := range o.passed {
		o.passed[i] = several
	}
	o.passed[0] = counter("anonymous")
	o.passed[principal.Token], o.passed[principal.Key] = counter("token"), counter("key")
	o.passed[principal.Certificate], o.passed[principal.Ticket] = counter("certificate"), counter("ticket")
	for _, f := range []fault.Fault{
		fault.Unauthenticated, fault.TokenInvalid, fault.TokenExpired, fault.TokenRevoked, fault.TokenUnbound,
		fault.InvalidCredentials, fault.InsufficientScope, fault.Forbidden, fault.RateLimited, fault.StoreUnavailable, fault.Internal,
	} {
		o.refused[f.Code()] = counter(f.Code())
	}
	return o
}
