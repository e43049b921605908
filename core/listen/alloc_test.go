//go:build !race

package listen

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// TestAllocsKeepAliveGet0 counts over the whole process: the client, the
// connection and fasthttp above it. It runs alone, so that nothing else counts.
func TestAllocsKeepAliveGet0(t *testing.T) {
	s := serve(t, Options{HeaderTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: time.Minute},
		func(ctx *fasthttp.RequestCtx, c *Conn) {
			if c.Gone() || c.Truncated() || c.RemoteAddrPort().Port() == 0 {
				t.Error("gone")
			}
			ctx.Response.SetBodyString("hello")
		})
	c := s.dial(t)
	for _, r := range []struct{ name, send string }{
		{"one at a time", get("/")},
		{"two pipelined", get("/") + get("/two")},
	} {
		send := []byte(r.send)
		c.send(r.send)
		answer := 0
		for range len(r.send) / len(get("/")) {
			for _, line := range c.head() {
				answer += len(line) + 2
			}
			if _, err := io.CopyN(io.Discard, c.r, 5); err != nil {
				t.Fatal(err)
			}
			answer += 2 + 5
		}
		room := make([]byte, answer)
		n := testing.AllocsPerRun(300, func() {
			if _, err := c.Write(send); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.TCPConn, room); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: allocates %v times", r.name, n)
		}
	}
}

// TestAllocsSecureGet0: over TLS a request allocates what crypto/tls itself does for
// the same bytes, and nothing beside it.
func TestAllocsSecureGet0(t *testing.T) {
	s, config := overTLS(t, Options{HeaderTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: time.Minute},
		func(ctx *fasthttp.RequestCtx, c *Conn) {
			if c.Gone() || c.Truncated() || !ctx.IsTLS() || c.TLS() == nil || !c.Serves(ctx.Host()) {
				t.Error("gone")
			}
			ctx.Response.SetBodyString("hello")
		})
	c := s.secureDial(t, config)
	send := []byte(get("/"))
	c.send(get("/"))
	size := 2 + 5
	for _, line := range c.head() {
		size += len(line) + 2
	}
	if _, err := io.CopyN(io.Discard, c.r, 5); err != nil {
		t.Fatal(err)
	}
	room := make([]byte, size)
	exchange := func(conn io.ReadWriter) func() {
		return func() {
			if _, err := conn.Write(send); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, room); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours := testing.AllocsPerRun(300, exchange(c.secure))
	bare := testing.AllocsPerRun(300, exchange(bareTLS(t, s, config, size)))
	t.Logf("%v allocations with the listener, %v with crypto/tls alone", ours, bare)
	if ours > bare {
		t.Errorf("allocates %v times, crypto/tls alone %v times", ours, bare)
	}
}

// bareTLS is a connection to nothing but crypto/tls, which answers size bytes to
// each record.
func bareTLS(t *testing.T, s *server, config *tls.Config, size int) *tls.Conn {
	shown := &tls.Config{Certificates: s.Credentials().first.config.Certificates}
	l, err := tls.Listen("tcp", "127.0.0.1:0", shown)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		room, answer := make([]byte, 4096), make([]byte, size)
		for {
			if _, err := c.Read(room); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = l.Close()
		<-done
	})
	return c
}
