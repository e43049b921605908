package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/wire"
)

// Options are what a listener and its connections keep to. A timeout of 0 never
// ends anything.
type Options struct {
	// Name is the listener's name in the configuration.
	Name string
	// Limits are what the heads of requests may cost.
	Limits wire.Limits
	// Totals bounds the number of connections; nil does not.
	Totals *Totals
	// HeaderTimeout is how long the head of a request may take, in all.
	HeaderTimeout time.Duration
	// BodyTimeout is how long the next bytes of a request body may take.
	BodyTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request.
	IdleTimeout time.Duration
	// WriteTimeout is how long the client may take no bytes of an answer.
	WriteTimeout time.Duration
	// Clock times the waits between tries to accept; nil is the machine's.
	Clock clock.Clock
	// Credentials make the listener speak TLS; nil: plain HTTP. The listener keeps
	// them for itself.
	Credentials *Credentials
	// Announcers are the networks from which every connection begins with a PROXY
	// header that names the client; no other may connect then. Empty: no
	// connection has such a header.
	Announcers []netip.Prefix
	// OnRefused, if set, hears of connections that ended before their first request
	// because of what came first: no TLS, no header, a stranger. It is called by
	// their goroutines and in the accept loop.
	OnRefused func(peer netip.AddrPort, err error)
	// OnAcceptError, if set, hears of every error of accepting and how long the
	// listener will wait before it tries again. It is called in the accept loop.
	OnAcceptError func(err error, wait time.Duration)
}

// Listener accepts connections for one address. It is a net.Listener whose
// connections are *Conn. Its methods may be called concurrently.
type Listener struct {
	options Options
	limits  *wire.Limits
	socket  *net.TCPListener
	shared  bool // others hold the socket too
	totals  *Totals
	epoch   time.Time // what the connections' times count from

	keys       keyring
	shown      atomic.Pointer[Credentials] // nil: plain HTTP; written by SetCredentials
	announcers *clientip.Trusted           // nil: no PROXY header

	closing   chan struct{} // closed when the listener is
	closeOnce sync.Once
	stopBy    atomic.Int64  // when accepting ends at the latest, once Stop was called; 0 before
	waking    atomic.Bool   // the deadline of accepting was set to wake the accept loop
	turns     atomic.Uint64 // how often the accept loop was woken without a connection

	// mu guards conns, refused and cut: taken at accept, at close and by the
	// Close methods, never by a request.
	mu      sync.Mutex
	conns   map[*Conn]struct{}
	refused map[*net.TCPConn]struct{} // answered 503 or 429, still draining
	cut     bool                      // CloseAll was called: nothing new may stay
	emptied chan struct{}             // closed by CloseAll
	refuser sync.WaitGroup            // one for each entry of refused
	watcher sync.WaitGroup

	buffers   sync.Pool    // of *buffer: bytes held back, and room to drain into
	lingering atomic.Int32 // connections that drain after Close

	accepted      atomic.Uint64
	refusedFull   atomic.Uint64
	refusedPerIP  atomic.Uint64
	acceptErrors  atomic.Uint64
	nonConforming atomic.Uint64
	strangers     atomic.Uint64
	badHeaders    atomic.Uint64
	handshakes    [2]atomic.Uint64 // whole ones, resumed ones
	failures      [reasons]atomic.Uint64
}

var _ net.Listener = (*Listener)(nil)

// Listen opens a TCP listener on address ("host:port"; port 0 picks a free one).
// Nagle's algorithm is off and keep-alive probes are on for its connections, as
// package net has it.
func Listen(address string, o Options) (*Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false) // such sockets take no filter, which Stop needs
	inner, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", o.Name, err)
	}
	return newListener(inner.(*net.TCPListener), o), nil
}

func newListener(socket *net.TCPListener, o Options) *Listener {
	l := &Listener{
		options: o,
		socket:  socket,
		totals:  o.Totals,
		epoch:   time.Now(),
		closing: make(chan struct{}),
		conns:   make(map[*Conn]struct{}),
		emptied: make(chan struct{}),
		refused: make(map[*net.TCPConn]struct{}),
	}
	l.limits = &l.options.Limits
	l.buffers.New = func() any { return &buffer{bytes: make([]byte, 0, bufferSize)} }
	if o.Credentials != nil {
		l.speakTLS(o.Credentials)
	}
	if len(o.Announcers) > 0 {
		l.announcers = clientip.New(o.Announcers)
	}
	if l.totals == nil {
		l.totals = NewTotals(0, 0)
	}
	if l.options.Clock == nil {
		l.options.Clock = clock.Real()
	}
	l.watcher.Go(l.watch)
	return l
}

// Name is the listener's name in the configuration.
func (l *Listener) Name() string { return l.options.Name }

// Addr is the address that it listens on.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// The waits between tries to accept after an error, doubling from the first to
// the last.
const (
	firstAcceptWait = 5 * time.Millisecond
	lastAcceptWait  = time.Second
)

// Accept waits for the next connection that may stay; ConnOf tells its *Conn. What
// comes before a request, a PROXY header or a handshake, is waited for by the
// goroutine that serves the connection and never here. The only error is net.ErrClosed,
// after Close, or after Stop once nobody waits to be accepted.
func (l *Listener) Accept() (net.Conn, error) {
	wait := firstAcceptWait
	for {
		look := l.beforeAccept()
		socket, err := l.socket.AcceptTCP()
		switch {
		case err == nil:
			wait = firstAcceptWait
			if c := l.admit(socket); c != nil {
				return l.opening(c), nil
			}
		case errors.Is(err, net.ErrClosed):
			return nil, net.ErrClosed
		case l.woken(err, look):
			if l.ranEmpty(look) {
				return nil, net.ErrClosed
			}
		default:
			if !l.pause(err, wait) {
				return nil, net.ErrClosed
			}
			wait = min(2*wait, lastAcceptWait)
		}
	}
}

// pause reports err and waits; false means that the listener was closed.
func (l *Listener) pause(err error, wait time.Duration) bool {
	l.acceptErrors.Add(1)
	if l.options.OnAcceptError != nil {
		l.options.OnAcceptError(err, wait)
	}
	timer := l.options.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-l.closing:
		return false
	}
}

// admit wraps and registers a new connection, or has it refused.
func (l *Listener) admit(socket *net.TCPConn) *Conn {
	counted := account{client: addrPort(socket.RemoteAddr()).Addr(), known: true}
	if l.announcers != nil {
		if !l.announcers.Contains(counted.client) {
			l.refuseStranger(socket)
			return nil
		}
		counted = account{}
	}
	switch l.totals.enter(counted) {
	case full:
		l.refusedFull.Add(1)
		l.refuse(socket, fault.Overloaded)
		return nil
	case crowded:
		l.refusedPerIP.Add(1)
		l.refuse(socket, fault.TooManyConnections)
		return nil
	}
	c, err := newConn(l, socket, counted)
	if err == nil {
		err = l.register(c)
	}
	if err != nil {
		l.totals.leave(counted)
		_ = socket.Close() // nothing was sent on it yet
		return nil
	}
	l.accepted.Add(1)
	return c
}

// opening is what the server gets: a type that says whether the connection is
// encrypted, and that sees to what comes before the first request.
func (l *Listener) opening(c *Conn) net.Conn {
	switch {
	case l.shown.Load() != nil:
		return newSecureConn(c)
	case l.announcers != nil:
		return &announcedConn{Conn: c}
	default:
		return c
	}
}

// addrPort is a as a value, IPv4-mapped addresses as IPv4.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// register remembers c until forget. It fails after CloseAll.
func (l *Listener) register(c *Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return net.ErrClosed
	}
	l.conns[c] = struct{}{}
	return nil
}

// forget is called once for each registered connection, when its socket is closed.
func (l *Listener) forget(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	counted := c.counted
	l.mu.Unlock()
	l.totals.leave(counted)
}

// Close stops accepting; connections that were accepted live on. Connections that
// are being refused are cut, and awaited. Closing again does nothing.
func (l *Listener) Close() error {
	var err error
	l.closeOnce.Do(func() {
		close(l.closing)
		err = l.socket.Close()
	})
	l.mu.Lock()
	for socket := range l.refused {
		_ = socket.Close() // the one that drains it sees the end
	}
	l.mu.Unlock()
	l.refuser.Wait()
	if err != nil {
		return fmt.Errorf("closing listener %s: %w", l.Name(), err)
	}
	return nil
}

// CloseAll closes every connection at once, whatever it is doing, and says how
// many were in use: those that linger after their Close don't count. Connections
// accepted later are closed too.
func (l *Listener) CloseAll() int {
	l.mu.Lock()
	if !l.cut {
		l.cut = true
		close(l.emptied)
	}
	l.mu.Unlock()
	l.watcher.Wait()
	n := 0
	for _, c := range l.connections() {
		if c.cut() {
			n++
		}
	}
	return n
}

// connections lists those that are registered: closing one takes the lock.
func (l *Listener) connections() []*Conn { return l.appendConnections(nil) }

func (l *Listener) appendConnections(to []*Conn) []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	to = slices.Grow(to, len(l.conns))
	for c := range l.conns {
		to = append(to, c)
	}
	return to
}

// Open is how many connections are open now, those that linger after their Close
// included.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Idle is how many of them wait for their next request. It asks each, so it is
// for the views of operators.
func (l *Listener) Idle() int {
	n := 0
	for _, c := range l.connections() {
		if c.state.Load() == waiting {
			n++
		}
	}
	return n
}

// Accepted is how many connections were accepted so far; refused ones don't count.
func (l *Listener) Accepted() uint64 { return l.accepted.Load() }

// RefusedFull is how many connections were refused because of the total.
func (l *Listener) RefusedFull() uint64 { return l.refusedFull.Load() }

// RefusedPerIP is how many connections were refused because of too many from one
// address.
func (l *Listener) RefusedPerIP() uint64 { return l.refusedPerIP.Load() }

// AcceptErrors is how many times accepting failed.
func (l *Listener) AcceptErrors() uint64 { return l.acceptErrors.Load() }

// NonConforming is how many connections ended because of a message against
// RFC 9112 or over the limits.
func (l *Listener) NonConforming() uint64 { return l.nonConforming.Load() }

// now is the time since the listener was made, in nanoseconds.
func (l *Listener) now() int64 { return int64(time.Since(l.epoch)) }
