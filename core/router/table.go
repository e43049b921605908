package router

import "github.com/valyala/fasthttp"

// Match says which requests a route takes; an empty part but Paths asks nothing.
type Match struct {
	Listeners []string
	Hosts     []string // see ParseHost
	Paths     []string // see ParsePattern; at least one
	Methods   []string
	Headers   []Condition
	Query     []Condition
	Priority  int
}

// Entry is a route before it is compiled.
type Entry[T any] struct {
	Name  string
	At    string // where it was declared, "file:line:column", for messages
	Match Match
	Value T
}

// Problem is a reason why a set of entries can't be compiled.
type Problem struct {
	Entry int    // index of the entry
	Other int    // index of the other entry of a tie, else -1
	Field string // the part of Match: "paths[1]", "headers.X-Team"; empty for ties
	Text  string
}

// Table finds the route of a request. It is immutable, and may be used by many
// goroutines at once.
type Table[T any] struct {
	index  *index
	values []T
}

// Query is the part of a request that routes are matched by. All bytes are
// borrowed for the call, but what Params keeps.
type Query struct {
	Listener string
	Host     []byte // lower case, without port; empty: the request names none
	Path     []byte // canonical (SECURITY C6)
	Method   []byte
	RawQuery []byte                  // without '?'
	Header   *fasthttp.RequestHeader // nil: no fields. Its peek buffers are used, so it must not be shared
}

// Found is what a lookup found.
type Found[T any] struct {
	Value  T
	Entry  int // index of the entry, -1 if none matched
	Params Params
}

// Result says how a lookup ended.
type Result uint8

const (
	// NoRoute: nothing matched (404).
	NoRoute Result = iota
	// Matched: Found holds the route.
	Matched
	// MethodNotAllowed: routes match listener, host and path, and none of them
	// takes the method (405, or 204 for OPTIONS).
	MethodNotAllowed
)

// String returns the name of the result.
func (r Result) String() string {
	switch r {
	case Matched:
		return "matched"
	case MethodNotAllowed:
		return "method not allowed"
	default:
		return "no route"
	}
}

// Lookup finds the first route in the order of precedence whose match holds, and
// fills f in; what f held is forgotten, whatever the result. It allocates nothing.
func (t *Table[T]) Lookup(q *Query, f *Found[T]) Result {
	c, result := t.index.lookup(q, &f.Params)
	if c == nil {
		var none T
		f.Value, f.Entry = none, -1
		return result
	}
	f.Value, f.Entry = t.values[c.entry], int(c.entry)
	return Matched
}

// Allow appends the value of an Allow field (RFC 9110 §10.2.1) to dst: the union
// of what all routes take that match listener, host and path, whatever their
// conditions. HEAD comes with GET, OPTIONS always; a route without methods
// counts as the common ones.
func (t *Table[T]) Allow(dst []byte, q *Query) []byte {
	return t.index.methods.append(dst, t.index.allow(q))
}

// Entries returns the indices of all entries in match order: by the precedence of
// the best pair of host and path of each. The slice is the caller's own.
func (t *Table[T]) Entries() []int {
	return append([]int(nil), t.index.order...)
}
