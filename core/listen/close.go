package listen

import (
	"errors"
	"fmt"
	"net"

	"github.com/suuupra/gateway/core/socket"
)

// Close ends the connection after what was written. Where the client may have
// sent bytes that nobody read it goes on reading them for a bounded while, so
// that the answer arrives. It blocks that long, and may be called more than once
// and by any goroutine.
func (c *Conn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	// A client that does not take the end of its answer gets no more of it.
	_ = c.Flush()
	if c.secure != nil {
		c.secure.farewell(true)
	}
	if c.mayHaveUnread() {
		c.linger()
	}
	return c.release()
}

// linger drains the connection, unless too many do already. The deadline is set
// by hand so that a reader which is still there does not put it off.
func (c *Conn) linger() {
	l := c.listener
	c.lingers.Store(true)
	defer l.lingering.Add(-1)
	if l.lingering.Add(1) <= mostLingers {
		l.drain(c.socket, c.SetReadDeadline)
	}
}

// mayHaveUnread says whether closing now could reset the connection. Between two
// messages it could only if the client sends one just now, and then it must
// expect that (RFC 9112 §9.5).
func (c *Conn) mayHaveUnread() bool {
	switch c.state.Load() {
	case unread:
		return true
	case settled:
		return c.lookNow() == socket.Bytes
	default:
		return false
	}
}

// release closes the socket, once.
func (c *Conn) release() error {
	err := c.socket.Close()
	if c.released.CompareAndSwap(false, true) {
		c.listener.forget(c)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the connection: %w", err)
	}
	return nil
}

// cut closes the connection whatever it is doing; a Close that lingers ends. It
// says whether that took something from the client.
func (c *Conn) cut() bool {
	used := !c.lingers.Load() && !c.released.Load()
	c.closed.Store(true)
	_ = c.release() // nothing can be done about a socket that does not close
	return used
}

// closeIdle closes the connection if nothing of a next message has arrived: the
// reader may not have seen yet what waits in the socket.
func (c *Conn) closeIdle() bool {
	if c.lookNow() == socket.Bytes || !c.state.CompareAndSwap(waiting, over) {
		return false
	}
	if held := c.stream.take(); held != nil {
		_ = c.stream.raw.Control(func(fd uintptr) { _, _ = socket.Write(fd, held) }) // who takes no answer is cut
	}
	if c.secure != nil {
		c.secure.farewell(false)
	}
	c.cut()
	return true
}

// Abort resets the connection, so that the client can't take an answer that was
// cut short for a whole one. Any goroutine may call it.
func (c *Conn) Abort() {
	_ = c.socket.SetLinger(0) // fails on a closed socket only
	c.cut()
}

// Gone says that the client has closed or reset the connection, and that nothing
// it sent is left to be read. It looks without waiting and without taking
// anything; any goroutine may call it, also while the connection is read.
func (c *Conn) Gone() bool {
	switch c.lookNow() {
	case socket.Broken:
		return true
	case socket.Ended:
		return !c.holding.Load()
	case socket.Bytes:
		return c.secure != nil && !c.holding.Load() && c.secure.leaving()
	default:
		return false
	}
}

// lookNow peeks the socket. Control is used, and not Read, because it does not
// wait for a reader that is blocked.
func (c *Conn) lookNow() socket.Sight {
	if err := c.stream.raw.Control(c.peek); err != nil {
		return socket.Broken
	}
	return socket.Sight(c.peeked.Load())
}

// look is the peek itself, called with the socket's descriptor. Two at once are
// harmless: each result is as good as the other.
func (c *Conn) look(fd uintptr) { c.peeked.Store(uint32(socket.Peek(fd))) }
