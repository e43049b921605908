package upstream

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// counting is an Opener whose connections count how often they are closed.
type counting struct {
	opened atomic.Int64
	closed atomic.Int64
}

type closer struct{ c *counting }

func (c closer) Close() { c.c.closed.Add(1) }

func (closer) Count() (open, idle int) { return 0, 0 }

func (c *counting) open(Key) Connections {
	c.opened.Add(1)
	return closer{c}
}

func spec(balance Balance, weights ...int) ServiceSpec {
	s := ServiceSpec{Name: "s", Balance: balance}
	for i, w := range weights {
		s.Endpoints = append(s.Endpoints, EndpointSpec{Address: string(rune('a'+i%26)) + strings.Repeat("x", i/26), Weight: w})
	}
	return s
}

func service(t interface{ Fatal(...any) }, balance Balance, weights ...int) *Service {
	s, err := NewRegistry((&counting{}).open).Acquire(spec(balance, weights...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func indexOf(s *Service, e *Endpoint) int {
	for i, other := range s.Members() {
		if other.Endpoint == e {
			return i
		}
	}
	return -1
}

// TestRoundRobinIsExactAndSmooth: each cycle gives every endpoint its weight, and
// no endpoint is ever a whole turn ahead of or behind its share.
func TestRoundRobinIsExactAndSmooth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 40), 2, 8).Draw(t, "weights")
		s := service(t, WeightedRoundRobin, weights...)
		sum := 0
		for _, w := range weights {
			sum += w
		}
		counts := make([]int, len(weights))
		for n := 1; n <= sum; n++ {
			counts[indexOf(s, s.Pick(&Tried{}, 0))]++
			for i, w := range weights {
				share := float64(n*w) / float64(sum)
				if d := float64(counts[i]) - share; d >= 1 || d <= -1 {
					t.Fatalf("after %d picks endpoint %d has %d, its share is %.2f", n, i, counts[i], share)
				}
			}
		}
		for i, w := range weights {
			if counts[i] != w {
				t.Fatalf("weights %v gave %v", weights, counts)
			}
		}
	})
}

func TestRoundRobinIsExactForManyCallers(t *testing.T) {
	t.Parallel()
	const callers, cycles = 64, 50
	weights := []int{5, 1, 3, 7}
	s := service(t, WeightedRoundRobin, weights...)
	var counts [4]atomic.Int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range 16 * cycles { // 16 is the sum of the weights
				counts[indexOf(s, s.Pick(&Tried{}, 0))].Add(1)
			}
		})
	}
	group.Wait()
	for i, w := range weights {
		if got := counts[i].Load(); got != int64(w*callers*cycles) {
			t.Errorf("endpoint %d: %d picks, want %d", i, got, w*callers*cycles)
		}
	}
}

func TestSequencesStayBounded(t *testing.T) {
	t.Parallel()
	if got := len(sequence([]int{1000, 500})); got != 3 {
		t.Errorf("weights with a common divisor: %d turns", got)
	}
	many := make([]int, 4000)
	for i := range many {
		many[i] = 1000 - i%7
	}
	if got := len(sequence(many)); got > longestSequence || got < longestSequence/3 {
		t.Errorf("%d turns", got)
	}
}

func TestRandomFollowsWeights(t *testing.T) {
	t.Parallel()
	s := service(t, Random, 1, 3)
	var first int
	for range 20_000 {
		if indexOf(s, s.Pick(&Tried{}, 0)) == 0 {
			first++
		}
	}
	if first < 4_500 || first > 5_500 { // ± 8 standard deviations
		t.Errorf("weight 1 of 4 got %d of 20,000", first)
	}
}

func TestLeastRequestsPrefersTheIdle(t *testing.T) {
	t.Parallel()
	s := service(t, LeastRequests, 1, 1, 1)
	busy := s.Members()[1].Endpoint
	for range 10 {
		busy.Begin()
	}
	for range 200 {
		if s.Pick(&Tried{}, 0) == busy {
			t.Fatal("the busy endpoint was picked beside an idle one")
		}
	}
	weighted := service(t, LeastRequests, 10, 1)
	for range 3 {
		weighted.Members()[0].Endpoint.Begin()
	}
	if e := weighted.Pick(&Tried{}, 0); e != weighted.Members()[0].Endpoint || e.InFlight() != 3 {
		t.Error("3 of weight 10 are more than 0 of weight 1")
	}
	for range 20 {
		weighted.Members()[0].Endpoint.Begin()
	}
	if weighted.Pick(&Tried{}, 0) != weighted.Members()[1].Endpoint {
		t.Error("23 of weight 10 are less than 0 of weight 1")
	}
	busy.End()
	if busy.InFlight() != 9 {
		t.Errorf("in flight: %d", busy.InFlight())
	}
}

func TestATryGoesToAnotherEndpoint(t *testing.T) {
	t.Parallel()
	for _, balance := range []Balance{WeightedRoundRobin, LeastRequests, Random, ConsistentHash} {
		weights := make([]int, 20)
		for i := range weights {
			weights[i] = 1
		}
		weights[0] = 1000
		s := service(t, balance, weights...)
		var tried Tried
		seen := map[*Endpoint]bool{}
		for range mostTried {
			e := s.Pick(&tried, 0)
			if seen[e] {
				t.Errorf("balancer %d picked an endpoint twice", balance)
			}
			seen[e] = true
		}
		if s.Pick(&tried, 0) == nil {
			t.Error("no endpoint is left after many tries")
		}
	}
	s := service(t, WeightedRoundRobin, 1)
	var tried Tried
	only := s.Pick(&tried, 0)
	if only != s.Pick(&tried, 0) {
		t.Error("a single endpoint is not picked again")
	}
	two := service(t, WeightedRoundRobin, 1, 1)
	tried = Tried{}
	a, b := two.Pick(&tried, 0), two.Pick(&tried, 0)
	if c := two.Pick(&tried, 0); a == b || c == nil {
		t.Error("two endpoints were not tried in turn")
	}
}

func TestRegistrySharesAndCloses(t *testing.T) {
	t.Parallel()
	var c counting
	r := NewRegistry(c.open)
	first := spec(WeightedRoundRobin, 1, 1)
	a, err := r.Acquire(first)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := r.Acquire(first)
	if a != again {
		t.Error("one declaration is two services")
	}
	changed := spec(WeightedRoundRobin, 2, 1)
	b, _ := r.Acquire(changed)
	if b == a || b.Members()[0].Endpoint != a.Members()[0].Endpoint || c.opened.Load() != 2 {
		t.Error("a changed weight must make another service with the same endpoints")
	}
	other := first
	other.Connections.Maximum = 9
	d, _ := r.Acquire(other)
	if d.Members()[0].Endpoint == a.Members()[0].Endpoint {
		t.Error("other connection settings share an endpoint")
	}
	if services, endpoints := r.Len(); services != 3 || endpoints != 4 {
		t.Errorf("%d services, %d endpoints", services, endpoints)
	}
	a.Release()
	again.Release()
	if c.closed.Load() != 0 {
		t.Error("an endpoint was closed while a service held it")
	}
	b.Release()
	d.Release()
	if services, endpoints := r.Len(); c.closed.Load() != 4 || services != 0 || endpoints != 0 {
		t.Errorf("%d closed, %d services, %d endpoints left", c.closed.Load(), services, endpoints)
	}
	if a.Members()[0].Weight != 1 || len(a.Members()) != 2 || a.Members()[0].Connections() != (closer{&c}) {
		t.Error("a service does not show what it is made of")
	}
}

func TestBadDeclarationsAreRefused(t *testing.T) {
	t.Parallel()
	r := NewRegistry((&counting{}).open)
	for name, s := range map[string]ServiceSpec{"no endpoint": {Name: "s"}, "weight 0": spec(Random, 0), "weight 1001": spec(Random, 1001)} {
		if _, err := r.Acquire(s); err == nil || !strings.Contains(err.Error(), "service s: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if services, endpoints := r.Len(); services != 0 || endpoints != 0 {
		t.Errorf("%d services, %d endpoints left", services, endpoints)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	w := OnConnect | On503
	if !w.Has(OnConnect) || w.Has(OnReset) || !w.Status(503) || w.Status(502) || w.Status(504) || w.Status(500) {
		t.Errorf("%b", w)
	}
}

const second = int64(time.Second)

func TestBudgetGivesAShareOfTheLastTenSeconds(t *testing.T) {
	t.Parallel()
	var b Budget
	for i := range 1000 {
		b.Request(uint32(i), 5*second)
	}
	granted := 0
	for b.TryRetry(6*second, 0.2) {
		granted++
	}
	if granted != 200 {
		t.Errorf("%d retries for 1,000 requests at 20 %%", granted)
	}
	if b.TryRetry(6*second+1, 0.2) {
		t.Error("a spent budget gave one more")
	}
	granted = 0
	for b.TryRetry(7*second, 0.2) {
		granted++
	}
	if granted != leastRetries {
		t.Errorf("%d retries in a further second, want the %d that are always there", granted, leastRetries)
	}
	if got := b.Requests(14 * second); got != 1000 {
		t.Errorf("%d requests within 10 s", got)
	}
	if got := b.Requests(15 * second); got != 0 {
		t.Errorf("%d requests after 10 s", got)
	}
}

// TestBudgetEqualsItsModel holds the ring to a plain list of moments.
func TestBudgetEqualsItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b Budget
		var requests, retries []int64
		within := func(list []int64, from, to int64) (n int) {
			for _, s := range list {
				if s >= from && s <= to {
					n++
				}
			}
			return n
		}
		now := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.Int64Range(0, 3*second).Draw(t, "passes")
			s := now / second
			for range rapid.IntRange(0, 80).Draw(t, "requests") {
				b.Request(uint32(len(requests)), now)
				requests = append(requests, s)
			}
			for range rapid.IntRange(0, 40).Draw(t, "retries") {
				want := within(retries, s, s) < leastRetries || float64(within(retries, s-9, s)) < 0.2*float64(within(requests, s-9, s))
				if got := b.TryRetry(now, 0.2); got != want {
					t.Fatalf("second %d: %v, the model says %v", s, got, want)
				} else if got {
					retries = append(retries, s)
				}
			}
		}
	})
}

func TestBudgetCountsConcurrently(t *testing.T) {
	t.Parallel()
	var b Budget
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for n := range 1000 {
				b.Request(uint32(i), int64(n)*second/200) // 5 s
			}
		})
	}
	group.Wait()
	if got := b.Requests(5 * second); got != 16_000 {
		t.Errorf("%d requests", got)
	}
}
