package proxy

import (
	"io"
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
		return x.FailBody(err), false
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
