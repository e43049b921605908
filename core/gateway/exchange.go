package gateway

import (
	"fmt"
	"runtime/debug"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/snapshot"
)

// enter takes the snapshot in force for x. The count is taken before the check,
// so that whoever swaps snapshots meanwhile either sees the count or makes this
// loop take the new one.
func (g *Gateway) enter(x *pipeline.Exchange) *snapshot.Snapshot {
	s := g.snap.Load()
	for s.Enter(x.Stripe); ; s.Enter(x.Stripe) {
		now := g.snap.Load()
		if now == s {
			x.Holder, x.Route = s, s.None
			return s
		}
		s.Release(x.Stripe)
		s = now
	}
}

// acquire takes an exchange for the request in ctx.
func (g *Gateway) acquire(ctx *fasthttp.RequestCtx) *pipeline.Exchange {
	x := g.exchanges.Get().(*pipeline.Exchange)
	conn := listen.ConnOf(ctx.Conn())
	x.Enter()
	x.Timing.Start = g.clock.Mono()
	x.Request, x.Response = &ctx.Request, &ctx.Response
	x.Down, x.Head = conn, conn.Head()
	x.Peer = pipeline.Peer{Address: conn.RemoteAddrPort(), Listener: conn.Listener()}
	if state := conn.TLS(); state != nil {
		x.Peer.TLS, x.Peer.Hosts = state, conn
	}
	x.Correlate(ctx.Request.Header.Peek(pipeline.HeaderCorrelationID))
	return x
}

// exchangeKey is the user value under which an exchange waits for its body.
type exchangeKey struct{}

// statusClientGone is logged where the client left before its answer; never sent.
const statusClientGone = 499

// suspend keeps x until the body comes; if it never does, fasthttp closes x.
func (g *Gateway) suspend(ctx *fasthttp.RequestCtx, x *pipeline.Exchange) {
	x.Suspend()
	x.Status = statusClientGone
	ctx.SetUserValue(exchangeKey{}, x)
}

// resume returns the exchange that expect has decided about, or nil.
func (g *Gateway) resume(ctx *fasthttp.RequestCtx) *pipeline.Exchange {
	x, _ := ctx.UserValue(exchangeKey{}).(*pipeline.Exchange)
	if x != nil {
		ctx.RemoveUserValue(exchangeKey{})
		x.Enter()
		x.Status = 0
	}
	return x
}

// rescue turns a panic of the walk into one logged 500: a hook's bug must not
// end the process, which fasthttp would let it.
func (g *Gateway) rescue(x *pipeline.Exchange, verdict *pipeline.Verdict) {
	p := recover()
	if p == nil {
		return
	}
	g.log.Error().Str("correlation_id", string(x.CorrelationID())).Str("route", x.Route.Name).
		Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("a request made the gateway panic")
	x.Streaming = false
	*verdict = x.FailBy(fault.Internal, fmt.Errorf("panic: %v", p))
}

// done is called once for each exchange, when its last byte is out or its
// client gone: log, metrics, releases.
func (g *Gateway) done(x *pipeline.Exchange) {
	x.Timing.End = g.clock.Mono()
	if x.Status == 0 {
		x.Status = x.Response.StatusCode()
	}
	g.logExchange(x)
	series := x.Series()
	series.Observe(x.Stripe, meter.MethodOf(x.Request.Header.Method()), x.Status, x.Duration())
	if !x.Fault.IsZero() {
		series.Fault(x.Stripe, x.Fault.Code())
	}
	holder, stripe := x.Holder, x.Stripe
	x.Reset()
	g.exchanges.Put(x)
	holder.Release(stripe)
}

// logExchange runs the Log hooks. A panic in one is logged, and costs that line only.
func (g *Gateway) logExchange(x *pipeline.Exchange) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error().Str("route", x.Route.Name).Str("panic", fmt.Sprint(p)).Msg("a log hook panicked")
		}
	}()
	x.Route.Chain.Log(x)
}

// holdAnswer lets the connection write an answer that is complete together with
// its wait for the next request.
func holdAnswer(x *pipeline.Exchange) {
	if conn, ok := x.Down.(*listen.Conn); ok {
		conn.HoldAnswer()
	}
}
