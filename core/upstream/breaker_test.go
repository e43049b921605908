package upstream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
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

// model is a breaker without atomics, lanes or rings: a list of what was seen.
type model struct {
	spec         BreakerSpec
	state        State
	since, until int64
	lasts        time.Duration
	seen         []seen
	row          int
	places       int
	passed       int
	latest       int64
	epoch        int
}

type seen struct {
	tick         int64
	failed, slow bool
}

type pass struct {
	epoch int
	state State
}

func (m *model) turn(s State, now int64, lasts time.Duration) {
	m.state, m.since, m.lasts, m.seen, m.row, m.passed, m.epoch = s, now, lasts, nil, 0, 0, m.epoch+1
	m.places, m.latest, m.until = m.spec.Probes, now, now+int64(lasts)
}

func (m *model) admit(now int64) (pass, bool) {
	switch {
	case m.state == Open && now >= m.until:
		m.turn(HalfOpen, now, m.lasts)
	case m.state == HalfOpen && m.places <= 0 && now-m.latest >= int64(m.spec.Open):
		m.places, m.latest = m.spec.Probes, now
	}
	switch {
	case m.state == Open, m.state == HalfOpen && m.places == 0:
		return pass{}, false
	case m.state == HalfOpen:
		m.places--
		m.latest = now
	}
	return pass{m.epoch, m.state}, true
}

func (m *model) trip(now int64) {
	lasts := m.spec.Open
	if m.lasts > 0 && (m.state == HalfOpen || now-m.since < int64(max(m.spec.Window, m.lasts))) {
		lasts = min(2*m.lasts, m.spec.OpenMaximum)
	}
	m.turn(Open, now, lasts)
}

func (m *model) done(p pass, o Fate, latency time.Duration, now int64) {
	slow := latency >= m.spec.SlowOver
	switch {
	case p.epoch != m.epoch:
	case m.state == HalfOpen && o == Nothing:
		m.places++
	case m.state == HalfOpen && (o == Failure || slow):
		m.trip(now)
	case m.state == HalfOpen:
		if m.passed++; m.passed == m.spec.Probes {
			m.turn(Closed, now, m.lasts)
		}
	case o != Nothing:
		m.count(o == Failure, slow, now)
	}
}

func (m *model) count(failed, slow bool, now int64) {
	tick := int64(m.spec.Window) / windowTicks
	m.seen = append(m.seen, seen{now / tick, failed, slow})
	if m.row++; !failed {
		m.row = 0
	}
	var total, failures, slows float64
	for _, s := range m.seen {
		if s.tick > now/tick-windowTicks {
			total++
			failures += map[bool]float64{true: 1}[s.failed]
			slows += map[bool]float64{true: 1}[s.slow]
		}
	}
	enough := total >= float64(m.spec.Minimum)
	if (failed || slow) && (m.row >= m.spec.Consecutive || enough && (failures >= m.spec.Failures*total || slows >= m.spec.SlowShare*total)) {
		m.trip(now)
	}
}

// TestBreakerEqualsItsModel holds the breaker to a plain list, with requests whose
// outcomes come late and in any order.
func TestBreakerEqualsItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := BreakerSpec{
			Window: 10 * time.Second, Minimum: rapid.IntRange(1, 12).Draw(t, "minimum"), Failures: rapid.SampledFrom([]float64{0.2, 0.5, 1}).Draw(t, "failures"),
			Consecutive: rapid.IntRange(2, 8).Draw(t, "consecutive"), SlowOver: time.Second, SlowShare: rapid.SampledFrom([]float64{0.3, 0.8}).Draw(t, "slow"),
			Open: 5 * time.Second, OpenMaximum: rapid.SampledFrom([]time.Duration{5, 12, 60}).Draw(t, "longest") * time.Second, Probes: rapid.IntRange(1, 4).Draw(t, "probes"),
		}
		b, m, now := NewBreaker("s", spec, nil), &model{spec: spec}, int64(0)
		var tickets []Ticket
		var passes []pass
		good := rapid.IntRange(0, 100).Draw(t, "good")
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			now += rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, int64(time.Second)), rapid.Int64Range(0, 20*second)).Draw(t, "passes")
			if rapid.Bool().Draw(t, "comes") {
				ticket, ok := b.Admit(now, uint32(len(tickets)))
				p, want := m.admit(now)
				if ok != want {
					t.Fatalf("admitted: %v, the model says %v", ok, want)
				}
				if ok {
					tickets, passes = append(tickets, ticket), append(passes, p)
				}
			} else if len(tickets) > 0 {
				i := rapid.IntRange(0, len(tickets)-1).Draw(t, "which")
				o := Fate(rapid.SampledFrom([]Fate{Nothing, Success, Failure, Failure, Failure}).Draw(t, "outcome"))
				if rapid.IntRange(0, 100).Draw(t, "luck") < good {
					o = Success
				}
				latency := rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(t, "latency")
				b.Done(tickets[i], Final{Fate: o, Latency: latency, Now: now, Stripe: uint32(i)})
				m.done(passes[i], o, latency, now)
				tickets, passes = append(tickets[:i], tickets[i+1:]...), append(passes[:i], passes[i+1:]...)
			}
			if b.State() != m.state {
				t.Fatalf("%v, the model says %v", b.State(), m.state)
			}
		}
	})
}

// TestBreakerDoesNotOscillate: a service of which every other request fails, at random,
// is left alone more and more, and not asked and given up by turns.
func TestBreakerDoesNotOscillate(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{20, 300} {
		k := newTrack(t, breaking)
		luck := rand.New(rand.NewPCG(1, uint64(rate)))
		opened, passed := 0, 0
		const lasts = 20 * time.Minute
		for range int(lasts/time.Second) * rate {
			k.pass(time.Second / time.Duration(rate))
			if k.one(Success+Fate(luck.IntN(2)), 0) {
				passed++
			}
			for _, line := range k.log {
				if strings.Contains(line, ">OPEN ") {
					opened++
				}
			}
			k.log = nil
		}
		// 5, 10, 20 and 40 s, then a minute each time.
		if most := 4 + int((lasts-75*time.Second)/time.Minute) + 1; opened > most {
			t.Errorf("%d requests a second: opened %d times in %v, want at most %d", rate, opened, lasts, most)
		}
		if most := int(lasts/time.Second) * rate / 5; passed > most {
			t.Errorf("%d requests a second: %d passed, want at most %d", rate, passed, most)
		}
	}
}

// TestBreakerRecovers: a service that is well again is called in full within twice the time that
// the breaker was open for last.
func TestBreakerRecovers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := newTrack(nil, breaking)
		outage := time.Duration(rapid.Int64Range(int64(time.Second), int64(3*time.Minute)).Draw(t, "outage"))
		const step = 10 * time.Millisecond
		for end := k.now + int64(outage); k.now < end; k.pass(step) {
			k.one(Failure, 0)
		}
		healed := k.now
		lasts := k.b.stance.Load().lasts
		for k.b.State() != Closed {
			if k.now-healed > 2*int64(max(lasts, breaking.Open)) {
				t.Fatalf("not closed %v after the service healed, open for %v", time.Duration(k.now-healed), lasts)
			}
			k.one(Success, 0)
			k.pass(step)
		}
	})
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
