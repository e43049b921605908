package redis_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// station is one instance of a fleet, behind a proxy of its own, which may crash and be
// started again.
type station struct {
	t      *testing.T
	proxy  *toxiproxy.Proxy
	life   time.Duration
	leased atomic.Pointer[limit.Leased]
	stop   func()
}

func stationOf(t *testing.T, server *testenv.RedisServer, life time.Duration) *station {
	t.Helper()
	s := &station{t: t, life: life}
	s.proxy = toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", server.Address())
	if err := s.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	s.begin()
	t.Cleanup(func() {
		s.stop()
		s.proxy.Stop()
	})
	return s
}

func (s *station) begin() {
	c, err := redis.Open(s.t.Context(), redis.Options{Addresses: []string{s.proxy.Listen}, Prefix: "proof:", Log: zerolog.Nop()})
	if err != nil {
		s.t.Error(err)
		return
	}
	const timeout = 50 * time.Millisecond // the machine is busy with this test
	leases := redis.NewLeases(c, redis.LeaseOptions{Timeout: timeout})
	l := limit.NewLeased(limit.LeasedOptions{Lessor: leases, Clock: clock.Real(), Timeout: timeout, Life: s.life})
	s.leased.Store(l)
	s.stop = func() {
		l.Close()
		leases.Close()
		c.Close()
	}
}

// crash loses all that the instance holds: its way to Redis ends before it can give it back.
func (s *station) crash() {
	s.proxy.Stop()
	s.stop()
	if err := s.proxy.Start(); err != nil {
		s.t.Error(err)
		return
	}
	s.begin()
}

// fleet is callers of several instances, and what they were admitted.
type fleet struct {
	stations []*station
	policies []*limit.Policy
	begun    time.Time
	stop     chan struct{}
	all      sync.WaitGroup

	mu       sync.Mutex
	admitted [][]limittest.Admission // of each policy
	failed   atomic.Int64
}

func fleetOf(t *testing.T, stations []*station, callers int, policies ...*limit.Policy) *fleet {
	f := &fleet{stations: stations, policies: policies, begun: time.Now(), stop: make(chan struct{}), admitted: make([][]limittest.Admission, len(policies))}
	for i := range callers * len(stations) {
		f.all.Go(func() { f.call(stations[i%len(stations)], rand.New(rand.NewPCG(uint64(i), 1))) })
	}
	t.Cleanup(f.end)
	return f
}

func (f *fleet) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	f.all.Wait()
}

// call asks as fast as it may until the end.
func (f *fleet) call(s *station, r *rand.Rand) {
	mine := make([][]limittest.Admission, len(f.policies))
	charges := make([]limit.Charge, len(f.policies))
	for {
		select {
		case <-f.stop:
			f.mu.Lock()
			for i := range mine {
				f.admitted[i] = append(f.admitted[i], mine[i]...)
			}
			f.mu.Unlock()
			return
		default:
		}
		cost := int64(1 + r.IntN(8)/7)
		for i, p := range f.policies {
			charges[i] = limit.Charge{Policy: p, Key: []byte(fmt.Sprint("key", i)), Cost: cost}
		}
		a := limittest.Admission{Sent: time.Since(f.begun), Cost: cost}
		denied, err := s.leased.Load().Take(charges)
		a.Answered = time.Since(f.begun)
		switch {
		case err != nil:
			f.failed.Add(1)
			time.Sleep(time.Millisecond)
		case denied != limit.Admitted:
			time.Sleep(min(charges[denied].Wait, 500*time.Microsecond))
		default:
			for i := range mine {
				mine[i] = append(mine[i], a)
			}
			if r.IntN(4) == 0 { // now and then there is less to do
				time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
			}
		}
	}
}

// TestRL8_LeasedNeverAdmitsMore: instances ask a real Redis that hangs, is cut off and forgets its
// scripts, and some crash. In no window is more admitted than the policies allow.
func TestRL8_LeasedNeverAdmitsMore(t *testing.T) {
	t.Parallel()
	const life, lasts = 150 * time.Millisecond, 6 * time.Second
	server := testenv.NewRedis(t)
	settled(t, server, "proof:")
	var stations []*station
	for range 4 {
		stations = append(stations, stationOf(t, server, life))
	}
	f := fleetOf(t, stations, 8,
		&limit.Policy{Name: "bucket", Algorithm: limit.TokenBucket, Count: 600, Per: time.Second, Burst: 60},
		&limit.Policy{Name: "window", Algorithm: limit.SlidingWindow, Count: 1500, Per: 2 * time.Second})
	r := rand.New(rand.NewPCG(7, 7))
	crashes, pauses, cuts := 0, 0, 0
	for time.Since(f.begun) < lasts {
		time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
		s := stations[r.IntN(len(stations))]
		switch r.IntN(6) {
		case 0:
			crashes++
			s.crash()
		case 1, 2:
			pauses++
			server.Pause()
			time.Sleep(time.Duration(r.IntN(2 * int(life))))
			server.Resume()
		case 3, 4:
			cuts++
			s.proxy.Stop()
			time.Sleep(time.Duration(r.IntN(2 * int(life))))
			if err := s.proxy.Start(); err != nil {
				t.Fatal(err)
			}
		case 5:
			server.Do(t, "SCRIPT", "FLUSH")
		}
	}
	f.end()
	for i, p := range f.policies {
		t.Logf("%s: %d requests were admitted in %s, %d failed; %d crashes, %d hangs, %d cuts",
			p.Name, len(f.admitted[i]), lasts, f.failed.Load(), crashes, pauses, cuts)
		if over := limittest.Excess(p, f.admitted[i]); over > 0 {
			t.Errorf("%s: some span holds %d more than it may", p.Name, over)
		}
		if len(f.admitted[i]) < 200 {
			t.Errorf("%s: only %d requests were admitted", p.Name, len(f.admitted[i]))
		}
	}
}

// TestRL8_LeasedUsesWhatThereIs: without faults, of a bucket that all instances exhaust, at
// least 95 of 100 tokens are used, and what Leased's docstring says at worst is kept.
func TestRL8_LeasedUsesWhatThereIs(t *testing.T) {
	const instances, lasts = 4, 2 * time.Second
	p := &limit.Policy{Name: "bucket", Algorithm: limit.TokenBucket, Count: 2000, Per: time.Second, Burst: 800}
	best := 0.0
	for range 3 { // the machine has others to serve
		server := testenv.NewRedis(t)
		settled(t, server, "proof:")
		var stations []*station
		for range instances {
			stations = append(stations, stationOf(t, server, time.Second))
		}
		f := fleetOf(t, stations, 8, p)
		time.Sleep(lasts)
		took := time.Since(f.begun)
		f.end()
		var admitted, asks int64
		for _, a := range f.admitted[0] {
			admitted += a.Cost
		}
		for _, s := range stations {
			asks += s.leased.Load().Counts().Asks
		}
		if over := limittest.Excess(p, f.admitted[0]); over > 0 {
			t.Errorf("some span holds %d more than it may", over)
		}
		might := p.Burst + int64(took)*p.Count/int64(p.Per)
		best = max(best, float64(admitted)/float64(might))
		t.Logf("%d of %d tokens are used, %.1f %%, by %d calls", admitted, might, 100*float64(admitted)/float64(might), asks)
		atWorst := might - instances*min(p.Count/5, p.Burst/8)
		if admitted >= atWorst && best >= 0.95 {
			return
		}
	}
	t.Errorf("%.1f %% are used, want 95", 100*best)
}

// TestRL3_LeasedAsksSeldom: at a steady load, less than one call for 100 requests.
func TestRL3_LeasedAsksSeldom(t *testing.T) {
	server := testenv.Redis(t)
	for _, c := range []struct {
		name      string
		instances int
		every     time.Duration // of 10 requests, at each instance
		count     int64
	}{
		{"one instance", 1, 5 * time.Millisecond, 4000},
		{"all that is allowed", 1, 5 * time.Millisecond, 1500},
		{"four instances", 4, 20 * time.Millisecond, 4000},
	} {
		t.Run(c.name, func(t *testing.T) {
			settled(t, server, prefixOf(t))
			p := &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: c.count, Per: time.Second, Burst: c.count}
			share := 1.0
			for try := 0; try < 3 && share >= 0.01; try++ {
				var admitted, asks atomic.Int64
				var all sync.WaitGroup
				for range c.instances {
					l := leasedOf(t, redis.Options{Addresses: []string{server.Address()}, Prefix: prefixOf(t)}, 0, patient)
					all.Go(func() {
						tick := time.NewTicker(c.every)
						defer tick.Stop()
						var before int64
						for i := range int(3 * time.Second / c.every) {
							if i == int(time.Second/c.every) { // it knows its rate by now
								before = l.Counts().Asks
								admitted.Store(0)
							}
							<-tick.C
							for range 10 {
								if take(t, l, p, fmt.Sprint("u", try)) {
									admitted.Add(1)
								}
							}
						}
						asks.Add(l.Counts().Asks - before)
					})
				}
				all.Wait()
				share = float64(asks.Load()) / float64(admitted.Load())
				t.Logf("%d calls for %d requests", asks.Load(), admitted.Load())
			}
			if share >= 0.01 {
				t.Errorf("%.2f calls for 100 requests", 100*share)
			}
		})
	}
}

func take(t *testing.T, s limit.Store, p *limit.Policy, key string) bool {
	denied, err := s.Take([]limit.Charge{{Policy: p, Key: []byte(key), Cost: 1}})
	if err != nil {
		t.Error(err)
	}
	return err == nil && denied == limit.Admitted
}
