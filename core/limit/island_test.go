package limit_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/meter"
)

// shared is a store that is well, or not.
type shared struct {
	limit.Store
	fault  atomic.Pointer[error]
	asked  atomic.Int64
	probed atomic.Int64
	at     atomic.Int64 // probes at this moment
	most   atomic.Int64
}

func (s *shared) Take(charges []limit.Charge) (int, error) {
	if len(charges) == 1 && string(charges[0].Key) == "rate_limit:probe" {
		s.probed.Add(1)
		if n := s.at.Add(1); n > s.most.Load() {
			s.most.Store(n)
		}
		defer s.at.Add(-1)
	} else {
		s.asked.Add(1)
	}
	if err := s.fault.Load(); err != nil {
		return 0, *err
	}
	return s.Store.Take(charges)
}

func (s *shared) is(err error) {
	if err == nil {
		s.fault.Store(nil)
	} else {
		s.fault.Store(&err)
	}
}

var errGone = errors.New("gone")

type world struct {
	*limit.Islands
	t      testing.TB
	clock  *clock.Fake
	shared *shared
	meter  *meter.Set
}

func worldOf(t testing.TB, on limit.OnStoreError, instances int) *world {
	c := clock.NewFake(time.Unix(1e9, 0))
	memory := limit.NewMemory(c, limit.MemoryOptions{})
	w := &world{t: t, clock: c, shared: &shared{Store: memory}, meter: meter.NewSet(c.Now)}
	w.Islands = limit.NewIslands(w.shared, limit.IslandOptions{
		OnError: on, Instances: func() int { return instances }, Clock: c, Meter: w.meter, Log: zerolog.Nop(),
	})
	t.Cleanup(func() {
		_ = w.Islands.Close()
		_ = memory.Close()
	})
	return w
}

// passes waits, while time passes, until so.
func (w *world) passes(what string, so func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(100 * time.Microsecond) {
		if w.clock.Advance(10 * time.Millisecond); time.Now().After(deadline) {
			w.t.Fatalf("20 s later it is not so: %s", what)
		}
	}
}

func (w *world) take(p *limit.Policy, key string) (limit.Charge, int, error) {
	cs := []limit.Charge{{Policy: p, Key: []byte(key), Cost: 1}}
	denied, err := w.Take(cs)
	return cs[0], denied, err
}

// maroon has the store go, and all notice.
func (w *world) maroon() {
	w.shared.is(errGone)
	for range 5 {
		_, _, _ = w.take(tens, "other")
	}
	if !w.Alone() {
		w.t.Fatal("the store is still asked")
	}
}

var tens = &limit.Policy{Name: "tens", Algorithm: limit.TokenBucket, Count: 10, Per: time.Second, Burst: 10}

func (w *world) shows(line string) {
	w.t.Helper()
	var b strings.Builder
	w.meter.WritePrometheus(&b)
	if !strings.Contains(b.String(), line+"\n") {
		w.t.Errorf("no %s in\n%s", line, b.String())
	}
}

func TestRL6_NobodyAsksAStoreThatIsAway(t *testing.T) {
	w := worldOf(t, limit.Local, 1)
	w.shows(`gateway_rate_limit_mode{mode="shared"} 1`)
	if _, denied, err := w.take(tens, "u"); denied != limit.Admitted || err != nil {
		t.Fatal(denied, err)
	}
	w.maroon()
	before := w.shared.asked.Load()
	for range 1000 {
		if _, _, err := w.take(tens, "u"); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.shared.asked.Load() - before; n != 0 {
		t.Errorf("%d requests asked it", n)
	}
	w.shows(`gateway_rate_limit_mode{mode="alone"} 1`)
	w.shows(`gateway_rate_limit_store_errors_total{kind="error"} 5`)
	w.shows(`gateway_rate_limit_alone_total 1005`)
	// It is probed by one, more rarely as time goes, and never for long.
	begun, probed := w.clock.Mono(), w.shared.probed.Load()
	w.passes("20 probes", func() bool { return w.shared.probed.Load() >= probed+20 })
	if took := time.Duration(w.clock.Mono() - begun); took < 4*time.Second || took > 30*time.Second || w.shared.most.Load() != 1 {
		t.Errorf("20 probes took %s, %d at once", took, w.shared.most.Load())
	}
	w.shared.is(nil)
	begun = w.clock.Mono()
	w.passes("the store is asked", func() bool { return !w.Alone() })
	if took := time.Duration(w.clock.Mono() - begun); took > time.Second {
		t.Errorf("it was asked again after %s", took)
	}
	for i := range 10 {
		if _, denied, err := w.take(tens, "again"); denied != limit.Admitted || err != nil {
			t.Fatalf("%d: %d, %v", i, denied, err)
		}
	}
	w.shows(`gateway_rate_limit_mode{mode="shared"} 1`)
	w.maroon() // and once more
	w.shared.is(nil)
	w.passes("the store is asked", func() bool { return !w.Alone() })
}

// Some that fail among many that don't make no island; each is decided by what came in
// since the store decided last, which is nothing.
func TestRL6_SomeFail(t *testing.T) {
	w := worldOf(t, limit.Local, 1)
	for range 200 {
		w.shared.is(errGone)
		if got, denied, err := w.take(tens, "u"); denied != 0 || err != nil || got.Wait != 100*time.Millisecond || got.Remaining != 0 {
			t.Fatalf("%+v, %d, %v", got, denied, err)
		}
		w.shared.is(nil)
		_, _, _ = w.take(tens, "u")
		_, _, _ = w.take(tens, "u")
		w.clock.Advance(time.Second)
	}
	if w.Alone() {
		t.Error("an island")
	}
}

func TestRL6_AllowAndDeny(t *testing.T) {
	w := worldOf(t, limit.Allow, 1)
	w.maroon()
	for range 100 {
		if got, denied, err := w.take(tens, "u"); denied != limit.Admitted || err != nil || got.Remaining != 10 || got.Wait != 0 {
			t.Fatalf("%+v, %d, %v", got, denied, err)
		}
	}
	w = worldOf(t, limit.Deny, 1)
	w.shared.is(errGone)
	for i := range 100 {
		if _, _, err := w.take(tens, "u"); err == nil || i < 5 && !errors.Is(err, errGone) {
			t.Fatal(err)
		}
	}
	if n := w.shared.asked.Load(); n != 5 {
		t.Errorf("%d asked", n)
	}
}

// What is wrong with one counter is no word about the store.
func TestRL6_OneCounter(t *testing.T) {
	for on, admits := range map[limit.OnStoreError]bool{limit.Local: false, limit.Allow: true, limit.Deny: false} {
		w := worldOf(t, on, 1)
		w.shared.is(fmt.Errorf("a key: %w", limit.ErrCounter))
		for range 20 {
			if _, denied, err := w.take(tens, "u"); (err == nil) != admits || admits && denied != limit.Admitted {
				t.Errorf("%s: %d, %v", on, denied, err)
			}
		}
		if w.Alone() {
			t.Errorf("%s: an island", on)
		}
		w.shows(`gateway_rate_limit_store_errors_total{kind="counter"} 20`)
	}
}

func TestOnStoreErrorWords(t *testing.T) {
	for _, word := range []string{"local", "allow", "deny"} {
		if o, err := limit.ParseOnStoreError(word); err != nil || o.String() != word {
			t.Error(word, o, err)
		}
	}
	if _, err := limit.ParseOnStoreError("maybe"); err == nil {
		t.Error("maybe is a word")
	}
}

// anyPolicy draws a policy that Validate takes.
func anyPolicy(t *rapid.T) *limit.Policy {
	for {
		p := &limit.Policy{
			Name:      "any",
			Algorithm: limit.Algorithm(rapid.IntRange(1, 3).Draw(t, "algorithm")),
			Count:     rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 100_000), rapid.Int64Range(1, limit.Largest)).Draw(t, "count"),
			Per: rapid.OneOf(rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour, limit.Longest}),
				rapid.Map(rapid.Int64Range(1000, limit.Longest.Microseconds()), func(n int64) time.Duration { return time.Duration(n) * time.Microsecond })).Draw(t, "per"),
		}
		if p.Algorithm == limit.TokenBucket {
			p.Burst = rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, limit.Largest)).Draw(t, "burst")
		}
		if p.Validate() == nil {
			return p
		}
	}
}

// An island admits no more than its share from nothing, whatever the policy, and all of
// that to who asks often enough.
func TestRL6_AnIslandAdmitsItsShare(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := anyPolicy(rt)
		n := rapid.IntRange(1, 7).Draw(rt, "instances")
		w := worldOf(t, limit.Local, n)
		defer w.Islands.Close()
		w.maroon()
		shareOf := func(tokens int64) float64 { return max(float64(tokens)/float64(n), 1) }
		rate := shareOf(p.Count) / float64(p.Per)
		if p.Algorithm == limit.TokenBucket {
			rate = max(float64(p.Count)/float64(n), min(1, float64(p.Count))) / float64(p.Per)
		}
		most, admitted, begun := shareOf(p.Capacity()), 0.0, w.clock.Mono()
		pause := rapid.SampledFrom([]time.Duration{p.Per / 300, p.Per / 7, time.Duration(0.7 / rate)}).Draw(rt, "pause")
		for range 25 {
			w.clock.Advance(time.Duration(rapid.Float64Range(0.1, 1.9).Draw(rt, "of") * float64(pause)))
			for _, cost := range []int64{1 << 30, 1 << 20, 1 << 10, 32, 1, 1} {
				cs := []limit.Charge{{Policy: p, Key: []byte("u"), Cost: min(cost, p.Capacity())}}
				denied, err := w.Take(cs)
				if err != nil {
					rt.Fatal(err)
				}
				c := cs[0]
				if c.Remaining < 0 || c.Remaining > p.Capacity() || c.Reset < 0 || (denied == 0) != (c.Wait > 0) || c.Wait == limit.Never {
					rt.Fatalf("%d: %+v", denied, c)
				}
				if denied == limit.Admitted {
					admitted += float64(c.Cost)
				}
			}
			age := float64(w.clock.Mono()-begun) + 1000 // stores count whole microseconds
			bound := rate * age                         // a bucket that began empty
			if p.Algorithm != limit.TokenBucket && age > float64(p.Per) {
				bound = most * (1 + age/float64(p.Per))
			}
			if admitted > bound*(1+1e-9)+1e-6 {
				rt.Fatalf("%v admitted in %s of %+v among %d; at most %v", admitted, time.Duration(age), *p, n, bound)
			}
		}
	})
}

// What a share gains is admitted, from the moment when the island began.
func TestRL6_AShareIsUsed(t *testing.T) {
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		p := &limit.Policy{Name: "p", Algorithm: a, Count: 100, Per: time.Minute}
		if a == limit.TokenBucket {
			p.Burst = 100
		}
		w := worldOf(t, limit.Local, 4)
		w.maroon()
		if got, denied, _ := w.take(p, "u"); denied != 0 || got.Wait != 2400*time.Millisecond {
			t.Errorf("%s: at once %d, %+v", a, denied, got)
		}
		admitted := 0
		for range 600 {
			w.clock.Advance(100 * time.Millisecond)
			if _, denied, _ := w.take(p, "u"); denied == limit.Admitted {
				admitted++
			}
		}
		if admitted < 24 || admitted > 25 {
			t.Errorf("%s: %d in the first minute, want 25", a, admitted)
		}
		// Who comes later finds his share.
		admitted = 0
		for range 100 {
			if _, denied, _ := w.take(p, "late"); denied == limit.Admitted {
				admitted++
			}
		}
		if admitted != 25 {
			t.Errorf("%s: %d of one who comes after a minute, want 25", a, admitted)
		}
	}
}

// Levels on an island are charged all or nothing too, and a bypass is no way around.
func TestRL6_LevelsOfAnIsland(t *testing.T) {
	w := worldOf(t, limit.Local, 2)
	w.maroon()
	w.clock.Advance(400 * time.Millisecond) // 2 tokens
	log := &limit.Policy{Name: "log", Algorithm: limit.SlidingLog, Count: 100, Per: time.Second}
	cs := []limit.Charge{{Policy: tens, Key: []byte("a"), Cost: 1}, {Policy: log, Key: []byte("b"), Cost: 1}, {Policy: tens, Key: []byte("c"), Cost: 2}}
	for i, want := range []int{limit.Admitted, 2, 2} {
		if denied, err := w.Take(cs); denied != want || err != nil {
			t.Fatalf("%d: %d, %v: %+v", i, denied, err, cs)
		}
	}
	if cs[0].Remaining != 1 || cs[1].Remaining != 19 || cs[2].Remaining != 0 || cs[0].Wait != 0 {
		t.Errorf("%+v", cs)
	}
	slow := &limit.Policy{Name: "slow", Algorithm: limit.TokenBucket, Count: 1, Per: time.Hour, Burst: 3}
	cs = []limit.Charge{{Policy: slow, Key: []byte("s"), Cost: 1, Bypass: true}, {Policy: tens, Key: []byte("a"), Cost: 1}}
	if denied, err := w.Take(cs); denied != limit.Admitted || err != nil || cs[0].Remaining != 0 || cs[0].Wait != 0 {
		t.Errorf("%d, %v: %+v", denied, err, cs)
	}
	cs = []limit.Charge{{Policy: slow, Key: []byte("s"), Cost: 4}}
	if denied, err := w.Take(cs); denied != 0 || err != nil || cs[0].Wait != limit.Never {
		t.Errorf("%d, %v: %+v", denied, err, cs)
	}
	w.clock.Advance(10 * time.Hour)
	cs = []limit.Charge{{Policy: slow, Key: []byte("t"), Cost: 3}} // more than a share, and not than the policy
	if denied, err := w.Take(cs); denied != 0 || err != nil || cs[0].Wait == limit.Never || cs[0].Wait == 0 {
		t.Errorf("%d, %v: %+v", denied, err, cs)
	}
	if denied, err := w.Take([]limit.Charge{{Policy: &limit.Policy{Algorithm: 7, Count: 1, Per: 1}, Key: []byte("x"), Cost: 1}}); err == nil {
		t.Errorf("nonsense: %d", denied)
	}
}

// The store comes and goes under many callers: it is never asked twice for one request,
// and in the end all is well.
func TestRL6_ComingAndGoing(t *testing.T) {
	w := worldOf(t, limit.Local, 2)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := w.take(tens, fmt.Sprint(n, i%100)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		w.shared.is(errGone)
		w.passes("an island", w.Alone)
		w.shared.is(nil)
		w.passes("the store is asked", func() bool { return !w.Alone() })
	}
	close(stop)
	all.Wait()
}
