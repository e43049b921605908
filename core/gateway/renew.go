package gateway

import (
	"time"

	"github.com/rs/zerolog"
)

const (
	// renewEvery is how often the files of certificates are read again. Whoever
	// renews them need not tell the gateway.
	renewEvery = 10 * time.Second
	// renewPatience is how many looks in a row a trouble lasts before it is one:
	// certificate and key are two files, and are not replaced at one moment.
	renewPatience = 2
)

// renew looks after the files of certificates until Shutdown, which awaits it.
func (g *Gateway) renew() {
	timer := g.clock.NewTimer(renewEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C():
			g.renewAll()
			timer.Reset(renewEvery)
		case <-g.stopRenewing:
			return
		}
	}
}

// renewAll looks once.
func (g *Gateway) renewAll() {
	for _, s := range g.secured {
		s.renew(g.log)
	}
	g.renewPresented()
}

// renew reads the files of a listener's certificates, and shows those that have
// changed and are good. Who signs the certificates of clients is a matter of
// trust: it changes by a reload only.
func (s *secured) renew(log zerolog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log = log.With().Str("listener", s.listener.Name()).Logger()
	var renewed []*shownCertificate
	next := make([]*shownCertificate, len(s.shown))
	for i, c := range s.shown {
		next[i] = c
		fresh, err := c.look(s.now())
		switch {
		case err != nil:
			c.ail(log, err)
		case fresh != nil:
			next[i] = &shownCertificate{heldCertificate: *fresh, declared: c.declared}
			renewed = append(renewed, c)
		default:
			c.trouble, c.looks = "", 0
		}
	}
	if len(renewed) == 0 {
		return
	}
	credentials, err := credentials(s.listener.Credentials().Minimum(), next)
	if err != nil {
		log.Error().Err(err).Msg("renewed certificates can't be shown; the ones before are")
		return
	}
	s.listener.SetCredentials(credentials)
	for i, c := range s.shown {
		*c = *next[i] // the metrics have c
	}
	for _, c := range renewed {
		log.Info().Str("certificate", c.name).Time("not_after", c.pair.Leaf.NotAfter).Msg("a renewed certificate is shown to new connections")
	}
}
