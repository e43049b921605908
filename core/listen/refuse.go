package listen

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"time"

	"github.com/suuupra/gateway/core/fault"
)

// Bounds of the good will towards a connection that ends while the client may
// still be sending.
const (
	lingerTime  = time.Second // in all
	lingerBytes = 32 << 20    // in all; an upload that was answered early
	mostRefused = 64          // refused connections that drain at once
	mostLingers = 1024        // others of one listener
	refusalTime = 10 * time.Millisecond
)

// refuse answers a connection that may not stay. It does not block: a goroutine
// drains the socket, so that the client can read the answer whatever it sends
// meanwhile. Where too many of those are busy the socket is closed at once. The
// answer itself always fits into the empty send buffer of a new socket. On TLS it
// would cost a handshake, which is what there is too much of: no answer, then.
func (l *Listener) refuse(socket *net.TCPConn, f fault.Fault) {
	if l.shown.Load() != nil {
		_ = socket.Close() // nothing can be done about a socket that does not close
		return
	}
	answer := fault.AppendResponse(nil, f, freshID())
	l.mu.Lock()
	drains := len(l.refused) < mostRefused && !l.closed()
	if drains {
		l.refused[socket] = struct{}{}
		l.refuser.Add(1)
	}
	l.mu.Unlock()
	_ = socket.SetWriteDeadline(time.Now().Add(refusalTime)) // the write fails where this does
	_, err := socket.Write(answer)
	if !drains {
		_ = socket.Close() // nothing can be done about a socket that does not close
		return
	}
	// Owned by the listener: Close closes the socket and awaits it.
	go func() {
		defer l.refuser.Done()
		if err == nil {
			l.drain(socket, socket.SetReadDeadline)
		}
		_ = socket.Close() // as above
		l.mu.Lock()
		delete(l.refused, socket)
		l.mu.Unlock()
	}()
}

func (l *Listener) closed() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// freshID is a correlation id for an answer to a request that nobody has read.
func freshID() []byte {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], rand.Uint64())
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	return hex.AppendEncode(nil, raw[:])
}

// drain says to the client that nothing more comes, and drops what it still
// sends until it closes too, within the bounds. expire sets the deadline of its
// reads.
func (l *Listener) drain(socket *net.TCPConn, expire func(time.Time) error) {
	if socket.CloseWrite() != nil || expire(time.Now().Add(lingerTime)) != nil {
		return
	}
	room := l.buffers.Get().(*buffer)
	defer l.buffers.Put(room)
	for left := lingerBytes; left > 0; {
		n, err := socket.Read(room.bytes[:cap(room.bytes)])
		if err != nil {
			return
		}
		left -= n
	}
}
