package ticket

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// DefaultMemory is how many tickets a Memory keeps unless it is told otherwise: at
// 30 s each, more than three thousand may be asked for every second.
const DefaultMemory = 100_000

// Memory keeps tickets in this process alone. It is bounded.
type Memory struct {
	mu    sync.Mutex
	most  int
	clock clock.Clock
	byKey map[string]*list.Element // of *entry
	order *list.List               // as they were put: all live equally long
}

type entry struct {
	key   string
	value []byte
	ends  time.Time
}

// NewMemory returns an empty store for at most that many tickets.
func NewMemory(most int, c clock.Clock) *Memory {
	return &Memory{most: most, clock: c, byKey: map[string]*list.Element{}, order: list.New()}
}

var _ Store = (*Memory)(nil)

// Put keeps a ticket; a full store takes none.
func (m *Memory) Put(_ context.Context, key string, value []byte, life time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	for e := m.order.Front(); e != nil && !now.Before(e.Value.(*entry).ends); e = m.order.Front() {
		m.remove(e)
	}
	if old := m.byKey[key]; old != nil {
		m.remove(old)
	}
	if len(m.byKey) >= m.most {
		return fmt.Errorf("%w: it is full", ErrUnavailable)
	}
	m.byKey[key] = m.order.PushBack(&entry{key, value, now.Add(life)})
	return nil
}

// remove is called under the lock.
func (m *Memory) remove(e *list.Element) {
	m.order.Remove(e)
	delete(m.byKey, e.Value.(*entry).key)
}

// Take returns and removes a ticket.
func (m *Memory) Take(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byKey[key]
	if e == nil {
		return nil, nil
	}
	m.remove(e)
	found := e.Value.(*entry)
	if !m.clock.Now().Before(found.ends) {
		return nil, nil
	}
	return found.value, nil
}
