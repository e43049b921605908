// Package snapshot compiles configuration into what requests walk: one immutable
// [Snapshot] of the route table, the chains and the services.
//
// Compile starts nothing and leaves nothing behind when it fails. A snapshot in
// force is replaced by a whole new one; the old one lives until its last
// exchange has ended, and is closed then.
package snapshot

import (
	"errors"
	"runtime"
	"sync/atomic"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// Snapshot is the compiled configuration in force. Only its counters change.
type Snapshot struct {
	// None is what requests run that match no route or can't be read.
	None *pipeline.Route
	// Trusted are the proxies whose forwarded fields are believed.
	Trusted *clientip.Trusted
	// Path is how paths are read before a route is known.
	Path wire.PathOptions
	// Routes are all routes by name, for the views of operators.
	Routes map[string]*pipeline.Route
	// Services are all services, sorted by name, for the same.
	Services []*upstream.Service
	// Config is what the snapshot was compiled from, for the same.
	Config *config.Config

	entries []*pipeline.Route // by the table's index
	matches []router.Match    // likewise
	table   *router.Table[*pipeline.Route]
	close   []func() error
	counted []count
	mask    uint32
	// preflights says that some chain answers CORS preflights.
	preflights bool
}

// count is one stripe of the exchanges that entered and left. Each is written by
// the exchanges of its stripe only, and padded so that no two share a cache line.
type count struct {
	started, ended atomic.Uint64
	_              [112]byte
}

func newCounts() ([]count, uint32) {
	n := 1
	for n < runtime.GOMAXPROCS(0) {
		n *= 2
	}
	return make([]count, n), uint32(n - 1)
}

// Enter counts an exchange in.
func (s *Snapshot) Enter(stripe uint32) { s.counted[stripe&s.mask].started.Add(1) }

// Release counts an exchange out. It implements pipeline.Holder.
func (s *Snapshot) Release(stripe uint32) { s.counted[stripe&s.mask].ended.Add(1) }

var _ pipeline.Holder = (*Snapshot)(nil)

// Idle says whether no exchange walks the snapshot. It is final only once the
// snapshot is out of force. The ends are summed before the starts: an exchange
// that passes between the two sums can then only make it look busy.
func (s *Snapshot) Idle() bool {
	var ended, started uint64
	for i := range s.counted {
		ended += s.counted[i].ended.Load()
	}
	for i := range s.counted {
		started += s.counted[i].started.Load()
	}
	return ended == started
}

// InFlight is how many exchanges walk the snapshot, about.
func (s *Snapshot) InFlight() int64 {
	var n int64
	for i := range s.counted {
		n += int64(s.counted[i].started.Load()) - int64(s.counted[i].ended.Load())
	}
	return n
}

// Close gives back all that the snapshot holds: plugins, services, series. It is
// called once, when Idle is true and the snapshot is out of force.
func (s *Snapshot) Close() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// Receive runs the hooks that stand before routing.
func (s *Snapshot) Receive(x *pipeline.Exchange) pipeline.Verdict { return s.None.Chain.Receive(x) }
