// Package socket makes the system calls of a request: peek, read and write on
// sockets that the runtime's poller watches.
//
// They are made raw. On a non-blocking socket they don't wait, so the scheduler
// need not prepare for a thread that is gone. It would cost more than bookkeeping:
// the runtime's monitor takes the processor away from calls that it sees in two
// looks, 20 µs apart, and has to look so often only where it finds any. Measured
// with 64 connections: a tenth of the CPU time of a proxied request.
//
// The functions belong into the callbacks of a syscall.RawConn, which keeps the
// descriptor open meanwhile. They neither wait nor allocate, and may be called
// concurrently.
package socket

import (
	"syscall"
	"unsafe"
)

// Sight is what a look at a socket found.
type Sight uint32

// What there may be.
const (
	Silent Sight = iota // open, and nothing to read
	Bytes               // something to read
	Ended               // the other side has closed, and everything was read
	Broken              // reset, or no socket any more
)

// Peek looks what stands on a socket, without taking it.
func Peek(fd uintptr) Sight {
	var b [1]byte
	n, errno := call(syscall.SYS_RECVFROM, fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case errno == syscall.EAGAIN:
		return Silent
	case errno != 0:
		return Broken
	case n == 0:
		return Ended
	default:
		return Bytes
	}
}

// Read reads what is there into p, which is not empty. EAGAIN says that nothing
// is; 0 without an error that the other side has closed.
func Read(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

// Write writes what fits of p, which is not empty. EAGAIN says that nothing does.
// A broken connection is an error and no signal.
func Write(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

func call(number, fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
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

// Gather writes two pieces in one system call. It belongs to one writer at a
// time; the pieces are borrowed for the call. The zero value is ready.
type Gather struct {
	header syscall.Msghdr
	parts  [2]syscall.Iovec
}

// Write writes what fits of a and then b, neither of them empty, as Write does.
func (g *Gather) Write(fd uintptr, a, b []byte) (int, syscall.Errno) {
	g.parts[0].Base, g.parts[1].Base = &a[0], &b[0]
	g.parts[0].SetLen(len(a))
	g.parts[1].SetLen(len(b))
	g.header.Iov, g.header.Iovlen = &g.parts[0], uint64(len(g.parts))
	defer func() { g.parts = [2]syscall.Iovec{} }()
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&g.header)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
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
