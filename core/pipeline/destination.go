package pipeline

import (
	"slices"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

// Destination is a service that a route may send requests to, with what holds for
// them there. It is immutable and shared by all its exchanges.
type Destination struct {
	Service *upstream.Service

	// Affinity is what a balancer that hashes tells requests apart by.
	Affinity Affinity

	// Timeouts and Retry are the service's with the route's over them.
	Timeouts upstream.Timeouts
	Retry    upstream.Retry
	// RetryIdempotencyKey lets a POST or PATCH with Idempotency-Key be retried
	// after bytes were sent (SECURITY C9).
	RetryIdempotencyKey bool

	// Series counts the requests of the route that went here; nil: they are not counted.
	Series *meter.RouteSeries

	// Fallback answers while the service's breaker refuses; nil: the fault circuit_open.
	Fallback *Fallback

	// Copies says that requests are copies for a mirror.
	Copies bool
}

// Fallback answers in place of a service: exactly one of its fields is set.
type Fallback struct {
	// To is asked instead. It has no fallback: there is one hop.
	To     *Destination
	Static *Static
	Fault  fault.Fault
}

// Hops says that another service stands in. A nil Fallback doesn't.
func (f *Fallback) Hops() bool { return f != nil && f.To != nil }

// Services are those that the route may send requests to, each once.
func (r *Route) Services() []*upstream.Service {
	var out []*upstream.Service
	for _, d := range r.Destinations {
		if !slices.Contains(out, d.Service) {
			out = append(out, d.Service)
		}
	}
	return out
}

// Same says that requests which go to d and to other can't be told apart.
func (d *Destination) Same(other *Destination) bool {
	return d.Service == other.Service && d.Timeouts == other.Timeouts && d.Retry == other.Retry && d.RetryIdempotencyKey == other.RetryIdempotencyKey
}

// Choose returns where the exchange goes, which stays the same to its end. The
// first call decides; it comes after Authorize, for who calls may matter. The route
// must have a destination.
func (x *Exchange) Choose() *Destination {
	if x.Destination == nil {
		if x.Route.Split == nil {
			x.Destination = x.Route.Destinations[0]
		} else {
			x.Destination = x.Route.Split.choose(x)
		}
		x.hash()
	}
	return x.Destination
}

// Divert sends the exchange to another destination than the chosen one, whose service is not
// called now.
func (x *Exchange) Divert(to *Destination) {
	x.Destination, x.Service = to, to.Service
	x.hash()
}

// hash is for a balancer that hashes; it asks none of the others.
func (x *Exchange) hash() {
	x.Hash = 0
	if x.Destination.Affinity.Kind != ByNothing {
		x.Hash = x.Destination.Affinity.Hash(x)
	}
}

// Series counts the exchange: by the service that it went to or, where nothing was
// chosen, by the route alone.
func (x *Exchange) Series() *meter.RouteSeries {
	if x.Destination != nil {
		return x.Destination.Series
	}
	return x.Route.Series
}
