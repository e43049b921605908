package account

import (
	"errors"

	"github.com/suuupra/gateway/core/meter"
)

// The outcomes of gateway_logins_total.
const (
	outcomeSuccess     = "success"
	outcomeCodeNeeded  = "code_needed" // the password was right, half of the login
	outcomeRefused     = "refused"     // unknown, disabled or wrong: not even here are they told apart
	outcomeCodeRefused = "code_refused"
	outcomeThrottled   = "throttled"
	outcomeBusy        = "busy"
	outcomeUnavailable = "unavailable"
)

type metrics struct {
	logins    map[string]*meter.Counter // by outcome; never written after it is made
	throttled map[string]*meter.Counter // by what was counted; likewise
}

func newMetrics(set *meter.Set) metrics {
	m := metrics{logins: map[string]*meter.Counter{}, throttled: map[string]*meter.Counter{}}
	for _, outcome := range []string{outcomeSuccess, outcomeCodeNeeded, outcomeRefused, outcomeCodeRefused,
		outcomeThrottled, outcomeBusy, outcomeUnavailable} {
		m.logins[outcome] = set.Counter("gateway_logins_total", "Passwords and second factors that were shown, by what came of it.",
			meter.Label{Name: "outcome", Value: outcome})
	}
	for _, by := range []string{byNetwork, byPair, byAccount, byDevice, byCode} {
		m.throttled[by] = set.Counter("gateway_logins_throttled_total", "Attempts that were refused because there were too many, by what was counted.",
			meter.Label{Name: "by", Value: by})
	}
	return m
}

// failed counts half a login that failed.
func (m metrics) failed(err error) {
	outcome := outcomeUnavailable
	var throttled *Throttled
	switch {
	case errors.Is(err, ErrCredentials):
		outcome = outcomeRefused
	case errors.Is(err, ErrCode):
		outcome = outcomeCodeRefused
	case errors.As(err, &throttled):
		outcome = outcomeThrottled
	case errors.Is(err, ErrBusy):
		outcome = outcomeBusy
	}
	m.logins[outcome].Add(0, 1)
}
