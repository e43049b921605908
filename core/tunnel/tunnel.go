package tunnel

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// End is one end of a tunnel to be: a connection, which belongs to the tunnel from
// now on, and what was read from it before.
//
// If Conn is a *net.TCPConn, or one that [Socketed] says more about, its socket
// is used and Conn itself only closed. CloseWrite, if it has one, ends what is sent
// to it while it may still send.
type End struct {
	Conn  net.Conn
	Early []byte // owned by the tunnel
}

// Socketed is a connection around a socket.
type Socketed interface {
	// Socket returns the socket if the bytes on it are the very ones that Read and
	// Write move, else nil. Whoever asks may take it away from the connection.
	Socket() *net.TCPConn
}

// Spec says what a tunnel is.
type Spec struct {
	CorrelationID string
	Endpoint      string // address of the service's end
	Client        netip.Addr
	// Idle is how long neither end may send anything; 0 is for ever.
	Idle time.Duration
	// Done, if not nil, is called once when the tunnel is over. It must not block.
	Done func()

	ClientEnd, ServiceEnd End
}

// Tunnel is two connections whose bytes are carried from each to the other. Those
// of its methods that are exported may be called concurrently.
type Tunnel struct {
	id    uint64
	seat  *Seat
	mover mover

	correlationID, endpoint string
	client                  netip.Addr
	idle                    time.Duration
	opened                  time.Time
	done                    func()

	// active is the monotonic time in ns at which a byte was moved last. The mover
	// writes it, the sweeper reads it.
	active atomic.Int64
	// due is when it has to be over whatever happens; 0: not said. The mover writes it.
	due atomic.Int64
	// half says that one end has ended, or that both have said goodbye.
	half atomic.Bool

	// All below belongs to the mover.
	conns   [directions]net.Conn
	flows   [directions]flow
	first   Reason // who ended first
	leaving Reason // why it was told to go
	gone    bool
	raw     raw // the poller's
}

// mover carries the bytes of tunnels.
type mover interface {
	// start takes hold of a tunnel whose ends have sent early already.
	start(t *Tunnel, early [directions][]byte)
	// dismiss says 1001 or 1008 to both ends as soon as it can, and ends the tunnel when
	// both have answered, or when it is due. It waits for nothing.
	dismiss(t *Tunnel, why Reason)
	// end closes both connections.
	end(t *Tunnel, why Reason)
}

// Reason is why a tunnel is over.
type Reason uint8

// The reasons.
const (
	unknown    Reason = iota
	ByClient          // the client ended first, or its connection broke
	ByService         // the service did
	ByIdle            // neither sent anything for too long
	ByDrain           // the gateway goes away
	ByOperator        // somebody asked for it
	ByPolicy          // its caller may no longer have it: revoked, or the token has expired
	ByError           // the gateway could not carry it
	reasons
)

// String is the reason as a label.
func (r Reason) String() string {
	return [...]string{"unknown", "client", "service", "idle", "drain", "operator", "policy", "error", "?"}[min(r, reasons)]
}

// Info is what is known of a tunnel at a moment.
type Info struct {
	ID            uint64
	CorrelationID string
	Route         string
	Service       string
	Endpoint      string
	Client        netip.Addr
	Opened        time.Time
	BytesIn       int64 // that came from the client
	BytesOut      int64 // that came from the service
}

func (t *Tunnel) info() Info {
	return Info{
		ID: t.id, CorrelationID: t.correlationID, Route: t.seat.series.route, Service: t.seat.series.service,
		Endpoint: t.endpoint, Client: t.client, Opened: t.opened,
		BytesIn: t.flows[fromClient].moved.Load(), BytesOut: t.flows[fromService].moved.Load(),
	}
}

// What is known of the reason once a direction has ended.
var endedBy = [directions]Reason{fromClient: ByClient, fromService: ByService}

// senderEnded notes that the sender of a direction sends nothing more.
func (t *Tunnel) senderEnded(direction int) {
	t.flows[direction].ended = true
	t.half.Store(true)
	if t.first == unknown {
		t.first = endedBy[direction]
	}
}

// goodbye notes that the tunnel has to go, and returns false if it was known. The
// earlier of two dues holds.
func (t *Tunnel) goodbye(why Reason, due int64) bool {
	if t.leaving != unknown {
		t.due.Store(min(t.due.Load(), due))
		return false
	}
	t.leaving = why
	t.due.Store(due)
	return true
}

// ripe says that nothing more is to be waited for, and why it ended.
func (t *Tunnel) ripe() (Reason, bool) {
	c, s := &t.flows[fromClient], &t.flows[fromService]
	switch {
	case c.over && s.over:
	case c.frames.closed && s.frames.closed && (c.ended || s.ended): // nothing is left to be said
	case t.leaving != unknown && c.spoken() && s.spoken() && c.told() && s.told():
	default:
		return unknown, false
	}
	return t.because(unknown), true
}

// because is the reason of an end: the one that is given, else what is known.
func (t *Tunnel) because(given Reason) Reason {
	switch {
	case given != unknown:
		return given
	case t.leaving != unknown:
		return t.leaving
	default:
		return t.first
	}
}

// refused notes that the receiver of a direction takes nothing more.
func (t *Tunnel) refused(direction int) {
	t.flows[direction].over = true
	t.half.Store(true)
	if t.first == unknown {
		t.first = endedBy[1-direction]
	}
}

// Dismiss says goodbye to both ends with 1008, and closes the tunnel after a moment, if
// it is not over already: its caller may no longer have it (SECURITY I21). It waits
// for nothing.
func (t *Tunnel) Dismiss() {
	if t.mover != nil { // else it was opened too late, and is over
		t.mover.dismiss(t, ByPolicy)
	}
}

// told says whether the client knows why its connection will close.
func (t *Tunnel) told() bool { return t.flows[fromService].told() }
