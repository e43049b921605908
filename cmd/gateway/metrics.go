package main

import (
	"runtime"
	"strconv"
	"time"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/meter"
)

// reloadMetrics say how reloads went and what is in force.
type reloadMetrics struct {
	applied, refused *meter.Counter
	forget           func() // takes the info of the configuration before away
}

func newReloadMetrics(p *program) reloadMetrics {
	count := func(outcome string) *meter.Counter {
		return p.meter.Counter("gateway_config_reloads_total", "Reloads of the configuration, by what came of them.", meter.Label{Name: "outcome", Value: outcome})
	}
	m := reloadMetrics{applied: count(admin.Applied), refused: count(admin.Refused)}
	p.meter.Gauge("gateway_config_last_reload_successful", "Whether the last reload was applied; 1 if there was none.", func() float64 {
		if last := p.InForce().LastReload; last != nil && last.Result == admin.Refused {
			return 0
		}
		return 1
	})
	p.meter.Gauge("gateway_config_last_reload_timestamp_seconds", "When the configuration in force was loaded, in seconds since 1970.", func() float64 {
		return float64(p.InForce().LoadedAt.UnixNano()) / float64(time.Second)
	})
	p.meter.Gauge("gateway_build_info", "The version of this program; always 1.", func() float64 { return 1 },
		meter.Label{Name: "version", Value: version}, meter.Label{Name: "go_version", Value: runtime.Version()})
	m.describe(p, p.inForce.Load())
	return m
}

// describe names the configuration in force.
func (m *reloadMetrics) describe(p *program, f *admin.InForce) {
	m.forget = p.meter.Gauge("gateway_config_info", "The configuration in force: the hash of what it says, and its number in this process; always 1.",
		func() float64 { return 1 }, meter.Label{Name: "hash", Value: f.Hash}, meter.Label{Name: "version", Value: strconv.FormatUint(f.Version, 10)})
}

// conclude counts a reload.
func (m *reloadMetrics) conclude(p *program, f *admin.InForce) {
	if f.LastReload.Result == admin.Refused {
		m.refused.Add(0, 1)
		return
	}
	m.applied.Add(0, 1)
	m.forget()
	m.describe(p, f)
}
