// Package clock is where time comes from: the machine's, or a test's own.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time. Its methods may be called concurrently.
type Clock interface {
	// Now is the time of day.
	Now() time.Time
	// Mono is nanoseconds since a moment of the clock's own choice. It never goes
	// back, and never jumps with the time of day.
	Mono() int64
	// NewTimer fires once, after d or at once if d is not positive.
	NewTimer(d time.Duration) Timer
}

// Timer fires once on its channel.
type Timer interface {
	// C is the channel; it is the same for the timer's whole life.
	C() <-chan time.Time
	// Stop keeps the timer from firing; false says that it had fired or was stopped.
	// After Stop returned, nothing stale is left in the channel.
	Stop() bool
	// Reset makes the timer fire after d from now, whatever it did before.
	Reset(d time.Duration)
}

// Real returns the machine's clock.
func Real() Clock { return &machine{epoch: time.Now()} }

// machine counts from its epoch: time.Since reads the monotonic clock only, which
// is half the cost of time.Now.
type machine struct{ epoch time.Time }

func (m *machine) Now() time.Time { return time.Now() }
func (m *machine) Mono() int64    { return int64(time.Since(m.epoch)) + 1 } // never 0, which callers take for "not yet"

func (m *machine) NewTimer(d time.Duration) Timer { return machineTimer{time.NewTimer(d)} }

type machineTimer struct{ *time.Timer }

func (t machineTimer) C() <-chan time.Time   { return t.Timer.C }
func (t machineTimer) Reset(d time.Duration) { t.Timer.Reset(d) }

var (
	_ Clock = (*machine)(nil)
	_ Clock = (*Fake)(nil)
	_ Timer = machineTimer{}
	_ Timer = (*fakeTimer)(nil)
)

// Fake is a clock that stands still until a test advances it.
type Fake struct {
	mu     sync.Mutex
	now    time.Time
	mono   int64
	timers map[*fakeTimer]struct{} // those that are armed
}

// NewFake returns a clock that shows start and stands.
func NewFake(start time.Time) *Fake {
	return &Fake{now: start, timers: make(map[*fakeTimer]struct{})}
}

// Now is the time that the test has set.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Mono is the nanoseconds that the clock was advanced by.
func (f *Fake) Mono() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mono
}

// Advance moves the clock on and fires what is due.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.mono = f.now.Add(d), f.mono+int64(d)
	for t := range f.timers {
		if t.due <= f.mono {
			t.fire()
		}
	}
}

// Armed is how many timers wait, so that a test can advance once somebody does.
func (f *Fake) Armed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.timers)
}

// NewTimer returns a timer that fires when the clock was advanced by d.
func (f *Fake) NewTimer(d time.Duration) Timer {
	t := &fakeTimer{clock: f, c: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

type fakeTimer struct {
	clock *Fake
	c     chan time.Time
	due   int64
}

func (t *fakeTimer) C() <-chan time.Time { return t.c }

// fire is called under the clock's lock.
func (t *fakeTimer) fire() {
	delete(t.clock.timers, t)
	select {
	case t.c <- t.clock.now:
	default:
	}
}

// Stop disarms the timer and empties its channel.
func (t *fakeTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.disarm()
}

func (t *fakeTimer) disarm() bool {
	_, armed := t.clock.timers[t]
	delete(t.clock.timers, t)
	select {
	case <-t.c:
	default:
	}
	return armed
}

// Reset arms the timer anew.
func (t *fakeTimer) Reset(d time.Duration) {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.disarm()
	t.due = t.clock.mono + int64(d)
	t.clock.timers[t] = struct{}{}
	if d <= 0 {
		t.fire()
	}
}
