package wire

import (
	"bufio"
	"errors"
	"io"
)

// chunks judges chunked framing (RFC 9112 §7.1) in whatever pieces it comes.
type chunks struct {
	limits     *Limits
	request    bool
	state      chunkState
	digits     int
	left       int64 // bytes of the chunk's data, while its size is read the size so far
	extensions int   // bytes of extensions so far, in the whole message
	lines      collector
	bytes      int // of trailers
	fields     int
}

type chunkState uint8

const (
	atSize chunkState = iota
	inExtension
	atSizeLF
	inData
	atDataCR
	atDataLF
	atTrailer
)

const (
	mostExtensions = 4 << 10 // bytes a message; they are dropped, so they buy nothing
	mostDigits     = 15      // of a chunk size: below 2⁶⁰
)

func (c *chunks) reset(l *Limits, request bool) {
	c.lines.reset()
	*c = chunks{limits: l, request: request, lines: c.lines}
}

// scan takes what it can of p; done says that the last CRLF was taken.
func (c *chunks) scan(p []byte) (n int, done bool, v *Violation) {
	for n < len(p) {
		switch c.state {
		case inData:
			m := int(min(int64(len(p)-n), c.left))
			n += m
			if c.left -= int64(m); c.left == 0 {
				c.state = atDataCR
			}
		case atTrailer:
			m, done, v := c.trailerLine(p[n:])
			n += m
			if done || v != nil {
				return n, done, v
			}
		default:
			if v := c.framing(p[n]); v != nil {
				return n, false, v
			}
			n++
		}
	}
	return n, false, nil
}

// framing takes one byte outside of data and trailers.
func (c *chunks) framing(b byte) *Violation {
	switch c.state {
	case atSize:
		return c.size(b)
	case inExtension:
		return c.extension(b)
	case atSizeLF:
		if b != '\n' {
			return errChunkSize
		}
		c.state = inData
		if c.left == 0 {
			c.state = atTrailer
		}
	case atDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = atDataLF
	default:
		if b != '\n' {
			return errChunkEnd
		}
		c.state, c.digits, c.left = atSize, 0, 0
	}
	return nil
}

// size takes one byte of a chunk size: digits, then at once ";" or CR.
func (c *chunks) size(b byte) *Violation {
	switch {
	case is(b, hexadecimal):
		if c.digits++; c.digits > mostDigits {
			return errChunkLarge
		}
		c.left = c.left<<4 | int64(unhex(b))
		return nil
	case c.digits == 0:
		return errChunkSize
	case b == '\r':
		c.state = atSizeLF
		return nil
	case b == ';':
		c.state = inExtension
		return nil
	default:
		return errChunkSize
	}
}

// extension takes one byte of an extension, which nobody reads.
func (c *chunks) extension(b byte) *Violation {
	if b == '\r' {
		c.state = atSizeLF
		return nil
	}
	if b < ' ' && b != '\t' || b == 0x7f {
		return errChunkExtension
	}
	if c.extensions++; c.extensions > mostExtensions {
		return errChunkExtensions
	}
	return nil
}

// trailerLine takes a line of the trailer section; the empty one ends it.
func (c *chunks) trailerLine(p []byte) (n int, done bool, v *Violation) {
	line, n, whole, v := c.lines.line(p)
	if v != nil {
		return 0, false, v
	}
	length := len(line)
	if !whole {
		length = len(c.lines.partial)
	}
	if c.bytes+length > c.limits.Header {
		return 0, false, errHeadLong
	}
	if !whole {
		return n, false, nil
	}
	if len(line) == 0 {
		return n, true, nil
	}
	c.bytes += length + 2
	if c.fields++; c.fields > c.limits.Headers {
		return 0, false, errHeadLines
	}
	f, v := parseField(line, c.limits.OddNames)
	if v == nil && f.bits.Has(notInTrailers) && (c.request || f.bits.Has(frames)) {
		v = errTrailer
	}
	if v != nil {
		return 0, false, v
	}
	return n, false, nil
}

// frames are the fields that no trailer of a response may hold either; the others
// are dropped there, unless the route lets them pass.
const frames = NameTransferEncoding | NameContentLength | NameHost | NameConnection | NameTrailer | NameContentEncoding | NameContentType

// ChunkedReader decodes a chunked body from a reader, strictly: io.EOF comes only
// after the very last CRLF. It belongs to one goroutine at a time.
type ChunkedReader struct {
	br      *bufio.Reader
	chunks  chunks
	trailer []byte
	err     error // what every further Read returns

	// What Pass knows besides.
	passed     int64 // bytes of the body's own
	size       [mostDigits]byte
	sizeLength int // of size, held back
}

// Reset makes the reader ready for the body that begins at br; both are kept.
func (r *ChunkedReader) Reset(br *bufio.Reader, l *Limits) {
	r.chunks.reset(l, false)
	r.br, r.trailer, r.err, r.passed, r.sizeLength = br, r.trailer[:0], nil, 0, 0
}

// Read decodes up to len(p) bytes; never 0 without an error, unless p is empty. A
// body that breaks off is io.ErrUnexpectedEOF, bad framing a *Violation; errors of
// the underlying reader are returned as they are, and a timeout may be tried again.
func (r *ChunkedReader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	for r.chunks.state != inData {
		if err := r.advance(); err != nil {
			return 0, r.fail(err)
		}
	}
	n, err := r.br.Read(p[:min(int64(len(p)), r.chunks.left)])
	if r.chunks.left -= int64(n); r.chunks.left == 0 {
		r.chunks.state = atDataCR
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.fail(err)
}

// fail keeps an error that is for good.
func (r *ChunkedReader) fail(err error) error {
	switch {
	case err == errLast:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case isTimeout(err):
		return err
	}
	r.err = err
	return err
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// errLast says that the last CRLF was read.
var errLast = errors.New("the body has ended")

// advance takes framing that is buffered, waiting for some if there is none.
func (r *ChunkedReader) advance() error {
	if _, err := r.br.Peek(1); err != nil {
		return err
	}
	p, _ := r.br.Peek(r.br.Buffered())
	n := 0
	for n < len(p) && r.chunks.state != inData {
		step := p[n : n+1]
		trailer := r.chunks.state == atTrailer
		if trailer {
			step = p[n:]
		}
		m, done, v := r.chunks.scan(step)
		if trailer {
			r.trailer = append(r.trailer, step[:m]...)
		}
		n += m
		if v != nil {
			return v
		}
		if done {
			_, _ = r.br.Discard(n)
			r.trailer = r.trailer[:len(r.trailer)-2]
			return errLast
		}
	}
	_, _ = r.br.Discard(n)
	return nil
}

// Trailer returns the raw lines of the trailer section, each with its CRLF, once
// Read has returned io.EOF. Names and values are valid; which may pass is the
// caller's to say. The bytes are borrowed until Reset.
func (r *ChunkedReader) Trailer() []byte { return r.trailer }
