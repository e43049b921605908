package limit

import "time"

// How much is leased. The numbers are a balance: a longer horizon asks less often, and
// keeps more from the others.
const (
	leaseHorizon = 500 * time.Millisecond // of its recent rate that an instance leases
	leaseAhead   = 50 * time.Millisecond  // before a lease is used up at that rate, the next is asked for
	leaseScarce  = 200 * time.Millisecond // of a bucket's gain that is handed out at once when there is no more,
	scarceShare  = 8                      // but at most this part of its burst
	leastRated   = 5 * time.Millisecond   // a rate is measured over
	mostDemands  = 8                      // of different costs in one ask
)

// scarce is how many tokens are handed out at once, where there are not more: what a counter
// gains in a moment that is short beside what it holds. It is below 1 for a low limit, which
// then is counted token by token.
func (p *Policy) scarce() int64 {
	if p.Algorithm == TokenBucket {
		return min(int64(leaseScarce)/p.perToken(), p.Burst/scarceShare)
	}
	return p.Count / (4 * 64)
}

// prepare makes the ask that is due at now; nil if there is none. retire gives all back.
func (h *holding) prepare(now int64, retire bool) *Ask {
	h.queued.Store(false)
	hungry := h.hungry.Swap(false)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy {
		h.again = true
		return nil
	}
	p := h.policy.Load()
	a := &Ask{Key: h.key, Policy: p, Life: h.of.life}
	live, changed := h.report(a, now, retire)
	a.Owed = min(h.owed.Swap(0), p.Capacity())
	a.Refunds, h.refunds = h.refunds, nil
	wanted := h.gather(a)
	if len(a.Now) == 0 && len(a.Refunds) == 0 && a.Owed == 0 && !hungry && !changed {
		return nil
	}
	h.measure(now, wanted+a.Owed)
	if len(a.Now) > 0 || hungry {
		a.Lease = h.of.number.Add(1)
		a.Want = max(0, min(times(h.rate, int64(h.horizon(p)))/int64(time.Second), p.Capacity())-live)
		a.Soon = min(a.Want, p.scarce())
		h.used = now
	}
	h.busy = true
	return a
}

func (h *holding) horizon(p *Policy) time.Duration {
	if p.Algorithm == TokenBucket {
		return leaseHorizon
	}
	return min(leaseHorizon, p.Per/64) // it ends with its slot
}

// report writes what is held into the ask, and returns how much can still be spent. From here
// on nothing that counts as spent in a report comes back: what is unspent is in new
// objects.
func (h *holding) report(a *Ask, now int64, retire bool) (live int64, changed bool) {
	kept := h.held[:0]
	var last *lease
	h.head.Store(nil)
	for _, s := range h.held {
		fresh := !s.ended
		s.end()
		if !s.counted {
			s.counted = true
			h.spent += s.size - s.rest
		}
		if now >= s.expires { // it is forgotten there
			h.of.lost.Add(min(s.rest, s.size))
			continue
		}
		if fresh {
			if s.rest > 0 && now < s.deadline && !retire {
				next := &lease{low: s.low, deadline: s.deadline, expires: s.expires, id: s.id, size: s.rest}
				next.left.Store(s.rest)
				next.asked.Store(s.asked.Load()) // once is enough
				if last == nil {
					h.head.Store(next)
				} else {
					last.next.Store(next)
				}
				last = next
				live += s.rest
				kept = append(kept, next)
				a.Reports = append(a.Reports, Report{Lease: s.id, Left: s.rest})
				continue
			}
		}
		kept = append(kept, s)
		changed = true
		a.Reports = append(a.Reports, Report{Lease: s.id, Left: s.rest, Ended: true})
		a.ended = append(a.ended, s)
	}
	clear(h.held[len(kept):])
	h.held = kept
	return live, changed
}

// gather puts those who wait into the ask, and returns the sum of their costs. Who can't be
// told apart from others any more waits for the next.
func (h *holding) gather(a *Ask) (sum int64) {
	var rest []*waiter
	for _, w := range h.waiting {
		if w.left {
			continue
		}
		i := 0
		for i < len(a.Now) && a.Now[i].Cost != w.cost {
			i++
		}
		if i == mostDemands {
			rest = append(rest, w)
			continue
		}
		if i == len(a.Now) {
			a.Now, a.waiting = append(a.Now, Demand{Cost: w.cost}), append(a.waiting, nil)
		}
		a.Now[i].Count++
		a.waiting[i] = append(a.waiting[i], w)
		sum = min(sum+w.cost, Largest)
	}
	h.waiting = rest
	h.again = len(rest) > 0
	return sum
}

// measure notes at what rate tokens are needed. Time in which there were none does not
// count.
func (h *holding) measure(now, wanted int64) {
	if o := h.outlook.Load(); o != nil && o.refused {
		h.rated = max(h.rated, min(o.until, now))
	}
	if h.rated != 0 {
		took := max(now-h.rated, int64(leastRated))
		rate := times(min(h.spent+wanted, Largest), int64(time.Second)) / took
		h.rate = (h.rate + rate) / 2
	}
	h.rated, h.spent = now, 0
}

// settle applies the answer to an ask that was sent and answered at these times.
func (h *holding) settle(a *Ask, sent, answered int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy = false
	if a.Err != nil {
		for _, group := range a.waiting {
			for _, w := range group {
				w.settle(false, 0, a.Err)
			}
		}
		if a.Want > 0 { // it may have been given, and nobody knows: it goes back
			h.held = append(h.held, &lease{id: a.Lease, ended: true, counted: true, rest: a.Want, expires: answered + int64(a.Life)})
			h.watch()
		}
	} else {
		h.forget(a.ended)
		h.learn(a, answered)
		h.receive(a, sent, answered)
		h.admit(a, answered)
	}
	if h.again || len(h.waiting) > 0 {
		h.again = false
		h.of.wake(h)
	}
}

// forget drops leases whose end was heard.
func (h *holding) forget(ended []*lease) {
	for _, s := range ended {
		h.of.returned.Add(min(s.rest, s.size))
		for i := range h.held {
			if h.held[i] == s {
				h.held = append(h.held[:i], h.held[i+1:]...)
				break
			}
		}
	}
}

// learn notes what was told of the counter.
func (h *holding) learn(a *Ask, answered int64) {
	if h.policy.Load().numbers() != a.Policy.numbers() {
		return
	}
	o := &outlook{left: a.Left, at: answered, full: answered + int64(min(a.Reset, Never/2))}
	for _, d := range a.Now {
		if d.Granted < d.Count && (o.short == 0 || d.Cost < o.short) {
			o.short = d.Cost
		}
	}
	most := int64(0)
	if a.Policy.Algorithm == TokenBucket {
		most = a.Policy.scarce()
	}
	gains := times(max(0, most-a.Left), a.Policy.perToken()) // until there is as much as is handed out at once
	switch old := h.outlook.Load(); {
	case o.short > 0:
		wait := int64(max(1, min(a.Wait, Never/2)))
		if most > o.short {
			wait = max(wait, gains)
		}
		o.until, o.refused = answered+wait, true
	case most > 1 && 0 < a.Leased && a.Leased < a.Want && a.Left < most:
		o.short, o.until = 1, answered+gains // once the lease is spent, to ask would be in vain
	case len(a.Now) == 0 && old != nil && a.Left < old.short:
		o.short, o.until, o.refused = old.short, old.until, old.refused // nobody was refused because nobody asked
	}
	h.outlook.Store(o)
}

// receive takes a new lease, to be spent when those before it are.
func (h *holding) receive(a *Ask, sent, answered int64) {
	if a.Leased <= 0 {
		return
	}
	h.of.leased.Add(a.Leased)
	s := &lease{id: a.Lease, size: a.Leased, expires: answered + int64(a.Until),
		deadline: sent + int64(a.Until)/10*9 - h.of.precision}
	if a.Left >= a.Policy.scarce() { // else who asks ahead only takes it from the others
		s.low = min(a.Leased/2, times(h.rate, int64(leaseAhead))/int64(time.Second))
	}
	s.left.Store(a.Leased)
	h.held = append(h.held, s)
	if h.policy.Load().numbers() != a.Policy.numbers() || h.of.closed.Load() {
		s.end()
		h.again = true
		return
	}
	h.watch()
	last := h.head.Load()
	if last == nil {
		h.head.Store(s)
		return
	}
	for next := last.next.Load(); next != nil; next = last.next.Load() {
		last = next
	}
	last.next.Store(s)
}

// admit tells those who waited, and of those who came meanwhile whom nothing is left for.
func (h *holding) admit(a *Ask, answered int64) {
	for i, group := range a.waiting {
		granted := a.Now[i].Granted
		for _, w := range group {
			if granted == 0 {
				w.settle(false, h.denied(a, w.cost, answered), nil)
				continue
			}
			granted--
			if w.left {
				h.refunds = append(h.refunds, Refund{w.cost, a.At})
				h.again = true
				continue
			}
			w.at = a.At
			w.settle(true, 0, nil)
		}
	}
	still := h.waiting[:0]
	for _, w := range h.waiting {
		if wait := h.denies(w.cost, answered); wait > 0 {
			w.settle(false, wait, nil)
		} else {
			still = append(still, w)
		}
	}
	clear(h.waiting[len(still):])
	h.waiting = still
}

// denied is how long a cost that was refused waits.
func (h *holding) denied(a *Ask, cost, answered int64) time.Duration {
	if wait := h.denies(cost, answered); wait > 0 {
		return wait
	}
	return max(1, a.Wait)
}

// settle tells the waiter. The holding's lock is held.
func (w *waiter) settle(granted bool, wait time.Duration, err error) {
	if w.settled {
		return
	}
	w.settled, w.granted, w.wait, w.err = true, granted, wait, err
	close(w.done)
}

// look is what is done at intervals: leases that nobody spends are given back, and what
// has ended is told of. It says whether the holding holds anything.
func (h *holding) look(now int64) (holds bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	unspent := h.unspent()
	h.quiet++
	if unspent != h.seen {
		h.seen, h.quiet = unspent, 0
	}
	ended := false
	for _, s := range h.held {
		if h.quiet >= quietLooks || now >= s.deadline || s.left.Load() == 0 {
			s.end()
		}
		ended = ended || s.ended
	}
	if ended || h.owed.Load() > 0 || len(h.refunds) > 0 || len(h.waiting) > 0 {
		h.of.wake(h)
	}
	h.watched = len(h.held) > 0
	return h.watched
}

// watch has it looked at often. The lock is held.
func (h *holding) watch() {
	h.seen, h.quiet = -1, 0
	if !h.watched {
		h.watched = true
		h.of.watch(h)
	}
}

// idle says whether nobody needs it any more.
func (h *holding) idle(now int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.outlook.Load()
	return now-h.used > int64(forgetAfter) && !h.busy && len(h.held) == 0 && len(h.waiting) == 0 && len(h.refunds) == 0 &&
		h.owed.Load() == 0 && (o == nil || o.short == 0 || now >= o.until)
}
