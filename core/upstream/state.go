package upstream

import "slices"

// Health is what is known of an endpoint from checks.
type Health uint8

// The healths. An endpoint of which nothing is known yet is asked.
const (
	Unknown Health = iota
	Healthy
	Unhealthy
)

// String is the health's name in views and metrics.
func (h Health) String() string {
	switch h {
	case Healthy:
		return "healthy"
	case Unhealthy:
		return "unhealthy"
	default:
		return "unknown"
	}
}

// names are what a state is kept under: an endpoint whose connections are declared
// otherwise, or whose certificate was renewed, is the same machine all the same.
type names struct{ service, endpoint string }

// state is what is known of one address of a service, for as long as an endpoint
// has it. All is guarded by the registry's mu.
type state struct {
	// endpoints have the address: more than one while a reload replaces one whose
	// connections are declared otherwise.
	endpoints []*Endpoint

	health  Health
	reason  string // of health
	drained bool   // an operator took it out

	gone   uint64   // requests of endpoints that left; the series must not go backwards
	remove []func() // withdraws its series
}

// able says whether nothing that was observed speaks against asking the endpoint.
func (st *state) able() bool { return st.health != Unhealthy }

// Status is what is known of an endpoint at a moment.
type Status struct {
	Health  Health
	Reason  string // why it is healthy or not, as the last check said
	Drained bool   // an operator took it out of rotation
}

// Status returns what is known of e.
func (e *Endpoint) Status() Status {
	e.registry.mu.Lock()
	defer e.registry.mu.Unlock()
	st := e.state
	return Status{Health: st.health, Reason: st.reason, Drained: st.drained}
}

// SetHealth says what checks have found; reason is for people. An unhealthy endpoint
// is not picked until it is healthy again, or unknown, or too few others are left.
func (e *Endpoint) SetHealth(h Health, reason string) {
	e.registry.change(e, func(st *state) { st.health, st.reason = h, reason })
}

// SetDrained takes the endpoint out of rotation, or puts it back. What is under way
// goes on. A drained endpoint is never picked, however few others are left.
func (e *Endpoint) SetDrained(drained bool) {
	e.registry.change(e, func(st *state) { st.drained = drained })
}

// change changes the state of e, and the rotations of the services that have it if
// that makes a difference.
func (r *Registry) change(e *Endpoint, to func(*state)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(e.key.Service, e.state, to)
}

// set is change, called under mu.
func (r *Registry) set(service string, st *state, to func(*state)) {
	able, drained := st.able(), st.drained
	to(st)
	if st.able() != able || st.drained != drained {
		r.rearrange(service, st)
	}
}

// rearrange makes the rotations anew that st is a part of. Called under mu.
func (r *Registry) rearrange(service string, st *state) {
	for _, s := range r.services {
		if s.Name == service && slices.ContainsFunc(s.members, func(m Member) bool { return m.state == st }) {
			r.arrange(s)
		}
	}
}
