package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// checksPerConnection is how many checks one connection carries at most: those that
// stand say nothing of whether new ones are accepted. A new one costs as much as five checks: at
// 16 it was a quarter of the cost of ten thousand endpoints.
const checksPerConnection = 64

// probe checks the health of one endpoint. It keeps one connection of its own from one
// check to the next, so that a check never waits for requests, nor they for it. The
// reader is lent for each check: ten thousand idle connections hold no buffers.
type probe struct {
	pool    *pool // the endpoint's; none of its connections is used
	how     *upstream.HealthCheck
	request []byte

	ctx    context.Context // done when the probe was closed
	cancel context.CancelFunc

	used int // checks that conn has carried; written by the check alone

	mu     sync.Mutex // taken when conn changes, and by Close
	conn   *conn      // kept, or in use; nil: none
	closed bool
}

// probeReader is what a check reads with.
type probeReader struct {
	br     *bufio.Reader
	chunks wire.ChunkedReader
	body   [upstream.BodyPrefix]byte
}

func newProbeReader() *probeReader { return &probeReader{br: bufio.NewReaderSize(nil, answerBuffer)} }

// Probe returns what checks e. It connects to nothing yet. It implements upstream.Prober.
func (p *Proxy) Probe(e *upstream.Endpoint, how *upstream.HealthCheck) upstream.Probe {
	b := &probe{pool: e.Connections().(*pool), how: how}
	b.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: gateway-health-check\r\nAccept: */*\r\n", how.Path, e.HostHeader)
	if !b.pool.settings.Keepalive {
		b.request = append(b.request, "Connection: close\r\n"...)
	}
	b.request = append(b.request, crlf...)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Close ends a check under way and closes the connection. It implements upstream.Probe.
func (b *probe) Close() {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.conn != nil {
		b.conn.close()
		b.conn = nil
	}
}

// Check checks the endpoint until due. It implements upstream.Probe.
func (b *probe) Check(due int64) (upstream.Outcome, error) {
	if b.how.TCP {
		return b.connects(due)
	}
	r := b.pool.proxy.readers.Get().(*probeReader)
	defer func() {
		r.br.Reset(nil)
		b.pool.proxy.readers.Put(r)
	}()
	for {
		c, outcome, err := b.take(r, due)
		if err != nil {
			return outcome, err
		}
		whole, outcome, err := b.ask(c, r, due)
		answered := c.br.Buffered() > 0 || c.answer.Head().Status > 0
		if !c.reused || outcome != upstream.Broken || answered {
			b.giveBack(c, whole)
			return outcome, err
		}
		// The endpoint closed what was idle: only a new connection tells more.
		b.drop(c)
	}
}

// connects checks that the endpoint takes a connection.
func (b *probe) connects(due int64) (upstream.Outcome, error) {
	c, outcome, err := b.dial(due)
	if err == nil {
		b.drop(c)
	}
	return outcome, err
}

// take returns the connection that was kept, or a new one with its handshake made.
func (b *probe) take(r *probeReader, due int64) (*conn, upstream.Outcome, error) {
	b.mu.Lock()
	c := b.conn
	b.mu.Unlock()
	if c != nil {
		c.lend(r.br)
		return c, upstream.Passed, nil
	}
	c, outcome, err := b.dial(due)
	if err != nil {
		return nil, outcome, err
	}
	c.lend(r.br)
	if b.pool.sealing == nil {
		return c, upstream.Passed, nil
	}
	if err := b.pool.sealing.shake(c, due); err != nil {
		b.drop(c)
		if errors.Is(err, errTimeout) {
			return nil, upstream.TimedOut, err
		}
		return nil, upstream.NotSecured, err
	}
	return c, upstream.Passed, nil
}

// lend makes br the reader of c.
func (c *conn) lend(br *bufio.Reader) {
	c.br = br
	if c.secure != nil {
		br.Reset(c.secure)
		return
	}
	br.Reset(c)
}

// dial opens a connection, as pool.dial does, and notes it for Close.
func (b *probe) dial(due int64) (*conn, upstream.Outcome, error) {
	timeout := time.Duration(due - b.pool.proxy.clock.Mono())
	if timeout <= 0 {
		return nil, upstream.TimedOut, fmt.Errorf("connecting to %s: %w", b.pool.address, errTimeout)
	}
	dialer := net.Dialer{Timeout: timeout, Control: b.pool.proxy.control, KeepAlive: -1} // each check asks more than a keep-alive would
	nc, err := dialer.DialContext(b.ctx, "tcp", b.pool.address)
	if err != nil {
		outcome := upstream.NotConnected
		if isTimeout(err) {
			outcome = upstream.TimedOut
		}
		return nil, outcome, fmt.Errorf("connecting to %s: %w", b.pool.address, err)
	}
	c, err := bareConn(b.pool, nc.(*net.TCPConn))
	if err == nil && !b.keep(c) {
		err = errClosed
	}
	if err != nil {
		_ = nc.Close()
		return nil, upstream.Broken, err
	}
	b.used = 0
	return c, upstream.Passed, nil
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// keep notes c for Close; false says that it comes too late.
func (b *probe) keep(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.conn = c
	return true
}

// drop closes c.
func (b *probe) drop(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.secure != nil {
		c.secure.farewell()
	}
	c.close()
	b.conn = nil
}

// giveBack keeps c for the next check if its answer was read whole and nothing speaks
// against it, as trip.giveBack does.
func (b *probe) giveBack(c *conn, whole bool) {
	b.used++
	if !whole || c.cut || c.answer.Head().Close || !b.pool.settings.Keepalive || b.used >= checksPerConnection ||
		c.br.Buffered() > 0 || c.secure != nil && !c.secure.atRest() {
		b.drop(c)
		return
	}
	c.br, c.reused = nil, true
}

// ask sends the request and judges the answer; whole says that it was read to its end.
// Redirects are not followed: their status is judged like any other.
func (b *probe) ask(c *conn, r *probeReader, due int64) (whole bool, outcome upstream.Outcome, err error) {
	c.sent, c.cut = false, false
	c.readDue, c.writeDue = due, due
	c.request(b.request)
	if err := b.readHead(c); err != nil {
		outcome, err = b.lost(c, err)
		return false, outcome, err
	}
	head := c.answer.Head()
	if !b.how.Statuses.Has(head.Status) {
		whole, _ = b.skip(r, head) // the status has said enough
		return whole, upstream.WrongStatus, fmt.Errorf("it answered %d; want %s", head.Status, b.how.Statuses.String())
	}
	found := true
	if b.how.Body == "" {
		whole, err = b.skip(r, head)
	} else {
		whole, found, err = b.search(r, head)
	}
	switch {
	case err != nil:
		outcome, err = b.lost(c, fmt.Errorf("reading the answer's body: %w", err))
		return false, outcome, err
	case !found:
		return whole, upstream.WrongBody, fmt.Errorf("its body does not hold %q within the first %d KiB", b.how.Body, upstream.BodyPrefix>>10)
	default:
		return whole, upstream.Passed, nil
	}
}

// readHead reads answers until the final one's head is taken from the reader.
func (b *probe) readHead(c *conn) error {
	for range maximumInterim {
		if err := c.scanHead(b.pool.proxy.limits); err != nil {
			return err
		}
		head := c.answer.Head()
		if head.Status == fasthttp.StatusSwitchingProtocols {
			return errUpgrade
		}
		_, _ = c.br.Discard(head.Bytes) // it is buffered
		if head.Status >= fasthttp.StatusOK {
			return nil
		}
	}
	return errInterim
}

// lost says what became of a check whose answer could not be read.
func (b *probe) lost(c *conn, err error) (upstream.Outcome, error) {
	switch {
	case errors.Is(err, errTimeout):
		return upstream.TimedOut, fmt.Errorf("waiting for %s: %w", b.pool.address, err)
	case c.late(err):
		return upstream.NotSecured, b.pool.sealing.refused(c, err)
	case malformed(err):
		return upstream.Malformed, err
	default:
		return upstream.Broken, fmt.Errorf("talking to %s: %w", b.pool.address, err)
	}
}

// skip reads past a body that is short, or here already, and says whether it did. For
// all others a new connection is cheaper than their end.
func (b *probe) skip(r *probeReader, head *wire.ResponseHead) (whole bool, err error) {
	switch length := head.ContentLength; {
	case noBody(head.Status, false):
		return head.Status != fasthttp.StatusNoContent || length <= 0 && length != chunked, nil
	case length >= 0 && length <= upstream.BodyPrefix:
		n, err := r.br.Discard(int(length))
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n == int(length), err
	case length == chunked:
		if _, here := wholeChunks(r.br); here {
			r.chunks.Reset(r.br, b.pool.proxy.limits)
			for err == nil {
				_, err = r.chunks.Read(r.body[:])
			}
			return err == io.EOF, nil
		}
	}
	return false, nil
}

// search looks for the text in the body, and reads no further than it has to.
func (b *probe) search(r *probeReader, head *wire.ResponseHead) (whole, found bool, err error) {
	source, left := io.Reader(r.br), head.ContentLength
	switch {
	case noBody(head.Status, false):
		return left <= 0 && left != chunked, false, nil
	case left == chunked:
		r.chunks.Reset(r.br, b.pool.proxy.limits)
		source = &r.chunks
	case left < 0:
		left = math.MaxInt64 // it ends with the connection
	}
	text := []byte(b.how.Body)
	for n := 0; n < len(r.body) && left != 0; {
		room := r.body[n:]
		if left > 0 {
			room = room[:min(int64(len(room)), left)]
		}
		m, err := source.Read(room)
		if left > 0 {
			left -= int64(m)
		}
		from := max(n-len(text)+1, 0)
		if n += m; bytes.Contains(r.body[from:n], text) {
			return b.rest(r, left), true, nil
		}
		switch {
		case err == io.EOF && head.ContentLength >= 0:
			return false, false, io.ErrUnexpectedEOF
		case err == io.EOF:
			return head.ContentLength == chunked, false, nil
		case err != nil:
			return false, false, err
		}
	}
	return left == 0, false, nil
}

// rest takes the end of a body off the reader if it stands there, and says whether it
// does; left is how much there is, or chunked.
func (b *probe) rest(r *probeReader, left int64) bool {
	here := r.br.Buffered()
	if left == chunked {
		end, _ := r.br.Peek(here) // what is buffered can be peeked
		left = int64(here)
		if string(end) != "\r\n0\r\n\r\n" {
			return false
		}
	}
	if left > int64(here) {
		return false
	}
	_, _ = r.br.Discard(int(left)) // as above
	return true
}

var (
	_ upstream.Prober = (*Proxy)(nil)
	_ upstream.Probe  = (*probe)(nil)
)
