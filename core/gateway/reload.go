package gateway

import (
	"errors"
	"time"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/upstream"
)

// Reload compiles cfg and puts it in force for all requests to come; those under
// way end under the configuration they began with. When it fails, nothing has
// changed. config.WarnAtStart knows what it passes over. Callers take turns, and
// none may come after Shutdown.
func (g *Gateway) Reload(cfg *config.Config) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	retune, err := g.tune(cfg)
	if err != nil {
		return err
	}
	withdraw := g.limits.Announce(cfg.LimitPolicies())
	s, err := g.compile(cfg)
	if err != nil {
		withdraw()
		return err
	}
	g.awaitEndpoints()
	// Nothing can fail from here on.
	retune()
	g.replace(s)
	g.count(cfg)
	return nil
}

// replace puts s in force. Callers hold reloading.
func (g *Gateway) replace(s *snapshot.Snapshot) {
	old := g.snap.Swap(s)
	g.retiring.Go(func() { g.retire(old) })
}

// tune makes ready what listeners take over from cfg while they listen. Whatever
// may fail does so here, and changes nothing; the returned function does.
func (g *Gateway) tune(cfg *config.Config) (apply func(), err error) {
	certificates, err := g.compileTLS(cfg)
	presented, errPresented := presentedBy(cfg)
	maximum := mostConnections(cfg)
	return func() {
		g.commitTLS(certificates)
		g.presented.commit(presented)
		g.totals.SetMaximum(maximum)
	}, errors.Join(err, errPresented)
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
	if g.draining() {
		return errors.New("draining")
	}
	return nil
}

// ServicesWell says whether every service has an endpoint that checks have not found
// unhealthy. What nobody checks is well.
func (g *Gateway) ServicesWell() bool {
	for _, s := range g.Current().Services {
		sick := 0
		for _, m := range s.Members() {
			if m.Status().Health == upstream.Unhealthy {
				sick++
			}
		}
		if sick > 0 && sick == len(s.Members()) {
			return false
		}
	}
	return true
}
