package upstream

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
)

// lossy is a board that fails now and then. Nobody is told that it is well again: no
// connection was lost.
type lossy struct {
	*board
	mu sync.Mutex
	// fails says what becomes of a read, service "", and of a write: nothing if it is nil,
	// an error before, or behind what it did.
	fails  func(service string) (before, behind error)
	refuse int // writes that are refused because somebody else was quicker
	reads  int
	writes int
}

func (l *lossy) verdict(service string) (before, behind error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if service == "" {
		l.reads++
	} else {
		l.writes++
	}
	if l.fails == nil {
		return nil, nil
	}
	return l.fails(service)
}

func (l *lossy) Write(ctx context.Context, service string, after uint64, r BreakerRecord) (BreakerRecord, bool, error) {
	before, behind := l.verdict(service)
	if before != nil {
		return BreakerRecord{}, false, before
	}
	l.mu.Lock()
	quicker := l.refuse > 0
	if quicker {
		l.refuse--
	}
	l.mu.Unlock()
	if quicker {
		stands := l.stands(service)
		stands.Epoch, stands.By = after+1, "somebody else"
		l.board.mu.Lock()
		l.records[service] = stands
		l.board.mu.Unlock()
		return stands, false, nil
	}
	stands, written, err := l.board.Write(ctx, service, after, r)
	if behind != nil {
		return BreakerRecord{}, false, behind
	}
	return stands, written, err
}

func (l *lossy) Read(ctx context.Context, services []string) (map[string]BreakerRecord, error) {
	before, behind := l.verdict("")
	if before != nil {
		return nil, before
	}
	records, err := l.board.Read(ctx, services)
	if behind != nil {
		delete(records, services[0])
		return records, behind
	}
	return records, err
}

// tried is how many reads and writes were tried since it was called last.
func (l *lossy) tried() (reads, writes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	reads, writes, l.reads, l.writes = l.reads, l.writes, 0, 0
	return reads, writes
}

// failing has the store fail that way from now on.
func (l *lossy) failing(f func(service string) (before, behind error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails = f
}

// lose loses the next n operations that are writes, or reads.
func (l *lossy) lose(n int, writes, done bool) {
	l.failing(func(service string) (before, behind error) {
		if (service != "") != writes || n == 0 {
			return nil, nil
		}
		n--
		if done {
			return nil, context.DeadlineExceeded
		}
		return context.DeadlineExceeded, nil
	})
}

// party is instances within a bubble of time: a second passes at once, and all that anybody
// does meanwhile is done.
type party struct {
	t       *testing.T
	clock   clock.Clock
	store   *lossy
	spec    BreakerSpec
	log     logged
	sharing []*sharing
	one     []*Breaker
}

func (p *party) breaker(s *sharing, service string) *Breaker {
	b := NewBreaker(service, p.spec, nil)
	s.add(b)
	return b
}

// inBubble runs f with n instances that have the same breaker.
func inBubble(t *testing.T, n int, spec BreakerSpec, f func(p *party)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		time.Sleep(time.Hour)
		p := &party{t: t, clock: c, store: &lossy{board: newBoard(c)}, spec: spec}
		for range n {
			s := newSharing(Guarding{c, zerolog.New(&p.log), p.store})
			defer s.close()
			p.sharing = append(p.sharing, s)
			p.one = append(p.one, p.breaker(s, "s"))
		}
		p.pass(time.Second)
		f(p)
	})
}

// pass lets time pass.
func (p *party) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (p *party) send(b *Breaker, n int, fate Fate) (passed int) {
	for range n {
		now := p.clock.Mono()
		if ticket, ok := b.Admit(now, 0); ok {
			b.Done(ticket, Final{Fate: fate, Now: now})
			passed++
		}
	}
	synctest.Wait()
	return passed
}

func (p *party) states(want ...State) {
	p.t.Helper()
	for i, b := range p.one {
		if got := b.State(); got != want[i] {
			p.t.Fatalf("instance %d is %v, want %v; the record is %+v", i, got, want[i], p.store.stands("s"))
		}
	}
}

// sharedBreaking is a breaker with one probe.
var sharedBreaking = BreakerSpec{
	Window: 10 * time.Second, Minimum: 20, Failures: 0.5, Consecutive: 3, Open: 5 * time.Second, OpenMaximum: time.Minute, Probes: 1, Shared: true,
}

// TestUP4_ALostWriteIsRepeated: no connection is lost, so nobody is told when the store answers
// again. The others follow within a second all the same, whether the write had been done or not.
func TestUP4_ALostWriteIsRepeated(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		for lost := range 3 {
			inBubble(t, 2, sharedBreaking, func(p *party) {
				p.store.lose(lost, true, done)
				p.send(p.one[0], 3, Failure)
				p.pass(time.Second)
				p.states(Open, Open)
				p.pass(4 * time.Second)
				p.send(p.one[1], 1, Nothing) // asks for the lease
				p.send(p.one[1], 1, Success)
				p.states(Closed, Closed)
				p.send(p.one[1], 3, Failure) // nobody is deaf
				p.states(Open, Open)
			})
		}
	}
}

func TestUP4_ALostReadIsRepeated(t *testing.T) {
	t.Parallel()
	inBubble(t, 2, sharedBreaking, func(p *party) {
		p.store.lose(2, false, false)
		p.send(p.one[0], 3, Failure)
		p.states(Open, Closed)
		p.pass(time.Second)
		p.states(Open, Open)
	})
}

// TestALeaseWhoseAnswerWasLostIsHeld: the request for it was written, and its repetition finds
// it in the way. Whoever asked for it must not wait for himself.
func TestALeaseWhoseAnswerWasLostIsHeld(t *testing.T) {
	t.Parallel()
	inBubble(t, 2, sharedBreaking, func(p *party) {
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.store.lose(1, true, true)
		p.send(p.one[0], 1, Nothing)
		p.states(HalfOpen, Open)
		p.pass(time.Second)
		p.states(HalfOpen, Open)
		if got := p.one[1].RetryAfter(p.clock.Mono()); got < 4*time.Second {
			t.Errorf("the other does not know of the lease: it asks in %v", got)
		}
		p.send(p.one[0], 1, Success)
		p.states(Closed, Closed)
	})
}

// TestWhatCouldBeReadIsFollowed though the rest failed, which is read again.
func TestWhatCouldBeReadIsFollowed(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, sharedBreaking, func(p *party) {
		all := map[string]*Breaker{"s": p.one[0], "x": p.breaker(p.sharing[0], "x"), "y": p.breaker(p.sharing[0], "y")}
		p.pass(0)
		p.store.failing(func(service string) (before, behind error) { return errAway, nil })
		for service := range all {
			if _, written, err := p.store.board.Write(t.Context(), service, 0, BreakerRecord{State: Open, For: time.Minute}); !written || err != nil {
				t.Fatal(written, err)
			}
		}
		opened := func() (n int) {
			for _, b := range all {
				if b.State() == Open {
					n++
				}
			}
			return n
		}
		p.pass(time.Second)
		if got := opened(); got != 0 {
			t.Fatalf("%d opened", got)
		}
		p.store.lose(1, false, true)
		p.store.board.set(false) // all are to be read
		p.pass(0)
		if got := opened(); got != 2 {
			t.Errorf("%d of three followed what could be read of two", got)
		}
		p.pass(shareSeldom)
		if got := opened(); got != 3 {
			t.Errorf("%d followed in the end", got)
		}
	})
}

// TestOneRecordThatFailsIsAlone: the breakers of other services have their lease.
func TestOneRecordThatFailsIsAlone(t *testing.T) {
	t.Parallel()
	inBubble(t, 2, sharedBreaking, func(p *party) {
		var here, there []*Breaker
		for i := range 10 {
			here = append(here, p.breaker(p.sharing[0], fmt.Sprint(i)))
			there = append(there, p.breaker(p.sharing[1], fmt.Sprint(i)))
		}
		for _, b := range here {
			p.send(b, 3, Failure)
		}
		p.pass(5 * time.Second)
		p.store.failing(func(service string) (before, behind error) {
			if service == "3" {
				return errAway, nil
			}
			return nil, nil
		})
		for _, b := range here { // all of them in one round of the courier
			b.Admit(p.clock.Mono(), 0)
		}
		p.pass(0)
		for i, b := range here {
			if b.State() != HalfOpen {
				t.Errorf("%d is %v", i, b.State())
			}
			if got := there[i].RetryAfter(p.clock.Mono()); (got > 0) != (i != 3) {
				t.Errorf("the other waits for %v for the lease of %d", got, i)
			}
		}
	})
}

// TestAStoreThatIsAwayIsAskedSeldom, however long it is away, and the courier remembers no more
// than what there is.
func TestAStoreThatIsAwayIsAskedSeldom(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, sharedBreaking, func(p *party) {
		b := p.breaker(p.sharing[0], "other")
		p.pass(0)
		p.store.failing(func(string) (before, behind error) { return errAway, nil })
		p.store.board.set(false)
		p.send(b, 3, Failure)
		p.send(p.one[0], 3, Failure)
		p.store.tried()
		p.pass(10 * time.Minute)
		if reads, writes := p.store.tried(); reads < 140 || reads > 160 || writes < 280 || writes > 320 {
			t.Errorf("in ten minutes %d reads and %d writes were tried", reads, writes)
		}
		s := p.sharing[0]
		count := func() (heard, spoken int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.heard), len(s.spoken)
		}
		if heard, spoken := count(); heard != 2 || spoken != 2 {
			t.Errorf("%d and %d wait", heard, spoken)
		}
		s.remove(b)
		s.remove(p.one[0])
		s.speak(b)
		p.pass(time.Minute)
		if heard, spoken := count(); heard != 0 || spoken != 0 {
			t.Errorf("%d and %d wait for what is gone", heard, spoken)
		}
		p.store.tried()
		p.pass(time.Hour)
		if reads, writes := p.store.tried(); reads+writes > 0 {
			t.Errorf("%d reads and %d writes though there is nothing to say", reads, writes)
		}
	})
}

// TestWhoeverIsAlwaysBeatenAsksAgain: others were quicker three times in a row, and the record
// says that the lease is free. Nobody waits for the longest time.
func TestWhoeverIsAlwaysBeatenAsksAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, sharedBreaking, func(p *party) {
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.store.mu.Lock()
		p.store.refuse = shareTries + 1
		p.store.mu.Unlock()
		p.send(p.one[0], 1, Success)
		p.states(Open)
		p.pass(time.Second)
		p.states(HalfOpen)
		p.send(p.one[0], 1, Success)
		p.states(Closed)
		if got := p.store.stands("s").State; got != Closed {
			t.Errorf("the record says %v", got)
		}
	})
}

// TestWhatWasSeenBeforeAnOperatorSpokeIsNotTold.
func TestWhatWasSeenBeforeAnOperatorSpokeIsNotTold(t *testing.T) {
	t.Parallel()
	for _, force := range []Forcing{ForcedOpen, ForcedClosed} {
		inBubble(t, 2, sharedBreaking, func(p *party) {
			p.store.failing(func(string) (before, behind error) { return errAway, nil })
			p.send(p.one[0], 3, Failure)
			p.states(Open, Closed)
			p.one[0].force(force, p.clock.Mono())
			p.pass(time.Minute)
			p.one[0].force(Unforced, p.clock.Mono())
			p.store.failing(nil)
			p.store.tried()
			p.store.set(false)
			p.pass(time.Minute)
			p.states(Closed, Closed)
			_, writes := p.store.tried()
			if r := p.store.stands("s"); r.Epoch != 0 || writes > 0 {
				t.Errorf("%+v was told in %d writes", r, writes)
			}
		})
	}
}

// TestWhoeverIsUnforcedHearsOthers, who said something while an operator held it.
func TestWhoeverIsUnforcedHearsOthers(t *testing.T) {
	t.Parallel()
	inBubble(t, 2, sharedBreaking, func(p *party) {
		p.one[1].force(ForcedClosed, p.clock.Mono())
		p.send(p.one[0], 3, Failure)
		p.pass(time.Second)
		p.states(Open, Closed)
		p.store.tried()
		p.one[1].force(Unforced, p.clock.Mono())
		p.pass(0)
		p.states(Open, Open)
		_, writes := p.store.tried()
		if got := p.one[1].RetryAfter(p.clock.Mono()); got != 4*time.Second || writes > 0 {
			t.Errorf("it waits for %v; %d writes", got, writes)
		}
	})
}

// TestAnOperatorIsHeededWhileTheLeaseIsAskedFor: the answer comes when the breaker is forced,
// and when it was let go again.
func TestAnOperatorIsHeededWhileTheLeaseIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		forced []Forcing
		want   State
	}{{[]Forcing{ForcedOpen}, Open}, {[]Forcing{ForcedClosed}, Closed}, {[]Forcing{ForcedOpen, ForcedClosed, ForcedOpen}, Open}} {
		inBubble(t, 1, sharedBreaking, func(p *party) {
			p.send(p.one[0], 3, Failure)
			p.pass(5 * time.Second)
			p.store.failing(func(service string) (before, behind error) {
				if service != "" {
					for _, f := range c.forced {
						p.one[0].force(f, p.clock.Mono())
					}
				}
				return nil, nil
			})
			p.send(p.one[0], 1, Success)
			p.states(c.want)
			if v := p.one[0].View(p.clock.Mono()); v.Forced != c.forced[len(c.forced)-1] {
				t.Errorf("it is forced %v", v.Forced)
			}
			p.pass(time.Hour)
			p.states(c.want)
			if _, writes := p.store.tried(); writes > 2 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

// TestWhatChangesWhileItIsToldIsToldToo: a probe fails while the lease is being renewed.
func TestWhatChangesWhileItIsToldIsToldToo(t *testing.T) {
	t.Parallel()
	inBubble(t, 2, sharedBreaking, func(p *party) {
		p.send(p.one[0], 3, Failure)
		p.pass(5 * time.Second)
		p.send(p.one[0], 1, Nothing)
		ticket, ok := p.one[0].Admit(p.clock.Mono(), 0)
		if !ok {
			t.Fatal("no probe went")
		}
		p.store.failing(func(service string) (before, behind error) {
			if service != "" {
				now := p.clock.Mono()
				p.one[0].Done(ticket, Final{Fate: Failure, Now: now})
			}
			return nil, nil
		})
		p.pass(2500 * time.Millisecond)
		p.states(Open, Open)
		for i, b := range p.one {
			if got := b.RetryAfter(p.clock.Mono()); got != 10*time.Second {
				t.Errorf("instance %d waits for %v", i, got)
			}
		}
	})
}

// TestAStoreThatHangsIsWaitedForOnce, not once for each breaker that has something to ask.
func TestAStoreThatHangsIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, 1, sharedBreaking, func(p *party) {
		var all []*Breaker
		for i := range 20 {
			all = append(all, p.breaker(p.sharing[0], fmt.Sprint(i)))
			p.send(all[i], 3, Failure)
		}
		p.pass(5 * time.Second)
		p.store.failing(func(string) (before, behind error) {
			time.Sleep(shareWithin)
			return context.DeadlineExceeded, nil
		})
		for _, b := range all {
			b.Admit(p.clock.Mono(), 0)
		}
		p.pass(2*shareWithin + 100*time.Millisecond)
		for i, b := range all {
			if b.State() != HalfOpen {
				t.Errorf("%d is %v", i, b.State())
			}
		}
		p.store.failing(nil)
		p.pass(2 * shareSeldom)
		for i := range all {
			if r := p.store.stands(fmt.Sprint(i)); r.State != HalfOpen {
				t.Errorf("%d was not told of: %+v", i, r)
			}
		}
	})
}
