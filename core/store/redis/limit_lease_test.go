package redis_test

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// leasedOf is one instance with a client of its own.
func leasedOf(t testing.TB, o redis.Options, life, timeout time.Duration) *limit.Leased {
	t.Helper()
	o.Log = zerolog.Nop()
	c, err := redis.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	leases := redis.NewLeases(c, redis.LeaseOptions{Timeout: timeout})
	exact := redis.NewExactLimits(c, redis.ExactOptions{Timeout: timeout, LeaseLife: life})
	l := limit.NewLeased(limit.LeasedOptions{Lessor: leases, Exact: exact, Clock: clock.Real(), Timeout: timeout, Life: life})
	t.Cleanup(func() {
		l.Close()
		leases.Close()
		exact.Close()
		c.Close()
	})
	return l
}

// settled is a server that has had data for longer than any lease lasts.
func settled(t testing.TB, server *testenv.RedisServer, prefix string) {
	server.Do(t, "SET", prefix+"rate_limit:epoch", "1")
}

func TestLeasedIsAStore(t *testing.T) {
	server := testenv.Redis(t)
	limittest.TestStore(t, func(t *testing.T) limittest.Fixture {
		settled(t, server, prefixOf(t))
		return limittest.Fixture{
			Store:   leasedOf(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t)}, time.Second, patient),
			Advance: time.Sleep,
		}
	})
}

// TestRL3_LeasedInACluster: counters lie in different slots, and each slot has an epoch.
func TestRL3_LeasedInACluster(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t, "--cluster-enabled", "yes")
	server.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	await(t, "the cluster is well", func() bool { return server.Do(t, "SET", "k", "v") == "+OK" })
	l := leasedOf(t, redis.Options{Addresses: []string{server.Address()}, Mode: redis.Cluster}, 200*time.Millisecond, patient)
	p := policyOf(limit.TokenBucket, 100_000, time.Second)
	asked := time.Now()
	if denied, err := l.Take(levelsOf(p)); denied != 0 || err != nil {
		t.Fatalf("an empty cluster begins a lease's life later: %d, %v", denied, err)
	}
	await(t, "all levels admit", func() bool {
		denied, err := l.Take(levelsOf(p))
		if err != nil {
			t.Fatal(err)
		}
		return denied == limit.Admitted
	})
	if took := time.Since(asked); took < 200*time.Millisecond {
		t.Errorf("after %s", took)
	}
}

// An instance that starts over an empty Redis learns when counters open, and no later one
// must wait; what is not ours under the key is an error.
func TestRL8_BeginIsToldOnce(t *testing.T) {
	server := testenv.NewRedis(t)
	c, err := redis.Open(t.Context(), redis.Options{Addresses: []string{server.Address()}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	leases := redis.NewLeases(c, redis.LeaseOptions{})
	t.Cleanup(leases.Close)
	opens, err := leases.Begin(t.Context(), time.Hour)
	if err != nil || opens != time.Hour {
		t.Errorf("the first is told %s (%v)", opens, err)
	}
	if opens, err = leases.Begin(t.Context(), time.Hour); err != nil || opens <= 59*time.Minute || opens >= time.Hour {
		t.Errorf("the second is told %s (%v)", opens, err)
	}
	if opens, err = leases.Begin(t.Context(), time.Microsecond); err != nil || opens != 0 {
		t.Errorf("one whose leases are over by now is told %s (%v)", opens, err)
	}
	server.Do(t, "DEL", "rate_limit:epoch")
	server.Do(t, "LPUSH", "rate_limit:epoch", "x")
	if opens, err = leases.Begin(t.Context(), time.Hour); err == nil {
		t.Errorf("over a list it is told %s", opens)
	}
}
