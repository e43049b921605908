package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/socket"
)

// SecureConn is a connection over TLS. It has the methods by which servers
// recognise one.
type SecureConn struct{ *Conn }

func newSecureConn(c *Conn) *SecureConn {
	c.secure = &secure{c: c}
	c.secure.conn = tls.Server(&below{s: c.secure}, c.listener.keys.outer)
	return &SecureConn{c}
}

// Handshake waits for the client's handshake, and the PROXY header before it, for
// as long as the first head may take in all. It belongs to the goroutine that
// reads; after the first call it does nothing.
func (s *SecureConn) Handshake() error { return s.secure.begin() }

// ConnectionState is what the handshake agreed on.
func (s *SecureConn) ConnectionState() tls.ConnectionState {
	if state := s.TLS(); state != nil {
		return *state
	}
	return tls.ConnectionState{}
}

// TLS is what the handshake agreed on; nil on a plain connection, and before the
// handshake. It is never written.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.secure == nil {
		return nil
	}
	return c.secure.state
}

// Serves says whether the connection may be asked for host, which is canonical. It
// may not where another client certificate is asked for that host: the client has
// named one host in the handshake and means another now (RFC 9110 §7.4).
func (c *Conn) Serves(host []byte) bool {
	if c.secure == nil {
		return true
	}
	shown := c.listener.shown.Load()
	if shown.rule != "" {
		return shown.rule == c.secure.rule
	}
	return shown.identify(host).rule == c.secure.rule
}

// secure is the TLS of one connection. Its fields belong to the goroutine that
// reads, but for leaving and farewell.
type secure struct {
	c     *Conn
	conn  *tls.Conn
	begun bool
	rule  string // about client certificates, in force at the handshake
	state *tls.ConnectionState

	records records
	pending int         // records that crypto/tls has and has not handed on, at most
	hasty   atomic.Bool // farewell must not wait
}

// begin makes the handshake, once.
func (s *secure) begin() error {
	if s.begun {
		return nil
	}
	s.begun = true
	c := s.c
	if c.listener.announcers != nil {
		if c.introduce(); c.failed != nil {
			return c.failed
		}
	}
	err := s.conn.Handshake()
	if err != nil {
		s.failed(err)
		return err
	}
	state := s.conn.ConnectionState()
	s.state, s.pending = &state, 0
	c.waitDue = after(c.listener.now(), c.listener.options.HeaderTimeout)
	c.headDue = c.waitDue
	c.listener.shook(state.DidResume)
	return nil
}

// failed counts a handshake that came to nothing, and tells a client that speaks
// plain HTTP what is wrong.
func (s *secure) failed(err error) {
	c := s.c
	reason := reasonOf(err)
	c.listener.failures[reason].Add(1)
	c.listener.tell(c.peer, err)
	if reason == reasonPlainHTTP {
		f := fault.BadRequest.Detail("this port speaks TLS: use https://")
		// Whoever does not take the answer is closed all the same.
		_, _ = c.put(fault.AppendResponse(nil, f, freshID()))
	}
	c.giveUp()
}

// receive takes decrypted bytes.
func (s *secure) receive(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	n, err := s.conn.Read(p)
	s.c.asked = 0 // it may have been read from what was ahead
	if n == 0 {
		return 0, err // never nil: p is not empty
	}
	// An error beside bytes is kept by crypto/tls, and comes again.
	if n < len(p) && s.pending > 0 {
		s.pending-- // the record was read to its end
	}
	if ahead := s.c.ahead(); ahead != s.c.holding.Load() {
		s.c.holding.Store(ahead) // held is nil where receive is called
	}
	return s.c.arrive(n)
}

// ahead says whether more than the present record was taken off the socket: bytes
// that nobody sees there any more, though they are not read. The client's farewell
// does not count.
func (c *Conn) ahead() bool {
	s := c.secure
	return s != nil && (s.pending > 1 || s.pending == 1 && !s.records.farewell)
}

// resume makes ready for bytes of the socket. crypto/tls asks for some only when it
// has no whole record left: that is when the count can be set right, which is too
// high where a record held no bytes of a message.
func (s *secure) resume() {
	c := s.c
	if s.pending > 0 {
		s.pending = 0
		c.holding.Store(c.held != nil)
	}
	if !s.records.inside() && !c.scanner.Started() && c.held == nil && c.state.Load() == unread {
		c.state.CompareAndSwap(unread, waiting)
	}
}

// farewell tells the client that nothing more comes, so that it can tell an end from
// a connection that was cut (RFC 8446 §6.1). Where a write is under way it does not.
// wait is for those who may be held up by a client that reads slowly.
func (s *secure) farewell(wait bool) {
	if !wait {
		s.hasty.Store(true)
	}
	_ = s.conn.Close() // the socket stays open; an alert that can't be sent is not missed
}

// leaving says whether the client has sent all that it ever will, and nothing of
// that is left but its own farewell: one record of an alert, or one too small to
// be told from it, which holds no request.
func (s *secure) leaving() bool {
	var left [64]byte
	n, finished := 0, false
	err := s.c.stream.raw.Control(func(fd uintptr) {
		if finished = socket.Finished(fd); finished {
			n, _ = socket.PeekInto(fd, left[:]) // an error is no farewell
		}
	})
	return err == nil && finished && n < len(left) && isFarewell(left[:n])
}

// Of a record (RFC 8446 §5.1).
const (
	recordHead      = 5
	recordAlert     = 21
	recordData      = 23
	sealedAlert     = 2 + 1 + 16 // an alert with its type and a tag, as TLS 1.3 hides it
	recordTypeAt    = 0
	recordLengthsAt = 3
)

// isFarewell says whether b is exactly one record that can be an alert.
func isFarewell(b []byte) bool {
	if len(b) < recordHead || len(b) != recordHead+recordLength(b) {
		return false
	}
	return canBeAlert(b)
}

// canBeAlert says whether the record behind head can be an alert.
func canBeAlert(head []byte) bool {
	return head[recordTypeAt] == recordAlert || head[recordTypeAt] == recordData && recordLength(head) <= sealedAlert
}

func recordLength(head []byte) int {
	return int(head[recordLengthsAt])<<8 | int(head[recordLengthsAt+1])
}

// room is how much of p the socket may fill. While the handshake lasts, one record is
// taken at a time, for nobody could tell later how many of them the handshake has
// used up, and whether a request waits behind it.
func (s *secure) room(p []byte) []byte {
	most := largestRead
	if s.state == nil {
		most = s.records.rest()
	}
	return p[:min(len(p), most)]
}

// records follows where records begin and end in what the client sends.
type records struct {
	head [recordHead]byte
	have int // bytes of head
	left int // bytes of the record behind its head

	farewell bool // the last record can be an alert
}

// inside says whether a record was begun and is not at its end.
func (r *records) inside() bool { return r.have > 0 }

// rest is how many bytes of the present record are known to come: of its head, or
// of what is behind that.
func (r *records) rest() int {
	if r.have < recordHead {
		return recordHead - r.have
	}
	return r.left
}

// pass follows b, and returns how many records began in it.
func (r *records) pass(b []byte) (begun int) {
	for len(b) > 0 {
		if r.have < recordHead {
			if r.have == 0 {
				begun++
				r.farewell = false
			}
			n := copy(r.head[r.have:], b)
			r.have += n
			b = b[n:]
			if r.have < recordHead {
				break
			}
			r.left, r.farewell = recordLength(r.head[:]), canBeAlert(r.head[:])
		}
		n := min(r.left, len(b))
		r.left -= n
		b = b[n:]
		if r.left == 0 {
			r.have = 0
		}
	}
	return begun
}

// below is what crypto/tls takes for the network: the socket, under the deadlines
// of the connection.
type below struct{ s *secure }

var _ net.Conn = (*below)(nil)

// Read takes bytes off the socket.
func (b *below) Read(p []byte) (int, error) {
	b.s.resume()
	n, err := b.s.c.take(b.s.room(p))
	b.s.pending += b.s.records.pass(p[:n])
	return n, err
}

// Write sends records.
func (b *below) Write(p []byte) (int, error) {
	if b.s.hasty.Load() {
		return b.s.c.putNow(p)
	}
	return b.s.c.put(p)
}

// putNow writes what the socket takes at once, whatever the deadline.
func (c *Conn) putNow(p []byte) (n int, err error) {
	var errno syscall.Errno
	if err = c.stream.raw.Control(func(fd uintptr) { n, errno = socket.Write(fd, p) }); err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, errno
	}
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Close leaves the socket to the connection, which lingers.
func (b *below) Close() error { return nil }

// LocalAddr is this end of the connection.
func (b *below) LocalAddr() net.Addr { return b.s.c.LocalAddr() }

// RemoteAddr is the client.
func (b *below) RemoteAddr() net.Addr { return b.s.c.RemoteAddr() }

// The connection keeps its own deadlines: those that crypto/tls sets are dropped.

// SetDeadline does nothing.
func (b *below) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (b *below) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (b *below) SetWriteDeadline(time.Time) error { return nil }

// speakTLS makes the listener one of TLS.
func (l *Listener) speakTLS(c *Credentials) {
	l.keys.tickets = &tls.Config{}
	l.keys.outer = &tls.Config{GetConfigForClient: l.configFor, MinVersion: tls.VersionTLS12}
	l.SetCredentials(c)
}

// SetCredentials puts c in force for all handshakes to come, and what it says of
// clients for all requests to come; nothing is disconnected. It must not be called
// on a listener of plain HTTP, nor twice with the same c.
func (l *Listener) SetCredentials(c *Credentials) {
	l.keys.configure(c)
	l.shown.Store(c)
}

// Credentials are those in force; nil on a listener of plain HTTP.
func (l *Listener) Credentials() *Credentials { return l.shown.Load() }

// errNotOurs can't happen: crypto/tls hands on the connection that it was given.
var errNotOurs = errors.New("BUG: a handshake of a foreign connection")

// configFor chooses what is shown to a client.
func (l *Listener) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	b, ok := hello.Conn.(*below)
	if !ok {
		return nil, errNotOurs
	}
	found := l.shown.Load().identify(lowered(hello.ServerName))
	b.s.rule = found.rule
	return found.config, nil
}

// lowered is a name as certificates are found by. The dot that may end a host name
// is none of SNI (RFC 6066 §3), and crypto/tls refuses it.
func lowered(name string) []byte {
	b := []byte(name)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return b
}
