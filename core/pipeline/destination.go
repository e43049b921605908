package pipeline

import (
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

// Destination is a service that a route may send requests to, with what holds for
// them there. It is immutable and shared by all its exchanges.
type Destination struct {
	Service *upstream.Service

	// Timeouts and Retry are the service's with the route's over them.
	Timeouts upstream.Timeouts
	Retry    upstream.Retry
	// RetryIdempotencyKey lets a POST or PATCH with Idempotency-Key be retried
	// after bytes were sent (SECURITY C9).
	RetryIdempotencyKey bool

	// Series counts the requests of the route that went here; nil: they are not counted.
	Series *meter.RouteSeries
}

// Choose returns where the exchange goes, which stays the same to its end. The
// first call decides; it comes after Authorize, for who calls may matter. The route
// must have a destination.
func (x *Exchange) Choose() *Destination {
	if x.Destination == nil {
		x.Destination = x.Route.Destinations[0]
	}
	return x.Destination
}

// Series counts the exchange: by the service that it went to or, where nothing was
// chosen, by the route alone.
func (x *Exchange) Series() *meter.RouteSeries {
	if x.Destination != nil {
		return x.Destination.Series
	}
	return x.Route.Series
}
