package limit

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawPolicy is a valid policy, ordinary or odd.
func drawPolicy(t *rapid.T, a Algorithm) *Policy {
	for {
		p := &Policy{Name: "p", Algorithm: a}
		switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); kind {
		case 0: // where many tokens come in a tick that is long
			p.Count = rapid.Int64Range(Largest-1000, Largest).Draw(t, "count")
			p.Per = time.Duration(rapid.Int64Range(1, 20).Draw(t, "per")) * 10 * time.Second
			p.Burst = rapid.Int64Range(Largest-1000, Largest).Draw(t, "burst")
		case 1:
			p.Count = rapid.Int64Range(1, 20).Draw(t, "count")
			p.Per = time.Duration(rapid.Int64Range(1000, 50_000).Draw(t, "per")) * time.Microsecond
			p.Burst = rapid.Int64Range(1, 20).Draw(t, "burst")
		default:
			p.Count = rapid.Int64Range(1, Largest).Draw(t, "count")
			p.Per = time.Duration(rapid.Int64Range(1000, int64(Longest/time.Microsecond)).Draw(t, "per")) * time.Microsecond
			p.Burst = rapid.Int64Range(1, Largest).Draw(t, "burst")
		}
		if a != TokenBucket {
			p.Burst = 0
			p.Count = min(p.Count, LargestLog)
		}
		if p.Validate() == nil {
			return p
		}
	}
}

// A grain is the rate, exactly, and no finer one fits.
func TestRL1_GrainIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, TokenBucket)
		g := p.Grain()
		tick := g.Tick.Microseconds()
		if g.Tick%time.Microsecond != 0 || tick < 1 || g.Token < 1 || g.Gain < 1 || g.Token*p.Burst >= most {
			t.Fatalf("%+v of %+v", g, p)
		}
		// Gain/Token tokens each tick are Count tokens each Per.
		left := new(big.Int).Mul(big.NewInt(g.Gain), big.NewInt(p.Per.Microseconds()))
		right := new(big.Int).Mul(big.NewInt(p.Count*tick), big.NewInt(g.Token))
		if left.Cmp(right) != 0 {
			t.Fatalf("%+v of %+v is another rate", g, p)
		}
		for finer := int64(1); finer < tick && finer < 2000; finer++ {
			if per := p.Per.Microseconds(); per%finer == 0 && per/gcd(per, p.Count*finer) <= most/(2*p.Burst) {
				t.Fatalf("%+v of %+v, where ticks of %d would do", g, p, finer)
			}
		}
	})
}
