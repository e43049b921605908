//go:build !race

package token

import (
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// One million distinct tokens come by, sixty times what fits: the cache stays
// inside its bound, in its own books and on the heap, and the last ones are put as
// quickly as the first that found it full.
func TestI9_AMillionDistinctTokens(t *testing.T) {
	const limit, tokens, sample = 32 << 20, 1_000_000, 50_000
	var before, after runtime.MemStats
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := newCache(limit)
	key := new(verificationKey)
	model := known(c, 0, key, 1e9) // one set of claims for all: making them is what takes time
	var early, late []time.Duration
	for i := range tokens {
		text := []byte(model.token)
		for j, n := len(text)-1, i; n > 0; j, n = j-1, n/10 {
			text[j] = byte('0' + n%10)
		}
		verified := *model.verified
		e := &entry{token: string(text), key: key, verified: &verified, bytes: model.bytes}
		began := time.Now()
		e.hash = c.hash(text)
		c.put(e, 0)
		got := c.get(e.hash, text)
		took := time.Since(began)
		if got != &verified {
			t.Fatalf("token %d is not known right after it was put", i)
		}
		switch {
		case i >= tokens/4 && i < tokens/4+sample:
			early = append(early, took)
		case i >= tokens-sample:
			late = append(late, took)
		}
		if i%10_000 == 0 && c.bytes() > limit {
			t.Fatalf("%d bytes after %d tokens; the bound is %d", c.bytes(), i, limit)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > limit*5/4 {
		t.Errorf("the heap grew by %d bytes; the bound is %d", grown, limit)
	}
	if held := c.bytes(); held < limit/2 {
		t.Errorf("only %d bytes of %d are used", held, limit)
	}
	// The upper percentiles are the scheduler's and the collector's; the middle and
	// the 99th are the cache's own.
	for _, p := range []int{50, 99} {
		a, b := percentile(early, p), percentile(late, p)
		t.Logf("p%d of putting and getting: %s early, %s late", p, a, b)
		if b > 3*a+20*time.Microsecond {
			t.Errorf("p%d of putting and getting grew from %s to %s", p, a, b)
		}
	}
	runtime.KeepAlive(c)
}

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[len(d)*p/100]
}
