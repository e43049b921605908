package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/wire"
)

// errEndsByClose makes the server close a connection whose body ends by that. It
// stands for success: an HTTP/1.0 client knows no chunks.
var errEndsByClose = errors.New("the body ends with the connection")

// stream is the body of an answer that is too long to wait for, or endless. The
// server reads it after RoundTrip has returned, and closes it whatever happens.
//
// It is a part of its trip, so that a streamed answer allocates nothing.
type stream struct {
	trip    *trip
	framing framing
	left    int64 // bytes to come, where that is known
	client  io.Writer
	err     error // io.EOF after a clean end
	closed  bool
}

// framing is how the end of an answer's body is found.
type framing uint8

const (
	byLength framing = iota
	byChunks
	byClose
)

var (
	_ fasthttp.BodyWriterTo = (*stream)(nil)
	_ io.Reader             = (*stream)(nil)
	_ io.Closer             = (*stream)(nil)
)

// startStream makes the rest of the answer x.Response's body stream.
func (t *trip) startStream(head *wire.ResponseHead) {
	x, s := t.x, &t.stream
	s.trip, s.left = t, head.ContentLength
	s.client, _ = x.Down.(io.Writer)
	switch {
	case head.ContentLength >= 0:
		s.framing = byLength
	case head.ContentLength == chunked:
		s.framing = byChunks
		t.conn.chunks.Reset(t.conn.br, t.proxy.limits)
	default:
		s.framing = byClose
	}
	x.Streaming = true
	length := -1
	if s.framing == byLength {
		length = int(head.ContentLength)
	}
	x.Response.SetBodyStream(s, length)
	t.announceTrailers()
	// A head that has no body yet must not wait for one; and behind a flushed head
	// the bytes of a body of known length can go to the client past the
	// server's buffer, which would hold back the last of a slow one.
	x.Response.ImmediateHeaderFlush = s.framing == byLength || t.conn.br.Buffered() == 0
}

// Read reads from the body; it waits as long as the service may be idle. The
// connection goes back as soon as the end is read.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.next(p)
	s.trip.x.BytesOut += int64(n)
	if err != nil {
		s.end(err)
		if n == 0 {
			return 0, s.err
		}
	}
	return n, nil
}

// next reads some bytes; with the last ones, or after them, it returns io.EOF.
func (s *stream) next(p []byte) (int, error) {
	c := s.trip.conn
	c.readDue = s.trip.idleDue()
	switch s.framing {
	case byChunks:
		return c.chunks.Read(p)
	case byClose:
		return c.br.Read(p)
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := c.br.Read(p)
	if s.left -= int64(n); s.left == 0 {
		return n, io.EOF
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// end notes how the body ended. A service that died makes the client's transfer
// fail: where the framing would not show it, by a reset (SPEC PX4).
func (s *stream) end(err error) {
	t := s.trip
	s.err = err
	switch {
	case err == io.EOF:
		if s.framing == byChunks {
			t.takeTrailers()
		}
		t.giveBack(s.framing != byClose)
	case errors.Is(err, errClientGone):
		t.x.Status, t.x.Cause = statusClientGone, err
	default:
		s.err = fmt.Errorf("the answer broke off: %w", err)
		t.x.Cause = s.err
		t.x.Down.Abort()
	}
}

// SupportsBodyWriteTo says that WriteTo is the better Read.
func (s *stream) SupportsBodyWriteTo() bool { return s.client != nil }

// WriteTo writes the body to the client. w is the server's writer, which frames
// what it gets; as its buffer is small, all that may is written to the client
// directly, a piece in one system call.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	p := s.trip.proxy.pieces.Get().(*piece)
	defer s.trip.proxy.pieces.Put(p)
	x := s.trip.x
	if s.framing == byLength {
		return s.copyTo(p, s.client.Write)
	}
	if x.Head.Minor == 0 {
		return s.endByClose(p)
	}
	n, err := s.Read(p.bytes[chunkFront : chunkFront+pieceSize])
	if err == nil {
		_, err = w.Write(p.bytes[chunkFront : chunkFront+n])
		err = s.refused(err)
	}
	// The server flushes each chunk: now its buffer is empty.
	total := int64(n)
	for err == nil {
		n, err = s.Read(p.bytes[chunkFront : chunkFront+pieceSize])
		if n > 0 {
			total += int64(n)
			_, werr := s.client.Write(p.frame(n))
			err = s.refused(werr)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

// copyTo writes the body as it is.
func (s *stream) copyTo(p *piece, write func([]byte) (int, error)) (total int64, err error) {
	for err == nil {
		var n int
		n, err = s.Read(p.bytes[:])
		if n > 0 {
			total += int64(n)
			_, werr := write(p.bytes[:n])
			err = s.refused(werr)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return total, err
}

// refused notes that the client takes no more.
func (s *stream) refused(err error) error {
	if err != nil {
		s.trip.x.Status, s.trip.x.Cause = statusClientGone, err
	}
	return err
}

// endByClose writes head and body to an HTTP/1.0 client, past the server, which
// would frame it in chunks. The server's own head is still in its buffer and is
// dropped with the error that makes it close the connection.
func (s *stream) endByClose(p *piece) (int64, error) {
	h := &s.trip.x.Response.Header
	h.DelBytes(connectionName)
	h.DelBytes(transferEncodingName)
	h.SetConnectionClose()
	if _, err := s.client.Write(h.Header()); err != nil {
		return 0, s.refused(err)
	}
	n, err := s.copyTo(p, s.client.Write)
	if err == nil {
		err = errEndsByClose
	}
	return n, err
}

// Close ends the exchange. In this order: the reader is free, the connection goes
// back or closes, the endpoint is busy no more, and then the exchange ends.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	t, x := s.trip, s.trip.x
	if s.err == nil && x.Status == 0 && x.Fault.IsZero() {
		x.Status, x.Cause = statusClientGone, errUnread
	}
	t.done()
	x.End()
	return nil
}

// errUnread says that a body was closed before its end was read.
var errUnread = errors.New("the client did not take the whole answer")

// announceTrailers lets the route's trailers pass on to the client.
func (t *trip) announceTrailers() {
	x := t.x
	if len(x.Route.Trailers) == 0 || t.stream.framing != byChunks || x.Head.Minor == 0 {
		return
	}
	for _, name := range x.Route.Trailers {
		_ = x.Response.Header.AddTrailer(name) // what fasthttp forbids does not pass
	}
}

// takeTrailers sets the trailers that the service sent and the route lets pass.
func (t *trip) takeTrailers() {
	if len(t.x.Route.Trailers) == 0 || t.x.Head.Minor == 0 {
		return
	}
	eachLine(t.conn.chunks.Trailer(), func(name, value []byte) {
		if mayTrail(t.x.Route, name) {
			t.x.Response.Header.SetBytesKV(name, value)
		}
	})
}

// eachLine calls f with each field of raw trailer lines.
func eachLine(lines []byte, f func(name, value []byte)) {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, crlf)
		if name, value, isField := bytes.Cut(line, colon); isField {
			f(name, bytes.TrimSpace(value))
		}
		lines = rest
	}
}

var colon = []byte(":")
