package gateway

import (
	"errors"
	"time"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/snapshot"
)

// Reload compiles cfg and puts it in force for all requests to come; those under
// way end under the configuration they began with. When it fails, nothing has
// changed. Listeners and their limits stay as they were started, but for the
// certificates of those that speak TLS: new connections get the new ones.
func (g *Gateway) Reload(cfg *config.Config) error {
	certificates, err := g.compileTLS(cfg)
	if err != nil {
		return err
	}
	s, err := g.compile(cfg)
	if err != nil {
		return err
	}
	g.commitTLS(certificates)
	old := g.snap.Swap(s)
	g.retiring.Go(func() { g.retire(old) })
	return nil
}

// retirePoll is how often a replaced snapshot is asked whether it is idle: its
// exchanges must not pay for telling.
const retirePoll = 20 * time.Millisecond

// retire closes s once its last exchange has ended.
func (g *Gateway) retire(s *snapshot.Snapshot) {
	for !s.Idle() {
		time.Sleep(retirePoll)
	}
	if err := s.Close(); err != nil {
		g.log.Error().Err(err).Msg("closing a replaced snapshot failed")
	}
}

// Current returns the snapshot in force, for the views of operators. A request
// keeps the one that enter gave it.
func (g *Gateway) Current() *snapshot.Snapshot { return g.snap.Load() }

// Ready says why the gateway should get no traffic, or nil. It asks nobody else
// (SPEC OB3).
func (g *Gateway) Ready() error {
	if g.draining.Load() {
		return errors.New("draining")
	}
	return nil
}
