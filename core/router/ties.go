package router

import (
	"fmt"
	"maps"
	"regexp/syntax"
	"slices"
	"strings"
)

const (
	// maxTies bounds how many ties are reported: beyond, one mistake repeats.
	maxTies = 100
	// fewRules are compared pair by pair; more are divided first.
	fewRules = 32
	// maxStates bounds the work of comparing regular expressions of one
	// compilation, about half a second. What stays undecided counts as a tie.
	maxStates = 4 << 20
)

// ties looks for pairs of rules that the order of precedence can't tell apart.
type ties struct {
	b        *builder
	found    map[[2]int]*rule // entries, the smaller first → the rule of the second
	between  map[[2]string]bool
	programs map[string]*syntax.Prog
	states   int
}

func newTies(b *builder) *ties {
	return &ties{
		b: b, found: map[[2]int]*rule{}, states: maxStates,
		between: map[[2]string]bool{}, programs: map[string]*syntax.Prog{},
	}
}

// search looks for ties in one leaf. Its rules are in order of precedence, so
// that those of equal rank are neighbours.
func (t *ties) search(rules []*rule) {
	for start := 0; start < len(rules); {
		end := start + 1
		for end < len(rules) && equalRank(rules[start], rules[end]) {
			end++
		}
		t.divide(rules[start:end], nil)
		start = end
	}
}

// equalRank says whether two rules of one leaf are equal in all criteria.
func equalRank(a, b *rule) bool {
	return a.priority == b.priority && (a.methods != 0) == (b.methods != 0) && len(a.conds) == len(b.conds)
}

// full says that enough ties were found; which ones does not depend on chance.
func (t *ties) full() bool { return len(t.found) >= maxTies }

// divide compares all pairs of rules that may tie. Many rules are first divided by
// what tells most of them apart, an exact value, the method or the listener: rules
// with different values need no comparison. Without it, ten thousand routes that
// differ in one header would cost fifty million.
func (t *ties) divide(rules []*rule, used []string) {
	if len(rules) > fewRules {
		if d := bestDivision(rules, used); d != nil {
			used = append(slices.Clip(used), d.by)
			for _, v := range slices.Sorted(maps.Keys(d.parts)) {
				t.divide(d.parts[v], used)
			}
			t.divide(d.open, used)
			for _, a := range d.open {
				t.compare(a, d.closed)
			}
			return
		}
	}
	for i, a := range rules {
		t.compare(a, rules[i+1:])
	}
}

// compare notes which of others tie with a rule.
func (t *ties) compare(a *rule, others []*rule) {
	if t.full() {
		return
	}
	for _, b := range others {
		if !t.apart(a, b) {
			t.add(a, b)
		}
	}
}

// division sorts rules by their values for one thing.
type division struct {
	by     string
	parts  map[string][]*rule // by value; a rule with several stands in several
	closed []*rule            // those of the parts
	open   []*rule            // those that fit every value
}

// pairs estimates how many pairs are left to compare.
func (d *division) pairs() int {
	n := len(d.open)*len(d.open) + 2*len(d.open)*len(d.closed)
	for _, p := range d.parts {
		n += len(p) * len(p)
	}
	return n
}

// bestDivision returns the division that leaves the fewest pairs, or nil if none
// leaves less than half of them.
func bestDivision(rules []*rule, used []string) *division {
	var best *division
	least := len(rules) * len(rules) / 2
	for _, key := range divisions(rules) {
		if slices.Contains(used, key) {
			continue
		}
		if d := divideBy(rules, key); d.pairs() < least {
			best, least = d, d.pairs()
		}
	}
	return best
}

// divideBy divides rules by key.
func divideBy(rules []*rule, key string) *division {
	d := &division{by: key, parts: map[string][]*rule{}}
	for _, r := range rules {
		values := r.values(key)
		if len(values) == 0 {
			d.open = append(d.open, r)
			continue
		}
		d.closed = append(d.closed, r)
		for _, v := range values {
			d.parts[v] = append(d.parts[v], r)
		}
	}
	return d
}

// divisions lists what rules could be divided by.
func divisions(rules []*rule) []string {
	keys := []string{byMethod, byListener}
	seen := map[string]bool{}
	for _, r := range rules {
		for i := range r.conds {
			if c := &r.conds[i]; c.Kind == Exact && !seen[c.key()] && len(seen) < fewRules {
				seen[c.key()] = true
				keys = append(keys, c.key())
			}
		}
	}
	return keys
}

const (
	byMethod   = "method"
	byListener = "listener"
)

// key names what a condition looks at.
func (c *condition) key() string {
	if c.query {
		return "query " + c.Name
	}
	return "header " + c.Name
}

// values returns the values that key has in requests that the rule takes; none
// means any.
func (r *rule) values(key string) []string {
	switch key {
	case byMethod:
		return bitNames(uint64(r.methods))
	case byListener:
		return bitNames(r.listeners)
	}
	for i := range r.conds {
		if c := &r.conds[i]; c.Kind == Exact && c.key() == key {
			return []string{c.Value}
		}
	}
	return nil
}

func bitNames(set uint64) []string {
	var names []string
	for i := range 64 {
		if set&(1<<i) != 0 {
			names = append(names, fmt.Sprint(i))
		}
	}
	return names
}

// apart says whether no request can match both rules, which agree on host and on
// the shape of their path.
func (t *ties) apart(a, b *rule) bool {
	if a.listeners != 0 && b.listeners != 0 && a.listeners&b.listeners == 0 {
		return true
	}
	if a.methods != 0 && b.methods != 0 && a.methods&b.methods == 0 {
		return true
	}
	for i := range a.conds {
		for j := range b.conds {
			c, d := &a.conds[i], &b.conds[j]
			if c.query == d.query && c.Name == d.Name && t.exclude(c, d) {
				return true
			}
		}
	}
	for i, s := range a.pattern.segments {
		if o := b.pattern.segments[i]; s.kind == kindRegex && t.disjoint(s.text, o.text, true) {
			return true
		}
	}
	return false
}

// exclude says whether no value fits both conditions.
func (t *ties) exclude(c, d *condition) bool {
	switch {
	case c.Kind == Present || d.Kind == Present:
		return false
	case c.Kind == Exact && d.Kind == Exact:
		return c.Value != d.Value
	case c.Kind == Exact:
		return !d.re.MatchString(c.Value)
	case d.Kind == Exact:
		return !c.re.MatchString(d.Value)
	default:
		return t.disjoint(c.Value, d.Value, false)
	}
}

// disjoint says whether no text is matched by both regular expressions, whole or
// anywhere in it.
func (t *ties) disjoint(a, b string, whole bool) bool {
	if a == b {
		return false
	}
	if !whole {
		a, b = `(?s:.*)(?:`+a+`)(?s:.*)`, `(?s:.*)(?:`+b+`)(?s:.*)`
	}
	key := [2]string{min(a, b), max(a, b)}
	if known, ok := t.between[key]; ok {
		return known
	}
	p, q := t.program(a), t.program(b)
	answer := p != nil && q != nil && disjointPrograms(p, q, &t.states)
	t.between[key] = answer
	return answer
}

// program compiles a regular expression that is known to be good; nil if only the
// wrapping has made it too large.
func (t *ties) program(source string) *syntax.Prog {
	if p, known := t.programs[source]; known {
		return p
	}
	var p *syntax.Prog
	if re, err := syntax.Parse(source, syntax.Perl); err == nil {
		if p, err = syntax.Compile(re.Simplify()); err != nil {
			p = nil
		}
	}
	t.programs[source] = p
	return p
}

// add notes a tie between two rules, once for each pair of routes.
func (t *ties) add(a, b *rule) {
	if a.entry > b.entry {
		a, b = b, a
	}
	key := [2]int{a.entry, b.entry}
	if t.found[key] == nil && !t.full() {
		t.found[key] = b
	}
}

// report makes the problems. A tie is reported at the later route.
func (t *ties) report() []Problem {
	var out []Problem
	for pair, r := range t.found {
		a, b := &t.b.ix.routes[pair[0]], &t.b.ix.routes[pair[1]]
		p := Problem{Entry: pair[1], Other: pair[0]}
		if pair[0] == pair[1] {
			p.Other, p.Field = -1, "paths"
			p.Text = fmt.Sprintf("two paths of route %q (%s) can't be told apart: %s", b.name, b.at, t.describe(r))
		} else {
			p.Text = fmt.Sprintf("route %q (%s) can't be told apart from %q (%s): both match %s; give one of them a priority, or another method, header or query",
				b.name, b.at, a.name, a.at, t.describe(r))
		}
		out = append(out, p)
	}
	return out
}

// describe says what a rule matches.
func (t *ties) describe(r *rule) string {
	parts := []string{r.pattern.String(), "on " + r.host.String()}
	if r.methods != 0 {
		parts = append([]string{string(t.b.ix.methods.append(nil, r.methods))}, parts...)
	}
	if r.listeners != 0 {
		parts = append(parts, "by listener "+t.b.ix.listenerNames(r.listeners))
	}
	for _, c := range r.conds {
		parts = append(parts, "with "+c.key()+strings.TrimPrefix(c.String(), c.Name))
	}
	return strings.Join(parts, " ")
}
