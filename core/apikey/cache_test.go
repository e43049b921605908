package apikey

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func idOf(n int) (id keyID) {
	binary.BigEndian.PutUint64(id[:], uint64(n))
	return id
}

// Whatever happens, the cache returns the last entry of an id or none, never
// another id's, and its count of bytes is that of what it holds.
func TestCacheAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(4096) // one or two sets: everything collides
		last := map[keyID]*entry{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			id := idOf(rapid.IntRange(0, 30).Draw(t, "id"))
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				e := &entry{id: id, cost: int64(rapid.IntRange(1, 5000).Draw(t, "cost")), revision: int64(rapid.IntRange(0, 9).Draw(t, "revision"))}
				c.put(e)
				last[id] = e
			case 2:
				if e := c.get(&id); e != nil && e != last[id] {
					t.Fatalf("%v is %+v, want %+v", id, e, last[id])
				}
			case 3:
				revision := int64(rapid.IntRange(0, 9).Draw(t, "revision"))
				c.forget(&id, revision)
				if e := c.get(&id); e != nil && e.revision < revision {
					t.Fatalf("revision %d is still there", e.revision)
				}
			case 4:
				c.mu.Lock()
				c.remove(&id)
				c.mu.Unlock()
				if c.get(&id) != nil {
					t.Fatal("it is still there")
				}
			}
			bytes, count := c.overhead(), int64(0)
			c.each(func(e *entry) { bytes += e.cost; count++ })
			if bytes != c.size() || bytes > max(c.limit, c.overhead()) || count != c.count.Load() {
				t.Fatalf("%d bytes and %d entries, counted as %d and %d", bytes, count, c.size(), c.count.Load())
			}
		}
	})
}

func TestCacheUnderConcurrentUse(t *testing.T) {
	c := newCache(1 << 16)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5000 {
				id := idOf(rand.IntN(200))
				if e := c.get(&id); e != nil && e.id != id {
					t.Errorf("asked for %v, got %v", id, e.id)
				}
				c.put(&entry{id: id, cost: 300})
				if rand.IntN(10) == 0 {
					c.forget(&id, 1)
				}
			}
		})
	}
	all.Wait()
	if c.size() > c.limit {
		t.Errorf("%d bytes", c.size())
	}
}
