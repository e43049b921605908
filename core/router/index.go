package router

import (
	"bytes"
	"strings"
	"sync"
)

// index is the part of a Table that does not depend on its values.
type index struct {
	exact     map[string]*node
	suffixes  map[string]*suffix // by the suffix without its leading dot
	longest   int                // bytes of the longest suffix
	any       *node              // routes without hosts; nil: there are none
	methods   methodTable
	listeners []string // those that routes name, by bit
	decoded   sync.Pool
	order     []int       // entries, in match order
	routes    []routeInfo // by entry
}

// suffix holds the routes of the two wildcard patterns that a suffix may have.
type suffix struct{ label, many *node }

// routeInfo is what Explain says of a route.
type routeInfo struct {
	name, at string
	rules    []*rule // in order of precedence; all agree but in host and path
}

// walker is one lookup. It lives on the stack of its caller.
type walker struct {
	message
	path      []byte
	method    methodSet // the bit of the request's method; 0: no route names it
	instead   methodSet // GET, for a HEAD request
	listener  uint64
	best      *rule
	seen      methodSet // what the routes that fit listener, host and path take
	only      bool      // collect seen, match nothing
	count     uint8     // parameters on the way
	label     span      // what {tenant} of the host stands for
	bestLabel span
	spans     [MaxParams]span
	found     [MaxParams]span // spans of best
}

// start prepares a lookup; ok is false if no path pattern can fit.
func (ix *index) start(w *walker, q *Query) bool {
	w.header, w.query, w.decoded = q.Header, q.RawQuery, &ix.decoded
	w.path = q.Path
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
func (ix *index) walk(w *walker, host []byte) {
	if len(host) > 0 {
		if n := ix.exact[string(host)]; n != nil {
			w.visit(n, 0)
		}
		if ix.longest > 0 && host[0] != '[' {
			ix.walkSuffixes(w, host)
		}
	}
	if ix.any != nil {
		w.visit(ix.any, 0)
	}
}

// walkSuffixes walks the tries of the wildcard hosts, the longest suffix first.
func (ix *index) walkSuffixes(w *walker, host []byte) {
	first := true
	for at := 0; ; first = false {
		dot := bytes.IndexByte(host[at:], '.')
		if dot < 0 {
			return
		}
		at += dot + 1
		if at == 1 || len(host)-at > ix.longest {
			continue
		}
		s := ix.suffixes[string(host[at:])]
		if s == nil {
			continue
		}
		if first && s.label != nil {
			w.label = span{0, uint32(at - 1)}
			w.visit(s.label, 0)
		}
		if s.many != nil {
			w.visit(s.many, 0)
		}
	}
}

// visit walks the trie below n for the path from byte pos, which is its end or a
// slash.
func (w *walker) visit(n *node, pos int) {
	if w.beaten(n.priority) {
		return
	}
	if pos == len(w.path) {
		if n.end != nil {
			w.try(n.end)
		}
		if n.rest != nil {
			w.push(pos, pos)
			w.try(n.rest)
			w.count--
		}
		return
	}
	start, end := pos+1, len(w.path)
	if i := bytes.IndexByte(w.path[start:], '/'); i >= 0 {
		end = start + i
	}
	segment := w.path[start:end]
	if c := n.literals.get(segment); c != nil {
		w.visit(c, end)
	}
	if len(segment) > 0 {
		w.push(start, end)
		if r := n.regex; r != nil && !w.beaten(r.priority) && (n.only == nil || n.only.Match(segment)) {
			w.visit(r, end)
		}
		if n.param != nil {
			w.visit(n.param, end)
		}
		w.count--
	}
	if n.rest != nil {
		w.push(start, len(w.path))
		w.try(n.rest)
		w.count--
	}
}

// push adds a parameter to those on the way. A pattern has at most MaxParams, and
// a segment that no pattern takes is the last that is looked at; so that is
// dropped.
func (w *walker) push(start, end int) {
	if w.count < MaxParams {
		w.spans[w.count] = span{uint32(start), uint32(end)}
	}
	w.count++
}

// beaten says whether what has at most this priority comes too late: what is
// visited later stands later in the order of precedence, but for its priority.
func (w *walker) beaten(priority int) bool {
	return w.best != nil && w.best.priority >= priority
}

// try looks for the first rule of a leaf that takes the request.
func (w *walker) try(l *leaf) {
	if w.beaten(l.priority) {
		return
	}
	r := w.first(l, w.method, true)
	if w.instead != 0 {
		// Routes that list HEAD, then those that list GET, then those without methods.
		if g := w.first(l, w.instead, false); g != nil {
			if r == nil || g.priority > r.priority || g.priority == r.priority && r.methods == 0 {
				r = g
			}
		}
	}
	if r == nil || w.beaten(r.priority) {
		return
	}
	w.best, w.found, w.bestLabel = r, w.spans, w.label
}

// first returns the first rule of a leaf that takes one of methods; unnamed says
// whether rules without methods count.
func (w *walker) first(l *leaf, methods methodSet, unnamed bool) *rule {
	for _, r := range l.rules {
		if r.listeners != 0 && r.listeners&w.listener == 0 || !w.passes(r.tests) {
			continue
		}
		if r.methods == 0 {
			w.seen |= anyMethod
			if !unnamed {
				continue
			}
		} else {
			w.seen |= r.methods
			if r.methods&methods == 0 {
				continue
			}
		}
		if !w.only && w.holds(r.conds) {
			return r
		}
	}
	return nil
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

// lookup returns the rule that takes the request and fills in its parameters.
func (ix *index) lookup(q *Query, p *Params) (*rule, Result) {
	var w walker
	host := trimHost(q.Host)
	if ix.start(&w, q) {
		ix.walk(&w, host)
	}
	r := w.best
	if r == nil {
		p.Reset()
		return nil, w.refusal()
	}
	p.names, p.path, p.host = r.names, q.Path, host
	p.paths = uint8(len(r.pattern.names))
	copy(p.spans[:p.paths], w.found[:p.paths])
	if len(r.names) > int(p.paths) {
		p.spans[p.paths] = w.bestLabel
	}
	return r, Matched
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
		ix.walk(&w, trimHost(q.Host))
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

// group returns the root of the trie of a host pattern, made if need be.
func (ix *index) group(h HostPattern) *node {
	switch h.kind {
	case hostAny:
		ix.any = orNew(ix.any)
		return ix.any
	case hostExact:
		n := orNew(ix.exact[h.name])
		ix.exact[h.name] = n
		return n
	}
	s := orNew(ix.suffixes[h.name])
	ix.suffixes[h.name] = s
	ix.longest = max(ix.longest, len(h.name))
	if h.kind == hostLabel {
		s.label = orNew(s.label)
		return s.label
	}
	s.many = orNew(s.many)
	return s.many
}

// groups calls f with the root of each trie.
func (ix *index) groups(f func(*node)) {
	for _, n := range ix.exact {
		f(n)
	}
	for _, s := range ix.suffixes {
		for _, n := range []*node{s.label, s.many} {
			if n != nil {
				f(n)
			}
		}
	}
	if ix.any != nil {
		f(ix.any)
	}
}

// names joins the names of listeners that have bits in set.
func (ix *index) listenerNames(set uint64) string {
	var names []string
	for i, l := range ix.listeners {
		if set&(1<<i) != 0 {
			names = append(names, l)
		}
	}
	return strings.Join(names, ", ")
}
