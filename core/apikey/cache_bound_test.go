//go:build !race

package apikey

import (
	"runtime"
	"testing"
	"time"
)

// A million keys stay within the bytes that the cache may take, by its own count and
// by the heap's; those in use stay, and no call takes long.
func TestCacheIsBounded(t *testing.T) {
	const limit = 8 << 20
	r := Record{ID: "0000000000000000", User: "user-0123456789", Scopes: []string{"courses:read", "vod"}, Policy: "premium", Versions: []Version{{Number: 1, Hash: Hash{1}}}}
	before := heap()
	c := newCache(limit)
	hot := make([]keyID, 100)
	put := func(id keyID) {
		e, err := newEntry(&r)
		if err != nil {
			t.Fatal(err)
		}
		e.id = id
		c.put(e)
	}
	for i := range hot {
		hot[i] = idOf(i)
		put(hot[i])
	}
	worst := time.Duration(0)
	missed := 0
	for i := range 1_000_000 {
		begun := time.Now()
		put(idOf(1000 + i))
		worst = max(worst, time.Since(begun))
		id := hot[i%len(hot)]
		if c.get(&id) == nil {
			missed++
			put(id)
		}
		if c.bytes > limit {
			t.Fatalf("%d bytes after %d keys", c.bytes, i)
		}
	}
	if missed > 10_000 {
		t.Errorf("keys in use were missed %d times in a million", missed)
	}
	if n := c.count.Load(); n < limit/4096 {
		t.Errorf("only %d keys fit", n)
	}
	if grown := heap() - before; grown > limit+limit/4 {
		t.Errorf("the heap grew by %d bytes, the limit is %d", grown, limit)
	}
	if worst > time.Second { // the scheduler and the collector have their part in it
		t.Errorf("one insertion took %s", worst)
	}
	runtime.KeepAlive(c)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
