package upstream

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// Key is what tells endpoints apart: the service, for what it declares of
// connections is meant for itself, and all that changes how these behave.
type Key struct {
	Service     string
	Address     string // host:port
	HostHeader  string
	Connections ConnectionSettings
	TLS         TLS
	// Hashed says that the service balances by consistent hashing, and so counts what is
	// under way at all of its endpoints together.
	Hashed bool
}

// Connections are an endpoint's connections. The transport owns what is behind.
type Connections interface {
	// Close closes them; those in use close when their exchange ends.
	Close()
	// Count is how many there are, and how many of them nobody uses.
	Count() (open, idle int)
}

// Opener makes the connections of a new endpoint. It opens none yet.
type Opener func(Key) Connections

// Registry holds services and endpoints for as long as snapshots hold them. Its
// methods may be called concurrently; requests call none of them.
type Registry struct {
	open Opener

	meter  *meter.Set   // nil: nothing is published
	clock  clock.Clock  // nil: nothing is ejected, and nothing starts slowly
	notice func(Notice) // nil: nobody is told

	mu        sync.Mutex
	services  map[string]*Service // by identity
	endpoints map[Key]*Endpoint
	finder    Finder // nil: nobody finds endpoints; set before the first Acquire
	states    map[names]*state
	loads     map[string]*load    // by service
	checks    *checks             // nil: nothing is checked
	out       map[*state]struct{} // those that are ejected
	news      []Notice            // to be told when the lock is given back

	tending, closed       bool
	wake, closing, tended chan struct{}

	guards guards
}

// NewRegistry returns an empty registry.
func NewRegistry(open Opener) *Registry {
	return &Registry{
		open: open, services: map[string]*Service{}, endpoints: map[Key]*Endpoint{}, states: map[names]*state{}, loads: map[string]*load{},
		out: map[*state]struct{}{}, guards: newGuards(),
		wake: make(chan struct{}, 1), closing: make(chan struct{}), tended: make(chan struct{}),
	}
}

// Endpoint is one address of a service. Its counters are written by every request
// to it, and stand alone on their cache lines.
type Endpoint struct {
	Address    string
	HostHeader string

	key         Key
	registry    *Registry
	connections Connections
	state       *state
	load        *load // nil: its service needs no sum
	holders     int   // guarded by the registry's mu
	trial       trial

	_ [128]byte
	// counts holds how many requests are under way in its low bits, and how many
	// were begun above: one atomic addition counts both.
	counts atomic.Uint64
	_      [120]byte
}

// inFlightBits is how many bits the requests under way have: there are never 16
// million sockets. The rest counts to 10¹² before it goes round, which whoever
// reads the counter takes for a restart.
const inFlightBits = 24

// Connections are what the registry's Opener made.
func (e *Endpoint) Connections() Connections { return e.connections }

// Begin counts a request in; End counts it out, when its answer's body is through.
func (e *Endpoint) Begin() {
	e.counts.Add(1<<inFlightBits + 1)
	if e.load != nil {
		e.load.n.Add(1)
	}
}

// End counts a request out.
func (e *Endpoint) End() {
	e.counts.Add(^uint64(0))
	if e.load != nil {
		e.load.n.Add(-1)
	}
}

// InFlight is how many requests are under way.
func (e *Endpoint) InFlight() int64 { return int64(e.counts.Load() & (1<<inFlightBits - 1)) }

// Requests is how many were begun.
func (e *Endpoint) Requests() uint64 { return e.counts.Load() >> inFlightBits }

// Acquire returns the service of that spec for one more holder, made if need be.
func (r *Registry) Acquire(spec ServiceSpec) (*Service, error) {
	if err := spec.validate(); err != nil {
		return nil, fmt.Errorf("service %s: %w", spec.Name, err)
	}
	s, made := r.acquire(spec)
	if made && r.finder != nil && spec.Discovery.On() {
		r.watch(s)
	}
	return s, nil
}

// acquire is Acquire for a spec that is valid; made says that the service is new.
func (r *Registry) acquire(spec ServiceSpec) (s *Service, made bool) {
	r.mu.Lock()
	defer r.unlock()
	id := spec.identity()
	s = r.services[id]
	if s == nil {
		made = true
		s = &Service{Name: spec.Name, id: id, spec: spec, registry: r, found: make(chan struct{}), Retry: spec.Retry, Timeouts: spec.Timeouts, ejects: spec.Ejection.On() && r.clock != nil}
		s.members = r.join(s, spec.Endpoints)
		r.arrange(s)
		r.protect(s, &spec)
		r.services[id] = s
	}
	s.holders++
	return s, made
}

// endpoint returns the endpoint of that key for one more holder. Called under mu.
func (r *Registry) endpoint(k Key) *Endpoint {
	e := r.endpoints[k]
	if e == nil {
		e = &Endpoint{Address: k.Address, HostHeader: k.HostHeader, key: k, registry: r, connections: r.open(k)}
		r.endpoints[k] = e
		r.know(e)
		r.loadOf(e)
	}
	e.holders++
	return e
}

// know gives e the state of its address. Called under mu.
func (r *Registry) know(e *Endpoint) {
	n := names{e.key.Service, e.Address}
	st := r.states[n]
	if st == nil {
		st = &state{names: n}
		r.states[n] = st
		r.publish(st)
	}
	e.state = st
	st.endpoints = append(st.endpoints, e)
}

// forget takes e from the state of its address, which goes with the last one. e itself
// keeps it, for those who still talk to the endpoint. Called under mu.
func (r *Registry) forget(e *Endpoint) {
	st := e.state
	st.endpoints = slices.DeleteFunc(st.endpoints, func(other *Endpoint) bool { return other == e })
	st.gone += e.Requests()
	if len(st.endpoints) > 0 {
		return
	}
	delete(r.states, st.names)
	delete(r.out, st)
	for _, remove := range st.remove {
		remove()
	}
}

// release takes one holder from s; with the last one it goes, and its endpoints
// lose a holder each.
func (r *Registry) release(s *Service) {
	var gone leavers
	unwatch := func() {}
	r.mu.Lock()
	if s.holders--; s.holders == 0 {
		if s.unwatch != nil {
			unwatch = s.unwatch
		}
		delete(r.services, s.id)
		r.unprotect(s)
		gone = r.leave(s.members)
	}
	r.mu.Unlock()
	unwatch()
	gone.close()
}

// Len is how many services and endpoints are held; both are 0 when every snapshot
// has closed.
func (r *Registry) Len() (services, endpoints int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.services), len(r.endpoints)
}
