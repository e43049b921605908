package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/upstream"
)

// What a service sends that is no answer, or a dangerous one, is 502, and its
// connection is never used again.
func TestC2_AnswersThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"silence, then close":      "",
		"half a head":              "HTTP/1.1 200 OK\r\nContent-Le",
		"garbage":                  "SSH-2.0-OpenSSH\r\n\r\n",
		"status 099":               "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
		"status 600":               "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
		"two-digit status":         "HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/9.9":                 "HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/2.0":                 "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"length and coding":        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"two lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"a signed length":          "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"another coding":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"coding in 1.0":            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"folded field":             "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
		"bare LF":                  "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"space before colon":       "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
		"NUL":                      "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
		"unrequested 101":          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"an oversized head":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*answerBuffer) + "\r\n\r\n",
		"an oversized field count": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: 1\r\n", answerLines+1) + "\r\n",
		"interim answers only":     strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maximumInterim+5) + okAnswer,
		"a short body":             "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"a trailer that frames":    "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, func(l *link) {
				if _, _, err := l.request(); err == nil {
					l.send(answer)
				}
			})
			f := newFront(t, o)
			c := f.dial()
			c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
			r := c.read("GET")
			for r.status == 103 {
				r = c.read("GET")
			}
			if r.status != 502 || r.header.Get("X") != "" {
				t.Fatalf("got %+v", r)
			}
			if e := f.over(); e.fault != fault.BadGateway.Code() || e.cause == nil || e.fromService {
				t.Errorf("exchange: %+v", e)
			}
			if f.idle() != 0 || f.busy() != 0 {
				t.Errorf("%d idle, %d busy connections", f.idle(), f.busy())
			}
		})
	}
}

// Bytes that nobody asked for and that come with, or right behind, an answer.
func TestC1_BytesBehindAnAnswerCloseTheConnection(t *testing.T) {
	t.Parallel()
	stray := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
	for name, c := range map[string]struct{ method, answer, want string }{
		"two answers":              {"GET", okAnswer + stray, "ok"},
		"a body behind 204":        {"GET", "HTTP/1.1 204 No Content\r\n\r\n" + stray, ""},
		"a length in 204":          {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", ""},
		"chunks in 204":            {"GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		"a body behind 304":        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nPOISON", ""},
		"a body behind HEAD":       {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON", ""},
		"more than the length":     {"GET", okAnswer + "k", "ok"},
		"behind the last chunk":    {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + stray, "ok"},
		"an answer and an interim": {"GET", okAnswer + "HTTP/1.1 103 Early Hints\r\n\r\n", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, answering(c.answer))
			f := newFront(t, o)
			client := f.dial()
			for range 3 {
				client.send(c.method + " / HTTP/1.1\r\nHost: f\r\n\r\n")
				if r := client.read(c.method); r.err != nil || r.body != c.want || r.header.Get("Content-Length") == "5" {
					t.Fatalf("got %+v", r)
				}
			}
			if o.accepts() != 3 {
				t.Errorf("%d connections for three requests", o.accepts())
			}
		})
	}
}

// The stray arrives later, while the connection waits in the pool.
func TestC1_StrayOnAnIdleConnection(t *testing.T) {
	t.Parallel()
	for name, stray := range map[string]string{
		"a second answer": "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON",
		"one byte":        "x",
		"a late 408":      "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			poison := make(chan struct{})
			sent := make(chan struct{})
			o := newOrigin(t, func(l *link) {
				if _, _, err := l.request(); err != nil {
					return
				}
				l.send(okAnswer)
				if l.index == 0 {
					<-poison
					l.send(stray)
					close(sent)
				}
				answering(okAnswer)(l)
			})
			f := newFront(t, o)
			c := f.dial()
			for i := range 4 {
				method := []string{"GET", "GET", "POST", "GET"}[i]
				c.send(method + " / HTTP/1.1\r\nHost: f\r\nContent-Length: 0\r\n\r\n")
				if r := c.read(method); r.status != 200 || r.body != "ok" {
					t.Fatalf("request %d got %+v", i, r)
				}
				if i == 0 {
					close(poison)
					<-sent
				}
			}
			if o.accepts() != 2 || strings.Count(o.received(0), " / HTTP/1.1") != 1 {
				t.Errorf("%d connections; the poisoned one got\n%s", o.accepts(), o.received(0))
			}
			if f.proxy.metrics.strays.Value() != 1 {
				t.Errorf("%d strays counted", f.proxy.metrics.strays.Value())
			}
		})
	}
}

// Streamed bodies take the other way to the connection: it looks as well.
func TestC1_StrayBeforeAStreamedUpload(t *testing.T) {
	t.Parallel()
	sent := make(chan struct{})
	o := newOrigin(t, func(l *link) {
		if _, _, err := l.request(); err != nil {
			return
		}
		l.send(okAnswer)
		if l.index == 0 {
			l.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")
			close(sent)
		}
		answering(okAnswer)(l)
	})
	f := newFront(t, o)
	f.get()
	<-sent
	c := f.dial()
	c.send("POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("abc") + "0\r\n\r\n")
	if r := c.read("POST"); r.status != 200 || r.body != "ok" {
		t.Fatalf("got %+v", r)
	}
	if strings.Contains(o.received(0), "POST") || o.accepts() != 2 {
		t.Errorf("the poisoned connection got\n%s", o.received(0))
	}
}

// A service that closes idle connections whenever it likes costs nobody an answer.
func TestIdleConnectionsThatTheServiceCloses(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	o := newOrigin(t, func(l *link) {
		defer func() {
			l.Close()
			closed <- struct{}{}
		}()
		if _, _, err := l.request(); err == nil {
			l.send(okAnswer)
		}
	})
	f := newFront(t, o)
	c := f.dial()
	for i := range 6 {
		method := []string{"GET", "POST"}[i%2]
		c.send(method + " / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc")
		if r := c.read(method); r.status != 200 {
			t.Fatalf("request %d got %+v", i, r)
		}
		if e := f.over(); e.tries != 1 {
			t.Errorf("%d tries: a connection found closed is none", e.tries)
		}
		<-closed
	}
	if got := f.proxy.metrics.stale.Value(); got != 5 {
		t.Errorf("%d stale connections counted, want 5", got)
	}
}

// A service that dies in the middle of a body must fail the client's transfer.
func TestAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	long := fill(100_000)
	for name, c := range map[string]struct {
		answer string
		reset  bool
	}{
		"known length":         {"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + long, false},
		"known length, reset":  {"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + long, true},
		"between chunks":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(long), false},
		"inside a chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + long, false},
		"before the last CRLF": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(long) + "0\r\n", false},
		"bad chunk size":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(long) + "zz\r\n", false},
		"until close, reset":   {"HTTP/1.1 200 OK\r\n\r\n" + long, true},
	} {
		for _, minor := range []string{"0", "1"} {
			t.Run(name+" to 1."+minor, func(t *testing.T) {
				t.Parallel()
				o := newOrigin(t, func(l *link) {
					if _, _, err := l.request(); err != nil {
						return
					}
					l.send(c.answer)
					if c.reset {
						// Everything is read before the reset, so that it comes in the middle.
						time.Sleep(20 * time.Millisecond)
						_ = l.raw.(*net.TCPConn).SetLinger(0)
						_ = l.raw.Close()
					}
				})
				f := newFront(t, o)
				client := f.dial()
				client.send("GET / HTTP/1." + minor + "\r\nHost: f\r\n\r\n")
				if r := client.read("GET"); r.err == nil {
					t.Fatalf("the transfer ended well with %d bytes", len(r.body))
				}
				if e := f.over(); e.cause == nil || e.status != 200 || !e.streaming {
					t.Errorf("exchange: %+v", e)
				}
				eventually(t, "the connection is closed", func() bool { return f.busy() == 0 && f.idle() == 0 })
			})
		}
	}
}

// An answer that comes while the request is still being sent reaches the client,
// and the connection is not used again.
func TestEarlyAnswers(t *testing.T) {
	t.Parallel()
	const refused = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong"
	for name, c := range map[string]struct {
		head    string
		first   string
		stalls  bool // the client waits for the answer in the middle of its body
		closes  bool // the service closes behind its answer
		interim string
	}{
		"to a client that goes on":          {"Content-Length: 30000000\r\n", fill(100_000), false, false, ""},
		"to a client that goes on, closing": {"Content-Length: 30000000\r\n", fill(100_000), false, true, ""},
		"to a client that waits":            {"Content-Length: 30000000\r\n", fill(100_000), true, false, ""},
		"to a client that waits in chunks":  {"Transfer-Encoding: chunked\r\n", chunk("abc"), true, false, ""},
		"closing, to one that waits":        {"Transfer-Encoding: chunked\r\n", chunk("abc"), true, true, ""},
		"behind an interim one":             {"Transfer-Encoding: chunked\r\n", chunk("abc"), true, false, "HTTP/1.1 100 Continue\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, func(l *link) {
				if _, err := l.r.ReadString('\n'); err != nil {
					return
				}
				for { // the head
					line, err := l.r.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
				}
				l.send(c.interim + refused)
				if !c.closes {
					l.hold() // it reads no further: what is sent fills the buffers of the way
				}
			})
			f := newFront(t, o, func(o *options) { o.route.BodyLimit = -1; o.body = 10 * time.Second })
			client := f.dial()
			client.send("POST / HTTP/1.1\r\nHost: f\r\n" + c.head + "\r\n" + c.first)
			var stop atomic.Bool
			done := make(chan struct{})
			go func() {
				defer close(done)
				for more := []byte(fill(100_000)); !c.stalls && !stop.Load(); {
					if _, err := client.Conn.Write(more); err != nil {
						return
					}
				}
			}()
			start := time.Now()
			r := client.read("POST")
			if r.status != 413 || r.body != "long" {
				t.Errorf("got %+v", r)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("the answer took %s; the client's own timeout is 10s", took)
			}
			stop.Store(true)
			client.Close()
			<-done
			if e := f.over(); e.status != 413 || !e.fromService {
				t.Errorf("exchange: %+v", e)
			}
			if f.idle() != 0 {
				t.Error("the connection is in the pool")
			}
		})
	}
}

// An interim answer during an upload does not end it.
func TestInterimAnswersDuringAnUpload(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(l *link) {
		if _, err := l.r.Peek(1); err != nil {
			return
		}
		l.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		_, body, err := l.request()
		if err != nil || len(body) != 3_000_000 {
			return
		}
		l.send(okAnswer)
	})
	f := newFront(t, o, func(o *options) { o.route.BodyLimit = -1 })
	c := f.dial()
	go func() {
		_, _ = io.WriteString(c.Conn, "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3000000\r\n\r\n"+fill(3_000_000))
	}()
	if r := c.read("POST"); r.status != 103 {
		t.Fatalf("got %+v", r)
	}
	if r := c.read("POST"); r.status != 200 || r.body != "ok" {
		t.Fatalf("got %+v", r)
	}
	if f.over(); f.idle() != 1 {
		t.Error("the connection was not kept")
	}
}

// TestInterimAnswersDuringASlowUpload: an upload that waits for its client, or for its
// service, when an interim answer comes goes on behind it.
func TestInterimAnswersDuringASlowUpload(t *testing.T) {
	t.Parallel()
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	// fasthttp asks nobody before it has 8 KiB of a body whose length is known, or all of it.
	begin := strings.Repeat("x", 10_000)
	for name, framing := range map[string][3]string{
		"length":  {"Content-Length: 10005\r\n\r\n" + begin, "world", ""},
		"chunked": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nworld\r\n", "0\r\n\r\n"},
	} {
		t.Run(name+", the client is slow", func(t *testing.T) {
			t.Parallel()
			came := make(chan struct{})
			o := newOrigin(t, func(l *link) {
				if _, err := l.r.Peek(1); err != nil {
					return
				}
				time.Sleep(3 * sweepEvery) // the upload is looked after
				l.send(hints[:20])
				time.Sleep(3 * sweepEvery)
				l.send(hints[20:] + hints)
				time.Sleep(3 * sweepEvery)
				close(came)
				if _, body, err := l.request(); err != nil || !strings.Contains(body, "world") {
					t.Errorf("the service got %q, %v", body, err)
					return
				}
				l.send(okAnswer)
			})
			f := newFront(t, o, func(o *options) { o.route.BodyLimit, o.route.Buffer = -1, 1 })
			c := f.dial()
			c.send("POST / HTTP/1.1\r\nHost: f\r\n" + framing[0])
			select {
			case <-came:
			case <-time.After(waitAtMost):
				t.Fatal("the service was not asked")
			}
			c.send(framing[1])
			c.send(framing[2])
			for _, want := range []int{103, 103, 200} {
				if r := c.read("POST"); r.status != want {
					t.Fatalf("got %+v, want %d", r, want)
				}
			}
			if e := f.over(); e.status != 200 || f.idle() != 1 {
				t.Errorf("%+v, and the connection was not kept", e)
			}
		})
	}
	for _, size := range []int{3_000_000, 10_000_000} {
		t.Run(fmt.Sprintf("the service is slow to read %d bytes", size), func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, func(l *link) {
				if _, err := l.r.Peek(1); err != nil {
					return
				}
				time.Sleep(3 * sweepEvery)
				l.send(hints)
				time.Sleep(3 * sweepEvery)
				if _, body, err := l.request(); err != nil || len(body) != size {
					t.Errorf("the service got %d bytes, %v", len(body), err)
					return
				}
				l.send(okAnswer)
			})
			f := newFront(t, o, func(o *options) { o.route.BodyLimit = -1 })
			c := f.dial()
			go func() {
				_, _ = io.WriteString(c.Conn, fmt.Sprintf("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: %d\r\n\r\n", size)+strings.Repeat("x", size))
			}()
			for _, want := range []int{103, 200} {
				if r := c.read("POST"); r.status != want {
					t.Fatalf("got %+v, want %d", r, want)
				}
			}
			if e := f.over(); e.status != 200 {
				t.Errorf("%+v", e)
			}
		})
	}
	t.Run("a final answer behind it stops the upload", func(t *testing.T) {
		t.Parallel()
		o := newOrigin(t, func(l *link) {
			if _, err := l.r.Peek(1); err != nil {
				return
			}
			time.Sleep(3 * sweepEvery)
			l.send(hints + "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			l.hold()
		})
		f := newFront(t, o, func(o *options) { o.route.BodyLimit, o.route.Buffer = -1, 1 })
		c := f.dial()
		c.send("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 20000\r\n\r\n" + begin) // and no more
		for _, want := range []int{103, 401} {
			if r := c.read("POST"); r.status != want {
				t.Fatalf("got %+v, want %d", r, want)
			}
		}
	})
}

func TestHeardIn(t *testing.T) {
	t.Parallel()
	const hints, processing = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "HTTP/1.0 102 Processing\r\n\r\n"
	for text, heard := range map[string]bool{
		hints: false, hints + processing: false, hints + "HTTP/1.1 200 OK\r\n": true, "HTTP/1.1 200": true, hints + "x": true, "\x00": true,
		"HTTP/1.1 101 Switching Protocols\r\n": true, hints + "HTTP/1.1 101": true,
	} {
		if got := heardIn([]byte(text), false); got != heard {
			t.Errorf("%q: %t", text, got)
		}
		for n := range len(text) {
			if got := heardIn([]byte(text)[:n], false); got && !heard {
				t.Errorf("%q: an answer is heard", text[:n])
			}
		}
		if text != "" && !heardIn([]byte(text), true) {
			t.Errorf("%q: nothing is heard in what has no room for more", text)
		}
	}
}

// A buffered body that the service does not read to its end.
func TestAnEarlyAnswerToABufferedBody(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(l *link) {
		if _, err := l.r.ReadString('\n'); err == nil {
			l.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			l.hold()
		}
	})
	const size = 8 << 20 // more than the buffers of the two sockets hold
	f := newFront(t, o, func(o *options) {
		o.route.BodyLimit, o.route.Buffer = -1, 2*size
		o.to.Timeouts = upstream.Timeouts{Connect: waitAtMost}
	})
	c := f.dial()
	go func() {
		_, _ = io.WriteString(c.Conn, "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 8388608\r\n\r\n"+strings.Repeat("x", size))
	}()
	if r := c.read("POST"); r.status != 401 || r.body != "no" {
		t.Fatalf("got %+v", r)
	}
	if f.over(); f.idle() != 0 {
		t.Error("the connection is in the pool")
	}
}

// A client that leaves frees the service's connection within half a second.
func TestClientsThatLeave(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request, answer string
		reset           bool
		status          int
	}{
		"while the answer is awaited":        {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", "", false, statusClientGone},
		"while the answer is awaited, reset": {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", "", true, statusClientGone},
		"inside an answer's head":            {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", "HTTP/1.1 200 OK\r\nX: ", false, statusClientGone},
		"inside a short body":                {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false, statusClientGone},
		"during an event stream":             {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("tick"), false, statusClientGone},
		"during a long body":                 {"GET / HTTP/1.1\r\nHost: f\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc", true, statusClientGone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := make(chan time.Time, 1)
			o := newOrigin(t, func(l *link) {
				if _, _, err := l.request(); err != nil {
					return
				}
				l.send(c.answer)
				_, _ = io.Copy(io.Discard, l.Conn)
				left <- time.Now()
			})
			f := newFront(t, o, func(o *options) {
				o.to.Timeouts = upstream.Timeouts{Connect: time.Second, Response: 20 * time.Second, Idle: 20 * time.Second}
			})
			client := f.dial()
			client.send(c.request)
			eventually(t, "the request is there", func() bool { return o.accepts() == 1 && strings.Contains(o.received(0), "\r\n\r\n") })
			if c.reset {
				_ = client.Conn.(*net.TCPConn).SetLinger(0)
			}
			start := time.Now()
			client.Close()
			select {
			case at := <-left:
				if took := at.Sub(start); took > within(500*time.Millisecond) {
					t.Errorf("the service's connection was held for %s", took)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the service's connection is still held")
			}
			if e := f.over(); e.status != c.status || e.cause == nil {
				t.Errorf("exchange: %+v", e)
			}
			eventually(t, "nothing is held", func() bool { return f.busy() == 0 && f.idle() == 0 })
		})
	}
}

// Bodies that nobody reads to the end don't hold anything.
func TestAClientThatStopsReading(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(l *link) {
		if _, _, err := l.request(); err != nil {
			return
		}
		l.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
		piece := fill(1 << 20)
		for range 100 {
			if _, err := io.WriteString(l, piece); err != nil {
				return
			}
		}
	})
	f := newFront(t, o)
	client := f.dial()
	client.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
	if _, err := client.r.Peek(1000); err != nil {
		t.Fatal(err)
	}
	_ = client.Conn.(*net.TCPConn).SetLinger(0)
	client.Close()
	if e := f.over(); e.status != statusClientGone || e.bytesOut == 100000000 {
		t.Errorf("exchange: %+v", e)
	}
	eventually(t, "nothing is held", func() bool { return f.busy() == 0 && f.idle() == 0 })
}
