package limit

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Denied remembers which counters have nothing left, and until when, so that a request
// is refused before anything is spent on it (SECURITY I10). It only ever repeats what a
// store has said: what it does not know, or has forgotten for want of room, the
// store is asked.
//
// It is for concurrent use. Reading takes no lock, writes nothing and allocates nothing;
// until something was noted it is one load. Noting what is known writes nothing
// either, so that a flood of one caller does not move a cache line.
type Denied struct {
	seeds seeds
	sets  int   // a power of two
	trust int64 // nanoseconds
	table atomic.Pointer[[]deniedSet]
}

// deniedWays is how many slots a key may lie in.
const deniedWays = 4

type deniedSet struct {
	mu    sync.Mutex // of writers
	slots [deniedWays]deniedSlot
}

// deniedSlot is one counter. Its writer holds its set's lock and makes seq odd
// meanwhile; what was read counts if seq was even and is the same after.
type deniedSlot struct{ seq, hi, lo, until, stale atomic.Uint64 }

// NewDenied returns one that remembers about size counters, at 42 bytes each from the
// first that is noted: 1 to 1<<24. A store is asked about a counter again once trust has
// passed: it may have something left sooner than the store could know, as when an
// operator deletes it, leases come back, or what denied was an instance's share while
// the store was away. 0: what a store has said stands.
func NewDenied(size int, trust time.Duration) *Denied {
	if trust <= 0 {
		trust = math.MaxInt64 / 2
	}
	size = min(max(size, deniedWays), 1<<24)
	return &Denied{seeds: newSeeds(), trust: int64(trust), sets: 1 << bits.Len(uint((size-1)/deniedWays))}
}

// Note remembers that the counter of the key denies until a time, as the store has said
// now; both are of the clock's Mono. Where there is no room those stay that deny longest.
func (d *Denied) Note(key []byte, now, until int64) {
	if until <= 0 {
		return
	}
	print := d.seeds.of(key)
	set := d.set(print)
	if set == nil {
		sets := make([]deniedSet, d.sets)
		d.table.CompareAndSwap(nil, &sets)
		if set = d.set(print); set == nil {
			return // it was made to forget at this moment
		}
	}
	if set.find(print, now) >= until {
		return
	}
	set.mu.Lock()
	defer set.mu.Unlock()
	victim := &set.slots[0]
	for i := range set.slots {
		s := &set.slots[i]
		if s.hi.Load() == print.hi && s.lo.Load() == print.lo {
			victim = s
			break
		}
		if s.until.Load() < victim.until.Load() {
			victim = s
		}
	}
	if int64(victim.until.Load()) >= until && int64(victim.stale.Load()) > now {
		return
	}
	victim.seq.Add(1)
	victim.hi.Store(print.hi)
	victim.lo.Store(print.lo)
	victim.until.Store(uint64(until))
	victim.stale.Store(uint64(min(until, now+d.trust)))
	victim.seq.Add(1)
}

// Until is for how long after now, of the clock's Mono, the counter of the key denies as
// far as is known; 0 if it may admit.
func (d *Denied) Until(key []byte, now int64) time.Duration {
	if d.table.Load() == nil {
		return 0
	}
	print := d.seeds.of(key)
	set := d.set(print)
	if set == nil {
		return 0
	}
	return time.Duration(max(0, set.find(print, now)-now))
}

// Forget forgets all, as when policies change: what they allow now, a store must say.
func (d *Denied) Forget() { d.table.Store(nil) }

func (d *Denied) set(print fingerprint) *deniedSet {
	sets := d.table.Load()
	if sets == nil {
		return nil
	}
	return &(*sets)[print.hi&uint64(d.sets-1)]
}

// find is until when the counter denies; 0 if that is not known now. A slot that is
// being written is not known.
func (s *deniedSet) find(print fingerprint, now int64) int64 {
	for i := range s.slots {
		slot := &s.slots[i]
		seq := slot.seq.Load()
		if seq&1 != 0 || slot.hi.Load() != print.hi || slot.lo.Load() != print.lo {
			continue
		}
		until, stale := slot.until.Load(), slot.stale.Load()
		if slot.seq.Load() != seq {
			continue
		}
		if int64(stale) <= now {
			return 0
		}
		return int64(until)
	}
	return 0
}
