package limit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// counters is the model as a Lessor, by the machine's clock.
type counters struct {
	mu     sync.Mutex
	shared *shared
	calls  atomic.Int64
	fails  atomic.Pointer[error]
	hold   chan struct{} // answers wait for it to be closed; nil: they do not
}

func (c *counters) Lease(asks []*Ask) {
	c.calls.Add(1)
	if c.hold != nil {
		<-c.hold
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range asks {
		if failed := c.fails.Load(); failed != nil {
			a.Err = *failed
			continue
		}
		c.shared.do("", a)
	}
}

// missing is how many tokens the bucket of a key lacks, and how many of them are out.
func (c *counters) missing(key string) (missing, out int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.shared.buckets[key]
	if b == nil {
		return 0, 0
	}
	return int64(b.missing + 0.5), int64(b.out())
}

func newCounters() *counters {
	start := time.Now()
	s := newShared(func() int64 { return time.Since(start).Microseconds() + 1e12 }, (2 * time.Second).Microseconds())
	s.epoch = 1
	return &counters{shared: s}
}

func leasedOver(t testing.TB, c *counters) *Leased {
	exact := NewMemory(clock.Real(), MemoryOptions{}) // for sliding logs
	l := NewLeased(LeasedOptions{Lessor: c, Exact: exact, Clock: clock.Real(), Timeout: 20 * time.Second})
	t.Cleanup(func() {
		l.Close()
		_ = exact.Close()
	})
	return l
}

func chargeOf(p *Policy, cost int64) Charge {
	return Charge{Policy: p, Key: []byte(p.Name), Cost: cost}
}

func takes(t *testing.T, l *Leased, charges ...Charge) int {
	t.Helper()
	denied, err := l.Take(charges)
	if err != nil {
		t.Fatal(err)
	}
	return denied
}

// eventually polls until so is true.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("20 s later it is not so: %s", what)
		}
	}
}

func rare(name string, burst int64) *Policy { // gains nothing while a test runs
	return &Policy{Name: name, Algorithm: TokenBucket, Count: 1, Per: time.Hour, Burst: burst}
}

// warm spends until the instance holds a lease.
func warm(t *testing.T, c *counters, l *Leased, p *Policy) (spent int64) {
	t.Helper()
	eventually(t, "there is a lease", func() bool {
		if takes(t, l, chargeOf(p, 1)) != Admitted {
			t.Fatal("denied")
		}
		spent++
		_, out := c.missing(p.Name)
		return out > 10
	})
	return spent
}

// TestRL3_WhatIsNotSpentComesBack: when nobody asks, when the policy changes and in the end.
func TestRL3_WhatIsNotSpentComesBack(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*Leased, *Policy){
		"idle":  func(*Leased, *Policy) {},
		"drain": func(l *Leased, _ *Policy) { l.Close() },
		"reload": func(l *Leased, p *Policy) {
			if _, err := l.Take([]Charge{{Policy: rare(p.Name, 900_000), Key: []byte(p.Name), Cost: 1}}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := newCounters()
			l := leasedOver(t, c)
			p := rare("p", 1_000_000)
			spent := warm(t, c, l, p)
			end(l, p)
			if what == "reload" {
				spent++
			}
			eventually(t, "all that is not spent is back", func() bool {
				missing, out := c.missing("p")
				return missing == spent && out == 0
			})
			if counts := l.Counts(); counts.Leased == 0 || counts.Returned == 0 || counts.Lost != 0 {
				t.Errorf("%+v", counts)
			}
		})
	}
}

// TestRL3_LowLimitsAreExact: one token at a time is the smallest lease, and the first request too
// many is refused without a token left elsewhere.
func TestRL3_LowLimitsAreExact(t *testing.T) {
	t.Parallel()
	c := newCounters()
	a, b := leasedOver(t, c), leasedOver(t, c)
	p := rare("p", 100)
	for i := range 100 {
		l := a
		if i%2 == 1 {
			l = b
		}
		if takes(t, l, chargeOf(p, 1)) != Admitted {
			t.Fatalf("request %d of 100 is denied", i+1)
		}
	}
	for _, l := range []*Leased{a, b} {
		cs := []Charge{chargeOf(p, 1)}
		if denied := takes(t, l, cs...); denied != 0 || cs[0].Wait <= 0 || cs[0].Wait > time.Hour || cs[0].Remaining != 0 {
			t.Errorf("the request after 100: %d, %+v", denied, cs[0])
		}
	}
}

// TestRL3_DeniedWithoutAsking: until something is there nobody is asked.
func TestRL3_DeniedWithoutAsking(t *testing.T) {
	t.Parallel()
	c := newCounters()
	l := leasedOver(t, c)
	p := rare("p", 3)
	for range 4 {
		takes(t, l, chargeOf(p, 1))
	}
	before := c.calls.Load()
	for range 1000 {
		cs := []Charge{chargeOf(p, 1), chargeOf(p, 2)}
		if takes(t, l, cs...) != 0 || cs[1].Wait <= cs[0].Wait {
			t.Fatalf("%+v", cs)
		}
	}
	if calls := c.calls.Load() - before; calls > 5 {
		t.Errorf("%d calls", calls)
	}
}

// TestRL2_ADeniedRequestChargesNothing: what others had granted goes back.
func TestRL2_ADeniedRequestChargesNothing(t *testing.T) {
	t.Parallel()
	c := newCounters()
	l := leasedOver(t, c)
	wide, tight := rare("wide", 1000), rare("tight", 2)
	log := &Policy{Name: "log", Algorithm: SlidingLog, Count: 3, Per: time.Hour}
	for range 2 {
		if takes(t, l, chargeOf(wide, 1), chargeOf(tight, 1), chargeOf(log, 1)) != Admitted {
			t.Fatal("denied")
		}
	}
	if denied := takes(t, l, chargeOf(wide, 1), chargeOf(log, 1), chargeOf(tight, 1)); denied != 2 {
		t.Errorf("%d denies, want the tight one", denied)
	}
	if denied := takes(t, l, chargeOf(wide, 1), chargeOf(log, 1)); denied != Admitted {
		t.Errorf("%d denies, and the log had one left", denied)
	}
	if denied := takes(t, l, chargeOf(wide, 1), chargeOf(log, 1)); denied != 1 {
		t.Errorf("%d denies, want the log", denied)
	}
	eventually(t, "only what was admitted is charged", func() bool {
		missing, out := c.missing("wide")
		return missing == 3 && out == 0
	})
}

func TestRL5_BypassIsCounted(t *testing.T) {
	t.Parallel()
	c := newCounters()
	l := leasedOver(t, c)
	p := rare("p", 10)
	for range 3 {
		b := chargeOf(p, 2)
		b.Bypass = true
		if takes(t, l, b) != Admitted {
			t.Fatal("a bypass is denied")
		}
	}
	eventually(t, "they are charged", func() bool { missing, _ := c.missing("p"); return missing == 6 })
	b := chargeOf(p, Largest)
	b.Bypass = true
	for range 3 {
		takes(t, l, b)
	}
	eventually(t, "as far as the counter goes", func() bool { missing, _ := c.missing("p"); return missing == 10 })
}

// TestRL6_NobodyWaitsLongerThanTheTimeout, and a grant that comes later goes back.
func TestRL6_NobodyWaitsLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	c := newCounters()
	c.hold = make(chan struct{})
	l := NewLeased(LeasedOptions{Lessor: c, Clock: clock.Real(), Timeout: 50 * time.Millisecond})
	defer l.Close()
	p := rare("p", 10)
	begun := time.Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := l.Take([]Charge{chargeOf(p, 1), chargeOf(rare("q", 10), 1)}); !errors.Is(err, errNoAnswer) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("they waited %s", took)
	}
	close(c.hold)
	eventually(t, "it is as if they had not asked", func() bool {
		p, _ := c.missing("p")
		q, _ := c.missing("q")
		return p == 0 && q == 0
	})
}

func TestRL6_WhatFailsIsTold(t *testing.T) {
	t.Parallel()
	c := newCounters()
	l := leasedOver(t, c)
	away := errors.New("away")
	c.fails.Store(&away)
	p := rare("p", 10)
	if _, err := l.Take([]Charge{chargeOf(p, 1)}); !errors.Is(err, away) {
		t.Error(err)
	}
	c.fails.Store(nil)
	if takes(t, l, chargeOf(p, 1)) != Admitted {
		t.Error("it is back, and denies")
	}
	l.Close()
	if _, err := l.Take([]Charge{chargeOf(p, 1)}); err == nil {
		t.Error("it is closed, and decides")
	}
}

// TestRL1_CostsThatNeverFit are denied without asking, whatever else the counter has.
func TestRL1_CostsThatNeverFit(t *testing.T) {
	t.Parallel()
	l := leasedOver(t, newCounters())
	p, log := rare("p", 10), &Policy{Name: "log", Algorithm: SlidingLog, Count: 3, Per: time.Hour}
	if takes(t, l, chargeOf(p, 4), chargeOf(log, 1)) != Admitted {
		t.Fatal("denied")
	}
	cs := []Charge{chargeOf(log, 1), chargeOf(p, 11)}
	if denied := takes(t, l, cs...); denied != 1 || cs[1].Wait != Never || cs[1].Remaining != 6 || cs[0].Wait != 0 {
		t.Errorf("%d denies: %+v", denied, cs)
	}
	cs = []Charge{chargeOf(p, 1), chargeOf(log, 2), chargeOf(log, 1)}
	if denied := takes(t, l, cs...); denied != 2 || cs[1].Remaining != 2 || cs[2].Wait <= 0 {
		t.Errorf("%d denies: %+v", denied, cs)
	}
}

// TestRL3_CountersAreForgotten when nobody needs them.
func TestRL3_CountersAreForgotten(t *testing.T) {
	t.Parallel()
	c := newCounters()
	l := leasedOver(t, c)
	for i := range 1000 {
		p := rare(fmt.Sprint("p", i), 10)
		takes(t, l, chargeOf(p, 1))
	}
	if n := l.count.Load(); n != 1000 {
		t.Errorf("%d counters", n)
	}
	eventually(t, "none is remembered", func() bool { return l.count.Load() == 0 })
	if len(l.all()) != 0 {
		t.Error("there are some")
	}
}
