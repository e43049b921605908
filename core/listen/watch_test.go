package listen

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/socket"
)

// trusting serves, and returns a client whose connection is waited for blindly
// from its next request on, with that connection.
func trusting(t *testing.T, h func(*fasthttp.RequestCtx)) (*server, *client, *Conn) {
	t.Helper()
	var conn atomic.Pointer[Conn]
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		conn.Store(c)
		if string(ctx.Path()) != "/quiet" {
			h(ctx)
		}
	})
	c := s.dial(t)
	for range looksFirst {
		c.send(get("/quiet"))
		c.answer()
	}
	return s, c, conn.Load()
}

// waitsBlindly says whether the connection is in a wait that nothing was looked for in.
func waitsBlindly(c *Conn) bool { return c.stream.wait.Load()%2 == 1 }

func TestBlindWait(t *testing.T) {
	t.Parallel()
	s, c, conn := trusting(t, func(*fasthttp.RequestCtx) {})
	if waitsBlindly(conn) {
		t.Error("the connection was trusted too soon")
	}
	for range 100 {
		c.send(get("/"))
		c.answer()
	}
	if n := s.handled.Load(); n != 100+looksFirst {
		t.Errorf("%d requests were handled", n)
	}
	// On a machine that is busy the watch may come to distrust it for a while.
	eventually(t, "the next request is waited for blindly", func() bool {
		c.send(get("/"))
		c.answer()
		return waitsBlindly(conn)
	})
}

// TestEarlyRequest sends a request while the one before is answered, for the first
// time on a connection that is trusted. It is answered whether the poller has
// announced it before the wait, when the watch must find it, or after.
func TestEarlyRequest(t *testing.T) {
	t.Parallel()
	found := false
	for range 100 {
		entered, proceed := make(chan struct{}), make(chan struct{})
		s, c, conn := trusting(t, func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/slow" {
				entered <- struct{}{}
				<-proceed
			}
		})
		other := s.dial(t)
		pipeline := func() {
			c.send(get("/slow"))
			<-entered
			c.send(get("/early"))
			eventually(t, "the early request is here", func() bool { return conn.lookNow() == socket.Bytes })
			// What the poller announces later has come after it.
			other.send(get("/quiet"))
			other.answer()
			proceed <- struct{}{}
			c.answer()
			c.answer()
		}
		pipeline()
		found = conn.stream.distrust.Load() > 0
		before := conn.stream.wait.Load()
		pipeline()
		if found && conn.stream.wait.Load() != before {
			t.Error("a client that was early before is waited for blindly")
		}
		if n := s.handled.Load(); n != 6+looksFirst {
			t.Errorf("%d requests were handled", n)
		}
		if found {
			return
		}
	}
	t.Error("the watch never had to look")
}

// TestEarlyFromTheStart pipelines on a new connection, which nobody trusts.
func TestEarlyFromTheStart(t *testing.T) {
	t.Parallel()
	var conn atomic.Pointer[Conn]
	entered, proceed := make(chan struct{}), make(chan struct{})
	s := serve(t, Options{}, func(_ *fasthttp.RequestCtx, c *Conn) {
		conn.Store(c)
		entered <- struct{}{}
		<-proceed
	})
	c := s.dial(t)
	c.send(get("/1"))
	for range 20 {
		<-entered
		c.send(get("/2"))
		proceed <- struct{}{}
		c.answer()
	}
	<-entered
	proceed <- struct{}{}
	c.answer()
	if wait := conn.Load().stream.wait.Load(); wait != 0 {
		t.Errorf("it was waited for blindly, %d", wait)
	}
}

// TestEarlyEnd leaves while the answer is made: no byte announces it afterwards.
func TestEarlyEnd(t *testing.T) {
	t.Parallel()
	entered, proceed := make(chan struct{}), make(chan struct{})
	s, c, _ := trusting(t, func(*fasthttp.RequestCtx) {
		entered <- struct{}{}
		<-proceed
	})
	c.send(get("/"))
	<-entered
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	proceed <- struct{}{}
	c.answer()
	c.ends()
	eventually(t, "the connection is forgotten", func() bool { return s.Open() == 0 })
}

// TestHeldAnswerToAClientThatDoesNotRead fills the client's buffers with short
// answers until the kernel takes only a part of one.
func TestHeldAnswerToAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", mostHeld-500)
	s, c, conn := trusting(t, func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyString(body) })
	if err := conn.Unwrap().SetWriteBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	stuck := func() bool { return !waitsBlindly(conn) }
	sent := 0
	for deadline := looksFirst + 10_000; sent < deadline; sent++ {
		c.send(get("/"))
		handled := int64(sent + 1 + looksFirst)
		eventually(t, "the request is handled", func() bool { return s.handled.Load() == handled })
		settled := 0
		eventually(t, "the answer is out, or stuck", func() bool {
			settled++
			return waitsBlindly(conn) || settled > 50
		})
		if stuck() {
			sent++
			break
		}
	}
	if !stuck() {
		t.Fatal("the client's buffers never filled")
	}
	want := bytes.Repeat([]byte(body), sent)
	var got bytes.Buffer
	for range sent {
		got.WriteString(c.body(t))
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("the answers arrived damaged")
	}
	c.send(get("/"))
	c.body(t)
}

// body reads an answer with a length and returns its body.
func (c *client) body(t *testing.T) string {
	t.Helper()
	var r fasthttp.Response
	if err := r.Read(c.r); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return string(r.Body())
}
