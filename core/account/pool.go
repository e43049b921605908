package account

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/background"
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
	beside  *background.Places
	wait    time.Duration
}

func newPool(workers int, beside *background.Places) *pool {
	workers = max(1, workers)
	p := &pool{places: make(chan struct{}, workers), rooms: make(chan *room, workers), queue: poolQueue, wait: poolWait, beside: beside}
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
	p.beside.Do(func() { f(r) })
	return nil
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
