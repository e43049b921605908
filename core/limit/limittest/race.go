package limittest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

// callers is how many ask at once.
const callers = 32

// atOnce has many callers ask n times each, and returns how many were admitted.
func (f Fixture) atOnce(t *testing.T, n int, charges func(caller, i int) []limit.Charge) int64 {
	t.Helper()
	var admitted atomic.Int64
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range n {
				denied, err := f.decide(charges(caller, i))
				if err != nil {
					t.Error(err)
					return
				}
				if denied == limit.Admitted {
					admitted.Add(1)
				}
			}
		})
	}
	all.Wait()
	return admitted.Load()
}

func testRace(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p := policy(a, 100, forever)
		got := f.atOnce(t, 20, func(int, int) []limit.Charge { return []limit.Charge{charge(p, "u", 1)} })
		if got > 100 || got < 100 && f.Exact || got == 0 {
			t.Errorf("%d are admitted, want 100", got)
		}
		// Costs differ: nothing that fits the last gap may be lost for one that does not.
		got = f.atOnce(t, 20, func(caller, i int) []limit.Charge {
			return []limit.Charge{charge(p, "v", 1+int64(caller+i)%3)}
		})
		if got > 100 || got == 0 {
			t.Errorf("%d are admitted of costs from 1 to 3", got)
		}
		if f.Exact {
			f.denies(t, 0, charge(p, "v", 1))
		}
	})
}

// testRaceLevels: most requests are denied by a level that comes last, or first. What
// others were charged meanwhile is there again in the end.
func testRaceLevels(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		wide, tight := named("wide", a, 200, forever), named("tight", a, 40, forever)
		got := f.atOnce(t, 20, func(caller, _ int) []limit.Charge {
			cs := []limit.Charge{charge(wide, "u", 2), charge(tight, "u", 1), charge(wide, fmt.Sprint("own", caller), 1)}
			if caller%2 == 0 {
				cs[0], cs[1] = cs[1], cs[0]
			}
			return cs
		})
		if got > 40 || got < 40 && f.Exact && !f.Settles || got == 0 {
			t.Errorf("%d are admitted, want 40", got)
		}
		if f.Settles {
			f.Advance(300 * time.Millisecond)
		}
		f.hasLeft(t, wide, "u", 200-2*got)
	})
}

func testRaceTime(t *testing.T, f Fixture) {
	each(t, func(t *testing.T, a limit.Algorithm) {
		p, over := policy(a, 50, 100*time.Millisecond), named("over", a, 5000, 100*time.Millisecond)
		stop := make(chan struct{})
		var passed time.Duration
		var ticking sync.WaitGroup
		if f.Stands {
			ticking.Go(func() {
				for passed < 95*time.Millisecond {
					select {
					case <-stop:
						return
					default:
						f.Advance(37 * time.Microsecond)
						passed += 37 * time.Microsecond
					}
				}
			})
		}
		start := time.Now()
		got := f.atOnce(t, 50, func(int, int) []limit.Charge {
			return []limit.Charge{charge(over, "u", 3), charge(p, "u", 1)}
		})
		close(stop)
		ticking.Wait()
		if !f.Stands {
			passed = time.Since(start)
		}
		if most := bound(p, passed); got > most || got == 0 {
			t.Errorf("%d were admitted in %s, want at most %d", got, passed, most)
		}
	})
}
