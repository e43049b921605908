package router

import (
	"regexp"
	"slices"
)

// node is a place in the trie of one host pattern, reached by the segments
// before it. Once built it is never written.
type node struct {
	literals children
	regex    *node
	only     *regexp.Regexp // the one regex that leads to regex; nil: several do, and leaves test them
	param    *node
	rest     *leaf // patterns that go on with {x...}
	end      *leaf // patterns that end here
	priority int   // the highest of all leaves here and below
}

// leaf holds the rules that agree on host and path, in order of precedence.
type leaf struct {
	rules    []*rule
	priority int // the highest
}

// children are the literal segments that go on from a node.
type children struct {
	few  []child // up to maxFew: comparing beats hashing
	many map[string]*node
}

type child struct {
	text string
	node *node
}

const maxFew = 4

// get returns the node that a segment leads to, or nil.
func (c *children) get(segment []byte) *node {
	if c.many != nil {
		return c.many[string(segment)]
	}
	for i := range c.few {
		if c.few[i].text == string(segment) {
			return c.few[i].node
		}
	}
	return nil
}

// put returns the node that a literal leads to, made if need be.
func (c *children) put(text string) *node {
	if n := c.get([]byte(text)); n != nil {
		return n
	}
	n := &node{}
	if c.many == nil && len(c.few) < maxFew {
		c.few = append(c.few, child{text, n})
		return n
	}
	if c.many == nil {
		c.many = make(map[string]*node, 2*maxFew)
		for _, f := range c.few {
			c.many[f.text] = f.node
		}
		c.few = nil
	}
	c.many[text] = n
	return n
}

// all calls f for each literal child.
func (c *children) all(f func(*node)) {
	for _, l := range c.few {
		f(l.node)
	}
	for _, n := range c.many {
		f(n)
	}
}

// insert adds a rule below n.
func (n *node) insert(r *rule) {
	for _, s := range r.pattern.segments {
		switch s.kind {
		case kindLiteral:
			n = n.literals.put(s.text)
		case kindRegex:
			n.regex = orNew(n.regex)
			n = n.regex
		case kindParam:
			n.param = orNew(n.param)
			n = n.param
		case kindRest:
			n.rest = orNew(n.rest)
			n.rest.rules = append(n.rest.rules, r)
			return
		}
	}
	n.end = orNew(n.end)
	n.end.rules = append(n.end.rules, r)
}

func orNew[T any](p *T) *T {
	if p == nil {
		p = new(T)
	}
	return p
}

// below returns all leaves of n and below.
func (n *node) below() []*leaf {
	var leaves []*leaf
	for _, l := range []*leaf{n.end, n.rest} {
		if l != nil {
			leaves = append(leaves, l)
		}
	}
	add := func(m *node) { leaves = append(leaves, m.below()...) }
	n.literals.all(add)
	for _, m := range []*node{n.regex, n.param} {
		if m != nil {
			add(m)
		}
	}
	return leaves
}

// finish orders the leaves, finds the highest priorities, and decides where the
// regular expressions are tested. params counts the parameters on the way to n.
func (n *node) finish(params int) {
	first := true
	raise := func(priority int) {
		if first || priority > n.priority {
			n.priority, first = priority, false
		}
	}
	descend := func(m *node, params int) {
		m.finish(params)
		raise(m.priority)
	}
	for _, l := range []*leaf{n.end, n.rest} {
		if l == nil {
			continue
		}
		slices.SortFunc(l.rules, compareRules)
		l.priority = l.rules[0].priority
		raise(l.priority)
	}
	n.literals.all(func(m *node) { descend(m, params) })
	if n.regex != nil {
		n.placeRegex(params)
		descend(n.regex, params+1)
	}
	if n.param != nil {
		descend(n.param, params+1)
	}
}

// placeRegex tests a regular expression on the way to the regex child if it is
// the only one there: it is then run once, and spares what is below. Otherwise
// the order of precedence wants {a:…}/literal before {b:…}/{x} whatever a and b
// are, so that their leaves have to test them. param is the parameter's number.
func (n *node) placeRegex(param int) {
	leaves := n.regex.below()
	segment := func(r *rule) segment {
		return r.pattern.parameter(param)
	}
	text, same := segment(leaves[0].rules[0]).text, true
	for _, l := range leaves {
		for _, r := range l.rules {
			same = same && segment(r).text == text
		}
	}
	if same {
		n.only = segment(leaves[0].rules[0]).re
		return
	}
	for _, l := range leaves {
		for _, r := range l.rules {
			r.tests = append(r.tests, regexTest{param, segment(r).re})
		}
	}
}

// parameter returns the segment of the i-th parameter.
func (p Pattern) parameter(i int) segment {
	for _, s := range p.segments {
		if s.name == "" {
			continue
		}
		if i == 0 {
			return s
		}
		i--
	}
	return segment{}
}
