//go:build !race

package limit_test

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

func TestAllocsIsland0(t *testing.T) {
	w := worldOf(t, limit.Local, 3)
	w.maroon()
	w.clock.Advance(500 * time.Millisecond)
	log := &limit.Policy{Name: "log", Algorithm: limit.SlidingLog, Count: 100, Per: time.Second}
	cs := []limit.Charge{{Policy: tens, Key: []byte("a"), Cost: 1}, {Policy: log, Key: []byte("b"), Cost: 1}, {Policy: tens, Key: []byte("c"), Cost: 1}}
	for range 2 { // while it fills, and after
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := w.Take(cs); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
		w.clock.Advance(time.Hour)
	}
}
