package tunnel

import (
	"context"
	"fmt"
	"time"
)

const (
	// sweepEvery is how exact the bounds on silence are.
	sweepEvery = 250 * time.Millisecond
	// linger is how long a tunnel may be silent once one end has ended.
	linger = 10 * time.Second
	// grace is how long ends may take to answer a Close frame of ours, and shortGrace
	// where what they would still say is no longer allowed.
	grace      = 5 * time.Second
	shortGrace = 500 * time.Millisecond
	// drainEvery is the time between two goodbyes while draining, if there is time
	// enough: clients that come back all at once would be a flood for whoever takes over.
	drainEvery = 20 * time.Millisecond
	// drainPoll is how often it is looked whether all have gone.
	drainPoll = 10 * time.Millisecond
)

// grace is how long both ends may take to say goodbye.
func (r Reason) grace() time.Duration {
	if r == ByPolicy {
		return shortGrace
	}
	return grace
}

// sweepUntilStopped is the sweeper: one goroutine that finds tunnels which have
// been silent for too long, instead of a timer for each. The registry owns it.
func (r *Registry) sweepUntilStopped() {
	defer close(r.swept)
	timer := r.clock.NewTimer(sweepEvery)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C():
		}
		r.sweep(r.clock.Mono())
		timer.Reset(sweepEvery)
	}
}

// sweep looks at every tunnel. Orders to a mover don't wait, so they can be given
// under the lock.
func (r *Registry) sweep(now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tunnels {
		silent := time.Duration(now - t.active.Load())
		due := t.due.Load()
		switch {
		case due != 0 && now >= due:
			t.mover.end(t, unknown)
		case due != 0:
		case t.half.Load() && silent >= linger:
			t.mover.end(t, unknown)
		case t.idle > 0 && silent >= t.idle:
			t.mover.dismiss(t, ByIdle)
		}
	}
}

// Drain says goodbye to every tunnel, spread over half of the time that ctx leaves,
// and waits until all have gone. What is left when ctx is done is cut. The error
// says how many clients were cut without a word: those that were amid a message
// which did not end. No tunnel can be opened any more.
func (r *Registry) Drain(ctx context.Context) error {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	all := r.all()
	pause := r.pause(ctx, len(all))
	for _, t := range all {
		t.mover.dismiss(t, ByDrain)
		r.wait(ctx, pause)
	}
	for r.Len() > 0 && ctx.Err() == nil {
		r.wait(ctx, drainPoll)
	}
	for _, t := range r.all() {
		t.mover.end(t, ByDrain)
	}
	for r.Len() > 0 {
		r.wait(context.Background(), time.Millisecond)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.untold > 0 {
		return fmt.Errorf("%d WebSockets were cut amid a message", r.untold)
	}
	return nil
}

// pause is the time between two goodbyes.
func (r *Registry) pause(ctx context.Context, tunnels int) time.Duration {
	deadline, bounded := ctx.Deadline()
	if !bounded || tunnels == 0 {
		return drainEvery
	}
	return min(drainEvery, max(time.Until(deadline), 0)/2/time.Duration(tunnels))
}

// wait waits for d, or until ctx is done.
func (r *Registry) wait(ctx context.Context, d time.Duration) {
	if d <= 0 || ctx.Err() != nil {
		return
	}
	timer := r.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}
