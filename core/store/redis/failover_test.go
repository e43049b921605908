//go:build race

// Much happens at once in these tests, and most of it is waiting: once is enough, with the detector.

package redis_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// pair is a primary that may be lost, the replica that takes over, and who sees to that.
type pair struct {
	options          redis.Options // in a cluster, with a prefix that puts all on the primary
	primary, replica *testenv.RedisServer
	handOver         func(t *testing.T) // both stay, and change places
	sever            func()             // what is written from now on never reaches the replica
	gapless          bool               // handOver loses no write
}

// watched is a pair with a sentinel.
func watched(t *testing.T) *pair {
	t.Helper()
	primary := testenv.NewRedis(t)
	host, port, _ := net.SplitHostPort(primary.Address())
	proxy := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "replication", "127.0.0.1:0", primary.Address())
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	_, through, _ := net.SplitHostPort(proxy.Listen)
	replica := testenv.NewRedis(t, "--replicaof", host, through, "--repl-diskless-sync-delay", "0")
	sentinel := testenv.NewSentinel(t, "suuupra", host, port)
	sentinel.Do(t, "SENTINEL", "SET", "suuupra", "down-after-milliseconds", "500")
	await(t, "the sentinel knows the replica", func() bool { return strings.HasPrefix(sentinel.Do(t, "SENTINEL", "REPLICAS", "suuupra"), "*1") })
	p := &pair{
		options: redis.Options{Addresses: []string{sentinel.Address()}, Mode: redis.Sentinel, Master: "suuupra"},
		primary: primary, replica: replica, sever: proxy.Stop,
		handOver: func(t *testing.T) {
			await(t, "the sentinel hands over", func() bool { return sentinel.Do(t, "SENTINEL", "FAILOVER", "suuupra") == "+OK" })
		},
	}
	p.synced(t)
	return p
}

// clustered is a cluster of three, and a replica of the first.
func clustered(t *testing.T) *pair {
	t.Helper()
	nodes := clusterOf(t)
	for _, n := range nodes {
		n.Do(t, "CONFIG", "SET", "cluster-node-timeout", "1000")
	}
	replica := testenv.NewRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
	host, port, _ := net.SplitHostPort(nodes[1].Address())
	replica.Do(t, "CLUSTER", "MEET", host, port, nodes[1].Bus())
	id := nodes[0].Do(t, "CLUSTER", "MYID")
	await(t, "it is a replica", func() bool { return replica.Do(t, "CLUSTER", "REPLICATE", id) == "+OK" })
	p := &pair{
		options: redis.Options{Addresses: []string{nodes[0].Address(), nodes[1].Address()}, Mode: redis.Cluster, Prefix: "{" + keyOn(t, nodes, 0) + "}:"},
		primary: nodes[0], replica: replica, gapless: true,
		handOver: func(t *testing.T) {
			if answer := replica.Do(t, "CLUSTER", "FAILOVER"); answer != "+OK" {
				t.Fatal(answer)
			}
		},
	}
	p.synced(t)
	await(t, "all know the replica", func() bool {
		for _, n := range nodes {
			if !strings.Contains(info(t, n), "cluster_known_nodes:4") {
				return false
			}
		}
		return true
	})
	return p
}

func (p *pair) synced(t *testing.T) {
	await(t, "the replica is one", func() bool { return about(p.replica, "master_link_status") == "up" })
}

// lost is how a primary is lost. It returns when the other is one.
func (p *pair) lost(t *testing.T, how string) {
	t.Helper()
	switch how {
	case "killed":
		p.primary.Stop()
	case "hangs":
		p.primary.Pause()
		defer p.primary.Resume() // and believes for a moment that it is one still
	case "hands over":
		p.handOver(t)
	}
	within(t, patience, "the replica is promoted", func() bool { return about(p.replica, "role") == "master" })
}

// about is a value of INFO replication, "" while the server does not tell it: one whose role
// changes hangs up.
func about(server *testenv.RedisServer, name string) string {
	value, _ := server.Ask("EVAL", `return string.match(redis.call('INFO', 'replication'), ARGV[1] .. ':([%w-]+)') or ''`, "0", name)
	return value
}

// replicated waits until the replica has all that the primary has.
func (p *pair) replicated(t *testing.T) {
	t.Helper()
	sent := about(p.primary, "master_repl_offset")
	await(t, "the replica has it all", func() bool { return number(about(p.replica, "slave_repl_offset")) >= number(sent) })
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// soon is how long after a promotion all must be as before, on a machine that is busy: the
// library hears of it at once, or asks every five seconds.
const soon, patience = 20 * time.Second, 30 * time.Second

// within is await with a bound that is promised, and tells how long it took.
func within(t *testing.T, d time.Duration, what string, so func() bool) {
	t.Helper()
	begun := time.Now()
	for !so() {
		if time.Since(begun) > d {
			t.Fatalf("%s later it is not so: %s", d, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Logf("%s after %s", what, time.Since(begun).Round(time.Millisecond))
}

// TestFailover: all that instances share goes on when a primary is lost, by whichever way
// (SECURITY I4, I11; SPEC AK2, RL8).
func TestFailover(t *testing.T) {
	parts := []func(*testing.T, *pair) func(){revokedThrough, toldThrough, countedThrough, leasedThrough}
	for name, make := range map[string]func(*testing.T) *pair{"sentinel": watched, "cluster": clustered} {
		for _, how := range []string{"killed", "hangs", "hands over"} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				p := make(t)
				var after []func()
				p.gapless = p.gapless && how == "hands over"
				for _, begin := range parts {
					after = append(after, begin(t, p))
				}
				p.lost(t, how)
				for _, check := range after {
					check()
				}
			})
		}
	}
}

// clientOf is an instance's client of the pair, which is connected.
func (p *pair) clientOf(t *testing.T) *redis.Client {
	t.Helper()
	o := p.options
	o.Log = zerolog.Nop()
	c := instance(t, o)
	await(t, "it is connected", c.Healthy)
	return c
}

// again calls f again and again; what it returns ends that.
func again(every time.Duration, f func(n int)) (end func() (n int)) {
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			case <-time.After(every):
				f(n)
			}
		}
	}()
	return sync.OnceValue(func() int { close(stop); return <-done })
}

// pushMirror is an instance's mirror that hears of revocations from Redis alone.
func (p *pair) pushMirror(t *testing.T) *revocation.Mirror {
	t.Helper()
	m, err := revocation.New(revocation.Options{
		Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: zerolog.Nop(), Push: redis.NewRevocations(p.clientOf(t)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { m.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return m
}

// What was revoked stays refused. What is revoked while there is no primary is refused at
// once where that was done, and by all when there is one again.
func revokedThrough(t *testing.T, p *pair) func() {
	a, b := p.pushMirror(t), p.pushMirror(t)
	inTouch(t, a, b)
	spread(t, 20, a, b)
	id := func(n int) string { return fmt.Sprint("during", n) }
	end := again(10*time.Millisecond, func(n int) {
		if err := a.Revoke(context.Background(), of(id(n))); err != nil || !a.Revoked(id(n), "", 0) {
			t.Errorf("%s is not refused where it was revoked: %v", id(n), err)
		}
	})
	t.Cleanup(func() { end() })
	return func() {
		revoked := end()
		within(t, soon, "what was revoked meanwhile is refused elsewhere", func() bool {
			for n := range revoked {
				if !b.Revoked(id(n), "", 0) {
					return false
				}
			}
			return true
		})
		within(t, soon, "the mirrors are in touch", func() bool {
			x, _ := a.State()
			y, _ := b.State()
			return max(x, y) < 2*time.Second
		})
		spread(t, 20, a, b)
		spread(t, 20, b, a)
	}
}

// What the replica never got is written again by those who know it, and stays refused.
func TestI4_AFailoverThatLosesRevocations(t *testing.T) {
	t.Parallel()
	p := watched(t)
	a, b := p.pushMirror(t), p.pushMirror(t)
	inTouch(t, a, b)
	p.sever()
	spread(t, 20, a, b)
	if n := p.replica.Do(t, "DBSIZE"); n != ":0" {
		t.Fatalf("the replica has %s", n)
	}
	p.lost(t, "killed")
	within(t, soon, "all is there again", func() bool { return p.replica.Do(t, "DBSIZE") == ":20" })
}

// A key that changes is told of soon after, and who may have missed a change asks again.
func toldThrough(t *testing.T, p *pair) func() {
	tier := func() *redis.APIKeys {
		k, err := redis.NewAPIKeys(p.clientOf(t), apiKeySecret)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a, b := tier(), tier()
	var mu sync.Mutex
	told := map[string]int{}
	count := func(id string) int {
		mu.Lock()
		defer mu.Unlock()
		return told[id]
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() {
		b.Watch(ctx, func(id string) {
			mu.Lock()
			defer mu.Unlock()
			told[id]++
		})
	})
	t.Cleanup(func() { cancel(); watch.Wait() })
	r := apikeytest.Record(1, "")
	tell := func() bool {
		before := count(r.ID)
		r.Revision++
		if a.Put(context.Background(), r) != nil {
			return false
		}
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end) && count(r.ID) == before; {
			time.Sleep(time.Millisecond)
		}
		return count(r.ID) > before
	}
	await(t, "it is told", tell)
	missed := count("")
	return func() {
		within(t, soon, "somebody said that something may have been missed", func() bool { return p.gapless || count("") > missed })
		within(t, soon, "a change of a key is told, and read", func() bool {
			told := tell()
			shelved, err := b.Load(t.Context(), r.ID)
			return told && err == nil && shelved.Revision == r.Revision
		})
	}
}

// Attempts to log in are never free: while there is no primary each instance counts.
func countedThrough(t *testing.T, p *pair) func() {
	a := redis.NewThrottle(p.clientOf(t), account.NewMemoryThrottle(clock.Real()))
	b := redis.NewThrottle(p.clientOf(t), account.NewMemoryThrottle(clock.Real()))
	for range 3 {
		if !goesOn(t, a, "spent") {
			t.Fatal("refused too early")
		}
	}
	p.replicated(t)
	var slowest time.Duration
	let := 0
	end := again(5*time.Millisecond, func(n int) {
		begun := time.Now()
		if goesOn(t, []*redis.Throttle{a, b}[n%2], "guessed") {
			let++
		}
		slowest = max(slowest, time.Since(begun))
	})
	t.Cleanup(func() { end() })
	return func() {
		within(t, soon, "what was spent before is refused by both", func() bool { return !goesOn(t, a, "spent") && !goesOn(t, b, "spent") })
		end()
		t.Logf("%d attempts were let through, none waited longer than %s", let, slowest)
		if let > 3*3 { // of Redis, and of each instance
			t.Errorf("%d attempts were let through, want 9 at most", let)
		}
		if slowest > 3*time.Second {
			t.Errorf("one waited %s", slowest)
		}
	}
}

// Leases of a primary that is lost: what was written and not replicated may be admitted once
// more, which is a burst at most, and counting goes on.
func leasedThrough(t *testing.T, p *pair) func() {
	f := rush(t, p)
	return func() { f.check(t) }
}

// What was counted after the replica was cut off is forgotten.
func TestRL8_AFailoverThatLosesCounts(t *testing.T) {
	t.Parallel()
	p := watched(t)
	f := rush(t, p)
	await(t, "the bucket is known to the replica", func() bool { return p.replica.Do(t, "EXISTS", "u") == ":1" })
	p.sever()
	time.Sleep(time.Second)
	p.lost(t, "killed")
	f.check(t)
}

// crowd is callers of three instances that lease, of whom each asks all the time.
type crowd struct {
	policy *limit.Policy
	begun  time.Time
	stop   chan struct{}
	all    sync.WaitGroup
	of     [3]atomic.Int64 // admitted by each instance

	mu       sync.Mutex
	admitted []limittest.Admission
	slowest  time.Duration
}

func rush(t *testing.T, p *pair) *crowd {
	t.Helper()
	f := &crowd{policy: &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1000, Per: time.Second, Burst: 500}, begun: time.Now(), stop: make(chan struct{})}
	for i := range f.of {
		l := leasedOf(t, p.options, time.Second, 200*time.Millisecond)
		for range 3 {
			f.all.Go(func() { f.call(l, &f.of[i]) })
		}
	}
	t.Cleanup(f.end)
	f.goOn(t)
	return f
}

func (f *crowd) call(l *limit.Leased, of *atomic.Int64) {
	var mine []limittest.Admission
	slowest := time.Duration(0)
	for {
		select {
		case <-f.stop:
			f.mu.Lock()
			defer f.mu.Unlock()
			f.admitted, f.slowest = append(f.admitted, mine...), max(f.slowest, slowest)
			return
		default:
		}
		a := limittest.Admission{Sent: time.Since(f.begun), Cost: 1}
		denied, err := l.Take(one(f.policy, "u"))
		a.Answered = time.Since(f.begun)
		slowest = max(slowest, a.Answered-a.Sent)
		if err == nil && denied == limit.Admitted {
			mine = append(mine, a)
			of.Add(1)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// goOn waits until each instance has admitted some more.
func (f *crowd) goOn(t *testing.T) {
	t.Helper()
	var before [3]int64
	for i := range f.of {
		before[i] = f.of[i].Load()
	}
	within(t, soon, "each instance admits", func() bool {
		for i := range f.of {
			if f.of[i].Load() < before[i]+50 {
				return false
			}
		}
		return true
	})
}

func (f *crowd) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	f.all.Wait()
}

// check is called after a failover.
func (f *crowd) check(t *testing.T) {
	t.Helper()
	f.goOn(t)
	time.Sleep(time.Second) // for what is admitted too much to be seen
	f.end()
	over := limittest.Excess(f.policy, f.admitted)
	t.Logf("%d were admitted in %s, %d more than the policy allows; none waited longer than %s", len(f.admitted), time.Since(f.begun).Round(time.Millisecond), over, f.slowest)
	if over > f.policy.Burst {
		t.Errorf("some span holds %d more than it may, want %d at most", over, f.policy.Burst)
	}
	if f.slowest > 2*time.Second {
		t.Errorf("one waited %s, and the timeout is 200 ms", f.slowest)
	}
}
