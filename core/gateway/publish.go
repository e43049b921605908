package gateway

import (
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/meter"
)

// publish offers the state of listeners and exchanges as metrics. What it
// registers lives as long as the process.
func (g *Gateway) publish() {
	g.meter.Gauge("gateway_in_flight", "Exchanges under way in the snapshot in force.",
		func() float64 { return float64(g.inFlight()) })
	g.meter.Gauge("gateway_draining", "How far the drain is: 0 serving, 1 still accepting, 2 waiting for idle connections, 3 waiting for exchanges, 4 cutting.",
		func() float64 { return float64(g.phase.Load()) })
	for _, l := range g.listeners {
		g.publishListener(l)
	}
	for _, s := range g.secured {
		s.publish() // nobody else has it yet
	}
}

func (g *Gateway) publishListener(l *listen.Listener) {
	name := meter.Label{Name: "listener", Value: l.Name()}
	count := func(metric, help string, f func() uint64, labels ...meter.Label) {
		g.meter.CounterFunc(metric, help, func() float64 { return float64(f()) }, append(labels, name)...)
	}
	g.meter.Gauge("gateway_connections", "Open connections of clients.", func() float64 { return float64(l.Open()) }, name)
	count("gateway_connections_accepted_total", "Connections accepted from clients.", l.Accepted)
	count("gateway_accept_errors_total", "Errors of accepting connections, such as too few file descriptors.", l.AcceptErrors)
	count("gateway_connections_nonconforming_total", "Connections closed because of a message against RFC 9112 or the limits.", l.NonConforming)
	count("gateway_connections_refused_total", "Connections refused because there were too many.", l.RefusedFull, meter.Label{Name: "reason", Value: "total"})
	count("gateway_connections_refused_total", "Connections refused because there were too many.", l.RefusedPerIP, meter.Label{Name: "reason", Value: "per_ip"})
	if l.Announced() {
		count("gateway_proxy_header_refused_total", "Connections refused for want of a PROXY header that may be believed.", l.Strangers, meter.Label{Name: "reason", Value: "stranger"})
		count("gateway_proxy_header_refused_total", "Connections refused for want of a PROXY header that may be believed.", l.BadHeaders, meter.Label{Name: "reason", Value: "header"})
	}
	if l.Credentials() == nil {
		return
	}
	count("gateway_tls_handshakes_total", "Handshakes that succeeded.", l.FullHandshakes, meter.Label{Name: "resumed", Value: "false"})
	count("gateway_tls_handshakes_total", "Handshakes that succeeded.", l.ResumedHandshakes, meter.Label{Name: "resumed", Value: "true"})
	for _, f := range l.HandshakeFailures() {
		count("gateway_tls_handshake_failures_total", "Handshakes that failed.", f.Count, meter.Label{Name: "reason", Value: f.Reason})
	}
}
