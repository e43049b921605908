package upstream

import (
	"slices"

	"github.com/suuupra/gateway/core/meter"
)

// names are the labels of an endpoint's series.
type names struct{ service, endpoint string }

// traffic is what one pair of names stands for: more than one endpoint while a
// reload replaces one whose connections are declared otherwise.
type traffic struct {
	endpoints []*Endpoint
	gone      uint64 // requests of those that left; the series must not go backwards
	remove    []func()
}

// Publish shows what each endpoint has to do, from when it comes until it leaves.
// It is called before the first Acquire. Scrapes read the counters that balancing
// needs; requests pay nothing.
func (r *Registry) Publish(s *meter.Set) { r.meter = s }

// publish shows e. Called under mu.
func (r *Registry) publish(e *Endpoint) {
	if r.meter == nil {
		return
	}
	n := names{e.key.Service, e.Address}
	t := r.published[n]
	if t == nil {
		t = &traffic{}
		r.published[n] = t
		labels := []meter.Label{{Name: "service", Value: n.service}, {Name: "endpoint", Value: n.endpoint}}
		t.remove = []func(){
			r.meter.CounterFunc("gateway_upstream_requests_total", "Requests sent to an endpoint, every try counted.",
				func() float64 { return float64(r.requests(t)) }, labels...),
			r.meter.Gauge("gateway_upstream_in_flight", "Requests under way at an endpoint.",
				func() float64 { return float64(r.inFlight(t)) }, labels...),
		}
	}
	t.endpoints = append(t.endpoints, e)
}

// withdraw shows e no more. Called under mu.
func (r *Registry) withdraw(e *Endpoint) {
	n := names{e.key.Service, e.Address}
	t := r.published[n]
	if t == nil {
		return
	}
	t.gone += e.Requests()
	t.endpoints = slices.DeleteFunc(t.endpoints, func(other *Endpoint) bool { return other == e })
	if len(t.endpoints) > 0 {
		return
	}
	delete(r.published, n)
	for _, remove := range t.remove {
		remove()
	}
}

func (r *Registry) requests(t *traffic) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := t.gone
	for _, e := range t.endpoints {
		sum += e.Requests()
	}
	return sum
}

func (r *Registry) inFlight(t *traffic) (sum int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range t.endpoints {
		sum += e.InFlight()
	}
	return sum
}
