package proxy

import (
	"syscall"
	"unsafe"
)

// The system calls of a request are made raw: on a non-blocking socket they
// don't wait, so the scheduler need not prepare for a thread that is gone. It
// would cost more than bookkeeping: the runtime's monitor takes the processor
// away from calls that it sees in two looks, 20 µs apart, and has to look so
// often only where it finds any.

// peekResult is what a look at a socket found.
type peekResult uint8

const (
	peekNothing peekResult = iota // open and silent
	peekBytes                     // something to read
	peekClosed                    // the other side has closed
	peekFailed                    // reset, or no socket any more
)

// unexpected returns the error of a connection that should be silent.
func (r peekResult) unexpected() error {
	switch r {
	case peekNothing:
		return nil
	case peekBytes:
		return errStray
	default:
		return errStale
	}
}

// peek looks at a non-blocking socket. It neither waits nor allocates.
func peek(fd uintptr) peekResult {
	var b [1]byte
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
			syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return peekNothing
		case errno != 0:
			return peekFailed
		case n == 0:
			return peekClosed
		default:
			return peekBytes
		}
	}
}

// read reads what is there into p, which is not empty; EAGAIN says that nothing is.
func read(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_RECVFROM, fd, p)
}

// write writes what fits of p, which is not empty; EAGAIN says that nothing does.
// A broken connection is an error and no signal.
func write(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_SENDTO, fd, p)
}

func call(number, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
			continue
		default:
			return 0, errno
		}
	}
}
