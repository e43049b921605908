package listen

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"
)

// requests that echo answers, with their answers.
var requests = []struct{ send, want string }{
	{get("/a"), "200 /a -2 []"},
	{post("/b", "body of b"), "200 /b 9 [body of b]"},
	{postChunked("/c") + "4\r\nbody\r\n5\r\n of c\r\n0\r\n\r\n", "200 /c -1 [body of c]"},
	{post("/d", strings.Repeat("d", 40_000)), "200 /d 40000 [" + strings.Repeat("d", 40_000) + "]"},
	{get("/e?x=" + strings.Repeat("y", 300)), "200 /e?x=" + strings.Repeat("y", 300) + " -2 []"},
	{post("/f", ""), "200 /f 0 []"},
	{postChunked("/g") + "0\r\n\r\n", "200 /g -1 []"},
	{"\r\n" + get("/h"), "200 /h -2 []"},
	{postChunked("/i") + "2;x=y\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n", "200 /i -1 [ab]"},
}

// TestPipelinedInOrder: many requests in one segment are served one after the
// other, each with its own head.
func TestPipelinedInOrder(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	c := s.dial(t)
	var all strings.Builder
	for range 3 {
		for _, r := range requests {
			all.WriteString(r.send)
		}
	}
	go func() { _, _ = io.WriteString(c.TCPConn, all.String()) }() // ends with the connection
	for range 3 {
		for _, r := range requests {
			if got := c.answer(); got != r.want {
				t.Fatalf("got %.80q, want %.80q", got, r.want)
			}
		}
	}
}

// TestAnySplit: however the bytes arrive, the answers are the same.
func TestAnySplit(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	rapid.Check(t, func(rt *rapid.T) {
		picked := rapid.SliceOfN(rapid.SampledFrom(requests), 1, 5).Draw(rt, "requests")
		var all strings.Builder
		for _, r := range picked {
			all.WriteString(r.send)
		}
		c := s.dial(t)
		defer c.Close()
		rest := all.String()
		sizes := rapid.SliceOfN(rapid.IntRange(1, 200), 0, 12).Draw(rt, "segments")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for _, n := range sizes {
				n = min(n, len(rest))
				_, _ = io.WriteString(c.TCPConn, rest[:n]) // the answers tell
				rest = rest[n:]
			}
			_, _ = io.WriteString(c.TCPConn, rest) // as above
		}()
		for _, r := range picked {
			if got := c.answer(); got != r.want {
				rt.Fatalf("got %.80q, want %.80q", got, r.want)
			}
		}
		<-sent
	})
}

// TestC2_AnswerBeforeLaterInterim: a 1xx of a pipelined request never overtakes
// the answer before it.
func TestC2_AnswerBeforeLaterInterim(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		if string(ctx.Path()) == "/hints" {
			var h fasthttp.ResponseHeader
			h.Set("Link", "</style.css>; rel=preload")
			h.Set("Connection", "close")
			h.Set("Content-Length", "5")
			if err := c.Interim(103, &h); err != nil {
				t.Errorf("Interim: %v", err)
			}
		}
		ctx.SetBodyString(string(ctx.Path()))
	})
	c := s.dial(t)
	c.send(get("/first"), get("/hints"), get("/last"))
	var got []string
	got = append(got, c.answer())
	got = append(got, strings.Join(c.head(), "|"))
	got = append(got, c.answer(), c.answer())
	want := "200 /first,HTTP/1.1 103 Early Hints|Link: </style.css>; rel=preload,200 /hints,200 /last"
	if strings.Join(got, ",") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ","), want)
	}
}

func TestInterim(t *testing.T) {
	t.Parallel()
	var h fasthttp.ResponseHeader
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		for _, status := range []int{99, 101, 200} {
			if err := c.Interim(status, &h); err == nil {
				t.Errorf("Interim(%d) was sent", status)
			}
		}
		if err := c.Interim(102, &h); err != nil {
			t.Errorf("Interim: %v", err)
		}
		if string(ctx.Path()) == "/gone" {
			_ = c.Close()
			if err := c.Interim(102, &h); err == nil {
				t.Error("Interim on a closed connection did not fail")
			}
		}
	})
	c := s.dial(t)
	c.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
	if got := c.code(); got != "200" {
		t.Errorf("an HTTP/1.0 client got %s", got)
	}
	c.send(get("/"))
	if got := strings.Join(c.head(), "|"); got != "HTTP/1.1 102 Processing" {
		t.Errorf("got %q", got)
	}
	if got := c.code(); got != "200" {
		t.Errorf("got %s", got)
	}
	c.send(get("/gone"))
	if got := strings.Join(c.head(), "|"); got != "HTTP/1.1 102 Processing" {
		t.Errorf("got %q", got)
	}
	c.ends()
}

// bad are messages that must be refused, whole and in any split.
var bad = []struct{ name, send string }{
	{"first byte", "\x00ET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"after an empty line", "\r\nGET / HTTP/1.1\nHost: a\n\n"},
	{"after two empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"after a bare CR", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	{"bare LF", "GET / HTTP/1.1\nHost: a\n\n"},
	{"at the blank line", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n"},
	{"both framings", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n"},
}

// TestC2_RefusedBeforeTheHandler: the client gets its 400, whatever number the
// request has on the connection, and nothing behind it is executed.
func TestC2_RefusedBeforeTheHandler(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1, 3} {
		for _, b := range bad {
			t.Run(fmt.Sprintf("%s after %d", b.name, before), func(t *testing.T) {
				t.Parallel()
				s := serve(t, Options{}, echo)
				c := s.dial(t)
				c.send(strings.Repeat(get("/ok"), before), b.send, get("/smuggled"))
				for range before {
					if got := c.answer(); got != "200 /ok -2 []" {
						t.Fatalf("got %q", got)
					}
				}
				if got := c.code(); got != "400 violation" {
					t.Errorf("got %q", got)
				}
				c.ends()
				if n := s.handled.Load(); n != int64(before) {
					t.Errorf("the handler ran %d times, want %d", n, before)
				}
				if n := s.NonConforming(); n != 1 {
					t.Errorf("counted %d violations", n)
				}
			})
		}
	}
}

// TestC2_RefusedByteByByte: the verdict does not depend on how the bytes arrive.
func TestC2_RefusedByteByByte(t *testing.T) {
	t.Parallel()
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, Options{}, echo)
			c := s.dial(t)
			c.send(get("/ok"))
			if got := c.code(); got != "200" {
				t.Fatalf("got %q", got)
			}
			for i := range len(b.send) {
				if _, err := c.Write([]byte{b.send[i]}); err != nil {
					break // it was refused already
				}
				time.Sleep(100 * time.Microsecond) // so that segments differ; nothing depends on it
			}
			if got := c.code(); got != "400 violation" {
				t.Errorf("got %q", got)
			}
			if n := s.handled.Load(); n != 1 {
				t.Errorf("the handler ran %d times", n)
			}
		})
	}
}

// TestC2_BadBody: a violation that came with the head is answered before the
// handler; a later one ends the body with an error.
func TestC2_BadBody(t *testing.T) {
	t.Parallel()
	inHandler := make(chan struct{}, 1)
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		inHandler <- struct{}{}
		echo(ctx, c)
	})
	c := s.dial(t)
	c.send(postChunked("/a"), "3\r\nabc\r\nzz\r\n")
	if got := c.code(); got != "400 violation" {
		t.Errorf("together: %q", got)
	}
	c.ends()
	if n := s.handled.Load(); n != 0 {
		t.Errorf("the handler ran")
	}
	c = s.dial(t)
	c.send(postChunked("/b"), "3\r\nabc\r\n")
	<-inHandler
	c.send("3\r\nabc\r\nzz\r\n", get("/smuggled"))
	if got := c.code(); !strings.HasPrefix(got, "400 body: ") || strings.Contains(got, "<nil>") {
		t.Errorf("later: %q", got)
	}
	c.ends()
	if n := s.handled.Load(); n != 1 {
		t.Errorf("the handler ran %d times", n)
	}
}

// TestTruncated: a request that the client ended early is known as such, also
// where the parser takes it for a whole one.
func TestTruncated(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, send string
		looksWhole bool // to the parser, whatever Read says
	}{
		{"chunked, at a chunk's end", postChunked("/") + "3\r\nabc\r\n", false},
		{"chunked, inside a chunk", postChunked("/") + "3\r\nab", false},
		{"chunked, last line end missing", postChunked("/") + "3\r\nabc\r\n0\r\n", true},
		{"Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 10000), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			type seen struct {
				read, kept error
				truncated  bool
			}
			result := make(chan seen, 1)
			s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
				if c.Truncated() {
					t.Error("truncated before the body was read")
				}
				_, err := io.Copy(io.Discard, ctx.RequestBodyStream())
				result <- seen{err, c.Err(), c.Truncated()}
			})
			c := s.dial(t)
			c.send(tt.send)
			eventually(t, "the handler runs", func() bool { return s.handled.Load() == 1 })
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got := <-result
			if !got.truncated || got.kept != io.ErrUnexpectedEOF {
				t.Errorf("got %+v", got)
			}
			if (got.read == nil) != tt.looksWhole {
				t.Errorf("the parser says %v", got.read)
			}
			if n := s.handled.Load(); n != 1 {
				t.Errorf("the handler ran %d times", n)
			}
		})
	}
}

// TestTruncatedHead: half a head is an error, nothing at all is not.
func TestTruncatedHead(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	c := s.dial(t)
	c.send("GET / HTTP/1.1\r\nHo")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.code(); got != "400 other" {
		t.Errorf("got %q", got)
	}
	c.ends()

	c = s.dial(t)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.ends()

	c = s.dial(t)
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "the reset connection ends", func() bool { return s.Open() == 0 })
	if n := s.refused.Load(); n != 1 {
		t.Errorf("%d faults; a connection without a request is none", n)
	}
}

// TestHeadStays: while a handler runs, its head is its own, though the next
// message waits behind it.
func TestHeadStays(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		if !c.holding.Load() && string(ctx.Path()) == "/1" {
			t.Error("the second request is not held back")
		}
		if got, want := c.Head().ContentLength, int64(ctx.Request.Header.ContentLength()); got != want {
			t.Errorf("%s: head says %d, the parser %d", ctx.Path(), got, want)
		}
	})
	c := s.dial(t)
	c.send(post("/1", "abc"), post("/2", "abcdef"), postChunked("/3"), "0\r\n\r\n")
	for range 3 {
		if got := c.code(); got != "200" {
			t.Errorf("got %q", got)
		}
	}
}

// TestPX4_Continue: a body that waits for 100 is let through after it, and the
// connection goes on.
func TestPX4_Continue(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{BodyTimeout: slow}, echo)
	c := s.dial(t)
	for range 2 {
		c.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
		if got := strings.Join(c.head(), "|"); got != "HTTP/1.1 100 Continue" {
			t.Errorf("got %q", got)
		}
		c.send("body", get("/next"))
		for _, want := range []string{"200 /e 4 [body]", "200 /next -2 []"} {
			if got := c.answer(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
}
