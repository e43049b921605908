package tunnel

import "github.com/suuupra/gateway/core/meter"

// seriesKey is what the metrics of tunnels are told apart by: words of the
// configuration, so that no caller can make one.
type seriesKey struct{ route, service string }

// series are the metrics of one route and service. They stay for good.
type series struct {
	seriesKey
	open   int // guarded by the registry's mu
	opened *meter.Counter
	closed [reasons]*meter.Counter // made when needed; guarded by the registry's mu
	moved  [directions]*meter.Counter
}

// labels are the two that all have, and further ones.
func (k seriesKey) labels(more ...meter.Label) []meter.Label {
	return append([]meter.Label{{Name: "route", Value: k.route}, {Name: "service", Value: k.service}}, more...)
}

// seriesOf returns the metrics of route and service. Called under mu.
func (r *Registry) seriesOf(route, service string) *series {
	key := seriesKey{route, service}
	if s := r.series[key]; s != nil {
		return s
	}
	bytes := func(direction string) *meter.Counter {
		return r.meter.Counter("gateway_websocket_bytes_total", "Bytes that WebSockets carried, frames included.",
			key.labels(meter.Label{Name: "direction", Value: direction})...)
	}
	s := &series{
		seriesKey: key,
		opened:    r.meter.Counter("gateway_websocket_opened_total", "WebSockets that were opened.", key.labels()...),
		moved:     [directions]*meter.Counter{fromClient: bytes("in"), fromService: bytes("out")},
	}
	r.series[key] = s
	r.meter.Gauge("gateway_websocket_connections", "Open WebSockets.", func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(s.open)
	}, key.labels()...)
	return s
}

// closedSeries counts the ends of one reason. Called under mu.
func (r *Registry) closedSeries(s *series, why Reason) *meter.Counter {
	if s.closed[why] == nil {
		s.closed[why] = r.meter.Counter("gateway_websocket_closed_total",
			"WebSockets that ended, by who or what ended them: client, service, idle, drain, operator, policy, error.",
			s.labels(meter.Label{Name: "reason", Value: why.String()})...)
	}
	return s.closed[why]
}
