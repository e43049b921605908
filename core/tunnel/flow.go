package tunnel

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
)

// The directions of a tunnel, and its ends: a direction is called like the end that
// its bytes come from.
const (
	fromClient = iota
	fromService
	directions
)

// flow is one direction of a tunnel. It belongs to the mover, but for moved.
type flow struct {
	frames   frames
	farewell farewell
	ended    bool         // its sender will send nothing more
	over     bool         // nothing more will be sent on: it ended, or nobody takes it
	moved    atomic.Int64 // bytes that were read; written by the mover alone
}

// farewell is how far a Close frame of the gateway's own has come.
type farewell uint8

const (
	unwanted farewell = iota
	wanted            // it stands behind the frame that is under way
	said              // it is out: what comes behind it is dropped
)

// pass returns what of p, which was read now, goes on to the other end, and
// whether a Close frame of ours stands behind it.
func (f *flow) pass(p []byte) (keep []byte, bye bool) {
	f.moved.Store(f.moved.Load() + int64(len(p)))
	switch f.farewell {
	case unwanted:
		f.frames.follow(p)
		return p, false
	case said:
		f.frames.follow(p)
		return nil, false
	}
	if len(p) == 0 {
		return p, false
	}
	n := f.frames.next(p)
	if !f.frames.between() {
		return p[:n], false
	}
	f.farewell = said
	bye = !f.frames.closed // the sender's own says it all
	f.frames.follow(p[n:])
	return p[:n], bye
}

// dismiss asks for a Close frame of ours; true says that it can be sent at once.
func (f *flow) dismiss() bool {
	switch {
	case f.farewell != unwanted || f.over || f.ended || f.frames.closed:
		return false
	case f.frames.between():
		f.farewell = said
		return true
	}
	f.farewell = wanted
	return false
}

// spoken says whether the sender has nothing more to say.
func (f *flow) spoken() bool { return f.frames.closed || f.ended || f.over }

// told says whether the receiver knows that it is over.
func (f *flow) told() bool { return f.farewell == said || f.frames.closed || f.over }

// The statuses of our Close frames (RFC 6455 §7.4.1).
const (
	goingAway       = 1001 // the peer may connect again, and will meet another instance
	policyViolation = 1008 // the caller may no longer be here
)

// status is what a Close frame says of a reason.
func (r Reason) status() uint16 {
	if r == ByPolicy {
		return policyViolation
	}
	return goingAway
}

// appendClose appends a Close frame for one direction to dst. What goes to a
// service is masked, as from any client (RFC 6455 §5.1).
func appendClose(dst []byte, direction int, why Reason) []byte {
	const fin, payload = 0x80, 2
	status := binary.BigEndian.AppendUint16(nil, why.status())
	if direction == fromService {
		return append(append(dst, fin|opcodeClose, payload), status...)
	}
	mask := binary.NativeEndian.AppendUint32(nil, rand.Uint32())
	dst = append(append(dst, fin|opcodeClose, maskBit|payload), mask...)
	return append(dst, status[0]^mask[0], status[1]^mask[1])
}
