package router

import (
	"fmt"
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

// full says that enough ties were found.
func (t *ties) full() bool { return len(t.found) >= maxTies }

// divide compares all pairs of rules that may tie. Many rules are first divided by
// what tells most of them apart, an exact value, the method or the listener: rules
// with different values need no comparison. Without it, ten thousand routes that
// differ in one header would cost fifty million.
func (t *ties) divide(rules []*rule, used []string) {
	if t.full() {
		return
	}
	if len(rules) > fewRules {
		if by, parts := bestDivision(rules, used); parts != nil {
			used = append(slices.Clip(used), by)
			for _, part := range parts {
				t.divide(part, used)
			}
			return
		}
	}
	for i, a := range rules {
		for _, b := range rules[i+1:] {
			if !t.apart(a, b) {
				t.add(a, b)
			}
		}
		if t.full() {
			return
		}
	}
}

// bestDivision returns the division that leaves the fewest pairs, or nil if none
// leaves less than half of them.
func bestDivision(rules []*rule, used []string) (by string, best map[string][]*rule) {
	least := len(rules) * len(rules) / 2
	for _, key := range divisions(rules) {
		if slices.Contains(used, key) {
			continue
		}
		parts := division(rules, key)
		pairs := 0
		for _, p := range parts {
			pairs += len(p) * len(p)
		}
		if len(parts) > 0 && pairs < least {
			by, best, least = key, parts, pairs
		}
	}
	return by, best
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

// division sorts rules by their values for key. A rule that fits every value
// stands in each part; nil if no rule has a value.
func division(rules []*rule, key string) map[string][]*rule {
	parts := map[string][]*rule{}
	var open []*rule
	for _, r := range rules {
		values := r.values(key)
		if len(values) == 0 {
			open = append(open, r)
		}
		for _, v := range values {
			parts[v] = append(parts[v], r)
		}
	}
	if len(open)*len(parts) > len(rules)*len(rules)/2 {
		return nil // more work than it spares
	}
	for v := range parts {
		parts[v] = append(parts[v], open...)
	}
	return parts
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
		p, err = syntax.Compile(re.Simplify())
		if err != nil {
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
	if t.found[key] == nil {
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
	if t.full() {
		out = append(out, Problem{Entry: len(t.b.ix.routes) - 1, Other: -1, Text: fmt.Sprintf("more than %d routes can't be told apart; only some are shown", maxTies-1)})
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
