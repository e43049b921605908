package proxy

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

const (
	badAnswer500 = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
	notFound     = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
)

// guarded gives a front's service a breaker that five failures in a row open for that time.
func guarded(open time.Duration) func(*options) {
	return func(o *options) {
		o.spec.Breaker = upstream.BreakerSpec{Window: time.Minute, Minimum: 1000, Failures: 1, Consecutive: 5, Open: open, OpenMaximum: open, Probes: 2}
	}
}

// switching is an origin whose answer a test changes.
func switching(t *testing.T) (*origin, *atomic.Pointer[string], *atomic.Int64) {
	var answer atomic.Pointer[string]
	var served atomic.Int64
	ok := okAnswer
	answer.Store(&ok)
	return newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			served.Add(1)
			l.send(*answer.Load())
		}
	}), &answer, &served
}

func TestOpenBreakerAnswersWithoutTheService(t *testing.T) {
	t.Parallel()
	bad := badAnswer500
	o, answer, served := switching(t)
	answer.Store(&bad)
	f := newFront(t, o, guarded(time.Hour))
	for i := range 5 {
		if got := f.get(); got.status != 500 {
			t.Fatalf("request %d: %d", i, got.status)
		}
	}
	c := f.dial()
	least := time.Hour
	for range 200 {
		start := time.Now()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		got := c.read("GET")
		least = min(least, time.Since(start))
		if got.status != 503 || !strings.Contains(got.body, `"code":"circuit_open"`) || got.header.Get("Retry-After") != "3600" {
			t.Fatalf("%d %v\n%s", got.status, got.header, got.body)
		}
	}
	if served.Load() != 5 || f.service.Budget.Requests(f.proxy.clock.Mono()) != 5 {
		t.Errorf("the service saw %d requests, the budget %d", served.Load(), f.service.Budget.Requests(f.proxy.clock.Mono()))
	}
	if least > time.Millisecond {
		t.Errorf("an open breaker takes %v to answer", least)
	}
}

func TestBreakerClosesWhenTheServiceIsWell(t *testing.T) {
	t.Parallel()
	const open = 50 * time.Millisecond
	o, answer, _ := switching(t)
	bad, good := badAnswer500, okAnswer
	answer.Store(&bad)
	f := newFront(t, o, guarded(open))
	eventually(t, "it opens", func() bool { return f.get().status == 503 })
	answer.Store(&good)
	healed := time.Now()
	eventually(t, "it closes", func() bool { return f.get().status == 200 && f.service.Breaker.State() == upstream.Closed })
	t.Logf("closed %v after the service was well, open for %v", time.Since(healed), open)
}

// TestWhatBreakersCount: what clients do, and what the gateway refuses, opens nothing.
func TestWhatBreakersCount(t *testing.T) {
	t.Parallel()
	refused := newOrigin(t, nil)
	refused.listener.Close()
	silent := newOrigin(t, func(l *link) { _, _, _ = l.request(); l.hold() })
	torn := newOrigin(t, func(l *link) { _, _, _ = l.request() })
	short := func(o *options) { o.to.Timeouts.Response = time.Millisecond }
	for name, c := range map[string]struct {
		origin *origin
		change func(*options)
		send   string
		want   upstream.BreakerView
	}{
		"200":               {newOrigin(t, answering(okAnswer)), nil, "", upstream.BreakerView{Total: 3}},
		"404":               {newOrigin(t, answering(notFound)), nil, "", upstream.BreakerView{Total: 3}},
		"500":               {newOrigin(t, answering(badAnswer500)), nil, "", upstream.BreakerView{Total: 3, Failures: 3}},
		"no connection":     {refused, nil, "", upstream.BreakerView{Total: 3, Failures: 3}},
		"a timeout":         {silent, short, "", upstream.BreakerView{Total: 3, Failures: 3}},
		"a reset":           {torn, nil, "", upstream.BreakerView{Total: 3, Failures: 3}},
		"a stalled upload":  {newOrigin(t, answering(okAnswer)), func(o *options) { o.body = 20 * time.Millisecond }, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n" + fill(8500), upstream.BreakerView{}},
		"an answer at last": {flaky(t), func(o *options) { o.to.Retry = upstream.Retry{Retries: 1, When: upstream.On503, Budget: 1} }, "", upstream.BreakerView{Total: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := c.change
			if change == nil {
				change = func(*options) {}
			}
			f := newFront(t, c.origin, guarded(time.Hour), change)
			for range 3 {
				if c.send == "" {
					f.get()
				} else {
					conn := f.dial()
					conn.send(c.send)
					_, _ = io.Copy(io.Discard, conn.r)
				}
				f.over()
			}
			if got := f.service.Breaker.View(f.proxy.clock.Mono()); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// flaky answers every second request well.
func flaky(t *testing.T) *origin {
	var n atomic.Int64
	return newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			if n.Add(1)%2 == 1 {
				l.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			l.send(okAnswer)
		}
	})
}

// TestAClientThatLeavesTellsNothing: neither its leaving nor the answer that it did not
// wait for is the service's.
func TestAClientThatLeavesTellsNothing(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1)
	f := newFront(t, newOrigin(t, func(l *link) { _, _, _ = l.request(); asked <- struct{}{}; l.hold() }), guarded(time.Hour), func(o *options) {
		o.spec.Bulkhead = upstream.BulkheadSpec{Maximum: 1}
	})
	c := f.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-asked
	c.Close()
	if got := f.over(); got.status != statusClientGone {
		t.Errorf("%+v", got)
	}
	if got := f.service.Breaker.View(f.proxy.clock.Mono()); got != (upstream.BreakerView{}) {
		t.Errorf("%+v", got)
	}
	if got := f.service.Bulkhead.View().InFlight; got != 0 {
		t.Errorf("%d places are taken", got)
	}
}

func TestFallbacks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fallback func(other *upstream.Service) *pipeline.Fallback
		status   int
		body     string
		service  string
		retry    string
	}{
		"none": {func(*upstream.Service) *pipeline.Fallback { return nil }, 503, `"code":"circuit_open"`, "svc", "3600"},
		"a detail": {func(*upstream.Service) *pipeline.Fallback {
			return &pipeline.Fallback{Fault: fault.CircuitOpen.WithStatus(529).Detail("try again soon")}
		}, 529, `"status":529,"code":"circuit_open","error":"Circuit breaker open","detail":"try again soon"`, "svc", "3600"},
		"a body": {func(*upstream.Service) *pipeline.Fallback {
			return &pipeline.Fallback{Static: &pipeline.Static{Status: 200, Body: []byte("[]"), ContentType: "application/json"}}
		}, 200, "[]", "svc", ""},
		"another service": {func(s *upstream.Service) *pipeline.Fallback {
			return &pipeline.Fallback{To: &pipeline.Destination{Service: s}}
		}, 200, "ok", "other", ""},
		"another service, open too": {func(s *upstream.Service) *pipeline.Fallback {
			s.ForceBreaker(upstream.ForcedOpen)
			return &pipeline.Fallback{To: &pipeline.Destination{Service: s}}
		}, 503, `"code":"circuit_open"`, "other", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := newOrigin(t, answering(okAnswer))
			served := make(chan string, 10)
			var to atomic.Pointer[pipeline.Destination]
			f := newFront(t, newOrigin(t, answering(badAnswer500)), guarded(time.Hour), replacing(&to), func(o *options) {
				o.after = func(x *pipeline.Exchange) { served <- x.Service.Name }
			})
			spec := upstream.ServiceSpec{Name: "other", Endpoints: []upstream.EndpointSpec{{Address: good.address(), Weight: 1}},
				Connections: upstream.ConnectionSettings{Maximum: 1, Keepalive: true}, Breaker: upstream.BreakerSpec{Window: time.Second, Consecutive: 5, Open: time.Second, OpenMaximum: time.Second, Probes: 1}}
			other, err := upstream.NewRegistry(f.proxy.Open).Acquire(spec)
			if err != nil {
				t.Fatal(err)
			}
			defer other.Release()
			if answer := c.fallback(other); answer != nil {
				changed := *f.route.Destinations[0]
				changed.Fallback = answer
				to.Store(&changed)
			}
			for range 5 {
				f.get()
				<-served
			}
			got := f.get()
			if got.status != c.status || !strings.Contains(got.body, c.body) || got.header.Get("Retry-After") != c.retry {
				t.Errorf("%d, Retry-After %q:\n%s", got.status, got.header.Get("Retry-After"), got.body)
			}
			if name := <-served; name != c.service {
				t.Errorf("service %s, want %s", name, c.service)
			}
		})
	}
}

// replacing has requests go elsewhere once there is where: a front's destination is read by
// those under way.
func replacing(to *atomic.Pointer[pipeline.Destination]) func(*options) {
	return func(o *options) {
		o.hook = func(x *pipeline.Exchange) { x.Destination = to.Load() }
	}
}

// TestUploadsOfSlowClientsAreNotSlow: the time that a client takes for its body is not the
// service's.
func TestUploadsOfSlowClientsAreNotSlow(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, func(o *options) {
		o.spec.Breaker = upstream.BreakerSpec{Window: time.Minute, Minimum: 1, SlowOver: 400 * time.Millisecond, SlowShare: 1, Open: time.Hour, OpenMaximum: time.Hour, Probes: 1}
	})
	least := upstream.BreakerView{Slow: 1}
	for range 5 { // a busy machine may be slow itself
		c := f.dial()
		c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("a"))
		time.Sleep(500 * time.Millisecond) // what is tested
		c.send("0\r\n\r\n")
		if got := c.read("POST"); got.status != 200 {
			t.Fatalf("%d", got.status)
		}
		f.over()
		if least = f.service.Breaker.View(f.proxy.clock.Mono()); least == (upstream.BreakerView{Total: 1}) {
			return
		}
		f.service.ForceBreaker(upstream.ForcedClosed)
		f.service.ForceBreaker(upstream.Unforced)
	}
	t.Errorf("%+v", least)
}

// TestAnOutageIsNotMultiplied: while every endpoint is down, retries add a fifth to what the
// service gets, however often a route would try (SPEC PX6).
func TestAnOutageIsNotMultiplied(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	o := newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			tries.Add(1)
			l.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
		}
	})
	f := newFront(t, o, func(o *options) {
		o.to.Retry = upstream.Retry{Retries: 3, When: upstream.On503, Budget: 0.2}
	})
	const clients, each = 8, 500
	var all sync.WaitGroup
	for range clients {
		c := f.dial()
		all.Go(func() {
			for range each {
				c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
				if got := c.read("GET"); got.status != 503 {
					t.Errorf("%d", got.status)
					return
				}
			}
		})
	}
	all.Wait()
	times := float64(tries.Load()) / (clients * each)
	t.Logf("%d requests, %d tries: %.3f times", clients*each, tries.Load(), times)
	if times > 1.25 || times < 1.1 {
		t.Errorf("the outage was multiplied by %.3f", times)
	}
}

// TestTotalBoundsEverything: waiting for a place, a connection, an answer, and to try
// again, end together when the request's time is over.
func TestTotalBoundsEverything(t *testing.T) {
	t.Parallel()
	const total = 150 * time.Millisecond
	for name, change := range map[string]func(*options){
		"tries": func(o *options) {
			o.to.Retry = upstream.Retry{Retries: 10, PerTry: 40 * time.Millisecond, When: upstream.OnTimeout, Budget: 1, Backoff: upstream.Backoff{Initial: time.Millisecond, Maximum: time.Millisecond}}
		},
		"waits to try again": func(o *options) {
			o.to.Retry = upstream.Retry{Retries: 10, PerTry: time.Millisecond, When: upstream.OnTimeout, Budget: 1, Backoff: upstream.Backoff{Initial: 40 * time.Millisecond, Maximum: time.Hour}}
		},
		"connections": func(o *options) { o.spec.Connections.Maximum = 1 },
		"places": func(o *options) {
			o.spec.Bulkhead = upstream.BulkheadSpec{Maximum: 1, Queue: 9, QueueTimeout: time.Hour}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{}, 100)
			var bounded atomic.Pointer[pipeline.Destination]
			f := newFront(t, newOrigin(t, func(l *link) { _, _, _ = l.request(); arrived <- struct{}{}; l.hold() }), change, replacing(&bounded))
			f.ask()
			<-arrived
			bounded.Store(f.bounded(total))
			least := time.Hour
			for range 5 { // a busy machine may be late
				start := time.Now()
				got := f.get()
				least = min(least, time.Since(start))
				if got.status != 503 && got.status != 504 {
					t.Fatalf("%d\n%s", got.status, got.body)
				}
			}
			if least > 2*total {
				t.Errorf("answered after %v, want %v", least, total)
			}
		})
	}
}

func TestAdmissionIsForgotten(t *testing.T) {
	t.Parallel()
	f := newFront(t, newOrigin(t, answering(okAnswer)), guarded(time.Hour))
	for range 3 {
		f.get()
	}
	if tr := f.proxy.trips.Get().(*trip); tr.admission != (admission{}) {
		t.Errorf("a pooled trip holds %+v", tr.admission)
	}
}
