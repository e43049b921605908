package revocation

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// shardBits of a hash choose the shard. Cleaning and growing stop the writers of one
	// shard at a time: with a million entries that is a few milliseconds each.
	shardBits = 6
	shards    = 1 << shardBits
	// fewest is the number of buckets of a shard that has any.
	fewest = 16
)

// table holds entries by key. Readers take no lock and write nothing: requests on
// all processors read it, and a revocation is rare.
//
// A shard is a hash table of chains of nodes that never change. A writer puts a new
// node before the others, in front of an older one of the same key too; what is
// behind it is dropped when the shard is built anew.
type table struct {
	seed maphash.Seed
	// used says that there ever was an entry. Written once; until then nobody pays for a hash.
	used   atomic.Bool
	shards [shards]shard
}

type shard struct {
	buckets atomic.Pointer[[]bucket] // nil: the shard is empty. Its length is a power of two
	mu      sync.Mutex               // taken by writers
	nodes   int                      // all there are, those behind newer ones too
	keys    atomic.Int64             // written under mu, read for the metric
}

type bucket struct{ first atomic.Pointer[node] }

type node struct {
	Entry
	next *node // never written after the node stands in a chain
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

// get returns the entry of a key.
func (t *table) get(key string) (Entry, bool) {
	for n := t.chain(t.hashKey(key)); n != nil; n = n.next {
		if n.Key == key {
			return n.Entry, true
		}
	}
	return Entry{}, false
}

// refuses asks about an id, before which prefix stands in keys. It allocates nothing.
func (t *table) refuses(prefix, id string, issuedAt int64) bool {
	if id == "" || !t.used.Load() {
		return false
	}
	var n *node
	if isPlain(id) {
		n = t.chain(maphash.String(t.seed, id))
		for n != nil && !(len(n.Key) == len(prefix)+len(id) && n.Key[:len(prefix)] == prefix && n.Key[len(prefix):] == id) {
			n = n.next
		}
	} else {
		var room [longestKey]byte
		key := appendID(append(room[:0], prefix...), id)
		n = t.chain(maphash.Bytes(t.seed, key[len(prefix):]))
		for n != nil && n.Key != string(key) {
			n = n.next
		}
	}
	return n != nil && n.refuses(issuedAt)
}

// hash is that of an id's key. It allocates nothing.
func (t *table) hash(id string) uint64 {
	if isPlain(id) {
		return maphash.String(t.seed, id)
	}
	var room [longestKey]byte
	return maphash.Bytes(t.seed, appendID(room[:0], id))
}

// hashKey is that of a key: of what stands behind the prefix of a user's.
func (t *table) hashKey(key string) uint64 {
	return maphash.String(t.seed, strings.TrimPrefix(key, userPrefix))
}

// chain is where the nodes of a hash stand.
func (t *table) chain(hash uint64) *node {
	b := t.shards[hash>>(64-shardBits)].buckets.Load()
	if b == nil {
		return nil
	}
	return (*b)[hash&uint64(len(*b)-1)].first.Load()
}

// merge makes the table refuse what e refuses too. It returns the entry that stands
// for the key now, and whether that is another one than before. An entry whose time has
// come is none: it must not make a later one refuse more than it says.
func (t *table) merge(e Entry, now int64) (merged Entry, changed bool) {
	hash := t.hashKey(e.Key)
	s := &t.shards[hash>>(64-shardBits)]
	s.mu.Lock()
	defer s.mu.Unlock()
	t.used.Store(true)
	old, known := t.get(e.Key)
	if known && old.Expires > now {
		if e = old.Merge(e); e == old {
			return e, false
		}
	}
	b := s.buckets.Load()
	if b == nil || s.nodes >= len(*b) {
		b = t.rebuild(s, func(Entry) bool { return true })
	}
	first := &(*b)[hash&uint64(len(*b)-1)].first
	first.Store(&node{Entry: e, next: first.Load()})
	s.nodes++
	if !known {
		s.keys.Add(1)
	}
	return e, true
}

// rebuild replaces the buckets of s by some that hold what keep says, with room for
// as much again. Called under s.mu.
func (t *table) rebuild(s *shard, keep func(Entry) bool) *[]bucket {
	var kept []Entry
	if b := s.buckets.Load(); b != nil {
		each(*b, func(e Entry) {
			if keep(e) {
				kept = append(kept, e)
			}
		})
	}
	size := fewest
	for size < 2*(len(kept)+1) {
		size *= 2
	}
	made := make([]bucket, size)
	for _, e := range kept {
		first := &made[t.hashKey(e.Key)&uint64(size-1)].first
		first.Store(&node{Entry: e, next: first.Load()})
	}
	s.nodes = len(kept)
	s.keys.Store(int64(len(kept)))
	s.buckets.Store(&made)
	return &made
}

// each calls f with the newest entry of each key.
func each(buckets []bucket, f func(Entry)) {
	for i := range buckets {
		first := buckets[i].first.Load()
		for n := first; n != nil; n = n.next {
			newest := first
			for newest.Key != n.Key {
				newest = newest.next
			}
			if newest == n {
				f(n.Entry)
			}
		}
	}
}

// expire drops the entries whose time has come, and nothing else (SECURITY I4).
func (t *table) expire(now int64) {
	for i := range t.shards {
		t.expireShard(&t.shards[i], now)
	}
}

func (t *table) expireShard(s *shard, now int64) {
	b := s.buckets.Load()
	if b == nil {
		return
	}
	expired := false
	each(*b, func(e Entry) { expired = expired || e.Expires <= now })
	if !expired {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.rebuild(s, func(e Entry) bool { return e.Expires > now })
}

// each calls f with every entry, while others may write.
func (t *table) each(f func(Entry)) {
	for i := range t.shards {
		if b := t.shards[i].buckets.Load(); b != nil {
			each(*b, f)
		}
	}
}

// len is how many keys there are.
func (t *table) len() (n int64) {
	for i := range t.shards {
		n += t.shards[i].keys.Load()
	}
	return n
}
