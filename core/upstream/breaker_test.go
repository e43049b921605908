package upstream

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var breaking = BreakerSpec{
	Window: 10 * time.Second, Minimum: 20, Failures: 0.5, Consecutive: 10, SlowOver: time.Second, SlowShare: 0.8,
	Open: 5 * time.Second, OpenMaximum: time.Minute, Probes: 3,
}

// track is a breaker with a time that a test moves.
type track struct {
	t   testing.TB
	b   *Breaker
	now int64
	log []string
}

func newTrack(t testing.TB, spec BreakerSpec) *track {
	k := &track{t: t, now: int64(time.Hour)}
	k.b = NewBreaker("s", spec, func(c Transition) {
		k.log = append(k.log, fmt.Sprintf("%v>%v %s", c.From, c.To, c.Because))
	})
	return k
}

func (k *track) pass(d time.Duration) { k.now += int64(d) }

// one sends a request of that outcome; false if the breaker refuses it.
func (k *track) one(o Fate, latency time.Duration) bool {
	ticket, ok := k.b.Admit(k.now, 0)
	if ok {
		k.b.Done(ticket, Final{Fate: o, Latency: latency, Now: k.now})
	}
	return ok
}

func (k *track) some(n int, o Fate) {
	for range n {
		k.one(o, 0)
	}
}

func (k *track) wants(state State, log ...string) {
	k.t.Helper()
	if got := k.b.State(); got != state {
		k.t.Errorf("%v, want %v", got, state)
	}
	if fmt.Sprint(k.log) != fmt.Sprint(log) {
		k.t.Errorf("transitions %q, want %q", k.log, log)
	}
	k.log = nil
}

const (
	byRow    = "CLOSED>OPEN failures in a row"
	byShare  = "CLOSED>OPEN share of failures"
	overTime = "OPEN>HALF_OPEN its time is over"
	closing  = "HALF_OPEN>CLOSED all probes went well"
)

func TestBreakerTrips(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do    func(*track)
		state State
		log   []string
	}{
		"nine in a row":                           {func(k *track) { k.some(9, Failure) }, Closed, nil},
		"ten in a row":                            {func(k *track) { k.some(10, Failure) }, Open, []string{byRow}},
		"ten, with a success between":             {func(k *track) { k.some(5, Failure); k.some(1, Success); k.some(5, Failure) }, Closed, nil},
		"what tells nothing does not break a row": {func(k *track) { k.some(5, Failure); k.some(9, Nothing); k.some(5, Failure) }, Open, []string{byRow}},
		"half, too few": {func(k *track) {
			for range 9 {
				k.some(1, Success)
				k.some(1, Failure)
			}
		}, Closed, nil},
		"half, enough": {func(k *track) {
			for range 10 {
				k.some(1, Success)
				k.some(1, Failure)
			}
		}, Open, []string{byShare}},
		"under half": {func(k *track) {
			for range 100 {
				k.some(1, Success)
				k.some(1, Failure)
				k.some(1, Success)
			}
		}, Closed, nil},
		"failures of before the window": {func(k *track) {
			for range 9 {
				k.some(1, Failure)
				k.some(1, Success)
			}
			k.pass(11 * time.Second)
			k.some(12, Success)
			k.some(8, Failure)
		}, Closed, nil},
		"slow": {func(k *track) {
			for range 20 {
				k.one(Success, 2*time.Second)
			}
		}, Open, []string{"CLOSED>OPEN share of slow answers"}},
		"slow, but not enough of them": {func(k *track) {
			for i := range 100 {
				k.one(Success, time.Duration(i%10/3)*500*time.Millisecond)
			}
		}, Closed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newTrack(t, breaking)
			c.do(k)
			k.wants(c.state, c.log...)
		})
	}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	k := newTrack(t, breaking)
	before, _ := k.b.Admit(k.now, 0)
	k.some(10, Failure)
	k.wants(Open, byRow)
	if k.one(Success, 0) || k.b.RetryAfter(k.now) != 5*time.Second {
		t.Errorf("open: something passed, or wait %v", k.b.RetryAfter(k.now))
	}
	k.pass(5*time.Second - 1)
	if k.one(Success, 0) {
		t.Error("a request passed before its time")
	}
	k.pass(1)
	var probes []Ticket
	for range 3 {
		p, ok := k.b.Admit(k.now, 0)
		if !ok {
			t.Fatal("no place for a probe")
		}
		probes = append(probes, p)
	}
	if _, ok := k.b.Admit(k.now, 0); ok {
		t.Error("a fourth probe passed")
	}
	k.b.Done(before, Final{Fate: Failure, Now: k.now}) // it was sent while the breaker was closed
	k.b.Done(Ticket{}, Final{Fate: Failure, Now: k.now})
	k.wants(HalfOpen, overTime)
	k.b.Done(probes[0], Final{Fate: Nothing, Now: k.now})
	again, ok := k.b.Admit(k.now, 0)
	if !ok {
		t.Fatal("the place of a probe that told nothing is lost")
	}
	for _, p := range []Ticket{again, probes[1], probes[2]} {
		k.wants(HalfOpen)
		k.b.Done(p, Final{Fate: Success, Now: k.now})
	}
	k.wants(Closed, closing)
	k.some(9, Failure) // nothing of before counts
	k.wants(Closed)
	if k.b.Holds(before) {
		t.Error("an old ticket is taken for a new one")
	}
}

func TestBreakerRelapses(t *testing.T) {
	t.Parallel()
	k := newTrack(t, breaking)
	k.some(10, Failure)
	k.wants(Open, byRow)
	for _, d := range []int{10, 20, 40, 60, 60} {
		k.pass(k.b.RetryAfter(k.now))
		k.one(Failure, 0)
		k.wants(Open, overTime, "HALF_OPEN>OPEN a probe failed")
		if got := k.b.RetryAfter(k.now); got != time.Duration(d)*time.Second {
			t.Errorf("open for %v, want %d s", got, d)
		}
	}
	k.pass(time.Minute)
	k.some(3, Success)
	k.wants(Closed, overTime, closing)
	k.pass(59 * time.Second)
	k.some(10, Failure) // within the time that it was open: still the same trouble
	if got := k.b.RetryAfter(k.now); got != time.Minute {
		t.Errorf("open for %v after a short recovery", got)
	}
	k.pass(time.Minute)
	k.some(3, Success)
	k.pass(61 * time.Second)
	k.some(10, Failure)
	if got := k.b.RetryAfter(k.now); got != 5*time.Second {
		t.Errorf("open for %v after a long recovery", got)
	}
	k.pass(5 * time.Second)
	k.log = nil
	k.one(Success, 3*time.Second)
	k.wants(Open, overTime, "HALF_OPEN>OPEN a probe was slow")
}

func TestBreakerDoesNotWaitForProbesForEver(t *testing.T) {
	t.Parallel()
	k := newTrack(t, breaking)
	k.some(10, Failure)
	k.pass(5 * time.Second)
	var lost []Ticket
	for range 3 {
		ticket, _ := k.b.Admit(k.now, 0)
		lost = append(lost, ticket)
	}
	k.pass(5*time.Second - 1)
	if _, ok := k.b.Admit(k.now, 0); ok {
		t.Error("a probe too many")
	}
	k.pass(1)
	k.some(1, Success)
	k.b.Done(lost[0], Final{Fate: Success, Now: k.now}) // those that come late count
	k.b.Done(lost[1], Final{Fate: Nothing, Now: k.now})
	k.wants(HalfOpen, byRow, overTime)
	k.some(1, Success)
	k.b.Done(lost[2], Final{Fate: Failure, Now: k.now})
	k.wants(Closed, closing)
}

func TestBreakerIsForced(t *testing.T) {
	t.Parallel()
	const said = " an operator said so"
	k := newTrack(t, breaking)
	k.b.force(ForcedOpen, k.now)
	k.pass(time.Hour)
	if k.one(Success, 0) || k.b.RetryAfter(k.now) != 0 || k.b.View(k.now).Forced != ForcedOpen {
		t.Error("a breaker that is forced open lets something pass")
	}
	k.b.force(ForcedClosed, k.now)
	k.some(100, Failure)
	k.wants(Closed, "CLOSED>OPEN"+said, "OPEN>CLOSED"+said)
	k.b.force(Unforced, k.now)
	k.b.force(Unforced, k.now)
	k.wants(Closed, "CLOSED>CLOSED"+said)
	k.some(8, Failure)
	k.some(1, Success)
	if v := k.b.View(k.now); v != (BreakerView{Total: 9, Failures: 8}) {
		t.Errorf("%+v", v)
	}
	k.some(10, Failure)
	k.wants(Open, byRow)
	if v := k.b.View(k.now); v.State != Open || v.For != 5*time.Second {
		t.Errorf("%+v", v)
	}
}

// TestBreakerCountsConcurrently: many callers at once lose nothing, and never get more probes
// than there are.
func TestBreakerCountsConcurrently(t *testing.T) {
	t.Parallel()
	spec := breaking
	spec.Consecutive, spec.Failures, spec.SlowShare = 0, 0.9, 0
	b := NewBreaker("s", spec, nil)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for n := range 2000 {
				ticket, _ := b.Admit(1, uint32(i))
				b.Done(ticket, Final{Fate: Success + Fate(n%2), Now: 1, Stripe: uint32(i)})
			}
		})
	}
	group.Wait()
	if v := b.View(1); v.Total != 32_000 || v.Failures != 16_000 {
		t.Errorf("%+v", v)
	}
	b.force(ForcedOpen, 1)
	b.force(Unforced, 1)
	for b.State() == Closed {
		for range 200 {
			ticket, _ := b.Admit(2, 0)
			b.Done(ticket, Final{Fate: Failure, Now: 2})
		}
	}
	var passed atomic.Int64
	for range 16 {
		group.Go(func() {
			for range 1000 {
				if _, ok := b.Admit(2+int64(spec.Open), 0); ok {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if passed.Load() != int64(spec.Probes) {
		t.Errorf("%d probes", passed.Load())
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(Closed, Open, HalfOpen); got != "CLOSED OPEN HALF_OPEN" {
		t.Error(got)
	}
}

func TestRingForgetsLatecomers(t *testing.T) {
	t.Parallel()
	var r ticks
	r.add(0, 20)
	r.add(0, 4) // the same slot, a turn before
	if got := r.sum(0, 30); got != 1 {
		t.Errorf("%d counted", got)
	}
	r.lanes[0].slots[20%ringSlots].Store(20<<32 | uint64(^uint32(0)))
	r.add(0, 20)
	if got := r.sum(20, 20); got != uint64(^uint32(0)) {
		t.Errorf("%d in a full slot", got)
	}
}
