package upstream

import (
	"context"
	"slices"
)

// Discovery says where the endpoints of a service are found. The zero value says that
// they are declared.
type Discovery struct {
	Source string // who is asked, such as consul
	Name   string // what that one calls the service
	Tag    string // only instances that carry it; empty: all
	Port   int    // of all addresses of Name; 0: the source knows the port of each
}

// On says whether endpoints are found.
func (d Discovery) On() bool { return d.Source != "" }

// Finder finds endpoints. Drivers implement it; cmd joins them.
type Finder interface {
	// Watch tells apply which endpoints d has: before it returns of those that are known
	// already, and again whenever they change, until stop has returned. It never gives
	// up. apply is not called by two goroutines at once; it is given addresses, Host
	// fields and weights, and says why they are refused.
	Watch(d Discovery, apply func([]EndpointSpec) error) (stop func())
}

// Find joins the one who finds endpoints. It is called before the first Acquire. Without
// one, services whose endpoints are found have none.
func (r *Registry) Find(f Finder) { r.finder = f }

// watch begins to look for the endpoints of s. The caller holds s, and not mu.
func (r *Registry) watch(s *Service) {
	stop := r.finder.Watch(s.spec.Discovery, s.take)
	r.mu.Lock()
	s.unwatch = stop
	r.mu.Unlock()
}

// take replaces the members by endpoints that were found.
func (s *Service) take(found []EndpointSpec) error {
	own := slices.Clone(found)
	for i := range own {
		own[i].TLS = s.spec.TLS
	}
	if err := s.SetEndpoints(own); err != nil {
		return err
	}
	s.finding.Do(func() { close(s.found) })
	return nil
}

// Await waits until the endpoints of every service are known that somebody finds, or
// for ctx: a configuration that is about to be put in force must not refuse the requests
// of its first moments.
func (r *Registry) Await(ctx context.Context) {
	if r.finder == nil {
		return
	}
	var waiting []*Service
	r.mu.Lock()
	for _, s := range r.services {
		if s.spec.Discovery.On() {
			waiting = append(waiting, s)
		}
	}
	r.mu.Unlock()
	for _, s := range waiting {
		select {
		case <-s.found:
		case <-ctx.Done():
			return
		}
	}
}
