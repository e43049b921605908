package limit

import (
	"fmt"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// A word is good for an era, and the next is another epoch's: nothing that is missing
// is lost, and an idle counter is full however long it was.
func TestABucketOutlivesItsEra(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(0, 0))
	m := NewMemory(c, MemoryOptions{})
	defer m.Close()
	p := &Policy{Name: "p", Algorithm: TokenBucket, Count: 999_999_937, Per: time.Millisecond, Burst: Largest}
	terms, err := newTerms(p)
	if err != nil || terms.era > int64(time.Hour) {
		t.Fatalf("an era of %s, %v", time.Duration(terms.era), err)
	}
	charge := func(cost int64) (int64, bool) {
		cs := []Charge{{Policy: p, Key: []byte("k"), Cost: cost}}
		denied, err := m.Take(cs)
		if err != nil {
			t.Fatal(err)
		}
		return cs[0].Remaining, denied == Admitted
	}
	for range 5 {
		if _, ok := charge(Largest); !ok {
			t.Fatal("a full bucket denies")
		}
		c.Advance(time.Duration(terms.era) - 10*time.Microsecond)
		if left, ok := charge(Largest); !ok || left != 0 {
			t.Fatalf("%d left, %v", left, ok)
		}
		c.Advance(10 * time.Microsecond) // another epoch: of what is missing, 10 µs are there
		if left, ok := charge(1); !ok || left != 9_999_998 {
			t.Fatalf("%d left, %v", left, ok)
		}
		c.Advance(10 * time.Duration(terms.era))
	}
}

// Whatever the key looks like, no two share a counter, in a table that grows, shrinks and
// moves its entries.
func TestTheTableLosesNothing(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(0, 0))
	m := NewMemory(c, MemoryOptions{Entries: 1 << 16})
	defer m.Close()
	policy := func(i int) *Policy { // every third lives long
		return &Policy{Name: "p", Algorithm: TokenBucket, Count: 10, Per: time.Duration(1+999*(i%3/2)) * time.Second, Burst: 10}
	}
	const n = 20_000
	for i := range n {
		cs := []Charge{{Policy: policy(i), Key: fmt.Append(nil, i), Cost: 1 + int64(i%7)}}
		if denied, err := m.Take(cs); denied != Admitted || err != nil {
			t.Fatal(i, denied, err)
		}
	}
	if m.Len() != n {
		t.Fatalf("%d counters, want %d", m.Len(), n)
	}
	c.Advance(2 * time.Second)
	room := func() (slots int) {
		for i := range m.shards {
			slots += len(*m.shards[i].slots.Load())
		}
		return slots
	}
	before := room()
	m.Sweep()
	if m.Len() != n/3 || room() >= before {
		t.Errorf("%d counters, want %d, in %d slots of %d", m.Len(), n/3, room(), before)
	}
	for i := range n {
		cs := []Charge{{Policy: policy(i), Key: fmt.Append(nil, i), Cost: 1}}
		_, _ = m.Take(cs)
		want := int64(9)
		if i%3 == 2 {
			want = 9 - 1 - int64(i%7)
		}
		if cs[0].Remaining != want {
			t.Fatalf("%d has %d left, want %d", i, cs[0].Remaining, want)
		}
	}
}
