package limit

import (
	"sync"
	"sync/atomic"
)

// shard is a part of the counters of a Memory, in a table that is open: an entry lies at
// its place or in the next that was free. It is read without a lock. A reader who
// misses an entry that is being moved asks again under the lock, so nothing is ever
// counted twice.
type shard struct {
	slots atomic.Pointer[table] // written when it grows or shrinks

	mu   sync.Mutex // of writers
	live int
	hand int // where the next victim is looked for
	_    [88]byte
}

// table has a length that is a power of two, and at least half of its slots free.
type table []atomic.Pointer[entry]

const (
	leastTable = 8
	// victims is how many entries are compared to find one to forget.
	victims = 16
)

// newTable returns an empty one for n entries, and a few more.
func newTable(n int) *table {
	size := leastTable
	for size < 2*n+2 {
		size *= 2
	}
	t := make(table, size)
	return &t
}

func (m *Memory) shard(p fingerprint) *shard { return &m.shards[p.hi&uint64(len(m.shards)-1)] }

func (s *shard) find(p fingerprint) *entry { return s.slots.Load().find(p) }

func (t table) find(p fingerprint) *entry {
	mask := len(t) - 1
	i := int(p.lo) & mask
	for range t {
		if e := t[i].Load(); e == nil || e.print == p {
			return e
		}
		i = (i + 1) & mask
	}
	return nil
}

// index is where the entry lies, or else where it would. Writers ask.
func (t table) index(p fingerprint) int {
	mask := len(t) - 1
	i := int(p.lo) & mask
	for range t {
		if e := t[i].Load(); e == nil || e.print == p {
			break
		}
		i = (i + 1) & mask
	}
	return i
}

// renew brings the entry of a charge under the terms of its policy; nil if it is gone.
func (m *Memory) renew(c *Charge, r *receipt, now int64) (*entry, error) {
	t, err := m.terms(c.Policy)
	if err != nil {
		return nil, err
	}
	s := m.shard(r.print)
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := *s.slots.Load()
	i := slots.index(r.print)
	e := slots[i].Load()
	if e != nil && (e.terms.numbers != t.numbers || e.old(now)) {
		next := e.move(t, now)
		m.retain(next)
		m.release(e)
		slots[i].Store(next)
		e = next
	}
	r.entry = e
	return e, nil
}

// place makes the entry of a charge, and charges it, which its policy's capacity covers. If
// there is one meanwhile it does nothing.
func (m *Memory) place(c *Charge, r *receipt) (admitted bool, err error) {
	t, err := m.terms(c.Policy)
	if err != nil {
		return false, err
	}
	s := m.shard(r.print)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(r.print) != nil {
		return false, nil
	}
	// The same counter may have gone a moment ago for being full by then, so this one
	// must not begin before.
	now := m.clock.Mono()
	if s.live >= m.most {
		m.makeRoom(s, now)
	}
	e := newEntry(r.print, t, now)
	m.retain(e)
	if e.ledger != nil {
		m.chargeLedger(e, c, r, now)
	} else {
		e.chargeBucket(c, r, now)
	}
	s.insert(e)
	m.begin.Do(func() { go m.sweeping() })
	return true, nil
}

// refund gives back what a bucket was charged, unless it was forgotten or renewed.
func (m *Memory) refund(r *receipt) {
	s := m.shard(r.print)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := r.entry
	for {
		word := e.bucket.Load()
		if word == dead {
			return
		}
		// The clock is read between the word and its swap: what the bucket has gained
		// by then is not given again, and nobody was charged in between.
		after := bucket(word).refund(r.taken, r.charged, e.terms.at(m.clock.Mono()-e.epoch))
		if e.bucket.CompareAndSwap(word, int64(after)) {
			return
		}
	}
}

// insert adds an entry that is not there.
func (s *shard) insert(e *entry) {
	slots := s.slots.Load()
	if 2*(s.live+1) > len(*slots) {
		slots = s.rebuild(2 * (s.live + 1))
	}
	(*slots)[slots.index(e.print)].Store(e)
	s.live++
}

// rebuild moves all to a table for n entries.
func (s *shard) rebuild(n int) *table {
	old, t := *s.slots.Load(), newTable(n)
	for i := range old {
		if e := old[i].Load(); e != nil {
			(*t)[t.index(e.print)].Store(e)
		}
	}
	s.slots.Store(t)
	s.hand = 0
	return t
}

// remove takes the entry at i out, and moves those after it that would no longer be
// found. Each is in its new place before it leaves the old.
func (s *shard) remove(i int) {
	t := *s.slots.Load()
	mask := len(t) - 1
	for j := (i + 1) & mask; ; j = (j + 1) & mask {
		e := t[j].Load()
		if e == nil {
			break
		}
		if home := int(e.print.lo) & mask; (j-home)&mask >= (j-i)&mask {
			t[i].Store(e)
			i = j
		}
	}
	t[i].Store(nil)
	s.live--
}

// makeRoom lets at least one entry go: of some, all that are worth nothing, or else the
// one that has most left. An attacker who floods with keys of his own pushes out
// those, rather than one that he or others have exhausted.
func (m *Memory) makeRoom(s *shard, now int64) {
	t := *s.slots.Load()
	var victim *entry
	var least, soonest int64
	gone := false
	for seen, passed := 0, 0; seen < victims && passed < len(t); passed++ {
		i := s.hand & (len(t) - 1)
		e := t[i].Load()
		if e == nil {
			s.hand++
			continue
		}
		seen++
		if used, lasts := e.fullness(now); used == 0 && e.kill(now, true) {
			m.release(e)
			s.remove(i) // and looks at what has moved here
			gone = true
			continue
		} else if victim == nil || used < least || used == least && lasts < soonest {
			victim, least, soonest = e, used, lasts
		}
		s.hand++
	}
	if !gone && victim != nil {
		victim.kill(now, false)
		m.release(victim)
		s.remove(t.index(victim.print))
		m.forgotten.Add(1)
	}
}

// retain counts the records that an entry has memory for.
func (m *Memory) retain(e *entry) {
	if e.ledger != nil {
		m.recorded.Add(int64(cap(e.ledger.records)))
	}
}

// release does the opposite, for one that has been killed: nobody writes it then.
func (m *Memory) release(e *entry) {
	if e.ledger != nil {
		m.recorded.Add(-int64(cap(e.ledger.records)))
	}
}

// sweep lets all go that are worth nothing.
func (m *Memory) sweep(s *shard, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := *s.slots.Load()
	for i := 0; i < len(t); {
		if e := t[i].Load(); e != nil && e.kill(now, true) {
			m.release(e)
			s.remove(i)
			continue
		}
		i++
	}
	if len(t) > leastTable && 8*s.live < len(t) {
		s.rebuild(s.live)
	}
}
