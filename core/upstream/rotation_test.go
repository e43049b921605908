package upstream

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// acquired is the service of a spec in a registry.
func acquired(t interface{ Fatal(...any) }, r *Registry, s ServiceSpec) *Service {
	service, err := r.Acquire(s)
	if err != nil {
		t.Fatal(err)
	}
	return service
}

// picked are the addresses that n picks gave, each with how often.
func picked(s *Service, n int) map[string]int {
	counts := map[string]int{}
	for range n {
		if e := s.Pick(&Tried{}, 0); e != nil {
			counts[e.Address]++
		}
	}
	return counts
}

func TestMembersMayChange(t *testing.T) {
	t.Parallel()
	var c counting
	r := NewRegistry(c.open)
	s := acquired(t, r, spec(WeightedRoundRobin, 1, 1))
	a, b := s.Members()[0], s.Members()[1]
	a.Begin()
	b.Begin()
	a.SetHealth(Unhealthy, "answers 500")
	if err := s.SetEndpoints([]EndpointSpec{{Address: "a", Weight: 2}, {Address: "c", Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	if m := s.Members(); len(m) != 2 || m[0].Endpoint != a.Endpoint || m[0].Weight != 2 || m[1].Address != "c" || m[0].InFlight() != 1 {
		t.Errorf("members: %+v", m)
	}
	if got := picked(s, 10); got["c"] != 10 {
		t.Errorf("an unhealthy endpoint came back with a change of others: %v", got)
	}
	if c.opened.Load() != 3 || c.closed.Load() != 1 {
		t.Errorf("%d opened, %d closed", c.opened.Load(), c.closed.Load())
	}
	b.End() // what was under way there ends like any other
	a.SetHealth(Healthy, "")
	if got := picked(s, 30); got["a"] != 20 || got["c"] != 10 {
		t.Errorf("after recovery: %v", got)
	}
	b.SetHealth(Healthy, "") // whoever checks it may be late
	if err := s.SetEndpoints(nil); err != nil || s.Pick(&Tried{}, 0) != nil {
		t.Errorf("a service without members picked one: %v", err)
	}
	s.Release()
	if err := s.SetEndpoints([]EndpointSpec{{Address: "d", Weight: 1}}); err != nil || c.opened.Load() != 3 {
		t.Errorf("a service that nobody holds took members: %v", err)
	}
	if services, endpoints := r.Len(); services != 0 || endpoints != 0 || len(r.states) != 0 {
		t.Errorf("%d services, %d endpoints, %d states are left", services, endpoints, len(r.states))
	}
}

func TestBadMembersAreRefused(t *testing.T) {
	t.Parallel()
	s := service(t, WeightedRoundRobin, 1, 1)
	for name, specs := range map[string][]EndpointSpec{
		"endpoint x: weight 0 is not 1–1000":                       {{Address: "x"}},
		"endpoint x: weight -1 is not 1–1000":                      {{Address: "x", Weight: -1}},
		"endpoint x: weight 1000000000 is not 1–1000":              {{Address: "x", Weight: 1e9}},
		"endpoint x stands twice: give it a weight instead":        {{Address: "x", Weight: 1}, {Address: "y", Weight: 1}, {Address: "x", Weight: 3}},
		"endpoint [fe80::1%eth0]:1 stands twice: give it a weight": {{Address: "[fe80::1%eth0]:1", Weight: 1}, {Address: "[fe80::1%eth0]:1", Weight: 1}},
	} {
		if err := s.SetEndpoints(specs); err == nil || !strings.Contains(err.Error(), "service s: "+name) {
			t.Errorf("%v: want %s", err, name)
		}
		if len(s.Members()) != 2 || s.Members()[0].Address != "a" {
			t.Errorf("%s: the members changed", name)
		}
	}
}

// TestStateOutlivesReloads: what is known of a machine stays known whatever else is
// declared of its service.
func TestStateOutlivesReloads(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*ServiceSpec){
		"a timeout":    func(s *ServiceSpec) { s.Timeouts.Response = time.Second },
		"connections":  func(s *ServiceSpec) { s.Connections.Maximum = 9 },
		"certificates": func(s *ServiceSpec) { s.Endpoints[0].TLS.ServerName, s.Endpoints[1].TLS.ServerName = "n", "n" },
		"weights":      func(s *ServiceSpec) { s.Endpoints[0].Weight, s.Endpoints[1].Weight = 7, 2 },
	} {
		r := NewRegistry((&counting{}).open)
		before := acquired(t, r, spec(WeightedRoundRobin, 1, 1, 1))
		before.Members()[0].SetHealth(Unhealthy, "refused")
		before.Members()[1].SetDrained(true)
		changed := spec(WeightedRoundRobin, 1, 1, 1)
		change(&changed)
		after := acquired(t, r, changed)
		if after == before {
			t.Fatal("the change changed nothing")
		}
		before.Release()
		if got := picked(after, 20); got["c"] != 20 {
			t.Errorf("%s: %v", name, got)
		}
		if m := after.Members(); m[0].Status() != (Status{Health: Unhealthy, Reason: "refused"}) || m[1].Status() != (Status{Drained: true}) {
			t.Errorf("%s: %+v, %+v", name, m[0].Status(), m[1].Status())
		}
		other := spec(WeightedRoundRobin, 1, 1, 1)
		other.Name = "other"
		if got := picked(acquired(t, r, other), 30); got["a"] != 10 || got["b"] != 10 {
			t.Errorf("%s: another service at the same addresses: %v", name, got)
		}
	}
}

// TestBothServicesOfAReloadKnow: while an old snapshot is still in use, what happens to
// an endpoint concerns both.
func TestBothServicesOfAReloadKnow(t *testing.T) {
	t.Parallel()
	r := NewRegistry((&counting{}).open)
	one := acquired(t, r, spec(LeastRequests, 1, 1))
	changed := spec(LeastRequests, 1, 1)
	changed.Connections.Idle = 3
	two := acquired(t, r, changed)
	two.Members()[0].SetDrained(true)
	for _, s := range []*Service{one, two} {
		if got := picked(s, 20); got["b"] != 20 {
			t.Errorf("drained: %v", got)
		}
	}
	one.Members()[0].SetDrained(false)
	for _, s := range []*Service{one, two} {
		if got := picked(s, 100); got["a"] == 0 {
			t.Errorf("put back: %v", got)
		}
	}
}

func TestPanicThreshold(t *testing.T) {
	t.Parallel()
	of := func(threshold float64) *Service {
		s := spec(WeightedRoundRobin, 1, 1, 1, 1)
		s.PanicThreshold = threshold
		return acquired(t, NewRegistry((&counting{}).open), s)
	}
	s := of(0.5)
	m := s.Members()
	m[0].SetHealth(Unhealthy, "")
	m[1].SetHealth(Unhealthy, "")
	if got := picked(s, 20); len(got) != 2 {
		t.Errorf("half are in service, which is not below half: %v", got)
	}
	m[2].SetHealth(Unhealthy, "")
	if got := picked(s, 20); len(got) != 4 {
		t.Errorf("below the threshold: %v", got)
	}
	m[0].SetDrained(true) // 1 of the 3 that are left is in service
	if got := picked(s, 21); len(got) != 3 || got["a"] != 0 {
		t.Errorf("a drained endpoint was picked, or others were not: %v", got)
	}
	m[1].SetDrained(true) // 1 of 2
	if got := picked(s, 20); got["d"] != 20 {
		t.Errorf("enough of those that are not drained are in service: %v", got)
	}
	for _, e := range m {
		e.SetDrained(true)
	}
	if s.Pick(&Tried{}, 0) != nil {
		t.Error("all are drained, and yet one was picked")
	}
	off := of(0)
	for _, e := range off.Members() {
		e.SetHealth(Unhealthy, "")
	}
	if off.Pick(&Tried{}, 0) != nil {
		t.Error("without a threshold an unhealthy endpoint was picked")
	}
}

// TestRotationEqualsItsModel changes members, health and drains at random, and holds a
// cycle of picks to what a plain look at all of it says.
func TestRotationEqualsItsModel(t *testing.T) {
	t.Parallel()
	type known struct {
		weight             int
		unhealthy, drained bool
	}
	rapid.Check(t, func(t *rapid.T) {
		s := service(t, WeightedRoundRobin, 1, 1, 1)
		threshold := rapid.SampledFrom([]float64{0, 0.3, 0.5, 1}).Draw(t, "threshold")
		s.spec.PanicThreshold = threshold
		model := map[string]known{"a": {weight: 1}, "b": {weight: 1}, "c": {weight: 1}}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			members := s.Members()
			if len(members) == 0 || rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				addresses := rapid.SliceOfNDistinct(rapid.SampledFrom(strings.Split("abcdefg", "")), 0, 6, rapid.ID).Draw(t, "members")
				var specs []EndpointSpec
				next := map[string]known{}
				for _, a := range addresses {
					k := model[a]
					k.weight = rapid.IntRange(1, 9).Draw(t, "weight")
					next[a] = k
					specs = append(specs, EndpointSpec{Address: a, Weight: k.weight})
				}
				model = next
				if err := s.SetEndpoints(specs); err != nil {
					t.Fatal(err)
				}
			} else {
				m := rapid.SampledFrom(members).Draw(t, "member")
				k := model[m.Address]
				switch rapid.IntRange(0, 2).Draw(t, "change") {
				case 0:
					h := rapid.SampledFrom([]Health{Unknown, Healthy, Unhealthy}).Draw(t, "health")
					m.SetHealth(h, h.String())
					k.unhealthy = h == Unhealthy
				case 1:
					k.drained = !k.drained
					m.SetDrained(k.drained)
				}
				model[m.Address] = k
			}
			open, able := map[string]int{}, map[string]int{}
			for a, k := range model {
				if !k.drained {
					open[a] = k.weight
					if !k.unhealthy {
						able[a] = k.weight
					}
				}
			}
			want := able
			if float64(len(able)) < threshold*float64(len(open)) {
				want = open
			}
			sum := 0
			for _, w := range want {
				sum += w
			}
			if got := picked(s, sum); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("a cycle of %d picked %v, the model says %v", sum, got, want)
			}
		}
	})
}

// TestRoundRobinIsExactBetweenChanges: 64 callers, and members that change between
// runs: each run of whole cycles is exact, whatever was before it.
func TestRoundRobinIsExactBetweenChanges(t *testing.T) {
	t.Parallel()
	const callers = 64
	s := service(t, WeightedRoundRobin, 5, 1, 3, 7)
	runs := []struct {
		change func()
		want   map[string]int // of one cycle
	}{
		{func() {}, map[string]int{"a": 5, "b": 1, "c": 3, "d": 7}},
		{func() { s.Members()[3].SetHealth(Unhealthy, "") }, map[string]int{"a": 5, "b": 1, "c": 3}},
		{func() { s.Members()[0].SetDrained(true) }, map[string]int{"b": 1, "c": 3}},
		{func() { s.Members()[3].SetHealth(Healthy, "") }, map[string]int{"b": 1, "c": 3, "d": 7}},
		{func() {
			_ = s.SetEndpoints([]EndpointSpec{{Address: "d", Weight: 2}, {Address: "e", Weight: 9}, {Address: "a", Weight: 4}})
		}, map[string]int{"d": 2, "e": 9}}, // a is drained still
	}
	for i, run := range runs {
		run.change()
		sum := 0
		for _, w := range run.want {
			sum += w
		}
		picks := map[string]*atomic.Int64{}
		for _, m := range s.Members() {
			picks[m.Address] = new(atomic.Int64)
		}
		const cycles = 20
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range sum * cycles {
					picks[s.Pick(&Tried{}, 0).Address].Add(1)
				}
			})
		}
		group.Wait()
		for a, n := range picks {
			if got, want := n.Load(), int64(run.want[a]*cycles*callers); got != want {
				t.Errorf("run %d: %s was picked %d times, want %d", i, a, got, want)
			}
		}
	}
}

// TestPicksWhileMembersChange: a pick sees one state of affairs or the next, and there is
// always one that may be asked.
func TestPicksWhileMembersChange(t *testing.T) {
	t.Parallel()
	for _, balance := range []Balance{WeightedRoundRobin, LeastRequests, Random, ConsistentHash} {
		s := service(t, balance, 1, 2, 3)
		stop := make(chan struct{})
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					var tried Tried
					for range 3 {
						if s.Pick(&tried, 7) == nil {
							t.Errorf("balancer %d picked nothing", balance)
							return
						}
					}
				}
			})
		}
		for i := range 300 {
			specs := []EndpointSpec{{Address: "a", Weight: 1 + i%3}}
			for n := range i % 4 {
				specs = append(specs, EndpointSpec{Address: fmt.Sprint("x", n), Weight: 1 + n})
			}
			if err := s.SetEndpoints(specs); err != nil {
				t.Fatal(err)
			}
			s.Members()[0].SetHealth(Health(i%2), "")
		}
		close(stop)
		group.Wait()
	}
}
