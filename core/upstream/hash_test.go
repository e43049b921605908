package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// named is a spec of endpoints at addresses that look like such.
func named(balance Balance, weights ...int) ServiceSpec {
	s := ServiceSpec{Name: "s", Balance: balance}
	for i, w := range weights {
		s.Endpoints = append(s.Endpoints, EndpointSpec{Address: fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250), Weight: w})
	}
	return s
}

func equal(n, weight int) []int { return slices.Repeat([]int{weight}, n) }

// owners are the endpoints of keys, with nothing under way.
func owners(s *Service, keys int) map[uint64]string {
	out := make(map[uint64]string, keys)
	for k := range uint64(keys) {
		out[k+1] = s.Pick(&Tried{}, k+1).Address
	}
	return out
}

// TestUP1_LoadsAreBounded: whatever the keys, and whatever has ended meanwhile, no endpoint is
// given more than 1.25 times its share of what is under way.
func TestUP1_LoadsAreBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, rapid.SampledFrom([]int{1, 5, 1000}).Draw(t, "largest")), 1, 12).Draw(t, "weights")
		s := acquired(t, NewRegistry((&counting{}).open), named(ConsistentHash, weights...))
		sum := 0
		for _, w := range weights {
			sum += w
		}
		weight := map[*Endpoint]int{}
		for _, m := range s.Members() {
			weight[m.Endpoint] = m.Weight
		}
		keys := rapid.Uint64Range(1, 200).Draw(t, "keys")
		var under []*Endpoint
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			if len(under) > 0 && rapid.IntRange(0, 3).Draw(t, "ends") == 0 {
				i := rapid.IntRange(0, len(under)-1).Draw(t, "which")
				under[i].End()
				under = slices.Delete(under, i, i+1)
				continue
			}
			e := s.Pick(&Tried{}, rapid.Uint64Range(1, keys).Draw(t, "key"))
			e.Begin()
			under = append(under, e)
			most := int64(math.Ceil(1.25*float64(len(under))*float64(weight[e])/float64(sum) - 1e-9))
			if e.InFlight() > most {
				t.Fatalf("%d of %d are under way at an endpoint of weight %d of %d, more than %d", e.InFlight(), len(under), weight[e], sum, most)
			}
		}
		for _, e := range under {
			e.End()
		}
		if n := s.Members()[0].load.n.Load(); n != 0 {
			t.Fatalf("%d are under way in the end", n)
		}
	})
}

// TestUP1_FewKeysMove: who goes takes no other's keys along, and who comes takes no more
// than twice a fair share.
func TestUP1_FewKeysMove(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 60).Draw(t, "endpoints")
		weight := rapid.SampledFrom([]int{1, 7, 100, 1000}).Draw(t, "weight")
		s := acquired(t, NewRegistry((&counting{}).open), named(ConsistentHash, equal(n, weight)...))
		before := owners(s, keys)
		leaver := s.Members()[rapid.IntRange(0, n-1).Draw(t, "leaver")]
		leaver.SetDrained(true)
		after, moved := owners(s, keys), 0
		for k, was := range before {
			switch now := after[k]; {
			case was == leaver.Address:
				moved++
			case now != was:
				t.Fatalf("a key of %s, which stays, moved to %s", was, now)
			}
		}
		if moved > 2*keys/n {
			t.Fatalf("%d of %d keys moved when one of %d left", moved, keys, n)
		}
		leaver.SetDrained(false)
		for k, was := range before {
			if now := s.Pick(&Tried{}, k).Address; now != was {
				t.Fatalf("a key is at %s and not at %s when all are back", now, was)
			}
		}
	})
}

// TestUP1_AllGatewaysAgree: neither the order of endpoints nor what was before changes
// where a key is, and a retry has its place too.
func TestUP1_AllGatewaysAgree(t *testing.T) {
	t.Parallel()
	one := named(ConsistentHash, 1, 2, 3, 4, 5, 6)
	other := one
	other.Endpoints = slices.Clone(one.Endpoints)
	rand.Shuffle(len(other.Endpoints), func(i, j int) {
		other.Endpoints[i], other.Endpoints[j] = other.Endpoints[j], other.Endpoints[i]
	})
	a, b := acquired(t, NewRegistry((&counting{}).open), one), acquired(t, NewRegistry((&counting{}).open), other)
	counts := map[string]int{}
	for k := range uint64(21_000) {
		var triedA, triedB Tried
		counts[a.Pick(&triedA, k+1).Address]++
		b.Pick(&triedB, k+1)
		a.Pick(&triedA, k+1)
		b.Pick(&triedB, k+1)
		for i := range 2 {
			if triedA.list[i].Address != triedB.list[i].Address {
				t.Fatalf("try %d of key %d: %s and %s", i, k+1, triedA.list[i].Address, triedB.list[i].Address)
			}
		}
		if triedA.list[0] == triedA.list[1] {
			t.Fatal("a retry went to the same endpoint")
		}
	}
	for i, e := range one.Endpoints {
		if got, want := counts[e.Address], 1000*(i+1); got < want*2/3 || got > want*3/2 {
			t.Errorf("weight %d: %d keys, about %d are its share", i+1, got, want)
		}
	}
	none := map[string]bool{}
	for range 200 {
		none[a.Pick(&Tried{}, 0).Address] = true
	}
	if len(none) < 4 {
		t.Errorf("requests without a key are at %d endpoints", len(none))
	}
}

func TestHashingWarmsUp(t *testing.T) {
	t.Parallel()
	spec := named(ConsistentHash, 1, 1, 1)
	spec.SlowStart = 10 * 1e9
	f := newTended(t, spec)
	const keys = 20_000
	before := owners(f.Service, keys)
	at := f.Members()[1].Address
	f.Members()[1].SetHealth(Unhealthy, "")
	last := 0
	f.Members()[1].SetHealth(Healthy, "")
	for step := range 10 {
		got := 0
		for k, now := range owners(f.Service, keys) {
			if now == at {
				got++
				if before[k] != at {
					t.Fatal("while it warms up it has a key that is another's")
				}
			}
		}
		if got < last || step == 0 && got > keys/10 {
			t.Errorf("step %d: %d keys after %d", step, got, last)
		}
		last = got
		f.pass(1e9)
	}
	for k, now := range owners(f.Service, keys) {
		if before[k] != now {
			t.Fatal("warm, it has not all its keys")
		}
	}
}

func TestLoadIsShared(t *testing.T) {
	t.Parallel()
	r := NewRegistry((&counting{}).open)
	s := acquired(t, r, named(ConsistentHash, equal(8, 1)...))
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for k := range 2000 {
				var tried Tried
				e := s.Pick(&tried, uint64(k%3+1)) // three hot keys
				e.Begin()
				// 16 callers may all have looked before one of them counted.
				if n := e.InFlight(); n > 3+16 {
					t.Errorf("%d under way", n)
				}
				if i == 0 && k%100 == 0 {
					s.Members()[7].SetDrained(k%200 == 0)
				}
				e.End()
			}
		})
	}
	group.Wait()
	changed := named(ConsistentHash, equal(8, 1)...)
	changed.Timeouts.Total = 1
	after := acquired(t, r, changed)
	after.Members()[0].Begin()
	if n := s.Members()[5].load.n.Load(); n != 1 {
		t.Errorf("%d under way, want 1", n)
	}
	after.Members()[0].End()
	s.Release()
	after.Release()
	if len(r.loads) != 0 {
		t.Error("a load is left")
	}
	if e := service(t, WeightedRoundRobin, 1, 1).Members()[0]; e.load != nil {
		t.Error("a service that does not hash counts for all")
	}
}
