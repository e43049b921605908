package discovery

import (
	"time"

	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

// publish shows what w knows, until stop.
func (w *watch) publish() {
	m, labels := w.finder.meter, w.labels()
	w.remove = []func(){
		m.CounterFunc("gateway_discovery_changes_total", "How often the endpoints of a source have changed.", func() float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return float64(w.changes)
		}, labels...),
		m.Gauge("gateway_discovery_endpoints", "Endpoints of a source that are in use.", func() float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return float64(len(w.known))
		}, labels...),
		m.Gauge("gateway_discovery_last_change_timestamp_seconds", "When the endpoints of a source last changed; 0 if they were never known.", func() float64 {
			return seconds(w.moment(&w.changed))
		}, labels...),
		m.Gauge("gateway_discovery_age_seconds", "How long ago the source last said which endpoints there are; -1 if it never did. A source that tells of changes says nothing for up to 64 s if there are none.", func() float64 {
			heard := w.moment(&w.heard)
			if heard.IsZero() {
				return -1
			}
			return w.finder.clock.Now().Sub(heard).Seconds()
		}, labels...),
	}
}

// labels tell the series of w from others. Names come from the configuration.
func (w *watch) labels() []meter.Label {
	return []meter.Label{{Name: "source", Value: w.of.Source}, {Name: "name", Value: describe(w.of)}}
}

// moment reads one of the times that mu guards.
func (w *watch) moment(t *time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *t
}

// seconds is t as a metric; 0 for none.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// count counts one answer that was of no use.
func (f *Finder) count(of upstream.Discovery, kind Kind) {
	f.meter.Counter("gateway_discovery_errors_total", "Answers of a source that were of no use, by what was wrong.",
		meter.Label{Name: "source", Value: of.Source}, meter.Label{Name: "kind", Value: string(kind)}).Add(0, 1)
}
