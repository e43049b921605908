package limit_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func bucketOf(burst int64, per time.Duration) *limit.Policy {
	return &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: burst, Per: per, Burst: burst}
}

func one(p *limit.Policy, key string) []limit.Charge {
	return []limit.Charge{{Policy: p, Key: []byte(key), Cost: 1}}
}

func admits(t testing.TB, m limit.Store, cs []limit.Charge) bool {
	t.Helper()
	denied, err := m.Take(cs)
	if err != nil {
		t.Fatal(err)
	}
	return denied == limit.Admitted
}

func TestChargesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	m, _ := memory(t, limit.MemoryOptions{})
	good := bucketOf(5, time.Hour)
	for what, c := range map[string]limit.Charge{
		"no cost":        {Policy: good, Key: []byte("a")},
		"a gift":         {Policy: good, Key: []byte("b"), Cost: -1},
		"a wrong policy": {Policy: &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1, Per: 1, Burst: 1}, Key: []byte("c"), Cost: 1},
	} {
		for _, cs := range [][]limit.Charge{{c}, {{Policy: good, Key: []byte("d"), Cost: 1}, c}} {
			if denied, err := m.Take(cs); err == nil || denied == limit.Admitted {
				t.Errorf("%s: %d, %v", what, denied, err)
			}
		}
	}
	if m.Len() != 0 {
		t.Errorf("%d counters", m.Len())
	}
}

// Who floods with keys of his own resets neither his victim's counter nor one that he
// has exhausted himself.
func TestAFloodOfKeysForgetsNobody(t *testing.T) {
	t.Parallel()
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			m, c := memory(t, limit.MemoryOptions{Entries: 2000})
			p := &limit.Policy{Name: "p", Algorithm: a, Count: 10, Per: 10 * time.Hour}
			if a == limit.TokenBucket {
				p.Burst = 10
			}
			for v := range 50 {
				for range 10 {
					admits(t, m, one(p, fmt.Sprint("victim", v)))
				}
			}
			for i := range 50_000 {
				if !admits(t, m, one(p, fmt.Sprint("flood", i))) {
					t.Fatal("what is new is denied")
				}
			}
			if m.Len() > 2000 || m.Forgotten() == 0 {
				t.Errorf("%d counters, %d forgotten", m.Len(), m.Forgotten())
			}
			for v := range 50 {
				if admits(t, m, one(p, fmt.Sprint("victim", v))) {
					t.Errorf("victim %d was forgotten", v)
				}
			}
			// Those that are full again go before any that count.
			c.Advance(9*time.Hour + 30*time.Minute)
			forgotten := m.Forgotten()
			if a == limit.TokenBucket {
				for i := range 1000 {
					admits(t, m, one(p, fmt.Sprint("late", i)))
				}
				if m.Forgotten() != forgotten {
					t.Errorf("%d were forgotten beside those that are full again", m.Forgotten()-forgotten)
				}
			}
		})
	}
}

func TestIdleCountersGo(t *testing.T) {
	t.Parallel()
	m, c := memory(t, limit.MemoryOptions{})
	window := &limit.Policy{Name: "w", Algorithm: limit.SlidingWindow, Count: 5, Per: time.Second}
	for i := range 1000 {
		admits(t, m, one(bucketOf(5, time.Second), fmt.Sprint(i)))
		admits(t, m, one(window, fmt.Sprint("w", i)))
	}
	admits(t, m, one(bucketOf(5, time.Hour), "stays"))
	deadline := time.Now().Add(20 * time.Second)
	for m.Len() != 1 {
		if time.Now().After(deadline) {
			t.Fatalf("%d counters are left", m.Len())
		}
		c.Advance(time.Second)
		time.Sleep(time.Millisecond)
	}
	if err := m.Close(); err != nil || m.Close() != nil {
		t.Error("can't be closed twice")
	}
	if !admits(t, m, one(window, "after")) {
		t.Error("it counts no more")
	}
}

// Where logs may remember no more, they deny longer and admit no more.
func TestLogsAreBounded(t *testing.T) {
	t.Parallel()
	m, c := memory(t, limit.MemoryOptions{Records: 100})
	p := &limit.Policy{Name: "p", Algorithm: limit.SlidingLog, Count: 1000, Per: time.Second}
	admitted := 0
	for range 4000 {
		if admits(t, m, one(p, "k")) {
			admitted++
		}
		c.Advance(time.Millisecond / 4)
	}
	if admitted != 1000 {
		t.Errorf("%d of 1000 were admitted in a second", admitted)
	}
	c.Advance(time.Second)
	cs := one(p, "k")
	if !admits(t, m, cs) || cs[0].Remaining != 999 {
		t.Errorf("a second later %d remain", cs[0].Remaining)
	}
}

// An entry is killed while others hold it: they find the next.
func TestManyKeysAtOnce(t *testing.T) {
	t.Parallel()
	m := limit.NewMemory(clock.Real(), limit.MemoryOptions{Entries: 300})
	defer m.Close()
	var admitted atomic.Int64
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 5000 {
				p := bucketOf(5, time.Duration(1+i%3)*time.Millisecond)
				if i%2 == 0 {
					p = &limit.Policy{Name: "w", Algorithm: limit.SlidingLog, Count: 5, Per: time.Millisecond}
				}
				cs := append(one(p, fmt.Sprint((i*worker)%1000)), one(p, fmt.Sprint(i%1000))...)
				if denied, err := m.Take(cs); err == nil && denied == limit.Admitted {
					admitted.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if m.Len() > 300 || admitted.Load() == 0 {
		t.Errorf("%d counters, %d admitted", m.Len(), admitted.Load())
	}
}
