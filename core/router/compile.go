package router

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxListeners is how many different listeners routes may name.
const maxListeners = 64

// Compile checks all entries and makes their table. It reports every problem,
// in the order of the entries; the table is nil if there is any.
func Compile[T any](entries []Entry[T]) (*Table[T], []Problem) {
	b, problems := build(entries)
	if len(problems) > 0 {
		return nil, problems
	}
	b.freeze()
	values := make([]T, len(entries))
	for i := range entries {
		values[i] = entries[i].Value
	}
	return &Table[T]{index: b.ix, values: values}, nil
}

// Check reports the problems that Compile would, without making a table.
func Check[T any](entries []Entry[T]) []Problem {
	_, problems := build(entries)
	return problems
}

// build takes all entries in and checks them.
func build[T any](entries []Entry[T]) (*builder, []Problem) {
	b := newBuilder(len(entries))
	for i := range entries {
		b.collect(&entries[i].Match)
	}
	b.intern()
	for i := range entries {
		e := &entries[i]
		b.ix.routes[i] = routeInfo{name: e.Name, at: e.At}
		b.add(i, &e.Match)
	}
	return b, b.finish()
}

// builder makes an index.
type builder struct {
	ix        *index
	problems  []Problem
	named     []string // methods, until interned
	listeners map[string]uint64
	roots     map[HostPattern]*branch // without the names of parameters
	patterns  map[string]parsed[Pattern]
	hosts     map[string]parsed[HostPattern]
}

// parsed is the outcome of parsing one text, which many routes may share.
type parsed[P any] struct {
	pattern P
	err     error
}

func newBuilder(routes int) *builder {
	b := &builder{
		ix:        &index{routes: make([]routeInfo, routes), order: make([]int, routes)},
		listeners: map[string]uint64{}, roots: map[HostPattern]*branch{},
		patterns: make(map[string]parsed[Pattern], routes), hosts: map[string]parsed[HostPattern]{},
	}
	b.ix.decoded.New = func() any { return new([]byte) }
	return b
}

// collect notes the methods and listeners that a match names.
func (b *builder) collect(m *Match) {
	for _, name := range m.Methods {
		if checkMethod(name) == "" {
			b.named = append(b.named, name)
		}
	}
	for _, l := range m.Listeners {
		if _, known := b.listeners[l]; known || l == "" {
			continue
		}
		// Beyond maxListeners the bit is 0, which intern reports.
		b.listeners[l] = 1 << len(b.ix.listeners)
		b.ix.listeners = append(b.ix.listeners, l)
	}
}

// intern gives the methods their bits.
func (b *builder) intern() {
	var ok bool
	if b.ix.methods, ok = newMethodTable(b.named); !ok {
		b.report(0, "methods", "routes name more than %d methods beside the common ones", otherMethods)
		b.ix.methods.other = b.ix.methods.other[:otherMethods]
	}
	if len(b.ix.listeners) > maxListeners {
		b.report(0, "listeners", "routes name more than %d listeners", maxListeners)
	}
}

func (b *builder) report(entry int, field, format string, args ...any) {
	b.problems = append(b.problems, Problem{Entry: entry, Other: -1, Field: field, Text: fmt.Sprintf(format, args...)})
}

// add checks one match and puts its rules into the tries.
func (b *builder) add(entry int, m *Match) {
	base := rule{
		entry: entry, priority: m.Priority,
		listeners: b.addListeners(entry, m.Listeners),
		methods:   b.addMethods(entry, m.Methods),
	}
	base.conds = b.addConditions(base.conds, entry, m.Headers, false)
	base.conds = b.addConditions(base.conds, entry, m.Query, true)
	hosts := b.addHosts(entry, m.Hosts)
	patterns := b.addPaths(entry, m.Paths)
	info := &b.ix.routes[entry]
	for _, h := range hosts {
		key := HostPattern{kind: h.kind, name: h.name}
		root := orNew(b.roots[key])
		b.roots[key] = root
		for _, p := range patterns {
			r := base
			r.host, r.pattern, r.names = h, p, p.names
			if h.kind == hostLabel {
				r.names = append(slices.Clip(p.names), h.Names()...)
			}
			info.rules = append(info.rules, &r)
			root.insert(&r)
		}
	}
	slices.SortFunc(info.rules, compareRules)
}

func (b *builder) addListeners(entry int, names []string) (set uint64) {
	for i, l := range names {
		if l == "" {
			b.report(entry, fmt.Sprintf("listeners[%d]", i), "an empty listener name")
		}
		set |= b.listeners[l]
	}
	return set
}

func (b *builder) addMethods(entry int, names []string) (set methodSet) {
	for i, m := range names {
		if reason := checkMethod(m); reason != "" {
			b.report(entry, fmt.Sprintf("methods[%d]", i), "method %q: %s", m, reason)
			continue
		}
		set |= b.ix.methods.of([]byte(m))
	}
	return set
}

// addConditions compiles conditions on fields, or on query keys, and appends them
// to dst.
func (b *builder) addConditions(dst []condition, entry int, conds []Condition, query bool) []condition {
	what, start := "headers", len(dst)
	if query {
		what = "query"
	}
	for _, c := range conds {
		compiled, reason := compileCondition(c, query)
		if reason == "" && slices.ContainsFunc(dst[start:], func(o condition) bool { return o.Name == compiled.Name }) {
			reason = "stands twice"
		}
		if reason != "" {
			b.report(entry, what+"."+c.Name, "%s %q: %s", what, c.Name, reason)
			continue
		}
		dst = append(dst, compiled)
	}
	return dst
}

func (b *builder) addHosts(entry int, texts []string) []HostPattern {
	if len(texts) == 0 {
		return []HostPattern{{kind: hostAny}}
	}
	var out []HostPattern
	for i, s := range texts {
		p, known := b.hosts[s]
		if !known {
			p.pattern, p.err = ParseHost(s)
			b.hosts[s] = p
		}
		field := fmt.Sprintf("hosts[%d]", i)
		if p.err != nil {
			b.report(entry, field, "host %q: %s", s, p.err)
			continue
		}
		twin := slices.IndexFunc(out, func(o HostPattern) bool { return compareHosts(o, p.pattern) == 0 })
		if twin >= 0 {
			b.report(entry, field, "host %q says the same as %q", s, out[twin])
			continue
		}
		out = append(out, p.pattern)
	}
	return out
}

func (b *builder) addPaths(entry int, texts []string) []Pattern {
	if len(texts) == 0 {
		b.report(entry, "paths", `a route needs a path; "/{rest...}" matches every one`)
	}
	out := make([]Pattern, 0, len(texts))
	for i, s := range texts {
		p, known := b.patterns[s]
		if !known {
			p.pattern, p.err = ParsePattern(s)
			b.patterns[s] = p
		}
		if p.err != nil {
			b.report(entry, fmt.Sprintf("paths[%d]", i), "path %q: %s", s, p.err)
			continue
		}
		out = append(out, p.pattern)
	}
	return out
}

// finish orders the rules of every leaf and looks for ties.
func (b *builder) finish() []Problem {
	t := newTies(b)
	for _, h := range slices.SortedFunc(maps.Keys(b.roots), compareHosts) {
		b.roots[h].leaves(func(rules []*rule) {
			slices.SortFunc(rules, compareRules)
			t.search(rules)
		})
	}
	b.problems = append(b.problems, t.report()...)
	slices.SortStableFunc(b.problems, func(p, q Problem) int {
		return cmp.Or(cmp.Compare(p.Entry, q.Entry), cmp.Compare(p.Other, q.Other), strings.Compare(p.Field, q.Field))
	})
	if t.full() {
		b.report(len(b.ix.routes)-1, "", "%d pairs of routes can't be told apart, and perhaps more", maxTies)
	}
	return b.problems
}

// freeze makes the match order, and the tables of hosts with their tries.
func (b *builder) freeze() {
	ix := b.ix
	for i := range ix.order {
		ix.order[i] = i
	}
	slices.SortFunc(ix.order, func(i, j int) int {
		return compareRules(ix.routes[i].rules[0], ix.routes[j].rules[0])
	})
	nodes, rules := 0, 0
	for _, root := range b.roots {
		root.count(&nodes, &rules)
	}
	ix.nodes = make([]node, 1, 1+nodes)
	ix.candidates = make([]candidate, 0, rules)
	roots := map[hostKind]map[string]*branch{hostExact: {}, hostLabel: {}, hostMany: {}}
	for h, root := range b.roots {
		if h.kind == hostAny {
			ix.any = ix.freeze(root, "", 0)
		} else {
			roots[h.kind][h.name] = root
		}
	}
	ix.exact = ix.addHosts(roots[hostExact])
	ix.labels, ix.many = ix.addHosts(roots[hostLabel]), ix.addHosts(roots[hostMany])
}
