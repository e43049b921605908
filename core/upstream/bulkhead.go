package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// BulkheadSpec declares a bulkhead. The zero value is none.
type BulkheadSpec struct {
	Maximum      int           // requests under way at once; Adaptive: at most
	Queue        int           // requests that may wait for a place
	QueueTimeout time.Duration // how long each of them may
	Adaptive     bool          // the limit follows the service's latency
}

// On says whether there is a bulkhead at all.
func (s *BulkheadSpec) On() bool { return s.Maximum > 0 }

// Bulkhead bounds how many requests of a service are under way, so that one that is slow
// can't take the memory and the sockets of the others. Those beyond the limit wait in line,
// first come first served; those who find the line full, or have waited for too long, are
// turned away. Its methods are for any number of goroutines at once.
//
// A place is held from before the first try until the exchange with the service is over: its
// answer's body is through, streamed ones included. A connection that leaves HTTP gives
// its place back at that moment: a WebSocket may last for days, and has a bound of
// its own.
type Bulkhead struct {
	spec     BulkheadSpec
	clock    clock.Clock
	limit    *atomic.Int64 // the gradient's, which writes it ten times a second, or one that stays
	gradient *gradient     // nil: the limit stays

	shed   [Left + 1]*meter.Counter // nil: nothing is counted
	queued *meter.Counter

	_ [128]byte
	// inFlight is written twice by each request of the service: a limit that is exact needs
	// one count.
	inFlight atomic.Int64
	_        [120]byte

	// waiting is how long the line is. Written under mu, read by each request.
	waiting atomic.Int64

	mu          sync.Mutex // taken by those who wait, and by those who make room for them
	first, last *waiter
	waiters     sync.Pool // *waiter
}

// waiter is a request in the line.
type waiter struct {
	next, prev *waiter
	queued     bool
	ready      chan struct{} // has room for one
}

// NewBulkhead returns an empty bulkhead.
func NewBulkhead(spec BulkheadSpec, c clock.Clock) *Bulkhead {
	b := &Bulkhead{spec: spec, clock: c}
	b.waiters.New = func() any { return &waiter{ready: make(chan struct{}, 1)} }
	if spec.Adaptive {
		b.gradient = newGradient(spec.Maximum)
		b.limit = &b.gradient.answered
		return b
	}
	b.limit = new(atomic.Int64)
	b.limit.Store(int64(spec.Maximum))
	return b
}

// Enter takes a place, if there is one and nobody waits for it. Whoever took one leaves.
func (b *Bulkhead) Enter() bool { return b.waiting.Load() == 0 && b.take() }

func (b *Bulkhead) take() bool {
	for {
		n := b.inFlight.Load()
		if n >= b.limit.Load() {
			return false
		}
		if b.inFlight.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Leave gives a place back, to the first in line if there is anybody.
func (b *Bulkhead) Leave() {
	b.inFlight.Add(-1)
	if b.waiting.Load() > 0 {
		b.admit()
	}
}

// admit lets in as many as there is room for. Whoever joins the line calls it too, and counts
// in waiting before: of one who leaves and one who joins at the same moment, one sees
// the other.
func (b *Bulkhead) admit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.first != nil && b.take() {
		w := b.first
		b.remove(w)
		w.ready <- struct{}{}
	}
}

// remove takes w out of the line. Called under mu.
func (b *Bulkhead) remove(w *waiter) {
	if w.prev == nil {
		b.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		b.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev, w.queued = nil, nil, false
	b.waiting.Add(-1)
}

// join puts a waiter at the end of the line; nil if that is full.
func (b *Bulkhead) join() *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting.Load() >= int64(b.spec.Queue) {
		return nil
	}
	w := b.waiters.Get().(*waiter)
	w.prev, w.queued = b.last, true
	if b.last == nil {
		b.first = w
	} else {
		b.last.next = w
	}
	b.last = w
	b.waiting.Add(1)
	return w
}

// Caller is who waits.
type Caller interface {
	// Gone says that it left.
	Gone() bool
}

// Entry is what came of waiting.
type Entry uint8

// What can come of it.
const (
	Entered Entry = iota // with a place
	Full                 // the line was full
	Late                 // the time was over
	Left                 // the caller has gone
)

// lookEvery is how often a caller that waits is looked after.
const lookEvery = 100 * time.Millisecond

// Wait takes a place when it is its caller's turn, within the queue's time and before due
// (monotonic ns).
func (b *Bulkhead) Wait(c Caller, due int64) Entry {
	entry := b.wait(c, due)
	if b.gradient != nil && (entry == Full || entry == Late) && b.gradient.giveUp(b.clock.Mono()) {
		b.admit()
	}
	if counter := b.shed[entry]; counter != nil && entry != Entered {
		counter.Add(0, 1)
	}
	return entry
}

func (b *Bulkhead) wait(c Caller, due int64) Entry {
	now := b.clock.Mono()
	due = min(due, now+int64(b.spec.QueueTimeout))
	if due <= now {
		return Late
	}
	w := b.join()
	if w == nil {
		return Full
	}
	if b.queued != nil {
		b.queued.Add(0, 1)
	}
	b.admit()
	entry := b.stand(w, c, due)
	if entry != Entered && !b.withdraw(w) {
		<-w.ready // it was let in at the same moment
		if entry == Left {
			b.Leave()
		} else {
			entry = Entered
		}
	}
	b.waiters.Put(w)
	return entry
}

// stand waits for a turn.
func (b *Bulkhead) stand(w *waiter, c Caller, due int64) Entry {
	timer := b.clock.NewTimer(min(lookEvery, time.Duration(due-b.clock.Mono())))
	defer timer.Stop()
	for {
		select {
		case <-w.ready:
			return Entered
		case <-timer.C():
		}
		left := due - b.clock.Mono()
		switch {
		case left <= 0:
			return Late
		case c.Gone():
			return Left
		}
		timer.Reset(min(lookEvery, time.Duration(left)))
	}
}

// withdraw takes w out of the line; false says that it was let in.
func (b *Bulkhead) withdraw(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.queued {
		return false
	}
	b.remove(w)
	return true
}

// Done tells how a request went, for a limit that adapts: how long the service took, retries
// included. A latency of 0 is one that is not known, and tells nothing. Failures but timeouts,
// which say how slow it is at least, tell nothing either: what is refused is refused quickly.
func (b *Bulkhead) Done(r Final) {
	if b.gradient == nil || r.Fate == Nothing || r.Latency <= 0 {
		return
	}
	if b.gradient.sample(r, b.inFlight.Load()) && b.waiting.Load() > 0 {
		b.admit()
	}
}

// BulkheadView is what a bulkhead shows of itself.
type BulkheadView struct{ InFlight, Waiting, Limit int64 }

// View shows the bulkhead as it is now.
func (b *Bulkhead) View() BulkheadView {
	return BulkheadView{InFlight: b.inFlight.Load(), Waiting: b.waiting.Load(), Limit: b.limit.Load()}
}
