package admin

import (
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/upstream"
)

// What operators override holds in this instance only.

func (s *Server) drain(c *call) fault.Fault { return s.setDrained(c, true) }

func (s *Server) undrain(c *call) fault.Fault { return s.setDrained(c, false) }

// setDrained takes an endpoint out of rotation, or puts it back. That lasts as long as
// the service has the endpoint, across reloads, and not across a start.
func (s *Server) setDrained(c *call, drained bool) fault.Fault {
	given, err := members(c.Request.Body(), "service", "endpoint")
	if err != nil {
		return fault.BadRequest.Detail(err.Error())
	}
	inForce, service := s.serviceNamed(given["service"])
	if service == nil {
		return noService()
	}
	for _, e := range service.Members() {
		if e.Address == given["endpoint"] {
			e.SetDrained(drained)
			c.outcome = service.Name + " " + e.Address
			return show(c, viewOf(inForce, service))
		}
	}
	return fault.ValidationFailed.Detail("the service has no such endpoint; GET /admin/services shows those that it has, as host:port")
}

// forceBreaker holds a service's circuit breaker open or closed, or leaves it to what it
// sees again. That lasts as long as the service has a breaker, across reloads, and not
// across a start.
func (s *Server) forceBreaker(c *call) fault.Fault {
	given, err := members(c.Request.Body(), "service", "state")
	if err != nil {
		return fault.BadRequest.Detail(err.Error())
	}
	inForce, service := s.serviceNamed(given["service"])
	if service == nil {
		return noService()
	}
	forcing, known := map[string]upstream.Forcing{
		"open": upstream.ForcedOpen, "closed": upstream.ForcedClosed, "auto": upstream.Unforced,
	}[given["state"]]
	switch {
	case !known:
		return fault.ValidationFailed.Detail("the state of a breaker is open, closed or auto")
	case !service.ForceBreaker(forcing):
		return fault.ValidationFailed.Detail("the service has no breaker; services." + service.Name + ".breaker declares one")
	}
	c.outcome = service.Name + " " + given["state"]
	return show(c, viewOf(inForce, service))
}

// serviceNamed returns a service of the snapshot in force; nil if there is none of that name.
func (s *Server) serviceNamed(name string) (*snapshot.Snapshot, *upstream.Service) {
	inForce := s.options.API.Snapshot()
	for _, service := range inForce.Services {
		if service.Name == name {
			return inForce, service
		}
	}
	return inForce, nil
}

func noService() fault.Fault {
	return fault.ValidationFailed.Detail("there is no such service; GET /admin/services shows those that there are")
}
