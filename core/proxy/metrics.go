package proxy

import "github.com/suuupra/gateway/core/meter"

// metrics are the proxy's counters. Those of each request are striped by the
// exchange, the others are rare.
type metrics struct {
	dials, dialErrors, reuses  *meter.Counter
	strays, stale              *meter.Counter
	queued, full               *meter.Counter
	retries, budget            *meter.Counter
	clientAborts, brokenBodies *meter.Counter
	untrusted                  *meter.Counter
}

func newMetrics(s *meter.Set) metrics {
	return metrics{
		dials:        s.Counter("gateway_upstream_dials_total", "Connections to endpoints that were opened."),
		dialErrors:   s.Counter("gateway_upstream_dial_errors_total", "Connections to endpoints that could not be opened."),
		reuses:       s.Counter("gateway_upstream_reuses_total", "Requests that were sent on a connection that had carried one before."),
		strays:       s.Counter("gateway_upstream_strays_total", "Idle connections closed because bytes came on them that nobody had asked for."),
		stale:        s.Counter("gateway_upstream_stale_total", "Idle connections that turned out to be closed by the service."),
		queued:       s.Counter("gateway_upstream_queued_total", "Requests that waited because all connections to an endpoint were busy."),
		full:         s.Counter("gateway_upstream_full_total", "Requests refused because all connections to an endpoint stayed busy."),
		retries:      s.Counter("gateway_retries_total", "Tries beyond the first of a request."),
		budget:       s.Counter("gateway_retry_budget_exhausted_total", "Retries not made because the service's budget was used up."),
		clientAborts: s.Counter("gateway_client_aborts_total", "Exchanges ended because the client went away before its whole answer; logged as 499."),
		brokenBodies: s.Counter("gateway_upstream_broken_bodies_total", "Answers that broke off after their head was sent on."),
		untrusted:    s.Counter("gateway_forwarded_untrusted_total", "Requests whose forwarded fields were dropped because trusted_proxies does not name their peer."),
	}
}

// gauges shows how many connections there are. They are counted when asked.
func (p *Proxy) gauges(s *meter.Set) {
	s.Gauge("gateway_upstream_connections", "Connections to endpoints.", func() float64 {
		busy, _ := p.connections()
		return float64(busy)
	}, meter.Label{Name: "state", Value: "busy"})
	s.Gauge("gateway_upstream_connections", "Connections to endpoints.", func() float64 {
		_, idle := p.connections()
		return float64(idle)
	}, meter.Label{Name: "state", Value: "idle"})
}

func (p *Proxy) connections() (busy, idle int) {
	for _, pool := range p.allPools() {
		o, i := pool.Count()
		busy, idle = busy+o-i, idle+i
	}
	return busy, idle
}
