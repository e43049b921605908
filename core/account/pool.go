package account

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The bounds of the pool (SECURITY I12).
const (
	poolQueue = 64
	poolWait  = 2 * time.Second
)

// pool lets few passwords be hashed at once: each takes 32 MiB and a core for some
// 40 ms, and a flood of logins must leave the proxied traffic its cores and memory.
// Callers wait while a thread of low priority hashes for them in the place that they
// hold; those who wait for a place are served in the order in which they came.
type pool struct {
	places  chan struct{} // one element for each that hashes
	rooms   chan *room    // of the places that are free
	waiting atomic.Int64  // written twice for each login that waits
	queue   int64
	wait    time.Duration
}

func newPool(workers int) *pool {
	workers = max(1, workers)
	p := &pool{places: make(chan struct{}, workers), rooms: make(chan *room, workers), queue: poolQueue, wait: poolWait}
	for range workers {
		p.rooms <- &room{}
	}
	return p
}

// run calls f with the memory of a place, once there is one, or returns ErrBusy: too
// many wait already, or none came in time, or the caller left.
func (p *pool) run(ctx context.Context, f func(*room)) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer func() { <-p.places }()
	r := <-p.rooms // there is one for each place
	defer func() { p.rooms <- r }()
	yielding(func() { f(r) })
	return nil
}

// How far hashing stands back behind all else that wants a core: it gets a tenth of one
// that is contended, and no more than hashSlice at a time, where the kernel would let
// it finish 3 ms before it hands the core to a request (Linux 6.12; older ones know
// niceness alone). Much less would do harm: a thread that hardly ever runs keeps the
// garbage collector waiting, and with it all requests.
const (
	hashNice  = 10
	hashSlice = 100 * time.Microsecond
)

// yielding calls f on a thread of lower priority, and waits for it. The thread ends with
// its goroutine because nobody unlocks it, so its priority is nobody else's. A panic of
// f is one of the caller's.
func yielding(f func()) {
	var failed any
	done := make(chan struct{})
	go func() { // awaited below
		defer close(done)
		defer func() { failed = recover() }()
		runtime.LockOSThread()
		// Where a sandbox forbids it, passwords are hashed all the same, and requests
		// share the cores with them as equals.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL, Nice: hashNice, Runtime: uint64(hashSlice)}, 0)
		f()
	}()
	<-done
	if failed != nil {
		panic(failed)
	}
}

func (p *pool) enter(ctx context.Context) error {
	select {
	case p.places <- struct{}{}: // the channel takes it only if nobody waits
		return nil
	default:
	}
	defer p.waiting.Add(-1)
	if n := p.waiting.Add(1); n > p.queue {
		return fmt.Errorf("%w: %d wait already", ErrBusy, p.queue)
	}
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case p.places <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: waited %s", ErrBusy, p.wait)
	case <-ctx.Done():
		return fmt.Errorf("%w: gave up waiting: %w", ErrBusy, ctx.Err())
	}
}
