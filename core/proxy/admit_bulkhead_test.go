package proxy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

// bounded is the front's destination with that total.
func (f *front) bounded(total time.Duration) *pipeline.Destination {
	to := *f.route.Destinations[0]
	to.Timeouts.Total = total
	return &to
}

// crowded is a front whose service holds each request until the test lets it answer.
func crowded(t *testing.T, spec upstream.BulkheadSpec, change ...func(*options)) (f *front, arrived chan struct{}, answer chan string) {
	arrived, answer = make(chan struct{}, 100), make(chan string, 100)
	o := newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			arrived <- struct{}{}
			select {
			case a := <-answer:
				l.send(a)
			case <-l.over:
				return
			}
		}
	})
	change = append(change, func(o *options) { o.spec.Bulkhead = spec })
	return newFront(t, o, change...), arrived, answer
}

// ask sends a request and leaves its answer to be read.
func (f *front) ask() *caller {
	c := f.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	return c
}

func TestBulkheadQueuesAndSheds(t *testing.T) {
	t.Parallel()
	f, arrived, answer := crowded(t, upstream.BulkheadSpec{Maximum: 1, Queue: 1, QueueTimeout: time.Hour})
	first := f.ask()
	<-arrived
	second := f.ask()
	eventually(t, "it waits", func() bool { return f.service.Bulkhead.View().Waiting == 1 })
	third := f.get()
	if third.status != 503 || !strings.Contains(third.body, `"code":"overloaded"`) || third.header.Get("Retry-After") != "1" {
		t.Errorf("%d %v\n%s", third.status, third.header, third.body)
	}
	answer <- okAnswer
	if got := first.read("GET"); got.status != 200 {
		t.Errorf("first: %d", got.status)
	}
	<-arrived
	answer <- okAnswer
	if got := second.read("GET"); got.status != 200 {
		t.Errorf("second: %d", got.status)
	}
	for range 3 {
		f.over()
	}
	if got := f.service.Bulkhead.View(); got != (upstream.BulkheadView{Limit: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestBulkheadWaitsNoLongerThanItMay: the queue's own time, the request's, and a client
// that leaves, each end it.
func TestBulkheadWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		queue, total time.Duration
		leave        bool
		status       int
	}{
		"the queue's time": {20 * time.Millisecond, 0, false, 503},
		"the request's":    {time.Hour, 20 * time.Millisecond, false, 503},
		"a client's":       {time.Hour, 0, true, statusClientGone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bounded atomic.Pointer[pipeline.Destination]
			f, arrived, _ := crowded(t, upstream.BulkheadSpec{Maximum: 1, Queue: 5, QueueTimeout: c.queue}, guarded(time.Hour), replacing(&bounded))
			f.ask()
			<-arrived
			bounded.Store(f.bounded(c.total))
			second := f.ask()
			if c.leave {
				eventually(t, "it waits", func() bool { return f.service.Bulkhead.View().Waiting == 1 })
				second.Close()
			} else if got := second.read("GET"); got.status != c.status {
				t.Errorf("%d\n%s", got.status, got.body)
			}
			if got := f.over(); got.status != c.status || got.tries != 0 {
				t.Errorf("%+v", got)
			}
			if got := f.service.Bulkhead.View(); got != (upstream.BulkheadView{InFlight: 1, Limit: 1}) {
				t.Errorf("%+v", got)
			}
			if got := f.service.Breaker.View(f.proxy.clock.Mono()); got != (upstream.BreakerView{}) {
				t.Errorf("the breaker counted what it has not seen: %+v", got)
			}
		})
	}
}

// TestBulkheadLooksAtTheBreakerAgain: what waited for a place does not run into a service
// that was found bad meanwhile.
func TestBulkheadLooksAtTheBreakerAgain(t *testing.T) {
	t.Parallel()
	f, arrived, answer := crowded(t, upstream.BulkheadSpec{Maximum: 1, Queue: 5, QueueTimeout: time.Hour}, guarded(time.Hour), func(o *options) {
		o.spec.Breaker.Consecutive = 1
	})
	first := f.ask()
	<-arrived
	second := f.ask()
	eventually(t, "it waits", func() bool { return f.service.Bulkhead.View().Waiting == 1 })
	answer <- badAnswer500
	if got := first.read("GET"); got.status != 500 {
		t.Errorf("first: %d", got.status)
	}
	if got := second.read("GET"); got.status != 503 || !strings.Contains(got.body, "circuit_open") {
		t.Errorf("second: %d\n%s", got.status, got.body)
	}
	if got := f.service.Bulkhead.View(); got.InFlight != 0 {
		t.Errorf("%+v", got)
	}
}

// TestBulkheadHoldsThePlaceOfAStream until its body is through.
func TestBulkheadHoldsThePlaceOfAStream(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	o := newOrigin(t, func(l *link) {
		_, _, _ = l.request()
		l.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("begun"))
		<-end
		l.send("0\r\n\r\n")
	})
	f := newFront(t, o, guarded(time.Hour), func(o *options) { o.spec.Bulkhead = upstream.BulkheadSpec{Maximum: 1} })
	c := f.ask()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	room := make([]byte, 5)
	if _, err := resp.Body.Read(room); err != nil {
		t.Fatal(err)
	}
	if got := f.service.Bulkhead.View().InFlight; got != 1 {
		t.Errorf("%d places are taken by a stream", got)
	}
	if got := f.service.Breaker.View(f.proxy.clock.Mono()); got.Total != 1 {
		t.Errorf("an answer that has begun is not counted: %+v", got)
	}
	close(end)
	f.over()
	if got := f.service.Bulkhead.View().InFlight; got != 0 {
		t.Errorf("%d places are taken after its end", got)
	}
}
