package listen

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// given is a connection that a handler gave away, with what came too early.
type given struct {
	conn  net.Conn
	early string
	err   error
}

// giving serves by giving each connection away. Whoever takes it closes it.
func giving(t *testing.T, o Options) (*server, chan given) {
	got := make(chan given, 1)
	return serve(t, o, func(ctx *fasthttp.RequestCtx, c *Conn) {
		err := c.Upgrade(func(conn net.Conn, early []byte) { got <- given{conn, string(early), nil} })
		if err != nil {
			got <- given{err: err}
		}
		ctx.SetBodyString("this must not reach the client")
	}), got
}

// TestUpgrade: the connection is HTTP's no more. Nothing of the server's answer gets
// in, what the client sent too early is not lost, and the end is the taker's.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for _, early := range []string{"", "x", strings.Repeat("early", 5000), "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x00\xff\n"} {
		s, got := giving(t, Options{IdleTimeout: 50 * time.Millisecond, HeaderTimeout: 50 * time.Millisecond})
		c := s.dial(t)
		c.send(get("/"), early)
		g := <-got
		if g.err != nil {
			t.Fatal(g.err)
		}
		for len(g.early) < len(early) { // the rest came in another segment
			p := make([]byte, len(early))
			n, err := g.conn.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			g.early += string(p[:n])
		}
		if g.early != early {
			t.Errorf("early is %.50q, want %.50q", g.early, early)
		}
		if n := s.CloseIdle(0); n != 0 || s.Open() != 1 {
			t.Errorf("%d were closed as idle, %d are open", n, s.Open())
		}
		if g.conn.RemoteAddr().String() != c.LocalAddr().String() || g.conn.LocalAddr().String() != c.RemoteAddr().String() {
			t.Error("the addresses are others")
		}
		if _, err := g.conn.Write([]byte("tunnel")); err != nil {
			t.Fatal(err)
		}
		if err := g.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(waitAtMost))
		if rest, err := io.ReadAll(c.TCPConn); err != nil || string(rest) != "tunnel" {
			t.Errorf("the client got %q and %v", rest, err)
		}
		c.send("", "answer")
		p := make([]byte, 10)
		_ = g.conn.SetReadDeadline(time.Now().Add(waitAtMost))
		if n, err := g.conn.Read(p); err != nil || string(p[:n]) != "answer" {
			t.Errorf("the taker got %q and %v", p[:n], err)
		}
		if err := g.conn.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		if n := s.Open(); n != 0 {
			t.Errorf("%d are open", n)
		}
		if err := g.conn.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	}
}

// TestUpgradeDeadlines: they are the socket's own, and none of HTTP's is left.
func TestUpgradeDeadlines(t *testing.T) {
	t.Parallel()
	s, got := giving(t, Options{HeaderTimeout: time.Second, IdleTimeout: time.Second, WriteTimeout: time.Second})
	c := s.dial(t)
	c.send(get("/"), "")
	g := <-got
	defer g.conn.Close()
	for _, set := range []func(time.Time) error{g.conn.SetDeadline, g.conn.SetReadDeadline} {
		_ = set(time.Unix(1, 0))
		var timeout net.Error
		if _, err := g.conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("reading: %v", err)
		}
		_ = set(time.Time{})
	}
	_ = g.conn.SetWriteDeadline(time.Unix(1, 0))
	if _, err := g.conn.Write([]byte("x")); err == nil {
		t.Error("writing past the deadline")
	}
}

// TestUpgradeAmidARequest: a body that was not read would be taken for the tunnel's bytes.
func TestUpgradeAmidARequest(t *testing.T) {
	t.Parallel()
	s, got := giving(t, Options{})
	c := s.dial(t)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", strings.Repeat("x", 9000))
	if g := <-got; !errors.Is(g.err, errUnread) {
		t.Errorf("got %v", g.err)
	}
}

// TestUpgradeAClosedConnection: who was quicker has it.
func TestUpgradeAClosedConnection(t *testing.T) {
	t.Parallel()
	result := make(chan error, 2)
	s := serve(t, Options{}, func(_ *fasthttp.RequestCtx, c *Conn) {
		c.Abort()
		result <- c.Upgrade(func(net.Conn, []byte) { result <- errors.New("it was given away") })
	})
	c := s.dial(t)
	c.send(get("/"), "")
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestCloseAllClosesWhatWasGivenAway: nothing outlives the listener unasked.
func TestCloseAllClosesWhatWasGivenAway(t *testing.T) {
	t.Parallel()
	s, got := giving(t, Options{})
	c := s.dial(t)
	c.send(get("/"), "")
	g := <-got
	if n := s.CloseAll(); n != 1 {
		t.Errorf("%d were closed", n)
	}
	if _, err := g.conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading: %v", err)
	}
	_ = g.conn.Close()
}
