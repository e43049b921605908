package discovery

import (
	"context"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

// Options are what New needs.
type Options struct {
	Sources map[string]Source // by Discovery.Source
	// Directory is where known endpoints are kept, in a folder of their own; empty:
	// nowhere.
	Directory string
	// Barred says of an address that no endpoint may be there; nil: none is barred.
	Barred func(netip.AddrPort) bool
	Clock  clock.Clock
	Meter  *meter.Set
	Log    zerolog.Logger
}

// Finder finds endpoints for services. Its methods may be called concurrently.
type Finder struct {
	sources map[string]Source
	shelf   shelf
	barred  func(netip.AddrPort) bool
	clock   clock.Clock
	meter   *meter.Set
	log     zerolog.Logger

	mu      sync.Mutex // guards watches; taken before that of a watch
	watches map[upstream.Discovery]*watch
}

// folder is where known endpoints stand below the gateway's directory.
const folder = "discovery"

// New returns a finder that looks for nothing yet.
func New(o Options) *Finder {
	f := &Finder{
		sources: o.Sources, barred: o.Barred, clock: o.Clock, meter: o.Meter,
		log: o.Log.With().Str("part", "discovery").Logger(), watches: make(map[upstream.Discovery]*watch),
	}
	f.shelf.barred = o.Barred
	if o.Directory != "" {
		f.shelf.folder = filepath.Join(o.Directory, folder)
	}
	return f
}

// Watch implements upstream.Finder. A source that there is not has no endpoints.
func (f *Finder) Watch(d upstream.Discovery, apply func([]upstream.EndpointSpec) error) (stop func()) {
	source := f.sources[d.Source]
	if source == nil {
		f.log.Error().Str("of", describe(d)).Msg("nobody can be asked for these endpoints: the source is not configured, or came with a reload and waits for the next start")
		return func() {}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.watches[d]
	if w == nil {
		w = f.begin(d, source)
		f.watches[d] = w
	}
	listener := &listener{apply}
	w.join(listener)
	return sync.OnceFunc(func() { f.leave(w, listener) })
}

var _ upstream.Finder = (*Finder)(nil)

// begin starts a watch with what is kept of it. Called under mu.
func (f *Finder) begin(d upstream.Discovery, source Source) *watch {
	w := &watch{finder: f, of: d, query: source.Open(d), log: f.log.With().Str("of", describe(d)).Logger()}
	known, since, err := f.shelf.take(d)
	switch {
	case err != nil:
		w.log.Warn().Err(err).Msg("what was kept of these endpoints is not used")
	case len(known) > 0:
		w.known, w.changed, w.heard = known, since, since
		w.log.Info().Int("endpoints", len(known)).Time("since", since).Msg("starting with the endpoints that were known last")
	}
	w.begun = f.clock.Mono()
	w.publish()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.done.Go(func() { w.run(ctx) })
	return w
}

// leave ends what w does for l, and w with its last listener.
func (f *Finder) leave(w *watch, l *listener) {
	f.mu.Lock()
	last := w.leave(l)
	if last {
		delete(f.watches, w.of)
	}
	f.mu.Unlock()
	if last {
		w.stop()
	}
}

// patience is how long a source may be away before that counts as an illness, be it at
// the start.
const patience = 10 * time.Second

// Healthy says whether all that is watched is known, and whoever knows it answers.
func (f *Finder) Healthy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watches {
		if w.ill(f.clock.Mono()) {
			return false
		}
	}
	return true
}
