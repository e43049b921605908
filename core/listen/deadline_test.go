package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// The timeouts of these tests: quick is one that must fire, slow one that must not.
const (
	quick = 60 * time.Millisecond
	// bearable must fire for some, and must not for others beside them on a busy machine.
	bearable = 2 * time.Second
	slow     = time.Minute
)

// TestPX7_SlowHead: a head is timed as a whole, from accept or from its first
// byte, however steadily its bytes come.
func TestPX7_SlowHead(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 2} {
		s := serve(t, Options{HeaderTimeout: 4 * quick, IdleTimeout: slow}, echo)
		c := s.dial(t)
		for range before {
			c.send(get("/"))
			if got := c.code(); got != "200" {
				t.Fatalf("got %q", got)
			}
		}
		start := time.Now()
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for _, b := range []byte("GET / HTTP/1.1\r\nHost: " + strings.Repeat("a", 200)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return // the server has had enough
				}
				time.Sleep(quick / 4)
			}
		}()
		if got := c.code(); got != "408" {
			t.Errorf("after %d requests: got %q", before, got)
		}
		if d := time.Since(start); d < 3*quick || d > 40*quick {
			t.Errorf("after %d requests: took %v", before, d)
		}
		_ = c.Close()
		<-stop
		if n := s.handled.Load(); n != int64(before) {
			t.Errorf("the handler ran %d times", n)
		}
	}
}

// TestPX7_Silence: a new connection that says nothing gets 408; one that has been
// of use is closed without a word.
func TestPX7_Silence(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{HeaderTimeout: quick, IdleTimeout: slow}, echo)
	c := s.dial(t)
	if got := c.code(); got != "408" {
		t.Errorf("got %q", got)
	}
	c.ends()

	s = serve(t, Options{HeaderTimeout: slow, IdleTimeout: quick}, echo)
	c = s.dial(t)
	c.send(get("/"))
	if got := c.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	c.ends()
	if n := s.refused.Load(); n != 0 {
		t.Errorf("%d faults", n)
	}
}

// TestDeadlineFiresEarly: what was armed for the first head must not end a later
// wait that may be longer.
func TestDeadlineFiresEarly(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{HeaderTimeout: quick, IdleTimeout: slow, BodyTimeout: slow, WriteTimeout: quick}, echo)
	c := s.dial(t)
	for range 3 {
		c.send(get("/"))
		if got := c.code(); got != "200" {
			t.Fatalf("got %q", got)
		}
		time.Sleep(2 * quick) // what is armed passes meanwhile
	}
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
	time.Sleep(2 * quick)
	c.send("abc")
	if got := c.code(); got != "200" {
		t.Fatalf("got %q", got)
	}
}

// TestNoTimeouts: zero never ends anything, also where a deadline was armed before.
func TestNoTimeouts(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{HeaderTimeout: quick}, echo)
	c := s.dial(t)
	for range 2 {
		c.send(get("/"))
		if got := c.code(); got != "200" {
			t.Fatalf("got %q", got)
		}
		time.Sleep(2 * quick) // as above
	}
}

// TestPX7_SlowBody: the body timeout runs from read to read, and can be set for
// one message.
func TestPX7_SlowBody(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{BodyTimeout: 6 * quick}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		if string(ctx.Path()) == "/patient" {
			c.SetBodyTimeout(slow)
		}
		_, err := io.Copy(io.Discard, ctx.RequestBodyStream())
		var timeout net.Error
		switch {
		case err == nil:
			ctx.SetBodyString("whole")
		case errors.As(err, &timeout) && timeout.Timeout():
			ctx.SetBodyString("timeout")
		default:
			ctx.SetBodyString(err.Error())
		}
	})
	drip := func(c *client, path string, pause time.Duration, n int) {
		c.send(postChunked(path))
		for range n {
			time.Sleep(pause)
			c.send("1\r\nx\r\n")
		}
	}
	c := s.dial(t)
	drip(c, "/", quick, 8) // longer than the timeout in all
	c.send("0\r\n\r\n")
	if got := c.answer(); got != "200 whole" {
		t.Errorf("steady: got %q", got)
	}
	drip(c, "/patient", 8*quick, 1)
	c.send("0\r\n\r\n")
	if got := c.answer(); got != "200 whole" {
		t.Errorf("patient: got %q", got)
	}
	c.send(postChunked("/"), "1\r\nx\r\n")
	if got := c.answer(); got != "200 timeout" {
		t.Errorf("stalled: got %q", got)
	}
}

// TestPX5_WriteIdle: a client that takes nothing is given up, one that takes
// slowly is not.
func TestPX5_WriteIdle(t *testing.T) {
	t.Parallel()
	const size = 24 << 20 // more than the sockets' buffers take
	wrote := make(chan error, 1)
	s := serve(t, Options{WriteTimeout: bearable}, func(_ *fasthttp.RequestCtx, c *Conn) {
		n, err := c.Write(make([]byte, size))
		if err == nil && n != size {
			t.Errorf("wrote %d of %d without an error", n, size)
		}
		if err != nil {
			c.Abort()
		}
		wrote <- err
	})
	c := s.dial(t)
	c.send(get("/"))
	var timeout net.Error
	if err := <-wrote; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a client that reads nothing: %v", err)
	}
	c = s.dial(t)
	if err := c.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	c.send(get("/"))
	start, got := time.Now(), 0
	for room := make([]byte, 1<<20); got < size; {
		n, err := io.ReadFull(c.r, room[:min(len(room), size-got)])
		if got += n; err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
		time.Sleep(bearable / 20)
	}
	if err := <-wrote; err != nil {
		t.Errorf("a slow client: %v", err)
	}
	if d := time.Since(start); d < bearable {
		t.Errorf("the slow client took only %v", d)
	}
}

// TestDeadlinesByHand: a deadline that is set has precedence over the
// connection's own until it is taken back, and ends a wait.
func TestDeadlinesByHand(t *testing.T) {
	t.Parallel()
	l, err := Listen("127.0.0.1:0", Options{Limits: roomy, HeaderTimeout: slow})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer := dialAddr(t, l.Addr().String())
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*Conn)
	defer c.Close()
	result := make(chan error, 1)
	room := make([]byte, 100)
	go func() { _, err := c.Read(room); result <- err }()
	eventually(t, "the read arms its deadline", func() bool { return c.reads.armed.Load() != 0 })
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Read(room); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline by hand does not stay: %v", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	peer.send(get("/"))
	if n, err := c.Read(room); err != nil || string(room[:n]) != get("/") {
		t.Errorf("got %q, %v", room[:n], err)
	}
	if err := c.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(room); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing: %v", err)
	}
	_ = c.Close()
	if err := c.SetDeadline(time.Now()); err == nil {
		t.Error("SetDeadline on a closed connection did not fail")
	}
}
