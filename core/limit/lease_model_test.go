package limit

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
)

// shared is a model of the counters that instances share, written without regard to how
// core/store/redis keeps them. Time is in microseconds.
type shared struct {
	now     func() int64
	life    int64
	epoch   int64 // 0: none
	buckets map[string]*sharedBucket
	windows map[string]*sharedWindow

	behind bool // a bug: a bucket gains what is out on lease
}

type sharedLease struct{ tokens, ends, slot int64 }

type sharedBucket struct {
	missing float64 // tokens that are not there; whole but for what is gained, in which floats are exact enough
	at      int64
	leases  map[string]*sharedLease
}

type sharedWindow struct {
	slots  map[int64]int64
	leases map[string]*sharedLease
}

func newShared(now func() int64, life int64) *shared {
	s := &shared{now: now, life: life}
	s.wipe()
	return s
}

func (s *shared) wipe() {
	s.epoch, s.buckets, s.windows = 0, map[string]*sharedBucket{}, map[string]*sharedWindow{}
}

func (b *sharedBucket) out() (n float64) {
	for _, l := range b.leases {
		n += float64(l.tokens)
	}
	return n
}

func (s *shared) gain(b *sharedBucket, p *Policy, to int64) {
	if to <= b.at {
		return
	}
	least := b.out()
	if s.behind {
		least = 0
	}
	b.missing = max(b.missing-float64(to-b.at)*float64(p.Count)/float64(p.Per.Microseconds()), least)
	b.at = to
}

func (s *shared) bucket(key string, p *Policy) *sharedBucket {
	now := s.now()
	b := s.buckets[key]
	if b == nil {
		if s.epoch == 0 {
			s.epoch = now
		}
		b = &sharedBucket{at: now, leases: map[string]*sharedLease{}}
		if begins := s.epoch + s.life; begins > now {
			b.missing, b.at = float64(p.Burst), begins
		}
		s.buckets[key] = b
		return b
	}
	var ended []string
	for id, l := range b.leases {
		if l.ends <= now {
			ended = append(ended, id)
		}
	}
	sort.Slice(ended, func(i, j int) bool { return b.leases[ended[i]].ends < b.leases[ended[j]].ends })
	for _, id := range ended {
		s.gain(b, p, b.leases[id].ends)
		delete(b.leases, id)
	}
	s.gain(b, p, now)
	return b
}

// do decides an ask of an instance.
func (s *shared) do(instance string, a *Ask) {
	a.At = s.now()
	if a.Policy.Algorithm == TokenBucket {
		s.doBucket(instance, a)
	} else {
		s.doWindow(instance, a)
	}
}

func name(instance string, lease uint64) string { return instance + strconv.FormatUint(lease, 10) }

func (s *shared) doBucket(instance string, a *Ask) {
	p := a.Policy
	b := s.bucket(string(a.Key), p)
	for _, r := range a.Reports {
		if l := b.leases[name(instance, r.Lease)]; l != nil {
			left := min(r.Left, l.tokens)
			l.tokens = left
			if r.Ended {
				b.missing -= float64(left)
				delete(b.leases, name(instance, r.Lease))
			}
		}
	}
	for _, r := range a.Refunds {
		if r.At < s.epoch {
			continue // it was charged to what was lost since
		}
		gained := float64(a.At-r.At) * float64(p.Count) / float64(p.Per.Microseconds())
		b.missing = max(b.missing-max(0, float64(r.Tokens)-gained), b.out())
	}
	left := func() int64 { return int64(max(0, float64(p.Burst)-b.missing+1e-6)) }
	a.Wait = 0
	for i := range a.Now {
		d := &a.Now[i]
		d.Granted = min(d.Count, left()/d.Cost)
		b.missing += float64(d.Granted * d.Cost)
		if d.Granted < d.Count && a.Wait == 0 {
			a.Wait = max(1000, time.Duration(float64(d.Cost-left())*float64(p.Per)/float64(p.Count)))
		}
	}
	b.missing += float64(min(a.Owed, left()))
	a.Leased, a.Until = 0, time.Duration(s.life)*time.Microsecond
	if a.Wait == 0 {
		a.Leased = min(a.Want, max(left()/4, min(left(), a.Soon)))
	}
	if a.Leased > 0 {
		b.missing += float64(a.Leased)
		b.leases[name(instance, a.Lease)] = &sharedLease{tokens: a.Leased, ends: a.At + s.life}
	}
	a.Left, a.Reset = left(), time.Duration(b.missing*float64(p.Per)/float64(p.Count))
}

func (s *shared) doWindow(instance string, a *Ask) {
	p, key := a.Policy, string(a.Key)
	w := s.windows[key]
	if w == nil {
		w = &sharedWindow{map[int64]int64{}, map[string]*sharedLease{}}
		s.windows[key] = w
	}
	width := (p.Per.Microseconds() + 62) / 63
	slot := a.At / width
	used := int64(0)
	for i, n := range w.slots {
		if i >= (a.At-p.Per.Microseconds())/width {
			used += n
		}
	}
	give := func(at, tokens int64) {
		if at >= (a.At-p.Per.Microseconds())/width {
			w.slots[at] -= tokens
			used -= tokens
		}
	}
	for _, r := range a.Reports {
		if l := w.leases[name(instance, r.Lease)]; l != nil {
			l.tokens = min(l.tokens, r.Left)
			if r.Ended {
				give(l.slot, l.tokens)
				delete(w.leases, name(instance, r.Lease))
			}
		}
	}
	for _, r := range a.Refunds {
		give(r.At/width, r.Tokens)
	}
	take := func(n int64) { w.slots[slot] += n; used += n }
	a.Wait = 0
	for i := range a.Now {
		d := &a.Now[i]
		d.Granted = min(d.Count, max(0, p.Count-used)/d.Cost)
		take(d.Granted * d.Cost)
		if d.Granted < d.Count {
			a.Wait = time.Duration(width) * time.Microsecond
		}
	}
	take(min(a.Owed, max(0, p.Count-used)))
	a.Leased, a.Until = 0, time.Duration(min(s.life, (slot+1)*width-a.At))*time.Microsecond
	if left := max(0, p.Count-used); a.Wait == 0 {
		a.Leased = min(a.Want, max(left/4, min(left, a.Soon)))
	}
	if a.Leased > 0 {
		take(a.Leased)
		w.leases[name(instance, a.Lease)] = &sharedLease{a.Leased, a.At + a.Until.Microseconds(), slot}
	}
	a.Left = max(0, p.Count-used)
}

// world is some instances, what they share, and the requests and calls under way, in a time that
// stands still until somebody moves it.
type world struct {
	pick      func(n int) int // from 0 to n-1
	now       int64           // nanoseconds
	policies  []*Policy
	shared    *shared
	instances []*worldInstance
	requests  []*worldRequest
	calls     []*worldCall
	admitted  []worldAdmission
	crashes   int
	wipes     int
	wiping    bool // it may happen
	late      bool // a bug: leases have no deadline
}

type worldInstance struct {
	*Leased
	name string
}

type worldRequest struct {
	at      *worldInstance
	sent    int64
	charges []Charge
	claims  []claim
	joined  bool
	failed  error
}

type worldCall struct {
	of       *worldInstance
	holding  *holding
	ask      *Ask
	sent     int64
	done     bool // by what is shared
	answered bool // or lost
}

type worldAdmission struct {
	sent, answered, cost int64
	policy               *Policy
}

const worldLife = 100 * time.Millisecond

func newWorld(pick func(int) int, late, behind bool) *world {
	w := &world{pick: pick, wiping: pick(4) == 0, late: late}
	w.now = int64(time.Hour)
	per := []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second}[pick(3)]
	w.policies = []*Policy{
		{Name: "a", Algorithm: TokenBucket, Count: int64(1 + pick(200)), Per: per, Burst: int64(1 + pick(60))},
		{Name: "b", Algorithm: TokenBucket, Count: int64(1 + pick(50)), Per: per, Burst: int64(1 + pick(60))},
	}
	if pick(3) == 0 {
		w.policies[1] = &Policy{Name: "b", Algorithm: SlidingWindow, Count: int64(1 + pick(100)), Per: 64 * 63 * time.Millisecond}
	}
	w.shared = newShared(func() int64 { return w.now / 1000 }, worldLife.Microseconds())
	w.shared.behind = behind
	w.shared.epoch = 1
	for range 1 + pick(3) {
		w.instances = append(w.instances, w.instance())
	}
	return w
}

func (w *world) instance() *worldInstance {
	w.crashes++
	l := newLeased(LeasedOptions{Clock: clock.NewFake(time.Unix(0, 0)), Boot: func() int64 { return w.now }, Life: worldLife})
	return &worldInstance{l, fmt.Sprintf("%d:", w.crashes)}
}

// step does one thing that may happen.
func (w *world) step() {
	switch w.pick(20) {
	case 0, 1, 2, 3, 4:
		w.request()
	case 5, 6, 7:
		w.goOn()
	case 8, 9:
		w.send()
	case 10, 11:
		w.decide()
	case 12, 13:
		w.answer()
	case 14:
		w.advance()
	case 15:
		w.happen()
	default:
		w.roundTrip()
	}
}

// roundTrip has all calls made and answered at once, and all requests go on.
func (w *world) roundTrip() {
	for range w.instances {
		w.send()
	}
	for range 4 * len(w.calls) {
		w.decide()
		w.answer()
	}
	for i := len(w.requests) - 1; i >= 0; i-- {
		w.goOnWith(i)
	}
}

// request has an instance spend for a new request, or many.
func (w *world) request() {
	of := w.instances[w.pick(len(w.instances))]
	for range 1 + w.pick(8)*w.pick(8) {
		r := &worldRequest{at: of, sent: w.now}
		cost := int64(1 + w.pick(8)/7)
		for i, p := range w.policies[:1+w.pick(2)] {
			r.charges = append(r.charges, Charge{Policy: p, Key: []byte{'k', byte('0' + i)}, Cost: cost, Bypass: w.pick(40) == 0})
		}
		r.claims = make([]claim, len(r.charges))
		of.claim(r.charges, r.claims)
		w.requests = append(w.requests, r)
	}
	if w.pick(2) == 0 { // they go on at once
		for i := len(w.requests) - 1; i >= 0; i-- {
			if w.requests[i].at == of {
				w.goOnWith(i)
			}
		}
	}
}

// goOn has a request read the clock, or see whether it waits no more.
func (w *world) goOn() {
	for range 1 + w.pick(10) {
		if len(w.requests) > 0 {
			w.goOnWith(w.pick(len(w.requests)))
		}
	}
}

func (w *world) goOnWith(i int) {
	r := w.requests[i]
	denied := Admitted
	if !r.joined {
		var missing bool
		if denied, missing = r.at.judge(r.charges, r.claims, w.now); denied == Admitted && missing {
			for k := range r.charges {
				if c := &r.claims[k]; c.lease == nil && c.holding != nil && !r.charges[k].Bypass {
					c.waiter, c.lease, r.charges[k].Wait = c.holding.join(r.charges[k].Cost)
				}
			}
			r.joined = true
		}
	}
	for k := range r.claims {
		c := &r.claims[k]
		if c.waiter != nil {
			if !c.waiter.settled && w.pick(20) != 0 {
				return
			}
			if c.holding.abandon(c.waiter) {
				r.failed, c.waiter = errNoAnswer, nil
				continue
			}
			r.charges[k].Wait = c.waiter.wait
			r.failed = errors.Join(r.failed, c.waiter.err)
			if !c.waiter.granted {
				c.waiter = nil
			}
		}
		if r.charges[k].Wait != 0 && denied == Admitted {
			denied = k
		}
	}
	w.requests = append(w.requests[:i], w.requests[i+1:]...)
	if denied != Admitted || r.failed != nil {
		giveBack(r.charges, r.claims)
		return
	}
	r.at.conclude(r.charges, r.claims, denied, w.now)
	for _, c := range r.charges {
		if !c.Bypass {
			w.admitted = append(w.admitted, worldAdmission{r.sent, w.now, c.Cost, c.Policy})
		}
	}
}

// send has an instance make a call.
func (w *world) send() {
	of := w.instances[w.pick(len(w.instances))]
	for _, h := range of.dequeue() {
		if a := h.prepare(w.now, false); a != nil {
			w.calls = append(w.calls, &worldCall{of: of, holding: h, ask: a, sent: w.now})
		}
	}
}

// decide has a call arrive, be it one that nobody waits for any more.
func (w *world) decide() {
	if len(w.calls) == 0 {
		return
	}
	i := w.pick(len(w.calls))
	c := w.calls[i]
	switch {
	case c.answered: // nobody hears the answer
		late := *c.ask
		late.Now = append([]Demand(nil), late.Now...)
		w.shared.do(c.of.name, &late)
		w.calls = append(w.calls[:i], w.calls[i+1:]...)
	case !c.done:
		w.shared.do(c.of.name, c.ask)
		c.done = true
	}
}

// answer has an answer arrive, or be waited for too long.
func (w *world) answer() {
	if len(w.calls) == 0 {
		return
	}
	i := w.pick(len(w.calls))
	c := w.calls[i]
	if c.answered {
		return
	}
	if lost := w.pick(8) == 0; lost || c.done {
		if lost {
			c.ask.Err = errNoAnswer
		}
		c.answered = true
		c.holding.settle(c.ask, c.sent, w.now)
		for _, s := range c.holding.held {
			if w.late {
				s.deadline = math.MaxInt64
			}
		}
		if c.done {
			w.calls = append(w.calls[:i], w.calls[i+1:]...)
		}
	}
}

func (w *world) advance() {
	most := []int{100, 2_000, 20_000, 150_000}[w.pick(4)]
	w.now += int64(w.pick(most)) * 1000
}

// happen is what happens seldom.
func (w *world) happen() {
	of := w.pick(len(w.instances))
	switch w.pick(10) {
	case 0:
		w.instances[of] = w.instance()
	case 1:
		if w.wiping {
			w.shared.wipe()
			w.wipes++
		}
	default:
		w.instances[of].look(w.now)
	}
}

// excess is by how much more was admitted than each policy allows, over all pairs.
func (w *world) excess() error {
	slices.SortFunc(w.admitted, func(a, b worldAdmission) int { return int(a.answered - b.answered) })
	for _, p := range w.policies {
		for _, first := range w.admitted {
			n := int64(0)
			for _, last := range w.admitted {
				span := last.answered - first.sent
				if first.policy != p || last.policy != p || last.sent < first.sent || p.Algorithm != TokenBucket && span >= int64(p.Per) {
					continue
				}
				n += last.cost
				// What was charged is forgotten by a wipe, and all of it may be charged again; but what
				// was out on a lease is not there a third time.
				allowed := p.Capacity() * int64(1+w.wipes)
				if p.Algorithm == TokenBucket {
					allowed += span * p.Count / int64(p.Per)
				}
				if n > allowed {
					return fmt.Errorf("%d were admitted in %s, %+v allows %d", n, time.Duration(span), *p, allowed)
				}
			}
		}
	}
	return nil
}

// TestRL8_LeasesNeverAdmitMore: whatever instances, calls and clocks do, and in whatever
// order.
func TestRL8_LeasesNeverAdmitMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }, false, false)
		for range 300 {
			w.step()
		}
		if err := w.excess(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRL8_TheModelFindsBugs: without either of two rules it fails.
func TestRL8_TheModelFindsBugs(t *testing.T) {
	t.Parallel()
	for what, plant := range map[string]struct{ late, behind bool }{
		"spending after the deadline":      {late: true},
		"gaining what is out on a lease":   {behind: true},
		"neither, in as many other worlds": {},
	} {
		found, admitted, leased, worlds := 0, 0, int64(0), 400
		for seed := range worlds {
			r := rand.New(rand.NewPCG(1, uint64(seed)))
			w := newWorld(r.IntN, plant.late, plant.behind)
			for range 400 {
				w.step()
			}
			admitted += len(w.admitted)
			for _, i := range w.instances {
				leased += i.Counts().Leased
			}
			if err := w.excess(); err != nil {
				t.Logf("%s: world %d: %v", what, seed, err)
				found++
				break
			}
		}
		if bug := plant.late || plant.behind; bug != (found > 0) {
			t.Errorf("%s: found %d times", what, found)
		}
		t.Logf("%s: %d admissions, %d tokens on leases", what, admitted, leased)
	}
}
