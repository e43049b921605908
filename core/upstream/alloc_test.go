//go:build !race

package upstream

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

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
	breaker := NewBreaker("s", breaking, nil)
	if n := testing.AllocsPerRun(200, func() {
		ticket, _ := breaker.Admit(now, 1)
		breaker.Done(ticket, Final{Fate: Success, Now: now, Stripe: 1})
	}); n != 0 {
		t.Errorf("closed breaker: %v allocations", n)
	}
	open := NewBreaker("s", breaking, nil)
	open.force(ForcedOpen, now)
	if n := testing.AllocsPerRun(200, func() { open.Admit(now, 1) }); n != 0 {
		t.Errorf("open breaker: %v allocations", n)
	}
	for name, spec := range map[string]BulkheadSpec{"fixed": {Maximum: 9}, "adaptive": {Maximum: 9, Adaptive: true}} {
		bulkhead := NewBulkhead(spec, clock.Real())
		if n := testing.AllocsPerRun(200, func() {
			if bulkhead.Enter() {
				bulkhead.Done(Final{Fate: Success, Latency: time.Millisecond, Now: now})
				bulkhead.Leave()
			}
		}); n != 0 {
			t.Errorf("%s bulkhead: %v allocations", name, n)
		}
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

func BenchmarkClosedBreaker(b *testing.B) {
	breaker, c := NewBreaker("s", breaking, nil), clock.Real()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		stripe, now := uint32(c.Mono()), c.Mono()
		for p.Next() {
			ticket, _ := breaker.Admit(now, stripe)
			breaker.Done(ticket, Final{Fate: Success, Now: now, Stripe: stripe})
		}
	})
}

func BenchmarkBulkhead(b *testing.B) {
	bulkhead := NewBulkhead(BulkheadSpec{Maximum: 1000}, clock.Real())
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if bulkhead.Enter() {
				bulkhead.Leave()
			}
		}
	})
}
