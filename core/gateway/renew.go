package gateway

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/certificate"
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
			for _, s := range g.secured {
				s.renew(g.log)
			}
			timer.Reset(renewEvery)
		case <-g.stopRenewing:
			return
		}
	}
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
			next[i] = fresh
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

// ail notes a trouble, and logs it when it lasts.
func (c *shownCertificate) ail(log zerolog.Logger, err error) {
	if c.looks++; c.looks < renewPatience {
		return
	}
	if c.trouble != err.Error() {
		log.Error().Str("certificate", c.name).Err(err).Msg("the files of a certificate can't be read again; the last good ones are shown")
	}
	c.trouble = err.Error()
}

// look reads the files again. It returns what has become of the certificate, or nil
// if nothing has.
func (c *shownCertificate) look(now time.Time) (*shownCertificate, error) {
	certificateText, err := again(c.declared.Certificate.File(), c.certificateText)
	if err != nil {
		return nil, err
	}
	keyText, err := again(c.declared.Key.File(), c.keyText)
	if err != nil {
		return nil, err
	}
	if certificateText == c.certificateText && keyText == c.keyText {
		return nil, nil
	}
	pair, err := certificate.Parse(certificateText, keyText)
	if err != nil {
		return nil, err
	}
	if !pair.Valid(now) && c.pair.Valid(now) {
		return nil, errors.New("the new certificate is not valid now, and the one before is")
	}
	fresh := *c
	fresh.pair, fresh.certificateText, fresh.keyText = pair, certificateText, keyText
	fresh.trouble, fresh.looks = "", 0
	return &fresh, nil
}

// again reads file as package setting does; what stands in the configuration itself
// stays as it is.
func again(file, text string) (string, error) {
	if file == "" {
		return text, nil
	}
	b, err := os.ReadFile(file)
	var reason *fs.PathError
	if errors.As(err, &reason) {
		return "", errors.New(file + ": " + reason.Err.Error())
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), err
}
