package limit

import (
	"maps"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// island is one time of being alone. Its counters begin empty when it begins, and gain an
// instance's share.
type island struct {
	clock     clock.Clock
	local     Closer
	begun     int64 // of the clock's Mono
	instances int
	open      atomic.Bool // nobody asks the store; written once

	known    atomic.Pointer[map[*Policy]*share]
	learning sync.Mutex // of who writes known
	scratch  sync.Pool
}

// share is what one instance of several may admit under a policy.
type share struct {
	policy *Policy
	// filling is the bucket that begins empty, and fills how long that matters: policy
	// itself, or for a window or log another that spreads its first span evenly.
	filling *Policy
	fills   time.Duration
}

// mostShares is how many policies are known at once; more are made anew.
const mostShares = 4096

func newIsland(o IslandOptions) *island {
	i := &island{clock: o.Clock, local: o.Local(), begun: o.Clock.Mono(), instances: max(o.Instances(), 1)}
	i.known.Store(&map[*Policy]*share{})
	i.scratch.New = func() any { return new(landing) }
	return i
}

func (i *island) close() error { return i.local.Close() }

// share is that of the policy, made once.
func (i *island) share(p *Policy) *share {
	if s := (*i.known.Load())[p]; s != nil {
		return s
	}
	s := newShare(p, int64(i.instances))
	i.learning.Lock()
	defer i.learning.Unlock()
	old := *i.known.Load()
	next := map[*Policy]*share{p: s}
	if len(old) < mostShares {
		maps.Copy(next, old)
	}
	i.known.Store(&next)
	return s
}

// newShare divides the policy by n, downwards, and to no less than one token.
func newShare(p *Policy, n int64) *share {
	part := *p
	if p.Algorithm != TokenBucket {
		part.Count = max(p.Count/n, 1)
		pace := Policy{Name: p.Name, Algorithm: TokenBucket, Count: part.Count, Per: p.Per, Burst: part.Count}
		return &share{policy: &part, filling: fit(&pace), fills: p.Per}
	}
	part.Burst = max(p.Burst/n, 1)
	if p.Count%n != 0 && p.Per <= Longest/time.Duration(n) { // a slower rate is exact
		part.Per *= time.Duration(n)
	} else {
		part.Count = max(p.Count/n, 1)
	}
	fit(&part)
	return &share{policy: &part, filling: &part, fills: after(&part, part.Burst)}
}

// fit makes a bucket so small that its numbers can be counted exactly.
func fit(p *Policy) *Policy {
	for p.Burst > 1 && p.Grain().Token == 0 {
		p.Burst /= 2
	}
	return p
}

// after is how long the bucket takes to gain tokens.
func after(p *Policy, tokens int64) time.Duration {
	high, low := bits.Mul64(uint64(tokens), uint64(p.Per))
	if high >= uint64(p.Count) {
		return Never - 1
	}
	quotient, rest := bits.Div64(high, low, uint64(p.Count))
	if rest > 0 {
		quotient++
	}
	return time.Duration(min(quotient, uint64(Never-1)))
}

// gained is how many tokens the bucket gains in a time that is less than it takes to fill.
func gained(p *Policy, in time.Duration) int64 {
	high, low := bits.Mul64(uint64(in), uint64(p.Count))
	quotient, _ := bits.Div64(high, low, uint64(p.Per))
	return int64(quotient)
}

// landing is the memory that a decision on an island needs.
type landing struct {
	charges []Charge // what is charged here
	of      []int    // for which of the request's
	keys    []byte
}

// opened is the policy of marks: of each key the first is admitted.
var opened = Policy{Name: "opened", Algorithm: TokenBucket, Count: 1, Per: Longest, Burst: 1}

// take decides by the shares.
func (i *island) take(charges []Charge) (denied int, err error) {
	l := i.scratch.Get().(*landing)
	defer func() {
		clear(l.charges)
		l.charges, l.of, l.keys = l.charges[:0], l.of[:0], l.keys[:0]
		i.scratch.Put(l)
	}()
	age := time.Duration(i.clock.Mono() - i.begun)
	denied = Admitted
	for k := range charges {
		c := &charges[k]
		c.Remaining, c.Reset, c.Wait = 0, 0, 0
		wait, err := i.prepare(l, k, c, age)
		if err != nil {
			return 0, err
		}
		if c.Reset = wait; wait > 0 && !c.Bypass {
			if c.Wait = wait; c.Cost > c.Policy.Capacity() {
				c.Wait = Never
			}
			if denied == Admitted {
				denied = k
			}
		}
	}
	if denied != Admitted {
		return denied, nil
	}
	which, err := i.local.Take(l.charges)
	if err != nil {
		return 0, err
	}
	l.report(charges)
	if which != Admitted {
		denied = l.of[which]
	}
	return denied, nil
}

// prepare adds to l what is charged here for charge k, or returns how long nothing has
// been gained yet.
func (i *island) prepare(l *landing, k int, c *Charge, age time.Duration) (wait time.Duration, err error) {
	s := i.share(c.Policy)
	key := c.Key
	if age < s.fills {
		if s.filling != s.policy {
			key = l.key(c.Key, "\x00pace")
		}
		has := min(gained(s.filling, age), s.filling.Burst)
		if has == 0 {
			return after(s.filling, 1) - age, nil
		}
		if err := i.begin(l, s.filling, key, has); err != nil {
			return 0, err
		}
		if s.filling != s.policy {
			l.add(k, Charge{Policy: s.filling, Key: key, Cost: c.Cost, Bypass: c.Bypass})
		}
	}
	l.add(k, Charge{Policy: s.policy, Key: c.Key, Cost: c.Cost, Bypass: c.Bypass})
	return 0, nil
}

// begin takes from a bucket that is met for the first time, and would be full, what it has
// not gained since the island began. The mark is charged after the bucket: who finds it
// there finds the bucket charged.
func (i *island) begin(l *landing, p *Policy, key []byte, has int64) error {
	if has >= p.Burst {
		return nil
	}
	n := len(l.charges)
	l.charges = append(l.charges,
		Charge{Policy: p, Key: key, Cost: p.Burst - has, Bypass: true},
		Charge{Policy: &opened, Key: l.key(key, "\x00opened"), Cost: 1})
	_, err := i.local.Take(l.charges[n:])
	clear(l.charges[n:])
	l.charges = l.charges[:n]
	return err
}

// key is a key with a suffix that no counter's has.
func (l *landing) key(key []byte, suffix string) []byte {
	from := len(l.keys)
	l.keys = append(append(l.keys, key...), suffix...)
	return l.keys[from:len(l.keys):len(l.keys)]
}

func (l *landing) add(k int, c Charge) {
	l.charges = append(l.charges, c)
	l.of = append(l.of, k)
}

// report sets what is told of the request's charges: the stricter of what was charged for
// each.
func (l *landing) report(charges []Charge) {
	for n, k := range l.of {
		here, c := &l.charges[n], &charges[k]
		if n == 0 || l.of[n-1] != k || here.Remaining < c.Remaining {
			c.Remaining = here.Remaining
		}
		c.Reset = max(c.Reset, here.Reset)
		wait := here.Wait
		if wait == Never && c.Cost <= c.Policy.Capacity() {
			wait = lastProbe // the share is too small, but an island passes
		}
		c.Wait = max(c.Wait, wait)
	}
}
