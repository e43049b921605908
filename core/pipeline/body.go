package pipeline

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/wire"
)

var (
	// ErrBodyTruncated says that a client ended its body before its end.
	ErrBodyTruncated = errors.New("the client cut its body short")
	// ErrBodyTooLarge says that a body of unknown length turned out to be over the limit.
	ErrBodyTooLarge = errors.New("the body is larger than the route allows")
)

// firstRead is how much of a body of unknown length is asked for at first.
const firstRead = 512

// Body appends the whole body of the request to dst, for a route that answers in the
// gateway itself. The route's limit holds, and must be small: all of it is in memory
// at once. It waits for the client; if that fails, verdict says how the exchange goes
// on, and is not Continue. It is called once.
func (x *Exchange) Body(dst []byte) (body []byte, verdict Verdict) {
	source := x.Request.BodyStream()
	if source == nil {
		return append(dst, x.Request.Body()...), Continue
	}
	length, limit := int64(x.Request.Header.ContentLength()), x.Route.BodyLimit
	if limit != Unlimited && length > limit {
		return dst, x.Fail(fault.BodyTooLarge)
	}
	if length < 0 {
		return x.bodyOfUnknownLength(dst, source)
	}
	start := len(dst)
	dst = slices.Grow(dst, int(length))[:start+int(length)]
	n, err := io.ReadFull(source, dst[start:])
	x.BytesIn = int64(n)
	if err != nil {
		return dst[:start], x.FailBody(err)
	}
	return dst, Continue
}

// bodyOfUnknownLength reads a chunked body, as long as it is within the limit.
// fasthttp takes one that was cut between two chunks for a whole one.
func (x *Exchange) bodyOfUnknownLength(dst []byte, source io.Reader) ([]byte, Verdict) {
	start := len(dst)
	for {
		dst = slices.Grow(dst, firstRead)
		n, err := source.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		x.BytesIn += int64(n)
		switch {
		case x.Route.BodyLimit != Unlimited && x.BytesIn > x.Route.BodyLimit:
			return dst[:start], x.FailBody(ErrBodyTooLarge)
		case err == io.EOF && x.Down.Truncated():
			return dst[:start], x.FailBody(ErrBodyTruncated)
		case err == io.EOF:
			return dst, Continue
		case err != nil:
			return dst[:start], x.FailBody(err)
		}
	}
}

// FailBody answers a body that could not be read to its end. Whatever the client
// sent of it, nobody has got it whole.
func (x *Exchange) FailBody(err error) Verdict {
	var violation *wire.Violation
	var network net.Error
	cause := fmt.Errorf("reading the request's body: %w", err)
	switch {
	case errors.Is(err, ErrBodyTooLarge):
		return x.FailBy(fault.BodyTooLarge, err)
	case errors.As(err, &violation):
		return x.FailBy(fault.BadRequest.Detail(violation.Reason), err)
	case errors.As(err, &network) && network.Timeout():
		return x.FailBy(fault.RequestTimeout, cause)
	case x.Down.Truncated(), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, ErrBodyTruncated):
		return x.FailBy(fault.BadRequest.Detail("the body ended early"), cause)
	default:
		return x.FailBy(fault.BadRequest.Detail("the body could not be read"), cause)
	}
}
