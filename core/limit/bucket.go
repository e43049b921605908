package limit

import (
	"fmt"
	"math/bits"
	"time"
)

// terms are the numbers of a policy, and what follows from them.
type terms struct {
	numbers
	grain Grain
	full  int64 // Burst in parts
	era   int64 // nanoseconds after which an epoch must be renewed: 2^61 parts at most
}

// numbers are what makes two policies of one name the same.
type numbers struct {
	algorithm    Algorithm
	count, burst int64
	per          time.Duration
}

func (p *Policy) numbers() numbers { return numbers{p.Algorithm, p.Count, p.Burst, p.Per} }

func newTerms(p *Policy) (*terms, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("counting under policy %q: %w", p.Name, err)
	}
	t := &terms{numbers: p.numbers()}
	if p.Algorithm == TokenBucket {
		t.grain = p.Grain()
		t.full = p.Burst * t.grain.Token
		t.era = min(1<<61/t.grain.Gain, 1<<61/int64(t.grain.Tick)) * int64(t.grain.Tick)
	}
	return t, nil
}

// bucket is the state of a token bucket in one word: when it will be full, in parts that
// it gains since an epoch. What lies in the past is full. One word is enough for
// the whole truth because the parts that are missing and the time at which they were
// counted only ever matter as their sum.
//
// Time begins to count for a bucket that was full at the end of the tick in which it
// was charged, and is read at the beginning of one. Thus of any charges from s to e, those
// before the last raise the bucket by their sum above what s was rounded up to, the last is
// admitted below full above what e was rounded down to, and together they are at
// most Burst and what is gained from s to e.
type bucket int64

// moment is a time in parts since the epoch, rounded to ticks both ways.
type moment struct {
	down, up int64
	rest     time.Duration // of the tick that has begun
}

// at is the moment that is elapsed nanoseconds after the epoch: less than two eras, and
// the epoch itself for who looked at his clock before that.
func (t *terms) at(elapsed int64) moment {
	elapsed = max(0, elapsed)
	tick := int64(t.grain.Tick)
	ticks, rest := elapsed/tick, time.Duration(elapsed%tick)
	m := moment{down: ticks * t.grain.Gain, rest: rest}
	m.up = m.down
	if rest >= time.Microsecond { // time is in whole microseconds
		m.up += t.grain.Gain
	}
	return m
}

// missing is how many parts the bucket is short of full.
func (b bucket) missing(m moment) int64 { return max(0, int64(b)-m.down) }

// charge is the bucket after a charge of cost, and the parts that it took. If it is not
// admitted the bucket is as it was.
func (b bucket) charge(t *terms, m moment, cost int64, bypass bool) (after bucket, taken int64, admitted bool) {
	room := max(0, t.full-b.missing(m))
	switch {
	case cost <= t.burst && cost*t.grain.Token <= room:
		taken = cost * t.grain.Token
	case bypass:
		taken = room
	default:
		return b, 0, false
	}
	return max(b, bucket(m.up)) + bucket(taken), taken, true
}

// refund is the bucket after the parts that a charge took, when it was charged parts since
// the epoch, are given back. Those that the bucket has gained by now it may have
// gained without a refund, if it was full meanwhile: to give them twice would let
// others pass that should not.
func (b bucket) refund(taken, charged int64, now moment) bucket {
	return b - bucket(max(0, taken-max(0, now.up-charged)))
}

// report sets what is told of the bucket after, whose charge of cost was decided.
func (b bucket) report(t *terms, m moment, c *Charge, admitted bool) {
	missing := b.missing(m)
	c.Remaining = max(0, t.full-missing) / t.grain.Token
	c.Reset = t.until(missing, m)
	switch {
	case admitted:
		c.Wait = 0
	case c.Cost > t.burst:
		c.Wait = Never
	default:
		c.Wait = t.until(missing+c.Cost*t.grain.Token-t.full, m)
	}
}

// until is how long it takes to gain the parts.
func (t *terms) until(parts int64, m moment) time.Duration {
	if parts <= 0 {
		return 0
	}
	ticks := (parts + t.grain.Gain - 1) / t.grain.Gain
	if ticks > int64(Never/t.grain.Tick) {
		return Never - 1 // 292 years
	}
	return time.Duration(ticks)*t.grain.Tick - m.rest
}

// convert is what parts missing under the terms from are under t: as many tokens, at
// most all. Who has used more than a smaller burst begins with an empty bucket: to pay
// off the rest at the new rate could take days.
func (t *terms) convert(parts int64, from *terms) int64 {
	if parts/from.grain.Token >= t.burst {
		return t.full
	}
	high, low := bits.Mul64(uint64(parts), uint64(t.grain.Token))
	quotient, rest := bits.Div64(high, low, uint64(from.grain.Token))
	if rest > 0 {
		quotient++
	}
	return int64(quotient)
}
