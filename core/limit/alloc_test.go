//go:build !race

package limit_test

import (
	"encoding/binary"
	"fmt"
	"github.com/suuupra/gateway/core/clock"
	"golang.org/x/sys/unix"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

func TestAllocsDenied0(t *testing.T) {
	d := limit.NewDenied(1<<10, 0)
	key := []byte("rate_limit:ip:" + strings.Repeat("f", 40))
	d.Note(key, 0, 1)
	until := int64(2)
	if n := testing.AllocsPerRun(1000, func() { d.Note(key, 0, until); d.Until(key, 1); until++ }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// three are the levels of a route: by user, by address and of all.
func three() []limit.Charge {
	global := &limit.Policy{Name: "global", Algorithm: limit.TokenBucket, Count: 1e9, Per: time.Second, Burst: 1e9}
	user := &limit.Policy{Name: "standard", Algorithm: limit.TokenBucket, Count: 1e8, Per: time.Second, Burst: 1e8}
	ip := &limit.Policy{Name: "per-ip", Algorithm: limit.TokenBucket, Count: 1e8, Per: time.Second, Burst: 1e8}
	var cs []limit.Charge
	for _, c := range []limit.Counter{{Level: "user", Value: "u-12345678", Policy: user}, {Level: "ip", Value: "2001:db8:1:2::", Policy: ip}, {Level: "global", Policy: global}} {
		cs = append(cs, limit.Charge{Policy: c.Policy, Key: c.AppendKey(nil), Cost: 1})
	}
	return cs
}

func TestAllocsTake0(t *testing.T) {
	m := limit.NewMemory(clock.Real(), limit.MemoryOptions{})
	defer m.Close()
	levels := three()
	denied := append(three(), limit.Charge{Policy: bucketOf(1, time.Hour), Key: []byte("exhausted"), Cost: 1})
	for what, cs := range map[string][]limit.Charge{
		"one level": levels[:1], "three levels": levels, "denied": denied,
		"a window":            {{Policy: &limit.Policy{Name: "w", Algorithm: limit.SlidingWindow, Count: 1e9, Per: time.Second}, Key: []byte("w"), Cost: 1}},
		"a log":               {{Policy: &limit.Policy{Name: "l", Algorithm: limit.SlidingLog, Count: 1000, Per: time.Millisecond}, Key: []byte("l"), Cost: 1}},
		"a log that is empty": {{Policy: &limit.Policy{Name: "e", Algorithm: limit.SlidingLog, Count: 2, Per: time.Hour}, Key: []byte("e"), Cost: 1}},
	} {
		for range 3000 {
			admits(t, m, cs)
		}
		if n := testing.AllocsPerRun(2000, func() { _, _ = m.Take(cs) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// million makes a charge to one of n keys, without an allocation.
type million struct {
	policy *limit.Policy
	n      uint64
	key    [24]byte
	cs     [1]limit.Charge
}

func newMillion(p *limit.Policy, n uint64) *million {
	k := &million{policy: p, n: n}
	copy(k.key[:], "rate_limit:user:")
	return k
}

// charge is to the i-th of them in an order that no cache foresees.
func (k *million) charge(i uint64) []limit.Charge {
	i = i * 0x9E3779B97F4A7C15 >> 11 % k.n
	binary.LittleEndian.PutUint64(k.key[16:], i)
	k.cs[0] = limit.Charge{Policy: k.policy, Key: k.key[:], Cost: 1}
	return k.cs[:]
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// running is how long this thread has run: what the machine does meanwhile for others is
// no pause of ours.
func running(t *testing.T) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// A million counters, each of a caller who came once or twice: what they take, how long
// the longest charge took that made one, and what a charge costs among them.
func TestAMillionKeys(t *testing.T) {
	for name, p := range map[string]*limit.Policy{
		"token_bucket":   bucketOf(100, time.Hour),
		"sliding_window": {Name: "w", Algorithm: limit.SlidingWindow, Count: 100, Per: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			for try := 1; ; try++ { // the machine may have its whims: not three times
				each, longest := fill(t, p)
				t.Logf("%d bytes each, the longest pause %s", each, longest)
				if each >= 200 || each <= 0 {
					t.Fatalf("%d bytes each, want under 200", each)
				}
				if longest < 10*time.Millisecond {
					return
				}
				if try == 3 {
					t.Fatalf("a charge took %s", longest)
				}
			}
		})
	}
}

// fill makes a million counters, and returns what one takes in bytes and the longest time
// that a charge took.
func fill(t *testing.T, p *limit.Policy) (each int64, longest time.Duration) {
	const n = 1_000_000
	const together = 20 // reading the clock takes longer than a charge
	before := heap()
	m := limit.NewMemory(clock.Real(), limit.MemoryOptions{Entries: 1_100_000})
	defer m.Close()
	k := newMillion(p, 1<<62)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range uint64(n / together) {
		start := running(t)
		for j := range uint64(together) {
			if denied, err := m.Take(k.charge(i*together + j)); denied != limit.Admitted || err != nil {
				t.Fatal(denied, err)
			}
		}
		longest = max(longest, running(t)-start)
	}
	if m.Len() < n-1 {
		t.Errorf("%d counters", m.Len())
	}
	return (heap() - before) / n, longest
}

// A charge among a million counters waits for memory twice, where one of ten finds all in
// the caches. Both are next to nothing beside a request, which takes 20 µs at least.
func TestAMillionKeysAreAsFastAsTen(t *testing.T) {
	p := bucketOf(1e9, time.Second)
	m := limit.NewMemory(clock.Real(), limit.MemoryOptions{Entries: 1_100_000})
	defer m.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cost := func(n uint64) time.Duration {
		best := time.Hour
		k := newMillion(p, n)
		for range 5 {
			const charges = 200_000
			start := running(t)
			for i := range uint64(charges) {
				_, _ = m.Take(k.charge(i))
			}
			best = min(best, (running(t)-start)/charges)
		}
		return best
	}
	ten := cost(10)
	k := newMillion(p, 1_000_000)
	for i := range uint64(2_000_000) {
		_, _ = m.Take(k.charge(i))
	}
	many := cost(1_000_000)
	t.Logf("%s among 10, %s among %d", ten, many, m.Len())
	const request = 20 * time.Microsecond
	if many-ten > request/10 {
		t.Errorf("a charge takes %s among a million and %s among ten: more than a tenth of a request", many, ten)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, levels := range []int{1, 3} {
		b.Run(fmt.Sprintf("%d levels", levels), func(b *testing.B) {
			m := limit.NewMemory(clock.Real(), limit.MemoryOptions{})
			defer m.Close()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				cs := three()[:levels]
				for pb.Next() {
					_, _ = m.Take(cs)
				}
			})
		})
	}
	for _, n := range []uint64{10, 1_000_000} {
		b.Run(fmt.Sprintf("of %d keys", n), func(b *testing.B) {
			m := limit.NewMemory(clock.Real(), limit.MemoryOptions{Entries: 1_100_000})
			defer m.Close()
			p := bucketOf(1e9, time.Second)
			for i, k := uint64(0), newMillion(p, n); i < 3*n; i++ {
				_, _ = m.Take(k.charge(i))
			}
			b.ResetTimer()
			var worker atomic.Uint64
			b.RunParallel(func(pb *testing.PB) {
				k := newMillion(p, n)
				for i := worker.Add(1) << 40; pb.Next(); i++ {
					_, _ = m.Take(k.charge(i))
				}
			})
		})
	}
}
