package proxy

import (
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

// admission is what an exchange holds of its service's guards.
type admission struct {
	breaker  *upstream.Breaker // nil: there is none, or it has been told
	ticket   upstream.Ticket
	bulkhead *upstream.Bulkhead // nil: no place is held
	since    int64              // when the service began to work on it, monotonic ns
	uploaded int64              // ns that the client took for its body
	queued   bool               // the request waited for its place
}

var (
	errCircuitOpen = errors.New("the circuit breaker of the service is open")
	errCrowded     = errors.New("all places of the service's bulkhead are taken")
)

// admit asks the service's guards, before anything of the network is touched: the breaker,
// which costs nothing to ask, then the bulkhead, where the request may have to wait. false says
// that there is an answer, which is the verdict.
func (t *trip) admit() (pipeline.Verdict, bool) {
	x := t.x
	for {
		if !t.enterBreaker() {
			if t.hop() {
				continue
			}
			return t.refuse(t.to.Fallback), false
		}
		if verdict, ok := t.enterBulkhead(); !ok {
			return verdict, false
		}
		if !t.admission.queued || t.stillAdmitted() {
			break
		}
		t.depart() // the breaker opened meanwhile: what has waited need not run into that
		t.admission = admission{queued: true}
	}
	t.admission.since = t.now
	x.Service.Budget.Request(x.Stripe, t.now)
	return pipeline.Continue, true
}

// hop turns to the service that stands in for one whose breaker refuses, if there is one. It
// has its own guards, and no fallback: there is one hop.
func (t *trip) hop() bool {
	if !t.to.Fallback.Hops() {
		return false
	}
	to := t.to.Fallback.To
	t.to = to
	t.x.Divert(to)
	return true
}

// enterBreaker asks the breaker of the exchange's service. A copy for a mirror goes while it is
// closed, and tells it nothing: its answer, to nobody's credentials, says little of those that
// callers get.
func (t *trip) enterBreaker() bool {
	b := t.x.Service.Breaker
	switch {
	case b == nil:
		return true
	case t.to.Copies:
		return b.State() == upstream.Closed
	}
	ticket, ok := b.Admit(t.now, t.x.Stripe)
	if ok {
		t.admission.breaker, t.admission.ticket = b, ticket
	}
	return ok
}

// stillAdmitted says whether the breaker is what it was when it let the request through.
func (t *trip) stillAdmitted() bool {
	b := t.admission.breaker
	return b == nil || b.Holds(t.admission.ticket)
}

// enterBulkhead takes a place, if the service has any, and waits for it if need be.
func (t *trip) enterBulkhead() (pipeline.Verdict, bool) {
	b := t.x.Service.Bulkhead
	if b == nil {
		return pipeline.Continue, true
	}
	if b.Enter() {
		t.admission.bulkhead = b
		return pipeline.Continue, true
	}
	switch b.Wait(t.x.Down, t.totalDue) {
	case upstream.Entered:
	case upstream.Left:
		t.settle(upstream.Nothing)
		return t.leave(errClientGone), false
	default:
		t.settle(upstream.Nothing)
		return t.x.FailBy(fault.Overloaded, errCrowded), false
	}
	t.admission.bulkhead, t.admission.queued = b, true
	t.now = t.proxy.clock.Mono()
	return pipeline.Continue, true
}

// refuse answers for a service that must not be called.
func (t *trip) refuse(f *pipeline.Fallback) pipeline.Verdict {
	x := t.x
	answer := fault.CircuitOpen
	switch {
	case f == nil || f.To != nil:
	case f.Static != nil:
		x.Response.SetStatusCode(f.Static.Status)
		x.Response.Header.SetContentType(f.Static.ContentType)
		x.Response.SetBodyRaw(f.Static.Body)
		x.BytesOut = int64(len(f.Static.Body))
		x.Cause = errCircuitOpen
		return pipeline.Respond
	default:
		answer = f.Fault
	}
	return x.FailBy(answer.After(x.Service.Breaker.RetryAfter(t.now)), errCircuitOpen)
}

// settle tells the guards what became of the exchange, once it has an answer's head or
// none will come.
func (t *trip) settle(o upstream.Fate) {
	a := &t.admission
	if a.breaker == nil && a.bulkhead == nil {
		return
	}
	r := upstream.Final{Fate: o, Now: t.headAt, Stripe: t.x.Stripe}
	if r.Now == 0 || o == upstream.Failure {
		r.Now = t.proxy.clock.Mono()
	}
	if t.content != streamed || t.whole { // else it is not known who was slow
		r.Latency = time.Duration(max(r.Now-a.since-a.uploaded, 0))
	}
	if a.breaker != nil {
		a.breaker.Done(a.ticket, r)
		a.breaker = nil
	}
	if a.bulkhead != nil && !t.to.Copies && (o == upstream.Success || t.x.Fault.Is(fault.UpstreamTimeout)) {
		a.bulkhead.Done(r)
	}
}

// fate is what the exchange tells of its service, after all tries. A status below 500 is
// an answer, whatever it says; that a client left, sent a bad request, or found all
// connections busy, tells nothing. Nor does a request whose time ran out because it had waited
// here for most of it.
func (t *trip) fate(v pipeline.Verdict) upstream.Fate {
	x := t.x
	switch {
	case v == pipeline.Abort || x.Status == statusClientGone:
		return upstream.Nothing
	case x.Fault.Is(fault.UpstreamTimeout) && t.admission.queued && t.tryDue == t.totalDue && 2*(t.totalDue-t.admission.since) < int64(t.to.Timeouts.Total):
		return upstream.Nothing
	case x.Fault.Is(fault.BadGateway), x.Fault.Is(fault.UpstreamTimeout):
		return upstream.Failure
	case !x.Fault.IsZero() || !x.FromService:
		return upstream.Nothing
	case x.Response.StatusCode() >= fasthttp.StatusInternalServerError:
		return upstream.Failure
	default:
		return upstream.Success
	}
}

// depart gives the place in the bulkhead back.
func (t *trip) depart() {
	if b := t.admission.bulkhead; b != nil {
		t.admission.bulkhead = nil
		b.Leave()
	}
}
