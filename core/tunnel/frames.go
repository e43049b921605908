package tunnel

import "encoding/binary"

// The parts of a frame's head (RFC 6455 §5.2).
const (
	opcodeBits  = 0x0f
	opcodeClose = 0x8
	maskBit     = 0x80
	lengthBits  = 0x7f
	length16    = 126 // the length stands in the next two bytes
	length64    = 127 // or in the next eight
	longestHead = 14
)

// frames follows the frames of one direction through whatever pieces their bytes
// come in. It looks at nothing but their heads. The zero value stands before the
// first frame.
type frames struct {
	left   uint64 // bytes of the payload that have not come
	head   [longestHead]byte
	n      uint8 // how much of head has come; 0: inside a payload, or between two frames
	closed bool  // a Close frame has come, or has begun to
	lost   bool  // these are no frames: nothing more is known or believed of them
}

// between says whether one frame has ended and no other has begun.
func (f *frames) between() bool { return f.left == 0 && f.n == 0 && !f.lost }

// follow passes over all of p.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		p = p[f.next(p):]
	}
}

// next passes over p up to the end of a frame, or to its own; it returns how many
// bytes that are. p is not empty.
func (f *frames) next(p []byte) int {
	if f.closed && f.left == 0 && f.n == 0 {
		// Nothing may follow a Close frame (RFC 6455 §5.5.1): that was none.
		f.closed, f.lost = false, true
	}
	if f.lost {
		return len(p)
	}
	at := 0
	if f.left == 0 {
		n, whole := f.readHead(p)
		if !whole {
			return n
		}
		at = n
	}
	if rest := uint64(len(p) - at); rest < f.left {
		f.left -= rest
		return len(p)
	}
	at += int(f.left)
	f.left = 0
	return at
}

// readHead collects a head. whole says that its last byte is among the n it took.
func (f *frames) readHead(p []byte) (n int, whole bool) {
	for n < len(p) {
		f.head[f.n] = p[n]
		f.n++
		n++
		if f.n >= 2 && int(f.n) == headSize(f.head[1]) {
			f.begin()
			return n, true
		}
	}
	return n, false
}

// headSize is the size of a head by its second byte.
func headSize(second byte) int {
	size := 2
	switch second & lengthBits {
	case length16:
		size += 2
	case length64:
		size += 8
	}
	if second&maskBit != 0 {
		size += 4
	}
	return size
}

// begin reads the collected head.
func (f *frames) begin() {
	switch length := f.head[1] & lengthBits; length {
	case length16:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case length64:
		f.left = binary.BigEndian.Uint64(f.head[2:])
	default:
		f.left = uint64(length)
	}
	f.n = 0
	if f.left>>63 != 0 {
		f.left, f.lost = 0, true
	}
	f.closed = f.head[0]&opcodeBits == opcodeClose && !f.lost
}
