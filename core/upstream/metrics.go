package upstream

import "github.com/suuupra/gateway/core/meter"

// Publish shows what each endpoint has to do, from when it comes until it leaves.
// It is called before the first Acquire. Scrapes read the counters that balancing
// needs; requests pay nothing.
func (r *Registry) Publish(s *meter.Set) { r.meter = s }

// publish shows what is known under n. Called under mu.
func (r *Registry) publish(n names, st *state) {
	if r.meter == nil {
		return
	}
	labels := []meter.Label{{Name: "service", Value: n.service}, {Name: "endpoint", Value: n.endpoint}}
	st.remove = []func(){
		r.meter.CounterFunc("gateway_upstream_requests_total", "Requests sent to an endpoint, every try counted.",
			func() float64 { return float64(r.requests(st)) }, labels...),
		r.meter.Gauge("gateway_upstream_in_flight", "Requests under way at an endpoint.",
			func() float64 { return float64(r.inFlight(st)) }, labels...),
	}
}

func (r *Registry) requests(st *state) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := st.gone
	for _, e := range st.endpoints {
		sum += e.Requests()
	}
	return sum
}

func (r *Registry) inFlight(st *state) (sum int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range st.endpoints {
		sum += e.InFlight()
	}
	return sum
}
