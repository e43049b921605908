package upstream

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

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
