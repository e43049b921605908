package listen

import (
	"errors"
	"net"
	"time"
)

// errUnread says that a connection can't be given away amid a request.
var errUnread = errors.New("the request has not been read to its end")

// Upgrade takes the connection away from HTTP and gives it to take: nothing that
// the parser's side writes reaches the client any more, its reads fail, and its
// Close does nothing. take gets what the client sent behind its request, borrowed.
// The connection counts for the listener until whoever got it closes it; CloseAll
// closes it too.
//
// It belongs to the goroutine that reads and writes. The request must have been
// read to its end, and every answer before it be out; both are so in a handler of a
// request without a body, because the parser has one message at a time.
func (c *Conn) Upgrade(take func(conn net.Conn, early []byte)) error {
	if !c.scanner.Done() {
		return errUnread
	}
	if !c.closed.CompareAndSwap(false, true) {
		return net.ErrClosed
	}
	c.failed = net.ErrClosed
	if err := errors.Join(c.Flush(), c.SetDeadline(time.Time{})); err != nil {
		return errors.Join(err, c.release())
	}
	c.stream.mayHold = false
	given, held := c.given(), c.held
	c.held = nil // whoever gets the connection may read it at once, and reading looks here
	if held == nil {
		take(given, nil)
		return nil
	}
	take(given, held.bytes[held.taken:])
	c.listener.buffers.Put(held)
	return nil
}

// given is the connection as whoever takes it over sees it.
func (c *Conn) given() net.Conn {
	if c.secure == nil {
		return &upgraded{c}
	}
	c.waitDue = never // of the next request, which does not come
	c.bodyTimeout = 0 // nor does a body: how long it may be silent is not HTTP's to say
	return &sealed{c}
}

// upgraded is a connection that HTTP has left.
type upgraded struct{ conn *Conn }

var _ net.Conn = (*upgraded)(nil)

// Socket is what the bytes of the connection stand on as they are.
func (u *upgraded) Socket() *net.TCPConn { return u.conn.socket }

// Read reads what the client sends.
func (u *upgraded) Read(p []byte) (int, error) { return u.conn.stream.Read(p) }

// Write sends p.
func (u *upgraded) Write(p []byte) (int, error) { return u.conn.stream.write(nil, p) }

// CloseWrite tells the client that nothing more comes.
func (u *upgraded) CloseWrite() error { return u.conn.socket.CloseWrite() }

// Close closes the socket, and the listener forgets the connection.
func (u *upgraded) Close() error { return u.conn.release() }

// LocalAddr is this end of the connection.
func (u *upgraded) LocalAddr() net.Addr { return u.conn.LocalAddr() }

// RemoteAddr is the other end of the connection.
func (u *upgraded) RemoteAddr() net.Addr { return u.conn.RemoteAddr() }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (u *upgraded) SetDeadline(t time.Time) error { return u.conn.socket.SetDeadline(t) }

// SetReadDeadline is the socket's.
func (u *upgraded) SetReadDeadline(t time.Time) error { return u.conn.socket.SetReadDeadline(t) }

// SetWriteDeadline is the socket's.
func (u *upgraded) SetWriteDeadline(t time.Time) error { return u.conn.socket.SetWriteDeadline(t) }

// sealed is a connection over TLS that HTTP has left.
type sealed struct{ conn *Conn }

var _ net.Conn = (*sealed)(nil)

// Read reads what the client sends, decrypted.
func (u *sealed) Read(p []byte) (int, error) { return u.conn.secure.conn.Read(p) }

// Write sends p, encrypted.
func (u *sealed) Write(p []byte) (int, error) { return u.conn.secure.conn.Write(p) }

// CloseWrite tells the client that nothing more comes.
func (u *sealed) CloseWrite() error { return u.conn.secure.conn.CloseWrite() }

// Close says farewell and closes the socket; the listener forgets the connection.
func (u *sealed) Close() error {
	u.conn.secure.farewell(false)
	return u.conn.release()
}

// LocalAddr is this end of the connection.
func (u *sealed) LocalAddr() net.Addr { return u.conn.LocalAddr() }

// RemoteAddr is the client.
func (u *sealed) RemoteAddr() net.Addr { return u.conn.RemoteAddr() }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (u *sealed) SetDeadline(t time.Time) error { return u.conn.SetDeadline(t) }

// SetReadDeadline ends a Read at t; the zero time never.
func (u *sealed) SetReadDeadline(t time.Time) error { return u.conn.SetReadDeadline(t) }

// SetWriteDeadline ends a Write at t; with the zero time a client that takes nothing
// for the listener's WriteTimeout is given up.
func (u *sealed) SetWriteDeadline(t time.Time) error { return u.conn.SetWriteDeadline(t) }
