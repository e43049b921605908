package proxy

import (
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
)

// statusClientGone is what is logged for a client that left (SPEC PX5). It is
// never sent.
const statusClientGone = 499

// trip is one exchange on its way to a service and back. It is pooled; it
// belongs to the exchange's goroutine until the answer's body is out.
type trip struct {
	proxy *Proxy
	x     *pipeline.Exchange
	to    *pipeline.Destination

	target []byte // borrowed from the exchange
	head   []byte // the composed head, owned
	lines  []byte // the request's own field lines, owned
	body   []byte // room for a head, and a buffered body behind it; owned

	content content
	length  int64     // of a streamed body; chunked if unknown
	source  io.Reader // the client's body

	now      int64 // when the trip began, or last waited for something before the service's time, monotonic ns
	totalDue int64 // when it must have an answer's head; never if unbounded
	tryDue   int64 // the same for the present try

	tried     upstream.Tried
	endpoint  *upstream.Endpoint // picked, and counted as busy
	conn      *conn
	keepAlive bool // the connection may be used again afterwards
	whole     bool // the request is out to its last byte
	announce  bool // the client's trailers are announced
	headRead  bool // the final answer's head stands in the response
	interims  int
	retries   int
	headAt    int64   // when the final answer's head was read
	early     failure // what became of an answer that came during an upload

	admission admission
	stream    stream
}

const (
	// never is the time that does not come, in monotonic ns.
	never = unset - 1
	// unset, as an armed deadline, is later than all that can be due: it makes the
	// next wait arm its own.
	unset = math.MaxInt64
)

// RoundTrip gets the answer of the service that x.Choose says. It returns Continue when the
// answer's head stands in x.Response, with its body or a stream of it (then
// x.Streaming is set, and x.End is called when the stream closes); Respond when
// x.Response holds a fault; Abort when the client has gone.
func (p *Proxy) RoundTrip(x *pipeline.Exchange) pipeline.Verdict {
	t := p.trips.Get().(*trip)
	t.proxy, t.x = p, x
	t.now = p.clock.Mono()
	t.to = x.Choose()
	x.Service = t.to.Service
	panicked := true
	defer func() {
		if panicked {
			t.abandon()
		}
	}()
	verdict, ready := t.prepare()
	if ready {
		verdict, ready = t.admit()
	}
	if ready {
		x.Timing.Upstream = t.now
		verdict = t.run()
		t.settle(t.fate(verdict))
	}
	panicked = false
	if !x.Streaming {
		t.done()
	}
	return verdict
}

// prepare finds the target, and takes a body that may be buffered, before anything of the
// service is held: a client may take its time with it. The service's time begins afterwards.
func (t *trip) prepare() (pipeline.Verdict, bool) {
	x := t.x
	if b := x.Service.Breaker; b != nil && !t.to.Fallback.Hops() && b.Refuses(t.now, x.Stripe) {
		return t.refuse(t.to.Fallback), false // no body is waited for
	}
	target, err := x.Target()
	if err != nil {
		return x.FailBy(fault.BadRequest.Detail("the request path is not valid"), err), false
	}
	t.target = target
	if verdict, ok := t.takeBody(); !ok {
		return verdict, false
	}
	if t.source != nil {
		t.now = t.proxy.clock.Mono()
	}
	t.totalDue = later(t.now, int64(t.to.Timeouts.Total))
	return pipeline.Continue, true
}

// abandon gives back, when a bug made the exchange panic, what others would miss for ever.
// The trip is not used again.
func (t *trip) abandon() {
	t.settle(upstream.Nothing)
	if t.conn != nil {
		t.giveBack(false)
	}
	t.release()
	t.depart()
}

// later is d after now; 0 means never.
func later(now, d int64) int64 {
	if d <= 0 {
		return never
	}
	return now + d
}

// done gives everything back. Nothing of the trip is touched afterwards.
func (t *trip) done() {
	if t.conn != nil {
		t.giveBack(false)
	}
	t.release()
	t.depart()
	p := t.proxy
	head, lines, body := t.head, t.lines, t.body
	if cap(body) > largestKept {
		body = nil
	}
	*t = trip{head: head[:0], lines: lines[:0], body: body[:0]}
	p.trips.Put(t)
}

// largestKept is the largest body buffer that waits for its next use, in bytes.
const largestKept = 128 << 10

// run gets an answer; of a handshake, with a place for the tunnel at hand.
func (t *trip) run() pipeline.Verdict {
	if t.x.Upgrade != nil {
		return t.shakeHands()
	}
	return t.ask()
}

// ask tries until there is an answer, or nothing more to try.
func (t *trip) ask() pipeline.Verdict {
	x := t.x
	if m := x.Route.Mirror; m != nil {
		t.mirror(m)
	}
	for {
		f := t.try()
		if f.err == nil {
			t.headAt = t.proxy.clock.Mono()
			x.Timing.Head = t.headAt
			f = t.judge()
		}
		t.report(f)
		if f.err == nil {
			return t.deliver()
		}
		f, again := t.again(f)
		if !again {
			return t.give(f)
		}
	}
}

// failure is why a try gave no answer that counts; the zero value is none.
type failure struct {
	err    error
	fault  fault.Fault
	kind   upstream.When // the class of failure by which a route may want a retry
	unsent bool          // no byte of the request reached the service
	status bool          // there is an answer, and it is one that may be tried again
	after  int64         // ns that the service asked to be left alone
}

func badAnswer(err error) failure { return failure{err: err, fault: fault.BadGateway} }

// try sends the request to one endpoint and reads the head of its answer. An endpoint
// that left its service since it was picked uses up no try: the next pick knows.
func (t *trip) try() failure {
	for range mostMoved {
		if f := t.tryOne(); !errors.Is(f.err, errClosed) {
			return f
		}
	}
	return t.tryOne()
}

// mostMoved is how often one try may find that its endpoint has just left.
const mostMoved = 3

func (t *trip) tryOne() failure {
	x := t.x
	t.release()
	t.endpoint = x.Service.Pick(&t.tried, x.Hash)
	if t.endpoint == nil {
		return failure{err: errNoEndpoint, fault: fault.NoHealthyEndpoint}
	}
	t.endpoint.Begin()
	x.Endpoint = t.endpoint
	p := t.endpoint.Connections().(*pool)
	t.keepAlive = p.settings.Keepalive
	t.compose(t.endpoint.HostHeader)
	for {
		c, err := p.acquire(t)
		if err != nil {
			return t.unreached(err)
		}
		t.conn = c
		c.watch.begin(x.Down, t.now)
		f := t.exchange(c)
		if f.err == nil {
			if c.reused {
				t.proxy.metrics.reuses.Add(x.Stripe, 1)
			}
			return f
		}
		stale := f.unsent && c.reused && !errors.Is(f.err, errClientGone)
		if stale {
			t.countStale(f.err)
		}
		t.giveBack(false)
		if !stale {
			return f
		}
		// Nothing has happened yet: no try is used up.
		x.Tries--
	}
}

// countStale counts a pooled connection that was found useless before its use.
func (t *trip) countStale(err error) {
	if errors.Is(err, errStray) {
		t.proxy.metrics.strays.Add(t.x.Stripe, 1)
		return
	}
	t.proxy.metrics.stale.Add(t.x.Stripe, 1)
}

// unreached is the failure of a try that got no connection.
func (t *trip) unreached(err error) failure {
	f := failure{err: err, fault: fault.BadGateway, kind: upstream.OnConnect, unsent: true}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errFull):
		t.proxy.metrics.full.Add(t.x.Stripe, 1)
		f.fault, f.kind = fault.Overloaded, 0
	case errors.Is(err, errTimeout), errors.As(err, &timeout) && timeout.Timeout():
		f.fault = fault.UpstreamTimeout
	}
	return f
}

// exchange sends the request on c and reads the head of the answer.
func (t *trip) exchange(c *conn) failure {
	c.sent, c.cut = false, false
	if t.content == streamed {
		return t.exchangeStreamed(c)
	}
	t.x.Tries++
	t.setTryDue()
	c.readDue, c.writeDue = t.tryDue, t.tryDue
	t.whole = true
	c.request(t.message())
	return t.readHead(c, false)
}

// exchangeStreamed sends head and body apart, and listens meanwhile.
func (t *trip) exchangeStreamed(c *conn) failure {
	t.x.Tries++
	t.setTryDue()
	if err := c.quiet(); err != nil {
		return t.lost(c, err)
	}
	c.readDue, c.writeDue = t.tryDue, t.idleDue()
	began := t.proxy.clock.Mono()
	err := c.write(t.head)
	if err == nil {
		err = t.upload(c)
	}
	var client clientError
	switch {
	case err == nil:
		t.whole = true
		// The time that the client took is no time of the service's.
		spent := t.proxy.clock.Mono() - began
		t.totalDue = extended(t.totalDue, spent)
		t.admission.uploaded = spent
		t.setTryDue()
	case errors.Is(err, errAnswered):
		if t.headRead || t.early.err != nil {
			return t.early
		}
		t.setTryDue()
	case errors.As(err, &client):
		return failure{err: client}
	default:
		return t.lost(c, err)
	}
	c.readDue = t.tryDue
	return t.readHead(c, false)
}

// lost is the failure of a connection that broke, or fell silent, before an answer.
func (t *trip) lost(c *conn, err error) failure {
	switch {
	case errors.Is(err, errClientGone):
		return failure{err: errClientGone}
	case errors.Is(err, errTimeout):
		return failure{err: fmt.Errorf("waiting for %s: %w", c.pool.address, err), fault: fault.UpstreamTimeout, kind: upstream.OnTimeout}
	case c.late(err):
		err = c.pool.sealing.refused(c, err)
		return failure{err: err, fault: fault.BadGateway, kind: upstream.OnConnect, unsent: true}
	default:
		return failure{err: fmt.Errorf("talking to %s: %w", c.pool.address, err), fault: fault.BadGateway, kind: upstream.OnReset, unsent: !c.sent}
	}
}

// give makes the exchange's answer of the last failure.
func (t *trip) give(f failure) pipeline.Verdict {
	var client clientError
	switch {
	case f.status:
		return t.deliver()
	case errors.Is(f.err, errClientGone):
		return t.leave(f.err)
	case errors.As(f.err, &client):
		if errors.Is(client.error, syscall.ECONNRESET) {
			return t.leave(client)
		}
		return t.x.FailBody(client.error)
	default:
		return t.x.FailBy(f.fault, f.err)
	}
}

// leave ends an exchange whose client has gone.
func (t *trip) leave(err error) pipeline.Verdict {
	t.x.FromService = false
	t.proxy.clientGone(t.x, err)
	return pipeline.Abort
}

// clientGone notes, once, that an exchange ends because its client went away:
// whoever finds it out first, the sweeper or a write, it counts the same.
func (p *Proxy) clientGone(x *pipeline.Exchange, err error) {
	if x.Status != statusClientGone {
		p.metrics.clientAborts.Add(x.Stripe, 1)
	}
	x.Status, x.Cause = statusClientGone, err
}

// broken answers for a service that began an answer and did not end it. Nothing
// of it has reached the client.
func (t *trip) broken(err error) pipeline.Verdict {
	switch {
	case errors.Is(err, errClientGone):
		return t.leave(err)
	case errors.Is(err, errTimeout):
		t.x.Service.Report(t.endpoint, upstream.Overdue)
		return t.x.FailBy(fault.UpstreamTimeout, err)
	default:
		t.x.Service.Report(t.endpoint, upstream.Lost)
		return t.x.FailBy(fault.BadGateway, err)
	}
}

// giveBack ends the use of the connection: back to its pool if it is clean, that
// is if the request is out, the answer was read to its end and said nothing
// against it, and nothing stands behind it (SECURITY C1). Otherwise it closes.
func (t *trip) giveBack(clean bool) {
	c := t.conn
	t.conn = nil
	c.watch.end(t.now)
	if clean && t.whole && !c.cut && t.keepAlive && !c.answer.Head().Close && c.br.Buffered() == 0 && !c.watch.gone.Load() && (c.secure == nil || c.secure.atRest()) {
		c.pool.put(c, max(t.headAt, t.now))
		return
	}
	c.pool.drop(c)
}

// setTryDue sets when the present try must have its answer's head.
func (t *trip) setTryDue() {
	to := t.to
	now := t.now
	if t.x.Tries > 1 || t.content == streamed {
		now = t.proxy.clock.Mono()
	}
	t.tryDue = min(t.totalDue, later(now, int64(to.Timeouts.Response)), later(now, int64(to.Retry.PerTry)))
	if t.tryDue == never && t.x.Upgrade != nil {
		t.tryDue = later(now, int64(handshakeTimeout))
	}
}

// release says that the endpoint is busy with this exchange no more.
func (t *trip) release() {
	if t.endpoint != nil {
		t.endpoint.End()
		t.endpoint = nil
	}
}

// idleDue is when the next bytes of a body are overdue.
func (t *trip) idleDue() int64 {
	return later(t.proxy.clock.Mono(), int64(t.to.Timeouts.Idle))
}

// dialDue is when a connection must stand.
func (t *trip) dialDue() int64 {
	return min(t.totalDue, later(t.proxy.clock.Mono(), int64(t.to.Timeouts.Connect)))
}

func extended(due, by int64) int64 {
	if due == never {
		return never
	}
	return due + by
}
