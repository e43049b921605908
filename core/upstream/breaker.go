package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/meter"
)

// A circuit breaker keeps requests from a service that fails, so that it can recover
// and nobody waits for it in vain:
//
//	                 too many failures in a row, or too large a share of
//	                 failed or slow outcomes among enough of them
//	   ┌────────┐ ──────────────────────────────────────────────► ┌──────┐
//	   │ CLOSED │                                                 │ OPEN │ ◄─┐
//	   └────────┘ ◄──────────┐                 its time is over   └──────┘   │
//	    all pass,            │               (shared: and it has     │       │
//	    outcomes count       │                     the lease)        │       │
//	                         │                                       ▼       │
//	             every probe │                            ┌───────────┐      │ one probe failed, or
//	             went well   └─────────────────────────── │ HALF_OPEN │ ─────┘ was slow: twice the time
//	                                                      └───────────┘
//
// OPEN refuses everything. HALF_OPEN lets a few requests through as probes and refuses
// the rest; a probe of which nothing is learnt (its client left, or the gateway itself shed
// it) gives its place to another, and when none has given word for as long as Open, as many others
// may go. The first OPEN lasts Open. Each relapse doubles
// it up to OpenMaximum: a probe that fails, and a trip so soon after closing that the service
// can't be called well (within the window, or the time that it was open before, whichever is
// longer). A trip later than that begins with Open again.
//
// Whatever began before a transition tells nothing about the state after it, and is not
// counted.

// State is a state of a breaker. Its numbers are those of
// gateway_circuit_breaker_state.
type State uint8

// The states.
const (
	Closed   State = 0
	Open     State = 1
	HalfOpen State = 2
)

// String is the state as Redis and the log write it.
func (s State) String() string {
	switch s {
	case Closed:
		return "CLOSED"
	case Open:
		return "OPEN"
	default:
		return "HALF_OPEN"
	}
}

// Forcing is what an operator has said of a breaker.
type Forcing uint8

// What can be said.
const (
	Unforced Forcing = iota
	ForcedOpen
	ForcedClosed
)

// Fate is what became of a request after its last try.
type Fate uint8

// The outcomes.
const (
	// Nothing tells nothing of the service: the client left, or the gateway refused by itself.
	Nothing Fate = iota
	Success
	Failure // no connection, a timeout, or a 5xx
)

// BreakerSpec declares a breaker. The zero value is none.
type BreakerSpec struct {
	Window      time.Duration // outcomes older than that don't count
	Minimum     int           // outcomes in the window below which no share trips
	Failures    float64       // share of failures that trips; 0: none does
	Consecutive int           // failures in a row that trip; 0: none do
	SlowOver    time.Duration // from when on an outcome is slow
	SlowShare   float64       // share of slow outcomes that trips; 0: none does
	Open        time.Duration // how long it stays open at first
	OpenMaximum time.Duration // how long at most, after relapses
	Probes      int           // requests that must go well until it closes
	Shared      bool          // instances tell each other
}

// On says whether there is a breaker at all.
func (s *BreakerSpec) On() bool { return s.Open > 0 }

// windowTicks is how many ticks a window has: what leaves it does so a tenth at a time.
const windowTicks = 10

// Breaker is the circuit breaker of a service. Its methods are for any number of
// goroutines at once. While it is closed, a request that goes well reads two words and adds
// to one of its stripe's. Times are monotonic nanoseconds.
type Breaker struct {
	service string
	spec    BreakerSpec
	tick    int64                   // nanoseconds
	changed func(Transition)        // called under mu; must not wait
	stance  atomic.Pointer[stance]  // written under mu, a few times in an outage
	refused *meter.Counter          // nil: they are not counted
	sharing atomic.Pointer[sharing] // nil: nobody else is told; written once

	// consecutive is how many failures came in a row. Written by failures, and by the
	// first success behind one.
	consecutive atomic.Int64
	total       ticks

	mu  sync.Mutex // taken by outcomes that are failed or slow, by probes, and to change
	bad [ringSlots]struct{ tick, failures, slow uint64 }
	// failures are those that opened it last, its probes' included; lastFailure is when the
	// last one came, monotonic ns.
	failures    uint64
	lastFailure int64
	shared      shared
}

// stance is a state with all that holds while it lasts. It is immutable but for what
// counts the probes.
type stance struct {
	state  State
	forced Forcing
	since  int64
	until  int64         // of OPEN: when probes may go
	lasts  time.Duration // how long it is, or was, open; 0: never
	skip   uint64        // ticks added, so that what was counted before is out of the window
	places atomic.Int64  // of HALF_OPEN: probes that may still go
	latest atomic.Int64  // when the last probe went
	under  atomic.Int64  // probes under way
	word   atomic.Int64  // when a probe went well last, or the first of those under way went
	passed int           // probes that went well; guarded by mu
	renew  int64         // of HALF_OPEN: when the lease is to be renewed; guarded by mu
	// patience is until when others are heeded who say that it is not time to probe.
	patience int64
}

// Transition is a change of a breaker's state.
type Transition struct {
	Service  string
	From, To State
	Because  string        // in words, for a log
	For      time.Duration // of OPEN: how long at least
	Total    uint64        // outcomes in the window, of which
	Failures uint64        // failed, and
	Slow     uint64        // were slow
}

// Ticket is what a request that was let through shows when its outcome is known. The
// zero value is none.
type Ticket struct{ stance *stance }

// NewBreaker returns a closed breaker. changed, if not nil, is told of transitions, one
// after the other; it must not wait, nor call the breaker.
func NewBreaker(service string, spec BreakerSpec, changed func(Transition)) *Breaker {
	b := &Breaker{service: service, spec: spec, tick: max(int64(spec.Window)/windowTicks, 1), changed: changed}
	b.stance.Store(&stance{})
	return b
}

// Admit says whether a request may go to the service. One that may reports its outcome
// by Done, with the ticket. stripe is any index of the caller's own.
func (b *Breaker) Admit(now int64, stripe uint32) (Ticket, bool) {
	s := b.stance.Load()
	if s.state == Closed {
		return Ticket{s}, true
	}
	t, ok := b.probe(s, now)
	if !ok {
		b.countRefusal(stripe)
	}
	return t, ok
}

// Refuses says that Admit would refuse at now, without giving out a ticket, and counts the
// refusal: it is for whoever has something to wait for first.
func (b *Breaker) Refuses(now int64, stripe uint32) bool {
	s := b.stance.Load()
	if s.state != Open || s.forced == Unforced && now >= s.until {
		return false
	}
	b.countRefusal(stripe)
	return true
}

func (b *Breaker) countRefusal(stripe uint32) {
	if b.refused != nil {
		b.refused.Add(stripe, 1)
	}
}

// Holds says whether what a ticket was given for is still so.
func (b *Breaker) Holds(t Ticket) bool { return b.stance.Load() == t.stance }

// RetryAfter is how long whoever was refused should wait at least; 0: nobody knows.
func (b *Breaker) RetryAfter(now int64) time.Duration {
	s := b.stance.Load()
	if s.state != Open || s.forced != Unforced {
		return 0
	}
	return time.Duration(max(s.until-now, 0))
}

// probe lets a request through as a probe, if there is a place for one.
func (b *Breaker) probe(s *stance, now int64) (Ticket, bool) {
	if s.state == Open {
		if s.forced != Unforced || now < s.until {
			return Ticket{}, false
		}
		if shared := b.sharing.Load(); shared != nil && now < s.patience {
			b.ask(shared, s) // whoever comes when it has the lease may go
			return Ticket{}, false
		}
		s = b.halfOpen(s, now, "its time is over")
	} else if latest := s.latest.Load(); now-latest >= int64(b.spec.Open) && s.places.Load() <= 0 && s.latest.CompareAndSwap(latest, now) {
		// An upload of a client that takes its time is a probe too. The others still count.
		s.places.Store(int64(b.spec.Probes))
	}
	for s.state == HalfOpen {
		n := s.places.Load()
		if n <= 0 {
			break
		}
		if s.places.CompareAndSwap(n, n-1) {
			s.latest.Store(now)
			if s.under.Add(1) == 1 {
				s.word.Store(now)
			}
			if shared := b.sharing.Load(); shared != nil {
				shared.speak(b) // the lease must last as long as the probe
			}
			return Ticket{s}, true
		}
	}
	return Ticket{}, false
}

// Done tells what became of a request that was let through, how long the service took,
// and the caller's stripe, any index. A ticket is used once.
func (b *Breaker) Done(t Ticket, r Final) {
	s := t.stance
	if s == nil || s.forced != Unforced || b.stance.Load() != s {
		return
	}
	slow := b.spec.SlowShare > 0 && r.Latency >= b.spec.SlowOver && r.Fate != Nothing
	switch {
	case s.state == HalfOpen:
		b.probed(s, r, slow)
	case r.Fate != Nothing:
		b.count(s, r, slow)
	}
}

// Final is what became of a request.
type Final struct {
	Fate    Fate
	Latency time.Duration // of the service, its retries included
	Now     int64
	Stripe  uint32
}

func (b *Breaker) at(s *stance, now int64) uint64 { return uint64(now/b.tick) + s.skip }

// count counts an outcome while the breaker is closed. Only one that is failed or slow
// can trip it.
func (b *Breaker) count(s *stance, r Final, slow bool) {
	tick := b.at(s, r.Now)
	b.total.add(r.Stripe, tick)
	if r.Fate == Success {
		if b.consecutive.Load() != 0 {
			b.consecutive.Store(0)
		}
		if !slow {
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stance.Load() != s {
		return
	}
	slot := &b.bad[tick%ringSlots]
	if slot.tick != tick {
		if slot.tick > tick {
			return // held up for a whole turn of the ring
		}
		slot.tick, slot.failures, slot.slow = tick, 0, 0
	}
	if slow {
		slot.slow++
	}
	if r.Fate == Failure {
		slot.failures++
		b.lastFailure = r.Now
		b.consecutive.Add(1)
	}
	if because := b.judge(s, r.Now); because != "" {
		b.open(s, r.Now, because)
	}
}

// window is what the window of s holds at now: outcomes, and how many of them are
// failed, and slow. Called under mu.
func (b *Breaker) window(s *stance, now int64) (total, failures, slow uint64) {
	last := b.at(s, now)
	first := last - min(last, windowTicks-1)
	for i := range b.bad {
		if t := &b.bad[i]; t.tick >= first && t.tick <= last {
			failures, slow = failures+t.failures, slow+t.slow
		}
	}
	return b.total.sum(first, last), failures, slow
}

// judge says why the breaker must open; "" if it need not. Called under mu.
func (b *Breaker) judge(s *stance, now int64) string {
	if b.spec.Consecutive > 0 && b.consecutive.Load() >= int64(b.spec.Consecutive) {
		return "failures in a row"
	}
	total, failures, slow := b.window(s, now)
	switch {
	case total < uint64(b.spec.Minimum):
	case b.spec.Failures > 0 && float64(failures) >= b.spec.Failures*float64(total):
		return "share of failures"
	case b.spec.SlowShare > 0 && float64(slow) >= b.spec.SlowShare*float64(total):
		return "share of slow answers"
	}
	return ""
}

// probed counts a probe's outcome.
func (b *Breaker) probed(s *stance, r Final, slow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stance.Load() != s {
		return
	}
	s.under.Add(-1)
	switch {
	case r.Fate == Nothing:
		s.places.Add(1)
	case r.Fate == Failure:
		b.lastFailure = r.Now
		b.open(s, r.Now, "a probe failed")
	case slow:
		b.open(s, r.Now, "a probe was slow")
	default:
		s.word.Store(r.Now)
		if s.passed++; s.passed >= b.spec.Probes {
			b.change(s, &stance{state: Closed, since: r.Now, lasts: s.lasts}, Transition{Because: "all probes went well"}, r.Now)
			b.tell()
		} else if r.Now >= s.renew && b.sharing.Load() != nil {
			s.renew = r.Now + int64(b.lease()/2)
			b.tell()
		}
	}
}

// open opens the breaker by what was seen here. Called under mu.
func (b *Breaker) open(s *stance, now int64, because string) {
	d := b.spec.Open
	soon := max(b.spec.Window, s.lasts)
	if s.lasts > 0 && (s.state == HalfOpen || now-s.since < int64(soon)) {
		d = min(2*s.lasts, b.spec.OpenMaximum)
	}
	if b.failures++; s.state == Closed {
		_, b.failures, _ = b.window(s, now)
	}
	next := &stance{state: Open, since: now, until: now + int64(d), lasts: d}
	next.patience = next.until + int64(b.spec.OpenMaximum)
	b.change(s, next, Transition{Because: because, For: d}, now)
	b.tell()
}

// halfOpen gives out places for probes, if the stance is still s. It returns the stance
// in force.
func (b *Breaker) halfOpen(s *stance, now int64, because string) *stance {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stance.Load() != s {
		return b.stance.Load()
	}
	return b.halfOpenLocked(s, now, because)
}

// halfOpenLocked is halfOpen under mu.
func (b *Breaker) halfOpenLocked(s *stance, now int64, because string) *stance {
	next := &stance{state: HalfOpen, since: now, lasts: s.lasts, patience: s.patience, renew: now + int64(b.lease()/2)}
	next.places.Store(int64(b.spec.Probes))
	next.latest.Store(now)
	next.word.Store(now)
	b.change(s, next, Transition{Because: because}, now)
	return next
}

// change puts next in the place of s. Called under mu.
func (b *Breaker) change(s, next *stance, t Transition, now int64) {
	t.Total, t.Failures, t.Slow = b.window(s, now)
	next.skip = s.skip + ringSlots
	b.stance.Store(next)
	b.consecutive.Store(0)
	if b.changed != nil && (s.state != next.state || s.forced != next.forced) {
		t.Service, t.From, t.To = b.service, s.state, next.state
		b.changed(t)
	}
}

// force has the breaker do as an operator says, whatever becomes of requests; Unforced
// lets it begin anew, closed, and hear what other instances say now. They are told nothing,
// neither of this nor of what was seen before.
func (b *Breaker) force(f Forcing, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stance.Load()
	if s.forced == f {
		return
	}
	next := &stance{forced: f, since: now}
	if f == ForcedOpen {
		next.state = Open
	}
	b.change(s, next, Transition{Because: "an operator said so"}, now)
	b.shared.epoch, b.shared.tells, b.shared.asks = 0, false, false
	if shared := b.sharing.Load(); shared != nil && f == Unforced {
		shared.told([]string{b.service})
	}
}

// BreakerView is what a breaker shows of itself.
type BreakerView struct {
	State    State
	Forced   Forcing
	For      time.Duration // of OPEN: how long until probes may go
	Total    uint64        // outcomes in the window, of which
	Failures uint64        // failed, and
	Slow     uint64        // were slow
}

// View shows the breaker as it is now.
func (b *Breaker) View(now int64) BreakerView {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stance.Load()
	v := BreakerView{State: s.state, Forced: s.forced}
	if s.state == Open && s.forced == Unforced {
		v.For = time.Duration(max(s.until-now, 0))
	}
	v.Total, v.Failures, v.Slow = b.window(s, now)
	return v
}

// State is the state in force.
func (b *Breaker) State() State { return b.stance.Load().state }
