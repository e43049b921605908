package pipeline

import "github.com/valyala/fasthttp"

// Phase is one of the fixed steps of a request, in the order they run.
type Phase uint8

// The phases. Receive stands before routing and may only be used in defaults;
// Lookup and Store surround the call to the service and belong to caches.
const (
	Receive Phase = iota
	Guard
	Authenticate
	Authorize
	Limit
	Request
	Lookup
	Store
	Response
	Log
	Phases // the number of phases
)

// String returns the name used in logs and by `gateway explain`.
func (p Phase) String() string {
	return [...]string{"receive", "guard", "authenticate", "authorize", "limit", "request", "lookup", "store", "response", "log", "?"}[min(p, Phases)]
}

// Verdict is what a hook says about how the exchange goes on.
type Verdict uint8

const (
	// Continue lets the next hook run.
	Continue Verdict = iota
	// Respond says that the answer stands in Exchange.Response.
	Respond
	// Abort closes the connection without an answer.
	Abort
	// Switch says that the service has switched protocols: its 101 stands in
	// Exchange.Response, and Exchange.Switched holds its connection until the tunnel
	// stands. The transport alone returns it.
	Switch
)

// Hook is the function that a plugin runs in one phase. It is called by many
// goroutines at once, each with its own exchange, and must not keep the
// exchange nor any slice of it beyond its return.
type Hook func(*Exchange) Verdict

// Instance is one plugin, compiled for one route: immutable and shared by all
// requests of the route. A nil hook costs nothing. Close, if not nil, is called
// once, after the last exchange of the snapshot that built it has ended.
type Instance struct {
	Hooks [Phases]Hook
	// Preflights says that the Guard hook answers every exchange whose Preflight is
	// set: none goes on, for its route may take no OPTIONS.
	Preflights bool
	// Interim, if not nil, edits each interim answer (1xx) of a service before it goes to
	// the client: no phase sees those. It must not keep the header beyond its return.
	Interim func(*fasthttp.ResponseHeader)
	// Notes are what `gateway explain` shows of the instance beside its hooks, a line each.
	Notes []string
	Close func()
}

// Named is an instance with what `gateway explain` says about it.
type Named struct {
	Plugin string
	At     string // where its options came from, "file:line:column"
	Instance
}

// Chain holds the hooks of one route, flattened to one slice for each part of
// the walk, so that a phase without a hook costs not even a branch.
type Chain struct {
	received []Hook // Receive; only the defaults chain has any
	decide   []Hook // Guard … Limit
	request  []Hook // Request, Lookup
	answer   []Hook // Store, Response: for answers of a service
	own      []Hook // Response: for answers of the gateway itself
	log      []Hook
	interim  []func(*fasthttp.ResponseHeader)
	named    []Named

	preflights bool
}

// NewChain joins instances, already in the order of the plugin list.
func NewChain(instances []Named) *Chain {
	c := &Chain{named: instances}
	c.received = c.collect(Receive, Receive)
	c.decide = c.collect(Guard, Limit)
	c.request = c.collect(Request, Lookup)
	c.answer = c.collect(Store, Response)
	c.own = c.collect(Response, Response)
	c.log = c.collect(Log, Log)
	for i := range instances {
		c.preflights = c.preflights || instances[i].Preflights
		if f := instances[i].Interim; f != nil {
			c.interim = append(c.interim, f)
		}
	}
	return c
}

// collect returns the hooks of the phases first to last, phase by phase.
func (c *Chain) collect(first, last Phase) []Hook {
	var hooks []Hook
	for p := first; p <= last; p++ {
		for i := range c.named {
			if h := c.named[i].Hooks[p]; h != nil {
				hooks = append(hooks, h)
			}
		}
	}
	return hooks
}

// Named returns the instances of the chain, for `gateway explain`.
func (c *Chain) Named() []Named { return c.named }

// Preflights says whether the chain answers CORS preflights (SECURITY C14).
func (c *Chain) Preflights() bool { return c.preflights }

// Receive runs the hooks that stand before routing.
func (c *Chain) Receive(x *Exchange) Verdict { return run(c.received, x) }

// Decide runs Guard, Authenticate, Authorize and Limit.
func (c *Chain) Decide(x *Exchange) Verdict { return run(c.decide, x) }

// Request runs Request and Lookup, just before the service is called.
func (c *Chain) Request(x *Exchange) Verdict { return run(c.request, x) }

// Answer runs Store (only for what a service answered) and Response.
func (c *Chain) Answer(x *Exchange, fromService bool) Verdict {
	if fromService {
		return run(c.answer, x)
	}
	return run(c.own, x)
}

// Interim edits an interim answer of a service.
func (c *Chain) Interim(h *fasthttp.ResponseHeader) {
	for _, f := range c.interim {
		f(h)
	}
}

// Log runs the Log hooks, when the exchange has ended.
func (c *Chain) Log(x *Exchange) { run(c.log, x) }

// run stops at the first verdict that is not Continue.
func run(hooks []Hook, x *Exchange) Verdict {
	for _, h := range hooks {
		if v := h(x); v != Continue {
			return v
		}
	}
	return Continue
}
