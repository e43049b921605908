package redis_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// lessor asks for one counter at a time.
type lessor struct {
	*redis.Leases
	t      *testing.T
	server *testenv.RedisServer
	prefix string
	last   uint64
}

func lessorOf(t *testing.T, server *testenv.RedisServer, open func(*redis.Client, redis.LeaseOptions) *redis.Leases) *lessor {
	t.Helper()
	c, err := redis.Open(t.Context(), redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	l := &lessor{Leases: open(c, redis.LeaseOptions{Timeout: patient}), t: t, server: server, prefix: prefixOf(t)}
	t.Cleanup(func() {
		l.Close()
		c.Close()
	})
	settled(t, server, prefixOf(t))
	return l
}

const scriptLife = 300 * time.Millisecond

// ask asks, with a new number for a lease.
func (l *lessor) ask(p *limit.Policy, a limit.Ask) *limit.Ask {
	l.t.Helper()
	l.last++
	a.Key, a.Policy, a.Life, a.Lease = []byte("k"), p, scriptLife, l.last
	l.Lease([]*limit.Ask{&a})
	if a.Err != nil {
		l.t.Fatal(a.Err)
	}
	return &a
}

// charge asks for n of one token each, and returns how many are granted.
func (l *lessor) charge(p *limit.Policy, n int64) int64 {
	l.t.Helper()
	return l.ask(p, limit.Ask{Now: []limit.Demand{{Cost: 1, Count: n}}}).Now[0].Granted
}

func (l *lessor) field(name string) string {
	l.t.Helper()
	return l.server.Do(l.t, "HGET", l.prefix+"k", name)
}

func quick(burst int64) *limit.Policy { // is full again in a moment
	return &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1000, Per: 10 * time.Millisecond, Burst: burst}
}

// TestRL8_NothingIsGainedBehindALease, and the script that gains is found out.
func TestRL8_NothingIsGainedBehindALease(t *testing.T) {
	t.Parallel()
	p := quick(100)
	for _, bug := range []bool{false, true} {
		open := redis.NewLeases
		if bug {
			open = redis.NewLeasesBehind
		}
		t.Run(strconv.FormatBool(bug), func(t *testing.T) {
			l := lessorOf(t, testenv.Redis(t), open)
			got := l.ask(p, limit.Ask{Want: 1000})
			if got.Leased != 25 || got.Left != 75 || got.Until != scriptLife {
				t.Fatalf("of 100 it is %d leased for %s, and %d are left", got.Leased, got.Until, got.Left)
			}
			time.Sleep(20 * time.Millisecond) // it would be full by then
			granted := l.charge(p, 100)
			if bug && granted <= 75 || !bug && granted != 75 {
				t.Errorf("behind a lease of 25 of 100, %d are granted", granted)
			}
			if bug {
				return
			}
			time.Sleep(20 * time.Millisecond)
			l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: 1, Left: 5}}}) // 20 are spent
			time.Sleep(20 * time.Millisecond)
			if granted := l.charge(p, 100); granted != 95 {
				t.Errorf("behind a lease of which 5 are left, %d are granted", granted)
			}
			l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: 1, Left: 25}}}) // it came late, and changes nothing
			time.Sleep(20 * time.Millisecond)
			if granted := l.charge(p, 100); granted != 95 {
				t.Errorf("after an old report %d are granted", granted)
			}
		})
	}
}

func slow(burst int64) *limit.Policy { // gains nothing while a test runs
	return &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1, Per: hour, Burst: burst}
}

func TestRL3_LeasesComeBackOnce(t *testing.T) {
	t.Parallel()
	l := lessorOf(t, testenv.Redis(t), redis.NewLeases)
	p := slow(100)
	l.ask(p, limit.Ask{Want: 1000})
	for range 2 { // a report may be heard twice
		got := l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: 1, Left: 15, Ended: true}}})
		if got.Left != 90 || l.field("o") != "0" {
			t.Fatalf("15 of 25 came back: %d are left, and %s parts are out", got.Left, l.field("o"))
		}
	}
	lost := l.ask(p, limit.Ask{Want: 10, Now: []limit.Demand{{Cost: 2, Count: 3}, {Cost: 7, Count: 1}}})
	if lost.Left != 90-13-10 || lost.Leased != 10 || lost.Wait != 0 || lost.Now[0].Granted != 3 || lost.Now[1].Granted != 1 {
		t.Fatalf("%+v", lost)
	}
	// Its answer was not heard: nobody knows how much it was.
	if got := l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: lost.Lease, Left: 1000, Ended: true}}}); got.Left != 77 {
		t.Errorf("%d are left", got.Left)
	}
	if got := l.ask(p, limit.Ask{Refunds: []limit.Refund{{Tokens: 7, At: lost.At}}}); got.Left != 84 {
		t.Errorf("after a refund %d are left", got.Left)
	}
	got := l.ask(p, limit.Ask{Now: []limit.Demand{{Cost: 50, Count: 2}, {Cost: 1, Count: 1}}, Want: 9, Owed: 200})
	if got.Now[0].Granted != 1 || got.Now[1].Granted != 1 || got.Leased != 0 || got.Left != 0 || got.Wait < 16*time.Hour || got.Wait > 50*time.Hour {
		t.Errorf("%+v", got)
	}
}

// TestRL3_LeasesThatEndAreLost: what is not told of in time stays charged, but is not out any
// more.
func TestRL3_LeasesThatEndAreLost(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow} {
		t.Run(algorithm.String(), func(t *testing.T) {
			t.Parallel()
			l := lessorOf(t, testenv.Redis(t), redis.NewLeases)
			p := policyOf(algorithm, 100, hour)
			l.ask(p, limit.Ask{Want: 10})
			l.ask(p, limit.Ask{Want: 5})
			time.Sleep(scriptLife + 20*time.Millisecond)
			got := l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: 1, Left: 10, Ended: true}}})
			if got.Left != 85 || l.field("o") != "0" && algorithm == limit.TokenBucket {
				t.Errorf("%d are left, %s out", got.Left, l.field("o"))
			}
			if n := l.server.Do(t, "HLEN", l.prefix+"k"); n != ":5" && algorithm == limit.TokenBucket {
				t.Errorf("%s fields", n)
			}
		})
	}
	t.Run("and gain from then on", func(t *testing.T) {
		t.Parallel()
		l := lessorOf(t, testenv.Redis(t), redis.NewLeases)
		l.ask(quick(100), limit.Ask{Want: 25})
		time.Sleep(scriptLife + 50*time.Millisecond)
		if granted := l.charge(quick(100), 100); granted != 100 {
			t.Errorf("%d are granted", granted)
		}
	})
}

// TestRL3_WindowLeasesEndWithTheirSlot: and what comes back comes back into it.
func TestRL3_WindowLeasesEndWithTheirSlot(t *testing.T) {
	t.Parallel()
	l := lessorOf(t, testenv.Redis(t), redis.NewLeases)
	p := policyOf(limit.SlidingWindow, 100, 63*200*time.Millisecond)
	lost := int64(0) // by leases that ended before they came back: a busy machine is slow
	for range 20 {
		got := l.ask(p, limit.Ask{Want: 3})
		end, leased := got.At+got.Until.Microseconds(), got.Leased
		if leased > 0 && (end > (got.At/200_000+1)*200_000 || got.Until > scriptLife) {
			t.Fatalf("leased at %d until %d", got.At, end)
		}
		got = l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: l.last, Left: 3, Ended: true}}})
		if got.At >= end {
			lost += leased
		}
		if got.Left != 100-lost {
			t.Fatalf("%d are left, and %d were lost", got.Left, lost)
		}
		time.Sleep(21 * time.Millisecond)
	}
}

// TestRL7_LeasesOfAnotherPolicy: what is out under the old numbers stays counted.
func TestRL7_LeasesOfAnotherPolicy(t *testing.T) {
	t.Parallel()
	l := lessorOf(t, testenv.Redis(t), redis.NewLeases)
	l.ask(slow(1000), limit.Ask{Want: 200, Now: []limit.Demand{{Cost: 20, Count: 1}}})
	p := &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 7, Per: hour, Burst: 100}
	if got := l.ask(p, limit.Ask{Now: []limit.Demand{{Cost: 1, Count: 1}}}); got.Now[0].Granted != 0 {
		t.Error("200 are out, and one of 100 is granted")
	}
	got := l.ask(p, limit.Ask{Reports: []limit.Report{{Lease: 1, Left: 200, Ended: true}}})
	if got.Left != 80 {
		t.Errorf("20 of 100 are spent, %d are left", got.Left)
	}
}

// TestRL8_AWipedRedisBeginsLater: not before what was out has ended, and empty.
func TestRL8_AWipedRedisBeginsLater(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	l := lessorOf(t, server, redis.NewLeases)
	p := &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1000, Per: time.Second, Burst: 1000}
	if l.charge(p, 1000) != 1000 {
		t.Fatal("it was not full")
	}
	server.FlushAll(t)
	wiped := time.Now()
	for time.Since(wiped) < scriptLife-50*time.Millisecond {
		asked := time.Now()
		got := l.ask(p, limit.Ask{Want: 10, Now: []limit.Demand{{Cost: 1, Count: 1}}, Refunds: []limit.Refund{{Tokens: 100, At: 1}}})
		if time.Since(wiped) < scriptLife && (got.Now[0].Granted != 0 || got.Leased != 0 || got.Wait < scriptLife-time.Since(wiped)-time.Millisecond) {
			t.Fatalf("%s after it was wiped: %+v", asked.Sub(wiped), got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(time.Until(wiped.Add(scriptLife + 100*time.Millisecond)))
	granted := l.charge(p, 1000)
	if most := int64((time.Since(wiped) - scriptLife).Milliseconds()) + 1; granted == 0 || granted > most {
		t.Errorf("it grants %d, want 1 to %d", granted, most)
	}
}

func TestLeaseGarbageInRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	l := lessorOf(t, server, redis.NewLeases)
	for _, command := range [][]string{{"SET", "", "text"}, {"HSET", "", "d", "many"}, {"HSET", "", "d", "1", "t", "1", "g", "0"}, {"LPUSH", "", "x"}} {
		server.Do(t, "DEL", l.prefix+"k")
		command[1] = l.prefix + "k"
		server.Do(t, command...)
		a := limit.Ask{Key: []byte("k"), Policy: slow(10), Life: scriptLife, Lease: 1, Want: 1}
		if l.Lease([]*limit.Ask{&a}); !errors.Is(a.Err, limit.ErrCounter) {
			t.Errorf("%v: %v", command, a.Err)
		}
	}
	a := limit.Ask{Key: []byte("k"), Policy: policyOf(limit.SlidingLog, 1, hour), Life: scriptLife}
	if l.Lease([]*limit.Ask{&a}); !errors.Is(a.Err, limit.ErrCounter) {
		t.Errorf("a log: %v", a.Err)
	}
}
