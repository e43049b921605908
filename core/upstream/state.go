package upstream

import (
	"slices"
	"sync/atomic"
	"time"
)

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
// has it. All but ejected is guarded by the registry's mu. Times are monotonic.
type state struct {
	names
	// endpoints have the address: more than one while a reload replaces one whose
	// connections are declared otherwise.
	endpoints []*Endpoint

	health  Health
	reason  string // of health
	drained bool   // an operator took it out

	ejected   atomic.Bool // written under mu; read by tries that fail
	until     int64       // when it comes back
	away      int64       // how long the last ejection was
	relapses  int         // ejections since it last did well
	returned  int64       // when the last ejection ended
	strict    uint32      // failures in a row that it returns with
	ejections uint64

	warmFrom int64 // when its slow start began; 0: it never had one

	gone   uint64   // requests of endpoints that left; the series must not go backwards
	remove []func() // withdraws its series
}

// able says whether nothing that was observed speaks against asking the endpoint.
func (st *state) able() bool { return st.health != Unhealthy && !st.ejected.Load() }

// in says whether the endpoint is in service.
func (st *state) in() bool { return st.able() && !st.drained }

// Status is what is known of an endpoint at a moment.
type Status struct {
	InService bool          // none of the following keeps it out of rotation
	Health    Health        // as checks say
	Reason    string        // why it is healthy or not
	Drained   bool          // an operator took it out of rotation
	Ejections uint64        // how often it was ejected
	Ejected   time.Duration // how long it stays ejected from now; 0: it is not
}

// Status returns what is known of e.
func (e *Endpoint) Status() Status {
	r, st := e.registry, e.state
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{InService: st.in(), Health: st.health, Reason: st.reason, Drained: st.drained, Ejections: st.ejections}
	if st.ejected.Load() {
		s.Ejected = time.Duration(max(st.until-r.now(), 1))
	}
	return s
}

// SetHealth says what checks have found; reason is for people. An unhealthy endpoint
// is not picked until it is healthy again, or unknown, or too few others are left.
func (e *Endpoint) SetHealth(h Health, reason string) {
	r := e.registry
	r.mu.Lock()
	defer r.unlock()
	r.setHealth(e.state, h, reason)
}

// setHealth is SetHealth, called under mu. Whoever checks tells of it.
func (r *Registry) setHealth(st *state, h Health, reason string) {
	in, able := st.in(), st.able()
	st.health, st.reason = h, reason
	if st.able() != able {
		r.moved(st, in, Notice{})
	}
}

// SetDrained takes the endpoint out of rotation, or puts it back. What is under way
// goes on. A drained endpoint is never picked, however few others are left.
func (e *Endpoint) SetDrained(drained bool) {
	r, st := e.registry, e.state
	r.mu.Lock()
	defer r.unlock()
	in := st.in()
	if st.drained == drained {
		return
	}
	st.drained = drained
	reason := "an operator put it back"
	if drained {
		reason = "an operator drained it"
	}
	r.moved(st, in, Notice{Reason: reason})
}

// moved makes the rotations anew that st is a part of, and tells n, if it has a reason and
// the endpoint has come into service or left it. Called under mu.
func (r *Registry) moved(st *state, wasIn bool, n Notice) {
	if in := st.in(); in != wasIn {
		n.Service, n.Endpoint, n.In = st.service, st.endpoint, in
		if in {
			st.warmFrom = r.now()
		}
		if n.Reason != "" {
			r.tell(n)
		}
	}
	for _, s := range r.services {
		if s.Name == st.service && slices.ContainsFunc(s.members, func(m Member) bool { return m.state == st }) {
			r.arrange(s)
		}
	}
}
