package upstream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAWorkerMakesWhatItWasGiven, though the last service has let go meanwhile: the release waits
// for each check that was given out.
func TestAWorkerMakesWhatItWasGiven(t *testing.T) {
	t.Parallel()
	c := checking(nil, 1)
	c.spec.Health.Interval = time.Hour
	s := c.acquire(t)
	defer s.Release()
	k := s.Members()[0].check
	c.checks.mu.Lock()
	k.stopped = true // its checks change nothing
	c.checks.mu.Unlock()
	for range 64 { // of two ways that are open one is taken at random
		r := &runner{work: make(chan *check, 1)}
		r.ctx, r.cancel = context.WithCancel(t.Context())
		r.cancel()
		k.under.Add(2)
		c.checks.mu.Lock()
		c.checks.busy += 2
		c.checks.mu.Unlock()
		r.work <- k
		c.checks.serve(r, k)
		if len(r.work) > 0 {
			k.under.Done() // or the release would wait for ever
			t.Fatal("the worker has left a check behind")
		}
	}
}

// TestTheEndOfChecksWaitsForNoTimeout: with all services gone, checks that hang end at once, and not one
// after the other.
func TestTheEndOfChecksWaitsForNoTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := checking(nil, 1, 1, 1, 1, 1)
		for _, e := range c.spec.Endpoints {
			c.answers.set(e.Address, func() error { return errHanging })
		}
		s := c.acquire(t)
		time.Sleep(firstWithin + 2*leastTick) // all hang
		began := time.Now()
		s.Release()
		if took := time.Since(began); took > 0 {
			t.Errorf("the release took %v", took)
		}
	})
}
