package listen

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/suuupra/gateway/core/socket"
)

// stream reads and writes a client's socket with raw system calls (see package
// socket), where net.TCPConn would tell the scheduler about each. As with any
// net.Conn, one goroutine reads and one writes at a time.
type stream struct {
	raw syscall.RawConn

	// What the callbacks of raw work on. They are made once: a method value would
	// be allocated for each call.
	in       []byte
	got      int
	readErr  error
	readable func(fd uintptr) bool
	out      []byte
	put      int
	writeErr error
	writable func(fd uintptr) bool
}

func newStream(conn *net.TCPConn) (*stream, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{raw: raw}
	s.readable, s.writable = s.onReadable, s.onWritable
	return s, nil
}

// Read reads what there is into p, and waits if that is nothing. It returns the
// errors of a net.Conn; p is borrowed.
func (s *stream) Read(p []byte) (int, error) {
	s.in, s.got, s.readErr = p, 0, nil
	err := s.raw.Read(s.readable)
	s.in = nil
	if err == nil {
		err = s.readErr
	}
	return s.got, err
}

func (s *stream) onReadable(fd uintptr) bool {
	n, errno := socket.Read(fd, s.in)
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0:
		s.readErr = os.NewSyscallError("read", errno)
	case n == 0:
		s.readErr = io.EOF
	default:
		s.got = n
	}
	return true
}

// Write writes all of p, and waits where the client takes no more for now. It
// returns how much was written, and the errors of a net.Conn; p is borrowed.
func (s *stream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.out, s.put, s.writeErr = p, 0, nil
	err := s.raw.Write(s.writable)
	s.out = nil
	if err == nil {
		err = s.writeErr
	}
	return s.put, err
}

func (s *stream) onWritable(fd uintptr) bool {
	for s.put < len(s.out) {
		n, errno := socket.Write(fd, s.out[s.put:])
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			s.writeErr = os.NewSyscallError("write", errno)
			return true
		}
		s.put += n
	}
	return true
}
