//go:build !race

package upstream

import "testing"

func TestAllocs0(t *testing.T) {
	for name, balance := range map[string]Balance{"round robin": WeightedRoundRobin, "least requests": LeastRequests, "random": Random, "hash": ConsistentHash} {
		s := service(t, balance, 1, 2, 3)
		if n := testing.AllocsPerRun(200, func() {
			var tried Tried
			s.Pick(&tried, 5)
			s.Pick(&tried, 5)
		}); n != 0 {
			t.Errorf("picking by %s: %v allocations", name, n)
		}
	}
	failing := newTended(t, ejecting(3, Ejection{Consecutive: 1 << 30, Base: 1, MaximumShare: 1}))
	e := failing.Members()[0].Endpoint
	if n := testing.AllocsPerRun(200, func() {
		failing.Report(e, Answered)
		failing.Report(e, ServerError)
	}); n != 0 {
		t.Errorf("reporting: %v allocations", n)
	}
	var b Budget
	now := int64(0)
	if n := testing.AllocsPerRun(200, func() { now += second / 10; b.Request(1, now); b.TryRetry(now, 0.2) }); n != 0 {
		t.Errorf("budget: %v allocations", n)
	}
}

func BenchmarkPick(b *testing.B) {
	for name, s := range map[string]*Service{
		"round robin":           service(b, WeightedRoundRobin, 1, 2, 3),
		"hash, 3 endpoints":     service(b, ConsistentHash, 1, 1, 1),
		"hash, 1,000 endpoints": service(b, ConsistentHash, equal(1000, 1)...),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for hash := uint64(1); p.Next(); hash++ {
					var tried Tried
					s.Pick(&tried, hash)
				}
			})
		})
	}
}

// BenchmarkReport: what a try costs that went well, with ejection and without.
func BenchmarkReport(b *testing.B) {
	for name, e := range map[string]Ejection{"off": {}, "on": usual} {
		b.Run(name, func(b *testing.B) {
			f := newTended(b, ejecting(3, e))
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				e := f.Members()[0].Endpoint
				for p.Next() {
					f.Report(e, Answered)
				}
			})
		})
	}
}
