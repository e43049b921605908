//go:build !race

package redis_test

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// Three levels cost 5 allocations when a request is alone, and 2 when several ask at once.
func TestAllocsExact(t *testing.T) {
	server := testenv.Redis(t)
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t)}, redis.ExactOptions{Timeout: patient})
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		for _, n := range []int64{100_000, 1} {
			cs := levelsOf(policyOf(a, n, time.Hour))
			got := testing.AllocsPerRun(300, func() {
				if _, err := s.Take(cs); err != nil {
					t.Fatal(err)
				}
			})
			if t.Logf("%s, %d: %.1f", a, n, got); got > 5 {
				t.Errorf("%s: %.1f allocations", a, got)
			}
		}
	}
}
