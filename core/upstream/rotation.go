package upstream

// rotation is what the requests of a service pick from. It never changes.
type rotation struct {
	members []Member // of the service, in rotation or not

	endpoints []*Endpoint // that may be picked
	weights   []int       // theirs, at present
	choose    func(*rotation, *Service, uint64) *Endpoint
	sequence  []uint32 // indexes of endpoints, in the order of their turns
	ring      *ring    // of consistent hashing, in place of a sequence
	panicking bool     // endpoints that are out of service are in all the same
}

// arrange makes the rotation of s anew from its members and their states. Called
// under mu.
func (r *Registry) arrange(s *Service) {
	chosen, panicking := inService(s.members, s.spec.PanicThreshold)
	last := s.rotation.Load()
	next := &rotation{members: s.members, choose: balancer(s.spec.Balance, len(chosen)), panicking: panicking}
	for _, m := range chosen {
		next.endpoints = append(next.endpoints, m.Endpoint)
	}
	next.weights, s.nextStep = s.spec.weights(chosen, r.now())
	switch {
	case len(chosen) < 2, s.spec.Balance == LeastRequests:
	case s.spec.Balance == ConsistentHash:
		next.ring = newRing(next, scale(s.nextStep))
	default:
		next.sequence = sequence(next.weights)
	}
	s.rotation.Store(next)
	if s.nextStep != never {
		r.wakeUp()
	}
	switch {
	case panicking && (last == nil || !last.panicking):
		r.tell(Notice{Service: s.Name, Reason: "fewer of its endpoints are in service than panic_threshold says: all are asked that are not drained"})
	case !panicking && last != nil && last.panicking:
		r.tell(Notice{Service: s.Name, In: true, Reason: "enough of its endpoints are in service again"})
	}
}

// inService returns the members that are in service. When their share of those that
// no operator has drained is below the threshold, it returns all of these: what
// little is left would only break down under the load of all, and it is likelier that
// whoever judges is wrong.
func inService(members []Member, threshold float64) (chosen []Member, panicking bool) {
	var open, able []Member
	for _, m := range members {
		if m.state.drained {
			continue
		}
		open = append(open, m)
		if m.state.able() {
			able = append(able, m)
		}
	}
	if float64(len(able)) < threshold*float64(len(open)) {
		return open, true
	}
	return able, false
}

// replace gives s other members.
func (r *Registry) replace(s *Service, specs []EndpointSpec) {
	r.mu.Lock()
	if s.holders == 0 {
		r.mu.Unlock()
		return // whoever found them was late
	}
	before := s.members
	s.members = r.join(s, specs)
	gone := r.leave(before)
	r.arrange(s)
	r.unlock()
	gone.close()
}

// join returns the members that specs declare, each held once more. Called under mu.
func (r *Registry) join(s *Service, specs []EndpointSpec) []Member {
	members := make([]Member, 0, len(specs))
	late := s.spec.SlowStart > 0 && r.busy(s.Name) // thousands of services are looked through
	for _, e := range specs {
		k := Key{s.Name, e.Address, e.HostHeader, s.spec.Connections, e.TLS, s.spec.Balance == ConsistentHash}
		known := r.states[names{s.Name, e.Address}] != nil
		m := Member{Endpoint: r.endpoint(k), Weight: e.Weight}
		if late && !known {
			m.state.warmFrom = r.now()
		}
		if r.checks != nil && s.spec.Health.On() {
			m.check = r.checks.hold(m.Endpoint, s.spec.Health)
		}
		members = append(members, m)
	}
	return members
}

// busy says whether the service of that name has members already. Those that join it
// then start slowly. Called under mu.
func (r *Registry) busy(name string) bool {
	for _, s := range r.services {
		if s.Name == name && len(s.members) > 0 {
			return true
		}
	}
	return false
}

// leave takes a holder from each member, and returns what nobody holds any more.
// Called under mu.
func (r *Registry) leave(members []Member) (gone leavers) {
	for _, m := range members {
		if m.check != nil && r.checks.release(m.check) {
			gone.checks = append(gone.checks, m.check)
		}
		e := m.Endpoint
		if e.holders--; e.holders > 0 {
			continue
		}
		delete(r.endpoints, e.key)
		r.forget(e)
		r.unload(e)
		gone.endpoints = append(gone.endpoints, e)
	}
	return gone
}
