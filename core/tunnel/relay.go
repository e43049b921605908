package tunnel

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// relay carries one tunnel by two goroutines, one for each direction: where an end
// is no plain socket, what it has can't be known without reading. They end with
// the tunnel, and the registry waits for them. Others only leave orders, and wake
// the goroutines by a deadline that is past.
type relay struct {
	registry *Registry
	tunnel   *Tunnel
	left     atomic.Int32 // goroutines

	mu  sync.Mutex // guards what is below, and the tunnel's flows, first and leaving; never held while waiting
	cut bool       // the tunnel is to end now
	why Reason
}

const (
	// smallRoom is what a goroutine holds while it waits, in bytes.
	smallRoom = 2 << 10
	// largeRoom is what it reads into while there is more than that.
	largeRoom = 32 << 10
)

// start is mover's.
func (r *relay) start(_ *Tunnel, early [directions][]byte) {
	r.left.Store(directions)
	for direction := range directions {
		r.registry.relays.Go(func() { r.run(direction, early[direction]) })
	}
}

// dismiss is mover's.
func (r *relay) dismiss(_ *Tunnel, why Reason) {
	r.mu.Lock()
	r.tunnel.goodbye(why, r.registry.clock.Mono()+int64(why.grace()))
	r.mu.Unlock()
	for _, c := range r.tunnel.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // a closed connection needs no waking
	}
}

// end is mover's.
func (r *relay) end(_ *Tunnel, why Reason) {
	r.mu.Lock()
	if !r.cut {
		r.cut, r.why = true, why
	}
	r.mu.Unlock()
	for _, c := range r.tunnel.conns {
		_ = c.SetDeadline(time.Unix(1, 0))
	}
}

// run is the goroutine of one direction. The last to end ends the tunnel.
func (r *relay) run(direction int, early []byte) {
	if r.hand(direction, early) {
		r.copy(direction)
	}
	if r.left.Add(-1) > 0 {
		return
	}
	r.mu.Lock()
	why := r.tunnel.because(r.why)
	r.mu.Unlock()
	r.tunnel.finish(why)
}

// copy carries bytes until the sender ends, or the receiver takes no more.
func (r *relay) copy(direction int) {
	from := r.tunnel.conns[direction]
	small := make([]byte, smallRoom)
	room := small
	for {
		n, err := from.Read(room)
		if n > 0 && !r.hand(direction, room[:n]) {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			_ = from.SetReadDeadline(time.Time{}) // before the orders are looked at: a later one sets it again
			if !r.attend(direction) {
				return
			}
		case errors.Is(err, io.EOF):
			r.hangUp(direction)
			return
		default:
			r.broken(direction)
			return
		}
		switch {
		case n < len(room):
			room = small
		case n < largeRoom:
			room = make([]byte, largeRoom)
		}
	}
}

// hand sends on what was read; false says that nobody takes it.
func (r *relay) hand(direction int, bytes []byte) bool {
	t := r.tunnel
	f := &t.flows[direction]
	if len(bytes) > 0 {
		t.active.Store(r.registry.clock.Mono())
		t.seat.series.moved[direction].Add(uint32(t.id), uint64(len(bytes)))
	}
	r.mu.Lock()
	keep, bye := f.pass(bytes)
	why := t.leaving
	if f.frames.closed && t.flows[1-direction].frames.closed {
		t.half.Store(true)
	}
	r.mu.Unlock()
	if !r.write(direction, keep) || bye && !r.write(direction, appendClose(nil, direction, why)) {
		return false
	}
	return r.attend(direction)
}

// write writes to the receiver of a direction, however long it takes; the sweeper
// ends what takes too long.
func (r *relay) write(direction int, bytes []byte) bool {
	if len(bytes) == 0 {
		return true
	}
	t := r.tunnel
	_, err := t.conns[1-direction].Write(bytes)
	if err == nil {
		t.active.Store(r.registry.clock.Mono())
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.refused(direction)
	return false
}

// attend carries out orders; false says that the tunnel has to end.
func (r *relay) attend(direction int) bool {
	t := r.tunnel
	r.mu.Lock()
	leaving := t.leaving
	bye := leaving != unknown && t.flows[direction].dismiss()
	r.mu.Unlock()
	if bye && !r.write(direction, appendClose(nil, direction, leaving)) {
		return false
	}
	r.mu.Lock()
	why, ripe := t.ripe()
	cut := r.cut
	r.mu.Unlock()
	if ripe && !cut {
		r.end(t, why)
	}
	return !ripe && !cut
}

// hangUp passes on the end of a sender.
func (r *relay) hangUp(direction int) {
	t := r.tunnel
	r.mu.Lock()
	t.senderEnded(direction)
	t.flows[direction].over = true
	r.mu.Unlock()
	if c, ok := t.conns[1-direction].(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // what fails is a receiver that has gone, which its own direction tells
	}
	r.attend(direction)
}

// broken ends a tunnel one end of which can't be used any more.
func (r *relay) broken(direction int) {
	r.mu.Lock()
	r.tunnel.senderEnded(direction)
	r.mu.Unlock()
	r.end(r.tunnel, unknown)
}
