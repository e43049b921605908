package proxy

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

const everything = upstream.OnConnect | upstream.OnReset | upstream.OnTimeout | upstream.On500 | upstream.On502 | upstream.On503 | upstream.On504

// retrying lets a route try n times more, whatever the reason.
func retrying(n int) func(*options) {
	return func(o *options) {
		o.to.Retry = upstream.Retry{Retries: n, When: everything, Budget: 1, Backoff: upstream.Backoff{Initial: time.Millisecond, Maximum: 2 * time.Millisecond}}
	}
}

// failing serves the first request by fail, which closes the connection if it is to end: an
// end behind a whole answer would race with the next try, on the same connection.
func failing(requests *atomic.Int32, fail func(l *link, n int32)) func(*link) {
	return func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			if n := requests.Add(1); n > 1 {
				l.send(okAnswer)
			} else {
				fail(l, n)
			}
		}
	}
}

func TestC9_WhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	reset := func(l *link, _ int32) { l.Close() }
	timeout := func(l *link, _ int32) { l.hold() }
	half := func(l *link, _ int32) { l.send("HTTP/1.1 2"); l.Close() }
	status := func(code int) func(*link, int32) {
		return func(l *link, _ int32) {
			l.send(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 3\r\nX-First: 1\r\n\r\nbad", code))
		}
	}
	for name, c := range map[string]struct {
		request string
		change  func(*options)
		fail    func(*link, int32)
		status  int
		tries   int
	}{
		"GET, reset":   {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), reset, 200, 2},
		"GET, timeout": {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), timeout, 200, 2},
		"GET, 500, not asked for": {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", func(o *options) {
			retrying(1)(o)
			o.to.Retry.When &^= upstream.On500
		}, status(500), 500, 1},
		"GET, 502":                    {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), status(502), 200, 2},
		"GET, 503":                    {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), status(503), 200, 2},
		"GET, 504":                    {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), status(504), 200, 2},
		"GET, 500":                    {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), status(500), 200, 2},
		"GET, half an answer":         {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), half, 200, 2},
		"POST, half an answer":        {"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", retrying(1), half, 502, 1},
		"GET, no retries":             {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(0), reset, 502, 1},
		"GET, 503, no retries":        {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(0), status(503), 503, 1},
		"HEAD, 503":                   {"HEAD / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), func(l *link, _ int32) { l.send("HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\n") }, 200, 2},
		"PUT with a buffered body":    {"PUT / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", retrying(1), reset, 200, 2},
		"PUT with a streamed body":    {"PUT / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", retrying(1), reset, 502, 1},
		"DELETE":                      {"DELETE / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), reset, 200, 2},
		"OPTIONS":                     {"OPTIONS / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), reset, 200, 2},
		"POST":                        {"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", retrying(1), reset, 502, 1},
		"POST, 503":                   {"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", retrying(1), status(503), 503, 1},
		"POST, timeout":               {"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", retrying(1), timeout, 504, 1},
		"PATCH":                       {"PATCH / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", retrying(1), reset, 502, 1},
		"an unknown method":           {"BREW / HTTP/1.1\r\nHost: f\r\n\r\n", retrying(1), reset, 502, 1},
		"POST with a key":             {"POST / HTTP/1.1\r\nHost: f\r\nIdempotency-Key: 1\r\nContent-Length: 3\r\n\r\nabc", retrying(1), reset, 502, 1},
		"POST with a key, told so":    {"POST / HTTP/1.1\r\nHost: f\r\nIdempotency-Key: 1\r\nContent-Length: 3\r\n\r\nabc", keyed, reset, 200, 2},
		"PATCH with a key, told so":   {"PATCH / HTTP/1.1\r\nHost: f\r\nIdempotency-Key: 1\r\nContent-Length: 3\r\n\r\nabc", keyed, reset, 200, 2},
		"POST without a key, told so": {"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc", keyed, reset, 502, 1},
		"only timeouts, reset": {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", func(o *options) {
			retrying(1)(o)
			o.to.Retry.When = upstream.OnTimeout
		}, reset, 502, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			o := newOrigin(t, failing(&requests, c.fail))
			f := newFront(t, o, func(o *options) {
				c.change(o)
				if strings.HasSuffix(name, ", timeout") {
					o.to.Timeouts.Response = within(time.Second) // long, for busy machines: the next try must make it
				}
			})
			client := f.dial()
			client.send(c.request)
			r := client.read(c.request[:strings.IndexByte(c.request, ' ')])
			if r.status != c.status {
				t.Fatalf("got %+v, exchange %+v", r, f.over())
			}
			if r.status == 200 && r.header.Get("X-First") != "" {
				t.Error("a field of the first answer came through")
			}
			if e := f.over(); e.tries != c.tries || int(requests.Load()) != c.tries {
				t.Errorf("%d tries, %d requests; want %d", e.tries, requests.Load(), c.tries)
			}
			if got := f.proxy.metrics.retries.Value(); got != uint64(c.tries-1) {
				t.Errorf("%d retries counted", got)
			}
		})
	}
}

func keyed(o *options) {
	retrying(1)(o)
	o.to.RetryIdempotencyKey = true
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A connect error is safe for every method, a streamed body included: nothing of
// it was read. The next try goes to another endpoint.
func TestConnectErrorsAreTriedElsewhere(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"POST":         "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc",
		"chunked POST": "POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, answering(okAnswer))
			dead := closedAddress(t)
			f := newFront(t, o, retrying(1), func(o *options) {
				o.spec.Endpoints = append(o.spec.Endpoints, upstream.EndpointSpec{Address: dead, HostHeader: dead, Weight: 1})
			})
			for range 6 {
				c := f.dial()
				c.send(request)
				if r := c.read("POST"); r.status != 200 {
					t.Fatalf("got %+v", r)
				}
				if e := f.over(); e.tries != 1 {
					t.Errorf("%d tries were sent, want 1", e.tries)
				}
			}
			if got := o.received(0); strings.Contains(got, "Host: "+dead) || !strings.Contains(got, "Host: origin.test") {
				t.Errorf("the service got\n%s", got)
			}
			if f.proxy.metrics.retries.Value() == 0 {
				t.Error("the dead endpoint was never tried")
			}
		})
	}
}

func TestNoTriesBeyondTheirNumberAndTheTotal(t *testing.T) {
	t.Parallel()
	dead := closedAddress(t)
	o := newOrigin(t, answering(okAnswer))
	f := newFront(t, o, retrying(3), func(o *options) { o.spec.Endpoints[0].Address = dead })
	if r := f.get(); r.status != 502 {
		t.Fatalf("got %+v", r)
	}
	if got := f.proxy.metrics.retries.Value(); got != 3 {
		t.Errorf("%d retries, want 3", got)
	}
	f = newFront(t, o, retrying(10), func(o *options) {
		o.spec.Endpoints[0].Address = dead
		o.to.Retry.Backoff = upstream.Backoff{Initial: 40 * time.Millisecond, Maximum: time.Second}
		o.to.Timeouts.Total = 200 * time.Millisecond
	})
	start := time.Now()
	// On a busy machine the total may end in the middle of a try: that is a 504.
	if r := f.get(); r.status != 502 && r.status != 504 {
		t.Fatalf("got %+v", r)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("tries went on for %s; the total is 200ms", took)
	}
}

func TestTheBudgetEndsRetries(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, answering("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"))
	f := newFront(t, o, retrying(1), func(o *options) { o.to.Retry.Budget = 0 })
	c := f.dial()
	for range 40 {
		c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
		if r := c.read("GET"); r.status != 503 {
			t.Fatalf("got %+v", r)
		}
	}
	retries, exhausted := f.proxy.metrics.retries.Value(), f.proxy.metrics.budget.Value()
	if retries < 10 || retries > 30 || retries+exhausted != 40 {
		t.Errorf("%d retries and %d refused of 40", retries, exhausted)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value  string
		status int
	}{
		"a second":     {"1", 200},
		"zero":         {"0", 200},
		"too long":     {"100", 503},
		"a date":       {"Wed, 21 Oct 2099 07:28:00 GMT", 503},
		"a huge count": {"99999999999999999999", 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			o := newOrigin(t, failing(&requests, func(l *link, _ int32) {
				l.send("HTTP/1.1 503 X\r\nContent-Length: 3\r\nRetry-After: " + c.value + "\r\n\r\nbad")
			}))
			f := newFront(t, o, retrying(1))
			start := time.Now()
			r := f.get()
			if r.status != c.status {
				t.Fatalf("got %+v", r)
			}
			if c.status == 503 && (r.body != "bad" || r.header.Get("Retry-After") != c.value) {
				t.Errorf("the service's own answer is lost: %+v", r)
			}
			if took := time.Since(start); c.value == "1" && took < time.Second {
				t.Errorf("tried again after %s", took)
			}
		})
	}
}

// A client that leaves between two tries is not worth another one.
func TestNoTryForAClientThatLeft(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	o := newOrigin(t, failing(&requests, func(l *link, _ int32) {
		l.send("HTTP/1.1 503 X\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n")
	}))
	f := newFront(t, o, retrying(1))
	c := f.dial()
	c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
	eventually(t, "the first try is over", func() bool { return requests.Load() == 1 && f.idle()+f.busy() <= 1 })
	c.Close()
	if e := f.over(); e.status != statusClientGone {
		t.Errorf("exchange: %+v", e)
	}
	if requests.Load() != 1 {
		t.Error("the request was tried again")
	}
}

// After a fault, nothing of what services answered before is left.
func TestAFaultHoldsNothingOfAnEarlierAnswer(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	o := newOrigin(t, func(l *link) {
		for {
			if _, _, err := l.request(); err != nil {
				return
			}
			if requests.Add(1) > 1 {
				return
			}
			l.send("HTTP/1.1 503 X\r\nContent-Length: 3\r\nSet-Cookie: a=secret\r\nX-First: 1\r\n\r\nbad")
		}
	})
	f := newFront(t, o, retrying(1))
	r := f.get()
	if r.status != 502 || r.header.Get("X-First") != "" || r.header.Get("Set-Cookie") != "" {
		t.Errorf("got %+v", r)
	}
	if e := f.over(); e.fault != fault.BadGateway.Code() {
		t.Errorf("exchange: %+v", e)
	}
}

// Backoff stays within its bounds, and is spread.
func TestBackoffBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		initial := rapid.Int64Range(0, int64(time.Minute)).Draw(rt, "initial")
		maximum := rapid.Int64Range(0, int64(10*time.Minute)).Draw(rt, "maximum")
		retries := rapid.IntRange(0, 10).Draw(rt, "retries")
		trip := &trip{retries: retries, to: &pipeline.Destination{
			Retry: upstream.Retry{Backoff: upstream.Backoff{Initial: time.Duration(initial), Maximum: time.Duration(maximum)}},
		}}
		full := maximum
		if initial<<retries < maximum {
			full = initial << retries
		}
		if got := trip.backoff(); got < full/2-1 || got > full {
			rt.Fatalf("backoff %d of %d", got, full)
		}
	})
}

func TestRetryAfterForms(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int64{"": 0, "3": 3e9, "0": 0, "-1": never, "1.5": never, "soon": never, "1048577": never} {
		var h fasthttp.ResponseHeader
		if value != "" {
			h.Set("Retry-After", value)
		}
		if got := retryAfter(&h); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
}
