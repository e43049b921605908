package router

import "regexp"

// node is a place in the trie of one host pattern, reached by the segments
// before it: one cache line. Nodes and what they lead to are places in the slices
// of the index, in the order of a walk, for what is near is soon in the cache.
type node struct {
	text         span // in index.texts: the literal that leads here; of a root: its host
	priority     int  // the highest here and below
	literals     literals
	end          leaf   // patterns that end here
	rest         leaf   // patterns that go on with {x...}
	regex, param uint32 // nodes; 0: none
	only         *regexp.Regexp
	// only is the one regular expression that leads to regex; nil: several do, and
	// the leaves test them.

	_ [8]byte // up to 64
}

// leaf is a piece of index.candidates: those that agree on host and path, in order
// of precedence.
type leaf struct{ first, count uint32 }

// candidate is a rule as a lookup sees it: one cache line.
type candidate struct {
	priority int
	methods  methodSet // 0: any
	checks   *checks   // nil: nothing more is asked
	names    []string  // of the parameters: the path's, then the host's
	rule     *rule
	entry    uint32
	paths    uint8 // how many of names are of the path
}

// checks is what else a rule asks.
type checks struct {
	listeners uint64 // 0: any
	tests     []regexTest
	conds     []condition
}

// regexTest is a regular expression of the path that is left to the leaf, for
// several rules have different ones in its place.
type regexTest struct {
	param int // which parameter of the path
	re    *regexp.Regexp
}
