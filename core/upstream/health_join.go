package upstream

// Check makes the registry check the endpoints of services that want it, from when they
// come until they leave. It is called once, before the first Acquire and after Publish;
// without it nothing is checked.
func (r *Registry) Check(c Checking) { r.checks = newChecks(c, r.meter) }

// judge makes the health of an address what the check in force says, and tells of it if
// that is a change. A check that never ended says nothing, and what was known stays; with
// the last check goes all that is known.
func (r *Registry) judge(n names) {
	if found, e := r.adopt(n); e != nil {
		r.checks.tell(e, found)
	}
}

// adopt does that, and returns what was found out if it is a change and a check's word.
func (r *Registry) adopt(n names) (Checked, *Endpoint) {
	r.mu.Lock()
	defer r.unlock()
	st := r.states[n]
	if st == nil {
		return Checked{}, nil // the endpoint has left
	}
	found, e := r.checks.verdict(n)
	if e != nil && found.Health == Unknown || found.Health == st.health {
		return Checked{}, nil
	}
	r.setHealth(st, found.Health, found.Reason)
	return found, e
}

// verdict is what the check in force found out about an address, and the endpoint that
// it checks; nil if there is none.
func (c *checks) verdict(n names) (Checked, *Endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.inForce(n)
	if k == nil {
		return Checked{}, nil
	}
	return k.found, k.key.endpoint
}

// tell writes a change to the log, and notes it for the Recorder.
func (c *checks) tell(e *Endpoint, found Checked) {
	event, text := c.Log.Info(), "the endpoint is healthy"
	if found.Health == Unhealthy {
		event, text = c.Log.Warn().Str("reason", found.Reason), "the endpoint is unhealthy: it gets no requests until its checks pass again"
	}
	event.Str("service", e.key.Service).Str("endpoint", e.Address).Msg(text)
	if c.Recorder == nil {
		return
	}
	record := HealthRecord{Service: e.key.Service, URL: "http://" + e.Address, Health: found.Health, At: found.Last}
	if e.key.TLS.On() {
		record.URL = "https://" + e.Address
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending[names{record.Service, e.Address}] = record
	if c.runner != nil {
		rouse(c.runner.changed)
	}
}

// Checked is what checks found out about e; false if nothing checks it.
func (e *Endpoint) Checked() (Checked, bool) {
	c := e.registry.checks
	if c == nil {
		return Checked{}, false
	}
	found, of := c.verdict(names{e.key.Service, e.Address})
	return found, of != nil
}

// leavers are what nobody holds any more.
type leavers struct {
	endpoints []*Endpoint
	checks    []*check
}

// close ends them: a check before the endpoint that it is of. It is called without any
// lock, and waits for checks under way, which end at once.
func (l *leavers) close() {
	for _, k := range l.checks {
		k.probe.Close() // all before the first wait: the last to go waits for the workers of all
	}
	for _, k := range l.checks {
		k.stop()
		k.key.endpoint.registry.judge(k.names) // another check of the address may have a word now
	}
	for _, e := range l.endpoints {
		e.connections.Close()
	}
}
