package router

import (
	"regexp/syntax"
	"slices"
	"unicode"
)

// pairState is a place in two programs that read the same text.
type pairState struct {
	a, b  uint32
	begun bool // some of the text was read
	ended bool // an end of text was asserted: no more may be read
}

// disjointPrograms says whether no text takes both programs to their match: it
// walks their product. It errs on one side only, as word boundaries, line anchors
// and the end of *states (the work that is left, counted down) are taken to let a
// text pass.
func disjointPrograms(a, b *syntax.Prog, states *int) bool {
	seen := map[pairState]bool{}
	todo := []pairState{{a: uint32(a.Start), b: uint32(b.Start)}}
	push := func(s pairState) {
		if !seen[s] {
			seen[s] = true
			todo = append(todo, s)
		}
	}
	for len(todo) > 0 {
		if *states--; *states < 0 {
			return false
		}
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		x, y := &a.Inst[s.a], &b.Inst[s.b]
		switch {
		case !reads(x):
			skip(x, s, func(s pairState, to uint32) { s.a = to; push(s) })
		case !reads(y):
			skip(y, s, func(s pairState, to uint32) { s.b = to; push(s) })
		case x.Op == syntax.InstMatch && y.Op == syntax.InstMatch:
			return false
		case x.Op == syntax.InstMatch || y.Op == syntax.InstMatch || s.ended:
			// One is through while the other wants more.
		case overlap(runes(x), runes(y)):
			push(pairState{a: x.Out, b: y.Out, begun: true})
		}
	}
	return true
}

// reads says whether an instruction reads a rune, or is the match.
func reads(i *syntax.Inst) bool {
	switch i.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL, syntax.InstMatch:
		return true
	default:
		return false
	}
}

// skip goes over an instruction that reads nothing.
func skip(i *syntax.Inst, s pairState, to func(pairState, uint32)) {
	switch i.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		to(s, i.Out)
		to(s, i.Arg)
	case syntax.InstCapture, syntax.InstNop:
		to(s, i.Out)
	case syntax.InstEmptyWidth:
		asserted := syntax.EmptyOp(i.Arg)
		if asserted&syntax.EmptyBeginText != 0 && s.begun {
			return
		}
		s.ended = s.ended || asserted&syntax.EmptyEndText != 0
		to(s, i.Out)
	}
}

// runes returns the runes that an instruction reads, as sorted pairs of first and
// last.
func runes(i *syntax.Inst) []rune {
	switch i.Op {
	case syntax.InstRuneAny:
		return []rune{0, unicode.MaxRune}
	case syntax.InstRuneAnyNotNL:
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	}
	if len(i.Rune) != 1 {
		return i.Rune
	}
	all := []rune{i.Rune[0]}
	if syntax.Flags(i.Arg)&syntax.FoldCase != 0 {
		for r := unicode.SimpleFold(i.Rune[0]); r != i.Rune[0]; r = unicode.SimpleFold(r) {
			all = append(all, r)
		}
	}
	slices.Sort(all)
	pairs := make([]rune, 0, 2*len(all))
	for _, r := range all {
		pairs = append(pairs, r, r)
	}
	return pairs
}

// overlap says whether two sorted lists of pairs share a rune.
func overlap(a, b []rune) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[1] < b[0]:
			a = a[2:]
		case b[1] < a[0]:
			b = b[2:]
		default:
			return true
		}
	}
	return false
}
