package gateway

import (
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/proxy"
	"github.com/suuupra/gateway/core/snapshot"
)

// serve walks one request from its head to its answer. It is fasthttp's handler.
func (g *Gateway) serve(ctx *fasthttp.RequestCtx) {
	x, verdict := g.resume(ctx), pipeline.Continue
	if x == nil {
		x, verdict = g.begin(ctx)
	}
	if verdict == pipeline.Continue {
		verdict = g.forward(x)
	}
	g.answer(x, verdict)
}

// expect decides about a request that waits for "100 Continue" before it sends
// its body (SPEC PX4). It is fasthttp's ExpectHandler: 100 lets the body come,
// and serve goes on where decide ended; any other status is the final answer.
func (g *Gateway) expect(ctx *fasthttp.RequestCtx) int {
	x, verdict := g.begin(ctx)
	if verdict == pipeline.Continue {
		g.suspend(ctx, x)
		return fasthttp.StatusContinue
	}
	g.answer(x, verdict)
	return ctx.Response.StatusCode()
}

// begin takes an exchange for the request, under the snapshot in force, and
// decides about it.
func (g *Gateway) begin(ctx *fasthttp.RequestCtx) (*pipeline.Exchange, pipeline.Verdict) {
	x := g.acquire(ctx)
	s := g.enter(x)
	return x, g.decide(s, x)
}

// decide runs everything that may refuse a request before its body is read.
// What matches no route, or can't, runs the chain of route "none" (SPEC F3): a
// flood of broken requests meets the limits too.
func (g *Gateway) decide(s *snapshot.Snapshot, x *pipeline.Exchange) (verdict pipeline.Verdict) {
	defer g.rescue(x, &verdict)
	verdict, err := g.receive(s, x)
	if verdict != pipeline.Continue {
		return verdict
	}
	outcome := snapshot.MethodNotAllowed
	if err == nil && !Pathless(x) {
		outcome = s.Match(x)
	}
	if verdict := x.Route.Chain.Decide(x); verdict != pipeline.Continue {
		return verdict
	}
	switch {
	case err != nil:
		return malformed(x, err)
	case outcome != snapshot.Matched:
		return unrouted(s, x, outcome)
	default:
		return withinLimit(x)
	}
}

// receive gives the request its id, takes away what no caller may send, finds
// out who calls, and makes host and path canonical. All that follows, the
// service included, sees these bytes only (SPEC RT2). err says why it can't be
// done.
func (g *Gateway) receive(s *snapshot.Snapshot, x *pipeline.Exchange) (verdict pipeline.Verdict, err error) {
	g.proxy.Sanitize(x, s.Trusted)
	if verdict := s.Receive(x); verdict != pipeline.Continue || Pathless(x) {
		return verdict, nil
	}
	if err := x.SetHost(x.Request.Header.Host()); err != nil {
		return pipeline.Continue, err
	}
	if rule := x.Peer.Hosts; rule != nil && !rule.Serves(x.Host) {
		return pipeline.Continue, errMisdirected
	}
	return pipeline.Continue, x.SetTarget(s.Path)
}

// forward gets the answer: from the route's service, or from the route itself.
func (g *Gateway) forward(x *pipeline.Exchange) (verdict pipeline.Verdict) {
	defer g.rescue(x, &verdict)
	r := x.Route
	if len(r.Destinations) > 0 {
		x.Choose() // by what the caller has sent, before hooks change it
	}
	proxy.Withhold(x)
	if verdict := r.Chain.Request(x); verdict != pipeline.Continue {
		return verdict
	}
	switch {
	case len(r.Destinations) > 0:
		return g.proxy.RoundTrip(x)
	case r.Respond != nil:
		return respond(x)
	case r.Redirect != nil:
		return redirect(x)
	default:
		return r.BuiltIn(x)
	}
}

// answer finishes the response, whoever made it, and ends the exchange unless
// its body still streams.
func (g *Gateway) answer(x *pipeline.Exchange, verdict pipeline.Verdict) {
	switch verdict {
	case pipeline.Abort:
	case pipeline.Switch:
		verdict = g.upgrade(x)
	default:
		verdict = g.finish(x)
	}
	switch {
	case verdict == pipeline.Abort:
		x.Down.Abort()
	case verdict == pipeline.Switch: // both connections are given away
	case g.draining():
		x.Response.SetConnectionClose()
	case !x.Streaming:
		holdAnswer(x)
	}
	x.Leave()
}

// finish runs what every answer passes, faults included (SPEC F3).
func (g *Gateway) finish(x *pipeline.Exchange) (verdict pipeline.Verdict) {
	defer x.Response.Header.SetCanonical(correlationName, x.CorrelationID()) // a panic's answer carries it too
	defer g.rescue(x, &verdict)
	verdict = x.Route.Chain.Answer(x, x.FromService)
	x.GreetVisitor() // behind what stores answers for other callers
	return verdict
}
