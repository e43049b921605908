package endtoend

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/testenv"
)

// pairOpen is how long a breaker of the pair stays open at first.
const pairOpen = time.Second

// breakerPair is two gateways that share nothing but Redis. Each has a way of its own to the
// services, of which each attempt takes the next: none is left what another saw.
type breakerPair struct {
	t     *testing.T
	redis *testenv.RedisServer
	at    [2]*served
	bad   [2]atomic.Bool // all services answer that instance with 500
	used  int
}

// pairServices is how many services the pair has.
const pairServices = 16

func newBreakerPair(t *testing.T) *breakerPair {
	p := &breakerPair{t: t, redis: testenv.NewRedis(t)}
	for i := range p.at {
		origin := gatewaytest.NewOrigin(t, func(string) string {
			if p.bad[i].Load() {
				return "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
			}
			return gatewaytest.OK
		})
		var services, routes strings.Builder
		for n := range pairServices {
			fmt.Fprintf(&services, "  s%d: {endpoints: [{url: %q}], retry: off, ejection: off, breaker: {minimum: 10, consecutive: 3, open: %s, probes: 2}}\n", n, origin.URL(), pairOpen)
			fmt.Fprintf(&routes, "  s%d: {match: {path: /s%d}, service: s%d}\n", n, n, n)
		}
		p.at[i] = serveFiles(t, "stores.yaml", fmt.Sprintf(`
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
shutdown: {delay: 0s}
stores: {redis: {addresses: %q}}
telemetry: {log: {level: info}}
defaults: {plugins: {auth: off}}
`, p.redis.Address()), "gateway.yaml", "services:\n"+services.String()+"routes:\n"+routes.String())
	}
	return p
}

// next is a service that nobody has called yet.
func (p *breakerPair) next() string {
	p.t.Helper()
	if p.used++; p.used > pairServices {
		p.t.Fatal("there are no more services")
	}
	return fmt.Sprint("s", p.used-1)
}

// fails has the service fail, or be well, at both.
func (p *breakerPair) fails(bad bool) {
	p.bad[0].Store(bad)
	p.bad[1].Store(bad)
}

// send sends a request through an instance, and returns what came: 200, 500, or 503 circuit_open.
func (p *breakerPair) send(at int, service string) string {
	p.t.Helper()
	return came(strings.ReplaceAll(gatewaytest.Do(p.t, p.at[at].public, "GET /"+service+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), "\r\n", "\n"))[0]
}

// state is the state of an instance's breaker: 0 closed, 1 open, 2 half-open.
func (p *breakerPair) state(at int, service string) string {
	p.t.Helper()
	metrics := gatewaytest.Do(p.t, p.at[at].admin, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	_, value, _ := strings.Cut(metrics, "\ngateway_circuit_breaker_state{service=\""+service+"\"} ")
	value, _, _ = strings.Cut(value, "\n")
	return strings.TrimSpace(value)
}

// trip opens the breaker of one instance by what it sees.
func (p *breakerPair) trip(at int, service string) {
	p.t.Helper()
	for range 3 {
		if got := p.send(at, service); got != "500" {
			p.t.Fatalf("the service is to fail, and came as %s", got)
		}
	}
	if got := p.state(at, service); got != "1" {
		p.t.Fatalf("the breaker is in state %s", got)
	}
}

// opens is how long it takes an instance to follow.
func (p *breakerPair) opens(at int, service string) time.Duration {
	p.t.Helper()
	start := time.Now()
	gatewaytest.Eventually(p.t, "the other opens", func() bool { return p.state(at, service) == "1" })
	return time.Since(start)
}

// closes is how long it takes both to close while each gets requests, and whether somebody
// probed beside the one that began, which must not be as long as its lease lasts.
func (p *breakerPair) closes(service string) (took time.Duration, beside bool) {
	p.t.Helper()
	start := time.Now()
	var passed [2]int
	var last time.Time // when the holder's probe passed
	for passed[0] < 2 || passed[1] < 2 {
		if time.Since(start) > patience {
			p.t.Fatalf("after %v they are in states %s and %s", time.Since(start), p.state(0, service), p.state(1, service))
		}
		for at := range p.at {
			switch got := p.send(at, service); {
			case got == "200":
				if other := passed[1-at]; other > 0 && other < 2 && passed[at] == 0 && time.Since(last) < pairOpen/2 {
					beside = true
				}
				passed[at]++
				last = time.Now()
			case got != "503 circuit_open":
				p.t.Fatalf("%s came", got)
			}
		}
	}
	took = time.Since(start)
	for at := range p.at {
		gatewaytest.Eventually(p.t, "it is closed", func() bool { return p.state(at, service) == "0" })
	}
	return took, beside
}

// TestUP4_TwoInstances: of two gateways beside one Redis one sees a service fail, and both do
// what SPEC UP4 says.
func TestUP4_TwoInstances(t *testing.T) {
	t.Parallel()
	p := newBreakerPair(t)
	bestOpen, bestClose := time.Hour, time.Hour
	for range 5 {
		service := p.next()
		p.fails(true)
		p.trip(0, service)
		bestOpen = min(bestOpen, p.opens(1, service))
		p.fails(false)
		took, beside := p.closes(service)
		bestClose = min(bestClose, took)
		if beside {
			t.Error("somebody probed without the lease")
		}
		if bestOpen <= time.Second && bestClose <= 2*pairOpen {
			break
		}
	}
	t.Logf("the other opened after %v; both had closed %v after the service was well", bestOpen, bestClose)
	if bestOpen > time.Second || bestClose > 2*pairOpen {
		t.Errorf("the other opened after %v, want a second; both had closed after %v, want %v", bestOpen, bestClose, 2*pairOpen)
	}
	p.badNetworkCard()
	p.withoutRedis()
}

// badNetworkCard has one instance fail alone: the other, whose own window says that the service
// is well, goes on.
func (p *breakerPair) badNetworkCard() {
	p.t.Helper()
	service := p.next()
	for range 20 {
		if got := p.send(1, service); got != "200" {
			p.t.Fatalf("%s came", got)
		}
	}
	p.bad[0].Store(true)
	p.trip(0, service)
	idle := p.next()
	p.trip(0, idle)
	p.opens(1, idle) // what was said before that it has heard, too
	if got := p.state(1, service); got != "0" {
		p.t.Errorf("one whose window says that the service is well is in state %s", got)
	}
	for range 20 {
		if got := p.send(1, service); got != "200" {
			p.t.Errorf("%s came where the service is well", got)
		}
	}
	if got := p.send(0, service); got != "503 circuit_open" && got != "500" { // 500: a probe
		p.t.Errorf("%s came where it is not", got)
	}
	p.fails(false)
}

// withoutRedis kills Redis: each instance is on its own, and no request fails that the service
// answers. When it is back they are together again.
func (p *breakerPair) withoutRedis() {
	p.t.Helper()
	open := p.next()
	p.fails(true)
	p.trip(0, open)
	p.opens(1, open)
	p.fails(false)
	p.redis.Stop()
	begun, slowest := time.Now(), time.Duration(0)
	well := p.next()
	for time.Since(begun) < time.Second {
		for at := range p.at {
			start := time.Now()
			if got := p.send(at, well); got != "200" {
				p.t.Fatalf("%s came without Redis", got)
			}
			slowest = max(slowest, time.Since(start))
		}
	}
	p.t.Logf("the slowest request without Redis took %v", slowest)
	if took, _ := p.closes(open); took > 10*time.Second { // each probes by itself
		p.t.Errorf("without Redis they closed after %v", took)
	}
	own := p.next()
	p.bad[0].Store(true)
	p.trip(0, own)
	for range 10 {
		if got := p.send(1, own); got != "200" {
			p.t.Errorf("%s came where the service is well", got)
		}
	}
	for _, s := range p.at {
		s.logged("circuit breakers are each instance's own")
	}
	p.redis.Start()
	p.fails(true)
	again := p.next()
	p.trip(0, again)
	p.t.Logf("the other opened %v after Redis was back", p.opens(1, again))
	p.fails(false)
	p.closes(again)
	for _, s := range p.at {
		s.logged("circuit breakers are shared between instances")
	}
}
