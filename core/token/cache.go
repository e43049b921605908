package token

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
)

// cache holds verified tokens, so that a known one costs a hash and a comparison.
//
// It is a fixed table of buckets in shards. A hit takes no lock and writes at most
// one mark in its own entry; whoever puts an entry locks its shard. What does not
// fit is evicted by a hand that goes round the shard and spares what was hit since
// it last came by, a few buckets at a time: no insertion pays for the whole, however
// many tokens come by once and never again.
type cache struct {
	seed    maphash.Seed
	shards  []shard
	shift   uint // of a hash, to its shard
	evicted atomic.Int64
}

// shard is one part of the table, with the bytes that it may hold.
type shard struct {
	buckets []bucket     // of a length that never changes
	bytes   atomic.Int64 // written under mu
	limit   int64

	mu   sync.Mutex // guards slots against other writers
	hand int        // the bucket that is looked through next
	_    [64]byte   // the next shard's lines are its own
}

const (
	ways = 8
	// slotBytes is about the least that an entry takes, so that the byte bound, and
	// not the number of slots, is what evicts.
	slotBytes = 1 << 10
	// bucketBytes is the size of a bucket, which counts against the bound.
	bucketBytes = ways * (8 + 4)
	// leastShard is the smallest share of a shard, and mostShards their number.
	leastShard = 256 << 10
	mostShards = 64
	// patience is how many buckets the hand passes for one insertion before it
	// spares nothing any more.
	patience = 32
)

// bucket is ways entries with a piece of each one's hash, so that a lookup reads
// few entries but the one it wants.
type bucket struct {
	tags  [ways]atomic.Uint32
	slots [ways]atomic.Pointer[entry]
}

// entry is a token that was verified. All but used is immutable.
type entry struct {
	token    string
	hash     uint64
	key      *verificationKey
	verified *Verified
	bytes    int64
	used     atomic.Bool // hit since the hand came by; set by readers, cleared by the hand
}

// dead says whether the entry may never be hit again.
func (e *entry) dead(now int64) bool { return e.key.withdrawn.Load() || e.verified.Expires <= now }

// newCache returns a cache that holds at most about limit bytes, its table included.
func newCache(limit int64) *cache {
	n := int64(1)
	for n < mostShards && limit/(2*n) >= leastShard {
		n *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, n), shift: uint(64 - bits.Len64(uint64(n-1)))}
	for i := range c.shards {
		s := &c.shards[i]
		s.buckets = make([]bucket, max(1, limit/n/(ways*slotBytes)))
		s.limit = limit/n - int64(len(s.buckets))*bucketBytes
	}
	return c
}

// hash is where a token is looked for. The seed keeps strangers from choosing it.
func (c *cache) hash(token []byte) uint64 { return maphash.Bytes(c.seed, token) }

func (c *cache) shard(hash uint64) *shard { return &c.shards[hash>>c.shift&uint64(len(c.shards)-1)] }

// bucket takes the middle bits: the upper ones chose the shard, the lower ones are the tag.
func (s *shard) bucket(hash uint64) *bucket {
	hi, _ := bits.Mul64(hash<<16, uint64(len(s.buckets)))
	return &s.buckets[hi]
}

// tag is never 0, which marks an empty slot.
func tag(hash uint64) uint32 { return uint32(hash) | 1 }

// get returns what the token stands for, nil if it is not known or its key was
// withdrawn. Dates are the caller's to check. It does not allocate.
func (c *cache) get(hash uint64, token []byte) *Verified {
	b, want := c.shard(hash).bucket(hash), tag(hash)
	for i := range b.tags {
		if b.tags[i].Load() != want {
			continue
		}
		e := b.slots[i].Load()
		if e == nil || e.hash != hash || e.token != string(token) || e.key.withdrawn.Load() {
			continue
		}
		if !e.used.Load() {
			e.used.Store(true)
		}
		return e.verified
	}
	return nil
}

// put adds an entry, unless it alone is too large a part of its shard.
func (c *cache) put(e *entry, now int64) {
	s := c.shard(e.hash)
	if e.bytes > s.limit/4 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.evicted.Add(s.room(e.bytes, now))
	b := s.bucket(e.hash)
	if s.set(b, b.place(e, now), e) {
		c.evicted.Add(1)
	}
}

// place returns the slot of b that e takes: the one of the same token, an empty
// one, one that is dead, one that was not hit lately, or any. It is called under mu.
func (b *bucket) place(e *entry, now int64) int {
	best, rank := int(e.hash>>32)%ways, 4
	for i := range b.slots {
		old, r := b.slots[i].Load(), 4
		switch {
		case old != nil && old.hash == e.hash && old.token == e.token:
			return i
		case old == nil:
			r = 1
		case old.dead(now):
			r = 2
		case !old.used.Load():
			r = 3
		}
		if r < rank {
			best, rank = i, r
		}
	}
	return best
}

// set replaces what is in a slot, and says whether something was. It is called
// under mu. Readers see the old tag with the new entry or the reverse for a moment,
// and miss.
func (s *shard) set(b *bucket, i int, e *entry) (replaced bool) {
	old := b.slots[i].Swap(e)
	t, grown := uint32(0), int64(0)
	if e != nil {
		t, grown = tag(e.hash), e.bytes
	}
	if old != nil {
		grown -= old.bytes
	}
	b.tags[i].Store(t)
	s.bytes.Add(grown)
	return old != nil
}

// room evicts until there is room for more bytes, and returns how many it evicted.
// It is called under mu.
func (s *shard) room(more, now int64) (evicted int64) {
	for passed := 0; s.bytes.Load()+more > s.limit && s.bytes.Load() > 0; passed++ {
		b := &s.buckets[s.hand]
		if s.hand++; s.hand == len(s.buckets) {
			s.hand = 0
		}
		for i := range b.slots {
			e := b.slots[i].Load()
			if e == nil || s.bytes.Load()+more <= s.limit {
				continue
			}
			if passed < patience && !e.dead(now) && e.used.Swap(false) {
				continue
			}
			s.set(b, i, nil)
			evicted++
		}
	}
	return evicted
}

// sweep drops what is dead, one shard at a time, a few buckets for each lock.
func (c *cache) sweep(now int64) {
	for i := range c.shards {
		s := &c.shards[i]
		for from := 0; from < len(s.buckets); from += patience {
			s.mu.Lock()
			for j := from; j < min(from+patience, len(s.buckets)); j++ {
				b := &s.buckets[j]
				for w := range b.slots {
					if e := b.slots[w].Load(); e != nil && e.dead(now) {
						s.set(b, w, nil)
					}
				}
			}
			s.mu.Unlock()
		}
	}
}

// bytes is what the cache holds now, its table included.
func (c *cache) bytes() (sum int64) {
	for i := range c.shards {
		sum += c.shards[i].bytes.Load() + int64(len(c.shards[i].buckets))*bucketBytes
	}
	return sum
}
