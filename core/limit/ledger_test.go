package limit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naive remembers all that was admitted, in nanoseconds.
type naive []admission

// within is what was admitted in the span of per that ends at now.
func (n naive) within(per time.Duration, now int64) int64 {
	sum := int64(0)
	for _, a := range n {
		if a.at > now-int64(per) && a.at <= now {
			sum += a.cost
		}
	}
	return sum
}

// counting is a ledger under test.
type counting struct {
	*terms
	ledger
	now int64
}

func newCounting(t *rapid.T, a Algorithm) *counting {
	terms, err := newTerms(drawPolicy(t, a))
	if err != nil {
		t.Fatal(err)
	}
	return &counting{terms: terms, now: rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start")}
}

func (c *counting) charge(cost int64, bypass bool) (taken int64, admitted bool) {
	c.now = c.expire(c.terms, c.now)
	if taken, admitted = c.admit(c.terms, cost, bypass); taken > 0 {
		c.insert(record{c.stamp(c.now), taken})
	}
	return taken, admitted
}

// try is whether a charge would be admitted later.
func (c *counting) try(after time.Duration, cost int64) bool {
	l := c.ledger
	l.records = append([]record(nil), c.records...)
	l.expire(c.terms, c.now+int64(after))
	_, admitted := l.admit(c.terms, cost, false)
	return admitted
}

// drawNanos is a time to pass.
func drawNanos(t *rapid.T, per time.Duration) int64 {
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		return 0
	case 1:
		return rapid.Int64Range(0, int64(per)/slots*2).Draw(t, "slots")
	case 2:
		return rapid.Int64Range(0, 2*int64(per)).Draw(t, "pers")
	default:
		return rapid.Int64Range(0, 3).Draw(t, "nanos")
	}
}

// A log decides like one who remembers everything.
func TestRL1_LogIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCounting(t, SlidingLog)
		var all naive
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			c.now += drawNanos(t, c.per)
			cost := min(drawCost(t, &Policy{Count: c.count}), c.count)
			_, admitted := c.charge(cost, false)
			if want := all.within(c.per, c.now)+cost <= c.count; admitted != want {
				t.Fatalf("a cost of %d at %d is admitted: %v, want %v of %+v", cost, c.now, admitted, want, all)
			}
			if admitted {
				all = append(all, admission{c.now, cost})
			}
		}
	})
}

// A window never admits more than Count in any true span, and remembers little.
func TestRL1_WindowNeverAdmitsMore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCounting(t, SlidingWindow)
		var all naive
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			c.now += drawNanos(t, c.per)
			cost := min(drawCost(t, &Policy{Count: c.count}), c.count)
			before := all.within(c.per, c.now)
			_, admitted := c.charge(cost, false)
			if admitted {
				all = append(all, admission{c.now, cost})
				if got := all.within(c.per, c.now); got > c.count {
					t.Fatalf("%d of %d were admitted in a span that ends at %d", got, c.count, c.now)
				}
			} else if late := all.within(c.per+c.per/slots+1, c.now); late+cost <= c.count {
				t.Fatalf("a cost of %d was denied beside %d (%d with a slot more) of %d", cost, before, late, c.count)
			}
			if n := len(c.records) - c.head; n > slots+1 {
				t.Fatalf("%d records", n)
			}
		}
	})
}

// Who is always there gets at least 63 of 64 of what a window might admit.
func TestRL1_WindowIsUsed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		per := time.Duration(rapid.Int64Range(1000, 100_000).Draw(t, "per")) * time.Microsecond
		p := &Policy{Algorithm: SlidingWindow, Count: rapid.Int64Range(1, 1000).Draw(t, "count"), Per: per}
		terms, _ := newTerms(p)
		c := &counting{terms: terms, now: rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start")}
		const spans = 20
		start, admitted := c.now, int64(0)
		for c.now < start+spans*int64(per) {
			taken, _ := c.charge(Largest, true)
			admitted += taken
			charge := Charge{Cost: 1}
			c.report(c.terms, c.now, &charge, false)
			c.now += max(int64(charge.Wait), 1)
		}
		if least := spans * p.Count * 63 / 64; admitted < least || admitted > (spans+1)*p.Count {
			t.Fatalf("%d of %d were admitted in %d spans", admitted, spans*p.Count, spans)
		}
	})
}

// What is told comes true, to the nanosecond; refunds leave nothing behind.
func TestRL1_LedgersTellTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCounting(t, rapid.SampledFrom([]Algorithm{SlidingWindow, SlidingLog}).Draw(t, "algorithm"))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c.now += drawNanos(t, c.per)
			charge := Charge{Cost: min(drawCost(t, &Policy{Count: c.count}), c.count), Bypass: rapid.IntRange(0, 5).Draw(t, "bypass") == 0}
			taken, admitted := c.charge(charge.Cost, charge.Bypass)
			c.report(c.terms, c.now, &charge, admitted)
			if admitted == (charge.Wait != 0) {
				t.Fatalf("admitted %v, wait %s", admitted, charge.Wait)
			}
			if !admitted && (!c.try(charge.Wait, charge.Cost) || c.try(charge.Wait-1, charge.Cost)) {
				t.Fatalf("a cost of %d does not wait %s", charge.Cost, charge.Wait)
			}
			if charge.Remaining > 0 && !c.try(0, charge.Remaining) || charge.Remaining < c.count && c.try(0, charge.Remaining+1) {
				t.Fatalf("%d do not remain", charge.Remaining)
			}
			if !c.try(charge.Reset, c.count) || charge.Reset > 0 && c.try(charge.Reset-1, c.count) {
				t.Fatalf("it does not reset in %s", charge.Reset)
			}
			if admitted && rapid.IntRange(0, 3).Draw(t, "refund") == 0 {
				used := c.used
				c.refund(c.stamp(c.now), taken)
				c.refund(c.stamp(c.now)+1, 1) // nobody's
				if c.used != used-taken {
					t.Fatalf("%d used, want %d", c.used, used-taken)
				}
			}
			sum := int64(0)
			for _, r := range c.records[c.head:] {
				if sum += r.cost; r.cost <= 0 {
					t.Fatalf("a record of %d", r.cost)
				}
			}
			if sum != c.used {
				t.Fatalf("%d are used, and records tell of %d", c.used, sum)
			}
		}
	})
}

// Those who ask at once do not come in the order of their clocks; where there is no
// room, times are rounded up. Neither admits more in any span.
func TestRL1_LogsOutOfOrderAndCrowded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCounting(t, SlidingLog)
		var all naive
		now := c.now
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now += drawNanos(t, c.per)
			at := c.expire(c.terms, max(0, now-rapid.Int64Range(0, 2*int64(c.per)).Draw(t, "late")))
			taken, admitted := c.admit(c.terms, 1, false)
			if !admitted {
				continue
			}
			if len(c.records) > 0 && rapid.Bool().Draw(t, "crowded") {
				c.crowd(record{at, taken})
			} else {
				c.insert(record{at, taken})
			}
			all = append(all, admission{at, taken})
			if got := all.within(c.per, at); at > now || got > c.count {
				t.Fatalf("%d of %d in a span that ends at %d", got, c.count, at)
			}
		}
	})
}

// Stamps of slots that were longer are later than now: order is kept, and all count.
func TestRL7_StampsOfLongerSlots(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCounting(t, SlidingWindow)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			p := drawPolicy(t, rapid.SampledFrom([]Algorithm{SlidingWindow, SlidingLog}).Draw(t, "algorithm"))
			c.terms, _ = newTerms(p)
			c.now += rapid.Int64Range(0, int64(p.Per)/slots).Draw(t, "passed")
			taken, _ := c.charge(1, true)
			live, sum := c.records[c.head:], int64(0)
			for i := range live {
				if i > 0 && live[i].stamp <= live[i-1].stamp {
					t.Fatalf("out of order: %+v", live)
				}
				sum += live[i].cost
			}
			if sum != c.used || taken > 0 && !c.counts(c.stamp(c.now)) {
				t.Fatalf("%d used of %+v", c.used, live)
			}
		}
	})
}

func (c *counting) counts(stamp int64) bool {
	for _, r := range c.records[c.head:] {
		if r.stamp == stamp {
			return true
		}
	}
	return false
}
