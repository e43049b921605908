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

// recent says whether an epoch is the server's time about now.
func recent(epoch uint64) bool {
	return time.Since(time.UnixMilli(int64(epoch))).Abs() < time.Minute
}

func TestUP4_ARecordIsAHash(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	b := breakers(t, s, nil)
	failed := time.Now().Truncate(time.Millisecond)
	r, written, err := b.Write(t.Context(), "a", 0, upstream.BreakerRecord{State: upstream.Open, Failures: 7, LastFailure: failed, For: time.Minute, By: "me"})
	if err != nil || !written || !recent(r.Epoch) || r.State != upstream.Open || r.For != time.Minute || r.Failures != 7 || !r.LastFailure.Equal(failed) || r.By != "me" {
		t.Fatalf("%+v %v %v", r, written, err)
	}
	const key = "p:circuit_breaker:a"
	for field, want := range map[string]string{"state": "OPEN", "failures": "7", "lastFailure": fmt.Sprint(failed.UnixMilli()), "epoch": fmt.Sprint(r.Epoch), "by": "me"} {
		if got := s.Do(t, "HGET", key, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	if got := s.Do(t, "TTL", key); got != ":660" && got != ":659" {
		t.Errorf("it expires in %s s", got)
	}
	again, written, err := b.Write(t.Context(), "a", r.Epoch-1, upstream.BreakerRecord{State: upstream.Closed, By: "you"})
	if err != nil || written || again.Epoch != r.Epoch || again.State != upstream.Open || again.For < 50*time.Second || again.For > time.Minute || again.By != "me" {
		t.Errorf("news of before were written: %+v %v %v", again, written, err)
	}
	next, written, err := b.Write(t.Context(), "a", r.Epoch, upstream.BreakerRecord{State: upstream.HalfOpen, For: 10 * time.Millisecond, By: "you"})
	if err != nil || !written || next.Epoch <= r.Epoch || !recent(next.Epoch) {
		t.Errorf("%+v %v %v", next, written, err)
	}
	found, err := b.Read(t.Context(), []string{"none", "a"})
	if err != nil || len(found) != 1 || found["a"].State != upstream.HalfOpen || found["a"].Epoch != next.Epoch || found["a"].For > 10*time.Millisecond || found["a"].By != "you" {
		t.Errorf("%+v %v", found, err)
	}
	await(t, "the time is over", func() bool {
		found, err := b.Read(t.Context(), []string{"a"})
		return err == nil && found["a"].For == 0
	})
	for _, odd := range []time.Time{time.UnixMilli(-5), time.Date(200000, 1, 1, 0, 0, 0, 0, time.UTC)} { // of a machine that knows no time
		if r, written, err := b.Write(t.Context(), "odd", r.Epoch, upstream.BreakerRecord{State: upstream.Closed, LastFailure: odd, Failures: 1 << 63}); err != nil || !written && r.Epoch == 0 {
			t.Errorf("%+v %v %v", r, written, err)
		}
		if found, err := b.Read(t.Context(), []string{"odd"}); err != nil || len(found) != 1 {
			t.Errorf("what it wrote can't be read: %+v %v", found, err)
		}
	}
}

// TestUP4_NoEpochComesAgain: whoever knows the epoch of a record that has expired, or that an
// emptied server held, must not take the next one for it.
func TestUP4_NoEpochComesAgain(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	b := breakers(t, s, nil)
	seen := map[uint64]bool{}
	last := uint64(0)
	for n := range 300 {
		r, written, err := b.Write(t.Context(), "a", last, upstream.BreakerRecord{State: upstream.Open})
		if err != nil || !written || seen[r.Epoch] || r.Epoch <= last {
			t.Fatalf("behind %d: %+v %v %v", last, r, written, err)
		}
		seen[r.Epoch], last = true, r.Epoch
		gone := [][]string{nil, {"FLUSHALL"}, {"DEL", "p:circuit_breaker:a"}}[n%3]
		if gone != nil {
			await(t, "time has passed", func() bool { return time.Now().UnixMilli() > int64(last) }) // there could be two within a millisecond
			s.Do(t, gone...)
		}
	}
	// What was written faster than one a millisecond is ahead of the time.
	ahead := uint64(time.Now().Add(time.Hour).UnixMilli())
	s.Do(t, "HSET", "p:circuit_breaker:a", "state", "OPEN", "failures", "1", "lastFailure", "1", "epoch", fmt.Sprint(ahead), "until", "1")
	if r, written, err := b.Write(t.Context(), "a", ahead, upstream.BreakerRecord{State: upstream.Closed}); err != nil || !written || r.Epoch != ahead+1 {
		t.Errorf("%+v %v %v", r, written, err)
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
	epoch := uint64(0)
	for range 20 {
		var group sync.WaitGroup
		var written [8]bool
		var stands [8]uint64
		for i, b := range all {
			group.Go(func() {
				r, ok, err := b.Write(t.Context(), "a", epoch, upstream.BreakerRecord{State: upstream.Open, Failures: uint64(i), For: time.Second})
				if err != nil {
					t.Errorf("%+v %v", r, err)
				}
				written[i], stands[i] = ok, r.Epoch
			})
		}
		group.Wait()
		n := 0
		for i := range written {
			if written[i] {
				n++
			}
			if stands[i] != stands[0] || stands[i] <= epoch {
				t.Errorf("behind %d: %v", epoch, stands)
			}
		}
		if n != 1 {
			t.Fatalf("%d wrote behind epoch %d", n, epoch)
		}
		epoch = stands[0]
	}
}

// nonsense is what no gateway writes, as commands for a key.
func nonsense(key string) map[string][]string {
	all := map[string][]string{
		"a string":                 {"SET", key, "OPEN"},
		"an empty string":          {"SET", key, ""},
		"a list":                   {"RPUSH", key, "OPEN"},
		"a set":                    {"SADD", key, "OPEN"},
		"a sorted set":             {"ZADD", key, "1", "OPEN"},
		"a stream":                 {"XADD", key, "*", "state", "OPEN"},
		"a hash of something else": {"HSET", key, "a", "b"},
	}
	good := map[string]string{"state": "OPEN", "failures": "1", "lastFailure": "1", "epoch": "1", "until": "1"}
	with := func(field, value string, there bool) []string {
		command := []string{"HSET", key}
		for f, v := range good {
			if f == field {
				v = value
			}
			if f != field || there {
				command = append(command, f, v)
			}
		}
		return command
	}
	bad := []string{
		"", " ", " 5", "5 ", "-1", "-0", "+1", "007", "00", "1e3", "1.0", "0x10", "nan", "NaN", "inf", "-inf", "many", "1_000", "5\n", "5\x00", "\x00\xff\r\n", "٣",
		"1000000000000000", "9223372036854775807", "9223372036854775808", "18446744073709551616", strings.Repeat("9", 400), strings.Repeat("1", 1<<20),
	}
	for field := range good {
		all["no "+field] = with(field, "", false)
		for _, value := range bad {
			all[fmt.Sprintf("%s is %.40q of %d", field, value, len(value))] = with(field, value, true)
		}
	}
	for _, value := range []string{"AJAR", "open", "OPEN ", "0", strings.Repeat("x", 1<<20)} {
		all[fmt.Sprintf("state is %.40q", value)] = with("state", value, true)
	}
	for _, value := range []string{"0", "999999999999998", "999999999999999"} { // nothing could follow them
		all["epoch is "+value] = with("epoch", value, true)
	}
	return all
}

// TestUP4_NonsenseIsNothing: it is complained about, read as nothing, and replaced, whichever
// epoch the writer knows; what is read along with it is none the worse.
func TestUP4_NonsenseIsNothing(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	const key = "p:circuit_breaker:a"
	quiet := breakers(t, s, nil)
	if _, _, err := quiet.Write(t.Context(), "good", 0, upstream.BreakerRecord{State: upstream.HalfOpen, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for name, write := range nonsense(key) {
		for _, after := range []uint64{0, 1, 5, 999_999_999_999_999, 1 << 63} {
			s.Do(t, "DEL", key)
			s.Do(t, write...)
			found, err := quiet.Read(t.Context(), []string{"a", "good"})
			if err != nil || len(found) != 1 || found["good"].State != upstream.HalfOpen {
				t.Errorf("%s: %+v %v", name, found, err)
			}
			r, written, err := quiet.Write(t.Context(), "a", after, upstream.BreakerRecord{State: upstream.Closed})
			if err != nil || !written || !recent(r.Epoch) {
				t.Errorf("%s: %+v %v %v", name, r, written, err)
			}
			if found, err := quiet.Read(t.Context(), []string{"a"}); err != nil || found["a"].Epoch != r.Epoch {
				t.Errorf("%s: afterwards %+v %v", name, found, err)
			}
		}
	}
	for _, name := range []string{"a list", "no epoch", "epoch is 999999999999999", `state is "AJAR"`} {
		var log lines
		s.Do(t, "DEL", key)
		s.Do(t, nonsense(key)[name]...)
		if _, err := breakers(t, s, &log).Read(t.Context(), []string{"a"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(log.String(), "Redis holds what is no circuit breaker under circuit_breaker:") || !strings.Contains(log.String(), key) || len(log.String()) > 2000 {
			t.Errorf("%s: the log says %.3000s", name, log.String())
		}
	}
}

// TestUP4_WhatMakesSenseAtTheEdge is followed, and can be written behind.
func TestUP4_WhatMakesSenseAtTheEdge(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	b := breakers(t, s, nil)
	const key, most = "p:circuit_breaker:a", uint64(999_999_999_999_997)
	for _, number := range []string{"0", "1", "999999999999999"} { // a time that never comes is one, and the breaker bounds it
		s.Do(t, "DEL", key)
		s.Do(t, "HSET", key, "state", "OPEN", "failures", number, "lastFailure", number, "epoch", fmt.Sprint(most), "until", number, "by", strings.Repeat("x", 1000))
		found, err := b.Read(t.Context(), []string{"a"})
		if r := found["a"]; err != nil || r.Epoch != most || fmt.Sprint(r.Failures) != number || r.For > 366*24*time.Hour || (r.For > 0) != (len(number) > 1) || len(r.By) != 40 {
			t.Errorf("%s: %+v %v", number, found, err)
		}
		stands, written, err := b.Write(t.Context(), "a", 3, upstream.BreakerRecord{State: upstream.Closed})
		if err != nil || written || stands.Epoch != most || fmt.Sprint(stands.Failures) != number || stands.For > 366*24*time.Hour || len(stands.By) != 40 {
			t.Errorf("%s: %+v %v %v", number, stands, written, err)
		}
		next, written, err := b.Write(t.Context(), "a", most, upstream.BreakerRecord{State: upstream.Closed})
		if err != nil || !written || !recent(next.Epoch) {
			t.Errorf("%s: %+v %v %v", number, next, written, err)
		}
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

// heal has all close again. Whoever has closed is sent no more, or he would know by himself that
// the service is well.
func heal(t *testing.T, c clock.Clock, all []*upstream.Breaker) {
	t.Helper()
	await(t, "all have closed", func() bool {
		closed := true
		for _, b := range all {
			if b.State() != upstream.Closed {
				send(b, c, 1, upstream.Success)
				closed = false
			}
		}
		return closed
	})
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
				heal(t, c, all)
			}
			t.Logf("the others followed after %v", best)
			if best > time.Second {
				t.Errorf("the others followed after %v", best)
			}
		})
	}
}

// TestUP4_ASlowAnswerMakesNobodyDeaf: the server answers nobody for 0.7 s while an instance
// opens. No connection is lost; the others follow within a second all the same.
func TestUP4_ASlowAnswerMakesNobodyDeaf(t *testing.T) {
	t.Parallel()
	s := testenv.NewRedis(t)
	var log lines
	c, all := guarded(t, 2, redis.Options{Addresses: []string{s.Address()}}, &log)
	trip(t, c, all) // once they know each other
	best := time.Hour
	for range 5 {
		heal(t, c, all)
		s.Do(t, "CLIENT", "PAUSE", "700", "ALL")
		if best = min(best, trip(t, c, all)); best <= time.Second {
			break
		}
	}
	t.Logf("the other followed after %v", best)
	if best > time.Second {
		t.Errorf("the other followed after %v", best)
	}
	if got := s.Do(t, "HGET", "circuit_breaker:identity", "state"); got == "CLOSED" || got == "$-1" {
		t.Errorf("the record says %q", got)
	}
	s.Pause() // for longer than anybody waits
	heal(t, c, all)
	s.Resume()
	await(t, "the other follows", func() bool {
		send(all[1], c, 10, upstream.Failure) // again, if an OPEN and a CLOSED that were under way for long come just then
		return all[0].State() != upstream.Closed
	})
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
