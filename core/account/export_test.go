package account

import (
	"io"
	"time"
)

// Cheaper makes passwords cost next to nothing, for tests that are not about that.
func (p *Passwords) Cheaper() *Passwords {
	p.cost = cost{memory: 64, passes: 1, threads: 1}
	p.dummy, p.floor = dummyHash(p.cost), 0
	return p
}

// WithFloor sets the least time of a comparison that fails.
func (p *Passwords) WithFloor(d time.Duration) *Passwords {
	p.floor = d
	return p
}

// WithPool sets the bounds of the pool.
func (p *Passwords) WithPool(workers, queue int, wait time.Duration) *Passwords {
	p.pool = newPool(workers, p.pool.beside)
	p.pool.queue, p.pool.wait = int64(queue), wait
	return p
}

// ReadBreached reads a list with another bound.
func ReadBreached(r io.Reader, most int) (*Breached, error) { return readBreached(r, most) }

// Bounded sets how many keys are held.
func (m *MemoryThrottle) Bounded(most int) *MemoryThrottle {
	m.most = most
	return m
}

// Held is how many keys are held.
func (m *MemoryThrottle) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.counts)
}

// Seal seals a secret as Enrol does.
func (a *Accounts) Seal(userID string, secret []byte) []byte { return a.seals.seal(userID, secret) }

// WithCost sets what new hashes cost, in KiB and passes.
func (p *Passwords) WithCost(memory, passes uint32) *Passwords {
	p.cost = cost{memory: memory, passes: passes, threads: 1}
	p.dummy = dummyHash(p.cost)
	return p
}

// Occupy takes places of the pool until leave is called.
func (p *Passwords) Occupy(n int) (leave func()) {
	for range n {
		p.pool.places <- struct{}{}
	}
	return func() {
		for range n {
			<-p.pool.places
		}
	}
}

// Waiting is how many wait for a place.
func (p *Passwords) Waiting() int { return int(p.pool.waiting.Load()) }
