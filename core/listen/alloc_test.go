//go:build !race

package listen

import (
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
