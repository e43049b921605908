package limit

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// admission is what was admitted, and when in microseconds.
type admission struct{ at, cost int64 }

// passes fails the test if any span holds more than its start and its length allow:
// burst + rate × length, in whole numbers of any size.
func passes(t *rapid.T, p *Policy, all []admission) {
	t.Helper()
	per := big.NewInt(p.Per.Microseconds())
	for i := range all {
		sum := new(big.Int)
		for j := i; j < len(all); j++ {
			sum.Add(sum, big.NewInt(all[j].cost))
			allowed := new(big.Int).Mul(big.NewInt(all[j].at-all[i].at), big.NewInt(p.Count))
			allowed.Add(allowed, new(big.Int).Mul(big.NewInt(p.Burst), per))
			if new(big.Int).Mul(sum, per).Cmp(allowed) > 0 {
				t.Fatalf("%+v: %s were admitted from %d to %d µs", p, sum, all[i].at, all[j].at)
			}
		}
	}
}

// reference is a token bucket as in a textbook, with tokens as fractions.
type reference struct {
	p     *Policy
	level *big.Rat
	at    int64
}

func newReference(p *Policy) *reference { return &reference{p, big.NewRat(p.Burst, 1), 0} }

// charge is whether cost is admitted at a time in microseconds.
func (r *reference) charge(at, cost int64) bool {
	r.level.Add(r.level, new(big.Rat).Mul(big.NewRat(r.p.Count, r.p.Per.Microseconds()), big.NewRat(at-r.at, 1)))
	if full := big.NewRat(r.p.Burst, 1); r.level.Cmp(full) > 0 {
		r.level = full
	}
	r.at = at
	if r.level.Cmp(big.NewRat(cost, 1)) < 0 {
		return false
	}
	r.level.Sub(r.level, big.NewRat(cost, 1))
	return true
}

// drawStep is a time to pass, in microseconds: mostly such that it matters.
func drawStep(t *rapid.T, p *Policy) int64 {
	each := max(p.Per.Microseconds()/p.Count, 1)
	switch rapid.IntRange(0, 4).Draw(t, "how") {
	case 0:
		return 0
	case 1:
		return rapid.Int64Range(0, 3*each).Draw(t, "tokens")
	case 2:
		return rapid.Int64Range(0, 2*p.Per.Microseconds()).Draw(t, "pers")
	default:
		return rapid.Int64Range(0, 60).Draw(t, "micros")
	}
}

func drawCost(t *rapid.T, p *Policy) int64 {
	if rapid.Bool().Draw(t, "one") {
		return 1
	}
	return rapid.Int64Range(1, p.Capacity()).Draw(t, "cost")
}

// run is a bucket under test with a clock of its own.
type run struct {
	t     *terms
	b     bucket
	now   int64 // µs since the epoch
	epoch int64
}

func (r *run) moment() moment { return r.t.at((r.now - r.epoch) * 1000) }

// renew does what a store does before parts overflow.
func (r *run) renew() {
	if (r.now-r.epoch)*1000 >= r.t.era {
		e := &entry{terms: r.t, epoch: r.epoch * 1000}
		r.b, r.epoch = bucket(e.missing(int64(r.b), r.now*1000)), r.now
	}
}

// With ticks of a microsecond it decides like the textbook, always; with longer ones it
// still never admits more in any span than burst and rate allow.
func TestRL1_BucketIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, TokenBucket)
		terms, err := newTerms(p)
		if err != nil {
			t.Fatal(err)
		}
		r, ref := run{t: terms}, newReference(p)
		var all []admission
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			r.now += drawStep(t, p)
			r.renew()
			cost := drawCost(t, p)
			if rapid.Bool().Draw(t, "all") {
				_, taken, _ := r.b.charge(terms, r.moment(), Largest, true)
				cost = max(taken/terms.grain.Token, 1)
			}
			after, taken, admitted := r.b.charge(terms, r.moment(), cost, false)
			if want := ref.charge(r.now, cost); terms.grain.Tick == time.Microsecond && admitted != want {
				t.Fatalf("%+v: a cost of %d at %d µs is admitted: %v, want %v", p, cost, r.now, admitted, want)
			}
			if admitted != (taken == cost*terms.grain.Token) || !admitted && after != r.b {
				t.Fatalf("it took %d parts", taken)
			}
			if r.b = after; admitted {
				all = append(all, admission{r.now, cost})
			}
		}
		passes(t, p, all)
	})
}

// Whoever is always there gets all of the rate, to the token, with any ticks.
func TestRL1_BucketKeepsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, TokenBucket)
		terms, _ := newTerms(p)
		r := run{t: terms}
		tick := terms.grain.Tick.Microseconds()
		admitted, total := int64(0), new(big.Int)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			// All that is there goes, before more than it holds could be gained; to
			// the tick, for one that it ends full in is lost.
			_, taken, _ := r.b.charge(terms, r.moment(), Largest, true)
			tokens := taken / terms.grain.Token
			if tokens > 0 {
				r.b, _, _ = r.b.charge(terms, r.moment(), tokens, false)
				admitted += tokens
			}
			most := (terms.full - terms.grain.Token - terms.grain.Gain) / terms.grain.Gain * tick
			r.now += min(drawStep(t, p), max(most, 0))
			r.renew()
		}
		_, taken, _ := r.b.charge(terms, r.moment(), Largest, true)
		admitted += taken / terms.grain.Token
		total.Mul(big.NewInt(r.now/tick*tick), big.NewInt(p.Count))
		total.Div(total, big.NewInt(p.Per.Microseconds()))
		total.Add(total, big.NewInt(p.Burst))
		if total.Cmp(big.NewInt(admitted)) != 0 {
			t.Fatalf("%+v: %d were admitted in %d µs, want %s", p, admitted, r.now, total)
		}
	})
}

// What is told comes true: asking at Wait admits and a microsecond before denies;
// Remaining can be had at once and no more; at Reset all of it is there, and not before.
func TestRL1_BucketTellsTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, TokenBucket)
		terms, _ := newTerms(p)
		r := run{t: terms}
		admits := func(after time.Duration, cost int64) bool {
			q := r
			q.now += after.Microseconds()
			q.renew()
			_, _, admitted := q.b.charge(terms, q.moment(), cost, false)
			return admitted
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			r.now += drawStep(t, p)
			r.renew()
			c := Charge{Cost: drawCost(t, p), Bypass: rapid.IntRange(0, 5).Draw(t, "bypass") == 0}
			after, _, admitted := r.b.charge(terms, r.moment(), c.Cost, c.Bypass)
			after.report(terms, r.moment(), &c, admitted)
			r.b = after
			if admitted == (c.Wait != 0) || c.Bypass && !admitted {
				t.Fatalf("admitted %v, wait %s", admitted, c.Wait)
			}
			if years := 70 * 8766 * time.Hour; c.Reset > years || c.Wait > years {
				return // no process lives that long
			}
			if !admitted && (!admits(c.Wait, c.Cost) || admits(c.Wait-time.Microsecond, c.Cost)) {
				t.Fatalf("%+v: a cost of %d does not wait %s", p, c.Cost, c.Wait)
			}
			if c.Remaining > 0 && !admits(0, c.Remaining) || c.Remaining < p.Burst && admits(0, c.Remaining+1) {
				t.Fatalf("%+v: %d do not remain", p, c.Remaining)
			}
			if !admits(c.Reset, p.Burst) {
				t.Fatalf("%+v: %s after a charge not all is there", p, c.Reset)
			}
		}
	})
}

// A store gives back what it took for requests that were denied in the end. However late
// it is, and whatever was charged meanwhile, those that were admitted stay within
// the bound.
func TestRL2_RefundsNeverAdmitMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, TokenBucket)
		terms, _ := newTerms(p)
		if terms.era < 1000*40*3*p.Per.Microseconds() {
			return // renewing is for the stores' tests
		}
		r := run{t: terms}
		type debt struct{ taken, charged int64 }
		var debts []debt
		var all []admission
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			r.now += drawStep(t, p)
			if n := len(debts); n > 0 && rapid.IntRange(0, 2).Draw(t, "back") == 0 {
				i := rapid.IntRange(0, n-1).Draw(t, "which")
				d := debts[i]
				debts = append(debts[:i], debts[i+1:]...)
				r.b = r.b.refund(d.taken, d.charged, r.moment())
				continue
			}
			cost, m := drawCost(t, p), r.moment()
			after, taken, admitted := r.b.charge(terms, m, cost, false)
			if r.b = after; !admitted {
				continue
			}
			if rapid.Bool().Draw(t, "denied elsewhere") {
				debts = append(debts, debt{taken, m.up})
			} else {
				all = append(all, admission{r.now, cost})
			}
		}
		passes(t, p, all)
	})
}

// While time stands still what is given back is all there again.
func TestRL2_RefundsAreWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, TokenBucket)
		terms, _ := newTerms(p)
		r := run{t: terms, now: rapid.Int64Range(0, 1000).Draw(t, "now")}
		cost := drawCost(t, p)
		left := func() int64 {
			_, taken, _ := r.b.charge(terms, r.moment(), Largest, true)
			return taken
		}
		r.b, _, _ = r.b.charge(terms, r.moment(), drawCost(t, p), false)
		before := left()
		after, taken, _ := r.b.charge(terms, r.moment(), cost, true)
		r.b = after.refund(taken, r.moment().up, r.moment())
		if left() != before {
			t.Fatalf("%d parts of %d", left(), before)
		}
	})
}

// Tokens that are missing under one policy are missing under the next.
func TestRL7_MissingTokensStayMissing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from, _ := newTerms(drawPolicy(t, TokenBucket))
		to, _ := newTerms(drawPolicy(t, TokenBucket))
		parts := rapid.Int64Range(0, from.full).Draw(t, "parts")
		got := to.convert(parts, from)
		want := new(big.Rat).Mul(big.NewRat(parts, from.grain.Token), big.NewRat(to.grain.Token, 1))
		if want.Cmp(big.NewRat(to.full, 1)) >= 0 {
			want = big.NewRat(to.full, 1)
		}
		if low := big.NewRat(got, 1); low.Cmp(want) < 0 || low.Sub(low, want).Cmp(big.NewRat(1, 1)) >= 0 {
			t.Fatalf("%d parts of %+v are %d of %+v", parts, from.grain, got, to.grain)
		}
	})
}
