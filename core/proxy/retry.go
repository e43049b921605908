package proxy

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/upstream"
)

// errNoEndpoint says that the service has no endpoint that may be asked.
var errNoEndpoint = errors.New("no endpoint of the service may be asked")

// judge looks whether the answer whose head was read is one that the route would
// rather have from another endpoint.
func (t *trip) judge() failure {
	head := t.conn.answer.Head()
	f := failure{err: errStatus, status: true}
	switch head.Status {
	case fasthttp.StatusInternalServerError:
		f.kind = upstream.On500
	case fasthttp.StatusBadGateway:
		f.kind = upstream.On502
	case fasthttp.StatusServiceUnavailable:
		f.kind, f.after = upstream.On503, retryAfter(&t.x.Response.Header)
	case fasthttp.StatusGatewayTimeout:
		f.kind = upstream.On504
	default:
		return failure{}
	}
	return f
}

// errStatus stands for an answer that is one, and yet may be tried again.
var errStatus = errors.New("the service answered that it can't")

// retryAfter reads the field of a 503 in its seconds form, as nanoseconds. A
// date is taken for a long time: no request waits so long.
func retryAfter(h *fasthttp.ResponseHeader) int64 {
	value := h.Peek(fasthttp.HeaderRetryAfter)
	if len(value) == 0 {
		return 0
	}
	seconds, err := fasthttp.ParseUint(value)
	if err != nil || seconds > 1<<20 {
		return never
	}
	return int64(seconds) * int64(time.Second)
}

// again says whether the request may be tried once more, and waits until it may
// (SPEC PX6). It is the only place that decides about it. The failure it returns
// otherwise is the one that counts.
func (t *trip) again(f failure) (failure, bool) {
	x := t.x
	policy := &t.to.Retry
	if t.retries >= policy.Retries || policy.When&f.kind == 0 || !t.repeatable(f) {
		return f, false
	}
	now := t.proxy.clock.Mono()
	wait := max(t.backoff(), f.after)
	if wait >= t.totalDue-now {
		return f, false
	}
	if !x.Service.Budget.TryRetry(now, policy.Budget) {
		t.proxy.metrics.budget.Add(x.Stripe, 1)
		return f, false
	}
	t.discard()
	t.retries++
	t.proxy.metrics.retries.Add(x.Stripe, 1)
	<-t.proxy.clock.NewTimer(time.Duration(wait)).C()
	if x.Down.Gone() {
		return failure{err: errClientGone}, false
	}
	return failure{}, true
}

// repeatable says whether sending the request again can do no harm: nothing of it
// has reached the service, or it means the same twice (RFC 9110 §9.2.2) and is
// still here whole. A payment is repeated only by a route that says that its
// service tells repetitions apart (SECURITY C9).
func (t *trip) repeatable(f failure) bool {
	if f.unsent {
		return true
	}
	if t.content == streamed {
		return false
	}
	h := &t.x.Request.Header
	switch string(h.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions, fasthttp.MethodPut, fasthttp.MethodDelete, fasthttp.MethodTrace:
		return true
	case fasthttp.MethodPost, fasthttp.MethodPatch:
		return t.to.RetryIdempotencyKey && len(h.Peek("Idempotency-Key")) > 0
	default:
		return false
	}
}

// backoff is how long to wait before the next try, in nanoseconds: doubled with
// each, and anything between half and all of that, so that exchanges which
// failed together don't come back together.
func (t *trip) backoff() int64 {
	b := t.to.Retry.Backoff
	wait := int64(b.Initial) << min(t.retries, 16)
	wait = min(wait, int64(b.Maximum))
	if wait <= 1 {
		return wait
	}
	return wait/2 + rand.Int64N(wait/2+1)
}

// discard drops what the last try has left: an answer that is not wanted. Its
// connection is kept if the rest of it is here already.
func (t *trip) discard() {
	c := t.conn
	if c == nil {
		return
	}
	t.headRead = false
	head := c.answer.Head()
	rest := head.ContentLength
	if t.x.Request.Header.IsHead() {
		rest = 0
	}
	clean := rest >= 0 && rest <= int64(c.br.Buffered())
	if clean {
		_, _ = c.br.Discard(int(rest)) // it is buffered
	}
	t.giveBack(clean)
}
