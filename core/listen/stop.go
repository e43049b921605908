package listen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// On makes a listener of a socket that listens already and that others hold too, such
// as systemd or the process that this one replaces. It closes its own hold in the end.
func On(socket *net.TCPListener, o Options) (*Listener, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listener %s: the socket that was passed in: %w", o.Name, err)
	}
	// All holders share whether the socket blocks, and systemd has it block for each
	// program that it starts with it, unless NonBlocking=yes. A call that found nobody
	// to accept would wait in the kernel then, where neither Stop nor Close can end it.
	patience := unix.NsecToTimeval(int64(blockedFor))
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptTimeval(int(fd), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("listener %s: bounding the waits on the socket that was passed in: %w", o.Name, err)
	}
	l := newListener(socket, o)
	l.shared = true
	return l, nil
}

// Bounds of the end of accepting.
const (
	// emptyFor is how long nobody may have come for the queue to count as empty. A
	// connection is queued when its handshake ends, so this is also the time for
	// those that have begun one.
	emptyFor = 200 * time.Millisecond
	// lastAccepts is how long newcomers may put off the end, where the kernel does not
	// keep them away.
	lastAccepts = time.Second
	// blockedFor is how long a shared socket that was made to block does.
	blockedFor = 100 * time.Millisecond
	// turnPoll is how often Turn looks for the accept loop.
	turnPoll = time.Millisecond
)

// Stop has Accept go on until nobody waits to be accepted, and then close the
// listener: closing at once would reset the connections that the kernel has made
// and nobody has accepted yet. A socket that others hold too is let go at once, for
// its queue is theirs. Stop does not wait for the end. Connections that were accepted
// live on.
func (l *Listener) Stop() {
	if !l.stopBy.CompareAndSwap(0, l.now()+int64(lastAccepts)) {
		return
	}
	if !l.shared {
		_ = l.deafen() // without it the queue may never be empty, hence lastAccepts
	}
	l.wake()
}

// deafen has the kernel drop what begins a connection, and let through what goes on
// with one that was begun: so the queue runs empty, however many come. Who is not
// heard tries again after a second, and is refused or finds whoever listens then.
// Connections inherit the filter, and never see what it drops.
func (l *Listener) deafen() error {
	raw, err := l.socket.SyscallConn()
	if err != nil {
		return err
	}
	const flags, synAndAck, syn = 13, 0x12, 0x02 // of the TCP header, RFC 9293 §3.1
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synAndAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32},
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	return errors.Join(err, failed)
}

// wake has an Accept that waits return to its loop.
func (l *Listener) wake() {
	l.waking.Store(true)
	_ = l.socket.SetDeadline(time.Unix(1, 0)) // fails on a closed socket, where nobody waits
}

// beforeAccept sets how long the next try may wait, where it may not for ever.
func (l *Listener) beforeAccept() time.Time {
	stopBy := l.stopBy.Load()
	if stopBy == 0 {
		return time.Time{}
	}
	if l.shared || l.now() >= stopBy {
		_ = l.Close() // fails for no reason that anybody could deal with
	}
	look := time.Now().Add(emptyFor)
	_ = l.socket.SetDeadline(look) // as in wake
	return look
}

// woken says whether a try to accept failed because its deadline was set by wake
// or beforeAccept, and clears it.
func (l *Listener) woken(err error, look time.Time) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || !l.waking.Swap(false) && look.IsZero() {
		return false
	}
	l.turns.Add(1)
	if look.IsZero() {
		_ = l.socket.SetDeadline(time.Time{}) // as in wake
	}
	return true
}

// ranEmpty is called after a try that was woken. look is what beforeAccept has set;
// where another deadline was set meanwhile, or none, nobody has looked into the
// queue yet. If nobody is in it, it closes the listener.
func (l *Listener) ranEmpty(look time.Time) bool {
	if look.IsZero() || time.Now().Before(look) {
		return false
	}
	_ = l.Close() // as in beforeAccept
	return true
}

// Turn proves that somebody calls Accept, and in time: it wakes the accept loop
// and waits until it was there. A closed listener has none, and needs none. The
// error says what is stuck once ctx is done.
func (l *Listener) Turn(ctx context.Context) error {
	before := l.turns.Load()
	tick := time.NewTicker(turnPoll)
	defer tick.Stop()
	for l.wake(); l.turns.Load() == before && !l.closed() && l.stopBy.Load() == 0; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("listener %s: nobody has accepted for a while: %w", l.Name(), ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// CloseIdle closes the connections on which nothing of a next request has arrived
// for grace, counted from the first call that saw them so, and says how many those
// were. No request that has arrived is lost; one that is on its way is, and so grace
// is for clients to send it (RFC 9112 §9.5).
func (l *Listener) CloseIdle(grace time.Duration) int {
	n := 0
	for _, c := range l.idle(grace) {
		if c.closeIdle() {
			n++
		}
	}
	return n
}

// idle lists the connections that have been seen waiting for at least grace.
func (l *Listener) idle(grace time.Duration) []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	var out []*Conn
	for c := range l.conns {
		switch {
		case c.state.Load() != waiting:
			c.idleSince = 0
			continue
		case c.idleSince == 0:
			c.idleSince = now
		}
		if now-c.idleSince >= int64(grace) {
			out = append(out, c)
		}
	}
	return out
}
