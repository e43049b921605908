package limit

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// lease is tokens of one counter that nobody else will spend, until a deadline. Its number
// and its deadline are immutable; what is told of it to the Lessor is a new object, so that
// whoever took tokens from the old can't give back what was reported spent.
type lease struct {
	left     atomic.Int64 // written by each request of this counter, for it is the count
	next     atomic.Pointer[lease]
	asked    atomic.Bool // for more; set once
	low      int64       // of left, at which more is asked for
	deadline int64       // of the boot clock; after it nothing counts as spent
	expires  int64       // when the Lessor has certainly forgotten it
	id       uint64
	size     int64 // tokens when this object was made

	ended   bool  // under the holding's lock, as what follows
	rest    int64 // tokens that were left at its end
	counted bool  // in what was spent of late
}

// gone is what is left of a lease that has ended, whatever is still added to it.
const gone = -1 << 61

// outlook is what the Lessor said last of a counter. It is immutable.
type outlook struct {
	left  int64 // tokens there
	at    int64 // when it was told, of the boot clock
	full  int64 // when all will be there
	short int64 // the least cost that is denied; 0 if none is
	until int64 // when it might be admitted

	refused bool // somebody was, and nothing could be spent until then
}

// waiter is a request that waits for a call.
type waiter struct {
	cost    int64
	done    chan struct{} // is closed when the rest is set
	settled bool          // under the holding's lock
	left    bool          // nobody waits any more; under the lock
	granted bool
	at      int64 // of the grant
	wait    time.Duration
	err     error
}

// holding is what this instance holds of one counter.
type holding struct {
	of      *Leased
	print   fingerprint
	key     []byte
	policy  atomic.Pointer[Policy]
	head    atomic.Pointer[lease]   // the lease that is spent from
	outlook atomic.Pointer[outlook] // nil: nothing is known
	owed    atomic.Int64            // tokens that bypassed, not charged yet
	queued  atomic.Bool             // for a worker
	hungry  atomic.Bool             // a lease runs low

	mu      sync.Mutex // of all but those who spend
	held    []*lease   // all that the Lessor may count as outstanding
	waiting []*waiter
	refunds []Refund
	busy    bool  // a call is under way
	again   bool  // and another is to follow
	rate    int64 // tokens a second of late
	spent   int64 // tokens since rated, of leases that have ended
	rated   int64 // when rate was measured last
	used    int64 // when it was needed last
	seen    int64 // tokens that were held at the last look
	quiet   int   // looks at which nothing had been spent
	watched bool  // it is looked at often
	cold    bool  // it is looked at seldom; of the one who looks
}

// spend takes cost from a lease, and returns that; nil if there is not enough. Whether it was
// in time is for the caller to see, by a clock that he reads after.
func (h *holding) spend(cost int64) *lease {
	for {
		s := h.head.Load()
		if s == nil {
			return nil
		}
		if s.left.Load() >= cost {
			n := s.left.Add(-cost)
			if n >= 0 {
				if n < s.low && !s.asked.Load() && s.asked.CompareAndSwap(false, true) {
					h.hungry.Store(true)
					h.of.wake(h)
				}
				return s
			}
			s.left.Add(cost)
		}
		next := s.next.Load()
		if next == nil {
			return nil
		}
		h.head.CompareAndSwap(s, next)
	}
}

// past ends a lease that was found to be past its deadline.
func (h *holding) past(s *lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.end()
}

// end keeps a lease from being spent. What someone takes from it at this very moment and gives
// back is lost.
func (s *lease) end() {
	if !s.ended {
		s.ended = true
		s.rest = max(0, s.left.Swap(gone))
	}
}

// denies is how long a cost waits as far as is known; 0 if it may be admitted.
func (h *holding) denies(cost, now int64) time.Duration {
	o := h.outlook.Load()
	if o == nil || o.short == 0 || cost < o.short || now >= o.until {
		return 0
	}
	wait := o.until - now
	if p := h.policy.Load(); p.Algorithm == TokenBucket {
		wait += times(cost-o.short, p.perToken())
	}
	return time.Duration(wait)
}

// perToken is in how many nanoseconds a bucket gains a token.
func (p *Policy) perToken() int64 { return max(1, int64(p.Per)/p.Count) }

// times is a product of what is not negative, or as much of it as fits.
func times(a, b int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high != 0 || low > uint64(Never)/2 {
		return int64(Never) / 2
	}
	return int64(low)
}

// unspent is the tokens of the leases that are being spent.
func (h *holding) unspent() (n int64) {
	for s := h.head.Load(); s != nil; s = s.next.Load() {
		n += max(0, s.left.Load())
	}
	return n
}

// tell sets what is reported of a charge.
func (h *holding) tell(c *Charge, now int64) {
	full, local := c.Policy.Capacity(), h.unspent()
	c.Remaining, c.Reset = full, 0
	if o := h.outlook.Load(); o != nil {
		c.Remaining = o.left + local
		if reset := o.full - now; c.Policy.Algorithm == TokenBucket {
			each := c.Policy.perToken()
			c.Remaining += max(0, now-o.at) / each
			c.Reset = time.Duration(max(0, reset-times(local, each)))
		} else {
			c.Reset = time.Duration(max(0, reset))
		}
		c.Remaining = min(c.Remaining, full)
	}
	if c.Wait != 0 && c.Wait != Never {
		c.Remaining = min(c.Remaining, c.Cost-1)
		c.Reset = max(c.Reset, c.Wait)
	}
}

// adopt puts the holding under a policy of other numbers. All is given back; what was
// counted stays counted (SPEC RL7).
func (h *holding) adopt(p *Policy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.policy.Store(p)
	for _, s := range h.held {
		s.end()
	}
	h.outlook.Store(nil)
	if len(h.held) > 0 {
		h.of.wake(h)
	}
}

// join has a request wait for the next call, unless it is decided by now: then it has a
// lease, or a time to wait.
func (h *holding) join(cost int64) (w *waiter, s *lease, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := h.spend(cost); s != nil; s = h.spend(cost) {
		if s.inTime(h.of.boot()) {
			return nil, s, 0
		}
		s.end()
		if s.next.Load() == nil {
			break
		}
	}
	if wait := h.denies(cost, h.of.boot()); wait > 0 {
		return nil, nil, wait
	}
	w = &waiter{cost: cost, done: make(chan struct{})}
	h.waiting = append(h.waiting, w)
	h.of.wake(h)
	return w, nil, 0
}

// abandon ends a waiter who was not told in time. If he was after all, it says so.
func (h *holding) abandon(w *waiter) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.left = !w.settled
	return w.left
}

// refund gives back what a waiter was granted.
func (h *holding) refund(w *waiter) {
	h.mu.Lock()
	h.refunds = append(h.refunds, Refund{w.cost, w.at})
	h.mu.Unlock()
	h.of.wake(h)
}

// bypass charges what passes anyway.
func (h *holding) bypass(cost int64) {
	if h.spend(cost) != nil {
		return
	}
	if owed := h.owed.Add(cost); owed > 1<<60 {
		h.owed.Store(Largest) // no capacity is more
	}
	h.of.wake(h)
}
