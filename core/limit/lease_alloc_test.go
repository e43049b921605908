//go:build !race

package limit

import (
	"testing"
	"time"
)

// levelsOf is three levels of which an instance holds leases.
func levelsOf(t testing.TB, l *Leased) []Charge {
	var charges []Charge
	for _, name := range []string{"user", "route", "global"} {
		p := &Policy{Name: name, Algorithm: TokenBucket, Count: Largest, Per: time.Second, Burst: Largest}
		charges = append(charges, Charge{Policy: p, Key: []byte("rate_limit:" + name + ":some"), Cost: 1})
	}
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; {
		if denied, err := l.Take(charges); denied != Admitted || err != nil {
			t.Fatal(denied, err)
		}
	}
	return charges
}

func TestAllocsLeased0(t *testing.T) {
	l := leasedOver(t, newCounters())
	charges := levelsOf(t, l)
	if n := testing.AllocsPerRun(1000, func() { _, _ = l.Take(charges) }); n != 0 {
		t.Errorf("admitting: %v allocations", n)
	}
	none := []Charge{charges[0], chargeOf(rare("none", 1), 1)}
	for range 3 {
		_, _ = l.Take(none)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = l.Take(none) }); n != 0 {
		t.Errorf("denying: %v allocations", n)
	}
}

func BenchmarkLeased(b *testing.B) {
	l := leasedOver(b, newCounters())
	charges := levelsOf(b, l)
	b.ReportAllocs()
	b.Run("one caller", func(b *testing.B) {
		for b.Loop() {
			_, _ = l.Take(charges)
		}
	})
	b.Run("many callers", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			mine := append([]Charge(nil), charges...)
			for pb.Next() {
				_, _ = l.Take(mine)
			}
		})
	})
}
