package limit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// LeaseLife is how long a lease lasts where nothing else is said.
const LeaseLife = 2 * time.Second

const (
	leaseWithin = 20 * time.Millisecond
	// leastLife is of a lease whose tenth is more than clocks are wrong by.
	leastLife = 50 * time.Millisecond
	// mostHoldings is how many counters are remembered; more are asked for each time.
	mostHoldings = 1 << 20
	// stackLevels is up to how many charges Take allocates nothing.
	stackLevels = 8
)

// LeasedOptions are what NewLeased needs.
type LeasedOptions struct {
	Lessor Lessor
	Exact  Store       // decides about sliding logs, which can't be leased
	Clock  clock.Clock // for timers
	// Boot is a precise clock of nanoseconds, which a suspended machine does not stop
	// and no correction moves; default clock.Boot. Two readings are wrong against each
	// other by BootError at most.
	Boot func() int64
	// Timeout is how long a request waits for a call; default 20 ms.
	Timeout time.Duration
	// Life is how long a lease lasts: default 2 s, at least 50 ms. All instances that share
	// counters have the same.
	Life time.Duration
}

// Leased is a Store of counters that instances share, which decides most requests without
// asking anybody: it takes leases of tokens, which are charged before it spends them, and
// so never admits more than the policy allows. Deciding is an atomic subtraction for each
// level, and one reading of a clock. It may be used concurrently.
//
// A request waits for a call, which it shares with others, if its counter was not used
// of late, or the lease is used up. A lease is for half a second at the instance's recent
// rate, and at most a quarter of what is left; the next is taken before it is used up.
// Those who wait are charged by the call itself, as if they had asked alone. When a counter
// has nothing left, its requests are denied without asking until it has.
//
// Safety. Time passes in this order: the deadline's beginning is read, the call is sent,
// the counter is charged and the life of the lease begins, the answer comes, a token is
// taken, the clock is read. A token counts if that is before the deadline, nine tenths
// of the life: then it was taken before the lease was forgotten, however long anybody
// slept in between. Until it is reported spent, given back or forgotten the counter
// does not gain what is out on lease, so what is left and what is out are never more
// than its capacity. A crash loses tokens and doubles none.
//
// What it costs. Let h be the most that an instance holds unspent: what it needs in half a
// second at its recent rate, and at most Capacity/2. While an instance denies, the N-1
// others hold at most
//
//	(N-1) × h
//
// tokens, and those for which there is no request go back after 250 ms to 375 ms. So of a
// token bucket that all of N instances exhaust, and that lose c leases by crashes and lost
// answers, at least
//
//	Burst + Count×t/Per − N×min(Count×200ms/Per, Burst/8) − c×h
//
// are admitted in a time t, from full: where little is left it is handed out in parts of a
// fifth of a second of the gain, or an eighth of the burst. A low limit, for which that is below
// one token, is counted token by token, and loses nothing. A sliding window's leases end
// with its slot.
//
// When the counters' data are lost (a Redis that was emptied), what was charged is forgotten:
// that admits at most Capacity once more, as in any store. What was out on lease is not
// there twice as well: a bucket that is needed within a life of that begins when it is over,
// and empty, since by then all leases have ended.
type Leased struct {
	lessor    Lessor
	exact     Store
	clock     clock.Clock
	boot      func() int64
	timeout   time.Duration
	life      time.Duration
	precision int64 // by which the boot clock may be wrong
	seeds     seeds

	holdings sync.Map // of fingerprint; read by every request, written when a counter comes or goes
	count    atomic.Int64
	number   atomic.Uint64 // of the last lease
	closed   atomic.Bool
	pool     workers

	asks, answers, leased, returned, lost atomic.Int64 // written once for each ask or lease
}

var _ Store = (*Leased)(nil)

var errLeasedClosed = errors.New("the limiter is closed")

// NewLeased returns the store. Its goroutines run until Close.
func NewLeased(o LeasedOptions) *Leased {
	l := newLeased(o)
	l.start()
	return l
}

// newLeased returns one for which nobody works.
func newLeased(o LeasedOptions) *Leased {
	l := &Leased{lessor: o.Lessor, exact: o.Exact, clock: o.Clock, boot: o.Boot, timeout: o.Timeout, life: o.Life,
		precision: int64(clock.BootError), seeds: newSeeds()}
	if l.boot == nil {
		l.boot = clock.Boot()
	}
	if l.timeout <= 0 {
		l.timeout = leaseWithin
	}
	if l.life == 0 {
		l.life = LeaseLife
	}
	l.life = max(l.life, leastLife)
	l.pool.bell = make(chan struct{}, workerCount)
	l.pool.stop = make(chan struct{})
	return l
}

// claim is one charge while it is decided.
type claim struct {
	holding *holding // nil: the exact store decides, or the cost is above the capacity
	lease   *lease   // that the cost was taken from
	waiter  *waiter  // that waits for it, or was granted it
}

// Take is Store's. The levels of sliding logs are asked last, and only if no other denies;
// so one of those may be told as the first that denies though a log before it would have.
func (l *Leased) Take(charges []Charge) (int, error) {
	if l.closed.Load() {
		return 0, errLeasedClosed
	}
	var few [stackLevels]claim
	claims := few[:]
	if len(charges) > len(claims) {
		claims = make([]claim, len(charges))
	}
	claims = claims[:len(charges)]
	logs := l.claim(charges, claims)
	now := l.boot()
	denied, missing := l.judge(charges, claims, now)
	var err error
	if denied == Admitted && missing {
		denied, err = l.wait(charges, claims)
		now = l.boot()
	}
	if denied == Admitted && err == nil && logs {
		denied, err = l.askExact(charges, claims)
	}
	if denied != Admitted || err != nil {
		giveBack(charges, claims)
	}
	if err != nil {
		return 0, err
	}
	l.conclude(charges, claims, denied, now)
	return denied, nil
}

// claim takes what can be taken of leases, before any clock is read.
func (l *Leased) claim(charges []Charge, claims []claim) (logs bool) {
	for i := range charges {
		c := &charges[i]
		c.Wait = 0
		switch {
		case c.Policy.Algorithm == SlidingLog:
			logs = true
			c.Remaining, c.Reset = c.Policy.Capacity(), 0 // nothing is known unless it is asked
		case c.Bypass:
			claims[i].holding = l.find(c)
		case c.Cost > c.Policy.Capacity():
			c.Wait = Never
		default:
			h := l.find(c)
			claims[i] = claim{holding: h, lease: h.spend(c.Cost)}
		}
	}
	return logs
}

// inTime says whether a token that was taken before the clock showed now counts.
func (s *lease) inTime(now int64) bool { return now < s.deadline }

// judge finds what was taken too late, and what is denied as far as is known.
func (l *Leased) judge(charges []Charge, claims []claim, now int64) (denied int, missing bool) {
	denied = Admitted
	for i := range charges {
		c, k := &charges[i], &claims[i]
		switch {
		case c.Wait == Never:
		case k.holding == nil || c.Bypass:
			continue
		case k.lease != nil && k.lease.inTime(now):
			continue
		default:
			if k.lease != nil {
				k.holding.past(k.lease)
				k.lease = nil
			}
			if c.Wait = k.holding.denies(c.Cost, now); c.Wait == 0 {
				missing = true
				continue
			}
		}
		if denied == Admitted {
			denied = i
		}
	}
	return denied, missing
}

// wait has those that lack a lease ask, all at once, and waits for the answers.
func (l *Leased) wait(charges []Charge, claims []claim) (denied int, err error) {
	timer := l.clock.NewTimer(l.timeout)
	defer timer.Stop()
	for i := range charges {
		c, k := &charges[i], &claims[i]
		if k.holding != nil && k.lease == nil && !c.Bypass {
			k.waiter, k.lease, c.Wait = k.holding.join(c.Cost)
		}
	}
	denied, late := Admitted, false
	for i := range charges {
		c, w := &charges[i], claims[i].waiter
		if w != nil {
			if late = late || !await(w, timer); late && claims[i].holding.abandon(w) {
				claims[i].waiter = nil
				err = fmt.Errorf("leasing: %w", errNoAnswer)
				continue
			}
			c.Wait = w.wait
			if !w.granted {
				claims[i].waiter = nil
			}
			if w.err != nil {
				err = fmt.Errorf("leasing: %w", w.err)
				continue
			}
		}
		if c.Wait != 0 && denied == Admitted {
			denied = i
		}
	}
	return denied, err
}

var errNoAnswer = errors.New("no answer within the timeout")

// await says whether w was told before the timer fired.
func await(w *waiter, timer clock.Timer) bool {
	select {
	case <-w.done:
		return true
	case <-timer.C():
		return false
	}
}

// askExact has the exact store decide about what can't be leased.
func (l *Leased) askExact(charges []Charge, claims []claim) (int, error) {
	var of []int
	var logs []Charge
	for i := range charges {
		if claims[i].holding == nil {
			of, logs = append(of, i), append(logs, charges[i])
		}
	}
	denied, err := l.exact.Take(logs)
	if err != nil {
		return 0, err
	}
	for k, i := range of {
		charges[i] = logs[k]
	}
	if denied != Admitted {
		denied = of[denied]
	}
	return denied, nil
}

// giveBack undoes what a request that is not admitted has taken.
func giveBack(charges []Charge, claims []claim) {
	for i := range claims {
		switch k := &claims[i]; {
		case k.lease != nil:
			k.lease.left.Add(charges[i].Cost)
		case k.waiter != nil:
			k.holding.refund(k.waiter)
		}
	}
}

// conclude charges what bypasses, and sets what the charges tell.
func (l *Leased) conclude(charges []Charge, claims []claim, denied int, now int64) {
	for i := range charges {
		c, k := &charges[i], &claims[i]
		switch {
		case k.holding != nil:
			if c.Bypass && denied == Admitted {
				k.holding.bypass(c.Cost)
			}
			k.holding.tell(c, now)
		case c.Wait == Never && c.Policy.Algorithm != SlidingLog:
			c.Remaining, c.Reset = c.Policy.Capacity(), 0
			if h := l.known(c.Key); h != nil {
				h.tell(c, now)
			}
		}
	}
}

// find returns the holding of a charge's counter, under its policy.
func (l *Leased) find(c *Charge) *holding {
	print := l.seeds.of(c.Key)
	found, ok := l.holdings.Load(print)
	if !ok {
		return l.add(c, print)
	}
	h := found.(*holding)
	if p := h.policy.Load(); p != c.Policy && p.numbers() != c.Policy.numbers() {
		h.adopt(c.Policy)
	}
	return h
}

func (l *Leased) known(key []byte) *holding {
	if found, ok := l.holdings.Load(l.seeds.of(key)); ok {
		return found.(*holding)
	}
	return nil
}

func (l *Leased) add(c *Charge, print fingerprint) *holding {
	h := &holding{of: l, print: print, key: append([]byte(nil), c.Key...), used: l.boot()}
	h.policy.Store(c.Policy)
	if l.count.Load() >= mostHoldings {
		return h // for this request alone: what it leases comes back when it is looked at
	}
	if found, known := l.holdings.LoadOrStore(print, h); known {
		return found.(*holding)
	}
	l.count.Add(1)
	h.watched = true
	l.watch(h)
	return h
}

// Answers is how often the lessor has answered, about whatever counter. It may be called
// concurrently: an Islands asks it, for a decision says nothing of the lessor.
func (l *Leased) Answers() int64 { return l.answers.Load() }

// LeaseCounts are of what a Leased has done since it was made.
type LeaseCounts struct {
	Asks     int64 // counters that were asked for; several share a call
	Leased   int64 // tokens
	Returned int64 // of them unspent
	Lost     int64 // of them unspent, and not given back in time
}

// Counts returns them. It may be called concurrently.
func (l *Leased) Counts() LeaseCounts {
	return LeaseCounts{l.asks.Load(), l.leased.Load(), l.returned.Load(), l.lost.Load()}
}
