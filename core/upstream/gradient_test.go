//go:build !race

package upstream

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// plant is a service, in virtual time. Seconds throughout.
type plant interface {
	// begin has a request begin that takes so long alone; false is what ends it.
	begin(at, work float64, r *job)
	// next is the one that will end next, and when.
	next(now float64) (*job, float64)
	// finish takes that one out.
	finish(at float64)
}

// job is a request under way.
type job struct {
	since float64
	key   float64 // by which the heap is ordered
	class int
}

type jobs []*job

func (q jobs) Len() int           { return len(q) }
func (q jobs) Less(i, j int) bool { return q[i].key < q[j].key }
func (q jobs) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *jobs) Push(v any)        { *q = append(*q, v.(*job)) }
func (q *jobs) Pop() any {
	old := *q
	v := old[len(old)-1]
	*q = old[:len(old)-1]
	return v
}

// servers is a service of so many servers and a queue before them; math.MaxInt: it is never
// crowded.
type servers struct {
	c    int
	busy jobs
	line []*job // key is the work
}

func (s *servers) begin(at, work float64, r *job) {
	r.key = work
	s.line = append(s.line, r)
	s.fill(at)
}

func (s *servers) fill(at float64) {
	for len(s.line) > 0 && len(s.busy) < s.c {
		r := s.line[0]
		s.line = s.line[1:]
		r.key += at
		heap.Push(&s.busy, r)
	}
}

func (s *servers) next(float64) (*job, float64) {
	if len(s.busy) == 0 {
		return nil, math.Inf(1)
	}
	return s.busy[0], s.busy[0].key
}

func (s *servers) finish(at float64) {
	heap.Pop(&s.busy)
	s.fill(at)
}

// processors is a service whose processors all requests share.
type processors struct {
	c    float64
	all  jobs // key is the progress at which it ends
	done float64
	at   float64
}

func (s *processors) pace() float64 { return min(1, s.c/float64(max(len(s.all), 1))) }

func (s *processors) reach(at float64) { s.done, s.at = s.done+(at-s.at)*s.pace(), at }

func (s *processors) begin(at, work float64, r *job) {
	s.reach(at)
	r.key = s.done + work
	heap.Push(&s.all, r)
}

func (s *processors) next(float64) (*job, float64) {
	if len(s.all) == 0 {
		return nil, math.Inf(1)
	}
	return s.all[0], s.at + max(s.all[0].key-s.done, 0)/s.pace()
}

func (s *processors) finish(at float64) {
	s.reach(at)
	heap.Pop(&s.all)
}

// law draws how long a request takes alone.
type law func(*rand.Rand) float64

func exponential(mean float64) law {
	return func(r *rand.Rand) float64 { return r.ExpFloat64() * mean }
}
func constant(v float64) law { return func(*rand.Rand) float64 { return v } }
func twoKinds(r *rand.Rand) float64 {
	if r.Float64() < .9 {
		return .005
	}
	return .3
}

// phase is what comes in the course of a while.
type phase struct {
	lasts float64
	rate  float64 // requests per second, of a Poisson process
	work  law
	cheap float64              // requests per second beside them, of 5 ms each
	turn  func(plant, float64) // nil, or what happens to the service before
}

// interval is what happened in one.
type interval struct {
	came, shed, done       int // cheap ones are not counted
	latency                float64
	limit, least, greatest int64
}

// play has loads come to a service behind an adaptive bulkhead, one after the other, and
// returns each one's seconds.
func play(b *Bulkhead, p plant, seed uint64, phases ...phase) [][]interval {
	luck := rand.New(rand.NewPCG(seed, 2))
	var out [][]interval
	now := float64(time.Hour / time.Second)
	for _, l := range phases {
		if l.turn != nil {
			l.turn(p, now)
		}
		start, end := now, now+l.lasts
		seconds := make([]interval, int(math.Ceil(l.lasts)))
		for i := range seconds {
			seconds[i].least = math.MaxInt64
		}
		arrival := now + luck.ExpFloat64()/(l.rate+l.cheap)
		for {
			r, ends := p.next(now)
			if now = min(ends, arrival); now >= end {
				now = end
				break
			}
			s := &seconds[min(int(now-start), len(seconds)-1)]
			if ends <= arrival {
				p.finish(now)
				if r.class == 0 {
					s.done++
					s.latency += now - r.since
				}
				b.Done(Final{Fate: Success, Latency: time.Duration((now - r.since) * 1e9), Now: int64(now * 1e9), Stripe: luck.Uint32()})
				b.Leave()
			} else {
				arrival = now + luck.ExpFloat64()/(l.rate+l.cheap)
				cheap := luck.Float64()*(l.rate+l.cheap) < l.cheap
				r := &job{since: now}
				work := .005
				if cheap {
					r.class = 1
				} else {
					work = l.work(luck)
					s.came++
				}
				if b.Enter() {
					p.begin(now, work, r)
				} else if !cheap {
					s.shed++
				}
			}
			s.limit = b.limit.Load()
			s.least, s.greatest = min(s.least, s.limit), max(s.greatest, s.limit)
		}
		out = append(out, seconds)
	}
	return out
}

// total adds seconds up.
func total(seconds []interval) (t interval) {
	t.least = math.MaxInt64
	for _, s := range seconds {
		t.came, t.shed, t.done, t.latency = t.came+s.came, t.shed+s.shed, t.done+s.done, t.latency+s.latency
		t.limit, t.least, t.greatest = s.limit, min(t.least, s.least), max(t.greatest, s.greatest)
	}
	return t
}

func (s interval) turnedAway() float64 { return float64(s.shed) / float64(max(s.came, 1)) }
func (s interval) mean() float64       { return s.latency / float64(max(s.done, 1)) }

func adaptive(maximum int) *Bulkhead {
	return NewBulkhead(BulkheadSpec{Maximum: maximum, QueueTimeout: time.Millisecond, Adaptive: true}, clock.NewFake(time.Now()))
}

// TestGradientLetsHealthyTrafficBe: a service that is never crowded loses nobody, from the first
// second on, and whatever its latencies are spread like.
func TestGradientLetsHealthyTrafficBe(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]struct {
		work    law
		rate    float64
		maximum int
	}{
		"exponential, 20/s":                {exponential(.05), 20, 1000},
		"exponential, 100/s":               {exponential(.05), 100, 1000},
		"exponential, 200/s":               {exponential(.05), 200, 1000},
		"exponential, 500/s":               {exponential(.05), 500, 1000},
		"exponential, 2,000/s":             {exponential(.05), 2000, 1000},
		"two kinds, 20/s":                  {twoKinds, 20, 1000},
		"two kinds, 100/s":                 {twoKinds, 100, 1000},
		"two kinds, 500/s":                 {twoKinds, 500, 1000},
		"two kinds, 2,000/s":               {twoKinds, 2000, 1000},
		"constant, 1,000/s":                {constant(.05), 1000, 1000},
		"constant, 5,000/s":                {constant(.05), 5000, 1000},
		"constant, 5,000/s, near the most": {constant(.05), 5000, 300},
		"exponential, near the most":       {exponential(.05), 2000, 140},
		"two kinds, near the most":         {twoKinds, 2000, 110},
		"two kinds, half of the most":      {twoKinds, 2000, 130},
		"few, of few":                      {exponential(.05), 100, 16},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := adaptive(w.maximum)
			seconds := play(b, &servers{c: math.MaxInt}, 1, phase{lasts: 120, rate: w.rate, work: w.work})[0]
			all, first, late := total(seconds), total(seconds[:10]), total(seconds[30:])
			t.Logf("%.2f %% turned away, %.2f %% in the first 10 s; least limit after 30 s %d", 100*all.turnedAway(), 100*first.turnedAway(), late.least)
			if all.turnedAway() > .01 || first.turnedAway() > .01 {
				t.Error("more than one of a hundred")
			}
		})
	}
}

// TestGradientHoldsACrowdOff: with more demand than a service can take, for minutes.
func TestGradientHoldsACrowdOff(t *testing.T) {
	t.Parallel()
	type row struct {
		c       int
		work    law
		mean    float64
		maximum int
		calm    float64 // seconds of half the capacity before
		within  int     // seconds until the limit is what it should be
		times   float64 // latency after that, of the one without a crowd
		goodput float64 // least, of the capacity
	}
	plants := map[string]func(c int) plant{
		"queue":  func(c int) plant { return &servers{c: c} },
		"shared": func(c int) plant { return &processors{c: float64(c)} },
	}
	for name, w := range map[string]row{
		"20 of exponential 50 ms":               {20, exponential(.05), .05, 1000, 30, 6, 3, .95},
		"20 of exponential 50 ms, from nothing": {20, exponential(.05), .05, 1000, 0, 12, 3, .95},
		"20 of constant 50 ms":                  {20, constant(.05), .05, 1000, 30, 6, 3, .95},
		"50 of two kinds":                       {50, twoKinds, .0345, 200, 30, 10, 4, .95},
		"50 of two kinds, a maximum too large":  {50, twoKinds, .0345, 1000, 30, 60, 8, .95},
		"100 of exponential 100 ms":             {100, exponential(.1), .1, 1000, 30, 5, 3, .95},
		"10 of exponential 200 ms":              {10, exponential(.2), .2, 100, 30, 15, 3, .92},
		"10 of exponential 1 s":                 {10, exponential(1), 1, 50, 60, 20, 3, .84},
	} {
		for model, build := range plants {
			for _, over := range []float64{2, 5} {
				t.Run(fmt.Sprintf("%s, %s, %v times", name, model, over), func(t *testing.T) {
					t.Parallel()
					capacity := float64(w.c) / w.mean
					phases := play(adaptive(w.maximum), build(w.c), 1,
						phase{lasts: w.calm, rate: capacity / 2, work: w.work},
						phase{lasts: 120, rate: capacity * over, work: w.work},
						phase{lasts: 30, rate: capacity / 2, work: w.work})
					crowd, after := phases[1], phases[2]
					began := slices.IndexFunc(crowd, func(s interval) bool { return s.limit <= int64(3*w.c) }) + 1
					late, end := total(crowd[w.within:]), total(after[min(w.within, 20):])
					limits := 0.0
					for _, s := range crowd[w.within:] {
						limits += float64(s.limit) / float64(len(crowd)-w.within)
					}
					goodput := float64(total(crowd).done) / 120 / capacity
					t.Logf("below 3x after %d s; then limit %.0f (%d to %d) for %d, latency x%.1f; answered %.3f; after it %.2f %% turned away, limit %d",
						began, limits, late.least, late.greatest, w.c, late.mean()/w.mean, goodput, 100*end.turnedAway(), end.limit)
					if began == 0 || began > w.within || late.mean() > w.times*w.mean || goodput < w.goodput || end.turnedAway() > .01 {
						t.Error("not held off")
					}
				})
			}
		}
	}
}

// TestGradientFollowsTheService: what changes at a service for good, or for a while.
func TestGradientFollowsTheService(t *testing.T) {
	t.Parallel()
	to := func(c int) func(plant, float64) {
		return func(p plant, at float64) {
			switch p := p.(type) {
			case *servers:
				p.c = c
				p.fill(at)
			case *processors:
				p.reach(at)
				p.c = float64(c)
			}
		}
	}
	const free = 1 << 30
	for name, w := range map[string]struct {
		c, maximum int
		phases     []phase
		after      int     // seconds of the last phase that are not looked at
		shed       float64 // at most, of the last phase
		latency    float64 // at most
		goodput    float64 // answers per second, at least
	}{
		"a release with twice the latency": {free, 250, []phase{
			{lasts: 60, rate: 2000, work: exponential(.05)}, {lasts: 60, rate: 2000, work: exponential(.1)},
		}, 0, .01, .11, 1950},
		"a release with three times the latency": {free, 250, []phase{
			{lasts: 60, rate: 1200, work: exponential(.05)}, {lasts: 60, rate: 1200, work: exponential(.15)},
		}, 0, .02, .16, 1170},
		"a release with ten times the latency": {free, 250, []phase{
			{lasts: 60, rate: 400, work: exponential(.05)}, {lasts: 60, rate: 400, work: exponential(.5)},
		}, 40, .01, .55, 390},
		"twice as slow in a crowd": {20, 300, []phase{
			{lasts: 60, rate: 200, work: exponential(.05)}, {lasts: 30, rate: 800, work: exponential(.05)}, {lasts: 90, rate: 800, work: exponential(.1)},
		}, 60, .80, .3, 180},
		"four of five servers are lost": {20, 300, []phase{
			{lasts: 60, rate: 320, work: exponential(.05)}, {lasts: 60, rate: 320, work: exponential(.05), turn: to(4)},
		}, 20, .80, .15, 70},
		"four of five servers come back": {20, 300, []phase{
			{lasts: 60, rate: 320, work: exponential(.05)}, {lasts: 30, rate: 320, work: exponential(.05), turn: to(4)}, {lasts: 30, rate: 320, work: exponential(.05), turn: to(20)},
		}, 5, .01, .15, 310},
		"a crowd five times as large is over": {20, 1000, []phase{
			{lasts: 10, rate: 200, work: exponential(.05)}, {lasts: 60, rate: 2000, work: exponential(.05)}, {lasts: 60, rate: 300, work: exponential(.05)},
		}, 3, .01, .1, 280},
		"capacity rises in a crowd": {20, 1000, []phase{
			{lasts: 10, rate: 200, work: exponential(.05)}, {lasts: 60, rate: 1500, work: exponential(.05)}, {lasts: 20, rate: 1500, work: exponential(.05), turn: to(100)},
		}, 6, .01, .1, 1450},
		"ten times the demand at once": {free, 1000, []phase{
			{lasts: 60, rate: 500, work: exponential(.05)}, {lasts: 10, rate: 5000, work: exponential(.05)},
		}, 0, .01, .06, 4900},
		"cheap answers, 3 s": {free, 450, []phase{
			{lasts: 60, rate: 5000, work: constant(.05)}, {lasts: 3, rate: 5000, work: constant(.05), cheap: 25000}, {lasts: 60, rate: 5000, work: constant(.05)},
		}, 0, .01, .06, 4900},
		"cheap answers, 10 s": {free, 450, []phase{
			{lasts: 60, rate: 5000, work: constant(.05)}, {lasts: 10, rate: 5000, work: constant(.05), cheap: 25000}, {lasts: 60, rate: 5000, work: constant(.05)},
		}, 0, .01, .06, 4900},
		"cheap answers, 30 s, after little": {free, 450, []phase{
			{lasts: 60, rate: 500, work: constant(.05)}, {lasts: 30, rate: 500, work: constant(.05), cheap: 25000}, {lasts: 60, rate: 5000, work: constant(.05)},
		}, 0, .02, .06, 4900},
		"cheap answers, again and again": {free, 450, []phase{
			{lasts: 60, rate: 5000, work: constant(.05)},
			{lasts: 5, rate: 500, work: constant(.05), cheap: 25000}, {lasts: 5, rate: 5000, work: constant(.05)},
			{lasts: 5, rate: 500, work: constant(.05), cheap: 25000}, {lasts: 5, rate: 5000, work: constant(.05)},
			{lasts: 5, rate: 500, work: constant(.05), cheap: 25000}, {lasts: 60, rate: 5000, work: constant(.05)},
		}, 0, .01, .06, 4900},
	} {
		plants := map[string]plant{"queue": &servers{c: w.c}}
		if w.c < free { // else they are the same
			plants["shared"] = &processors{c: float64(w.c)}
		}
		for model, p := range plants {
			t.Run(name+", "+model, func(t *testing.T) {
				t.Parallel()
				phases := play(adaptive(w.maximum), p, 1, w.phases...)
				last := phases[len(phases)-1]
				got := total(last[w.after:])
				rate := float64(got.done) / float64(len(last)-w.after)
				t.Logf("%.2f %% turned away (%.2f %% of the whole), %.0f ms, %.0f/s, limits %d to %d", 100*got.turnedAway(), 100*total(last).turnedAway(), 1000*got.mean(), rate, got.least, got.greatest)
				if got.turnedAway() > w.shed || got.mean() > w.latency || rate < w.goodput {
					t.Error("it does not follow")
				}
			})
		}
	}
}

// TestGradientIsToldNothing: an answer whose latency is not known, which an early one to an
// upload is, does not count as one that took no time.
func TestGradientIsToldNothing(t *testing.T) {
	t.Parallel()
	b := adaptive(100)
	now := int64(time.Hour)
	tell := func(n int, latency time.Duration) {
		for range n {
			now += int64(5 * time.Millisecond)
			b.Done(Final{Fate: Success, Latency: latency, Now: now})
		}
	}
	tell(20000, 20*time.Millisecond)
	tell(20000, 0)
	tell(20000, 20*time.Millisecond)
	if got := b.gradient.standard.quartile(); got != float64(20*time.Millisecond) {
		t.Errorf("standard %v", time.Duration(got))
	}
	if v := b.View(); v.Limit != 100 {
		t.Errorf("%+v", v)
	}
}

// TestGradientKeepsItsBounds: whatever the service does, and with a maximum below the least
// limit.
func TestGradientKeepsItsBounds(t *testing.T) {
	t.Parallel()
	for _, maximum := range []int{1, 2, 4, 5, 30} {
		work := constant(.01)
		seconds := play(adaptive(maximum), &servers{c: 1}, 1, phase{lasts: 60, rate: 50, work: work}, phase{lasts: 60, rate: 1000, work: work})
		got := total(slices.Concat(seconds...))
		if least := int64(min(maximum, gradientLeast)); got.least < least || got.greatest != int64(maximum) {
			t.Errorf("limits %d to %d of at most %d", got.least, got.greatest, maximum)
		}
	}
}

// TestGradientBeginsAnew: a trial in which the callers leave ends, at once or when the next one
// comes.
func TestGradientBeginsAnew(t *testing.T) {
	t.Parallel()
	for name, rest := range map[string][]phase{
		"few go on": {{lasts: 60, rate: 100, work: constant(.05)}},
		"a pause":   {{lasts: 20, rate: 1e-9, work: constant(.05)}, {lasts: 5, rate: 100, work: constant(.05)}},
	} {
		b := adaptive(300)
		tried := false
		rest[0].turn = func(plant, float64) { tried = b.gradient.trial.on && b.View().Limit < 300 }
		crowd := []phase{{lasts: 20, rate: 200, work: constant(.05)}, {lasts: 1.8, rate: 2000, work: constant(.05)}}
		phases := play(b, &servers{c: 20}, 1, append(crowd, rest...)...)
		last := total(phases[len(phases)-1])
		if !tried || b.gradient.trial.on || last.shed > 0 || last.limit < 100 {
			t.Errorf("%s: trial %v, then %+v, %+v", name, tried, b.gradient.trial, last)
		}
	}
}
