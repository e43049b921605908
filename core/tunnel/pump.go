package tunnel

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/socket"
)

// raw is what the poller knows of a tunnel.
type raw struct {
	ends   [directions]end
	stuck  [directions]*leftover // by direction: read, and not taken by the receiver
	slot   int32
	queued bool // among the unfinished
}

// end is one socket. What it can do is believed until a call fails.
type end struct {
	fd       int
	readable bool
	writable bool
	closing  bool // it has ended, or broken: what is read ends in that
}

// leftover is pooled room for bytes that a slow receiver has not taken.
type leftover struct {
	bytes []byte
	sent  int
}

// turns is how often one tunnel may read in one direction before others are looked
// after.
const turns = 4

// close closes both descriptors. Errors of theirs are nobody's any more.
func (r *raw) close() {
	for i := range r.ends {
		_ = unix.Close(r.ends[i].fd)
	}
}

// take begins to watch a tunnel. Each end is looked at once in any case: the
// kernel tells at first what it can do.
func (p *poller) take(t *Tunnel, early [directions][]byte) {
	at := p.slot(t)
	t.active.Store(p.now)
	for i := range t.raw.ends {
		e := &t.raw.ends[i]
		e.writable = true
		watch := unix.EpollEvent{
			Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
			Fd:     at<<1 | int32(i), Pad: p.slots[at].generation,
		}
		if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, e.fd, &watch); err != nil {
			p.drop(t, ByError)
			return
		}
	}
	for direction, bytes := range early {
		if len(bytes) > 0 {
			p.carry(t, direction, bytes)
		}
	}
}

// slot gives t a place.
func (p *poller) slot(t *Tunnel) int32 {
	if last := len(p.free) - 1; last >= 0 {
		t.raw.slot = p.free[last]
		p.free = p.free[:last]
	} else {
		t.raw.slot = int32(len(p.slots))
		p.slots = append(p.slots, slot{})
	}
	p.slots[t.raw.slot].tunnel = t
	return t.raw.slot
}

// drop ends a tunnel, and returns what it holds.
func (p *poller) drop(t *Tunnel, why Reason) {
	t.gone = true
	s := &p.slots[t.raw.slot]
	s.tunnel = nil
	s.generation++
	p.free = append(p.free, t.raw.slot)
	for direction := range t.raw.stuck {
		p.putBack(t, direction)
	}
	t.raw.close()
	t.finish(t.because(why))
}

// serve moves what can be moved, both ways.
func (p *poller) serve(t *Tunnel) {
	more := p.pump(t, fromClient)
	more = p.pump(t, fromService) || more
	if why, ripe := t.ripe(); ripe && !t.unsent() {
		p.drop(t, why)
		return
	}
	if more && !t.raw.queued {
		t.raw.queued = true
		p.unfinished = append(p.unfinished, t)
	}
}

// unsent says whether something read has not been sent, though it can be.
func (t *Tunnel) unsent() bool {
	for direction, l := range t.raw.stuck {
		if l != nil && !t.flows[direction].over {
			return true
		}
	}
	return false
}

// pump moves bytes in one direction, as long as the sender has some and the
// receiver takes them. It returns true if there may be more at once.
func (p *poller) pump(t *Tunnel, direction int) (more bool) {
	f, from := &t.flows[direction], &t.raw.ends[direction]
	for range turns {
		if t.raw.stuck[direction] != nil && !p.flush(t, direction) || f.over || f.ended || !from.readable {
			return false
		}
		n, errno := socket.Read(uintptr(from.fd), p.room)
		switch {
		case errno == syscall.EAGAIN:
			from.readable = false
			return false
		case errno != 0:
			p.broken(t, direction)
			return false
		case n == 0:
			p.ended(t, direction)
			return false
		}
		// A short read has emptied the socket: what comes later is a new event. But an
		// end that was told already would not be told again.
		from.readable = n == len(p.room) || from.closing
		t.active.Store(p.now)
		t.seat.series.moved[direction].Add(p.index, uint64(n))
		p.carry(t, direction, p.room[:n])
	}
	return from.readable && t.raw.stuck[direction] == nil
}

// carry hands on bytes that were read.
func (p *poller) carry(t *Tunnel, direction int, bytes []byte) {
	f := &t.flows[direction]
	keep, bye := f.pass(bytes)
	p.send(t, direction, keep)
	if bye {
		p.send(t, direction, appendClose(nil, direction, t.leaving))
	}
	if f.frames.closed && t.flows[1-direction].frames.closed {
		t.half.Store(true)
	}
}

// send writes bytes, and keeps what the receiver does not take.
func (p *poller) send(t *Tunnel, direction int, bytes []byte) {
	f, to := &t.flows[direction], &t.raw.ends[1-direction]
	if len(bytes) == 0 || f.over {
		return
	}
	if l := t.raw.stuck[direction]; l != nil {
		l.bytes = append(l.bytes, bytes...)
		return
	}
	n, errno := 0, syscall.EAGAIN
	if to.writable {
		n, errno = socket.Write(uintptr(to.fd), bytes)
	}
	switch {
	case errno != 0 && errno != syscall.EAGAIN:
		p.refused(t, direction)
		return
	case n == len(bytes):
		return
	}
	// Less than all: the socket is full, and there will be an event when it is not.
	to.writable = false
	l := p.stuck.Get().(*leftover)
	l.bytes, l.sent = append(l.bytes[:0], bytes[n:]...), 0
	t.raw.stuck[direction] = l
}

// flush writes what is stuck; false says that it still is.
func (p *poller) flush(t *Tunnel, direction int) bool {
	l, to := t.raw.stuck[direction], &t.raw.ends[1-direction]
	if !to.writable {
		return false
	}
	n, errno := socket.Write(uintptr(to.fd), l.bytes[l.sent:])
	if errno != 0 && errno != syscall.EAGAIN {
		p.refused(t, direction)
		return true
	}
	if l.sent += n; n > 0 {
		t.active.Store(p.now)
	}
	if l.sent < len(l.bytes) {
		to.writable = false
		return false
	}
	p.putBack(t, direction)
	if t.flows[direction].ended {
		p.hangUp(t, direction)
	}
	return true
}

// putBack returns the room of stuck bytes.
func (p *poller) putBack(t *Tunnel, direction int) {
	if l := t.raw.stuck[direction]; l != nil {
		t.raw.stuck[direction] = nil
		p.stuck.Put(l)
	}
}

// ended notes the end of a sender, and passes it on behind its last byte.
func (p *poller) ended(t *Tunnel, direction int) {
	t.senderEnded(direction)
	if t.raw.stuck[direction] == nil {
		p.hangUp(t, direction)
	}
}

// hangUp tells the receiver of a direction that nothing more comes.
func (p *poller) hangUp(t *Tunnel, direction int) {
	t.flows[direction].over = true
	// What fails here is a receiver that has gone, which its own direction tells.
	_ = unix.Shutdown(t.raw.ends[1-direction].fd, unix.SHUT_WR)
}

// broken notes that a socket can't be read any more, and so can't be written.
func (p *poller) broken(t *Tunnel, direction int) {
	p.refused(t, 1-direction)
	p.ended(t, direction)
}

// refused notes that the receiver of a direction takes nothing more.
func (p *poller) refused(t *Tunnel, direction int) {
	p.putBack(t, direction)
	t.refused(direction)
}

// sayGoodbye puts a Close frame behind what was read, where that ends a frame.
func (p *poller) sayGoodbye(t *Tunnel, why Reason) {
	if !t.goodbye(why, p.now+int64(why.grace())) {
		return
	}
	for direction := range t.flows {
		if t.flows[direction].dismiss() {
			p.send(t, direction, appendClose(nil, direction, t.leaving))
		}
	}
	p.serve(t)
}
