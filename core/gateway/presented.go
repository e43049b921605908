package gateway

import (
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/meter"
)

// presented are the certificates that services are shown, those of the snapshot in
// force.
type presented struct {
	now   func() time.Time
	meter *meter.Set

	// mu guards all below, as in secured.
	mu     sync.Mutex
	all    []*presentedCertificate
	gauges []func() // take the metrics of all away
}

// presentedCertificate is one certificate that the endpoints of a service are shown.
type presentedCertificate struct {
	heldCertificate
	service string
}

// presentedBy are the certificates that cfg declares for services. It starts nothing.
func presentedBy(cfg *config.Config) ([]*presentedCertificate, error) {
	var out []*presentedCertificate
	for _, s := range cfg.Services {
		if !s.Shows() {
			continue
		}
		pair, err := certificate.Parse(s.TLS.Certificate.Text(), s.TLS.Key.Reveal())
		if err != nil {
			return nil, fmt.Errorf("%s: service %s: %w", s.TLS.At, s.Name, err)
		}
		out = append(out, &presentedCertificate{hold(s.TLS.Certificate, s.TLS.Key, pair, "certificate"), s.Name})
	}
	return out, nil
}

// commit notes what is in force from now on, and offers it as metrics.
func (p *presented) commit(all []*presentedCertificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, remove := range p.gauges {
		remove()
	}
	p.all, p.gauges = all, nil
	for _, c := range all {
		labels := []meter.Label{{Name: "service", Value: c.service}, {Name: "certificate", Value: c.name}}
		p.gauges = append(p.gauges,
			p.meter.Gauge("gateway_upstream_certificate_not_after_seconds", "When a certificate that a service is shown expires, in seconds since 1970.",
				p.ask(func() float64 { return float64(c.pair.Leaf.NotAfter.Unix()) }), labels...),
			p.meter.Gauge("gateway_upstream_certificate_unreadable", "1 while the files of a certificate that a service is shown can't be read again: the last good ones are shown.",
				p.ask(func() float64 { return flag(c.trouble != "") }), labels...))
	}
}

// ask returns f under the lock.
func (p *presented) ask(f func() float64) func() float64 {
	return func() float64 {
		p.mu.Lock()
		defer p.mu.Unlock()
		return f()
	}
}

// well says whether every certificate is valid now, and its files can be read.
func (p *presented) well() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.all {
		if !c.well(p.now()) {
			return false
		}
	}
	return true
}

// look reads the files again. It returns what has become of the certificates, and by
// service those that are new; nil if none is.
func (p *presented) look(log zerolog.Logger) (next []*presentedCertificate, renewals map[string]config.Renewal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next = make([]*presentedCertificate, len(p.all))
	for i, c := range p.all {
		next[i] = c
		fresh, err := c.look(p.now())
		switch {
		case err != nil:
			c.ail(log.With().Str("service", c.service).Logger(), err)
		case fresh != nil:
			next[i] = &presentedCertificate{*fresh, c.service}
			if renewals == nil {
				renewals = map[string]config.Renewal{}
			}
			renewals[c.service] = config.Renewal{Certificate: fresh.certificateText, Key: fresh.keyText}
		default:
			c.trouble, c.looks = "", 0
		}
	}
	return next, renewals
}

// renewPresented reads the files of the certificates that services are shown. Where one
// has changed and is good, a snapshot with it is put in force, of the configuration
// that is: all else that stands in files waits for a reload. So the service's endpoints
// get connections of their own, and no session of the old certificate is resumed; what
// is under way ends on the old connections.
func (g *Gateway) renewPresented() {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	next, renewals := g.presented.look(g.log)
	if renewals == nil {
		return
	}
	s, err := g.compile(g.Current().Config.Renew(renewals))
	if err != nil {
		g.log.Error().Err(err).Msg("renewed certificates can't be shown to services; the ones before are")
		return
	}
	g.replace(s)
	g.presented.commit(next)
	for _, c := range next {
		if _, ok := renewals[c.service]; ok {
			g.log.Info().Str("service", c.service).Str("certificate", c.name).Time("not_after", c.pair.Leaf.NotAfter).
				Msg("a renewed certificate is shown to the service on new connections")
		}
	}
}
