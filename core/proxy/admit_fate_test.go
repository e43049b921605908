package proxy

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

// oneFails is a breaker that one failure opens.
func oneFails(o *options) {
	guarded(time.Hour)(o)
	o.spec.Breaker.Consecutive = 1
}

// TestOurQueueIsNoFailure: a request whose time ran out at the service, but which had waited here
// for most of it, says nothing of the service.
func TestOurQueueIsNoFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		total, queued time.Duration
		want          upstream.State
	}{
		"most of its time in the queue": {400 * time.Millisecond, 300 * time.Millisecond, upstream.Closed},
		"little of it":                  {2 * time.Second, 100 * time.Millisecond, upstream.Open},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				if s, inTime := queues(t, c.total, c.queued); s == c.want {
					return
				} else if inTime {
					t.Fatalf("the breaker is %v, want %v", s, c.want)
				}
			}
			t.Error("the machine was too busy in each of five rounds")
		})
	}
}

// queues has a request wait for its place and then in vain for its answer, within total. It returns the
// state of the breaker, and whether the request waited for as long as it should.
func queues(t *testing.T, total, queued time.Duration) (s upstream.State, inTime bool) {
	var bounded atomic.Pointer[pipeline.Destination]
	f, arrived, answer := crowded(t, upstream.BulkheadSpec{Maximum: 1, Queue: 5, QueueTimeout: time.Hour}, oneFails, replacing(&bounded))
	first := f.ask()
	<-arrived
	bounded.Store(f.bounded(total))
	began := time.Now()
	second := f.ask()
	eventually(t, "it waits", func() bool { return f.service.Bulkhead.View().Waiting == 1 })
	time.Sleep(time.Until(began.Add(queued))) // is what is tested: its time in the queue
	spent := time.Since(began)
	answer <- okAnswer
	first.read("GET")
	status := second.read("GET").status
	return f.service.Breaker.State(), status == 504 && spent < queued+total/10
}

// TestWhoQueuedHops: a breaker that opens while a request waits for a place sends it to the
// service that stands in, as those that come later.
func TestWhoQueuedHops(t *testing.T) {
	t.Parallel()
	good := newOrigin(t, answering(okAnswer))
	var to atomic.Pointer[pipeline.Destination]
	f, arrived, answer := crowded(t, upstream.BulkheadSpec{Maximum: 1, Queue: 5, QueueTimeout: time.Hour}, oneFails, replacing(&to))
	other, err := upstream.NewRegistry(f.proxy.Open).Acquire(upstream.ServiceSpec{
		Name: "other", Endpoints: []upstream.EndpointSpec{{Address: good.address(), Weight: 1}}, Connections: upstream.ConnectionSettings{Maximum: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Release()
	first := f.ask()
	<-arrived
	changed := *f.route.Destinations[0]
	changed.Fallback = &pipeline.Fallback{To: &pipeline.Destination{Service: other}}
	to.Store(&changed)
	second := f.ask()
	eventually(t, "it waits", func() bool { return f.service.Bulkhead.View().Waiting == 1 })
	answer <- badAnswer500
	if got := first.read("GET").status; got != 500 {
		t.Errorf("the first got %d", got)
	}
	if got := second.read("GET").status; got != 200 {
		t.Errorf("who had waited got %d", got)
	}
	eventually(t, "all places are free", func() bool { return f.service.Bulkhead.View() == upstream.BulkheadView{Limit: 1} })
}

// TestAPanicKeepsNoPlace: a bug that makes exchanges panic must not take the service down with
// the last place.
func TestAPanicKeepsNoPlace(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(l *link) {
		if _, _, err := l.request(); err == nil {
			l.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer)
			l.hold()
		}
	})
	f := newFront(t, o, oneFails, func(o *options) { o.spec.Bulkhead = upstream.BulkheadSpec{Maximum: 3} })
	for range 3 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("it did not panic")
				}
			}()
			x := pipeline.NewFactory(func(*pipeline.Exchange) {}).New()
			x.Request, x.Response, x.Route = &fasthttp.Request{}, &fasthttp.Response{}, f.route
			x.Down = nil // an interim answer is for nobody
			f.proxy.RoundTrip(x)
		}()
	}
	if got := f.service.Bulkhead.View(); got.InFlight != 0 {
		t.Errorf("%+v", got)
	}
	if e := f.service.Members()[0]; e.InFlight() != 0 {
		t.Errorf("%d requests are under way at the endpoint", e.InFlight())
	}
	if s := f.service.Breaker.State(); s != upstream.Closed {
		t.Errorf("the breaker is %v", s)
	}
}

// TestCopiesTellBreakersNothing: nobody sees the answers to a mirror's copies, and they carry no
// credentials: they open no breaker, close none, and are sent to nobody who is left alone.
func TestCopiesTellBreakersNothing(t *testing.T) {
	t.Parallel()
	o, answer, served := switching(t)
	bad, good := badAnswer500, okAnswer
	answer.Store(&bad)
	var to atomic.Pointer[pipeline.Destination]
	f := newFront(t, o, oneFails, replacing(&to), func(o *options) {
		o.spec.Breaker.Open, o.spec.Breaker.OpenMaximum, o.spec.Breaker.Probes = time.Millisecond, time.Millisecond, 1
	})
	copies := *f.route.Destinations[0]
	copies.Copies = true
	to.Store(&copies)
	for range 3 {
		if got := f.get().status; got != 500 {
			t.Errorf("a copy got %d", got)
		}
	}
	if s := f.service.Breaker.State(); s != upstream.Closed {
		t.Errorf("copies made the breaker %v", s)
	}
	to.Store(f.route.Destinations[0])
	f.get()
	answer.Store(&good)
	to.Store(&copies)
	before := served.Load()
	eventually(t, "the breaker's time is over", func() bool { return f.service.Breaker.RetryAfter(f.proxy.clock.Mono()) == 0 })
	for range 3 {
		if got := f.get().status; got != 503 {
			t.Errorf("a copy to a service that is left alone got %d", got)
		}
	}
	if s := f.service.Breaker.State(); s != upstream.Open || served.Load() != before {
		t.Errorf("the breaker is %v, and %d copies went", s, served.Load()-before)
	}
	to.Store(f.route.Destinations[0])
	f.get()
	if s := f.service.Breaker.State(); s != upstream.Closed {
		t.Errorf("behind a probe the breaker is %v", s)
	}
}
