package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/suuupra/gateway/core/socket"
)

// secure is TLS between a connection's reader and its socket:
//
//	bufio.Reader ─ secure.Read ─ tls.Conn ─ below ─ conn.Read ─ socket
//	conn.request, conn.write ─ tls.Conn ─ below ─ room ─ conn.put ─ socket
//
// What crypto/tls seals is gathered in room. A request waits there until crypto/tls
// asks for bytes: it does so only when it holds no whole record any more, so that
// session tickets and whatever else stands on an idle connection is understood
// first. Bytes of an answer that come out of it meanwhile are ones that nobody
// asked for (SECURITY C1).
//
// Deadlines are those of the connection, below crypto/tls, which takes a write that
// was woken early for the end of the connection.
type secure struct {
	c    *conn
	conn *tls.Conn

	// mu guards all below. The exchange holds it while it reads or writes, however
	// long that takes; the sweeper only tries it.
	mu      sync.Mutex
	shaken  bool   // the handshake is over: records are gathered
	loose   bool   // the connection has left HTTP, and nothing is gathered
	nowait  bool   // below must not wait
	asking  bool   // a request stands in room
	room    []byte // sealed records
	from    int    // what of room was sent
	failed  error  // why the request could not be sealed
	cut     bool   // the socket ended, and crypto/tls was not told that it would
	ahead   []byte // read by a look
	one     [1]byte
	records records

	// What the callback of a read that does not wait works on.
	now   []byte
	n     int
	errno syscall.Errno
	grab  func(fd uintptr)
}

var (
	// errCut says that a TLS connection ended without the farewell that tells an end
	// from a cut (RFC 8446 §6.1). To let it pass for the end of a body would let
	// anybody on the way shorten answers.
	errCut = fmt.Errorf("the service cut the TLS connection without closing it: %w", io.ErrUnexpectedEOF)
	// errNothing says that a read which must not wait found nothing.
	errNothing error = nothing{}
)

// nothing is an error that crypto/tls does not take for the connection's end.
type nothing struct{}

func (nothing) Error() string   { return "nothing to read now" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// largestRoom is how much room a connection keeps, in bytes: a piece of an upload,
// sealed.
const largestRoom = 36 << 10

// speakTLS puts TLS on a connection that is new. The handshake is still to be made.
func (c *conn) speakTLS(config *tls.Config) {
	s := &secure{c: c}
	s.conn = tls.Client(&below{s}, config)
	s.grab = func(fd uintptr) { s.n, s.errno = socket.Read(fd, s.now) }
	c.secure = s
	c.readable = s.onReadable
	c.br.Reset(s)
}

// handshake makes the handshake, until due (monotonic ns).
func (s *secure) handshake(due int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.c.readDue, s.c.writeDue = due, due
	if err := s.conn.Handshake(); err != nil {
		return err
	}
	s.shaken = true
	return nil
}

// request seals a request. The next Read sends it.
func (s *secure) request(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = true
	_, s.failed = s.conn.Write(p)
}

// Read takes decrypted bytes of the answer, as conn.Read does; it sends what request
// left.
func (s *secure) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if s.failed != nil {
		return 0, s.failed
	}
	if len(s.ahead) > 0 {
		return s.take(p), nil
	}
	n, err := s.conn.Read(p)
	if s.asking {
		return s.premature(n, err)
	}
	return n, s.told(err)
}

// premature judges what was read before the request was out.
func (s *secure) premature(n int, err error) (int, error) {
	c := s.c
	switch {
	case n > 0 && c.sent:
		// An answer to what was sent so far. The rest is not.
		c.cut = true
		s.clear()
		return n, s.told(err)
	case n > 0:
		return 0, errStray
	case !c.sent && c.reused && !errors.Is(err, errTimeout) && !errors.Is(err, errClientGone) && !errors.Is(err, errStray):
		return 0, fmt.Errorf("%w: %w", errStale, err)
	default:
		return 0, s.told(err)
	}
}

// told tells an end from a cut.
func (s *secure) told(err error) error {
	if err == io.EOF && s.cut {
		return errCut
	}
	return err
}

// more is conn.more: it fills p with what has come, record by record.
func (s *secure) more(p []byte) (total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nowait = true
	defer func() { s.nowait = false }()
	total = s.take(p)
	for total < len(p) {
		n, err := s.conn.Read(p[total:])
		total += n
		if err != nil {
			break // crypto/tls says it again
		}
	}
	return total
}

// look finds out whether bytes of an answer have come, without waiting; one that
// has is kept for the next Read. Session tickets are taken and are none.
func (s *secure) look() socket.Sight {
	if len(s.ahead) > 0 {
		return socket.Bytes
	}
	s.nowait = true
	n, err := s.conn.Read(s.one[:])
	s.nowait = false
	switch {
	case n > 0:
		s.ahead = s.one[:]
		return socket.Bytes
	case err == errNothing:
		return socket.Silent
	case err == io.EOF:
		return socket.Ended
	default:
		return socket.Broken
	}
}

func (s *secure) silent() socket.Sight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.look()
}

// quiet returns the error of a connection that should be silent. The beginning of a
// record is no silence: the rest would be taken for an answer.
func (s *secure) quiet() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := unexpected(s.look()); err != nil {
		return err
	}
	if s.records.inside() {
		return errStray
	}
	return nil
}

// stirs tells the sweeper, which has seen bytes on the socket, whether they are an
// answer. Where the exchange is at work it is not waited for: a writer is woken, and
// looks itself.
func (s *secure) stirs(mode int32) bool {
	if !s.mu.TryLock() {
		return mode == writing
	}
	defer s.mu.Unlock()
	return s.heard()
}

// stirred looks for the writer that the sweeper has woken.
func (s *secure) stirred() bool {
	s.c.watch.answered.Store(false) // before the look: what comes after it wakes again
	if !s.heard() {
		return false
	}
	s.c.watch.answered.Store(true)
	return true
}

// write seals p and sends it, as conn.write does.
func (s *secure) write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.conn.Write(p); err != nil {
		return s.c.failed(err)
	}
	for s.pending() {
		rest, err := s.c.put(s.room[s.from:])
		s.from = len(s.room) - len(rest)
		switch {
		case err != nil && err != errAnswered:
			return err
		case err != nil && s.stirred():
			return errAnswered
		}
	}
	s.clear()
	if s.c.watch.answered.Load() && s.stirred() {
		return errAnswered
	}
	return nil
}

// pending says whether sealed records are still to be sent.
func (s *secure) pending() bool { return s.from < len(s.room) }

// clear empties the room.
func (s *secure) clear() {
	s.asking, s.from = false, 0
	if s.room = s.room[:0]; cap(s.room) > largestRoom {
		s.room = nil
	}
}

// atRest says whether nothing is left of the last exchange.
func (s *secure) atRest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ahead) == 0 && !s.asking && s.failed == nil
}

// onReadable is conn.onReadable for a connection over TLS: what is there is read
// first, as only crypto/tls knows what it is.
func (s *secure) onReadable(fd uintptr) bool {
	c := s.c
	if !s.shaken || !s.pending() {
		return c.onReadable(fd)
	}
	n, errno := socket.Read(fd, c.in)
	if errno != syscall.EAGAIN {
		c.took(n, errno)
		return true
	}
	if s.asking && !c.sent && s.records.inside() {
		c.err = errStray
		return true
	}
	n, errno = socket.Write(fd, s.room[s.from:])
	if errno != 0 && errno != syscall.EAGAIN {
		c.err = os.NewSyscallError("write", errno)
		return true
	}
	s.from += n
	c.sent = c.sent || n > 0
	if s.pending() {
		c.err = errPartial
		return true
	}
	s.clear()
	return false
}

// writeRest is conn.writeRest: the caller goes on to read when something may have
// come, and comes back when that was no answer.
func (s *secure) writeRest() error {
	w := &s.c.watch
	w.uploading.Store(writing)
	rest, err := s.c.put(s.room[s.from:])
	w.uploading.Store(notUploading)
	s.from = len(s.room) - len(rest)
	switch {
	case err == nil:
		s.clear()
	case err == errAnswered:
		w.answered.Store(false)
	case s.c.own.look(s.c.raw) != socket.Bytes:
		return err
	}
	return nil
}

// farewell tells the service that nothing more comes, if that can be done at once
// and no request was broken off.
func (s *secure) farewell() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if !s.shaken || s.asking || s.pending() || s.conn.CloseWrite() != nil {
		return
	}
	// A service that does not take it learns the end from the socket.
	_ = s.c.raw.Control(func(fd uintptr) { _, _ = socket.Write(fd, s.room) })
}

// below is what crypto/tls takes for the network.
type below struct{ s *secure }

var _ net.Conn = (*below)(nil)

// Read takes bytes off the socket, under the deadline of the connection.
func (b *below) Read(p []byte) (n int, err error) {
	s := b.s
	switch {
	case s.loose:
		return s.c.nc.Read(p)
	case s.nowait:
		n, err = s.readNow(p)
	default:
		n, err = s.c.Read(p)
	}
	s.records.pass(p[:n])
	s.cut = s.cut || err == io.EOF
	return n, err
}

// readNow reads what is there.
func (s *secure) readNow(p []byte) (int, error) {
	s.now = p
	defer func() { s.now = nil }()
	if err := s.c.raw.Control(s.grab); err != nil {
		return 0, s.c.failed(err)
	}
	switch {
	case s.errno == syscall.EAGAIN:
		return 0, errNothing
	case s.errno != 0:
		return 0, s.c.failed(os.NewSyscallError("read", s.errno))
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// Write gathers records. Those of the handshake are sent.
func (b *below) Write(p []byte) (int, error) {
	s := b.s
	switch {
	case s.loose:
		return s.c.nc.Write(p)
	case !s.shaken:
		rest, err := s.c.put(p)
		return len(p) - len(rest), err
	}
	s.room = append(s.room, p...)
	return len(p), nil
}

// Close closes the socket.
func (b *below) Close() error { return b.s.c.nc.Close() }

// LocalAddr is this end of the connection.
func (b *below) LocalAddr() net.Addr { return b.s.c.nc.LocalAddr() }

// RemoteAddr is the endpoint.
func (b *below) RemoteAddr() net.Addr { return b.s.c.nc.RemoteAddr() }

// The connection keeps its own deadlines until it has left HTTP.

// SetDeadline sets both deadlines.
func (b *below) SetDeadline(t time.Time) error {
	return errors.Join(b.SetReadDeadline(t), b.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of reads.
func (b *below) SetReadDeadline(t time.Time) error {
	if !b.s.loose {
		return nil
	}
	return b.s.c.nc.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of writes.
func (b *below) SetWriteDeadline(t time.Time) error {
	if !b.s.loose {
		return nil
	}
	return b.s.c.nc.SetWriteDeadline(t)
}

// detach takes the connection out of HTTP, for a tunnel: it returns what is to be read
// and written from now on, over TLS or not, without deadlines, and what has come
// already. The caller has taken it out of its pool and of the sweeper's sight.
func (c *conn) detach() (net.Conn, []byte) {
	early, _ := c.br.Peek(c.br.Buffered()) // what is buffered can be peeked
	early = bytes.Clone(early)
	// A socket that refuses is closed, and says so to whoever uses it next.
	_ = c.nc.SetDeadline(time.Time{})
	if c.secure == nil {
		return c.nc, early
	}
	s := c.secure
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ahead) > 0 {
		early = append(early, s.ahead...)
		s.ahead = nil
	}
	if s.pending() {
		_, _ = c.nc.Write(s.room[s.from:]) // as above
	}
	s.loose = true
	return s.conn, early
}

// records follows where records begin and end in what the service sends (RFC 8446
// §5.1).
type records struct {
	head [recordHead]byte
	have int // bytes of head
	left int // bytes of the record behind its head
}

// recordHead is a type, a version and a length.
const recordHead = 5

// inside says whether a record was begun and is not at its end.
func (r *records) inside() bool { return r.have > 0 }

// pass follows b.
func (r *records) pass(b []byte) {
	for len(b) > 0 {
		if r.have < recordHead {
			n := copy(r.head[r.have:], b)
			r.have += n
			b = b[n:]
			if r.have < recordHead {
				return
			}
			r.left = int(r.head[3])<<8 | int(r.head[4])
		}
		n := min(r.left, len(b))
		r.left -= n
		b = b[n:]
		if r.left == 0 {
			r.have = 0
		}
	}
}
