package listen

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/wire"
)

// Conn is one client connection, between the socket and the HTTP parser. One
// goroutine reads and one writes at a time, as with any net.Conn; the methods
// that may be called by others besides say so.
type Conn struct {
	listener *Listener
	socket   *net.TCPConn
	stream   *stream          // of socket
	secure   *secure          // nil on a plain connection
	peek     func(fd uintptr) // made once: a closure for each look would be garbage
	peer     netip.AddrPort   // the other end of socket
	id       uint64

	// announced is what a PROXY header says instead of peer; nil: nothing. Written
	// once, by the reader before the first message.
	announced atomic.Pointer[netip.AddrPort]
	counted   account // by Totals; guarded by the listener's mu

	// What the reading goroutine alone knows.
	scanner       wire.RequestScanner
	held          *buffer       // bytes behind the end of the message; nil: none
	failed        error         // why nothing is read any more
	delivered     bool          // the parser has more of this message than line ends before it
	headDelivered bool          // it has the whole head
	waitDue       int64         // when the first byte of the message is overdue
	headDue       int64         // when the end of its head is overdue
	bodyTimeout   time.Duration // between reads of its body
	asked         int64         // when the message was asked for, until something is received; else 0

	reads, writes deadline

	state     atomic.Uint32 // a phase; written by the reader, by closeIdle and the Close methods
	closed    atomic.Bool   // Close, Abort or a Close method of the listener has begun
	released  atomic.Bool   // the socket is closed and the listener has forgotten it
	lingers   atomic.Bool   // Close waits for the client to take the answer and go
	holding   atomic.Bool   // held != nil, for other goroutines
	truncated atomic.Bool

	// The watch's own: blind waits that it looked at, and found silent or not.
	verified, suspect uint64
	peeked            atomic.Uint32 // a socket.Sight; result of peek

	idleSince int64 // when CloseIdle first saw it waiting; 0: it has not. Guarded by listener.mu
}

var _ net.Conn = (*Conn)(nil)

// The phases of a connection, for those who close it.
const (
	waiting uint32 = iota // nothing of the next message is here
	unread                // a message is under way, or bytes that nobody will read are here
	settled               // the message is read to its end, nothing is held back
	over                  // the client has ended it, or closeIdle has
)

// largestRead bounds what one call takes from the socket, and so what may have
// to be held back.
const largestRead = 64 << 10

// bufferSize is the usual room for bytes held back. A buffer that grew up to
// largestRead is used again, too.
const bufferSize = 16 << 10

// buffer is what was received too early, or room to drain into.
type buffer struct {
	bytes []byte
	taken int // how many of bytes are used up
}

func newConn(l *Listener, socket *net.TCPConn, counted account) (*Conn, error) {
	s, err := newStream(socket)
	if err != nil {
		return nil, err
	}
	c := &Conn{listener: l, socket: socket, stream: s, peer: addrPort(socket.RemoteAddr()), counted: counted, id: l.totals.ids.Add(1)}
	c.peek, s.finish = c.look, c.finish
	c.scanner.Reset(l.limits)
	c.bodyTimeout = l.options.BodyTimeout
	c.waitDue = after(l.now(), l.options.HeaderTimeout)
	c.headDue = c.waitDue
	return c, nil
}

// Read gives the parser the next bytes of the message that it is reading, or
// waits for the next message once that one is complete. Errors:
//
//   - *wire.Violation: the client broke the rules; nothing is read any more. In a
//     head it comes after at least one byte of the message and before its end.
//   - io.ErrUnexpectedEOF: the client ended the message early, see Truncated.
//   - io.EOF: the client closed or reset the connection between two messages.
//   - a net.Error with Timeout() for what was overdue.
func (c *Conn) Read(p []byte) (int, error) {
	switch {
	case c.failed != nil:
		return 0, c.failed
	case len(p) == 0:
		return 0, nil
	case c.scanner.Done():
		c.next()
	}
	p = p[:min(len(p), largestRead)]
	if c.held != nil {
		return c.passHeld(p)
	}
	n, err := c.receive(p)
	if err != nil {
		return 0, c.fail(err)
	}
	m, err := c.scanner.Scan(p[:n])
	if err == nil && m < n {
		c.hold(p[m:n])
	}
	return c.pass(p, m, err)
}

// next makes ready for a message, when the parser asks for it. Until then Head
// belongs to the message before.
func (c *Conn) next() {
	c.scanner.Reset(c.listener.limits)
	c.delivered, c.headDelivered = false, false
	c.bodyTimeout = c.listener.options.BodyTimeout
	c.headDue = 0
	now := c.listener.now()
	c.waitDue = after(now, c.listener.options.IdleTimeout)
	if c.held == nil && !c.ahead() {
		c.asked = now
		c.state.Store(waiting)
	}
}

// receive takes bytes of messages, decrypted if need be.
func (c *Conn) receive(p []byte) (int, error) {
	if c.secure != nil {
		return c.secure.receive(p)
	}
	return c.take(p)
}

// take takes bytes from the socket, under the deadline that is due.
func (c *Conn) take(p []byte) (int, error) {
	now := c.asked
	if c.asked = 0; now == 0 {
		now = c.listener.now()
	}
	due := c.readDue(now)
	for {
		c.armRead(due, now)
		n, err := c.stream.Read(p)
		if n > 0 {
			return c.arrive(n)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.reads.taken.Load() {
			return 0, err
		}
		if now = c.listener.now(); now >= due {
			return 0, err
		}
	}
}

// arrive notes that the connection is idle no more. It fails where closeIdle was
// quicker, so that a request is either served or never begun.
func (c *Conn) arrive(n int) (int, error) {
	if now := c.state.Load(); now == over || now == waiting && !c.state.CompareAndSwap(waiting, unread) {
		return 0, net.ErrClosed
	}
	return n, nil
}

// readDue is when the bytes that are waited for are overdue.
func (c *Conn) readDue(now int64) int64 {
	switch {
	case !c.scanner.Started():
		return c.waitDue
	case !c.scanner.HeadDone():
		return c.headDue
	default:
		return after(now, c.bodyTimeout)
	}
}

// passHeld serves what was held back before.
func (c *Conn) passHeld(p []byte) (int, error) {
	c.state.Store(unread)
	n := copy(p, c.held.bytes[c.held.taken:])
	m, err := c.scanner.Scan(p[:n])
	if c.held.taken += m; err != nil || c.held.taken == len(c.held.bytes) {
		c.dropHeld()
	}
	return c.pass(p, m, err)
}

// hold keeps p for the next message.
func (c *Conn) hold(p []byte) {
	c.held = c.listener.buffers.Get().(*buffer)
	c.held.bytes = append(c.held.bytes[:0], p...)
	c.held.taken = 0
	c.holding.Store(true)
}

// dropHeld gives the buffer back. Only the reader does: another goroutine that
// closes the connection leaves it to the garbage collector.
func (c *Conn) dropHeld() {
	c.listener.buffers.Put(c.held)
	c.held = nil
	c.holding.Store(c.ahead())
}

// pass hands the first m bytes of p, which the scanner passed, to the parser, or
// deals with the violation that it met behind them.
func (c *Conn) pass(p []byte, m int, violation error) (int, error) {
	switch {
	case violation != nil:
		return c.refuse(p, m, violation)
	case m == 0:
		return 0, c.fail(io.ErrNoProgress)
	case c.scanner.Done() && c.held == nil && !c.ahead():
		c.state.Store(settled)
	}
	if !c.headDelivered {
		c.noteHead(p[:m])
	}
	return m, nil
}

// noteHead notes what the parser gets of the head.
func (c *Conn) noteHead(p []byte) {
	c.delivered = c.delivered || !onlyLineEnds(p)
	c.headDelivered = c.scanner.HeadDone()
	if !c.headDelivered && c.headDue == 0 && c.scanner.Started() {
		c.headDue = after(c.listener.now(), c.listener.options.HeaderTimeout)
	}
}

// onlyLineEnds says whether p is what parsers skip before a request.
func onlyLineEnds(p []byte) bool {
	for _, b := range p {
		if b != '\r' && b != '\n' {
			return false
		}
	}
	return true
}

// refuse remembers a violation. Where the parser has the whole head already, it
// gets the bytes of the body before the violation and then the error. Otherwise
// it must never get the end of the head, for then it would run the request. But
// one byte it must have: an error before the first byte of a message would be
// taken for the end of a keep-alive connection, and not be answered. Which byte
// does not matter, as long as it is no line end (of which parsers skip some) and
// no error by itself.
func (c *Conn) refuse(p []byte, m int, violation error) (int, error) {
	c.failed = violation
	c.listener.nonConforming.Add(1)
	c.state.Store(unread)
	switch {
	case c.headDelivered && m > 0:
		return m, nil
	case c.delivered:
		return 0, violation
	default:
		p[0] = 'G'
		return 1, nil
	}
}

// fail says what an error of the socket means at this point of the message, and
// remembers it; but a timeout may be temporary.
func (c *Conn) fail(err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return err
	case errors.Is(err, net.ErrClosed):
	case c.scanner.Started():
		c.truncated.Store(true)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	default:
		err = io.EOF
	}
	c.state.Store(over)
	c.failed = err
	return err
}

// HoldAnswer says that the next write is followed by another, or by the read of
// the next request, at once: the connection may do the two together. Call it
// again for each such write. It belongs to the goroutine that reads and writes.
// Where a further request waits already, or this one is not read to its end, it
// does nothing; nor where the connection is given away, or closed.
func (c *Conn) HoldAnswer() {
	if !c.closed.Load() && c.held == nil && c.scanner.Done() && (c.secure == nil || c.secure.pending == 0) {
		c.stream.hold()
	}
}

// Flush writes what is held back. It is for those who wait for something else
// before they go on, or take the connection over; Read, Write and Close do it anyway.
func (c *Conn) Flush() error { return c.finish(c.stream.take()) }

// finish writes the end of an answer.
func (c *Conn) finish(p []byte) error {
	if p == nil {
		return nil
	}
	_, err := c.write(nil, p)
	return err
}

// Write sends p, encrypted if need be. The client has WriteTimeout for each piece
// that it takes.
func (c *Conn) Write(p []byte) (int, error) {
	if c.closed.Load() { // or given away, and then no byte of ours may get in
		return 0, net.ErrClosed
	}
	if c.secure != nil {
		return c.secure.conn.Write(p)
	}
	return c.put(p)
}

// put sends p over the socket, or holds it back.
func (c *Conn) put(p []byte) (int, error) {
	if c.stream.keep(p) {
		return len(p), nil
	}
	return c.write(c.stream.take(), p)
}

// write sends what was held back, and p, of which it returns how much was sent.
// Deadlines that fire early are put off here, below TLS, which does not go on after
// a write that failed.
func (c *Conn) write(held, p []byte) (int, error) {
	sent := 0
	now := c.listener.now()
	due := after(now, c.listener.options.WriteTimeout)
	for {
		c.armWrite(due, now)
		n, err := c.stream.write(held, p[sent:])
		ofHeld := min(n, len(held))
		held = held[ofHeld:]
		sent += n - ofHeld
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.writes.taken.Load() {
			return sent, err
		}
		now = c.listener.now()
		if n > 0 {
			due = after(now, c.listener.options.WriteTimeout)
		} else if now >= due {
			return sent, err
		}
	}
}

// Head is what the scanner found in the message that was begun last. It stays as
// it is until the parser asks for the message after it; complete it is only from
// the end of the head on.
func (c *Conn) Head() *wire.RequestHead { return c.scanner.Head() }

// Err is why nothing is read any more: *wire.Violation, io.ErrUnexpectedEOF,
// io.EOF or an error of the socket; nil while reading goes on. It belongs to the
// goroutine that reads. Parsers wrap errors in ways of their own; here it is bare.
func (c *Conn) Err() error { return c.failed }

// Truncated says that the client ended the connection inside a message, in the
// head or the body. A parser that met io.EOF may take such a message for a
// whole one. Any goroutine may call it.
func (c *Conn) Truncated() bool { return c.truncated.Load() }

// SetBodyTimeout sets how long the client may take for the next bytes of the
// body of the present message; 0 is for ever. The next message has the
// listener's again. It belongs to the goroutine that reads.
func (c *Conn) SetBodyTimeout(d time.Duration) { c.bodyTimeout = d }

// ID is the number of the connection, unique among the listeners that share
// their Totals.
func (c *Conn) ID() uint64 { return c.id }

// Listener is the name of the listener that accepted the connection.
func (c *Conn) Listener() string { return c.listener.Name() }

// LocalAddr is this end of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.socket.LocalAddr() }

// RemoteAddr is the client: the other end of the connection, or who a PROXY
// header announced.
func (c *Conn) RemoteAddr() net.Addr {
	if a := c.announced.Load(); a != nil {
		return net.TCPAddrFromAddrPort(*a)
	}
	return c.socket.RemoteAddr()
}

// RemoteAddrPort is the client as a value, IPv4-mapped addresses as IPv4.
func (c *Conn) RemoteAddrPort() netip.AddrPort {
	if a := c.announced.Load(); a != nil {
		return *a
	}
	return c.peer
}

// Unwrap is the socket itself, for those who take the connection over for good.
// Bytes that were held back are not in it, and on TLS everything is encrypted.
func (c *Conn) Unwrap() *net.TCPConn { return c.socket }
