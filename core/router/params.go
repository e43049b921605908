package router

// span is a piece of the path or of the host.
type span struct{ start, end uint32 }

// Params are the parameters of a matched route: names with pieces of the
// canonical path, still percent-encoded, and of the host. The values are
// borrowed: they live as long as the path and host that were looked up. A Params
// is a value of fixed size and may be copied; the zero one is empty.
type Params struct {
	names      []string // of the route; shared, never written
	path, host []byte
	spans      [MaxParams + 1]span
	paths      uint8 // how many of names are of the path; the others are of the host
}

// Len returns the number of parameters.
func (p *Params) Len() int { return len(p.names) }

// At returns the name and the value of the i-th parameter: those of the path
// from the left, then that of the host, named "host.…". It panics unless
// 0 ≤ i < Len.
func (p *Params) At(i int) (name string, value []byte) {
	return p.names[i], p.value(i)
}

// Get returns the value of the named parameter: nil if there is none, and empty
// but not nil for an empty {rest...}.
func (p *Params) Get(name string) []byte {
	for i, n := range p.names {
		if n == name {
			return p.value(i)
		}
	}
	return nil
}

// Reset forgets everything, so that no borrowed bytes are held.
func (p *Params) Reset() {
	p.names, p.path, p.host = nil, nil, nil
}

func (p *Params) value(i int) []byte {
	s := p.spans[i]
	if i < int(p.paths) {
		return p.path[s.start:s.end:s.end]
	}
	return p.host[s.start:s.end:s.end]
}
