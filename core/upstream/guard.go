package upstream

import (
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// guards are what keeps a service's failures from its callers and its neighbours. They are
// known by the service's name and their own declaration, so that whatever else of the
// service changes, an open breaker stays open and a place that is taken stays taken.
type guards struct {
	clock     clock.Clock
	log       zerolog.Logger
	store     BreakerStore // nil: breakers are each instance's own
	sharing   *sharing     // nil until there is a breaker that is shared
	breakers  map[breakerKey]*kept[*Breaker]
	forced    map[string]Forcing // of services, as operators have said
	bulkheads map[bulkheadKey]*kept[*Bulkhead]
}

// kept is a guard with those who hold it.
type kept[T any] struct {
	guard   T
	holders int
	show    func() (remove []func())
	remove  []func()
	gone    func() // nil, or called with the last holder
}

// breakerKey is what tells breakers apart.
type breakerKey struct {
	service string
	spec    BreakerSpec
}

// bulkheadKey is what tells bulkheads apart.
type bulkheadKey struct {
	service string
	spec    BulkheadSpec
}

func (k breakerKey) of() string  { return k.service }
func (k bulkheadKey) of() string { return k.service }

func newGuards() guards {
	return guards{
		clock: clock.Real(), log: zerolog.Nop(), forced: map[string]Forcing{},
		breakers: map[breakerKey]*kept[*Breaker]{}, bulkheads: map[bulkheadKey]*kept[*Bulkhead]{},
	}
}

// Guarding is what guards need.
type Guarding struct {
	Clock clock.Clock    // that those who wait for a place go by
	Log   zerolog.Logger // of what becomes of breakers
	Store BreakerStore   // where instances tell each other; nil: each is on its own
}

// Guard says what breakers and bulkheads are made with. It is called before the first Acquire;
// without it nothing is logged.
func (r *Registry) Guard(g Guarding) {
	r.guards.clock, r.guards.log, r.guards.store = g.Clock, g.Log, g.Store
}

// protect gives s what its declaration guards it by. Called under mu.
func (r *Registry) protect(s *Service, spec *ServiceSpec) {
	if spec.Breaker.On() {
		k := breakerKey{spec.Name, spec.Breaker}
		b := r.guards.breakers[k]
		if b == nil {
			b = r.newBreaker(k)
			b.guard.force(r.guards.forced[k.service], r.guards.clock.Mono())
			r.guards.breakers[k] = b
		}
		b.holders++
		s.Breaker = b.guard
	}
	if spec.Bulkhead.On() {
		k := bulkheadKey{spec.Name, spec.Bulkhead}
		b := r.guards.bulkheads[k]
		if b == nil {
			b = r.newBulkhead(k)
			r.guards.bulkheads[k] = b
		}
		b.holders++
		s.Bulkhead = b.guard
	}
}

// ForceBreaker has the service's breaker do as an operator says until Unforced, and says whether
// there is one. It holds for breakers of other declarations too, those of requests under way and
// of configurations to come: a reload must not let requests through to a service that was
// shut off. It is for any number of goroutines at once.
func (s *Service) ForceBreaker(f Forcing) bool {
	if s.Breaker == nil {
		return false
	}
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &r.guards
	if g.forced[s.Name] = f; f == Unforced {
		delete(g.forced, s.Name)
	}
	for k, b := range g.breakers {
		if k.service == s.Name {
			b.guard.force(f, g.clock.Mono())
		}
	}
	return true
}

// BreakerView shows the service's breaker as it is now; false if there is none. It is for any number of
// goroutines at once.
func (s *Service) BreakerView() (BreakerView, bool) {
	if s.Breaker == nil {
		return BreakerView{}, false
	}
	return s.Breaker.View(s.registry.guards.clock.Mono()), true
}

// unprotect takes s's claims on its guards back. Called under mu.
func (r *Registry) unprotect(s *Service) {
	if s.Breaker != nil {
		if !let(r.guards.breakers, breakerKey{s.Name, s.Breaker.spec}) {
			delete(r.guards.forced, s.Name)
		}
	}
	if s.Bulkhead != nil {
		let(r.guards.bulkheads, bulkheadKey{s.Name, s.Bulkhead.spec})
	}
}

// let takes a holder from a guard, and says whether its service has a guard of the kind still.
// With the last holder a guard is shown no more, and another of its service is, which it may have
// stood before: the one of a configuration that was refused goes before the one that stays.
func let[K interface {
	comparable
	of() string
}, T any](all map[K]*kept[T], k K) (left bool) {
	one := all[k]
	if one.holders--; one.holders > 0 {
		return true
	}
	delete(all, k)
	for _, remove := range one.remove {
		remove()
	}
	if one.gone != nil {
		one.gone()
	}
	for other, stays := range all {
		if other.of() == k.of() {
			stays.remove, left = stays.show(), true
		}
	}
	return left
}

func (r *Registry) newBreaker(k breakerKey) *kept[*Breaker] {
	log, set, service := r.guards.log, r.meter, meter.Label{Name: "service", Value: k.service}
	var to [3]*meter.Counter
	if set != nil {
		for s := range to {
			to[s] = set.Counter("gateway_circuit_breaker_transitions_total", "Changes of state of a service's circuit breaker.",
				service, meter.Label{Name: "to", Value: stateLabels[s]})
		}
	}
	b := NewBreaker(k.service, k.spec, func(t Transition) {
		if to[t.To] != nil {
			to[t.To].Add(0, 1)
		}
		level := zerolog.InfoLevel
		if t.To == Open {
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Str("service", t.Service).Stringer("from", t.From).Stringer("to", t.To).Str("because", t.Because).Dur("open_ms", t.For).
			Uint64("outcomes", t.Total).Uint64("failures", t.Failures).Uint64("slow", t.Slow).Msg("circuit breaker")
	})
	out := &kept[*Breaker]{guard: b, show: func() []func() { return nil }}
	if set != nil {
		b.refused = set.Counter("gateway_circuit_breaker_refused_total", "Requests that a service's circuit breaker did not let through; a fallback may have answered them.", service)
		out.show = func() []func() {
			return []func(){set.Gauge("gateway_circuit_breaker_state", "State of a service's circuit breaker: 0 closed, 1 open, 2 half-open.",
				func() float64 { return float64(b.State()) }, service)}
		}
	}
	out.remove = out.show()
	if k.spec.Shared && r.guards.store != nil && !r.closed {
		if r.guards.sharing == nil {
			r.guards.sharing = newSharing(Guarding{r.guards.clock, log, r.guards.store})
		}
		sharing := r.guards.sharing
		sharing.add(b)
		out.gone = func() { sharing.remove(b) }
	}
	return out
}

// stateLabels are the states as a label has them.
var stateLabels = [3]string{Closed: "closed", Open: "open", HalfOpen: "half_open"}

// Label is the state as metrics and the admin API write it.
func (s State) Label() string { return stateLabels[s] }

func (r *Registry) newBulkhead(k bulkheadKey) *kept[*Bulkhead] {
	b := NewBulkhead(k.spec, r.guards.clock)
	out := &kept[*Bulkhead]{guard: b, show: func() []func() { return nil }}
	set, service := r.meter, meter.Label{Name: "service", Value: k.service}
	if set == nil {
		return out
	}
	for e := Full; int(e) < len(shedLabels); e++ {
		b.shed[e] = set.Counter("gateway_bulkhead_shed_total", "Requests that found no place in a service's bulkhead.",
			service, meter.Label{Name: "reason", Value: shedLabels[e]})
	}
	b.queued = set.Counter("gateway_bulkhead_queued_total", "Requests that waited for a place in a service's bulkhead.", service)
	out.show = func() (remove []func()) {
		for _, g := range bulkheadGauges {
			remove = append(remove, set.Gauge(g.name, g.help, func() float64 { return float64(g.of(b.View())) }, service))
		}
		return remove
	}
	out.remove = out.show()
	return out
}

var bulkheadGauges = [...]struct {
	name, help string
	of         func(BulkheadView) int64
}{
	{"gateway_bulkhead_in_flight", "Requests that hold a place in a service's bulkhead.", func(v BulkheadView) int64 { return v.InFlight }},
	{"gateway_bulkhead_queue", "Requests that wait for a place in a service's bulkhead.", func(v BulkheadView) int64 { return v.Waiting }},
	{"gateway_bulkhead_limit", "Places of a service's bulkhead.", func(v BulkheadView) int64 { return v.Limit }},
}

// shedLabels are the reasons not to let a request in, as a label has them.
var shedLabels = [...]string{Full: "queue_full", Late: "queue_timeout", Left: "client_gone"}
