package limit

import (
	"sync"
	"sync/atomic"
)

// entry is one counter: a bucket, or else a ledger. The rest of it is immutable; under
// other terms, or another epoch, it is another entry.
//
// Whatever lowers a bucket, gives back or lets it go, holds the lock of its shard; all
// others only raise it. So who holds the lock and finds the word that he has read
// knows that nothing happened in between.
type entry struct {
	print  fingerprint
	terms  *terms
	epoch  int64        // whole microseconds of the clock's Mono
	bucket atomic.Int64 // a bucket, or dead; written by every charge, for it is the count
	ledger *lockedLedger
}

type lockedLedger struct {
	mu sync.Mutex
	ledger
	dead bool
}

func newEntry(print fingerprint, t *terms, now int64) *entry {
	e := &entry{print: print, terms: t, epoch: now - now%1000}
	if t.algorithm != TokenBucket {
		e.ledger = &lockedLedger{ledger: ledger{records: make([]record, 0, 1)}}
	}
	return e
}

// old says that the bucket's parts since its epoch would soon overflow.
func (e *entry) old(now int64) bool {
	return e.ledger == nil && now-e.epoch >= e.terms.era
}

// chargeBucket is alive unless the bucket has gone meanwhile.
func (e *entry) chargeBucket(c *Charge, r *receipt, now int64) (admitted, alive bool) {
	at := e.terms.at(now - e.epoch)
	for {
		word := e.bucket.Load()
		if word == dead {
			return false, false
		}
		after, taken, admitted := bucket(word).charge(e.terms, at, c.Cost, c.Bypass)
		if taken == 0 || e.bucket.CompareAndSwap(word, int64(after)) {
			if taken == 0 {
				after = bucket(word)
			}
			after.report(e.terms, at, c, admitted)
			r.entry, r.taken, r.charged = e, taken, at.up
			return admitted, true
		}
	}
}

func (e *entry) lookLedger(c *Charge, now int64) (admitted, alive bool) {
	l := e.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false, false
	}
	now = l.expire(e.terms, now)
	_, admitted = l.admit(e.terms, c.Cost, c.Bypass)
	l.report(e.terms, now, c, admitted)
	return admitted, true
}

func (m *Memory) chargeLedger(e *entry, c *Charge, r *receipt, now int64) (admitted, alive bool) {
	l := e.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return false, false
	}
	now = l.expire(e.terms, now)
	taken, admitted := l.admit(e.terms, c.Cost, c.Bypass)
	r.entry, r.taken, r.stamp = e, taken, e.terms.stamp(now)
	if taken > 0 {
		m.record(l, record{r.stamp, taken})
	}
	l.report(e.terms, now, c, admitted)
	return admitted, true
}

// record counts in a ledger. Where there is no room it is counted into the record that
// is there.
func (m *Memory) record(l *lockedLedger, r record) {
	if l.tight() && m.recorded.Load() >= m.records {
		l.crowd(r)
		return
	}
	before := cap(l.records)
	l.insert(r)
	m.recorded.Add(int64(cap(l.records) - before))
}

func (l *lockedLedger) giveBack(stamp, taken int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead && taken > 0 {
		l.refund(stamp, taken)
	}
}

// fullness is how much of a counter is used, from 0 for one that is worth nothing to
// 1024 for one that is exhausted, and for how long that lasts.
func (e *entry) fullness(now int64) (used int64, lasts int64) {
	if l := e.ledger; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		now = l.expire(e.terms, now)
		if l.used == 0 {
			return 0, 0
		}
		return 1 + min(l.used, e.terms.count)*1023/e.terms.count, l.records[len(l.records)-1].stamp + int64(e.terms.per) - now
	}
	missing := e.missing(e.bucket.Load(), now)
	if missing == 0 {
		return 0, 0
	}
	part := e.terms.full>>10 + 1
	return 1 + min(missing/part, 1023), missing / e.terms.grain.Gain * int64(e.terms.grain.Tick)
}

// missing is how many parts a bucket with this word is short of full, however old it is.
func (e *entry) missing(word, now int64) int64 {
	if now-e.epoch >= 2*e.terms.era {
		return 0 // in an era it gains more than it holds, or the era lasts 73 years
	}
	return bucket(word).missing(e.terms.at(now - e.epoch))
}

// kill ends the entry for those who still hold it. idle kills only what is worth nothing,
// and says whether it did.
func (e *entry) kill(now int64, idle bool) bool {
	if l := e.ledger; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.expire(e.terms, now)
		if idle && l.used > 0 {
			return false
		}
		l.dead = true
		return true
	}
	if !idle {
		e.bucket.Store(dead)
		return true
	}
	word := e.bucket.Load()
	return e.missing(word, now) == 0 && e.bucket.CompareAndSwap(word, dead)
}

// move makes the entry of the same counter under other terms, and ends this one. What
// was counted stays counted (SPEC RL7).
func (e *entry) move(t *terms, now int64) *entry {
	next := newEntry(e.print, t, now)
	var missing int64 // tokens that a ledger has used, or parts of a bucket
	if l := e.ledger; l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.expire(e.terms, now)
		l.dead = true
		if next.ledger != nil {
			next.ledger.ledger = l.ledger
			return next
		}
		missing = min(l.used, t.burst) * t.grain.Token
	} else {
		missing = e.missing(e.bucket.Swap(dead), now)
		if next.ledger != nil {
			if used := (missing + e.terms.grain.Token - 1) / e.terms.grain.Token; used > 0 {
				next.ledger.insert(record{t.stamp(now), used})
			}
			return next
		}
		missing = t.convert(missing, e.terms)
	}
	next.bucket.Store(missing)
	return next
}
