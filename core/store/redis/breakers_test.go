package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
	"github.com/suuupra/gateway/core/upstream"
)

func breakers(t *testing.T, s *testenv.RedisServer, log *lines) *redis.Breakers {
	t.Helper()
	o := redis.Options{Addresses: []string{s.Address()}, Prefix: "p:", Log: zerolog.Nop()}
	if log != nil {
		o.Log = zerolog.New(log)
	}
	return redis.NewBreakers(open(t, o))
}

func TestUP4_ARecordIsAHash(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	b := breakers(t, s, nil)
	failed := time.Now().Truncate(time.Millisecond)
	r, written, err := b.Write(t.Context(), "a", 0, upstream.BreakerRecord{State: upstream.Open, Failures: 7, LastFailure: failed, For: time.Minute})
	if err != nil || !written || r.Epoch != 1 || r.State != upstream.Open || r.For != time.Minute || r.Failures != 7 || !r.LastFailure.Equal(failed) {
		t.Fatalf("%+v %v %v", r, written, err)
	}
	const key = "p:circuit_breaker:a"
	for field, want := range map[string]string{"state": "OPEN", "failures": "7", "lastFailure": fmt.Sprint(failed.UnixMilli()), "epoch": "1"} {
		if got := s.Do(t, "HGET", key, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if got := s.Do(t, "TTL", key); got != ":660" && got != ":659" {
		t.Errorf("it expires in %s s", got)
	}
	again, written, err := b.Write(t.Context(), "a", 0, upstream.BreakerRecord{State: upstream.Closed})
	if err != nil || written || again.Epoch != 1 || again.State != upstream.Open || again.For < 50*time.Second || again.For > time.Minute {
		t.Errorf("news of before were written: %+v %v %v", again, written, err)
	}
	next, written, err := b.Write(t.Context(), "a", 1, upstream.BreakerRecord{State: upstream.HalfOpen, For: 10 * time.Millisecond})
	if err != nil || !written || next.Epoch != 2 {
		t.Errorf("%+v %v %v", next, written, err)
	}
	found, err := b.Read(t.Context(), []string{"none", "a"})
	if err != nil || len(found) != 1 || found["a"].State != upstream.HalfOpen || found["a"].Epoch != 2 || found["a"].For > 10*time.Millisecond {
		t.Errorf("%+v %v", found, err)
	}
	await(t, "the time is over", func() bool {
		found, err := b.Read(t.Context(), []string{"a"})
		return err == nil && found["a"].For == 0
	})
	if r, written, err := b.Write(t.Context(), "b", 41, upstream.BreakerRecord{State: upstream.Closed}); err != nil || !written || r.Epoch != 42 {
		t.Errorf("behind a record that has expired: %+v %v %v", r, written, err)
	}
}

// TestUP4_OneOfManyWrites: of instances that write behind the same record one is heard, and the
// others learn what it said.
func TestUP4_OneOfManyWrites(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	var all [8]*redis.Breakers
	for i := range all {
		all[i] = breakers(t, s, nil)
	}
	for epoch := range uint64(20) {
		var group sync.WaitGroup
		var written [8]bool
		for i, b := range all {
			group.Go(func() {
				r, ok, err := b.Write(t.Context(), "a", epoch, upstream.BreakerRecord{State: upstream.Open, Failures: uint64(i), For: time.Second})
				if err != nil || r.Epoch != epoch+1 {
					t.Errorf("%+v %v", r, err)
				}
				written[i] = ok
			})
		}
		group.Wait()
		n := 0
		for _, w := range written {
			if w {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%d wrote epoch %d", n, epoch+1)
		}
	}
}

// TestUP4_NonsenseIsNothing: it is complained about, read as nothing, and replaced.
func TestUP4_NonsenseIsNothing(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	const key = "p:circuit_breaker:a"
	for name, write := range map[string][]string{
		"a string":            {"SET", key, "OPEN"},
		"a list":              {"RPUSH", key, "OPEN"},
		"no state":            {"HSET", key, "failures", "1", "lastFailure", "1", "epoch", "1", "until", "1"},
		"another state":       {"HSET", key, "state", "AJAR", "failures", "1", "lastFailure", "1", "epoch", "1", "until", "1"},
		"no epoch":            {"HSET", key, "state", "OPEN", "failures", "1", "lastFailure", "1", "until", "1"},
		"epoch 0":             {"HSET", key, "state", "OPEN", "failures", "1", "lastFailure", "1", "epoch", "0", "until", "1"},
		"a negative epoch":    {"HSET", key, "state", "OPEN", "failures", "1", "lastFailure", "1", "epoch", "-1", "until", "1"},
		"a huge epoch":        {"HSET", key, "state", "OPEN", "failures", "1", "lastFailure", "1", "epoch", strings.Repeat("9", 400), "until", "1"},
		"until is a float":    {"HSET", key, "state", "OPEN", "failures", "1", "lastFailure", "1", "epoch", "1", "until", "1e300"},
		"bytes":               {"HSET", key, "state", "\x00\xff\r\n", "failures", "1", "lastFailure", "1", "epoch", "1", "until", "1"},
		"a megabyte":          {"HSET", key, "state", strings.Repeat("x", 1<<20), "failures", "1", "lastFailure", "1", "epoch", "1", "until", "1"},
		"failures of letters": {"HSET", key, "state", "OPEN", "failures", "many", "lastFailure", "1", "epoch", "1", "until", "1"},
	} {
		var log lines
		b := breakers(t, s, &log)
		s.Do(t, "DEL", key)
		s.Do(t, write...)
		found, err := b.Read(t.Context(), []string{"a"})
		if err != nil || len(found) != 0 {
			t.Errorf("%s: %+v %v", name, found, err)
		}
		if !strings.Contains(log.String(), "Redis holds what is no circuit breaker under circuit_breaker:") || !strings.Contains(log.String(), key) || len(log.String()) > 2000 {
			t.Errorf("%s: the log says %.3000s", name, log.String())
		}
		r, written, err := b.Write(t.Context(), "a", 5, upstream.BreakerRecord{State: upstream.Closed})
		if err != nil || !written || r.Epoch != 6 {
			t.Errorf("%s: %+v %v %v", name, r, written, err)
		}
		if found, err := b.Read(t.Context(), []string{"a"}); err != nil || found["a"].Epoch != 6 {
			t.Errorf("%s: afterwards %+v %v", name, found, err)
		}
	}
	// A time that never comes is one, and the breaker bounds it.
	b := breakers(t, s, nil)
	s.Do(t, "HSET", key, "state", "OPEN", "failures", "1", "lastFailure", "1", "epoch", "9", "until", strings.Repeat("9", 15))
	if found, err := b.Read(t.Context(), []string{"a"}); err != nil || found["a"].For != 366*24*time.Hour {
		t.Errorf("%+v %v", found, err)
	}
}

func TestUP4_WritesAreToldOf(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	b, other := breakers(t, s, nil), breakers(t, s, nil)
	told := make(chan []string, 100)
	ctx, stop := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { b.Follow(ctx, func(services []string) { told <- services }) })
	defer following.Wait()
	defer stop()
	if first := <-told; first != nil {
		t.Errorf("the first news is of %v", first)
	}
	long := strings.Repeat("long", 50)
	for _, service := range []string{"a", "live-classes", "odd: name%", long} {
		if _, _, err := other.Write(t.Context(), service, 0, upstream.BreakerRecord{State: upstream.Open, For: time.Minute}); err != nil {
			t.Fatal(err)
		}
		got := <-told
		if service == long && got != nil || service != long && (len(got) != 1 || got[0] != service) {
			t.Errorf("%q: told of %q", service, got)
		}
	}
}

// guarded is instances with a breaker of one service, each with a client of its own.
func guarded(t *testing.T, n int, o redis.Options, log *lines) (c clock.Clock, all []*upstream.Breaker) {
	t.Helper()
	c = clock.Real()
	o.Log = zerolog.New(log)
	for range n {
		r := upstream.NewRegistry(func(upstream.Key) upstream.Connections { return none{} })
		r.Publish(meter.NewSet(time.Now))
		r.Guard(upstream.Guarding{Clock: c, Log: zerolog.New(log), Store: redis.NewBreakers(open(t, o))})
		s, err := r.Acquire(upstream.ServiceSpec{
			Name: "identity", Endpoints: []upstream.EndpointSpec{{Address: "a:1", Weight: 1}},
			Breaker: upstream.BreakerSpec{Window: time.Minute, Minimum: 20, Failures: 0.5, Consecutive: 10, Open: 300 * time.Millisecond, OpenMaximum: 10 * time.Second, Probes: 2, Shared: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); s.Release() })
		all = append(all, s.Breaker)
	}
	return c, all
}

type none struct{}

func (none) Close() {}

func (none) Count() (open, idle int) { return 0, 0 }

// send sends n requests of that fate; it returns how many passed.
func send(b *upstream.Breaker, c clock.Clock, n int, fate upstream.Fate) (passed int) {
	for range n {
		now := c.Mono()
		if ticket, ok := b.Admit(now, 0); ok {
			b.Done(ticket, upstream.Final{Fate: fate, Now: now})
			passed++
		}
	}
	return passed
}

// trip opens the first breaker, however long it takes the others to follow.
func trip(t *testing.T, c clock.Clock, all []*upstream.Breaker) time.Duration {
	t.Helper()
	send(all[0], c, 10, upstream.Failure)
	start := time.Now()
	for _, other := range all {
		await(t, "it has opened", func() bool { return other.State() != upstream.Closed })
	}
	return time.Since(start)
}

// TestUP4_InstancesFollow: a trip opens the others, one probes, and all close again, with one
// server and in a cluster.
func TestUP4_InstancesFollow(t *testing.T) {
	for name, servers := range map[string]func(*testing.T) redis.Options{
		"single": func(t *testing.T) redis.Options {
			return redis.Options{Addresses: []string{testenv.NewRedis(t).Address()}}
		},
		"cluster": func(t *testing.T) redis.Options {
			o := redis.Options{Mode: redis.Cluster}
			for _, n := range clusterOf(t) {
				o.Addresses = append(o.Addresses, n.Address())
			}
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log lines
			o := servers(t)
			o.Prefix = "{x}p:"
			c, all := guarded(t, 3, o, &log)
			best := time.Hour
			for range 3 { // a busy machine is late now and then
				best = min(best, trip(t, c, all))
				await(t, "all have closed", func() bool {
					closed := true
					for _, b := range all {
						send(b, c, 1, upstream.Success)
						closed = closed && b.State() == upstream.Closed
					}
					return closed
				})
			}
			t.Logf("the others followed after %v", best)
			if best > time.Second {
				t.Errorf("the others followed after %v", best)
			}
		})
	}
}

// TestUP4_RedisAway: each is on its own while the server hangs or is gone, no request waits
// for it, and they tell each other when it is back.
func TestUP4_RedisAway(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	var log lines
	c, all := guarded(t, 2, redis.Options{Addresses: []string{s.Address()}}, &log)
	trip(t, c, all)
	for _, b := range all {
		await(t, "it closes", func() bool { send(b, c, 1, upstream.Success); return b.State() == upstream.Closed })
	}
	s.Stop()
	least := time.Hour
	for range 5 {
		start := time.Now()
		send(all[0], c, 20, upstream.Failure)
		least = min(least, time.Since(start))
	}
	if least > 5*time.Millisecond {
		t.Errorf("20 requests took %v without Redis", least)
	}
	if all[0].State() == upstream.Closed || all[1].State() != upstream.Closed {
		t.Errorf("%v and %v", all[0].State(), all[1].State())
	}
	await(t, "it is said", func() bool { return strings.Contains(log.String(), "circuit breakers are each instance's own") })
	await(t, "it probes by itself", func() bool { send(all[0], c, 1, upstream.Success); return all[0].State() == upstream.Closed })
	send(all[0], c, 10, upstream.Failure)
	s.Start()
	await(t, "the other follows", func() bool {
		send(all[0], c, 1, upstream.Failure)
		return all[1].State() != upstream.Closed
	})
}
