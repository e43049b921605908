package pipeline

import (
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/wire"
)

// Unlimited, as Route.BodyLimit, lets bodies of any size pass.
const Unlimited = -1

// Route is a match with what happens to the requests that match, compiled.
// It is immutable and shared by all its exchanges.
type Route struct {
	Name string
	At   string // where it was declared, "file:line:column"

	Chain *Chain
	// Series counts the requests for which no destination was chosen.
	Series *meter.RouteSeries

	// Exactly one of Destinations, Redirect, Respond and BuiltIn is set, but for route
	// "none", which has none of them.
	Destinations []*Destination
	// Split, if not nil, says which of the destinations a request goes to; else it is the first.
	Split    *Split
	Redirect *Redirect
	Respond  *Static
	// BuiltIn answers in the gateway itself: a probe, and what else the program
	// brings along.
	BuiltIn Hook

	// Mirror, if not nil, is shown copies of requests.
	Mirror *Mirror

	// Rewrite, if not nil, makes the path that the service sees.
	Rewrite *PathTemplate
	// StripPrefix is removed from the path that the service sees, if not empty.
	StripPrefix string

	// PreserveHost sends the client's Host; else HostName, else the endpoint's own.
	PreserveHost bool
	HostName     string

	Path     wire.PathOptions
	Trailers []string // request and response trailers that may pass (SECURITY C3)
	// Withheld are request fields that no service gets: the one that tokens are bound
	// to (SECURITY I14).
	Withheld [][]byte

	BodyLimit int64 // bytes of a request body, or Unlimited
	Buffer    int64 // bytes: larger or unknown-length bodies stream
}

// Redirect answers with a Location made from the request.
type Redirect struct {
	Status   int
	Location *PathTemplate
	// KeepQuery appends the request's query: the configured location has none.
	KeepQuery bool
}

// Static is an answer that stands in the configuration.
type Static struct {
	Status      int
	Body        []byte
	ContentType string
}

// ServiceName returns the name of the route's service, or "none" if it has none or
// several.
func (r *Route) ServiceName() string {
	if len(r.Destinations) != 1 {
		return NoService
	}
	return r.Destinations[0].Service.Name
}

// NoService is the service label of requests that went to no service.
const NoService = "none"
