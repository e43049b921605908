package limit

import (
	"fmt"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// span is an admission that happened between two readings of the store's clock.
type span struct{ sent, answered, cost int64 }

// worst is the most by which any span of time, from one sending to one answer, holds
// more than its length allows; below 0 if none does. It is in tokens × ns.
func worst(p *Policy, all []span) int64 {
	allowed := func(length int64) int64 { return p.Burst*int64(p.Per) + p.Count*(length+int64(time.Microsecond)) }
	if p.Algorithm != TokenBucket {
		allowed = func(length int64) int64 { return p.Count * int64(p.Per) * (1 + length/int64(p.Per)) }
	}
	sort.Slice(all, func(i, j int) bool { return all[i].answered < all[j].answered })
	over := int64(-1 << 62)
	for i := range all {
		sum := int64(0)
		for j := range all {
			if all[j].sent < all[i].sent {
				continue
			}
			sum += all[j].cost
			over = max(over, sum*int64(p.Per)-allowed(all[j].answered-all[i].sent))
		}
	}
	return over
}

// A bound holds in every span of the store's own time, while counters come and go, the
// table grows and shrinks, a second level denies, and a policy is stated anew.
func TestRL8_NoSpanAdmitsMore(t *testing.T) {
	t.Parallel()
	for _, a := range []Algorithm{TokenBucket, SlidingWindow, SlidingLog} {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			c := clock.Real()
			m := NewMemory(c, MemoryOptions{})
			defer m.Close()
			p := &Policy{Name: "p", Algorithm: a, Count: 3, Per: time.Millisecond}
			scarce := &Policy{Name: "scarce", Algorithm: TokenBucket, Count: 1, Per: 3 * time.Millisecond, Burst: 2}
			if a == TokenBucket {
				p.Burst = 4
			}
			const keys = 4
			stop := make(chan struct{})
			var sweeping, asking sync.WaitGroup
			sweeping.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					for j := range m.shards {
						m.sweep(&m.shards[j], c.Mono())
					}
					other := Charge{Policy: p, Key: fmt.Append(nil, "other", i), Cost: 1}
					_, _ = m.Take([]Charge{other})
				}
			})
			var mu sync.Mutex
			admitted := map[string][]span{}
			until := time.Now().Add(400 * time.Millisecond)
			for worker := range 8 {
				asking.Go(func() {
					for i := 0; time.Now().Before(until); i++ {
						key := fmt.Sprint("k", (i+worker)%keys)
						cs := []Charge{{Policy: p, Key: []byte(key), Cost: 1 + int64(i%2)}, {Policy: scarce, Key: []byte("scarce"), Cost: 1}}
						if i%3 != 0 {
							cs = cs[:1]
						}
						sent := c.Mono()
						denied, err := m.Take(cs)
						if answered := c.Mono(); err == nil && denied == Admitted {
							mu.Lock()
							admitted[key] = append(admitted[key], span{sent, answered, cs[0].Cost})
							mu.Unlock()
						}
					}
				})
			}
			asking.Wait()
			close(stop)
			sweeping.Wait()
			for key, all := range admitted {
				if len(all) < 10 {
					t.Errorf("%s: only %d admissions", key, len(all))
				}
				if over := worst(p, all); over > 0 {
					t.Errorf("%s: %d tokens × ns too many in %d admissions", key, over, len(all))
				}
			}
		})
	}
}

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
	before := len(*m.shards[0].slots.Load())
	for j := range m.shards {
		m.sweep(&m.shards[j], c.Mono())
	}
	if m.Len() != n/3 || len(*m.shards[0].slots.Load()) >= before {
		t.Errorf("%d counters, want %d, in %d slots of %d", m.Len(), n/3, len(*m.shards[0].slots.Load()), before)
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
