//go:build !race

package proxy

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

// cpu is the CPU time that this process has used.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// checkCost checks services × endpoints for a while, and returns the CPU time that a
// check took, and the share of a core that all did.
func checkCost(t testing.TB, services, endpoints int, interval, during time.Duration) (each time.Duration, share float64) {
	port := otherProcess(t)
	set := meter.NewSet(time.Now)
	p := New(Options{Clock: clock.Real(), Meter: set})
	defer p.Close()
	r := upstream.NewRegistry(p.Open)
	r.Publish(set)
	r.Check(upstream.Checking{Clock: clock.Real(), Prober: p, Log: zerolog.Nop()})
	for s := range services {
		spec := upstream.ServiceSpec{
			Name: fmt.Sprintf("s%d", s), Connections: upstream.ConnectionSettings{Maximum: 1, Idle: 1, IdleTimeout: time.Minute, Keepalive: true},
			Health: upstream.HealthCheck{Path: "/health", Statuses: upstream.StatusesOf(200), Interval: interval, Timeout: time.Second, Rise: 2, Fall: 3, Backoff: time.Minute},
		}
		for e := range endpoints {
			address := fmt.Sprintf("127.1.%d.%d:%d", s/250*10+e, s%250+1, port)
			spec.Endpoints = append(spec.Endpoints, upstream.EndpointSpec{Address: address, HostHeader: address, Weight: 1})
		}
		acquired, err := r.Acquire(spec)
		if err != nil {
			t.Fatal(err)
		}
		defer acquired.Release()
	}
	passed := func() (n uint64) {
		return set.Histogram("gateway_upstream_health_check_seconds", "How long a health check took.", []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}).Count()
	}
	time.Sleep(time.Second + interval + interval/5) // the first check, and the second at any time within the interval
	began, used, before := time.Now(), cpu(t), passed()
	time.Sleep(during)
	spent, n := cpu(t)-used, passed()-before
	share = spent.Seconds() / time.Since(began).Seconds()
	if want := float64(services*endpoints) * time.Since(began).Seconds() / interval.Seconds(); float64(n) < want/2 || float64(n) > want*1.3 {
		t.Errorf("%d checks, want about %.0f", n, want)
	}
	return spent / time.Duration(max(n, 1)), share
}

// roundTrip is the CPU time of a write and a read that a program can do no cheaper.
func roundTrip(t testing.TB) time.Duration {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", otherProcess(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 5000
	var room [512]byte
	used := cpu(t)
	for range n {
		if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(room[:]); err != nil {
			t.Fatal(err)
		}
	}
	return (cpu(t) - used) / n
}

// TestChecksAreCheap holds the CPU time of a check to that of a plain write and read.
// The bound is loose, for the machine is shared; BenchmarkTenThousandEndpoints tells
// the figure.
func TestChecksAreCheap(t *testing.T) {
	var ratios []float64
	for range 5 {
		plain := roundTrip(t)
		each, _ := checkCost(t, 100, 10, time.Second, time.Second)
		ratio := float64(each) / float64(plain)
		if ratio <= 6 {
			return
		}
		ratios = append(ratios, ratio)
	}
	t.Errorf("a check costs %.1f times a write and a read", ratios)
}

// BenchmarkTenThousandEndpoints checks 1,000 services of 10 endpoints every 10 s.
func BenchmarkTenThousandEndpoints(b *testing.B) {
	for range b.N {
		each, share := checkCost(b, 1000, 10, 10*time.Second, 10*time.Second)
		b.ReportMetric(100*share, "%core")
		b.ReportMetric(float64(each.Microseconds()), "µs/check")
		b.ReportMetric(float64(roundTrip(b).Nanoseconds())/1e3, "µs/roundtrip")
	}
}

func TestAllocs0OfAProbe(t *testing.T) {
	p := probing(t, fmt.Sprintf("127.0.0.1:%d", otherProcess(t)), upstream.HealthCheck{}, nil)
	b := p.probe.(*probe)
	if n := testing.AllocsPerRun(500, func() {
		b.used = 0 // new connections are another matter
		if outcome, err := p.check(); outcome != upstream.Passed {
			t.Fatal(outcome, err)
		}
	}); n != 0 {
		t.Errorf("a check on a kept connection: %v allocations", n)
	}
}
