//go:build !race

package upstream

import "testing"

func TestAllocs0(t *testing.T) {
	for name, balance := range map[string]Balance{"round robin": WeightedRoundRobin, "least requests": LeastRequests, "random": Random} {
		s := service(t, balance, 1, 2, 3)
		if n := testing.AllocsPerRun(200, func() {
			var tried Tried
			s.Pick(&tried, 0)
			s.Pick(&tried, 0)
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
	s := service(b, WeightedRoundRobin, 1, 2, 3)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			var tried Tried
			s.Pick(&tried, 0)
		}
	})
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
