package account

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// The bounds of the pool (SECURITY I12).
const (
	poolQueue = 64
	poolWait  = 2 * time.Second
)

// pool lets few passwords be hashed at once: each takes 32 MiB and a core for some
// 40 ms, and a flood of logins must leave the proxied traffic its cores and memory.
// Callers hash on their own goroutine while they hold a place; those who wait are
// served in the order in which they came.
type pool struct {
	places  chan struct{} // one element for each that hashes
	waiting atomic.Int64  // written twice for each login that waits
	queue   int64
	wait    time.Duration
}

func newPool(workers int) *pool {
	return &pool{places: make(chan struct{}, max(1, workers)), queue: poolQueue, wait: poolWait}
}

// run calls f once there is a place, or returns ErrBusy: too many wait already, or
// none came in time, or the caller left.
func (p *pool) run(ctx context.Context, f func()) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer func() { <-p.places }()
	f()
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
