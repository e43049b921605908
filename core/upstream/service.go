package upstream

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Service is a named group of endpoints. Pick and the budget are for any number of
// goroutines at once, and allocate nothing; so may all else be called.
type Service struct {
	Name     string
	Timeouts Timeouts
	Retry    Retry

	Budget Budget

	Breaker  *Breaker  // nil: there is none
	Bulkhead *Bulkhead // nil: there is none

	registry *Registry
	id       string
	spec     ServiceSpec
	holders  int           // guarded by the registry's mu
	members  []Member      // likewise; never written once it is here
	unwatch  func()        // likewise; ends the watch of its endpoints, nil if there is none
	found    chan struct{} // closed when endpoints were found for the first time
	finding  sync.Once
	nextStep int64 // likewise: when a slow start takes its next step
	ejects   bool  // endpoints whose requests fail are ejected

	// rotation is what requests pick from. They read it; whoever changes what it is
	// made of replaces it under the registry's mu.
	rotation atomic.Pointer[rotation]

	_ [128]byte
	// cursor counts the turns. All requests of the service write it: exactness
	// needs one order of turns. Measured at 64 callers it is lost in the noise of
	// the system calls beside it.
	cursor atomic.Uint64
	_      [120]byte
}

// Member is an endpoint with what the service declares of it.
type Member struct {
	*Endpoint
	Weight int // 1–1000

	check *check // nil: nothing checks it
}

// Release gives a holder's claim back; each holder calls it once.
func (s *Service) Release() { s.registry.release(s) }

// Members are the endpoints as declared or found last, those included that are not
// picked at present. The slice must not be written.
func (s *Service) Members() []Member { return s.rotation.Load().members }

// SetEndpoints replaces the members. Endpoints that stay keep their connections, their
// counts and their state; those that go finish what is under way, and are forgotten.
// There may be none. When a spec is refused, nothing has changed.
func (s *Service) SetEndpoints(specs []EndpointSpec) error {
	if err := checkEndpoints(specs); err != nil {
		return fmt.Errorf("service %s: %w", s.Name, err)
	}
	s.registry.replace(s, specs)
	return nil
}

// mostTried is how many endpoints one exchange can have tried: a retry count is
// 10 at most.
const mostTried = 16

// Tried are the endpoints that an exchange has tried. The zero value is none.
type Tried struct {
	n    int
	list [mostTried]*Endpoint
}

// Add notes e.
func (t *Tried) Add(e *Endpoint) {
	if t.n < len(t.list) {
		t.list[t.n] = e
		t.n++
	}
}

// Has says whether e was tried.
func (t *Tried) Has(e *Endpoint) bool {
	for _, other := range t.list[:t.n] {
		if other == e {
			return true
		}
	}
	return false
}

// Pick returns the endpoint whose turn it is, passing over those that tried holds,
// and notes it there. When all were tried, any may come again. It returns nil when
// no endpoint may be asked. The hash says what a request has in common with others
// that are to meet the same endpoint; only consistent hashing looks at it, and 0 is
// nothing in common.
func (s *Service) Pick(tried *Tried, hash uint64) *Endpoint {
	r := s.rotation.Load()
	if len(r.endpoints) == 0 {
		return nil
	}
	e := r.choose(r, s, hash)
	if tried.n > 0 && tried.Has(e) {
		e = r.other(s, e, tried, hash)
	}
	tried.Add(e)
	return e
}
