package setting

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says what a Node is.
type Kind uint8

// The kinds. Null is a key without a value, or the words null and ~.
const (
	Null Kind = iota
	Scalar
	List
	Map
)

// String names the kind as messages do.
func (k Kind) String() string {
	return [...]string{"nothing", "a value", "a list", "a map"}[k]
}

// Node is one value of a configuration tree. A tree that was handed to Decode
// is not changed any more; parts of it may stand in several trees at once.
type Node struct {
	Kind Kind
	// At is where the value begins; of a merged map, where its last part begins.
	At Position
	// Path is the value's path in the file At.Source, such as routes.a.match.
	Path string
	// Text is the text of a scalar, without quotes and escapes.
	Text string
	// Quoted says that a scalar was written in quotes or as a block: it is a
	// string, whatever it looks like.
	Quoted bool
	// Expanded says that Text holds what a ${NAME} stood for. It is never shown.
	Expanded bool
	// Unset says that Text is unknown: it names a variable that is not set, and
	// that was tolerated. The field keeps its zero value.
	Unset bool
	// Removes says that this plain `off` took the place of another value.
	Removes bool
	// Items are the values of a list, in order.
	Items []*Node
	// Entries are the keys and values of a map, in the order written.
	Entries []Entry

	width     int            // characters of a scalar on its first line, as written
	variables string         // what Expanded text was named by, such as ${PORT}
	index     map[string]int // of Entries, once there are many
	expanded  bool           // by Expand, with all beneath: aliases share nodes
}

// Entry is one key of a map with its value.
type Entry struct {
	Key   string
	At    Position // of the key
	Path  string   // of the key, in the file At.Source
	Value *Node
}

// indexed is the number of entries from which a map keeps an index.
const indexed = 16

// lookup returns the index of key, or -1.
func (n *Node) lookup(key string) int {
	if n == nil || n.Kind != Map {
		return -1
	}
	if n.index != nil {
		if i, ok := n.index[key]; ok {
			return i
		}
		return -1
	}
	for i := range n.Entries { // by index: an entry is large, and this is called for every key
		if n.Entries[i].Key == key {
			return i
		}
	}
	return -1
}

// Get returns the value of key in a map, or nil. A nil Node has no keys.
func (n *Node) Get(key string) *Node {
	if i := n.lookup(key); i >= 0 {
		return n.Entries[i].Value
	}
	return nil
}

// KeyAt returns where key was written, or where n begins if it has no such key.
func (n *Node) KeyAt(key string) Position {
	if i := n.lookup(key); i >= 0 {
		return n.Entries[i].At
	}
	if n == nil {
		return Position{}
	}
	return n.At
}

// Append adds an entry to a map that is being built; its key must be new.
func (n *Node) Append(e Entry) {
	n.Entries = append(n.Entries, e)
	if n.index != nil {
		n.index[e.Key] = len(n.Entries) - 1
	} else if len(n.Entries) >= indexed {
		n.index = make(map[string]int, 2*indexed)
		for i := range n.Entries {
			n.index[n.Entries[i].Key] = i
		}
	}
}

// With returns a copy of the map n in which key holds value; a nil value takes
// the key out. A nil n counts as an empty map. The copy's entries are its own.
func (n *Node) With(key string, value *Node) *Node {
	return n.WithAll([]Entry{{Key: key, Value: value}})
}

// WithAll is With for several keys at once. Of over, only keys and values count.
func (n *Node) WithAll(over []Entry) *Node {
	out := &Node{Kind: Map}
	if n != nil {
		out.At, out.Path = n.At, n.Path
		out.Entries = make([]Entry, 0, len(n.Entries)+len(over))
		for _, e := range n.Entries {
			if i := slices.IndexFunc(over, func(o Entry) bool { return o.Key == e.Key }); i >= 0 {
				e.Value = over[i].Value
			}
			if e.Value != nil {
				out.Append(e)
			}
		}
	}
	for _, o := range over {
		if o.Value != nil && n.lookup(o.Key) < 0 {
			out.Append(Entry{Key: o.Key, At: o.Value.At, Path: o.Value.Path, Value: o.Value})
		}
	}
	return out
}

// Find follows path, such as accept[0] or levels.ip.policy, and returns the node
// it leads to, or the deepest one that exists and false. Keys are taken as they
// stand: one that holds a dot or a bracket is not found.
func (n *Node) Find(path string) (*Node, bool) {
	found, rest := n.find(path)
	return found, rest == ""
}

// find is Find that returns what is left of path where the tree ends.
func (n *Node) find(path string) (*Node, string) {
	for path != "" {
		next, rest := n.step(path)
		if next == nil {
			return n, path
		}
		n, path = next, strings.TrimPrefix(rest, ".")
	}
	return n, ""
}

// step follows the first key or index of path.
func (n *Node) step(path string) (next *Node, rest string) {
	if path[0] == '[' {
		digits, rest, _ := strings.Cut(path[1:], "]")
		values := n.Values()
		if i, err := strconv.Atoi(digits); err == nil && i >= 0 && i < len(values) {
			return values[i], rest
		}
		return nil, rest
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		end = len(path)
	}
	return n.Get(path[:end]), path[end:]
}

// Values returns the values of a list, or what a scalar holds between its commas,
// each a scalar that knows its own column. Commas inside braces or brackets, as in
// the regular expression of a path, don't separate. Others have none.
func (n *Node) Values() []*Node {
	if n == nil {
		return nil
	}
	if n.Kind != Scalar {
		return n.Items
	}
	var out []*Node
	depth, start := 0, 0
	for i := range len(n.Text) {
		switch c := n.Text[i]; {
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth <= 0:
			out = append(out, n.part(len(out), start, i))
			start = i + 1
		}
	}
	return append(out, n.part(len(out), start, len(n.Text)))
}

// part returns the i-th value of a comma-separated scalar, which stands from
// start to end of its text.
func (n *Node) part(i, start, end int) *Node {
	part := *n
	part.Text = strings.TrimSpace(n.Text[start:end])
	if start == 0 && end == len(n.Text) {
		return &part
	}
	part.Path = joinIndex(n.Path, i)
	if n.width > 0 && !n.Expanded {
		before := start + strings.Index(n.Text[start:end], part.Text)
		part.At.Column += utf8.RuneCountInString(n.Text[:before])
		if n.Quoted {
			part.At.Column++
		}
		part.width = utf8.RuneCountInString(part.Text)
	}
	return &part
}

// IsOff says that n is the plain word off or false, which removes a key. In
// quotes they are strings.
func (n *Node) IsOff() bool {
	return n != nil && n.Kind == Scalar && !n.Quoted && (n.Text == "off" || n.Text == "false")
}

// join appends a key to a path; keys that would be ambiguous are quoted.
func join(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" ") {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Merge lays over above base and returns the result; neither is changed. Maps
// merge key by key; anything else of over replaces what base holds. A plain off
// in over takes the other's place, and is marked as one that removes. Either
// may be nil.
func Merge(base, over *Node) *Node {
	switch {
	case base == nil:
		return over
	case over == nil:
		return base
	case over.IsOff():
		off := *over
		off.Removes = true
		return &off
	case base.Kind != Map || over.Kind != Map:
		return over
	}
	out := &Node{Kind: Map, At: over.At, Path: over.Path, Entries: make([]Entry, 0, len(base.Entries)+len(over.Entries))}
	for _, e := range base.Entries {
		if i := over.lookup(e.Key); i >= 0 {
			e.At, e.Path = over.Entries[i].At, over.Entries[i].Path
			e.Value = Merge(e.Value, over.Entries[i].Value)
		}
		out.Append(e)
	}
	for _, e := range over.Entries {
		if base.lookup(e.Key) < 0 {
			out.Append(e)
		}
	}
	return out
}
