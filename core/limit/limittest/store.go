package limittest

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

// Fixture is a store that has counted nothing, and what may be asked of it.
type Fixture struct {
	Store limit.Store
	// Advance lets time pass for the store: a fake clock moves, or the test sleeps.
	Advance func(time.Duration)
	// Stands says that the store's time passes by Advance alone. Else it passes as
	// time.Now does.
	Stands bool
	// Exact says that the store decides by what everybody has charged until now, so that
	// not one token less is admitted than the policy allows. Of one that is not
	// (leases), only what it must never do is asked, and that it does admit.
	Exact bool
	// Settles says that what a denied request was charged meanwhile is given back a
	// moment later (Redis Cluster), so that others may be denied in between.
	Settles bool
}

// slack is what two clocks of one machine may differ by.
const slack = 2 * time.Millisecond

// forever is so long that nothing comes back while a test runs.
const forever = 240 * time.Hour

// TestStore runs the suite. newFixture is called for each test and may be called
// concurrently.
func TestStore(t *testing.T, newFixture func(*testing.T) Fixture) {
	for name, test := range map[string]func(*testing.T, Fixture){
		"RL1 what is left is told":                 testRemaining,
		"RL1 all is there again at Reset":          testReset,
		"RL1 asking at Wait admits, before denies": testWait,
		"RL1 a cost of several tokens":             testCost,
		"RL1 a cost above the capacity":            testNever,
		"RL1 a bucket gains evenly":                testGain,
		"RL1 a window slides":                      testSlides,
		"RL2 all or nothing":                       testAllOrNothing,
		"RL2 the first that denies is told":        testFirst,
		"RL2 one counter twice":                    testTwice,
		"RL2 many levels":                          testManyLevels,
		"RL2 nothing to charge":                    testNothing,
		"RL3 keys are counted apart":               testKeys,
		"RL5 a bypass counts and never denies":     testBypass,
		"RL5 a bypass is no way around a denial":   testBypassDenied,
		"RL7 a policy changes and counts stay":     testChange,
		"RL7 a window's span changes":              testChangeSpan,
		"RL8 many at once, one level":              testRace,
		"RL8 many at once, several levels":         testRaceLevels,
		"RL8 many at once while time passes":       testRaceTime,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t))
		})
	}
}

var algorithms = []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog}

// policy returns one that admits n at once, and n every per.
func policy(a limit.Algorithm, n int64, per time.Duration) *limit.Policy {
	return named("", a, n, per)
}

// named is a policy with another name, which no policy of another algorithm has.
func named(name string, a limit.Algorithm, n int64, per time.Duration) *limit.Policy {
	p := &limit.Policy{Name: name + a.String(), Algorithm: a, Count: n, Per: per}
	if a == limit.TokenBucket {
		p.Burst = n
	}
	if err := p.Validate(); err != nil {
		panic(err)
	}
	return p
}

// each runs the test for each algorithm.
func each(t *testing.T, test func(*testing.T, limit.Algorithm)) {
	for _, a := range algorithms {
		t.Run(a.String(), func(t *testing.T) { test(t, a) })
	}
}

// charge is one of cost to a counter of the policy that id names.
func charge(p *limit.Policy, id string, cost int64) limit.Charge {
	c := limit.Counter{Level: "user", Value: id, Policy: p}
	return limit.Charge{Policy: p, Key: c.AppendKey(nil), Cost: cost}
}

func bypass(c limit.Charge) limit.Charge {
	c.Bypass = true
	return c
}

// take charges all, and fails the test if the store can't decide or breaks what holds
// of every decision.
func (f Fixture) take(t *testing.T, charges ...limit.Charge) int {
	t.Helper()
	denied, err := f.decide(charges)
	if err != nil {
		t.Fatal(err)
	}
	return denied
}

// decide is take for goroutines other than the test's.
func (f Fixture) decide(charges []limit.Charge) (int, error) {
	for i := range charges { // what is left of an earlier decision must not matter
		charges[i].Remaining, charges[i].Reset, charges[i].Wait = -7, -7, -7
	}
	denied, err := f.Store.Take(charges)
	switch {
	case err != nil:
		return denied, err
	case denied != limit.Admitted && (denied < 0 || denied >= len(charges)):
		return denied, fmt.Errorf("%d is not the index of one of %d charges", denied, len(charges))
	case denied != limit.Admitted && charges[denied].Bypass:
		return denied, fmt.Errorf("charge %d denies, and bypasses", denied)
	case denied != limit.Admitted && charges[denied].Wait <= 0:
		return denied, fmt.Errorf("charge %d denies and waits %s", denied, charges[denied].Wait)
	}
	for i, c := range charges {
		switch {
		case c.Remaining < 0 || c.Remaining > c.Policy.Capacity():
			return denied, fmt.Errorf("charge %d of %s: %d of %d remain", i, c.Key, c.Remaining, c.Policy.Capacity())
		case c.Reset < 0 || c.Wait < 0:
			return denied, fmt.Errorf("charge %d of %s: reset %s, wait %s", i, c.Key, c.Reset, c.Wait)
		case c.Wait != 0 && (denied == limit.Admitted || i < denied):
			return denied, fmt.Errorf("charge %d of %s waits %s; denied is %d", i, c.Key, c.Wait, denied)
		case c.Wait == limit.Never && c.Cost <= c.Policy.Capacity():
			return denied, fmt.Errorf("charge %d of %s: a cost of %d is never admitted", i, c.Key, c.Cost)
		}
	}
	return denied, nil
}

func (f Fixture) admits(t *testing.T, charges ...limit.Charge) {
	t.Helper()
	if denied := f.take(t, charges...); denied != limit.Admitted {
		t.Fatalf("charge %d denies: %+v", denied, charges[denied])
	}
}

func (f Fixture) denies(t *testing.T, index int, charges ...limit.Charge) {
	t.Helper()
	if denied := f.take(t, charges...); denied != index {
		t.Fatalf("charge %d denies, want %d: %+v", denied, index, charges)
	}
}

// left counts what can still be charged to a counter, by charging it. It must not gain
// meanwhile.
func (f Fixture) left(t *testing.T, p *limit.Policy, id string) int64 {
	t.Helper()
	for n := int64(0); ; n++ {
		if f.take(t, charge(p, id, 1)) != limit.Admitted {
			return n
		}
	}
}

// hasLeft fails the test if not want can still be charged.
func (f Fixture) hasLeft(t *testing.T, p *limit.Policy, id string, want int64) {
	t.Helper()
	if got := f.left(t, p, id); got > want || got < want && f.Exact {
		t.Fatalf("%s of %s had %d left, want %d", id, p.Name, got, want)
	}
}

func testRemaining(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 5, forever)
		for n := int64(4); n >= 0; n-- {
			cs := []limit.Charge{charge(p, "u", 1)}
			f.admits(t, cs...)
			if f.Exact && cs[0].Remaining != n {
				t.Fatalf("%d remain, want %d", cs[0].Remaining, n)
			}
		}
		cs := []limit.Charge{charge(p, "u", 1)}
		f.denies(t, 0, cs...)
		if cs[0].Remaining != 0 || cs[0].Reset <= 0 {
			t.Errorf("%d remain, reset in %s", cs[0].Remaining, cs[0].Reset)
		}
	})
}

func testReset(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		const n = 4
		p := policy(a, n, 400*time.Millisecond)
		cs := []limit.Charge{charge(p, "u", 3)}
		f.admits(t, cs...)
		reset := cs[0].Reset
		if want, most := f.resets(p, 3); reset > most || f.Exact && reset < want {
			t.Fatalf("reset in %s, want %s to %s", reset, want, most)
		}
		if f.Stands {
			f.Advance(reset - time.Microsecond)
			f.denies(t, 0, charge(p, "u", n))
			f.Advance(time.Microsecond)
		} else {
			f.Advance(reset + slack)
		}
		f.admits(t, charge(p, "u", n))
	})
}

// resets is between what times a counter that was full resets after used were charged.
func (f Fixture) resets(p *limit.Policy, used int64) (least, most time.Duration) {
	switch p.Algorithm {
	case limit.TokenBucket:
		least = time.Duration(used*int64(p.Per)/p.Count) - time.Microsecond
		most = least + 2*time.Microsecond
	case limit.SlidingLog:
		least, most = p.Per, p.Per
	default: // the slot is yet to end
		least, most = p.Per, p.Per+p.Per/63+time.Microsecond
	}
	if !f.Stands {
		least, most = least-slack, most+slack
	}
	return least, most
}

func testWait(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 6, 600*time.Millisecond)
		for _, cost := range []int64{1, 2, 6} {
			f.waits(t, p, fmt.Sprint("u", cost), cost)
		}
	})
}

// waits exhausts a counter, little by little, and checks that a charge of cost is
// admitted when it was told to come back, and not before.
func (f Fixture) waits(t *testing.T, p *limit.Policy, id string, cost int64) {
	t.Helper()
	for f.take(t, charge(p, id, 1)) == limit.Admitted {
		f.Advance(p.Per / 100)
	}
	from := time.Now()
	cs := []limit.Charge{charge(p, id, cost)}
	f.denies(t, 0, cs...)
	to, wait := time.Now(), cs[0].Wait
	if wait > 2*p.Per {
		t.Fatalf("a cost of %d waits %s", cost, wait)
	}
	if f.Stands {
		f.Advance(wait - time.Microsecond)
		f.denies(t, 0, charge(p, id, cost))
		f.Advance(time.Microsecond)
		f.admits(t, charge(p, id, cost))
		return
	}
	for {
		asked := time.Now()
		denied := f.take(t, charge(p, id, cost))
		answered := time.Now()
		switch {
		case denied == limit.Admitted && f.Exact && answered.Before(from.Add(wait-slack)):
			t.Fatalf("a cost of %d was to wait %s, and is admitted %s before", cost, wait, from.Add(wait).Sub(answered))
		case denied == limit.Admitted:
			return
		case asked.After(to.Add(wait+slack)) && f.Exact, asked.After(to.Add(10 * time.Second)):
			t.Fatalf("a cost of %d was to wait %s, and still waits %s after", cost, wait, asked.Sub(to.Add(wait)))
		}
		time.Sleep(time.Millisecond)
	}
}

func testCost(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 10, forever)
		f.admits(t, charge(p, "u", 7))
		cs := []limit.Charge{charge(p, "u", 4)}
		f.denies(t, 0, cs...)
		if f.Exact && cs[0].Remaining != 3 {
			t.Errorf("%d remain, want 3", cs[0].Remaining)
		}
		f.hasLeft(t, p, "u", 3)
		f.admits(t, charge(p, "whole", 10))
		f.denies(t, 0, charge(p, "whole", 1))
	})
}

func testNever(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p, other := policy(a, 10, forever), named("other", a, 20, forever)
		for _, cost := range []int64{11, limit.Largest} {
			cs := []limit.Charge{charge(other, "u", 1), charge(p, "u", cost)}
			f.denies(t, 1, cs...)
			if cs[1].Wait != limit.Never {
				t.Errorf("a cost of %d of 10 waits %s", cost, cs[1].Wait)
			}
		}
		f.hasLeft(t, p, "u", 10)
		f.hasLeft(t, other, "u", 20)
	})
}

func testGain(t *testing.T, f Fixture) {
	p := &limit.Policy{Name: "gain", Algorithm: limit.TokenBucket, Count: 3, Per: 300 * time.Millisecond, Burst: 5}
	start := time.Now()
	f.hasLeft(t, p, "u", 5)
	admitted, passed := int64(5), time.Duration(0)
	for range 30 {
		f.Advance(70 * time.Millisecond)
		passed += 70 * time.Millisecond
		if f.take(t, charge(p, "u", 1)) == limit.Admitted {
			admitted++
		}
	}
	// It was asked more often than it gains, and never full: not one may be lost.
	if !f.Stands {
		passed = time.Since(start)
	}
	most := 5 + int64(passed)*3/int64(p.Per)
	if admitted > most || f.Stands && f.Exact && admitted != most || admitted < 15 {
		t.Errorf("%d of %d were admitted in %s", admitted, most, passed)
	}
}

func testSlides(t *testing.T, f Fixture) {
	for _, a := range []limit.Algorithm{limit.SlidingWindow, limit.SlidingLog} {
		t.Run(a.String(), func(t *testing.T) {
			p := policy(a, 4, 400*time.Millisecond)
			f.admits(t, charge(p, "u", 3))
			f.Advance(200 * time.Millisecond)
			f.admits(t, charge(p, "u", 1))
			if !f.Stands {
				return // whether the machine was quick enough can't be known
			}
			f.Advance(199 * time.Millisecond)
			f.denies(t, 0, charge(p, "u", 1))
			f.Advance(time.Millisecond + p.Per/63)
			f.hasLeft(t, p, "u", 3)
		})
	}
}

func testAllOrNothing(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		wide, middle, tight := named("wide", a, 10, forever), named("middle", a, 5, forever), named("tight", a, 2, forever)
		all := func() []limit.Charge {
			return []limit.Charge{charge(wide, "u", 1), charge(middle, "u", 1), charge(tight, "u", 1)}
		}
		admitted := int64(0)
		for range 40 {
			if f.take(t, all()...) == limit.Admitted {
				admitted++
			}
		}
		if admitted > 2 || admitted < 2 && f.Exact {
			t.Fatalf("%d are admitted, want 2", admitted)
		}
		cs := all()
		f.denies(t, 2, cs...)
		if f.Exact && (cs[0].Remaining != 8 || cs[1].Remaining != 3 || cs[2].Remaining != 0) {
			t.Errorf("%d, %d and %d remain, want 8, 3 and 0", cs[0].Remaining, cs[1].Remaining, cs[2].Remaining)
		}
		f.hasLeft(t, wide, "u", 10-admitted)
		f.hasLeft(t, middle, "u", 5-admitted)
	})
}

func testFirst(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 2, forever)
		for _, id := range []string{"x", "y"} {
			f.hasLeft(t, p, id, 2)
		}
		cs := []limit.Charge{charge(p, "free", 1), charge(p, "x", 1), charge(p, "y", 1)}
		for range 5 {
			f.denies(t, 1, cs...)
		}
		if cs[0].Wait != 0 || cs[1].Wait == 0 || cs[2].Wait == 0 {
			t.Errorf("they wait %s, %s and %s", cs[0].Wait, cs[1].Wait, cs[2].Wait)
		}
		f.denies(t, 0, charge(p, "y", 1), charge(p, "free", 1), charge(p, "x", 1))
		f.hasLeft(t, p, "free", 2)
	})
}

// A level without its key falls back to another, which may be there already.
func testTwice(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 5, forever)
		f.admits(t, charge(p, "u", 2), charge(p, "u", 2))
		if f.take(t, charge(p, "u", 1), charge(p, "u", 1)) == limit.Admitted {
			t.Fatal("4 and 2 of 5 are admitted")
		}
		f.hasLeft(t, p, "u", 1)
	})
}

func testManyLevels(t *testing.T, f Fixture) {
	var cs []limit.Charge
	for i := range 12 {
		cs = append(cs, charge(policy(algorithms[i%3], int64(3+i), forever), fmt.Sprint("level", i), 1))
	}
	admitted := 0
	for range 20 {
		if f.take(t, cs...) == limit.Admitted {
			admitted++
		}
	}
	if admitted > 3 || admitted < 3 && f.Exact {
		t.Errorf("%d are admitted, want 3", admitted)
	}
}

func testNothing(t *testing.T, f Fixture) {
	f.admits(t)
}

func testKeys(t *testing.T, f Fixture) {
	p := policy(limit.TokenBucket, 2, forever)
	p.Name = "odd\x00{name}"
	ids := []string{
		"", "a", "A", "a:", ":a", "a\x00", "\x00", "{a}", "{", "}", "a\nb", "a\r\nb", "%", "%00", "\xff\xfe", "é", "e\u0301",
		"*", "user", "a b", strings.Repeat("x", 10<<10), strings.Repeat("x", 10<<10) + "y", strings.Repeat("{", 10<<10),
	}
	for _, id := range ids {
		f.hasLeft(t, p, id, 2)
	}
	for _, id := range ids {
		f.denies(t, 0, charge(p, id, 1))
	}
	// A store takes the bytes of a key as they are: whoever made them.
	for _, raw := range []string{"\x00", "\x00\x00", "{}", "{}\n"} {
		for range 2 {
			f.admits(t, limit.Charge{Policy: p, Key: []byte(raw), Cost: 1})
		}
		f.denies(t, 0, limit.Charge{Policy: p, Key: []byte(raw), Cost: 1})
	}
	borrowed := []byte("borrowed-1")
	f.admits(t, limit.Charge{Policy: p, Key: borrowed, Cost: 2})
	copy(borrowed, "borrowed-2")
	f.admits(t, limit.Charge{Policy: p, Key: borrowed, Cost: 2})
	f.denies(t, 0, limit.Charge{Policy: p, Key: []byte("borrowed-1"), Cost: 1})
}

func testBypass(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 5, forever)
		f.admits(t, bypass(charge(p, "u", 3)))
		for _, cost := range []int64{3, 1, 6, limit.Largest} { // more than is left
			cs := []limit.Charge{bypass(charge(p, "u", cost))}
			f.admits(t, cs...)
			if f.Exact && cs[0].Remaining != 0 || cs[0].Wait != 0 {
				t.Errorf("after a bypass of %d %d remain, and it waits %s", cost, cs[0].Remaining, cs[0].Wait)
			}
		}
		cs := []limit.Charge{charge(p, "u", 1)}
		if denied := f.take(t, cs...); f.Exact && denied != 0 {
			t.Error("what went by was not counted")
		}
		if f.Exact && cs[0].Wait > p.Per+p.Per/63+time.Millisecond {
			t.Errorf("what went by counts beyond the capacity: wait %s", cs[0].Wait)
		}
	})
}

func testBypassDenied(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 3, forever)
		f.hasLeft(t, p, "empty", 3)
		for range 5 {
			f.denies(t, 1, bypass(charge(p, "u", 1)), charge(p, "empty", 1))
			f.denies(t, 0, charge(p, "empty", 1), bypass(charge(p, "u", 1)))
			f.denies(t, 1, bypass(charge(p, "u", 4)), charge(p, "empty", 1))
		}
		f.admits(t, bypass(charge(p, "empty", 1)), charge(p, "u", 1))
		f.hasLeft(t, p, "u", 2)
	})
}

// testChange: the numbers change both ways, and what was charged stays charged.
func testChange(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		of := func(n int64) *limit.Policy { return policy(a, n, forever) }
		f.admits(t, charge(of(10), "u", 6))
		for _, step := range []struct{ capacity, remain int64 }{{20, 13}, {9, 1}, {1000, 991}, {12, 2}} {
			cs := []limit.Charge{charge(of(step.capacity), "u", 1)}
			f.admits(t, cs...)
			if f.Exact && cs[0].Remaining != step.remain {
				t.Fatalf("under %d %d remain, want %d", step.capacity, cs[0].Remaining, step.remain)
			}
		}
		f.denies(t, 0, charge(of(10), "u", 1)) // 10 are used
		if a == limit.TokenBucket {            // its capacity and its rate change apart
			p := &limit.Policy{Name: a.String(), Algorithm: a, Count: 7, Per: 3 * forever, Burst: 50}
			f.admits(t, charge(p, "v", 20))
			p = &limit.Policy{Name: a.String(), Algorithm: a, Count: 999, Per: 999 * time.Hour / 2, Burst: 50}
			if f.Stands {
				f.hasLeft(t, p, "v", 30)
			}
		}
	})
}

func testChangeSpan(t *testing.T, f Fixture) {
	for _, a := range []limit.Algorithm{limit.SlidingWindow, limit.SlidingLog} {
		t.Run(a.String(), func(t *testing.T) {
			long, short := policy(a, 10, forever), policy(a, 10, forever/10)
			f.admits(t, charge(long, "u", 4))
			f.admits(t, charge(short, "u", 3))
			cs := []limit.Charge{charge(long, "u", 1)}
			f.admits(t, cs...)
			if f.Exact && cs[0].Remaining != 2 {
				t.Errorf("%d remain, want 2", cs[0].Remaining)
			}
			f.hasLeft(t, short, "u", 2)
			f.denies(t, 0, charge(long, "u", 1))
			if f.Stands {
				f.Advance(forever/10 + forever/63)
				f.admits(t, charge(short, "u", 9))
			}
		})
	}
}

// bound is the most that a policy admits while elapsed passes, from the first request
// on.
func bound(p *limit.Policy, elapsed time.Duration) int64 {
	gained := int64(math.Ceil(float64(elapsed) / float64(p.Per) * float64(p.Count)))
	if p.Algorithm == limit.TokenBucket {
		return p.Burst + gained
	}
	return p.Count * (1 + int64(elapsed/p.Per))
}
