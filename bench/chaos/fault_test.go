package chaos

import (
	"net/netip"
	"sync"
	"syscall"
)

// taken are the ports that tests of this run have been given.
var taken = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// fault is one way in which an endpoint fails.
type fault struct {
	name string
	// distant: a network lies before the endpoint, and it is that which fails.
	distant bool
	// slow: the gateway finds out by its timeouts alone.
	slow   bool
	strike func(*endpoint)
	heal   func(*endpoint)
}

// faults are those of one endpoint among three.
var faults = []fault{
	{name: "killed (kill -9)", strike: func(e *endpoint) { end(e.origin) }, heal: func(e *endpoint) { e.start() }},
	{name: "hung (SIGSTOP)", slow: true, strike: func(e *endpoint) { e.signal(syscall.SIGSTOP) }, heal: func(e *endpoint) { e.signal(syscall.SIGCONT) }},
	{name: "full accept backlog", slow: true, strike: func(e *endpoint) { end(e.origin); e.block() }, heal: func(e *endpoint) { e.unblock(); e.start() }},
	{
		name: "slow (5 s)", slow: true, distant: true,
		strike: func(e *endpoint) {
			e.toxic(`{"name":"fault","type":"latency","stream":"downstream","attributes":{"latency":5000}}`)
		},
		heal: mend,
	},
	{
		name: "reset mid-header", distant: true,
		strike: func(e *endpoint) {
			e.toxic(`{"name":"fault","type":"limit_data","stream":"downstream","attributes":{"bytes":20}}`)
		},
		heal: mend,
	},
	{name: "answers 500", strike: func(e *endpoint) { e.replace("-status", "500") }, heal: func(e *endpoint) { e.replace() }},
}

// mend takes what breaks the network away. What was under way is lost with the
// connections: toxiproxy would deliver it seconds later.
func mend(e *endpoint) {
	e.network.Stop()
	e.t.Helper()
	if err := e.network.Toxics.RemoveToxic(e.t.Context(), "fault"); err != nil {
		e.t.Errorf("mending the network: %v", err)
	}
	if err := e.network.Start(); err != nil {
		e.t.Errorf("mending the network: %v", err)
	}
}

// block listens in the place of the process with a backlog that is full: the kernel
// drops further attempts, as if nobody were there to refuse them.
func (e *endpoint) block() {
	at := netip.MustParseAddrPort(e.listen)
	address := &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		e.blocked = append(e.blocked, fd)
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = syscall.Bind(fd, address)
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	for range 4 {
		if err != nil {
			break
		}
		var c int
		if c, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0); err == nil {
			e.blocked = append(e.blocked, c)
			if err = syscall.Connect(c, address); err == syscall.EINPROGRESS {
				err = nil
			}
		}
	}
	if err != nil {
		e.t.Errorf("filling a backlog: %v", err)
	}
}

func (e *endpoint) unblock() {
	for _, fd := range e.blocked {
		_ = syscall.Close(fd) // nothing was written
	}
	e.blocked = nil
}
