package upstream

import (
	"testing"
	"time"
)

// TestWhatWasWrittenDecides: whoever wrote OPEN while a request asked for the lease has no lease, and a
// record that was met while the state changed is still news.
func TestWhatWasWrittenDecides(t *testing.T) {
	t.Parallel()
	now := int64(time.Hour)
	opened := func() *Breaker {
		b := NewBreaker("a", BreakerSpec{Window: time.Second, Consecutive: 1, Open: time.Millisecond, OpenMaximum: time.Minute, Probes: 1, Shared: true}, nil)
		b.shared.by = "us"
		ticket, _ := b.Admit(now, 0)
		b.Done(ticket, Final{Fate: Failure, Now: now})
		b.shared.tells = true
		return b
	}
	later := now + int64(time.Second)

	b := opened()
	_, r, ok := b.news(later, time.Now())
	if !ok || r.State != Open {
		t.Fatalf("news are %+v, %v", r, ok)
	}
	b.shared.asks = true // a request came while that was written
	stands := r
	stands.Epoch = 7
	if b.said(r, stands, true, later) || b.State() != Open || !b.shared.asks || b.shared.tells {
		t.Errorf("it wrote OPEN, and is %v; asks: %v, tells: %v", b.State(), b.shared.asks, b.shared.tells)
	}
	after, r, ok := b.news(later, time.Now())
	if !ok || after != 7 || r.State != HalfOpen {
		t.Fatalf("its question is %+v behind %d, %v", r, after, ok)
	}
	if stands.State, stands.Epoch = HalfOpen, 8; !b.said(r, stands, true, later) || b.State() != HalfOpen {
		t.Errorf("with the lease it is %v", b.State())
	}

	b = opened()
	b.shared.tells, b.shared.asks = false, true
	_, r, _ = b.news(later, time.Now())
	b.mu.Lock()
	b.halfOpenLocked(b.stance.Load(), later, "nobody answers") // meanwhile
	b.shared.asks = false
	b.mu.Unlock()
	closed := BreakerRecord{State: Closed, Epoch: 9, By: "them"}
	b.said(r, closed, false, later)
	if b.follow(closed, later); b.State() != Closed {
		t.Errorf("the others have closed it, and it is %v", b.State())
	}
}
