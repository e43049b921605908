package proxy

import (
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// What the copies of one route may cost at most.
const (
	mirrorsAtOnce = 32               // copies under way; further ones are dropped
	mirrorBody    = 256 << 10        // bytes of a request's body that is copied
	mirrorAnswer  = 256 << 10        // bytes of an answer that are read before its connection is closed
	mirrorTime    = 30 * time.Second // to an answer's head, and as long again to its end
	mirrorIdle    = 5 * time.Second  // between two bytes of an answer
)

// mirrorMark tells a service that nobody waits for its answer. No caller can send a field
// of this name (SECURITY C3).
const mirrorMark = "X-Gateway-Mirror"

// mirror decides about a copy of the request, whose body is there by now. What streams is
// gone once it is sent, and a handshake would open a connection that nobody uses.
func (t *trip) mirror(m *pipeline.Mirror) {
	if m.Copier == nil || m.Share < 1 && rand.Float64() >= m.Share {
		return
	}
	x := t.x
	switch {
	case x.Upgrade != nil, t.content == streamed, t.content == buffered && t.length > mirrorBody:
		m.Copier.Skip(x.Stripe)
	case t.content == buffered:
		m.Copier.Copy(x, t.target, t.body[headRoom:])
	default:
		m.Copier.Copy(x, t.target, nil)
	}
}

// copier sends the copies of one route, by workers that it starts when they are needed. A
// request finds one that rests, or is not copied: it waits for nothing. The route's
// snapshot owns it.
type copier struct {
	proxy *Proxy
	route *pipeline.Route // what copies walk
	names [3]string       // labels of the counter, but for the outcome
	tally *meter.Tally

	resting chan *copyWorker
	started atomic.Int32 // written when a worker starts
	left    atomic.Bool  // the route is gone
	mu      sync.Mutex   // guards workers: taken when one starts
	workers []*copyWorker
	running sync.WaitGroup
}

// NewCopier returns what sends the copies of r to a service. It starts nothing yet.
func (p *Proxy) NewCopier(r *pipeline.Route, to *pipeline.Destination) pipeline.Copier {
	bound := *to
	bound.Copies, bound.Fallback = true, nil
	bound.Retry = upstream.Retry{}
	bound.Timeouts.Total = atMost(bound.Timeouts.Total, mirrorTime)
	bound.Timeouts.Idle = atMost(bound.Timeouts.Idle, mirrorIdle)
	return &copier{
		proxy: p, names: [3]string{r.Name, to.Service.Name}, resting: make(chan *copyWorker, mirrorsAtOnce),
		tally: p.meter.Tally("gateway_mirrored_requests_total", "Requests chosen to be copied to a mirror: answered, failed, dropped because too many were under way, or skipped because they have a long body or open a WebSocket.", "route", "service", "outcome"),
		route: &pipeline.Route{
			Name: r.Name, Chain: pipeline.NewChain(nil), Destinations: []*pipeline.Destination{&bound}, BodyLimit: pipeline.Unlimited,
			PreserveHost: r.PreserveHost, HostName: r.HostName, Withheld: r.Withheld,
		},
	}
}

// atMost is d, or most if d is more or no bound.
func atMost(d, most time.Duration) time.Duration {
	if d <= 0 {
		return most
	}
	return min(d, most)
}

// Copy implements pipeline.Copier.
func (c *copier) Copy(x *pipeline.Exchange, target, body []byte) {
	w := c.rested()
	if w == nil {
		c.count(x.Stripe, "dropped")
		return
	}
	w.take(x, target, body)
	w.begin <- struct{}{}
}

// Skip implements pipeline.Copier.
func (c *copier) Skip(stripe uint32) { c.count(stripe, "skipped") }

func (c *copier) count(stripe uint32, outcome string) {
	names := c.names
	names[2] = outcome
	c.tally.Add(stripe, 1, names)
}

// rested returns a worker that has nothing to do, a new one while there may be more, or
// nil.
func (c *copier) rested() *copyWorker {
	select {
	case w := <-c.resting:
		return w
	default:
	}
	if c.started.Load() >= mirrorsAtOnce || c.started.Add(1) > mirrorsAtOnce {
		return nil
	}
	w := &copyWorker{copier: c, begin: make(chan struct{}, 1), exchange: pipeline.NewFactory(func(*pipeline.Exchange) {}).New()}
	c.mu.Lock()
	c.workers = append(c.workers, w)
	c.mu.Unlock()
	c.running.Go(w.run)
	return w
}

// Close implements pipeline.Copier. The sweeper finds out that the client of what is
// under way has gone.
func (c *copier) Close() {
	c.left.Store(true)
	c.mu.Lock()
	for _, w := range c.workers {
		close(w.begin)
	}
	c.mu.Unlock()
	c.running.Wait()
}

// copyWorker sends one copy at a time, and stands for the client that does not wait for
// its answer. Everything it holds is its own: the request that was copied is over, maybe.
type copyWorker struct {
	copier   *copier
	begin    chan struct{} // closed by Close
	exchange *pipeline.Exchange
	request  fasthttp.Request
	response fasthttp.Response
	head     wire.RequestHead
	target   []byte
	body     []byte
	room     [4 << 10]byte // for what nobody reads
}

var _ pipeline.Downstream = (*copyWorker)(nil)

// Interim drops an interim answer.
func (w *copyWorker) Interim(int, *fasthttp.ResponseHeader) error { return nil }

// Gone says that the route is gone, which ends the exchange.
func (w *copyWorker) Gone() bool { return w.copier.left.Load() }

// Truncated is false: the body is whole.
func (w *copyWorker) Truncated() bool { return false }

// Abort has nothing to close.
func (w *copyWorker) Abort() {}

// take copies what is sent of x. What proves who calls stays here (SECURITY I15): cookies
// are credentials of the service that gave them, which this is not.
func (w *copyWorker) take(x *pipeline.Exchange, target, body []byte) {
	w.target, w.body = append(w.target[:0], target...), append(w.body[:0], body...)
	h := &w.request.Header
	x.Request.Header.CopyTo(h)
	for _, name := range mirrorWithheld {
		h.DelBytes(name)
	}
	for _, name := range x.Route.Withheld {
		h.DelBytes(name)
	}
	h.Set(mirrorMark, "1")
	w.request.SetBodyRaw(w.body)
	w.head = wire.RequestHead{Minor: x.Head.Minor}
	y := w.exchange
	y.Reset()
	y.Request, y.Response, y.Head, y.Down, y.Route = &w.request, &w.response, &w.head, w, w.copier.route
	y.Peer = pipeline.Peer{Address: x.Peer.Address, Listener: x.Peer.Listener}
	y.Path, y.Client, y.Scheme, y.Principal = w.target, x.Client, x.Scheme, x.Principal
	y.Timing.Start = x.Timing.Start
	y.Correlate(x.CorrelationID())
}

var mirrorWithheld = [][]byte{authorizationName, apiKeyName, []byte(fasthttp.HeaderCookie), []byte(fasthttp.HeaderProxyAuthorization)}

// run sends copies until begin closes. The copier owns it.
func (w *copyWorker) run() {
	for range w.begin {
		outcome := "failed"
		if w.send() {
			outcome = "answered"
		}
		w.copier.count(w.exchange.Stripe, outcome)
		w.response.Reset()
		if cap(w.body) > largestKept {
			w.body = nil
		}
		w.copier.resting <- w
	}
}

// send sends the copy and throws its answer away. A panic costs the copy alone.
func (w *copyWorker) send() (answered bool) {
	defer func() {
		if recover() != nil {
			answered = false
		}
	}()
	x := w.exchange
	w.copier.proxy.RoundTrip(x)
	if !x.Streaming {
		return x.FromService
	}
	w.drain()
	return w.response.CloseBodyStream() == nil && x.FromService
}

// drain reads an answer's body as far as it may go.
func (w *copyWorker) drain() {
	c := w.copier.proxy.clock
	body := w.response.BodyStream()
	due := c.Mono() + int64(mirrorTime)
	for left := mirrorAnswer; left > 0 && c.Mono() < due; {
		n, err := body.Read(w.room[:])
		if err != nil {
			if err != io.EOF {
				w.exchange.FromService = false // it broke off
			}
			return
		}
		left -= n
	}
}
