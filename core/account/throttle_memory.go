package account

import (
	"context"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// maxCounted is how many keys a MemoryThrottle holds, about 20 MB of them.
const maxCounted = 100_000

// looked is how many keys are compared to find one to forget.
const looked = 16

// MemoryThrottle counts the attempts at one instance, and none before its start. It
// is bounded: a flood of new keys pushes out keys with few attempts. It may be used
// concurrently; one lock is enough for what costs a password hash each.
type MemoryThrottle struct {
	clock clock.Clock
	most  int

	mu     sync.Mutex
	counts map[string]*attempts
}

// attempts are those of one key, by the clock's Mono.
type attempts struct {
	count int
	ends  int64 // of the window
	next  int64 // nobody may try before
}

var _ Throttle = (*MemoryThrottle)(nil)

// NewMemoryThrottle returns one that has counted nothing.
func NewMemoryThrottle(c clock.Clock) *MemoryThrottle {
	return &MemoryThrottle{clock: c, most: maxCounted, counts: map[string]*attempts{}}
}

// Attempt is Throttle's; it never fails.
func (m *MemoryThrottle) Attempt(_ context.Context, key string, limit Limit) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Mono()
	a := m.counts[key]
	if a == nil || now >= a.ends {
		if a == nil {
			m.makeRoom(now)
		}
		a = &attempts{ends: now + int64(limit.Window)}
		m.counts[key] = a
	}
	if now < a.next {
		return time.Duration(a.next - now), nil
	}
	a.count++
	a.next = now + int64(limit.Delay(a.count, time.Duration(a.ends-now)))
	return 0, nil
}

// Refund is Throttle's; it never fails.
func (m *MemoryThrottle) Refund(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.counts[key]
	if a == nil {
		return nil
	}
	if a.count--; a.count <= 0 {
		delete(m.counts, key)
	}
	a.next = 0
	return nil
}

// Clear is Throttle's; it never fails.
func (m *MemoryThrottle) Clear(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.counts, key)
	return nil
}

// makeRoom forgets one key if there are too many: of some that the map's random order
// shows first, one whose window is over, or else the one with the fewest attempts. An
// attacker who floods with keys of his own pushes out those, rather than the one that
// counts his guesses.
func (m *MemoryThrottle) makeRoom(now int64) {
	if len(m.counts) < m.most {
		return
	}
	var victim string
	var least *attempts
	n := 0
	for key, a := range m.counts {
		if now >= a.ends {
			victim = key
			break
		}
		if least == nil || a.count < least.count || a.count == least.count && a.ends < least.ends {
			victim, least = key, a
		}
		if n++; n == looked {
			break
		}
	}
	delete(m.counts, victim)
}
