package tunnel

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bare returns the socket of a connection if that alone will do, or nil.
func bare(c net.Conn) *net.TCPConn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case Socketed:
		return c.Socket()
	default:
		return nil
	}
}

// detach returns descriptors of both sockets that the runtime's poller does not
// know, and closes the ones it knows. When it fails both are as they were.
func detach(a, b *net.TCPConn) (fds [directions]int, err error) {
	if fds[0], err = duplicate(a); err != nil {
		return fds, err
	}
	if fds[1], err = duplicate(b); err != nil {
		_ = unix.Close(fds[0]) // it was just made
		return fds, err
	}
	// The descriptors live on as duplicates: these calls send nothing, and what they
	// could fail with is no news to whoever owned them.
	_, _ = a.Close(), b.Close()
	return fds, nil
}

func duplicate(c *net.TCPConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("reaching a socket: %w", err)
	}
	fd, failed := 0, error(nil)
	if err := raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return 0, fmt.Errorf("reaching a socket: %w", err)
	}
	if failed != nil {
		return 0, fmt.Errorf("duplicating a socket: %w", failed)
	}
	return fd, nil
}

// ready asks an epoll for what happened, without waiting.
func ready(epoll int, events []unix.EpollEvent) int {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
			uintptr(len(events)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
			continue
		default:
			return 0
		}
	}
}
