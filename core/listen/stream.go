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
// Where hold allows it, a short write waits for the read that follows it. That
// read resets the poller's readiness, then writes, then waits: whatever the client
// sends because of these bytes wakes the poller, so no read has to be tried
// before the wait. It saves a system call of six a request; measured with 64
// connections, 8 % of the CPU time.
//
// What the client has sent before them, early, is not announced any more. So the
// first waits of a connection do look, and a client that is early once is looked
// after always. For one that begins to pipeline later, or leaves while it is
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
	out      []byte
	put      int
	writeErr error
	writable func(fd uintptr) bool

	mayHold bool        // the next write may wait for the next read
	held    []byte      // what waits
	holding atomic.Bool // held waits; whoever takes it to false writes it
	looks   int         // how many times nothing early was found, up to looksFirst
	early   atomic.Bool // something early was found: never wait blindly again
	blind   bool        // the reader's own note that wait was set
	// wait counts the waits that nobody has looked at: odd while one lasts. The
	// reader writes it twice a blind wait, the watch once; the line is the stream's own.
	wait atomic.Uint64
}

const (
	// mostHeld is the largest write that may wait, in bytes: anything as long as the
	// server's write buffer is not the end of an answer.
	mostHeld = 4095
	// looksFirst is how many waits of a connection look before they trust.
	looksFirst = 4
)

func newStream(conn *net.TCPConn) (*stream, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{raw: raw}
	s.readable, s.writable = s.onReadable, s.onWritable
	return s, nil
}

// errPartial says that the kernel took only a part of what was held.
var errPartial = errors.New("partly written")

// Read writes what is held, reads what there is into p, and waits if that is
// nothing. It returns the errors of a net.Conn; p is borrowed.
func (s *stream) Read(p []byte) (int, error) {
	s.mayHold = false
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

// trusted says whether the client has never been early. It looks before anything
// is written: what stands there afterwards may be a quick answer.
func (s *stream) trusted(fd uintptr) bool {
	switch {
	case s.early.Load():
		return false
	case s.looks == looksFirst:
		return true
	case socket.Peek(fd) != socket.Silent:
		s.early.Store(true)
	default:
		s.looks++
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

// keep holds p back for the next read, if hold was called and p is short enough.
func (s *stream) keep(p []byte) bool {
	if !s.mayHold {
		return false
	}
	s.mayHold = false
	if len(p) > mostHeld {
		return false
	}
	s.held = append(s.held[:0], p...)
	s.holding.Store(true)
	return true
}

// write writes all of p now, and waits where the client takes no more. It returns
// how much was written, and the errors of a net.Conn; p is borrowed.
func (s *stream) write(p []byte) (int, error) {
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
