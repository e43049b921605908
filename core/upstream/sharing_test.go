package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// board is a store in memory, which may be away.
type board struct {
	clock clock.Clock

	mu        sync.Mutex
	records   map[string]BreakerRecord
	ends      map[string]int64
	followers map[int]func([]string)
	next      int
	away      bool
	leases    int
}

var errAway = errors.New("the board is away")

func newBoard(c clock.Clock) *board {
	return &board{clock: c, records: map[string]BreakerRecord{}, ends: map[string]int64{}, followers: map[int]func([]string){}}
}

func (b *board) record(service string) BreakerRecord {
	r := b.records[service]
	r.For = time.Duration(max(b.ends[service]-b.clock.Mono(), 0))
	return r
}

func (b *board) Write(_ context.Context, service string, after uint64, r BreakerRecord) (BreakerRecord, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return BreakerRecord{}, false, errAway
	}
	if stands := b.record(service); stands.Epoch != 0 && stands.Epoch != after {
		return stands, false, nil
	}
	r.Epoch = after + 1
	b.records[service], b.ends[service] = r, b.clock.Mono()+int64(r.For)
	if r.State == HalfOpen {
		b.leases++
	}
	for _, told := range b.followers {
		told([]string{service})
	}
	return r, true, nil
}

func (b *board) Read(_ context.Context, services []string) (map[string]BreakerRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return nil, errAway
	}
	out := map[string]BreakerRecord{}
	for _, service := range services {
		if r := b.record(service); r.Epoch != 0 {
			out[service] = r
		}
	}
	return out, nil
}

func (b *board) Follow(ctx context.Context, told func([]string)) {
	b.mu.Lock()
	b.next++
	me := b.next
	b.followers[me] = told
	b.mu.Unlock()
	told(nil)
	<-ctx.Done()
	b.mu.Lock()
	delete(b.followers, me)
	b.mu.Unlock()
}

// set has the board go, or come back.
func (b *board) set(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
	if !away {
		for _, told := range b.followers {
			told(nil)
		}
	}
}

func (b *board) stands(service string) BreakerRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record(service)
}

// logged is a log that may be read while it is written.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), s)
}

// fleet is instances that share a board and a time.
type fleet struct {
	t     *testing.T
	clock *clock.Fake
	board *board
	log   logged
	one   []*Breaker
}

func newFleet(t *testing.T, instances int) *fleet {
	c := clock.NewFake(time.Now())
	c.Advance(time.Hour)
	f := &fleet{t: t, clock: c, board: newBoard(c)}
	for range instances {
		f.join()
	}
	return f
}

// join has one instance more come.
func (f *fleet) join() *Breaker {
	r := NewRegistry((&counting{}).open)
	r.Publish(meter.NewSet(time.Now))
	r.Guard(Guarding{Clock: f.clock, Log: zerolog.New(&f.log), Store: f.board})
	s := spec(WeightedRoundRobin, 1)
	s.Breaker = breaking
	s.Breaker.Shared = true
	service, err := r.Acquire(s)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { r.Close(); service.Release() })
	f.one = append(f.one, service.Breaker)
	return service.Breaker
}

// send sends n requests through an instance, and returns how many passed.
func (f *fleet) send(b *Breaker, n int, fate Fate) (passed int) {
	for range n {
		now := f.clock.Mono()
		if ticket, ok := b.Admit(now, 0); ok {
			b.Done(ticket, Final{Fate: fate, Now: now})
			passed++
		}
	}
	return passed
}

func (f *fleet) wants(b *Breaker, state State) {
	f.t.Helper()
	until(f.t, fmt.Sprintf("it is %v", state), func() bool { return b.State() == state })
}

// leased asks an instance until it holds the lease.
func (f *fleet) leased(b *Breaker) {
	f.t.Helper()
	until(f.t, "it has the lease", func() bool {
		if b.State() == Open {
			f.send(b, 1, Nothing)
		}
		return b.State() == HalfOpen
	})
}

func TestATripOpensTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	a, idle, busy := f.one[0], f.one[1], f.one[2]
	f.send(busy, 100, Success)
	f.send(a, 10, Failure)
	f.wants(a, Open)
	f.wants(idle, Open)
	until(t, "the record is read by the busy one", func() bool { busy.mu.Lock(); defer busy.mu.Unlock(); return busy.shared.epoch == 1 })
	if busy.State() != Closed {
		t.Error("one whose own window says that the service is well was opened")
	}
	r := f.board.stands("s")
	if r.State != Open || r.Failures != 10 || r.Epoch != 1 || r.For != 5*time.Second || !r.LastFailure.Equal(f.clock.Now()) {
		t.Errorf("%+v", r)
	}
	if got := idle.RetryAfter(f.clock.Mono()); got != 5*time.Second {
		t.Errorf("the other waits for %v", got)
	}
	late := f.join()
	f.wants(late, Open) // who comes later hears of it

	f.clock.Advance(5 * time.Second)
	f.leased(idle)
	until(t, "the lease is known", func() bool { return a.RetryAfter(f.clock.Mono()) > 0 && late.RetryAfter(f.clock.Mono()) > 0 })
	if f.send(a, 5, Success)+f.send(late, 5, Success) > 0 {
		t.Error("somebody probed without the lease")
	}
	if got := f.send(idle, 9, Success); got != 9 { // three probes, then it is closed
		t.Errorf("%d passed", got)
	}
	for _, b := range f.one {
		f.wants(b, Closed)
	}
	if !f.log.has("another instance said so") {
		t.Error("the log does not say who opened it")
	}
}

// TestARelapseIsTold: the holder's probe fails; everybody waits for longer.
func TestARelapseIsTold(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.one[0], f.one[1]
	f.send(a, 10, Failure)
	f.wants(b, Open)
	f.clock.Advance(5 * time.Second)
	f.leased(b)
	f.send(b, 1, Failure)
	f.wants(b, Open)
	until(t, "the other waits as long", func() bool { return a.RetryAfter(f.clock.Mono()) == 10*time.Second })
	f.clock.Advance(10 * time.Second)
	f.leased(a)
	f.send(a, 3, Success)
	f.wants(b, Closed)
	if f.board.leases != 2 {
		t.Errorf("%d leases", f.board.leases)
	}
}

// TestALeaseEnds: its holder is gone. Another takes it; the first, should it come back, probes no
// more.
func TestALeaseEnds(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.one[0], f.one[1]
	f.send(a, 10, Failure)
	f.wants(b, Open)
	f.clock.Advance(5 * time.Second)
	f.leased(a)
	until(t, "the other knows of the lease", func() bool { return b.RetryAfter(f.clock.Mono()) > 0 })
	f.clock.Advance(5 * time.Second)
	f.leased(b)
	f.wants(a, Open)
	f.send(b, 1, Success)
	f.clock.Advance(3 * time.Second)
	f.send(b, 1, Success) // renews it
	until(t, "it is renewed", func() bool { return f.board.stands("s").For == 5*time.Second })
	f.clock.Advance(3 * time.Second)
	if f.send(a, 5, Success) > 0 || a.State() != Open {
		t.Error("a renewed lease was taken over")
	}
	f.send(b, 1, Success)
	f.wants(a, Closed)
}

// TestTheStoreIsAway: each instance is on its own, and tells when it is back.
func TestTheStoreIsAway(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.one[0], f.one[1]
	until(t, "both follow", func() bool { f.board.mu.Lock(); defer f.board.mu.Unlock(); return len(f.board.followers) == 2 })
	f.board.set(true)
	f.send(a, 10, Failure)
	until(t, "it is logged", func() bool { return f.log.has("each instance's own") })
	if b.State() != Closed {
		t.Error("who told it?")
	}
	f.clock.Advance(5 * time.Second)
	f.leased(a)
	f.send(a, 1, Failure)
	f.wants(a, Open)
	f.board.set(false)
	f.wants(b, Open)
	until(t, "it is logged", func() bool { return f.log.has("are shared between") })
	f.clock.Advance(10 * time.Second)
	f.board.set(true)
	f.leased(b)
	f.send(b, 3, Success)
	f.wants(b, Closed)
	f.board.set(false)
	f.wants(a, Closed)
}

// TestARecordHoldsNobodyForEver: whatever stands in the store, and whoever renews a lease, an
// instance probes by itself in the end.
func TestARecordHoldsNobodyForEver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	a := f.one[0]
	if _, ok, err := f.board.Write(t.Context(), "s", 0, BreakerRecord{State: Open, For: 1000 * time.Hour}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	f.wants(a, Open)
	if got := a.RetryAfter(f.clock.Mono()); got != breaking.OpenMaximum {
		t.Errorf("it waits for %v", got)
	}
	f.clock.Advance(breaking.OpenMaximum)
	for n := range 24 { // somebody else holds the lease all the time
		if _, ok, err := f.board.Write(t.Context(), "s", uint64(n+1), BreakerRecord{State: HalfOpen, For: 5 * time.Second}); !ok || err != nil {
			t.Fatal(ok, err)
		}
		until(t, "it is followed", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.shared.epoch == uint64(n+2) })
		f.clock.Advance(5 * time.Second)
	}
	if f.send(a, 1, Nothing) != 1 {
		t.Error("it waits for others for ever")
	}
}

// TestTwoTripAtOnce: one record is written, and one lease given.
func TestTwoTripAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		f := newFleet(t, 4)
		var group sync.WaitGroup
		for _, b := range f.one {
			group.Go(func() { f.send(b, 10, Failure) })
		}
		group.Wait()
		for _, b := range f.one {
			f.wants(b, Open)
		}
		until(t, "all is told", func() bool {
			for _, b := range f.one {
				b.mu.Lock()
				known := !b.shared.tells && b.shared.epoch == f.board.stands("s").Epoch
				b.mu.Unlock()
				if !known {
					return false
				}
			}
			return true
		})
		f.clock.Advance(5 * time.Second)
		for _, b := range f.one {
			group.Go(func() { f.send(b, 1, Nothing) })
		}
		group.Wait()
		until(t, "one has the lease", func() bool {
			holders := 0
			for _, b := range f.one {
				if b.State() == HalfOpen {
					holders++
				}
			}
			return holders == 1
		})
		if f.board.leases != 1 {
			t.Errorf("%d leases", f.board.leases)
		}
	}
}

// TestForcedBreakersFollowNobody, nor tell.
func TestForcedBreakersFollowNobody(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.one[0], f.one[1]
	b.force(ForcedClosed, f.clock.Mono())
	f.send(a, 10, Failure)
	until(t, "it was told", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.shared.epoch == 1 })
	if b.State() != Closed {
		t.Error("an operator was not heeded")
	}
	a.force(ForcedOpen, f.clock.Mono())
	f.clock.Advance(time.Hour)
	if f.send(a, 3, Success) > 0 || f.board.leases > 0 {
		t.Error("a breaker that is forced open asked for the lease")
	}
}
