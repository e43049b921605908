package chaos

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// The sizes of bodies in bytes. The routes buffer 4 KiB, so that a small body is
// buffered and a long one streams.
const (
	smallBody = 200
	longBody  = 16 << 10
	slowBody  = 48 << 10
	hugeBody  = 16 << 20 // more than all buffers on the way hold
)

// body is n bytes that tell where they stood.
func body(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()[:n]
}

// endpoint answers by path. What it sends in two halves waits between them until
// the cell lets it go on.
type endpoint struct {
	*gatewaytest.Origin
	received atomic.Int64 // bytes, since the fault was prepared
	stays    bool         // it never closes a connection by itself: that would break a silence
	goOn     chan struct{}
	proceed  func() // closes goOn; may be called again
}

func newEndpoint(t testing.TB, stays bool) *endpoint {
	e := &endpoint{stays: stays, goOn: make(chan struct{})}
	e.proceed = sync.OnceFunc(func() { close(e.goOn) })
	e.Origin = gatewaytest.NewRawOrigin(t, e.serve)
	t.Cleanup(e.proceed) // before the origin closes, which waits for its connections
	return e
}

func (e *endpoint) serve(c *gatewaytest.OriginConn) {
	c.R = bufio.NewReader(io.TeeReader(c.Conn, counter{&e.received}))
	for {
		request, err := c.ReadRequest()
		if err != nil {
			return
		}
		method, rest, _ := strings.Cut(request, " ")
		path, _, _ := strings.Cut(rest, " ")
		if !e.answer(c, method, path[strings.LastIndexByte(path, '/')+1:]) {
			return
		}
	}
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// answer returns whether the connection may carry another request.
func (e *endpoint) answer(c io.ReadWriter, method, what string) bool {
	send := func(s string) bool {
		_, err := io.WriteString(c, s)
		return err == nil
	}
	halves := func(head, body string) bool {
		if !send(head + body[:len(body)/2]) {
			return false
		}
		<-e.goOn
		return send(body[len(body)/2:])
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	switch {
	case method == "HEAD":
		return send(ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", smallBody))
	case what == "long":
		return halves(ok+fmt.Sprintf("Content-Length: %d\r\n\r\n", longBody), body(longBody))
	case what == "slow":
		return halves(ok+fmt.Sprintf("Content-Length: %d\r\n\r\n", slowBody), body(slowBody))
	case what == "huge":
		// Nobody reads it to its end. What body makes of such a length takes a busy machine,
		// under the race detector, longer than the gateway waits for a head.
		return halves(ok+fmt.Sprintf("Content-Length: %d\r\n\r\n", hugeBody), strings.Repeat("x", hugeBody))
	case what == "chunked":
		return halves(ok+"Transfer-Encoding: chunked\r\n\r\n", chunk(body(longBody/2))+chunk(body(longBody)[longBody/2:])) && send("0\r\n\r\n")
	case what == "close":
		if halves(ok+"Connection: close\r\n\r\n", body(longBody)) && e.stays {
			waitForEnd(c)
		}
		return false
	case what == "events":
		const stream = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
		if halves(ok+stream, chunk(event)+chunk(event)) {
			waitForEnd(c)
		}
		return false
	default:
		return send(ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", smallBody) + body(smallBody))
	}
}

// waitForEnd returns when the gateway, which has nothing more to say, closes c.
func waitForEnd(c io.Reader) { _, _ = c.Read(make([]byte, 1)) }

// event is one server-sent event.
const event = "data: something happened to the one who waits for it\n\n"

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
