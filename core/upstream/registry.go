package upstream

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Key is what tells endpoints apart: all that changes how their connections
// behave.
type Key struct {
	Address     string // host:port
	HostHeader  string
	Connections ConnectionSettings
}

// Connections are an endpoint's connections. The transport owns what is behind.
type Connections interface {
	// Close closes them; those in use close when their exchange ends.
	Close()
}

// Opener makes the connections of a new endpoint. It opens none yet.
type Opener func(Key) Connections

// Registry holds services and endpoints for as long as snapshots hold them. Its
// methods may be called concurrently; requests call none of them.
type Registry struct {
	open Opener

	mu        sync.Mutex
	services  map[string]*Service // by identity
	endpoints map[Key]*Endpoint
}

// NewRegistry returns an empty registry.
func NewRegistry(open Opener) *Registry {
	return &Registry{open: open, services: map[string]*Service{}, endpoints: map[Key]*Endpoint{}}
}

// Endpoint is one address of a service. Its counter is written by every request
// to it, and stands alone on its cache lines.
type Endpoint struct {
	Address    string
	HostHeader string

	key         Key
	connections Connections
	holders     int // guarded by the registry's mu

	_        [128]byte
	inFlight atomic.Int64
	_        [120]byte
}

// Connections are what the registry's Opener made.
func (e *Endpoint) Connections() Connections { return e.connections }

// Begin counts a request in; End counts it out, when its answer's body is through.
func (e *Endpoint) Begin() { e.inFlight.Add(1) }

// End counts a request out.
func (e *Endpoint) End() { e.inFlight.Add(-1) }

// InFlight is how many requests are under way.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Acquire returns the service of that spec for one more holder, made if need be.
func (r *Registry) Acquire(spec ServiceSpec) (*Service, error) {
	if err := spec.validate(); err != nil {
		return nil, fmt.Errorf("service %s: %w", spec.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := spec.identity()
	s := r.services[id]
	if s == nil {
		s = &Service{Name: spec.Name, id: id, registry: r, Retry: spec.Retry, Timeouts: spec.Timeouts}
		for _, e := range spec.Endpoints {
			s.endpoints = append(s.endpoints, r.endpoint(Key{e.Address, e.HostHeader, spec.Connections}))
			s.weights = append(s.weights, e.Weight)
		}
		s.balance(spec.Balance)
		r.services[id] = s
	}
	s.holders++
	return s, nil
}

// endpoint returns the endpoint of that key for one more holder. Called under mu.
func (r *Registry) endpoint(k Key) *Endpoint {
	e := r.endpoints[k]
	if e == nil {
		e = &Endpoint{Address: k.Address, HostHeader: k.HostHeader, key: k, connections: r.open(k)}
		r.endpoints[k] = e
	}
	e.holders++
	return e
}

// release takes one holder from s; with the last one it goes, and its endpoints
// lose a holder each.
func (r *Registry) release(s *Service) {
	var gone []*Endpoint
	r.mu.Lock()
	if s.holders--; s.holders == 0 {
		delete(r.services, s.id)
		gone = r.releaseEndpoints(s)
	}
	r.mu.Unlock()
	for _, e := range gone {
		e.connections.Close()
	}
}

// releaseEndpoints returns the endpoints of s that nobody holds any more.
func (r *Registry) releaseEndpoints(s *Service) (gone []*Endpoint) {
	for _, e := range s.endpoints {
		if e.holders--; e.holders > 0 {
			continue
		}
		delete(r.endpoints, e.key)
		gone = append(gone, e)
	}
	return gone
}

// Len is how many services and endpoints are held; both are 0 when every snapshot
// has closed.
func (r *Registry) Len() (services, endpoints int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.services), len(r.endpoints)
}
