package redis_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// flood has callers charge one token each time, until stop, and counts what came of it.
type flood struct {
	admitted, denied, failed atomic.Int64
	stop                     chan struct{}
	all                      sync.WaitGroup
}

func floodOf(t *testing.T, s limit.Store, callers int, charges func() []limit.Charge) *flood {
	t.Helper()
	f := &flood{stop: make(chan struct{})}
	for range callers {
		f.all.Go(func() {
			cs := charges()
			for {
				select {
				case <-f.stop:
					return
				default:
				}
				switch denied, err := s.Take(cs); {
				case err != nil:
					f.failed.Add(1)
				case denied == limit.Admitted:
					f.admitted.Add(1)
				default:
					f.denied.Add(1)
				}
			}
		})
	}
	t.Cleanup(f.end)
	return f
}

func (f *flood) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	f.all.Wait()
}

var wide = &limit.Policy{Name: "wide", Algorithm: limit.TokenBucket, Count: 1, Per: 24 * time.Hour, Burst: 1_000_000_000}

func one(p *limit.Policy, key string) []limit.Charge {
	return []limit.Charge{{Policy: p, Key: []byte(key), Cost: 1}}
}

// used is what the server has counted of wide.
func used(t *testing.T, server *testenv.RedisServer, key string) int64 {
	t.Helper()
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: patient})
	cs := one(wide, key)
	if _, err := s.Take(cs); err != nil {
		t.Fatal(err)
	}
	return wide.Burst - cs[0].Remaining - 1
}

// errorOf is what the store says while Redis is as it is.
func errorOf(t *testing.T, s limit.Store) string {
	t.Helper()
	_, err := s.Take(one(wide, "error"))
	if errors.Is(err, limit.ErrCounter) {
		t.Errorf("%v is said to be about one key", err)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// Scripts are flushed at any moment: nobody notices.
func TestExactScriptFlush(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: patient})
	f := floodOf(t, s, 16, func() []limit.Charge { return one(wide, "u") })
	for range 100 {
		server.Do(t, "SCRIPT", "FLUSH")
		time.Sleep(2 * time.Millisecond)
	}
	f.end()
	if f.failed.Load() > 0 || f.denied.Load() > 0 || used(t, server, "u") != f.admitted.Load() {
		t.Errorf("%d are admitted, %d charged; %d failed, %d were denied", f.admitted.Load(), used(t, server, "u")-1, f.failed.Load(), f.denied.Load())
	}
}

// What Redis refuses is an error, and over when it is over.
func TestExactRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begin, end [][]string
		says       string
	}{
		"a replica takes no writes": {[][]string{{"REPLICAOF", "127.0.0.1", "1"}}, [][]string{{"REPLICAOF", "NO", "ONE"}}, "READONLY"},
		"no memory":                 {[][]string{{"CONFIG", "SET", "maxmemory", "1"}}, [][]string{{"CONFIG", "SET", "maxmemory", "0"}}, "OOM"},
		"too few replicas":          {[][]string{{"CONFIG", "SET", "min-replicas-to-write", "1"}}, [][]string{{"CONFIG", "SET", "min-replicas-to-write", "0"}}, "NOREPLICAS"},
		"no right to":               {[][]string{{"ACL", "SETUSER", "default", "-evalsha"}}, [][]string{{"ACL", "SETUSER", "default", "+evalsha"}}, "NOPERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testenv.NewRedis(t)
			s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: patient})
			if said := errorOf(t, s); said != "" {
				t.Fatal(said)
			}
			for _, command := range test.begin {
				server.Do(t, command...)
			}
			for range 3 {
				if said := errorOf(t, s); !strings.Contains(said, test.says) {
					t.Errorf("it says %q, want %s", said, test.says)
				}
			}
			for _, command := range test.end {
				server.Do(t, command...)
			}
			await(t, "it counts again", func() bool { return errorOf(t, s) == "" })
			if got := used(t, server, "error"); got != 2 {
				t.Errorf("%d are charged, want 2", got)
			}
		})
	}
}

// A script of somebody else that does not end.
func TestExactBusy(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t, "--lua-time-limit", "1")
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: 50 * time.Millisecond})
	await(t, "it counts", func() bool { return errorOf(t, s) == "" })
	other := open(t, redis.Options{Addresses: []string{server.Address()}, Timeout: time.Minute, Log: zerolog.Nop()})
	raw := other.Raw()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = raw.Do(context.Background(), raw.B().Eval().Script("while true do end").Numkeys(0).Build()).Error() // it is killed
	}()
	await(t, "it says so", func() bool { return strings.Contains(errorOf(t, s), "BUSY") })
	server.Do(t, "SCRIPT", "KILL")
	<-done
	await(t, "it counts again", func() bool { return errorOf(t, s) == "" })
}

// A server that starts and reads what it had.
func TestExactLoading(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t, "--enable-debug-command", "yes", "--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: 200 * time.Millisecond})
	await(t, "it counts", func() bool { return errorOf(t, s) == "" })
	server.Do(t, "DEBUG", "POPULATE", "500", "key", "2048")
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Do(t, "DEBUG", "RELOAD")
	}()
	await(t, "it says so", func() bool { return strings.Contains(errorOf(t, s), "LOADING") })
	<-done
	await(t, "it counts again", func() bool { return errorOf(t, s) == "" })
}

// What a server has evicted is as if it had never been: full.
func TestExactEviction(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t, "--maxmemory-policy", "allkeys-lru")
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: patient})
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		p := policyOf(a, 3, time.Hour)
		for round := range 2 {
			for i := range 4 {
				denied, err := s.Take(one(p, a.String()))
				if err != nil || (denied == limit.Admitted) != (i < 3) {
					t.Errorf("%s, round %d, charge %d: %d, %v", a, round, i, denied, err)
				}
			}
			server.Do(t, "CONFIG", "SET", "maxmemory", "1")
			server.Do(t, "SET", "x", "y")
			server.Do(t, "CONFIG", "SET", "maxmemory", "0")
			if server.Do(t, "EXISTS", a.String()) != ":0" {
				t.Fatal("it was not evicted")
			}
		}
	}
}

// Connections break while requests are under way: some fail, none is charged twice, and
// afterwards all is as before.
func TestExactBrokenConnections(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", server.Address())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	s := exactOf(t, redis.Options{Addresses: []string{proxy.Listen}}, redis.ExactOptions{Timeout: time.Second})
	f := floodOf(t, s, 16, func() []limit.Charge { return one(wide, "u") })
	for range 20 {
		server.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		time.Sleep(10 * time.Millisecond)
	}
	for _, toxic := range []string{
		`{"type": "reset_peer", "stream": "downstream", "attributes": {"timeout": 5}}`,
		`{"type": "limit_data", "stream": "downstream", "attributes": {"bytes": 500}}`,
		`{"type": "limit_data", "stream": "upstream", "attributes": {"bytes": 900}}`,
		`{"type": "slicer", "stream": "downstream", "attributes": {"average_size": 3, "size_variation": 2, "delay": 10}}`,
	} {
		made, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if err := proxy.Toxics.RemoveToxic(context.Background(), made.Name); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "it counts again", func() bool { return errorOf(t, s) == "" })
	f.end()
	charged, admitted, failed := used(t, server, "u"), f.admitted.Load(), f.failed.Load()
	t.Logf("%d admitted, %d failed, %d charged", admitted, failed, charged)
	if charged < admitted || charged > admitted+failed || failed == 0 || f.denied.Load() > 0 {
		t.Errorf("%d are admitted and %d failed, %d charged", admitted, failed, charged)
	}
}

// RL8: each time that Redis loses its data a policy admits its capacity once more, and no
// more than that.
func TestRL8_RedisIsWiped(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	s := exactOf(t, redis.Options{Addresses: []string{server.Address()}}, redis.ExactOptions{Timeout: patient})
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		const wipes = 5
		f := floodOf(t, s, 8, func() []limit.Charge { return one(policyOf(a, 50, 24*time.Hour), a.String()) })
		for range wipes {
			denied := f.denied.Load()
			await(t, "it is exhausted", func() bool { return f.denied.Load() > denied+20 })
			server.FlushAll(t)
		}
		await(t, "it is exhausted", func() bool { return server.Do(t, "EXISTS", a.String()) == ":1" && f.admitted.Load() >= 50*(1+wipes) })
		f.end()
		if got := f.admitted.Load(); got != 50*(1+wipes) || f.failed.Load() > 0 {
			t.Errorf("%s: %d were admitted, want 50 and 50 for each of %d wipes; %d failed", a, got, wipes, f.failed.Load())
		}
	}
}

func TestExactClosed(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	c := open(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t), Log: zerolog.Nop()})
	s := redis.NewExactLimits(c, redis.ExactOptions{})
	s.Close()
	s.Close()
	if _, err := s.Take(one(wide, "u")); err == nil {
		t.Error("a closed store counts")
	}
}

func TestExactNonsense(t *testing.T) {
	t.Parallel()
	c := countedOf(t, redis.ExactOptions{})
	for _, charge := range []limit.Charge{
		{Policy: wide, Cost: 0}, {Policy: wide, Cost: -1}, {Policy: wide, Cost: limit.Largest + 1},
		{Policy: &limit.Policy{Name: "none"}, Cost: 1}, {Policy: &limit.Policy{Algorithm: limit.TokenBucket, Count: 1}, Cost: 1},
	} {
		charge.Key = []byte("u")
		if _, err := c.Take([]limit.Charge{charge}); !errors.Is(err, limit.ErrCounter) {
			t.Errorf("%+v: %v", charge, err)
		}
	}
	if c.do("EXISTS", c.prefix+"u") != ":0" {
		t.Error("something was charged")
	}
}
