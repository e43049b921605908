package apikey

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"unsafe"
)

// entry is what the process knows of one id. All but the atomics is immutable.
type entry struct {
	id       keyID
	revision int64
	active   bool
	versions []known // newest first: it is the one that is shown
	read     int64   // Mono when the store said so
	ahead    int64   // Mono from which it may be read again in the background
	cost     int64   // bytes

	fresh atomic.Int64 // Mono from which it must be read again; a push sets it
	asked atomic.Bool  // somebody ordered the background reading
	used  atomic.Bool  // since the hand last passed; written once, not per request
}

// known is one secret of a key.
type known struct {
	hash Hash
	key  *Key
}

// ways is how many places an id has: eight pointers fill a cache line.
const ways = 8

// spread is how many bytes of the limit there are per place, fewer than an entry
// takes: with three of eight places filled on average, a set hardly ever overflows.
const spread = 256

// cache holds entries by id. Reading takes no lock: an id has its place in one of
// eight slots of a set, like the lines of a processor's cache. Writing takes one,
// and happens once per key and minute. The index is a seeded hash, so that nobody
// can aim ids at one set; what is found is compared byte for byte.
type cache struct {
	seed maphash.Seed
	sets [][ways]atomic.Pointer[entry]

	mu    sync.Mutex
	bytes int64 // of entries and slots
	limit int64
	hand  int // the set where eviction goes on
	count atomic.Int64
}

// newCache returns a cache that never holds more than limit bytes.
func newCache(limit int64) *cache {
	sets := 1
	for int64(sets*2)*ways*spread <= limit {
		sets *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), sets: make([][ways]atomic.Pointer[entry], sets), limit: limit}
	c.bytes = c.overhead()
	return c
}

// overhead is what the slots take.
func (c *cache) overhead() int64 { return int64(len(c.sets)) * int64(unsafe.Sizeof(c.sets[0])) }

func (c *cache) set(id *keyID) *[ways]atomic.Pointer[entry] {
	return &c.sets[maphash.Bytes(c.seed, id[:])&uint64(len(c.sets)-1)]
}

// get returns the entry of id, or nil. It does not allocate.
func (c *cache) get(id *keyID) *entry {
	set := c.set(id)
	for i := range set {
		if e := set[i].Load(); e != nil && e.id == *id {
			if !e.used.Load() {
				e.used.Store(true)
			}
			return e
		}
	}
	return nil
}

// put takes the place of an older entry of its id, of nothing, or of one that was
// not used lately. What alone exceeds the limit is not kept.
func (c *cache) put(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.set(&e.id)
	c.remove(&e.id)
	for evicted := 0; c.bytes+e.cost > c.limit; evicted++ {
		if evicted > 2*len(c.sets) {
			return
		}
		c.hand = (c.hand + 1) & (len(c.sets) - 1)
		c.sweep(&c.sets[c.hand])
	}
	slot := c.slot(set)
	c.drop(slot)
	slot.Store(e)
	c.bytes += e.cost
	c.count.Add(1)
}

// slot is where the next entry of a set goes: it is free, or its holder was not
// used since the last search, or it is the first one.
func (c *cache) slot(set *[ways]atomic.Pointer[entry]) *atomic.Pointer[entry] {
	var unused *atomic.Pointer[entry]
	for i := range set {
		switch e := set[i].Load(); {
		case e == nil:
			return &set[i]
		case unused == nil && !e.used.Swap(false):
			unused = &set[i]
		}
	}
	if unused == nil {
		unused = &set[0]
	}
	return unused
}

// sweep drops what of a set was not used since the last time.
func (c *cache) sweep(set *[ways]atomic.Pointer[entry]) {
	for i := range set {
		if e := set[i].Load(); e != nil && !e.used.Swap(false) {
			c.drop(&set[i])
		}
	}
}

func (c *cache) drop(slot *atomic.Pointer[entry]) {
	if e := slot.Swap(nil); e != nil {
		c.bytes -= e.cost
		c.count.Add(-1)
	}
}

// remove forgets id; it is called under mu.
func (c *cache) remove(id *keyID) {
	set := c.set(id)
	for i := range set {
		if e := set[i].Load(); e != nil && e.id == *id {
			c.drop(&set[i])
		}
	}
}

// forget removes the entry of id if it is older than revision.
func (c *cache) forget(id *keyID, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.set(id)
	for i := range set {
		if e := set[i].Load(); e != nil && e.id == *id && e.revision < revision {
			c.drop(&set[i])
		}
	}
}

// each calls f for every entry.
func (c *cache) each(f func(*entry)) {
	for i := range c.sets {
		for j := range c.sets[i] {
			if e := c.sets[i][j].Load(); e != nil {
				f(e)
			}
		}
	}
}

// size is the bytes in use.
func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// newEntry compiles a record. Errors wrap ErrInvalid.
func newEntry(r *Record) (*entry, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	scopes, err := r.scopes()
	if err != nil {
		return nil, err // checked before
	}
	e := &entry{id: keyID([]byte(r.ID)), revision: r.Revision, active: r.active()}
	for i := len(r.Versions) - 1; i >= 0; i-- {
		v := r.Versions[i]
		e.versions = append(e.versions, known{v.Hash, r.key(v, scopes)})
	}
	e.cost = costOf(r)
	return e, nil
}

// costOf bounds what an entry takes: the scopes are held as a list and as one
// text, and each allocation is rounded up, by a quarter at most.
func costOf(r *Record) int64 {
	n := int64(unsafe.Sizeof(entry{})) + int64(len(r.ID)+len(r.Name)+len(r.Client)+len(r.User)+len(r.Policy)+len(r.Owner.Policy))
	n += int64(len(r.Versions)) * int64(unsafe.Sizeof(known{})+unsafe.Sizeof(Key{}))
	n += int64(len(r.AllowFrom)) * int64(unsafe.Sizeof(r.AllowFrom[0]))
	for _, list := range [][]string{r.Scopes, r.Owner.Scopes} {
		for _, s := range list {
			n += int64(unsafe.Sizeof(s)) + 2*int64(len(s)) + 1
		}
	}
	return n + n/4
}
