package gateway

import (
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/snapshot"
)

// correlationName is kept as SPEC F3 spells it: fasthttp would write "-Id".
var correlationName = []byte(pipeline.HeaderCorrelationID)

// anyMethod is Allow where no route is asked: "OPTIONS *", CONNECT and TRACE.
var anyMethod = []byte("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")

// Pathless says whether no route is asked for the request: the target is "*", or
// the method one that the gateway never serves. CONNECT would make it an open
// proxy, TRACE shows a caller the fields that were added on the way (SECURITY C13).
func Pathless(x *pipeline.Exchange) bool {
	method := x.Request.Header.Method()
	return x.Head.Asterisk || string(method) == fasthttp.MethodConnect || string(method) == fasthttp.MethodTrace
}

// errMisdirected is a host for which the connection has not shown what is asked:
// the handshake named another one, where other client certificates are wanted
// (SECURITY L).
var errMisdirected = errors.New("this host asks for other client certificates than the one of the handshake: use a connection of its own")

// malformed refuses what no well-meaning client sends, and closes: whatever stands
// behind it on the connection is not looked at. err is errMisdirected or a
// wire.Violation, whose text is constant.
func malformed(x *pipeline.Exchange, err error) pipeline.Verdict {
	f := fault.BadRequest
	if errors.Is(err, errMisdirected) {
		f = fault.Misdirected
	}
	verdict := x.FailBy(f.Detail(err.Error()), err)
	x.Response.SetConnectionClose()
	return verdict
}

// withinLimit refuses a body that says it is too large, before "100 Continue"
// invites it. Bodies of unknown length are counted as they come.
func withinLimit(x *pipeline.Exchange) pipeline.Verdict {
	limit := x.Route.BodyLimit
	if limit != pipeline.Unlimited && x.Head.ContentLength > limit {
		return x.Fail(fault.BodyTooLarge)
	}
	return pipeline.Continue
}

// unrouted answers what no route takes.
func unrouted(s *snapshot.Snapshot, x *pipeline.Exchange, outcome snapshot.Outcome) pipeline.Verdict {
	switch outcome {
	case snapshot.MethodNotAllowed:
		if Pathless(x) {
			return methodNotAllowed(x, anyMethod)
		}
		return methodNotAllowed(x, s.Allow(nil, x))
	case snapshot.BadPath:
		return x.Fail(fault.BadRequest.Detail("the route takes no encoded slashes"))
	default:
		return x.Fail(fault.NoRoute)
	}
}

// methodNotAllowed answers OPTIONS with what is allowed, anything else with 405 (SPEC RT3).
func methodNotAllowed(x *pipeline.Exchange, allow []byte) pipeline.Verdict {
	verdict := pipeline.Respond
	if string(x.Request.Header.Method()) == fasthttp.MethodOptions {
		x.Response.SetStatusCode(fasthttp.StatusNoContent)
	} else {
		verdict = x.Fail(fault.MethodNotAllowed)
	}
	x.Response.Header.SetBytesV(fasthttp.HeaderAllow, allow)
	return verdict
}

// respond gives the route's own answer.
func respond(x *pipeline.Exchange) pipeline.Verdict {
	a := x.Route.Respond
	x.Response.SetStatusCode(a.Status)
	if len(a.Body) > 0 && a.ContentType != "" {
		x.Response.Header.SetContentType(a.ContentType)
	}
	x.Response.SetBodyRaw(a.Body)
	x.BytesOut = int64(len(a.Body))
	return pipeline.Respond
}

// redirect sends the client to the route's location.
func redirect(x *pipeline.Exchange) pipeline.Verdict {
	location, err := x.Locate(nil)
	if err != nil {
		return x.FailBy(fault.BadRequest.Detail("the redirect would lead to another host"), err)
	}
	x.Response.SetStatusCode(x.Route.Redirect.Status)
	x.Response.Header.SetBytesV(fasthttp.HeaderLocation, location)
	return pipeline.Respond
}
