package upstream

import "github.com/suuupra/gateway/core/meter"

// Publish shows what each endpoint has to do, from when it comes until it leaves.
// It is called before the first Acquire. Scrapes read the counters that balancing
// needs; requests pay nothing.
func (r *Registry) Publish(s *meter.Set) { r.meter = s }

// publish shows st. Called under mu.
func (r *Registry) publish(st *state) {
	if r.meter == nil {
		return
	}
	labels := []meter.Label{{Name: "service", Value: st.service}, {Name: "endpoint", Value: st.endpoint}}
	st.remove = []func(){
		r.meter.CounterFunc("gateway_upstream_requests_total", "Requests sent to an endpoint, every try counted.",
			func() float64 { return float64(r.requests(st)) }, labels...),
		r.meter.Gauge("gateway_upstream_in_flight", "Requests under way at an endpoint.",
			func() float64 { return float64(r.inFlight(st)) }, labels...),
		r.meter.Gauge("gateway_upstream_in_service", "1 while an endpoint is in service; 0 while it is unhealthy, ejected or drained.",
			func() float64 { return float64(r.inService(st)) }, labels...),
		r.meter.CounterFunc("gateway_upstream_ejections_total", "Times that an endpoint was taken out of rotation because requests to it failed.",
			func() float64 { return float64(r.ejections(st)) }, labels...),
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

func (r *Registry) inService(st *state) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.in() {
		return 1
	}
	return 0
}

func (r *Registry) ejections(st *state) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return st.ejections
}
