package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

// The budget looks back over budgetWindow seconds; each second has a slot, and the
// ring is a power of two with room for those that are being begun.
const (
	budgetWindow = 10
	budgetRing   = 16
	budgetLanes  = 8
)

// leastRetries is how many retries a second are always allowed (SPEC PX6): a
// service with few requests could not be retried at all otherwise.
const leastRetries = 10

// Budget keeps retries from multiplying an outage. Requests are counted in lanes,
// so that two cores mostly write two cache lines; retries, which are rare, take a
// lock. The zero value is ready. Times are monotonic nanoseconds.
type Budget struct {
	lanes [budgetLanes]lane

	mu      sync.Mutex
	retries [budgetRing]struct{ second, n int64 }
}

// lane is the requests that one stripe counted: each slot holds the low 32 bits of
// its second above, and a count below.
type lane struct {
	slots [budgetRing]atomic.Uint64
}

// Request counts one request of the caller's stripe; any index will do.
func (b *Budget) Request(stripe uint32, now int64) {
	second := uint64(uint32(now / int64(time.Second)))
	slot := &b.lanes[stripe%budgetLanes].slots[second%budgetRing]
	for {
		old := slot.Load()
		switch {
		case old>>32 == second && uint32(old) != ^uint32(0):
			slot.Add(1)
			return
		case old>>32 == second: // full: a count beyond 2³² changes nothing
			return
		case slot.CompareAndSwap(old, second<<32|1):
			return
		}
	}
}

// Requests is how many requests the last 10 s saw, about.
func (b *Budget) Requests(now int64) uint64 {
	second := now / int64(time.Second)
	var sum uint64
	for i := range b.lanes {
		for s := max(second-budgetWindow+1, 0); s <= second; s++ {
			v := b.lanes[i].slots[uint64(s)%budgetRing].Load()
			if v>>32 == uint64(uint32(s)) {
				sum += uint64(uint32(v))
			}
		}
	}
	return sum
}

// TryRetry takes one retry if the budget has one: retries may be share of the
// requests of the last 10 s, and ten in any second come free.
func (b *Budget) TryRetry(now int64, share float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	second := now / int64(time.Second)
	slot := &b.retries[second%budgetRing]
	if slot.second != second {
		slot.second, slot.n = second, 0
	}
	if slot.n >= leastRetries && float64(b.spent(second)) >= share*float64(b.Requests(now)) {
		return false
	}
	slot.n++
	return true
}

// spent is how many retries the last 10 s took.
func (b *Budget) spent(second int64) int64 {
	var sum int64
	for i := range b.retries {
		if s := &b.retries[i]; s.second > second-budgetWindow && s.second <= second {
			sum += s.n
		}
	}
	return sum
}
