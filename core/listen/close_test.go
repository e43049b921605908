package listen

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/socket"
)

// TestRefusalArrives: the client reads its 400 though it goes on sending.
func TestRefusalArrives(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	for range 5 {
		c := s.dial(t)
		c.send("GET / HTTP/1.1\nHost: a\n\n", strings.Repeat("x", 1<<20))
		if got := c.code(); got != "400 violation" {
			t.Errorf("got %q", got)
		}
		c.ends()
	}
	if n := s.handled.Load(); n != 0 {
		t.Errorf("the handler ran %d times", n)
	}
}

// TestPX4_EarlyAnswerArrives: so does an answer that comes during an upload.
func TestPX4_EarlyAnswerArrives(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, _ *Conn) {
		fault.Write(&ctx.Response, fault.BodyTooLarge, nil)
		ctx.SetConnectionClose()
	})
	const size = 20 << 20
	// A busy machine may take longer for these bytes than the connection lingers: then
	// once more. Where an answer is lost by a reset, it is lost each time.
	got := ""
	for tries := 0; tries < 5 && got != "413"; tries++ {
		c := s.dial(t)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c.TCPConn, post("/", strings.Repeat("x", size))) // may be cut
		}()
		if resp, err := http.ReadResponse(c.r, nil); err != nil {
			got = err.Error()
		} else {
			got = strconv.Itoa(resp.StatusCode)
		}
		<-sent
	}
	if got != "413" {
		t.Errorf("got %q", got)
	}
}

// TestLastAnswerArrives: a request that waits behind the last one does not reset
// the connection.
func TestLastAnswerArrives(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, _ *Conn) {
		<-proceed
		ctx.SetConnectionClose()
		ctx.SetBodyString("last")
	})
	for _, together := range []bool{true, false} {
		c := s.dial(t)
		if together {
			c.send(get("/"), get("/more"))
		} else {
			before := s.handled.Load()
			c.send(get("/"))
			eventually(t, "the handler runs", func() bool { return s.handled.Load() > before })
			c.send(get("/more"))
		}
		proceed <- struct{}{}
		if got := c.answer(); got != "200 last" {
			t.Errorf("got %q", got)
		}
		c.ends()
	}
	if n := s.handled.Load(); n != 2 {
		t.Errorf("the handler ran %d times", n)
	}
}

// TestLingerIsBounded: one that does not go away is not waited for long, and no
// more than so many are.
func TestLingerIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	c := s.dial(t)
	c.send("GET / HTTP/1.1\n")
	if got := c.code(); got != "400 violation" {
		t.Errorf("got %q", got)
	}
	eventually(t, "the connection is closed though the client stays", func() bool { return s.Open() == 0 })
	s.lingering.Store(mostLingers)
	start := time.Now()
	c = s.dial(t)
	c.send("GET / HTTP/1.1\n")
	eventually(t, "the connection is closed at once", func() bool { return s.refused.Load() == 2 && s.Open() == 0 })
	if d := time.Since(start); d >= lingerTime {
		t.Errorf("took %v", d)
	}
	if n := s.lingering.Load(); n != mostLingers {
		t.Errorf("%d linger", n)
	}
}

// TestAbort: the client's transfer fails.
func TestAbort(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
		c.Abort()
		c.Abort()
		if !c.Gone() {
			t.Error("an aborted connection is not gone")
		}
	})
	c := s.dial(t)
	c.send(get("/"))
	_, err := io.ReadAll(c.r)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

// TestPX5_Gone: a client that left is seen at once, one that sent more is not
// taken for it.
func TestPX5_Gone(t *testing.T) {
	t.Parallel()
	conns := make(chan *Conn)
	proceed := make(chan struct{})
	s := serve(t, Options{}, func(_ *fasthttp.RequestCtx, c *Conn) {
		conns <- c
		<-proceed
	})
	begin := func(more string) (*client, *Conn) {
		c := s.dial(t)
		c.send(get("/"), more)
		got := <-conns
		if got.Gone() {
			t.Error("gone at once")
		}
		return c, got
	}
	c, held := begin("")
	_ = c.Close()
	eventually(t, "a close is seen", held.Gone)
	proceed <- struct{}{}

	c, held = begin("")
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "a reset is seen", held.Gone)
	proceed <- struct{}{}

	c, held = begin(get("/more"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the half-close arrives", func() bool { return held.lookNow() == socket.Ended })
	if held.Gone() {
		t.Error("gone though a request waits")
	}
	proceed <- struct{}{}
	if got := c.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	held = <-conns
	if !held.Gone() {
		t.Error("not gone though nothing waits any more")
	}
	proceed <- struct{}{}

	c, held = begin("")
	c.send(get("/more"))
	eventually(t, "the bytes arrive", func() bool { return held.lookNow() == socket.Bytes })
	if held.Gone() {
		t.Error("gone though a request arrived")
	}
	proceed <- struct{}{}
	<-conns
	proceed <- struct{}{}
}

// TestGoneWhileReading: the look does not wait for a reader that waits.
func TestGoneWhileReading(t *testing.T) {
	t.Parallel()
	conns := make(chan *Conn, 1)
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		conns <- c
		_, _ = io.Copy(io.Discard, ctx.RequestBodyStream()) // ends with the connection
	})
	c := s.dial(t)
	c.send(postChunked("/"), "1\r\nx\r\n")
	held := <-conns
	looked := make(chan bool)
	for range 100 {
		go func() { looked <- held.Gone() }()
		select {
		case gone := <-looked:
			if gone {
				t.Fatal("gone")
			}
		case <-time.After(waitAtMost):
			t.Fatal("the look waits")
		}
	}
	c.send("0\r\n\r\n")
	if got := c.code(); got != "200" {
		t.Errorf("got %q", got)
	}
}

// TestCloseIdle: connections that wait for a request are closed, others not.
func TestCloseIdle(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, _ *Conn) {
		if string(ctx.Path()) == "/slow" {
			<-proceed
		}
	})
	silent, used, busy, half := s.dial(t), s.dial(t), s.dial(t), s.dial(t)
	used.send(get("/"))
	if got := used.code(); got != "200" {
		t.Fatalf("got %q", got)
	}
	busy.send(get("/slow"))
	half.send("GET /half HTTP/1.1\r\n")
	isWaiting := func() (n int) {
		for _, c := range s.connections() {
			if c.state.Load() == waiting {
				n++
			}
		}
		return n
	}
	eventually(t, "all are where they should be", func() bool { return s.Open() == 4 && isWaiting() == 2 && s.handled.Load() == 2 })
	if n := s.CloseIdle(0); n != 2 {
		t.Errorf("closed %d", n)
	}
	silent.ends()
	used.ends()
	proceed <- struct{}{}
	if got := busy.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	half.send("Host: a\r\n\r\n")
	if got := half.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	if n := s.refused.Load(); n != 0 {
		t.Errorf("%d faults", n)
	}
}

// TestCloseIdleLosesNothing: a request that ran was answered, however often idle
// connections are closed meanwhile.
func TestCloseIdleLosesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	var answered atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 200 {
				c, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(waitAtMost)) // a new socket takes it
				_, _ = io.WriteString(c, get("/"))            // the answer tells
				if head, _ := io.ReadAtLeast(c, make([]byte, 1000), 20); head >= 20 {
					answered.Add(1)
				}
				_ = c.Close() // nothing more is wanted of it
			}
		})
	}
	stop := make(chan struct{})
	var closer sync.WaitGroup
	closer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.CloseIdle(0)
			}
		}
	})
	clients.Wait()
	close(stop)
	closer.Wait()
	if got, want := answered.Load(), s.handled.Load(); got != want {
		t.Errorf("%d requests ran, %d were answered", want, got)
	}
}

// TestCloseAll: nothing stays, whatever it is doing, and nothing new comes.
func TestCloseAll(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, _ *Conn) {
		_, _ = io.Copy(io.Discard, ctx.RequestBodyStream()) // ends with the connection
	})
	idle, uploading, lingering := s.dial(t), s.dial(t), s.dial(t)
	uploading.send(postChunked("/"))
	lingering.send("GET / HTTP/1.1\n")
	eventually(t, "all are where they should be", func() bool {
		return s.Open() == 3 && s.handled.Load() == 1 && s.lingering.Load() == 1
	})
	if n := s.CloseAll(); n != 2 { // the lingering one was closed already
		t.Errorf("closed %d", n)
	}
	for _, c := range []*client{idle, uploading, lingering} {
		_, _ = io.Copy(io.Discard, c.r) // an end or a reset, but not the deadline
	}
	eventually(t, "all are forgotten", func() bool { return s.Open() == 0 && s.totals.Open() == 0 && s.lingering.Load() == 0 })
	late := s.dial(t)
	_, _ = io.Copy(io.Discard, late.r) // as above
	eventually(t, "the late one is forgotten", func() bool { return s.totals.Open() == 0 })
	if n := s.Accepted(); n != 3 {
		t.Errorf("accepted %d", n)
	}
}
