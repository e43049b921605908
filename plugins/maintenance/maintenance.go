// Package maintenance is the plugin maintenance: it answers for a route whose service
// is being worked on, and says when to come again (SPEC PL8).
package maintenance

import (
	"time"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/setting"
)

// Plugin is maintenance.
var Plugin = plugin.Of("maintenance", nil, build)

// closed is a route under maintenance. It is immutable.
type closed struct {
	answer  fault.Fault
	testers clientip.Networks
	refused *meter.Counter
}

func build(o options, d *plugin.Deps) (pipeline.Instance, error) {
	if !o.Enabled {
		return pipeline.Instance{}, nil
	}
	_, release, err := plugin.Keep(d.Keeper, "maintenance", shown{d.Route}, func() (*sign, error) { return hang(d), nil })
	if err != nil {
		return pipeline.Instance{}, err
	}
	c := &closed{
		answer:  fault.Maintenance.After(time.Duration(o.RetryAfter)),
		testers: clientip.NewNetworks(setting.Prefixes(o.AllowFrom)),
		refused: d.Meter.Counter("gateway_maintenance_refused_total", "Requests that were answered with 503 maintenance."),
	}
	instance := pipeline.Instance{Close: release}
	instance.Hooks[pipeline.Guard] = c.guard
	return instance, nil
}

// guard is the Guard hook.
func (c *closed) guard(x *pipeline.Exchange) pipeline.Verdict {
	if c.testers.Contains(x.Client) {
		return pipeline.Continue
	}
	c.refused.Add(x.Stripe, 1)
	return x.Fail(c.answer)
}

// sign is the metric that shows a route as closed. It is kept as long as some
// snapshot closes the route: a reload must not take down what it hangs up again.
type sign struct{ remove func() }

// shown tells signs apart.
type shown struct{ route string }

func hang(d *plugin.Deps) *sign {
	return &sign{d.Meter.Gauge("gateway_maintenance_enabled", "1 for each route under maintenance.",
		func() float64 { return 1 }, meter.Label{Name: "route", Value: d.Route})}
}

// Close takes the metric away.
func (s *sign) Close() error {
	s.remove()
	return nil
}
