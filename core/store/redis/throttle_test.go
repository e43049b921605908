package redis_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/account/accounttest"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// throttleOf is a throttle with keys of its own in a server.
func throttleOf(t *testing.T, server *testenv.RedisServer, prefix string, log zerolog.Logger) *redis.Throttle {
	t.Helper()
	c, err := redis.Open(t.Context(), redis.Options{Addresses: []string{server.Address()}, Prefix: prefix, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return redis.NewThrottle(c, account.NewMemoryThrottle(clock.Real()))
}

func prefixOf(t *testing.T) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '/' {
			return '_'
		}
		return r
	}, t.Name()) + ":"
}

func TestThrottle(t *testing.T) {
	server := testenv.Redis(t)
	accounttest.TestThrottle(t, func(t *testing.T) account.Throttle { return throttleOf(t, server, prefixOf(t), zerolog.Nop()) })
}

// TestThrottleWhileAway: the fallback is held to the same behaviour.
func TestThrottleWhileAway(t *testing.T) {
	server := testenv.NewRedis(t)
	server.Stop()
	accounttest.TestThrottle(t, func(t *testing.T) account.Throttle { return throttleOf(t, server, "", zerolog.Nop()) })
}

var closes = account.Limit{Free: 3, Most: 3, Window: time.Hour}

func goesOn(t *testing.T, s account.Throttle, key string) bool {
	t.Helper()
	after, err := s.Attempt(t.Context(), key, closes)
	if err != nil {
		t.Fatal(err)
	}
	return after == 0
}

func TestI11_GatewaysCountTogether(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	gateways := []*redis.Throttle{throttleOf(t, server, prefixOf(t), zerolog.Nop()), throttleOf(t, server, prefixOf(t), zerolog.Nop())}
	var on atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			after, err := gateways[i%2].Attempt(t.Context(), "k", closes)
			if err != nil {
				t.Error(err)
			}
			if err == nil && after == 0 {
				on.Add(1)
			}
		})
	}
	all.Wait()
	if on.Load() != 3 {
		t.Errorf("%d went on, want 3", on.Load())
	}
}

func TestI11_AttemptsExpireInRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := throttleOf(t, server, prefixOf(t), zerolog.Nop())
	if !goesOn(t, s, "pair.Zm9v_-") {
		t.Fatal("the first attempt waits")
	}
	var ttl int
	key := prefixOf(t) + "login_attempts:pair%2EZm9v_-"
	if _, err := fmt.Sscanf(server.Do(t, "PTTL", key), ":%d", &ttl); err != nil || ttl < 3_590_000 || ttl > 3_600_000 {
		t.Errorf("%s lives %d ms, %v", key, ttl, err)
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func TestI11_WithoutRedisEachGatewayCounts(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	var log lockedBuffer
	s := throttleOf(t, server, "", zerolog.New(&log))
	for range 3 {
		goesOn(t, s, "k")
	}
	if goesOn(t, s, "k") {
		t.Fatal("the fourth goes on")
	}
	server.Stop()
	on := 0
	for range 10 {
		if goesOn(t, s, "k") {
			on++
		}
	}
	if on != 3 || log.count("are counted at each instance") != 1 {
		t.Errorf("while Redis is away %d go on, want 3; it was told %d times", on, log.count("are counted at each instance"))
	}
	server.Start() // empty
	deadline := time.Now().Add(20 * time.Second)
	for log.count("are counted for all instances") == 0 {
		if goesOn(t, s, "other"); time.Now().After(deadline) {
			t.Fatal("Redis came back and is not used")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for i := range 4 {
		if goesOn(t, s, "k") != (i < 3) {
			t.Errorf("attempt %d after Redis came back", i+1)
		}
	}
}

func TestI11_AReplicaThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	s := throttleOf(t, server, "", zerolog.Nop())
	server.Do(t, "REPLICAOF", "127.0.0.1", "1") // READONLY from now on
	for i := range 4 {
		if goesOn(t, s, "k") != (i < 3) {
			t.Errorf("attempt %d", i+1)
		}
	}
	if err := s.Clear(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if !goesOn(t, s, "k") {
		t.Error("what was cleared is counted")
	}
}

// What lies in Redis under a key may be anything.
func TestI11_GarbageInRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := throttleOf(t, server, prefixOf(t), zerolog.Nop())
	for i, command := range [][]string{{"SET", "KEY", "text"}, {"HSET", "KEY", "n", "many"}, {"HSET", "KEY", "nxt", "soon"}} {
		id := fmt.Sprint("k", i)
		command[1] = prefixOf(t) + "login_attempts:" + id
		server.Do(t, command...)
		for j := range 4 {
			after, err := s.Attempt(t.Context(), id, closes)
			if err != nil || (after == 0) != (j < 3) {
				t.Errorf("%v, attempt %d: %s, %v", command, j+1, after, err)
			}
		}
		if err := s.Refund(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}
