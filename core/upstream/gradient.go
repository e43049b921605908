package upstream

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// gradient finds out how many requests a service can have under way before they only wait
// for each other. It begins with the maximum, and lowers the limit on evidence alone.
//
//   - Standard: the latency that the service has when nobody is near the limit. The mean of
//     each second in which less than half of the limit is under way counts, the latest 48; the
//     standard is their lower quartile. A minimum would be set by luck, or by one burst of
//     cheap answers; a mean would follow an overload as it begins. What is measured nearer to
//     the limit doesn't count, so that an overload that lasts doesn't become the standard.
//   - Alarm: three windows in a row in which half of the limit is under way and the latency is
//     above 2.5 times the standard. A window is 100 answers, or 32 if these take a second.
//   - Trial: an alarm doesn't tell a crowd from a service that has become slower or a
//     standard that is wrong. So half of what is under way is allowed for a moment. By Little's
//     law (1961: under way = rate * latency) a crowd is answered at the same rate, and the
//     limit comes to twice that rate times the standard. If the rate falls with the limit, then
//     nobody had waited: the limit is given back, and the standard is raised. No limit is
//     lowered without a trial, and none stays lowered that costs answers.
//   - Doubt: a limit that is reached, and does not grow, may be due to a standard that is
//     wrong. It is measured again, after 4 to 30 s and for a twentieth of the time at most, by
//     a trial that halves the limit until fewer are answered: the latency then is the standard.
//     That is also how one is found when there was none before the crowd.
//   - Growth: by a tenth for each two latencies while half of the limit is under way and the
//     latency is below 1.5 times the standard; by a twentieth per window while less is.
//
// What that comes to, with a service of so many servers and a queue, or with processors that
// all requests share (gradient_test.go): nobody is turned away from a service that is not
// crowded; under twice or five times the demand that it can take the limit comes within 2 to
// 12 s to about twice what the service works on at once, and it goes on to answer at least 95
// of 100 requests that it could.
//
// A place is held until an answer's body is through, so streams hold places that answer
// nothing. Where they are four fifths of what is under way there is no trial, and one that
// they keep from settling is given up after a second, or twice the latency.
//
// Weak spots. Below half of the limit nothing happens: a maximum of a hundred times what the
// service works on lets a line as long as half of that build up first. The fewer answers there
// are, the longer it takes, and the more a trial costs: at ten per second, a quarter of a
// minute, and one answer of seven. If some requests take sixty times as long as others and all
// share the processors, those others hide the crowd: the limit may stay at three to eight times
// what is useful. A service that becomes slower by more than 2.5 times loses requests to trials
// until that is accepted, within half a minute; so does one whose standard has been set by
// cheap answers for a quarter of the 48 s, while half of its limit is under way, for a second.
// If the latency grows by a load that comes from elsewhere, that is accepted too.
//
// Latencies are compared as in TCP Vegas (L. Brakmo and L. Peterson, 1995) and in Netflix's
// concurrency-limits; rate times least latency is what BBR goes by (N. Cardwell et al., 2016),
// and that this must be measured with few under way is known from there and from Envoy.
type gradient struct {
	lanes [ringLanes]struct {
		sum, n atomic.Uint64 // ns, and how many
		_      [112]byte
	}
	peak     atomic.Int64 // most under way in this step; written when it grows
	due      atomic.Int64 // when the step ends; written ten times a second
	answered atomic.Int64

	mu       sync.Mutex // taken by whoever ends a step
	maximum  float64
	limit    float64
	stepped  int64  // when the step before ended
	window   batch  // what alarms, growth and trials go by
	quiet    batch  // what comes to the standards next
	standard ledger // latencies without a crowd, ns
	alarms   int    // windows in a row
	alarming batch  // those but the first
	grown    int64  // when the limit last grew
	doubted  int64  // when there may be a doubt
	patience int64  // ns until the next one
	trial    trying
}

// trying is a trial that is on.
type trying struct {
	on      bool
	blind   bool    // the standard is not trusted: it ends when fewer are answered
	rate    float64 // answers per ns before it
	latency float64 // before it, ns
	before  float64 // limit
	began   int64
	lowest  int64 // when the limit was last lowered
	settled int64 // from when on it is measured; 0: there are still more under way than allowed
	again   bool  // fewer were answered, which is looked at a second time
	lowered bool  // the limit has been lowered a second time
	last    bool  // to what the standard says
}

const (
	gradientStep  = int64(100 * time.Millisecond)
	gradientLapse = int64(10 * time.Second) // without an answer, after which a window begins anew

	gradientSettles = int64(time.Second) // that more may stay under way than a trial allows, at least

	gradientEnough = 100 // answers that end a window
	gradientFew    = 32  // answers that end it after a second

	gradientTrusted = 12  // standards that are enough to go by
	gradientRoom    = 2   // limit, of the rate times the standard
	gradientCrowded = 2.5 // latency of a crowd, of the standard
	gradientCalm    = 1.5 // latency without one
	gradientLeast   = 4   // least limit
	gradientFaster  = 1.1
	gradientSlower  = 1.05

	gradientAlarms   = 3
	gradientAlarming = int64(time.Second) // how long they are looked at if there are few answers
	gradientDoubt    = int64(4 * time.Second)
	gradientPatience = int64(30 * time.Second)
	gradientShare    = 20 // how many times as long as a trial took there is no doubt

	// Rates in a trial, of the one before. Half of what was under way makes half of the rate
	// if nobody had waited, and the same if all had.
	gradientHeld   = .85
	gradientMiddle = .7
	gradientFell   = .6

	gradientJudge  = 64   // answers that tell that the rate has held
	gradientMany   = 256  // that it fell
	gradientSure   = 1024 // that it is in between
	gradientRounds = 5    // latencies that tell it too; where it fell, for at least as long
)

func newGradient(maximum int) *gradient {
	g := &gradient{maximum: float64(maximum), limit: float64(maximum)}
	g.answered.Store(int64(maximum))
	return g
}

// Limit is the limit in force.
func (g *gradient) Limit() int64 { return g.answered.Load() }

// sample takes in how a request went while inFlight were under way, and says whether that
// changed the limit.
func (g *gradient) sample(r Final, inFlight int64) bool {
	lane := &g.lanes[r.Stripe%ringLanes]
	lane.sum.Add(uint64(r.Latency))
	lane.n.Add(1)
	if peak := g.peak.Load(); inFlight > peak {
		g.peak.CompareAndSwap(peak, inFlight) // whoever comes second tells nothing new
	}
	if r.Now < g.due.Load() || !g.mu.TryLock() {
		return false
	}
	defer g.mu.Unlock()
	if r.Now < g.due.Load() {
		return false
	}
	return g.step(r.Now, inFlight)
}

// step ends a step. Called under mu.
func (g *gradient) step(now, inFlight int64) bool {
	var t batch
	for i := range g.lanes {
		t.sum += float64(g.lanes[i].sum.Swap(0))
		t.n += float64(g.lanes[i].n.Swap(0))
	}
	t.peak = float64(g.peak.Swap(0))
	t.lasted = float64(now - g.stepped)
	lapsed := g.stepped == 0 || now-g.stepped > gradientLapse
	g.stepped = now
	g.due.Store(now + gradientStep)
	switch {
	case lapsed:
		g.window, g.quiet, g.alarms = batch{}, batch{}, 0
		if g.trial.on {
			g.end(g.trial.before, now)
		}
	case g.trial.on:
		g.attempt(t, inFlight, now)
	default:
		g.window.add(t)
		if w := g.window; w.n >= gradientEnough || w.n >= gradientFew && w.lasted >= float64(time.Second) {
			g.window = batch{}
			g.learn(w, now)
		}
	}
	return g.answered.Swap(int64(g.limit)) != int64(g.limit)
}

// learn takes in a window outside of trials.
func (g *gradient) learn(w batch, now int64) {
	if w.peak < g.limit/2 {
		g.alarms = 0
		g.keep(w)
		g.set(g.limit * gradientSlower)
		return
	}
	g.quiet = batch{}
	standard, latency := g.standard.quartile(), w.latency()
	crowded := standard > 0 && latency > gradientCrowded*standard
	// When a crowd begins, those that take long have not been answered yet: count them too.
	calm := latency < gradientCalm*standard && w.peak/w.rate() < gradientCrowded*standard
	if calm && float64(now-g.grown) >= 2*latency {
		g.grown = now
		g.set(g.limit * gradientFaster)
	}
	full := w.peak >= math.Floor(g.limit) && (!calm || g.limit == g.maximum)
	if !crowded && (!full || now < g.doubted) {
		g.alarms = 0
		return
	}
	if g.alarms++; g.alarms == 1 { // it may have begun before the crowd
		g.alarming = batch{}
		return
	}
	g.alarming.add(w)
	enough := g.alarming.n >= gradientSure || g.alarming.lasted >= float64(gradientAlarming)
	// Streams hold places, and answer nothing: where they are four fifths of what is under way, a
	// lower limit would keep everybody else out, and tell nothing.
	if g.alarming.rate()*g.alarming.latency() < g.alarming.peak/5 {
		return
	}
	if g.alarms >= gradientAlarms && enough && g.limit > gradientLeast {
		g.begin(g.alarming, !crowded || g.standard.n < gradientTrusted, now)
	}
}

// keep makes a standard of the quiet windows of a second.
func (g *gradient) keep(w batch) {
	g.quiet.add(w)
	if g.quiet.lasted >= float64(time.Second) {
		g.standard.add(g.quiet.latency())
		g.quiet = batch{}
	}
}

// begin begins a trial after what gave the alarm.
func (g *gradient) begin(w batch, blind bool, now int64) {
	g.trial = trying{on: true, blind: blind, rate: w.rate(), latency: w.latency(), before: g.limit, began: now, lowest: now}
	g.alarms = 0
	g.set(min(w.peak, g.limit) / 2)
}

// attempt takes in a step of a trial.
func (g *gradient) attempt(t batch, inFlight, now int64) {
	e := &g.trial
	latency := g.limit / e.rate // if it is a crowd
	if e.settled == 0 && float64(inFlight) <= g.limit {
		e.settled = now
		if e.lowered { // those left from before took as long as they did then
			e.settled += int64(latency)
		}
		g.window = batch{}
		return
	}
	if e.settled == 0 || now-int64(t.lasted) < e.settled {
		return
	}
	g.window.add(t)
	if g.sure(g.window, latency) {
		w := g.window
		g.window = batch{}
		g.judge(w, now)
	}
}

// sure says whether a window of a trial tells enough. In a crowd its latency would be that.
func (g *gradient) sure(w batch, latency float64) bool {
	round := 2 * latency // in it there are some left from before
	if !g.trial.lowered {
		round = min(round, g.trial.latency)
	}
	if w.n < gradientJudge || w.lasted < round {
		return false
	}
	rate, long := w.rate()/g.trial.rate, w.lasted/latency/gradientRounds
	switch {
	case rate >= gradientHeld:
		return true
	case rate <= gradientFell:
		return long >= 1 && w.n >= gradientMany || long >= 2
	default:
		return long >= 1 && w.n >= gradientSure || long >= 2
	}
}

// judge goes on with a trial by what a window of it tells.
func (g *gradient) judge(w batch, now int64) {
	e := &g.trial
	aim := gradientRoom * e.rate * g.standard.quartile()
	switch fell := w.rate() < gradientMiddle*e.rate; {
	case w.peak < 0.9*math.Floor(g.limit): // the callers have gone: nothing is known
		g.end(e.before, now)
	case fell && !e.again && !(e.blind && e.lowered):
		e.again = true // what takes long may be most of what was left
	case fell:
		g.miss(w.latency(), now)
	case e.last || g.limit <= gradientLeast:
		g.end(g.limit, now)
	case e.blind && g.standard.n < gradientTrusted:
		g.lower(g.limit/4, now)
	case e.blind:
		g.lower(g.limit/2, now)
	case aim >= g.limit:
		g.end(aim, now)
	default:
		e.last, e.rate = true, min(e.rate, w.rate())
		g.lower(aim, now)
	}
}

// miss ends a trial in which fewer were answered, with that latency. A standard that was
// trusted follows by degrees: one trial can be wrong.
func (g *gradient) miss(latency float64, now int64) {
	if standard := g.standard.quartile(); g.standard.n >= gradientTrusted {
		latency = min(max(latency, standard/2), 2*standard)
	}
	g.standard.reset(latency)
	limit := gradientRoom * g.trial.rate * latency
	if !g.trial.lowered { // nobody had waited
		limit = max(limit, g.trial.before)
	}
	g.end(limit, now)
}

// lower goes on with a trial at a lower limit.
func (g *gradient) lower(limit float64, now int64) {
	g.trial.settled, g.trial.lowered, g.trial.again, g.trial.lowest = 0, true, false, now
	g.set(limit)
}

// giveUp ends a trial in which more stay under way than are allowed: nobody is let in, so
// nobody may be left whose answer would tell. Whoever is turned away asks for it; true says
// that the limit is another one.
func (g *gradient) giveUp(now int64) bool {
	if !g.mu.TryLock() {
		return false
	}
	defer g.mu.Unlock()
	e := &g.trial
	if !e.on || e.settled != 0 || now-e.lowest < max(gradientSettles, int64(2*e.latency)) {
		return false
	}
	g.end(e.before, now)
	g.answered.Store(int64(g.limit))
	return true
}

// end ends a trial. One that did not lower the limit may have been wrong: there is doubt
// soon, but not again and again.
func (g *gradient) end(limit float64, now int64) {
	g.patience = min(max(2*g.patience, gradientDoubt), gradientPatience)
	if limit < g.trial.before {
		g.patience = gradientPatience
	}
	g.doubted = now + max(g.patience, gradientShare*(now-g.trial.began))
	g.grown = now
	g.trial = trying{}
	g.set(limit)
}

func (g *gradient) set(limit float64) {
	g.limit = min(max(limit, gradientLeast), g.maximum)
}

// batch sums up what was answered in a while.
type batch struct {
	n, sum float64 // answers, and their latencies in ns
	lasted float64 // ns
	peak   float64 // most under way
}

func (t *batch) add(o batch) {
	t.n, t.sum, t.lasted, t.peak = t.n+o.n, t.sum+o.sum, t.lasted+o.lasted, max(t.peak, o.peak)
}

func (t *batch) latency() float64 { return t.sum / t.n }
func (t *batch) rate() float64    { return t.n / t.lasted }

// ledger holds the latest values.
type ledger struct {
	values [48]float64
	n      int // ever added
}

func (l *ledger) add(v float64) {
	l.values[l.n%len(l.values)] = v
	l.n++
}

// reset forgets all values, and trusts v.
func (l *ledger) reset(v float64) {
	for l.n = 0; l.n < gradientTrusted; {
		l.add(v)
	}
}

// quartile is the value that a quarter of all are below; 0 if there is none.
func (l *ledger) quartile() float64 {
	n := min(l.n, len(l.values))
	if n == 0 {
		return 0
	}
	sorted := l.values
	slices.Sort(sorted[:n])
	return sorted[n/4]
}
