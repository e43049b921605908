package listen

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/socket"
)

// ConnOf is the connection behind what a Listener has accepted; nil for any other.
func ConnOf(c net.Conn) *Conn {
	switch c := c.(type) {
	case *Conn:
		return c
	case *SecureConn:
		return c.Conn
	case *announcedConn:
		return c.Conn
	default:
		return nil
	}
}

// announcedConn is a plain connection that begins with a PROXY header.
type announcedConn struct {
	*Conn
	begun bool // the header was looked at; of the reading goroutine
}

// Read is Conn.Read behind the header.
func (a *announcedConn) Read(p []byte) (int, error) {
	if !a.begun {
		a.begun = true
		a.introduce()
	}
	return a.Conn.Read(p)
}

// ErrStranger is told of connections from peers that may not announce clients.
var ErrStranger = errors.New("the connection is from none of the networks in proxy_protocol.from")

// Further errors that end a connection before its first request.
var (
	errEndsEarly = errors.New("the connection ended inside its PROXY header")
	errCrowded   = errors.New("there are too many connections of this client")
)

// refuseStranger closes a connection from a peer that may not name clients: it
// could give itself any address (SECURITY C10).
func (l *Listener) refuseStranger(socket *net.TCPConn) {
	l.strangers.Add(1)
	_ = socket.Close() // nothing can be done about a socket that does not close
	l.tell(addrPort(socket.RemoteAddr()), ErrStranger)
}

func (l *Listener) tell(peer netip.AddrPort, err error) {
	if l.options.OnRefused != nil {
		l.options.OnRefused(peer, err)
	}
}

// introduce reads the PROXY header, within the time that the first head has. From
// then on the client that it announces is the peer. Where there is none that will
// do, the connection is over: Read says io.EOF.
func (c *Conn) introduce() {
	client, err := c.readProxyHeader()
	if err == nil {
		if !client.IsValid() {
			client = c.peer
		}
		err = c.listener.announce(c, client)
	}
	switch {
	case err == nil:
		return
	case errors.Is(err, errCrowded):
		c.listener.refusedPerIP.Add(1)
		if c.secure == nil {
			// Whoever does not take the answer is closed all the same.
			_, _ = c.put(fault.AppendResponse(nil, fault.TooManyConnections, freshID()))
		}
	case !errors.Is(err, net.ErrClosed):
		c.listener.badHeaders.Add(1)
		c.listener.tell(c.peer, err)
	}
	c.giveUp()
}

// giveUp ends reading before the first request. Bytes may be there that nobody
// reads, and a last word of ours must arrive.
func (c *Conn) giveUp() {
	c.failed = io.EOF
	c.state.Store(unread)
}

// announce counts c for the client that it turned out to be from. It fails where
// that is one too many, and where c was closed meanwhile.
func (l *Listener) announce(c *Conn, client netip.AddrPort) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.conns[c]; !open {
		return net.ErrClosed
	}
	if l.totals.name(client.Addr()) != admitted {
		return errCrowded
	}
	c.counted = account{client: client.Addr(), known: true}
	c.announced.Store(&client)
	return nil
}

// readProxyHeader takes exactly the header off the socket. It peeks until the header
// is whole, so that what stands behind it, of a request or of TLS, stays there.
func (c *Conn) readProxyHeader() (netip.AddrPort, error) {
	c.armRead(c.waitDue, c.listener.now())
	room := c.listener.buffers.Get().(*buffer)
	defer c.listener.buffers.Put(room)
	h := headerReader{room: room.bytes[:min(cap(room.bytes), longestProxyHeader)]}
	if err := c.stream.raw.Read(h.look); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("no PROXY header came in time: %w", err)
		}
		return netip.AddrPort{}, err
	}
	return h.client, h.err
}

// headerReader is one wait for a PROXY header.
type headerReader struct {
	room   []byte
	client netip.AddrPort
	err    error
}

// look says whether it needs to see no more of the socket.
func (h *headerReader) look(fd uintptr) bool {
	finished := socket.Finished(fd) // before the peek: what is peeked is all, then
	n, errno := socket.PeekInto(fd, h.room)
	if errno == syscall.EAGAIN {
		return false
	}
	if errno != 0 {
		h.err = os.NewSyscallError("peek", errno)
		return true
	}
	var length int
	h.client, length, h.err = parseProxyHeader(h.room[:n])
	switch {
	case errors.Is(h.err, errProxyIncomplete) && finished:
		h.err = errEndsEarly
	case errors.Is(h.err, errProxyIncomplete):
		return false
	case h.err == nil:
		h.consume(fd, length)
	}
	return true
}

// consume takes what was peeked.
func (h *headerReader) consume(fd uintptr, length int) {
	if n, errno := socket.Read(fd, h.room[:length]); errno != 0 || n != length {
		h.err = errEndsEarly // the bytes were there: only a reset takes them away
	}
}
