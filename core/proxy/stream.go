package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/upstream"
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
	client  direct
	err     error // io.EOF after a clean end
	closed  bool
	decoded bool         // Read was called: chunks are taken apart
	flowing bool         // the last bytes came as fast as they were taken
	headDue bool         // the client's connection holds the head until the first bytes follow
	surplus bool         // something stood behind the body's end
	guest   *streamGuest // what a revocation cuts; nil: nobody is known
}

// direct is a client's connection that can be written past the server's buffer.
type direct interface {
	io.Writer
	// HoldAnswer says that another write, or the next request's read, follows the
	// next write at once, so that they may be done together.
	HoldAnswer()
	// Flush writes what is held back.
	Flush() error
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
	s.client, _ = x.Down.(direct)
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
	s.flowing = t.conn.br.Buffered() > answerBuffer/2
	// The head goes out ahead of the body, which is written past the server's
	// buffer: that would hold back the last bytes of a slow one. An HTTP/1.0 client's
	// head is written by endByClose.
	x.Response.ImmediateHeaderFlush = s.framing == byLength || x.Head.Minor != 0
	if s.client != nil && x.Response.ImmediateHeaderFlush && t.conn.br.Buffered() > 0 {
		s.headDue = true
		s.client.HoldAnswer()
	}
	if t.proxy.keepsStays(x) {
		s.enter()
	}
}

// Read reads from the body; it waits as long as the service may be idle. The
// connection goes back as soon as the end is read.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.decoded = true
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
	switch s.framing {
	case byChunks:
		s.trip.conn.readDue = s.trip.idleDue()
		return s.trip.conn.chunks.Read(p)
	case byClose:
		return s.receive(p)
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.receive(p)
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
	case s.leave():
		s.err = t.x.Cause
	case err == io.EOF:
		if s.framing == byChunks {
			t.takeTrailers()
		}
		t.giveBack(s.framing != byClose && !s.surplus)
	case errors.Is(err, errClientGone):
		t.proxy.clientGone(t.x, err)
	default:
		s.err = fmt.Errorf("the answer broke off: %w", err)
		t.x.Cause = s.err
		t.proxy.metrics.brokenBodies.Add(t.x.Stripe, 1)
		if !errors.Is(err, errTimeout) { // the time may be the client's
			t.x.Service.Report(t.endpoint, upstream.Lost)
		}
		t.x.Down.Abort()
	}
}

// SupportsBodyWriteTo says that WriteTo is the better Read.
func (s *stream) SupportsBodyWriteTo() bool { return s.client != nil }

// WriteTo writes the body to the client, past the server's writer, whose buffer is
// empty and small: all that has come leaves in one system call.
func (s *stream) WriteTo(io.Writer) (total int64, err error) {
	if s.trip.x.Head.Minor == 0 && s.framing != byLength {
		return s.endByClose()
	}
	for err == nil {
		var n int64
		n, err = s.move()
		total += n
	}
	if err == io.EOF {
		s.client.HoldAnswer() // the last chunk, which the server writes
		err = nil
	}
	return total, err
}

// move takes what has come of the body, waiting for it if nothing has, and writes
// it to the client. It returns how many bytes of the body that were.
func (s *stream) move() (int64, error) {
	if s.err != nil {
		return 0, s.err
	}
	p := s.trip.proxy.lend(s.flowing)
	defer s.trip.proxy.takeBack(p)
	before := s.trip.x.BytesOut
	out, err := s.take(p)
	if err == io.EOF {
		s.end(err) // the connection need not wait for the client
	}
	if len(out) > 0 {
		s.headDue = false
		if _, werr := s.client.Write(out); werr != nil {
			return s.trip.x.BytesOut - before, s.refused(werr)
		}
	}
	if err != nil && s.err == nil {
		s.end(err)
	}
	return s.trip.x.BytesOut - before, s.err
}

// take reads into p, and returns what of it goes to the client: the bytes as they
// came, chunks included, or made into a chunk where the service has none.
func (s *stream) take(p *piece) ([]byte, error) {
	x, c := s.trip.x, s.trip.conn
	if s.framing != byChunks || s.decoded {
		n, err := s.next(p.room())
		s.flowing = n >= pieceSize/2
		x.BytesOut += int64(n)
		switch {
		case s.framing == byLength:
			return p.room()[:n], err
		case n == 0:
			return nil, err
		}
		return p.frame(n), err
	}
	n, err := s.receive(p.room())
	s.flowing = n >= pieceSize/2
	out, rest, passed := c.chunks.Pass(p.bytes[:chunkFront+n])
	x.BytesOut = c.chunks.Passed()
	s.surplus = rest > 0
	if passed == nil && err != nil {
		passed = c.chunks.Break(err)
	}
	return out, passed
}

// receive reads what there is into p. Where that was buffered, as behind a head,
// what has come since is taken too.
func (s *stream) receive(p []byte) (int, error) {
	c := s.trip.conn
	buffered := c.br.Buffered()
	if s.headDue && buffered == 0 {
		s.headDue = false
		if err := s.client.Flush(); err != nil {
			return 0, s.refused(err)
		}
	}
	c.readDue = s.trip.idleDue()
	n, err := c.br.Read(p)
	if err == nil && (n == buffered || c.secure != nil) && n < len(p) && s.flowing {
		n += c.more(p[n:])
	}
	return n, err
}

// refused notes that the client takes no more.
func (s *stream) refused(err error) error {
	if err != nil {
		s.trip.proxy.clientGone(s.trip.x, err)
	}
	return err
}

// endByClose writes head and body to an HTTP/1.0 client, past the server, which
// would frame it in chunks. The server's own head is still in its buffer and is
// dropped with the error that makes it close the connection.
func (s *stream) endByClose() (total int64, err error) {
	h := &s.trip.x.Response.Header
	h.DelBytes(connectionName)
	h.DelBytes(transferEncodingName)
	h.SetConnectionClose()
	if _, err := s.client.Write(h.Header()); err != nil {
		return 0, s.refused(err)
	}
	p := s.trip.proxy.lend(false)
	defer s.trip.proxy.takeBack(p)
	for err == nil {
		var n int
		n, err = s.Read(p.room())
		if n > 0 {
			total += int64(n)
			if _, werr := s.client.Write(p.room()[:n]); werr != nil {
				err = s.refused(werr)
			}
		}
	}
	if err == io.EOF {
		err = errEndsByClose
	}
	return total, err
}

// Close ends the exchange. In this order: the reader is free, the connection goes
// back or closes, the endpoint is busy no more, and then the exchange ends.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	t, x := s.trip, s.trip.x
	if !s.leave() && s.err == nil && x.Status == 0 && x.Fault.IsZero() {
		t.proxy.clientGone(x, errUnread)
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
