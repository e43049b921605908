package router

import (
	"cmp"
	"strings"
)

// rule is one host pattern and one path pattern of a route with all the rest of
// its match: what stands in the order of precedence.
type rule struct {
	entry     int
	priority  int
	host      HostPattern
	pattern   Pattern
	methods   methodSet // 0: any
	listeners uint64    // bits; 0: any
	conds     []condition
	names     []string // of the parameters: the path's, then the host's
	tests     []regexTest
}

// takes says whether the rule takes one of methods, by name or by naming none.
func (r *rule) takes(methods methodSet) bool {
	return r.methods == 0 || r.methods&methods != 0
}

// compareRules orders rules by precedence, without the exception for HEAD. What
// no request could tell apart, or only by different literals, is ordered by text.
func compareRules(a, b *rule) int {
	d, _ := comparePrecedence(a, b)
	return d
}

// comparePrecedence is compareRules that says which criterion decided.
func comparePrecedence(a, b *rule) (d int, criterion string) {
	if d = cmp.Compare(b.priority, a.priority); d != 0 {
		return d, "priority"
	}
	if d = compareHosts(a.host, b.host); d != 0 {
		return d, "host"
	}
	if d = comparePaths(a.pattern, b.pattern); d != 0 {
		return d, "path"
	}
	if d = boolCompare(a.methods != 0, b.methods != 0); d != 0 {
		return d, "methods"
	}
	if d = cmp.Compare(len(b.conds), len(a.conds)); d != 0 {
		return d, "number of header and query conditions"
	}
	return cmp.Or(
		strings.Compare(a.pattern.String(), b.pattern.String()),
		cmp.Compare(a.methods, b.methods),
		cmp.Compare(a.listeners, b.listeners),
		cmp.Compare(a.entry, b.entry),
	), "order of texts"
}

// boolCompare puts true first.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// comparePaths orders patterns by precedence: from the left, by the kinds of
// their segments; different literals, which no path has both, by text.
func comparePaths(a, b Pattern) int {
	for i := 0; ; i++ {
		s, t := a.at(i), b.at(i)
		if s.kind != t.kind {
			return int(s.kind) - int(t.kind)
		}
		switch s.kind {
		case kindEnd, kindRest:
			return 0
		case kindLiteral:
			if d := strings.Compare(s.text, t.text); d != 0 {
				return d
			}
		}
	}
}

// at returns the i-th segment, or the end.
func (p Pattern) at(i int) segment {
	if i < len(p.segments) {
		return p.segments[i]
	}
	return segment{kind: kindEnd}
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
