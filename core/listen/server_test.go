package listen

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's clock lives as long as the process, and the cleaner of a
		// worker pool sleeps on for 10 s after its server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// waitAtMost bounds every wait of these tests; none waits that long.
const waitAtMost = 20 * time.Second

var roomy = wire.Limits{URI: 8 << 10, Header: 16 << 10, Headers: 100}

// server is a real fasthttp.Server on a Listener, set up as the gateway's.
type server struct {
	*Listener
	handled atomic.Int64 // calls of the handler
	refused atomic.Int64 // calls of the error handler
}

// serve starts one; it is stopped, and all it started awaited, when the test ends.
func serve(t testing.TB, o Options, h func(*fasthttp.RequestCtx, *Conn)) *server {
	t.Helper()
	if o.Limits == (wire.Limits{}) {
		o.Limits = roomy
	}
	if o.Name == "" {
		o.Name = "public"
	}
	l, err := Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: l}
	fast := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			s.handled.Add(1)
			c := ConnOf(ctx.Conn())
			h(ctx, c)
			if !ctx.Response.IsBodyStream() {
				c.HoldAnswer()
			}
		},
		ErrorHandler: func(ctx *fasthttp.RequestCtx, err error) {
			s.refused.Add(1)
			fault.Write(&ctx.Response, faultOf(err), nil)
		},
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		LazyRequestTime:              true,
		ReadBufferSize:               17 << 10,
		Logger:                       quiet{},
	}
	var done sync.WaitGroup
	done.Go(func() {
		if err := fast.Serve(l); err != nil {
			t.Errorf("Serve returned: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing the listener: %v", err)
		}
		l.CloseAll()
		done.Wait()
		eventually(t, "the connections end", func() bool { return fast.GetOpenConnectionsCount() <= 0 && l.Open() == 0 })
	})
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func faultOf(err error) fault.Fault {
	var violation *wire.Violation
	if errors.As(err, &violation) {
		return fault.BadRequest.Detail("violation")
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fault.RequestTimeout
	}
	return fault.BadRequest.Detail("other")
}

// eventually waits for a state, never for a time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitAtMost); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// client is a raw connection that speaks bytes.
type client struct {
	*net.TCPConn
	t      testing.TB
	w      io.Writer
	r      *bufio.Reader
	secure *tls.Conn // nil if plain
	wire   *recording
}

func (s *server) dial(t testing.TB) *client {
	t.Helper()
	return dialAddr(t, s.Addr().String())
}

func dialAddr(t testing.TB, address string) *client {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitAtMost)); err != nil {
		t.Fatal(err)
	}
	return &client{TCPConn: c.(*net.TCPConn), t: t, w: c, r: bufio.NewReader(c)}
}

func (c *client) send(parts ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.w, strings.Join(parts, "")); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// head reads one head, status line and fields, without its line ends.
func (c *client) head() []string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("reading a head after %q: %v", lines, err)
		}
		if line = strings.TrimSuffix(line, "\r\n"); line == "" {
			return lines
		}
		lines = append(lines, line)
	}
}

// answer reads one answer with a Content-Length: "200 body".
func (c *client) answer() string {
	c.t.Helper()
	lines := c.head()
	status := strings.Fields(lines[0])[1]
	length := 0
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, "Content-Length: "); ok {
			if _, err := fmt.Sscan(v, &length); err != nil {
				c.t.Fatalf("%q: %v", l, err)
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.r, body); err != nil {
		c.t.Fatalf("reading the body of %q: %v", lines, err)
	}
	return status + " " + string(body)
}

// code reads one answer and returns its status, and the fault's detail if it has one.
func (c *client) code() string {
	c.t.Helper()
	status, body, _ := strings.Cut(c.answer(), " ")
	if _, detail, ok := strings.Cut(body, `"detail":"`); ok {
		detail, _, _ = strings.Cut(detail, `"`)
		return status + " " + detail
	}
	return status
}

// ends wants the connection to be closed, with nothing left to read.
func (c *client) ends() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if err != nil || len(rest) > 0 {
		c.t.Fatalf("want the end of the connection, got %q, %v", rest, err)
	}
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func postChunked(path string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
}

// echo answers with the path, what the scanner found and the body.
func echo(ctx *fasthttp.RequestCtx, c *Conn) {
	var body []byte
	if stream := ctx.RequestBodyStream(); stream != nil {
		var err error
		if body, err = io.ReadAll(stream); err != nil {
			fault.Write(&ctx.Response, fault.BadRequest.Detail(fmt.Sprintf("body: %v", c.Err())), nil)
			return
		}
	}
	fmt.Fprintf(ctx, "%s %d [%s]", ctx.RequestURI(), c.Head().ContentLength, bytes.TrimSpace(body))
}
