package session

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
)

// DefaultMemory is how many sessions a Memory keeps unless it is told otherwise: with
// a sealed pair each takes about 5 KiB, and few have one at a time.
const DefaultMemory = 100_000

// Memory keeps sessions in this process alone. It is bounded: where there are too
// many, the oldest of all end. All its methods take one lock; none is on the way of
// an ordinary request.
type Memory struct {
	mu     sync.Mutex
	most   int
	byID   map[string]*list.Element // of *Record
	byUser map[string][]*Record     // the oldest first
	order  *list.List               // the oldest first
}

// NewMemory returns an empty store for at most that many sessions.
func NewMemory(most int) *Memory {
	return &Memory{most: most, byID: map[string]*list.Element{}, byUser: map[string][]*Record{}, order: list.New()}
}

var _ Store = (*Memory)(nil)

// Begin keeps r.
func (m *Memory) Begin(_ context.Context, r Record, most int) ([]Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byID[r.ID] = m.order.PushBack(&r)
	m.byUser[r.User] = append(m.byUser[r.User], &r)
	var ended []Session
	living := 0
	for _, mine := range slices.Backward(m.byUser[r.User]) {
		if !mine.Living(r.Created) {
			continue
		}
		if living++; living > most {
			mine.end(r.Created)
			ended = append(ended, mine.Session)
		}
	}
	for m.order.Len() > m.most {
		oldest := m.order.Front().Value.(*Record)
		if oldest.Living(r.Created) {
			ended = append(ended, oldest.Session)
		}
		m.drop(oldest)
	}
	return ended, nil
}

// end marks a session as ended, and lets go what only a living one needs.
func (r *Record) end(at time.Time) {
	r.Ended, r.Grace = at, Grace{}
}

// drop is called under the lock.
func (m *Memory) drop(r *Record) {
	m.order.Remove(m.byID[r.ID])
	delete(m.byID, r.ID)
	left := slices.DeleteFunc(m.byUser[r.User], func(o *Record) bool { return o == r })
	if len(left) == 0 {
		delete(m.byUser, r.User)
		return
	}
	m.byUser[r.User] = left
}

// find returns nil if there is none. It is called under the lock.
func (m *Memory) find(id string) *Record {
	if e := m.byID[id]; e != nil {
		return e.Value.(*Record)
	}
	return nil
}

// Load returns a session.
func (m *Memory) Load(_ context.Context, id string) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.find(id); r != nil {
		return *r, nil
	}
	return Record{}, ErrUnknown
}

// Rotate goes from one refresh token to the next.
func (m *Memory) Rotate(_ context.Context, n Rotation) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.find(n.Session)
	if r == nil || !r.Living(n.At) || r.Current != n.From {
		return false, nil
	}
	r.Grace = Grace{Parent: n.From, Since: n.At, Access: n.Access, Sealed: n.Sealed}
	r.Current, r.Used = n.To, n.At
	if n.LastExpiry.After(r.LastExpiry) {
		r.LastExpiry = n.LastExpiry
	}
	return true, nil
}

// Seen closes graces.
func (m *Memory) Seen(_ context.Context, sightings []Sighting) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sightings {
		if r := m.find(s.Session); r != nil && r.Grace.Access == s.Access {
			r.Grace.Closed, r.Grace.Sealed = true, nil
		}
	}
	return nil
}

// List returns the living sessions of a user.
func (m *Memory) List(_ context.Context, user string, at time.Time) ([]Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Session
	for _, r := range m.byUser[user] {
		if r.Living(at) {
			out = append(out, r.Session)
		}
	}
	return out, nil
}

// End ends sessions.
func (m *Memory) End(_ context.Context, which Selection, at time.Time) ([]Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ended []Session
	for _, r := range m.byUser[which.User] {
		if r.Living(at) && r.ID != which.Except && (which.ID == "" || which.ID == r.ID) {
			r.end(at)
			ended = append(ended, r.Session)
		}
	}
	return ended, nil
}

// Forget drops what is over. It looks at every session, once a minute.
func (m *Memory) Forget(_ context.Context, at, graces time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.order.Front(); e != nil; {
		r := e.Value.(*Record)
		e = e.Next()
		if r.LastExpiry.Before(at) {
			m.drop(r)
		} else if r.Grace.Since.Before(graces) {
			r.Grace.Sealed = nil
		}
	}
	return nil
}
