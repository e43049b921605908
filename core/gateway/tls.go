package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/meter"
)

// secured is a TLS listener with what it shows, and where that was read from.
type secured struct {
	listener *listen.Listener
	now      func() time.Time
	meter    *meter.Set

	// mu guards all below: taken by reloads, by the look after renewed files, and by
	// those who ask for metrics and health; never by a request.
	mu     sync.Mutex
	shown  []*shownCertificate
	gauges []func() // take the metrics of shown away
}

// shownCertificate is one certificate that clients are shown.
type shownCertificate struct {
	heldCertificate
	declared *config.Certificate
}

// versions maps the words of the configuration to those of crypto/tls.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// declare is what t declares, as it is put in force.
func declare(t *config.TLS) []*shownCertificate {
	out := make([]*shownCertificate, len(t.Certificates))
	for i, c := range t.Certificates {
		out[i] = &shownCertificate{hold(c.Certificate, c.Key, c.Pair, fmt.Sprintf("certificates[%d]", i)), c}
	}
	return out
}

// credentials compiles what is shown. It starts nothing.
func credentials(minimum uint16, shown []*shownCertificate) (*listen.Credentials, error) {
	all := make([]listen.Certificate, len(shown))
	for i, s := range shown {
		all[i] = listen.Certificate{Pair: s.pair, ClientAuth: s.declared.Type(), Authorities: s.declared.Authorities}
	}
	return listen.NewCredentials(minimum, all)
}

// credentialsOf compiles what a listener declares; nil for plain HTTP.
func credentialsOf(d *config.Listener) (*listen.Credentials, error) {
	if d.TLS == nil {
		return nil, nil
	}
	c, err := credentials(versions[d.TLS.Minimum], declare(d.TLS))
	if err != nil {
		return nil, fmt.Errorf("%s: listener %s: %w", d.At, d.Name, err)
	}
	return c, nil
}

// secure remembers a TLS listener that shows what d declares.
func (g *Gateway) secure(l *listen.Listener, d *config.Listener) {
	if d.TLS != nil {
		g.secured = append(g.secured, &secured{listener: l, now: g.clock.Now, meter: g.meter, shown: declare(d.TLS)})
	}
}

// publish offers the certificates in force as metrics. It is called under mu.
func (s *secured) publish() {
	for _, remove := range s.gauges {
		remove()
	}
	s.gauges = nil
	for _, c := range s.shown {
		labels := []meter.Label{{Name: "listener", Value: s.listener.Name()}, {Name: "certificate", Value: c.name}}
		s.gauges = append(s.gauges,
			s.meter.Gauge("gateway_certificate_not_after_seconds", "When a certificate expires, in seconds since 1970.",
				s.ask(func() float64 { return float64(c.pair.Leaf.NotAfter.Unix()) }), labels...),
			s.meter.Gauge("gateway_certificate_unreadable", "1 while the files of a certificate can't be read again: the last good ones are shown.",
				s.ask(func() float64 { return flag(c.trouble != "") }), labels...))
	}
}

// ask returns f under the lock.
func (s *secured) ask(f func() float64) func() float64 {
	return func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return f()
	}
}

func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

// well says whether every certificate is valid now, and its files can be read.
func (s *secured) well() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.shown {
		if !c.well(s.now()) {
			return false
		}
	}
	return true
}

// CertificatesWell says whether the certificates that clients and services are shown are
// valid now, and their files can be read again. Without TLS they are.
func (g *Gateway) CertificatesWell() bool {
	for _, s := range g.secured {
		if !s.well() {
			return false
		}
	}
	return g.presented.well()
}

// change is the certificates of a listener between compile and commit.
type change struct {
	secured     *secured
	shown       []*shownCertificate
	credentials *listen.Credentials
}

// compileTLS compiles what cfg declares for the listeners that speak TLS. Nothing is
// in force before commitTLS, which can't fail.
func (g *Gateway) compileTLS(cfg *config.Config) ([]change, error) {
	var changes []change
	var errs []error
	for _, s := range g.secured {
		d := cfg.Listener(s.listener.Name())
		if d == nil || d.TLS == nil {
			continue // a listener changes its kind at the next start only
		}
		shown := declare(d.TLS)
		c, err := credentials(versions[d.TLS.Minimum], shown)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: listener %s: %w", d.At, d.Name, err))
			continue
		}
		changes = append(changes, change{s, shown, c})
	}
	return changes, errors.Join(errs...)
}

// commitTLS puts changes in force for all handshakes to come. No connection ends.
func (g *Gateway) commitTLS(changes []change) {
	for _, c := range changes {
		c.secured.commit(c)
	}
}

func (s *secured) commit(c change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.SetCredentials(c.credentials)
	s.shown = c.shown
	s.publish()
}
