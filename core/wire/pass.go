package wire

import "io"

// PassRoom is how many bytes must be free before those that Pass filters: a size
// line that came in two parts is put together there.
const PassRoom = mostDigits + len("\r\n")

// Pass filters a piece of the chunked body, as it was received, for a peer who gets
// it in the same chunks: sizes and data stay, extensions, the last chunk and the
// trailer section go. So a body is judged to its last byte, and nothing of it
// copied. It takes the place of Read for a whole body.
//
// room holds the piece behind PassRoom free bytes, and is worked on in place. out
// is what may be sent, a part of room. With io.EOF the body has ended: the last
// chunk and the trailers are the caller's to write, and rest bytes stand behind
// the end. A *Violation is for good, like those of Read. What ends the pieces too
// early is told to Break.
func (r *ChunkedReader) Pass(room []byte) (out []byte, rest int, err error) {
	if r.err != nil {
		return nil, 0, r.err
	}
	// Where a size is held back, its line will end where it would stand.
	from := PassRoom - r.sizeLength
	if r.chunks.state == atSizeLF {
		from--
	}
	to := from
	for at := PassRoom; at < len(room); {
		n, v := 1, (*Violation)(nil)
		switch r.chunks.state {
		case inData:
			n = int(min(int64(len(room)-at), r.chunks.left))
			if to != at { // an extension was left out
				copy(room[to:], room[at:at+n])
			}
			to += n
			r.passed += int64(n)
			if r.chunks.left -= int64(n); r.chunks.left == 0 {
				r.chunks.state = atDataCR
			}
		case atTrailer:
			var done bool
			n, done, v = r.chunks.scan(room[at:])
			r.trailer = append(r.trailer, room[at:at+n]...)
			if done {
				r.trailer = r.trailer[:len(r.trailer)-2]
				r.err = io.EOF
				return room[from:to], len(room) - at - n, io.EOF
			}
		default:
			to, v = r.passFraming(room, to, room[at])
		}
		if v != nil {
			r.err = v
			return room[from:to], 0, v
		}
		at += n
	}
	return room[from:to], 0, nil
}

// passFraming takes one byte between the data of two chunks, and returns where the
// next goes in room. A size is held back until its line has ended, for the last
// chunk's must not pass.
func (r *ChunkedReader) passFraming(room []byte, to int, b byte) (int, *Violation) {
	before := r.chunks.state
	if v := r.chunks.framing(b); v != nil {
		return to, v
	}
	switch {
	case before == atDataCR, before == atDataLF:
		room[to] = b
		to++
	case r.chunks.state == inData:
		to += copy(room[to:], r.size[:r.sizeLength])
		to += copy(room[to:], "\r\n")
		r.sizeLength = 0
	case before == atSize && r.chunks.state == atSize:
		r.size[r.sizeLength] = b
		r.sizeLength++
	}
	return to, nil
}

// Passed is how many bytes of the body's own Pass has let through.
func (r *ChunkedReader) Passed() int64 { return r.passed }

// Break says that no further piece comes for Pass, because of err, and returns the
// error that Read would.
func (r *ChunkedReader) Break(err error) error { return r.fail(err) }
