package redis_test

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// patient is a timeout for tests that are not about it: the machine may be slow.
const patient = 20 * time.Second

// exactOf opens a store of its own client.
func exactOf(t testing.TB, o redis.Options, e redis.ExactOptions) *redis.ExactLimits {
	t.Helper()
	if o.Log = zerolog.Nop(); e.Timeout == patient {
		o.Timeout = patient // else the connection is given up before
	}
	c, err := redis.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := redis.NewExactLimits(c, e)
	t.Cleanup(func() {
		s.Close()
		c.Close()
	})
	return s
}

func TestExactIsAStore(t *testing.T) {
	server := testenv.Redis(t)
	limittest.TestStore(t, func(t *testing.T) limittest.Fixture {
		return limittest.Fixture{
			Store:   exactOf(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t)}, redis.ExactOptions{Timeout: patient}),
			Advance: time.Sleep, Exact: true,
		}
	})
}

func policyOf(a limit.Algorithm, n int64, per time.Duration) *limit.Policy {
	p := &limit.Policy{Name: "p", Algorithm: a, Count: n, Per: per}
	if a == limit.TokenBucket {
		p.Burst = n
	}
	return p
}

func levelsOf(p *limit.Policy) []limit.Charge {
	var cs []limit.Charge
	for _, level := range []string{"user", "ip", "global"} {
		c := limit.Counter{Level: level, Value: "some", Policy: p}
		cs = append(cs, limit.Charge{Policy: p, Key: c.AppendKey(nil), Cost: 1})
	}
	return cs
}

func BenchmarkExact(b *testing.B) {
	server := testenv.Redis(b)
	s := exactOf(b, redis.Options{Addresses: []string{server.Address()}, Prefix: b.Name()}, redis.ExactOptions{Timeout: patient})
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		p := policyOf(a, 100_000, time.Second)
		b.Run(a.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				cs := levelsOf(p)
				for pb.Next() {
					if _, err := s.Take(cs); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
