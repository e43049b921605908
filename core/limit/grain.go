package limit

import (
	"errors"
	"time"
)

// Grain is the arithmetic of a token bucket in whole numbers: what is missing of a
// full bucket is counted in parts, time in ticks. Nothing is ever rounded but the
// time, down, so that a bucket never drifts and never gains early; and Burst tokens
// are less than 2^52 parts, so that the numbers of Redis's Lua stay exact.
type Grain struct {
	Tick  time.Duration // whole microseconds
	Token int64         // parts that a token is
	Gain  int64         // parts that a tick gives back
}

// errCoarse says that a policy's numbers have no common measure that is fine enough.
var errCoarse = errors.New("the rate and the burst can't be counted exactly; choose a rounder rate, such as 1000/1m, or a smaller burst")

const (
	most    = 1 << 52 // what Burst tokens may be in parts, and as many again
	longest = 1 << 20 // microseconds that a tick may be
)

// Grain returns the finest arithmetic of the policy, which is valid. Its Token is 0 if
// there is none; Validate rejects such a policy.
func (p *Policy) Grain() Grain {
	per := p.Per.Microseconds()
	shared := gcd(per, p.Count)
	whole := per / shared // parts of a token with ticks of a microsecond
	bound := most / (2 * max(p.Burst, 1))
	// Ticks of n microseconds make a token gcd(whole, n) times smaller.
	for tick := max((whole+bound-1)/bound, 1); tick <= longest; tick++ {
		if whole%tick == 0 {
			return Grain{Tick: time.Duration(tick) * time.Microsecond, Token: whole / tick, Gain: p.Count / shared}
		}
	}
	return Grain{}
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
