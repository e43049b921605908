package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/suuupra/gateway/core/socket"
)

// stream reads and writes a client's socket with raw system calls (see package
// socket), where net.TCPConn would tell the scheduler about each. As with any
// net.Conn, one goroutine reads and one writes at a time.
//
// # The last bytes of an answer
//
// Where hold allows it, a short write waits for the read or write that follows: a
// head leaves together with the first bytes of its body, and the end of an answer
// by the read of the next request. That read resets the poller's readiness, then
// writes, then waits: whatever the client sends because of these bytes wakes the
// poller, so no read has to be tried before the wait. It saves a system call of
// six a request; measured with 64 connections, 8 % of the CPU time.
//
// What the client has sent before them, early, is not announced any more. So the
// first waits of a connection do look, and a client that is early once is looked
// after for long. For one that begins to pipeline later, or leaves while it is
// answered, the listener's watch looks at each such wait once (watch.go).
type stream struct {
	raw syscall.RawConn
	// finish writes p with the connection's own deadlines.
	finish func(p []byte) error

	// What the callbacks of raw work on. They are made once: a method value would
	// be allocated for each call.
	in       []byte
	got      int
	readErr  error
	readable func(fd uintptr) bool
	out      [2][]byte
	put      int
	writeErr error
	writable func(fd uintptr) bool
	gather   socket.Gather

	mayHold bool        // the next write may wait for the next read
	held    []byte      // what waits
	holding atomic.Bool // held waits; whoever takes it to false writes it
	// distrust is how many waits must still be found silent before one is blind. The
	// reader counts it down, the watch raises it.
	distrust atomic.Int32
	blind    bool // the reader's own note that wait was set
	// wait counts the waits that nobody has looked at: odd while one lasts. The
	// reader writes it twice a blind wait, the watch once; the line is the stream's own.
	wait atomic.Uint64
}

const (
	// mostHeld is how much may wait, in bytes: as much as the server's write buffer
	// holds.
	mostHeld = 4096
	// looksFirst is how many waits of a connection look before they trust.
	looksFirst = 4
	// looksAgain is the same once something early was found. It is not for good: the
	// watch takes a reader that gets no processor for one that was not woken.
	looksAgain = 256
)

func newStream(conn *net.TCPConn) (*stream, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{raw: raw}
	s.readable, s.writable = s.onReadable, s.onWritable
	s.distrust.Store(looksFirst)
	return s, nil
}

// errPartial says that the kernel took only a part of what was held.
var errPartial = errors.New("partly written")

// Read writes what is held, reads what there is into p, and waits if that is
// nothing. It returns the errors of a net.Conn; p is borrowed.
func (s *stream) Read(p []byte) (int, error) {
	if s.mayHold { // of a connection that was given away others write meanwhile
		s.mayHold = false
	}
	for {
		s.in, s.got, s.readErr = p, 0, nil
		err := s.raw.Read(s.readable)
		s.in = nil
		if s.blind {
			s.blind = false
			s.wait.Add(1)
		}
		switch {
		case err != nil:
			return 0, err
		case s.readErr == errPartial:
			if err := s.finish(s.held); err != nil {
				return 0, err
			}
		default:
			return s.got, s.readErr
		}
	}
}

// onReadable runs inside the poller: the read readiness was reset before the
// first call, and each return of false waits for the next.
func (s *stream) onReadable(fd uintptr) bool {
	if s.holding.Load() {
		trusted := s.trusted(fd)
		if s.readErr = s.writeHeld(fd); s.readErr != nil {
			return true
		}
		if trusted {
			s.blind = true
			s.wait.Add(1)
			return false
		}
	}
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

// trusted says whether the client was not early for long enough. It looks before
// anything is written: what stands there afterwards may be a quick answer.
func (s *stream) trusted(fd uintptr) bool {
	left := s.distrust.Load()
	switch {
	case left == 0:
		return true
	case socket.Peek(fd) != socket.Silent:
		s.distrust.Store(looksAgain)
	default:
		s.distrust.CompareAndSwap(left, left-1) // unless the watch has raised it
	}
	return false
}

func (s *stream) writeHeld(fd uintptr) error {
	if !s.holding.CompareAndSwap(true, false) {
		return nil // another goroutine closes the connection, and has written it
	}
	n, errno := socket.Write(fd, s.held)
	switch {
	case errno != 0 && errno != syscall.EAGAIN:
		return os.NewSyscallError("write", errno)
	case n < len(s.held):
		s.held = s.held[n:]
		return errPartial
	default:
		return nil
	}
}

// hold says that a read follows the next keep at once, so that the two may be
// done together.
func (s *stream) hold() { s.mayHold = true }

// take returns what is held, for the caller to write; nil if nothing is. Any
// goroutine may call it.
func (s *stream) take() []byte {
	if s.holding.CompareAndSwap(true, false) {
		return s.held
	}
	return nil
}

// keep holds p back for the next read or write, if hold was called and p is short
// enough, behind what is held already.
func (s *stream) keep(p []byte) bool {
	if !s.mayHold {
		return false
	}
	s.mayHold = false
	before := s.take()
	if len(before)+len(p) > mostHeld {
		s.holding.Store(before != nil)
		return false
	}
	s.held = append(s.held[:len(before)], p...)
	s.holding.Store(true)
	return true
}

// write writes all of a and b now, and waits where the client takes no more. It
// returns how much of both was written, and the errors of a net.Conn; the pieces
// are borrowed, and either may be empty.
func (s *stream) write(a, b []byte) (int, error) {
	s.out, s.put, s.writeErr = [2][]byte{a, b}, 0, nil
	err := s.raw.Write(s.writable)
	s.out = [2][]byte{}
	if err == nil {
		err = s.writeErr
	}
	return s.put, err
}

// writeSome writes what the kernel takes of what is left.
func (s *stream) writeSome(fd uintptr) (int, syscall.Errno) {
	a, b := s.out[0], s.out[1]
	switch {
	case s.put >= len(a):
		return socket.Write(fd, b[s.put-len(a):])
	case len(b) == 0:
		return socket.Write(fd, a[s.put:])
	default:
		return s.gather.Write(fd, a[s.put:], b)
	}
}

func (s *stream) onWritable(fd uintptr) bool {
	for s.put < len(s.out[0])+len(s.out[1]) {
		n, errno := s.writeSome(fd)
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
