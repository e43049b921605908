package limit_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

func TestI10_DeniedRepeatsWhatWasNoted(t *testing.T) {
	t.Parallel()
	d := limit.NewDenied(100, 0)
	a, b := []byte("rate_limit:ip:192.0.2.1:p"), []byte("rate_limit:ip:192.0.2.2:p")
	wants := func(key []byte, now, want int64) {
		t.Helper()
		if got := d.Until(key, now); got != time.Duration(want) {
			t.Errorf("%s at %d: %d, want %d", key, now, got, want)
		}
	}
	wants(a, 1, 0)
	d.Note(a, 0, 0)
	d.Note(a, 0, 10)
	wants(a, 1, 9)
	wants(a, 9, 1)
	wants(a, 10, 0)
	wants(b, 1, 0)
	d.Note(a, 0, 5) // a later answer of before
	wants(a, 1, 9)
	d.Note(a, 0, 20)
	wants(a, 1, 19)
	d.Note(b, 0, 7)
	wants(b, 1, 6)
	wants(a, 1, 19)
	d.Forget()
	wants(a, 1, 0)
	d.Note(a, 0, 30)
	wants(a, 1, 29)
}

func TestI10_DeniedIsBoundedAndKeepsTheLongest(t *testing.T) {
	t.Parallel()
	d := limit.NewDenied(1<<10, 0)
	long := []byte("long")
	d.Note(long, 0, 1_000_000)
	known := 0
	for i := range 100_000 { // a flood of those that wait for less
		d.Note(fmt.Append(nil, i), 0, int64(1+i%1000))
	}
	for i := range 100_000 {
		if got := d.Until(fmt.Append(nil, i), 0); got != 0 {
			known++
			if got != time.Duration(1+i%1000) {
				t.Fatalf("%d waits %d", i, got)
			}
		}
	}
	if known > 1<<10 || known < 1<<9 {
		t.Errorf("%d are known, want about 1024", known)
	}
	if d.Until(long, 0) != 1_000_000 {
		t.Error("who waits longest was forgotten")
	}
}

// A key is only ever told its own time, whatever is written meanwhile.
func TestI10_DeniedConfusesNobody(t *testing.T) {
	t.Parallel()
	d := limit.NewDenied(4, 0) // all in one set
	const keys = 64
	var wrong atomic.Int64
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 20_000 {
				n := (i*7 + worker) % keys
				key := []byte{byte(n)}
				if i%2 == 0 {
					d.Note(key, 0, int64(i)*keys+int64(n))
				}
				if until := int64(d.Until(key, 0)); until != 0 && until%keys != int64(n) {
					wrong.Add(1)
				}
				if i%5000 == 0 {
					d.Forget()
				}
			}
		})
	}
	all.Wait()
	if wrong.Load() != 0 {
		t.Errorf("%d were told another's time", wrong.Load())
	}
}

func BenchmarkDenied(b *testing.B) {
	d := limit.NewDenied(1<<14, 0)
	known, other := []byte("rate_limit:ip:2001:db8::/64:per-ip"), []byte("rate_limit:ip:192.0.2.1:per-ip")
	b.Run("nothing noted", func(b *testing.B) {
		for b.Loop() {
			d.Until(other, 1)
		}
	})
	d.Note(known, 0, 1<<62)
	for name, key := range map[string][]byte{"known": known, "other": other} {
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					d.Until(key, 1)
				}
			})
		})
	}
	b.Run("noted again", func(b *testing.B) {
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				d.Note(known, 0, 1<<61)
			}
		})
	})
}

// TestI10_TheStoreIsAskedAgain about who waits for longer than it is trusted: a counter
// may have been deleted.
func TestI10_TheStoreIsAskedAgain(t *testing.T) {
	t.Parallel()
	d := limit.NewDenied(100, 10*time.Second)
	key := []byte("k")
	const hour, second = int64(time.Hour), int64(time.Second)
	for begun := int64(0); begun < 30*second; begun += 10 * second {
		d.Note(key, begun, hour)
		if got := d.Until(key, begun+10*second-1); int64(got) != hour-begun-10*second+1 {
			t.Errorf("ten seconds after %d it waits for %s", begun, got)
		}
		if got := d.Until(key, begun+10*second); got != 0 {
			t.Errorf("after that nobody asks: %s", got)
		}
	}
	d.Note(key, 30*second, 31*second) // the store has thought better of it
	if got := d.Until(key, 30*second); got != time.Second {
		t.Errorf("it waits for %s, want what was said last", got)
	}
}
