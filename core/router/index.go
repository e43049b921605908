package router

import (
	"bytes"
	"strings"
	"sync"
)

// index is the part of a Table that does not depend on its values. Once compiled
// it is never written.
type index struct {
	nodes      []node // the first is none
	slots      []slot
	texts      []byte // of the nodes
	candidates []candidate
	exact      hostTable
	labels     hostTable // by the suffixes of {name}.suffix
	many       hostTable // by the suffixes of *.suffix
	any        uint32    // the root of routes without hosts; 0: there are none
	methods    methodTable
	listeners  []string // those that routes name, by bit
	decoded    sync.Pool
	order      []int       // entries, in match order
	routes     []routeInfo // by entry
}

// routeInfo is what Explain says of a route.
type routeInfo struct {
	name, at string
	rules    []*rule // in order of precedence; all agree but in host and path
}

// walker is one lookup. It lives on the stack of its caller.
type walker struct {
	message
	ix       *index
	path     []byte
	method   methodSet // the bit of the request's method; 0: no route names it
	instead  methodSet // GET, for a HEAD request
	listener uint64
	best     *candidate
	only     bool      // collect seen, match nothing
	seen     methodSet // what the routes that fit listener, host and path take
	count    uint8     // parameters on the way
	label    span      // what {tenant} of the host stands for
	spans    [MaxParams]span
	found    [MaxParams + 1]span // of best
}

// start prepares a lookup; ok is false if no path pattern can fit.
func (ix *index) start(w *walker, q *Query) bool {
	w.header, w.query, w.decoded = q.Header, q.RawQuery, &ix.decoded
	w.ix, w.path = ix, q.Path
	w.method = ix.methods.of(q.Method)
	if w.method == methodHead {
		w.instead = methodGet
	}
	for i, l := range ix.listeners {
		if l == q.Listener {
			w.listener = 1 << i
			break
		}
	}
	return len(q.Path) > 0 && q.Path[0] == '/'
}

// walk walks the tries of all hosts that fit, in order of precedence.
func (w *walker) walk(host []byte) {
	ix := w.ix
	if len(host) > 0 {
		w.visit(ix.find(&ix.exact, host), 0)
		if (ix.labels.mask != 0 || ix.many.mask != 0) && host[0] != '[' {
			w.walkSuffixes(host)
		}
	}
	w.visit(ix.any, 0)
}

// walkSuffixes walks the tries of the wildcard hosts, the longest suffix first.
func (w *walker) walkSuffixes(host []byte) {
	ix := w.ix
	dot := bytes.IndexByte(host, '.')
	if dot <= 0 {
		return
	}
	w.label = span{0, uint32(dot)}
	w.visit(ix.find(&ix.labels, host[dot+1:]), 0)
	if ix.many.mask == 0 {
		return
	}
	for suffix := host[dot+1:]; ; suffix = suffix[dot+1:] {
		w.visit(ix.find(&ix.many, suffix), 0)
		if dot = bytes.IndexByte(suffix, '.'); dot < 0 {
			return
		}
	}
}

// visit walks the trie below a node, if there is one, for the path from byte pos,
// which is its end or a slash. What has no higher priority than what was found is
// left out: it comes later in the order of precedence.
func (w *walker) visit(place uint32, pos int) {
	for place != 0 {
		n := &w.ix.nodes[place]
		if w.beaten(n.priority) {
			return
		}
		if pos == len(w.path) {
			w.try(n.end)
			w.tryRest(n.rest, pos)
			return
		}
		start := pos + 1
		end, hash := scanSegment(w.path, start)
		segment := w.path[start:end]
		literal := w.ix.child(n.literals, segment, hash)
		if n.regex|n.param|n.rest.count == 0 {
			place, pos = literal, end // no other way, so nothing to come back to
			continue
		}
		w.visit(literal, end)
		if len(segment) > 0 {
			w.visitParams(n, start, end)
		}
		w.tryRest(n.rest, start)
		return
	}
}

// visitParams goes on where a parameter takes the non-empty segment of the path
// from start to end.
func (w *walker) visitParams(n *node, start, end int) {
	if w.beaten(n.priority) {
		return
	}
	w.push(start, end)
	if n.regex != 0 && (n.only == nil || n.only.Match(w.path[start:end])) {
		w.visit(n.regex, end)
	}
	w.visit(n.param, end)
	w.count--
}

// tryRest tries a leaf whose {x...} takes the path from start.
func (w *walker) tryRest(l leaf, start int) {
	if l.count != 0 {
		w.push(start, len(w.path))
		w.try(l)
		w.count--
	}
}

// push adds a parameter to those on the way. A node that leads to one more
// parameter is never below MaxParams of them.
func (w *walker) push(start, end int) {
	w.spans[w.count] = span{uint32(start), uint32(end)}
	w.count++
}

// beaten says whether what has at most this priority comes too late.
func (w *walker) beaten(priority int) bool {
	return w.best != nil && w.best.priority >= priority
}

// try looks for the first rule of a leaf that takes the request.
func (w *walker) try(l leaf) {
	if l.count == 0 {
		return
	}
	all := w.ix.candidates[l.first : l.first+l.count]
	c := w.first(all, w.method, true)
	if w.instead != 0 {
		// Routes that list HEAD, then those that list GET, then those without methods.
		if g := w.first(all, w.instead, false); g != nil {
			if c == nil || g.priority > c.priority || g.priority == c.priority && c.methods == 0 {
				c = g
			}
		}
	}
	if c == nil {
		return
	}
	w.best = c
	copy(w.found[:c.paths], w.spans[:])
	w.found[c.paths] = w.label
}

// first returns the first rule of a leaf that takes one of methods; unnamed says
// whether rules without methods count.
func (w *walker) first(all []candidate, methods methodSet, unnamed bool) *candidate {
	for i := range all {
		c := &all[i]
		if w.beaten(c.priority) {
			return nil
		}
		if c.checks != nil && !w.fits(c.checks) {
			continue
		}
		if c.methods == 0 {
			w.seen |= anyMethod
			if !unnamed {
				continue
			}
		} else {
			w.seen |= c.methods
			if c.methods&methods == 0 {
				continue
			}
		}
		if !w.only && (c.checks == nil || w.holds(c.checks.conds)) {
			return c
		}
	}
	return nil
}

// fits says whether the listener and the rest of the path fit.
func (w *walker) fits(c *checks) bool {
	return (c.listeners == 0 || c.listeners&w.listener != 0) && w.passes(c.tests)
}

// passes runs the regular expressions that were left to the leaf.
func (w *walker) passes(tests []regexTest) bool {
	for i := range tests {
		s := w.spans[tests[i].param]
		if !tests[i].re.Match(w.path[s.start:s.end]) {
			return false
		}
	}
	return true
}

func (w *walker) holds(conds []condition) bool {
	for i := range conds {
		if w.check(&conds[i]) != holds {
			return false
		}
	}
	return true
}

// lookup returns the candidate that takes the request and fills in its parameters.
func (ix *index) lookup(q *Query, p *Params) (*candidate, Result) {
	var w walker
	host := trimHost(q.Host)
	if ix.start(&w, q) {
		w.walk(host)
	}
	if w.best == nil {
		p.Reset()
		return nil, w.refusal()
	}
	p.names, p.path, p.host, p.paths = w.best.names, q.Path, host, w.best.paths
	copy(p.spans[:], w.found[:len(p.names)])
	return w.best, Matched
}

// refusal says what it means that no rule was found.
func (w *walker) refusal() Result {
	switch {
	case w.seen == 0, w.seen&(w.method|w.instead|anyMethod) != 0:
		// Nothing fits; or the method is taken, and a condition does not hold.
		return NoRoute
	default:
		return MethodNotAllowed
	}
}

// allow returns all methods that the routes take that fit listener, host and path.
func (ix *index) allow(q *Query) methodSet {
	w := walker{only: true}
	if ix.start(&w, q) {
		w.walk(trimHost(q.Host))
	}
	set := w.seen
	if set&anyMethod != 0 {
		set |= allCommon
	}
	if set&methodGet != 0 {
		set |= methodHead
	}
	return set | methodOptions
}

// listenerNames joins the names of listeners that have bits in set.
func (ix *index) listenerNames(set uint64) string {
	var names []string
	for i, l := range ix.listeners {
		if set&(1<<i) != 0 {
			names = append(names, l)
		}
	}
	return strings.Join(names, ", ")
}
