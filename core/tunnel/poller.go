package tunnel

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/clock"
)

const (
	// roomSize is how much is moved at once, in bytes.
	roomSize = 64 << 10
	// batch is how many events are taken at once.
	batch = 128
)

// poller watches the sockets of many tunnels by one epoll, and moves their bytes
// on one goroutine. The epoll itself is watched by the runtime's poller, so that
// the goroutine waits like any other and takes no thread away.
//
// All is edge-triggered: what an end can do is remembered with it until a call
// says that it can't any more. So a message costs one read and one write.
type poller struct {
	index uint32 // its stripe in metrics
	clock clock.Clock
	stuck *sync.Pool // *leftover

	epoll int
	file  *os.File // of epoll
	bell  int      // an eventfd: it rings when there are orders
	done  chan struct{}

	mu     sync.Mutex // guards orders and closed
	orders []order
	closed bool

	// All below belongs to the goroutine.
	taken      []order // the orders at hand
	events     [batch]unix.EpollEvent
	room       []byte
	slots      []slot
	free       []int32
	unfinished []*Tunnel // stopped so that others get their turn
	again      []*Tunnel // unfinished, while it is gone through
	now        int64
	stopped    bool
}

// slot is where an event finds its tunnel. The generation tells a tunnel from an
// earlier one of the same slot, whose events may still come.
type slot struct {
	tunnel     *Tunnel
	generation int32
}

// order is what others want of a tunnel. Only the poller's goroutine touches one.
type order struct {
	do     task
	tunnel *Tunnel
	why    Reason
	early  [directions][]byte
}

type task uint8

const (
	doStart task = iota
	doDismiss
	doEnd
	doStop
)

// bellSlot marks the events of the bell.
const bellSlot = -1

func newPoller(index uint32, c clock.Clock, stuck *sync.Pool) (*poller, error) {
	p := &poller{index: index, clock: c, stuck: stuck, done: make(chan struct{}), room: make([]byte, roomSize)}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	if err = unix.SetNonblock(p.epoll, true); err == nil {
		p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		_ = unix.Close(p.epoll)
		return nil, fmt.Errorf("making an eventfd: %w", err)
	}
	p.file = os.NewFile(uintptr(p.epoll), "epoll")
	ring := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: bellSlot}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.bell, &ring); err != nil {
		p.release()
		return nil, fmt.Errorf("watching an eventfd: %w", err)
	}
	raw, err := p.file.SyscallConn()
	if err != nil {
		p.release()
		return nil, fmt.Errorf("watching an epoll: %w", err)
	}
	go p.run(raw)
	return p, nil
}

// release gives its descriptors back.
func (p *poller) release() {
	_ = p.file.Close() // both are nobody's but ours
	_ = unix.Close(p.bell)
}

// post leaves an order. Nobody orders anything of a poller that has stopped but
// the end of what has ended.
func (p *poller) post(o order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = append(p.orders, o)
	if len(p.orders) == 1 && !p.closed {
		p.ring()
	}
}

// ring makes the goroutine take a turn.
func (p *poller) ring() {
	one := [8]byte{1}
	_, _ = unix.Write(p.bell, one[:]) // fails only while it rings already
}

// start is mover's.
func (p *poller) start(t *Tunnel, early [directions][]byte) {
	p.post(order{do: doStart, tunnel: t, early: early})
}

// dismiss is mover's.
func (p *poller) dismiss(t *Tunnel, why Reason) { p.post(order{do: doDismiss, tunnel: t, why: why}) }

// end is mover's.
func (p *poller) end(t *Tunnel, why Reason) { p.post(order{do: doEnd, tunnel: t, why: why}) }

// stop ends every tunnel and the goroutine, and waits for that.
func (p *poller) stop() {
	p.post(order{do: doStop})
	<-p.done
}

// run is the goroutine. The registry owns it: stop ends it, and waits.
func (p *poller) run(raw syscall.RawConn) {
	defer close(p.done)
	turn := p.turn
	for !p.stopped {
		if err := raw.Read(turn); err != nil {
			// Only a closed descriptor gets here, and nobody closes this one.
			panic(fmt.Sprintf("BUG: waiting for an epoll: %v", err))
		}
	}
	p.release()
}

// turn runs whenever something has happened, and returns false to wait for more.
// What happens from the moment on at which ready found less than it was asked for
// makes the runtime's poller call again. Where there is more to do at once, the
// bell makes it: a goroutine that went on by itself would keep the scheduler
// from looking at the network, which it does when nobody has anything to do.
func (p *poller) turn(uintptr) bool {
	n := ready(p.epoll, p.events[:])
	p.now = p.clock.Mono()
	for i := range p.events[:n] {
		p.event(&p.events[i])
	}
	p.finish()
	if n == batch || len(p.unfinished) > 0 {
		p.ring()
	}
	return p.stopped
}

// event notes what an end can do now, and lets its tunnel do it.
func (p *poller) event(e *unix.EpollEvent) {
	if e.Fd == bellSlot {
		p.obey()
		return
	}
	s := p.slots[e.Fd>>1]
	if s.tunnel == nil || s.generation != e.Pad {
		return
	}
	t := s.tunnel
	end := &t.raw.ends[e.Fd&1]
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		end.closing = true
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		end.readable = true
	}
	if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		end.writable = true
	}
	p.serve(t)
}

// finish goes on with tunnels that had more to move than one turn allows.
func (p *poller) finish() {
	p.again, p.unfinished = p.unfinished, p.again[:0]
	for i, t := range p.again {
		p.again[i] = nil
		t.raw.queued = false
		if !t.gone {
			p.serve(t)
		}
	}
}

// obey does what was asked for.
func (p *poller) obey() {
	p.mu.Lock()
	p.taken, p.orders = p.orders, p.taken[:0]
	p.mu.Unlock()
	for i := range p.taken {
		o := p.taken[i]
		p.taken[i] = order{}
		switch {
		case o.do == doStop:
			p.close()
		case o.do == doStart:
			p.take(o.tunnel, o.early)
		case o.tunnel.gone:
		case o.do == doDismiss:
			p.sayGoodbye(o.tunnel, o.why)
		default:
			p.drop(o.tunnel, o.why)
		}
	}
}

// close ends every tunnel.
func (p *poller) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for i := range p.slots {
		if t := p.slots[i].tunnel; t != nil {
			p.drop(t, ByDrain)
		}
	}
	p.stopped = true
}
