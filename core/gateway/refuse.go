package gateway

import (
	"errors"
	"net"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/wire"
)

// refuse answers a request that never became one: its head or framing is
// against RFC 9112, too large or too slow. It is fasthttp's ErrorHandler. The
// connection closes afterwards, so that nothing behind it is read.
func (g *Gateway) refuse(ctx *fasthttp.RequestCtx, err error) {
	x, verdict := g.resume(ctx), pipeline.Continue
	if x == nil {
		x = g.acquire(ctx)
		g.enter(x)
		verdict = g.guard(x)
	}
	if verdict == pipeline.Continue {
		verdict = x.FailBy(refusal(err), err)
	}
	ctx.Response.SetConnectionClose()
	g.answer(x, verdict)
}

// guard runs what route "none" does before it answers, so that a flood of
// broken requests meets the limits too.
func (g *Gateway) guard(x *pipeline.Exchange) (verdict pipeline.Verdict) {
	defer g.rescue(x, &verdict)
	return x.Route.Chain.Decide(x)
}

// refusal names the fault of an error that fasthttp met before its handler.
func refusal(err error) fault.Fault {
	var violation *wire.Violation
	if errors.As(err, &violation) {
		return violationFault(violation)
	}
	var small *fasthttp.ErrSmallBuffer
	if errors.As(err, &small) {
		return fault.HeadersTooLarge
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fault.RequestTimeout
	}
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		return fault.BodyTooLarge
	}
	return fault.BadRequest.Detail("the request could not be read")
}

// violationFault gives the violation's reason as detail: it is a constant text.
func violationFault(v *wire.Violation) fault.Fault {
	switch v.Status {
	case fasthttp.StatusRequestURITooLong:
		return fault.URITooLong.Detail(v.Reason)
	case fasthttp.StatusRequestHeaderFieldsTooLarge:
		return fault.HeadersTooLarge.Detail(v.Reason)
	case fasthttp.StatusExpectationFailed:
		return fault.ExpectationFailed.Detail(v.Reason)
	case fasthttp.StatusMethodNotAllowed:
		return fault.MethodNotAllowed.Detail(v.Reason)
	default:
		return fault.BadRequest.Detail(v.Reason)
	}
}
