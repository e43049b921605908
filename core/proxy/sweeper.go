package proxy

import (
	"runtime"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
)

const (
	// sweepEvery is the time between two rounds of the sweeper.
	sweepEvery = 100 * time.Millisecond
	// patience is how long an exchange waits before anybody looks after its client.
	patience = int64(100 * time.Millisecond)
	// expireEvery is how many rounds lie between two looks at idle connections.
	expireEvery = 5
	// sweepBatch is how many connections are taken from the list at once, so that
	// a dial never waits for more than a few of them.
	sweepBatch = 64
)

// sweeper is the one goroutine of a proxy. It aborts exchanges whose client went
// away while they waited for the service (SPEC PX5), wakes stalled uploads whose
// service has answered (PX4), and closes connections that were idle for too
// long. The proxy owns it: New starts it, Close stops it and waits.
type sweeper struct {
	proxy *Proxy
	stop  chan struct{}
	done  chan struct{}

	mu    sync.Mutex // taken by dials, closes and the sweeper itself
	conns []*conn
}

func newSweeper(p *Proxy) *sweeper {
	return &sweeper{proxy: p, stop: make(chan struct{}), done: make(chan struct{})}
}

// add makes the sweeper see c.
func (s *sweeper) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.slot = len(s.conns)
	s.conns = append(s.conns, c)
}

// remove is called before c is closed. The last of the list takes its slot.
func (s *sweeper) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.conns) - 1
	s.conns[c.slot] = s.conns[last]
	s.conns[c.slot].slot = c.slot
	s.conns[last] = nil
	s.conns = s.conns[:last]
}

// run sweeps until stop closes.
func (s *sweeper) run() {
	defer close(s.done)
	timer := s.proxy.clock.NewTimer(sweepEvery)
	defer timer.Stop()
	for round := 1; ; round++ {
		select {
		case <-s.stop:
			return
		case <-timer.C():
		}
		s.sweep(round)
		if round%expireEvery == 0 {
			s.proxy.expire()
		}
		timer.Reset(sweepEvery)
	}
}

// sweep looks at every connection that somebody waits on. A client is asked in
// every second round only: twenty thousand open event streams are then a hundred
// thousand short system calls a second less.
func (s *sweeper) sweep(round int) {
	now := s.proxy.clock.Mono()
	var batch [sweepBatch]*conn
	for from := 0; ; from += sweepBatch {
		n := s.batch(&batch, from)
		for i, c := range batch[:n] {
			c.watch.look(c, now, (round+from+i)%2 == 0)
		}
		if n < sweepBatch {
			return
		}
	}
}

func (s *sweeper) batch(into *[sweepBatch]*conn, from int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from >= len(s.conns) {
		return 0
	}
	return copy(into[:], s.conns[from:])
}

// close stops the goroutine and waits for its end.
func (s *sweeper) close() {
	close(s.stop)
	<-s.done
}

// begin makes the sweeper watch over an exchange that waits from now on.
func (w *watch) begin(down pipeline.Downstream, now int64) {
	w.down = down
	w.state.Store(now)
}

// end takes the exchange out of the sweeper's sight. If it is being looked at,
// the look is waited for: it is one or two short system calls.
func (w *watch) end(since int64) {
	for !w.state.CompareAndSwap(since, 0) {
		runtime.Gosched()
	}
	w.down = nil
	w.uploading.Store(notUploading)
	w.answered.Store(false)
}

// look takes hold of an exchange that has waited long enough, and looks: at its
// service, and at its client too if that is its turn.
func (w *watch) look(c *conn, now int64, both bool) {
	since := w.state.Load()
	if since <= 0 || now-since < patience {
		return
	}
	if !w.state.CompareAndSwap(since, -since) {
		return
	}
	defer w.state.Store(since)
	if both && !w.gone.Load() && w.down.Gone() {
		w.gone.Store(true)
		c.close()
		return
	}
	if mode := w.uploading.Load(); mode != notUploading && !w.answered.Load() && c.stirs(mode) {
		w.answered.Store(true)
		c.wakeWriter()
		if mode == readingClient {
			interrupt(w.down)
		}
	}
}
