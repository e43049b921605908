package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/wire"
)

// content says how a request's body goes to the service.
type content uint8

const (
	noContent content = iota
	buffered          // in memory, whole: it leaves with the head and can be sent again
	streamed          // as it comes, once
)

// chunked is fasthttp's content length of a body whose length nobody knows.
const chunked = -1

var (
	// errTruncated says that a client ended its body before its end.
	errTruncated = errors.New("the client cut its body short")
	// errTooLarge says that a body of unknown length turned out to be over the limit.
	errTooLarge = errors.New("the body is larger than the route allows")
)

// takeBody looks how the body comes, refuses one that says it is too large, and
// reads one that may be buffered. It runs before an endpoint is picked, so
// that a slow client costs no service anything. ok is false when verdict is
// what RoundTrip returns.
func (t *trip) takeBody() (verdict pipeline.Verdict, ok bool) {
	x := t.x
	h := &x.Request.Header
	h.SetNoDefaultContentType(true)
	h.ResetConnectionClose()
	t.source = x.Request.BodyStream()
	if t.source == nil {
		return t.takeBytes(x.Request.Body())
	}
	length := int64(h.ContentLength())
	limit := x.Route.BodyLimit
	switch {
	case length == 0:
		return pipeline.Continue, true
	case limit != pipeline.Unlimited && length > limit:
		return x.Fail(fault.BodyTooLarge), false
	case length < 0 || length > x.Route.Buffer:
		t.content, t.length = streamed, length
		t.announce = length < 0 && len(x.Route.Trailers) > 0 && x.Head.Names.Has(wire.NameTrailer)
		return pipeline.Continue, true
	}
	t.body = slices.Grow(t.body[:0], headRoom+int(length))[:headRoom+int(length)]
	n, err := io.ReadFull(t.source, t.body[headRoom:])
	x.BytesIn = int64(n)
	if err != nil {
		return t.refuseBody(err), false
	}
	t.content, t.length = buffered, length
	return pipeline.Continue, true
}

// takeBytes takes a body that a hook has made.
func (t *trip) takeBytes(made []byte) (pipeline.Verdict, bool) {
	if len(made) == 0 {
		return pipeline.Continue, true
	}
	t.x.Request.Header.SetContentLength(len(made))
	t.body = append(slices.Grow(t.body[:0], headRoom+len(made))[:headRoom], made...)
	t.content, t.length = buffered, int64(len(made))
	return pipeline.Continue, true
}

// refuseBody answers a body that could not be read to its end. Whatever the
// client sent of it, no service has got it whole.
func (t *trip) refuseBody(err error) pipeline.Verdict {
	x := t.x
	var violation *wire.Violation
	var network net.Error
	switch {
	case errors.Is(err, errTooLarge):
		return x.FailBy(fault.BodyTooLarge, err)
	case errors.As(err, &violation):
		return x.FailBy(fault.BadRequest.Detail(violation.Reason), err)
	case errors.As(err, &network) && network.Timeout():
		return x.FailBy(fault.RequestTimeout, fmt.Errorf("reading the request's body: %w", err))
	case x.Down.Truncated(), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errTruncated):
		return x.FailBy(fault.BadRequest.Detail("the body ended early"), fmt.Errorf("reading the request's body: %w", err))
	default:
		return x.FailBy(fault.BadRequest.Detail("the body could not be read"), fmt.Errorf("reading the request's body: %w", err))
	}
}

// message returns head and body in one piece. The head is put right before the
// body, where there is room for all but very large ones.
func (t *trip) message() []byte {
	if t.content != buffered {
		return t.head
	}
	if len(t.head) > headRoom {
		t.head = append(t.head, t.body[headRoom:]...)
		return t.head
	}
	from := headRoom - len(t.head)
	copy(t.body[from:], t.head)
	return t.body[from:]
}
