package proxy

import (
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/socket"
	"github.com/suuupra/gateway/core/wire"
)

// The states of watch.uploading.
const (
	notUploading  int32 = iota
	writing             // bytes that are here go to the service
	readingClient       // bytes are awaited from the client
)

// upload sends a streamed body. It returns nil when the body is out, and
// errAnswered when the service has answered before that: then the rest is
// not sent, and the connection not used again. A clientError is the client's own.
func (t *trip) upload(c *conn) error {
	piece := t.proxy.pieces.Get().(*piece)
	defer t.proxy.pieces.Put(piece)
	room := piece.room()
	defer t.calm(c)
	left := t.length
	for {
		c.watch.uploading.Store(readingClient)
		n, err := t.source.Read(room)
		c.watch.uploading.Store(writing)
		t.x.BytesIn += int64(n)
		if n > 0 {
			if left >= 0 {
				if left -= int64(n); left < 0 {
					return clientError{errTooLong}
				}
			} else if limit := t.x.Route.BodyLimit; limit != pipeline.Unlimited && t.x.BytesIn > limit {
				return clientError{pipeline.ErrBodyTooLarge}
			}
			if err := t.forward(c, piece, n); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case err == io.EOF:
			return t.finish(c, left)
		case c.answered() && t.interim(c) != nil:
			return errAnswered
		default:
			return clientError{err}
		}
	}
}

// errTooLong says that a body went on behind its Content-Length.
var errTooLong = errors.New("the body is longer than its Content-Length")

// clientError is an error of the client's side of an upload.
type clientError struct{ error }

// Unwrap returns what went wrong.
func (e clientError) Unwrap() error { return e.error }

// forward sends one piece, unless an answer is there already.
func (t *trip) forward(c *conn, p *piece, n int) error {
	if c.br.Buffered() > 0 || c.silent() != socket.Silent {
		if err := t.interim(c); err != nil {
			return err
		}
	}
	data := p.room()[:n]
	if t.length == chunked {
		data = p.frame(n)
	}
	return t.send(c, data)
}

// interim reads the answers that came during the upload. Only if none of them is
// the final one, the upload goes on. All that is buffered is looked at: a final
// answer behind an interim one would wait there, out of the sweeper's sight, for a
// client that may never send more.
func (t *trip) interim(c *conn) error {
	for {
		f := t.readHead(c, true)
		switch {
		case f.err != nil:
			t.early = f
			return errAnswered
		case t.headRead:
			return errAnswered
		case c.br.Buffered() == 0 && (c.secure == nil || c.silent() == socket.Silent):
			return nil
		}
	}
}

// send writes a part of the request. An answer that came before a write failed
// counts more than that failure.
func (t *trip) send(c *conn, p []byte) error {
	c.writeDue = t.idleDue()
	err := c.write(p)
	if err != nil && c.silent() == socket.Bytes {
		return errAnswered
	}
	return err
}

// finish ends the body, if the client has sent all of it. fasthttp takes a body
// that was cut short for a whole one, both where its length is known and
// between two chunks; framed anew it would look whole to the service (SPEC PX3).
func (t *trip) finish(c *conn, left int64) error {
	if t.x.Down.Truncated() || left > 0 {
		return clientError{pipeline.ErrBodyTruncated}
	}
	if t.length != chunked {
		return nil
	}
	t.head = append(t.head[:0], "0\r\n"...)
	t.head = t.appendTrailers(t.head)
	t.head = append(t.head, "\r\n"...)
	return t.send(c, t.head)
}

// appendTrailers appends the trailer fields that the route lets pass, and no
// other: a trailer could bring in what was stripped before (SECURITY C3).
func (t *trip) appendTrailers(dst []byte) []byte {
	for lines := t.x.Request.Header.TrailerHeader(); ; {
		end := bytes.IndexByte(lines, '\n') + 1
		name, _, isField := bytes.Cut(lines[:end], []byte(":"))
		if !isField {
			return dst
		}
		if mayTrail(t.x.Route, name) {
			dst = append(dst, lines[:end]...)
		}
		lines = lines[end:]
	}
}

// mayTrail says whether the route lets a trailer field of this name pass.
func mayTrail(r *pipeline.Route, name []byte) bool {
	for _, allowed := range r.Trailers {
		if len(allowed) == len(name) && bytes.EqualFold([]byte(allowed), name) {
			return !wire.Reserved(name)
		}
	}
	return false
}

// calm takes back what the sweeper may have done to wake a stalled upload.
func (t *trip) calm(c *conn) {
	c.watch.uploading.Store(notUploading)
	if c.watch.answered.Load() {
		if down, ok := t.x.Down.(readDeadliner); ok {
			_ = down.SetReadDeadline(time.Time{}) // a closed connection says so at its next read
		}
	}
}

// readDeadliner is a Downstream whose reads can be ended by another goroutine.
type readDeadliner interface{ SetReadDeadline(t time.Time) error }

// interrupt makes a read of the request's body that waits for the client end.
// A Downstream that can't do it goes on until the client sends or is late.
func interrupt(down pipeline.Downstream) {
	if d, ok := down.(readDeadliner); ok {
		_ = d.SetReadDeadline(time.Unix(1, 0)) // a closed connection needs no waking
	}
}
