package proxy

import (
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/upstream"
)

// report tells the service how a try ended, where that says something of the
// endpoint. That the client left or sent nonsense does not, nor that the gateway had no connection
// to spare.
func (t *trip) report(f failure) {
	switch {
	case t.endpoint == nil:
	case f.err == nil, f.status:
		t.x.Service.Report(t.endpoint, t.answered())
	default:
		t.reportFailure(f)
	}
}

// reportFailure is report for a try without an answer; apart, for it allocates.
func (t *trip) reportFailure(f failure) {
	var client clientError
	outcome := upstream.Garbled
	switch {
	case errors.Is(f.err, errClientGone), errors.As(f.err, &client), errors.Is(f.err, errFull), errors.Is(f.err, errClosed):
		return
	case f.kind == upstream.OnConnect:
		outcome = upstream.Unreached
	case f.kind == upstream.OnReset:
		outcome = upstream.Lost
	case f.kind == upstream.OnTimeout:
		if t.retries > 0 && t.tryDue == t.totalDue {
			return // the tries before it took the time
		}
		outcome = upstream.Overdue
	}
	t.x.Service.Report(t.endpoint, outcome)
}

// answered is what the status of an answer says of the endpoint. 501 and 505 speak of
// the request: a caller could have healthy endpoints ejected by asking for nonsense.
func (t *trip) answered() upstream.Result {
	switch status := t.conn.answer.Head().Status; {
	case status < fasthttp.StatusInternalServerError, status == fasthttp.StatusNotImplemented, status == fasthttp.StatusHTTPVersionNotSupported:
		return upstream.Answered
	default:
		return upstream.ServerError
	}
}
