package snapshot

import (
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/wire"
)

// Outcome is what Match found.
type Outcome uint8

// The outcomes.
const (
	Matched          Outcome = iota
	NoRoute                  // nothing takes the host and path
	MethodNotAllowed         // something takes host and path, nothing the method
	BadPath                  // the route that matched refuses what the raw path held
)

// String says what a caller is answered.
func (o Outcome) String() string {
	return [...]string{"the route's answer", "404 no_route", "405 method_not_allowed", "400 bad_request"}[o]
}

// Match finds the route of x and sets it with its parameters. What matches none
// keeps route None.
func (s *Snapshot) Match(x *pipeline.Exchange) Outcome {
	if s.preflights {
		if asked := x.AskedMethod(); asked != nil {
			return s.matchPreflight(x, asked)
		}
	}
	return s.match(x, x.Request.Header.Method())
}

// matchPreflight finds the route that the request which a preflight asks about
// would meet: no other one's policy may answer for it, that of the defaults
// neither (SECURITY C14). Where that route answers no preflights, this is an
// OPTIONS request like any other. What no route takes would meet route None.
func (s *Snapshot) matchPreflight(x *pipeline.Exchange, asked []byte) Outcome {
	flags := x.PathFlags
	meant := s.match(x, asked)
	if meant == Matched && x.Route.Chain.Preflights() {
		x.Preflight = true
		return Matched
	}
	s.leave(x, NoRoute)
	if x.PathFlags = flags; flags&wire.PathDoubleSlash != 0 {
		// That route may have had the path read in its own way.
		if err := x.SetTarget(s.Path); err != nil {
			return BadPath
		}
	}
	outcome := s.match(x, x.Request.Header.Method())
	x.Preflight = meant != Matched && outcome != Matched && s.None.Chain.Preflights()
	return outcome
}

// match finds the route that takes method.
func (s *Snapshot) match(x *pipeline.Exchange, method []byte) Outcome {
	var found router.Found[*pipeline.Route]
	q := query(x, method)
	switch s.table.Lookup(&q, &found) {
	case router.MethodNotAllowed:
		return MethodNotAllowed
	case router.NoRoute:
		return NoRoute
	}
	x.Route, x.Params = found.Value, found.Params
	if x.PathFlags&(wire.PathEncodedSlash|wire.PathDoubleSlash) != 0 {
		return s.matchOdd(x, method)
	}
	return Matched
}

// matchOdd settles what the route says about encoded and double slashes. A route
// that keeps double slashes must be the one that matches the kept path too: all
// that follows sees that path, and no other route's policy may be the right one.
func (s *Snapshot) matchOdd(x *pipeline.Exchange, method []byte) Outcome {
	r := x.Route
	if x.PathFlags&wire.PathEncodedSlash != 0 && !r.Path.EncodedSlashes {
		return s.leave(x, BadPath)
	}
	if x.PathFlags&wire.PathDoubleSlash == 0 || !r.Path.DoubleSlashes {
		return Matched
	}
	if err := x.SetTarget(r.Path); err != nil {
		return s.leave(x, BadPath)
	}
	var found router.Found[*pipeline.Route]
	q := query(x, method)
	if s.table.Lookup(&q, &found) != router.Matched || found.Value != r {
		return s.leave(x, NoRoute)
	}
	x.Params = found.Params
	return Matched
}

// leave takes x off the route that was found for it.
func (s *Snapshot) leave(x *pipeline.Exchange, outcome Outcome) Outcome {
	x.Route = s.None
	x.Params.Reset()
	return outcome
}

// Allow appends the methods that routes take for the host and path of x.
func (s *Snapshot) Allow(dst []byte, x *pipeline.Exchange) []byte {
	q := query(x, x.Request.Header.Method())
	return s.table.Allow(dst, &q)
}

// Explain says for each route, in match order, whether it takes x, and why not. A
// preflight that Match has found is explained by the method that it asks about.
func (s *Snapshot) Explain(x *pipeline.Exchange) []router.Step {
	q := query(x, x.Request.Header.Method())
	if x.Preflight {
		q.Method = x.AskedMethod()
	}
	return s.table.Explain(&q)
}

// Each calls f for all routes in match order, with what they match.
func (s *Snapshot) Each(f func(*pipeline.Route, *router.Match)) {
	for _, i := range s.table.Entries() {
		f(s.entries[i], &s.matches[i])
	}
}

// Ordered returns all routes in match order.
func (s *Snapshot) Ordered() []*pipeline.Route {
	var out []*pipeline.Route
	for _, i := range s.table.Entries() {
		out = append(out, s.entries[i])
	}
	return out
}

func query(x *pipeline.Exchange, method []byte) router.Query {
	h := &x.Request.Header
	return router.Query{
		Listener: x.Peer.Listener, Host: x.Host, Path: x.Path,
		Method: method, RawQuery: x.Query, Header: h,
	}
}
