package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/socket"
	"github.com/suuupra/gateway/core/wire"
)

// answerBuffer is the size of a connection's read buffer in bytes. An answer's
// head must fit into it.
const answerBuffer = 16 << 10

// What a connection can fail with, beside the errors of the network.
var (
	// errStale says that a pooled connection had been closed by the service
	// before anything was written to it.
	errStale = errors.New("the pooled connection was closed")
	// errStray says that bytes nobody had asked for stood on a pooled connection.
	errStray = errors.New("unsolicited bytes on a pooled connection")
	// errTimeout says that a wait ended at its deadline.
	errTimeout = errors.New("deadline exceeded")
	// errClientGone says that the sweeper closed the connection because nobody
	// waits for its answer any more.
	errClientGone = errors.New("the client went away")
)

// conn is one connection to an endpoint. It belongs to one exchange at a time,
// or to its pool; only the sweeper looks at it besides, through watch.
//
// Deadlines of the network are armed lazily: the armed one stays as long as it
// is not later than the one that is due, and when it fires early it is armed
// again. A busy connection so arms one in many requests.
type conn struct {
	pool  *pool
	clock clock.Clock
	nc    *net.TCPConn
	raw   syscall.RawConn
	br    *bufio.Reader

	answer wire.ResponseScanner
	chunks wire.ChunkedReader

	// Monotonic ns, or never. What is unset is later than anything that may be due.
	readDue, readArmed   int64
	writeDue, writeArmed int64

	// What the callback of the raw connection works on. The callbacks are made
	// once: a method value would be allocated for each call.
	out       []byte // to be written before anything is read
	in        []byte // to be filled
	n         int
	err       error
	readable  func(fd uintptr) bool
	available func(fd uintptr)
	own       glance // the exchange's

	secure *secure // nil on a plain connection

	reused    bool  // it carried a request before
	sent      bool  // a byte of the request at hand was handed to the kernel
	cut       bool  // the service answered before the request was out
	idleSince int64 // monotonic ns; guarded by the pool's lock

	watch watch
	slot  int // index in the sweeper's list; guarded by its lock
}

// newConn wraps a connected socket.
func newConn(p *pool, nc *net.TCPConn) (*conn, error) {
	c, err := bareConn(p, nc)
	if err != nil {
		return nil, err
	}
	c.br = bufio.NewReaderSize(c, answerBuffer)
	return c, nil
}

// bareConn is newConn without a reader: whoever has one to lend sets it before the
// connection is used.
func bareConn(p *pool, nc *net.TCPConn) (*conn, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reaching the socket to %s: %w", p.address, err)
	}
	c := &conn{pool: p, clock: p.proxy.clock, nc: nc, raw: raw}
	c.readable, c.available = c.onReadable, c.onAvailable
	c.own.prepare()
	c.watch.glance.prepare()
	c.readArmed, c.writeArmed = never, never
	return c, nil
}

// request hands over the bytes of a request: they are written by the next Read,
// in the same visit to the poller, so that the reader waits for the answer
// without a system call that could only find nothing. p is borrowed until then.
func (c *conn) request(p []byte) {
	if c.secure != nil {
		c.secure.request(p)
		return
	}
	c.out = p
}

// Read fills p with bytes of the answer; it waits until readDue. It implements
// io.Reader for the connection's bufio.Reader, or for TLS below that, and writes what
// request left.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.in = p
	defer c.forget()
	for {
		if err := c.armRead(); err != nil {
			return 0, err
		}
		c.n, c.err = 0, nil
		err := c.raw.Read(c.readable)
		switch {
		case err == nil && c.err == errPartial:
			if err := c.writeRest(); err != nil {
				return 0, err
			}
		case err == nil && c.err == nil:
			return c.n, nil
		case err == nil:
			return 0, c.failed(c.err)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, c.failed(err)
		case c.clock.Mono() >= c.readDue:
			return 0, errTimeout
		default:
			c.readArmed = unset
		}
	}
}

func (c *conn) forget() { c.in, c.out = nil, nil }

// more reads what has come into p, without waiting, and returns how much that is.
// Whatever else it meets, the next Read meets again.
func (c *conn) more(p []byte) int {
	if c.secure != nil {
		return c.secure.more(p)
	}
	c.in, c.n = p, 0
	defer c.forget()
	if err := c.raw.Control(c.available); err != nil {
		return 0
	}
	return c.n
}

func (c *conn) onAvailable(fd uintptr) { c.n, _ = socket.Read(fd, c.in) }

// failed makes the error of a connection that the sweeper closed tell why.
func (c *conn) failed(err error) error {
	if c.watch.gone.Load() {
		return errClientGone
	}
	return err
}

// errPartial says that the kernel took only a part of the request at once.
var errPartial = errors.New("partly written")

// onReadable runs inside the poller: the descriptor's read readiness was reset
// before the first call, and each return of false waits for the next.
//
// The look before the write so has two ends. It finds what must not be there
// (SECURITY C1), and as it found nothing, whatever comes later wakes the
// poller: no read has to be tried before the wait.
func (c *conn) onReadable(fd uintptr) bool {
	if c.out != nil {
		return c.onRequest(fd)
	}
	n, errno := socket.Read(fd, c.in)
	if errno == syscall.EAGAIN {
		return false
	}
	c.took(n, errno)
	return true
}

// took notes what a read has brought.
func (c *conn) took(n int, errno syscall.Errno) {
	switch {
	case errno != 0:
		c.err = os.NewSyscallError("read", errno)
	case n == 0:
		c.err = io.EOF
	default:
		c.n = n
	}
}

// onRequest looks, then writes. It returns true when there is nothing to wait for.
func (c *conn) onRequest(fd uintptr) bool {
	if c.err = unexpected(socket.Peek(fd)); c.err != nil {
		return true
	}
	n, errno := socket.Write(fd, c.out)
	if errno != 0 && errno != syscall.EAGAIN {
		c.err = os.NewSyscallError("write", errno)
		return true
	}
	if n > 0 {
		c.sent = true
	}
	if n < len(c.out) {
		c.out = c.out[n:]
		c.err = errPartial
		return true
	}
	c.out = nil
	return false
}

// writeRest writes what the kernel did not take at once. If the service has
// stopped reading, it may have answered: then that answer is what counts, and
// the caller goes on to read it.
func (c *conn) writeRest() error {
	if c.secure != nil {
		return c.secure.writeRest()
	}
	rest := c.out
	c.out = nil
	c.watch.uploading.Store(writing)
	err := c.write(rest)
	c.watch.uploading.Store(notUploading)
	if err == nil || err == errAnswered || c.silent() == socket.Bytes {
		c.cut = err != nil
		return nil
	}
	return err
}

// errAnswered says that an upload stopped because the service has answered.
var errAnswered = errors.New("the service answered before the end of the request")

// write writes all of p, waiting until writeDue. It gives up with errAnswered
// when the sweeper finds an answer while the service does not read.
func (c *conn) write(p []byte) error {
	if c.secure != nil {
		return c.secure.write(p)
	}
	_, err := c.put(p)
	return err
}

// put does that with the bytes as they are, and returns those that were not written.
func (c *conn) put(p []byte) (rest []byte, err error) {
	for {
		if err := c.armWrite(); err != nil {
			return p, err
		}
		n, err := c.nc.Write(p)
		p = p[n:]
		c.sent = c.sent || n > 0
		switch {
		case err == nil:
			return nil, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return p, c.failed(err)
		case c.watch.answered.Load():
			c.writeArmed = unset
			return p, errAnswered
		case c.clock.Mono() >= c.writeDue:
			return p, errTimeout
		}
		c.writeArmed = unset
	}
}

// armRead sets the read deadline if the armed one is later than the due one.
func (c *conn) armRead() error {
	if c.readArmed <= c.readDue {
		return nil
	}
	if err := c.nc.SetReadDeadline(c.instant(c.readDue)); err != nil {
		return c.failed(err)
	}
	c.readArmed = c.readDue
	return nil
}

// armWrite is armRead for writes. The sweeper may have set a deadline that is
// past, to wake a writer: that is not overwritten.
func (c *conn) armWrite() error {
	if c.writeArmed <= c.writeDue {
		return nil
	}
	if err := c.nc.SetWriteDeadline(c.instant(c.writeDue)); err != nil {
		return c.failed(err)
	}
	c.writeArmed = c.writeDue
	if c.watch.answered.Load() {
		return errAnswered
	}
	return nil
}

// instant turns monotonic nanoseconds into what package net takes.
func (c *conn) instant(due int64) time.Time {
	if due == never {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(due - c.clock.Mono()))
}

// silent looks whether bytes of an answer have come, without waiting and without
// taking them.
func (c *conn) silent() socket.Sight {
	if c.secure != nil {
		return c.secure.silent()
	}
	return c.own.look(c.raw)
}

// quiet returns the error of a connection that should be silent before its next use.
func (c *conn) quiet() error {
	if c.secure != nil {
		return c.secure.quiet()
	}
	return unexpected(c.own.look(c.raw))
}

// answered says whether the service has answered, or left, during an upload.
func (c *conn) answered() bool {
	return c.secure == nil && c.watch.answered.Load() || c.silent() != socket.Silent
}

// stirs says, to the sweeper, whether the service has answered for good or left. Interim
// answers don't count: the upload goes on behind them, and a read of the client's that was
// woken for one could not.
func (c *conn) stirs(mode int32) bool {
	sight := c.watch.glance.look(c.raw)
	if sight != socket.Bytes || c.secure != nil {
		return sight != socket.Silent && (c.secure == nil || c.secure.stirs(mode))
	}
	var room [longestInterim]byte
	n := 0
	if err := c.raw.Control(func(fd uintptr) { n, _ = socket.PeekInto(fd, room[:]) }); err != nil {
		return true
	}
	return heardIn(room[:n], n == len(room))
}

// unexpected returns the error of a connection that should be silent.
func unexpected(s socket.Sight) error {
	switch s {
	case socket.Silent:
		return nil
	case socket.Bytes:
		return errStray
	default:
		return errStale
	}
}

// glance is one party's way to look at a socket: the exchange and the sweeper may
// do so at once. The callback is made once, for a method value would be allocated
// for each call.
type glance struct {
	seen socket.Sight
	on   func(fd uintptr)
}

func (g *glance) prepare() { g.on = func(fd uintptr) { g.seen = socket.Peek(fd) } }

func (g *glance) look(raw syscall.RawConn) socket.Sight {
	g.seen = socket.Broken
	if err := raw.Control(g.on); err != nil {
		return socket.Broken
	}
	return g.seen
}

// close closes the socket. The pool is told by the caller.
func (c *conn) close() {
	// A socket that can't be closed has been closed before, by the sweeper.
	_ = c.nc.Close()
}

// watch is what the sweeper sees of a connection.
type watch struct {
	// state is 0 when nobody waits, else the monotonic time since when somebody
	// does, negated while the sweeper looks. The exchange writes it twice a request;
	// the sweeper only after 100 ms. The line is the connection's own.
	state atomic.Int64
	// down is the client that waits. Written before state is set, read by the
	// sweeper while it holds state.
	down pipeline.Downstream
	// glance is the sweeper's.
	glance glance
	// uploading says whether the exchange is sending a body that may have to stop.
	uploading atomic.Int32
	// answered says that the sweeper found an answer meanwhile.
	answered atomic.Bool
	// gone says that the sweeper closed the connection: its client went away.
	gone atomic.Bool
}

// wakeWriter ends a write that waits for a service which does not read.
func (c *conn) wakeWriter() {
	// A socket that refuses is closed, and wakes its writer by that.
	_ = c.nc.SetWriteDeadline(time.Unix(1, 0))
}
