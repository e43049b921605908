package redis_test

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// TestRL1_LogsEndToTheMicrosecond asks as often as it can while an entry of a log ends. Lua writes
// a time of 16 digits with 14 where it joins texts: for 50 µs an entry then was over to one
// command of the script and not to the next.
func TestRL1_LogsEndToTheMicrosecond(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t)}, redis.ExactOptions{Timeout: patient})
	p := policyOf(limit.SlidingLog, 1, 5*time.Millisecond)
	for round := range 200 {
		for {
			cs := levelsOf(p)[:1]
			denied, err := s.Take(cs)
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if denied == limit.Admitted {
				break
			}
			if cs[0].Wait <= 0 || cs[0].Wait > p.Per {
				t.Fatalf("round %d: it is to wait %v of %v", round, cs[0].Wait, p.Per)
			}
		}
	}
}
