package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// phase is what a connection is doing.
type phase uint8

const (
	down       phase = iota // no socket; to be connected again
	connecting              // waiting for the connect to end
	idle                    // connected, no request under way
	busy                    // a request is being written, or its answer is awaited
)

// connection is one of a loop's, with its present socket and request.
type connection struct {
	fd      int
	phase   phase
	since   time.Duration // when the phase began
	slot    int64         // the request under way
	written int           // bytes of it that the kernel has taken
	answer  answer
}

// connect begins a connection on a new socket.
func (l *loop) connect(i int32) {
	c := &l.conns[i]
	c.phase, c.since = down, l.elapsed()
	family := unix.AF_INET
	if _, six := l.plan.address.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		l.result.fail(failConnect, l.elapsed(), fmt.Sprintf("socket: %v", err))
		return
	}
	c.fd, c.phase = fd, connecting
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: i}),
	); err != nil {
		l.lose(i, failConnect, err)
		return
	}
	if err := unix.Connect(fd, l.plan.address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.lose(i, failConnect, err)
	}
}

// connected is called when the connect has ended, one way or the other.
func (l *loop) connected(i int32) {
	c := &l.conns[i]
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err == nil {
		if _, unconnected := unix.Getpeername(c.fd); unconnected != nil {
			return // an event of the socket that this one replaced
		}
		err = l.watch(i, unix.EPOLLIN)
	}
	if err != nil {
		l.lose(i, failConnect, err)
		return
	}
	l.rest(i)
}

// rest makes a connection free for the next request.
func (l *loop) rest(i int32) {
	c := &l.conns[i]
	c.phase, c.since = idle, l.elapsed()
	l.free = append(l.free, i)
}

func (l *loop) watch(i int32, events uint32) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, l.conns[i].fd, &unix.EpollEvent{Events: events, Fd: i})
}

// lose closes a connection after a failure; its request, if any, is not sent
// again. It is connected again at the next look round.
func (l *loop) lose(i int32, f failure, err error) {
	c := &l.conns[i]
	if c.phase == busy {
		l.busy--
		l.conclude(c)
	}
	l.result.fail(f, l.elapsed(), err.Error())
	l.hangUp(i)
}

// hangUp closes the socket; what the connection was doing is over.
func (l *loop) hangUp(i int32) {
	c := &l.conns[i]
	if c.phase != down {
		_ = unix.Close(c.fd)
	}
	c.phase, c.since = down, l.elapsed()
}

// conclude records how long the request of c took from its due time.
func (l *loop) conclude(c *connection) {
	if l.plan.recorded(c.slot) {
		note(l.result.latency, l.elapsed()-l.plan.due(c.slot))
	}
}

// send begins request slot on a free connection.
func (l *loop) send(i int32, slot int64) {
	c := &l.conns[i]
	now := l.elapsed()
	if l.plan.recorded(slot) {
		note(l.result.lag, now-max(l.plan.due(slot), c.since))
	}
	c.phase, c.since, c.slot, c.written = busy, now, slot, 0
	c.answer.reset()
	l.busy++
	l.result.sent++
	l.write(i)
}

// write hands the kernel what is left of the request.
func (l *loop) write(i int32) {
	c := &l.conns[i]
	rest := l.plan.request[c.written:]
	n, err := unix.Write(c.fd, rest)
	switch {
	case errors.Is(err, unix.EAGAIN):
		n = 0
	case err != nil:
		l.lose(i, failReset, fmt.Errorf("write request: %w", err))
		return
	}
	c.written += n
	waiting := n < len(rest)
	if !waiting && len(rest) == len(l.plan.request) {
		return // all of it at once: nobody watches for room
	}
	events := uint32(unix.EPOLLIN)
	if waiting {
		events |= unix.EPOLLOUT
	}
	if err := l.watch(i, events); err != nil {
		l.lose(i, failReset, err)
	}
}

// read takes what has arrived for the request under way.
func (l *loop) read(i int32) {
	c := &l.conns[i]
	for {
		n, err := unix.Read(c.fd, l.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			l.lose(i, failReset, fmt.Errorf("read answer: %w", err))
			return
		case n == 0 && c.answer.closed():
			l.complete(i)
			return
		case n == 0:
			l.lose(i, failShort, fmt.Errorf("closed after %d bytes of the answer", c.answer.received))
			return
		}
		l.result.bytes += int64(n)
		taken, err := c.answer.feed(l.buf[:n])
		switch {
		case errors.Is(err, errDifferent):
			l.lose(i, failDifferent, err)
			return
		case err != nil:
			l.lose(i, failMalformed, err)
			return
		case taken < n:
			l.lose(i, failMalformed, fmt.Errorf("%d bytes after the end of the answer", n-taken))
			return
		case c.answer.done():
			l.complete(i)
			return
		case n < len(l.buf):
			return // drained; epoll will tell of more
		}
	}
}

// complete counts a right answer.
func (l *loop) complete(i int32) {
	c := &l.conns[i]
	l.conclude(c)
	l.busy--
	l.result.answered++
	l.result.lastAnswer = l.elapsed()
	if l.plan.recorded(c.slot) {
		l.result.recorded++
		note(l.result.service, l.result.lastAnswer-c.since)
	}
	if c.answer.close || c.written < len(l.plan.request) {
		l.result.reconnects++
		l.hangUp(i)
		l.connect(i)
		return
	}
	l.rest(i)
}

// disturbed is called when something happens on a connection that awaits
// nothing: the server has closed it, which it may, or sends what nobody asked for.
func (l *loop) disturbed(i int32) {
	n, err := unix.Read(l.conns[i].fd, l.buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return
	case n > 0:
		l.lose(i, failMalformed, fmt.Errorf("%d bytes that nobody asked for", n))
	default:
		l.result.reconnects++
		l.hangUp(i)
	}
	l.connect(i)
}
