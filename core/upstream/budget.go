package upstream

import (
	"sync"
	"time"
)

// budgetWindow is how many seconds the budget looks back.
const budgetWindow = 10

// leastRetries is how many retries a second are always allowed (SPEC PX6): a
// service with few requests could not be retried at all otherwise.
const leastRetries = 10

// Budget keeps retries from multiplying an outage. Requests are counted in a ring of
// seconds; retries, which are rare, take a lock. The zero value is ready. Times are
// monotonic nanoseconds.
type Budget struct {
	requests ticks

	mu      sync.Mutex
	retries [ringSlots]struct{ second, n int64 }
}

// Request counts one request of the caller's stripe; any index will do.
func (b *Budget) Request(stripe uint32, now int64) {
	b.requests.add(stripe, uint64(now/int64(time.Second)))
}

// Requests is how many requests the last 10 s saw, about.
func (b *Budget) Requests(now int64) uint64 {
	second := now / int64(time.Second)
	return b.requests.sum(uint64(max(second-budgetWindow+1, 0)), uint64(second))
}

// TryRetry takes one retry if the budget has one: retries may be share of the
// requests of the last 10 s, and ten in any second come free.
func (b *Budget) TryRetry(now int64, share float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	second := now / int64(time.Second)
	slot := &b.retries[second%ringSlots]
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
