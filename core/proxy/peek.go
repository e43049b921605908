package proxy

import (
	"syscall"
	"unsafe"
)

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

// peek looks at a non-blocking socket. It neither waits nor allocates: the raw
// system call spares the scheduler's bookkeeping, which costs as much as the
// call itself (syscall.Recvfrom would add an address to parse).
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
