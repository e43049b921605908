package router

import (
	"maps"
	"math"
	"regexp"
	"slices"
)

// branch is a node while routes are added.
type branch struct {
	literals     map[string]*branch
	regex, param *branch
	end, rest    []*rule
}

// insert adds a rule below b.
func (b *branch) insert(r *rule) {
	for _, s := range r.pattern.segments {
		switch s.kind {
		case kindLiteral:
			b = b.literal(s.text)
		case kindRegex:
			b.regex = orNew(b.regex)
			b = b.regex
		case kindParam:
			b.param = orNew(b.param)
			b = b.param
		case kindRest:
			b.rest = append(b.rest, r)
			return
		}
	}
	b.end = append(b.end, r)
}

// literal returns the branch that a literal leads to, made if need be.
func (b *branch) literal(text string) *branch {
	next := b.literals[text]
	if next == nil {
		if b.literals == nil {
			b.literals = map[string]*branch{}
		}
		next = &branch{}
		b.literals[text] = next
	}
	return next
}

func orNew(b *branch) *branch {
	if b == nil {
		b = &branch{}
	}
	return b
}

// leaves calls f for each list of rules that agree on host and path, in an order
// that depends on nothing but the rules.
func (b *branch) leaves(f func([]*rule)) {
	for _, rules := range [][]*rule{b.end, b.rest} {
		if len(rules) > 0 {
			f(rules)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(b.literals)) {
		b.literals[text].leaves(f)
	}
	for _, c := range []*branch{b.regex, b.param} {
		if c != nil {
			c.leaves(f)
		}
	}
}

// count adds the branches and rules of b and below.
func (b *branch) count(branches, rules *int) {
	*branches++
	*rules += len(b.end) + len(b.rest)
	for _, c := range b.literals {
		c.count(branches, rules)
	}
	for _, c := range []*branch{b.regex, b.param} {
		if c != nil {
			c.count(branches, rules)
		}
	}
}

// placeRegex returns the regular expression that leads to the regex child if it
// is the only one: it is then run once, on the way, and spares what is below.
// Otherwise the order of precedence wants {a:…}/literal before {b:…}/{x} whatever
// a and b are, so that it is the leaves that test them. param is the number of the
// parameter.
func (b *branch) placeRegex(param int) *regexp.Regexp {
	var only segment
	same := true
	b.regex.leaves(func(rules []*rule) {
		for _, r := range rules {
			s := r.pattern.parameter(param)
			if only.re == nil {
				only = s
			}
			same = same && s.text == only.text
		}
	})
	if same {
		return only.re
	}
	b.regex.leaves(func(rules []*rule) {
		for _, r := range rules {
			r.tests = append(r.tests, regexTest{param, r.pattern.parameter(param).re})
		}
	})
	return nil
}

// freeze makes the node of b, to which text leads, with all below it, and returns
// its place. The lists of rules are in order, and params counts the parameters on
// the way to b.
func (ix *index) freeze(b *branch, text string, params int) uint32 {
	place := uint32(len(ix.nodes))
	ix.nodes = append(ix.nodes, node{})
	n := node{text: ix.addText(text)}
	if b.regex != nil {
		n.only = b.placeRegex(params)
		n.regex = ix.freeze(b.regex, "", params+1)
	}
	if b.param != nil {
		n.param = ix.freeze(b.param, "", params+1)
	}
	n.end, n.rest = ix.addLeaf(b.end), ix.addLeaf(b.rest)
	n.literals = ix.addLiterals(b.literals, params)
	n.priority = ix.highest(&n, b)
	ix.nodes[place] = n
	return place
}

// addText adds a text to those of the nodes.
func (ix *index) addText(text string) span {
	start := len(ix.texts)
	ix.texts = append(ix.texts, text...)
	return span{uint32(start), uint32(len(ix.texts))}
}

// addLiterals freezes branches that literals lead to, and makes their table.
func (ix *index) addLiterals(branches map[string]*branch, params int) literals {
	if len(branches) == 0 {
		return literals{}
	}
	size := tableSize(len(branches))
	t := literals{first: uint32(len(ix.slots)), mask: uint32(size - 1)}
	ix.slots = append(ix.slots, make([]slot, size)...)
	for _, text := range slices.Sorted(maps.Keys(branches)) {
		t.place(ix.slots, text, ix.freeze(branches[text], text, params))
	}
	return t
}

// addLeaf adds rules, which are in order.
func (ix *index) addLeaf(rules []*rule) leaf {
	l := leaf{uint32(len(ix.candidates)), uint32(len(rules))}
	for _, r := range rules {
		c := candidate{
			priority: r.priority, methods: r.methods, names: r.names, rule: r,
			entry: uint32(r.entry), paths: uint8(len(r.pattern.names)),
		}
		if r.listeners != 0 || len(r.tests) > 0 || len(r.conds) > 0 {
			c.checks = &checks{r.listeners, r.tests, r.conds}
		}
		ix.candidates = append(ix.candidates, c)
	}
	return l
}

// highest returns the highest priority of n's leaves and of all below, which are
// frozen.
func (ix *index) highest(n *node, b *branch) int {
	highest := math.MinInt // each branch was made for a rule, so there is one
	for _, rules := range [][]*rule{b.end, b.rest} {
		if len(rules) > 0 {
			highest = max(highest, rules[0].priority)
		}
	}
	if t := n.literals; t.mask != 0 {
		for _, s := range ix.slots[t.first : t.first+t.mask+1] {
			if s.node != 0 {
				highest = max(highest, ix.nodes[s.node].priority)
			}
		}
	}
	for _, c := range []uint32{n.regex, n.param} {
		if c != 0 {
			highest = max(highest, ix.nodes[c].priority)
		}
	}
	return highest
}

// addHosts freezes the tries of hosts, by name or suffix, and makes their table.
func (ix *index) addHosts(roots map[string]*branch) hostTable {
	t := hostTable{literals: ix.addLiterals(roots, 0)}
	for name := range roots {
		t.lengths[len(name)/64] |= 1 << (len(name) % 64)
	}
	return t
}
