package upstream

import (
	"slices"
	"sync/atomic"

	"github.com/suuupra/gateway/core/meter"
)

// checkBounds are the buckets of how long checks take, in seconds.
var checkBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// tally counts what came of the checks of one service.
type tally struct {
	outcomes [outcomes]atomic.Uint64
	checks   int // guarded by the mu of checks
	remove   []func()
}

// show publishes k. Its address has one series, whatever the number of its checks: a
// reload that changes how it is checked has both for a while. Called under mu.
func (c *checks) show(k *check) {
	n := k.names
	c.verdicts[n] = append(c.verdicts[n], k)
	if k.tally = c.tallies[n.service]; k.tally == nil {
		k.tally = &tally{}
		c.tallies[n.service] = k.tally
		c.publish(n.service, k.tally)
	}
	k.tally.checks++
	if len(c.verdicts[n]) > 1 || c.meter == nil {
		return
	}
	c.gauges[n] = c.meter.Gauge("gateway_upstream_healthy", "Whether checks let an endpoint have requests: 1, also before the first, or 0.", func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if k := c.inForce(n); k != nil && k.verdict.health == Unhealthy {
			return 0
		}
		return 1
	}, meter.Label{Name: "service", Value: n.service}, meter.Label{Name: "endpoint", Value: n.endpoint})
}

// publish shows the counters of a service.
func (c *checks) publish(service string, t *tally) {
	if c.meter == nil {
		return
	}
	for o := range outcomes {
		t.remove = append(t.remove, c.meter.CounterFunc("gateway_upstream_health_checks_total", "Health checks of endpoints, by what came of them.",
			func() float64 { return float64(t.outcomes[o].Load()) },
			meter.Label{Name: "service", Value: service}, meter.Label{Name: "outcome", Value: o.String()}))
	}
}

// inForce is the check of an address whose word counts: the one that came last. The
// others end with the snapshots that declared them. nil: there is none.
func (c *checks) inForce(n names) *check {
	if list := c.verdicts[n]; len(list) > 0 {
		return list[len(list)-1]
	}
	return nil
}

// hide shows k no more. Called under mu.
func (c *checks) hide(k *check) {
	n := k.names
	c.verdicts[n] = slices.DeleteFunc(c.verdicts[n], func(other *check) bool { return other == k })
	if len(c.verdicts[n]) == 0 {
		delete(c.verdicts, n)
		delete(c.pending, n)
		if remove := c.gauges[n]; remove != nil {
			remove()
			delete(c.gauges, n)
		}
	}
	if k.tally.checks--; k.tally.checks > 0 {
		return
	}
	delete(c.tallies, n.service)
	for _, remove := range k.tally.remove {
		remove()
	}
}
