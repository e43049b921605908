package setting

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// MaxSource is the largest source that Parse reads, in bytes.
const MaxSource = 16 << 20

// What a document may hold, so that one of a few bytes can't take all memory.
const (
	maxDepth   = 64        // levels of lists and maps
	maxCopied  = 1_000_000 // values that aliases and merges stand for
	maxOpen    = 1000      // brackets that are not closed
	maxMarkers = 1000      // of block lists and anchors in one line
)

// Parse turns the one YAML document in text into a tree, and reports what is
// wrong with it under the name source. It returns nil for an empty document,
// and what it could read of a faulty one, nil if nothing.
//
// Anchors, aliases and << merges are resolved; keys of the map win over merged
// ones. Tags, complex keys, several documents and duplicate keys are errors.
func Parse(source string, text []byte, r *Report) *Node {
	r.AddSource(source, text)
	file := parseText(source, text, r)
	if file == nil {
		r.shared().unparsed[source] = true
		return nil
	}
	c := converter{source: source, r: r, anchors: make(map[string]*Node)}
	return c.file(file)
}

// parseText returns the parser's tree, or nil and a problem.
func parseText(source string, text []byte, r *Report) *ast.File {
	if len(text) > MaxSource {
		r.Add(Position{source, 1, 1}, "", fmt.Sprintf("want at most %s, got %d bytes", Size(MaxSource), len(text)), "")
		return nil
	}
	if at := invalidUTF8(text); at >= 0 {
		line := 1 + strings.Count(string(text[:at]), "\n")
		r.Add(Position{source, line, 1}, "", "want UTF-8, got other bytes in this line", "")
		return nil
	}
	if line := tooDeep(text); line > 0 {
		r.Add(Position{source, line, 1}, "", fmt.Sprintf("want at most %d levels of lists and maps", maxDepth), "")
		return nil
	}
	file, err := parseBytes(text)
	if err != nil {
		r.add(syntaxProblem(source, err))
		return nil
	}
	return file
}

func invalidUTF8(text []byte) int {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 || c == 0 {
			return i
		}
		i += n
	}
	return -1
}

// tooDeep returns the line where text opens far more than any configuration
// does, or 0. The parser's time and stack grow with the depth, and it has no
// bound of its own. Brackets in strings and comments count too, which is why the
// bounds are so wide.
func tooDeep(text []byte) int {
	line, open, markers := 1, 0, 0
	for i, c := range text {
		switch c {
		case '\n':
			line, markers = line+1, 0
		case '[', '{':
			open++
		case ']', '}':
			open = max(0, open-1)
		case '-', '?', '&', '!':
			if i+1 < len(text) && (i == 0 || text[i-1] == ' ' || text[i-1] == '\n') {
				markers++
			}
		}
		if open > maxOpen || markers > maxMarkers {
			return line
		}
	}
	return 0
}

// parseBytes calls the parser, whose panics on malformed input are errors to us.
func parseBytes(text []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("not well-formed YAML (%v)", p)
		}
	}()
	return parseInPieces(string(text), pieceKeys)
}

// syntaxProblem says where the parser gave up.
func syntaxProblem(source string, err error) Problem {
	p := Problem{At: Position{source, 1, 1}, Text: "not well-formed YAML: " + err.Error()}
	var e yaml.Error
	if errors.As(err, &e) {
		p.Text = "not well-formed YAML: " + e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			p.At.Line, p.At.Column = max(1, t.Position.Line), max(1, t.Position.Column)
		}
	}
	return p
}

// converter turns the parser's tree into ours.
type converter struct {
	source  string
	r       *Report
	anchors map[string]*Node
	depth   int
	copied  int  // values that aliases have brought in
	refused bool // too much of them
}

// file converts the only document of a file.
func (c *converter) file(f *ast.File) *Node {
	var root *Node
	documents := 0
	for _, doc := range f.Docs {
		if doc.Body == nil {
			continue
		}
		if documents++; documents > 1 {
			c.problem(doc.Body, "", "want one document, got another after ---")
			return root
		}
		root = c.node(doc.Body, "")
	}
	return root
}

// at returns where a parsed node begins. The parser gives a map the place of its
// first colon, so maps take the place of their first key.
func (c *converter) at(n ast.Node) Position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return c.at(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return c.at(n.Key)
	}
	return c.position(n.GetToken())
}

func (c *converter) position(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{c.source, 1, 1}
	}
	return Position{c.source, max(1, t.Position.Line), max(1, t.Position.Column)}
}

func (c *converter) problem(n ast.Node, path, text string) {
	c.r.add(Problem{At: c.at(n), Path: path, Text: text})
}

// node converts one value. It never returns nil.
func (c *converter) node(n ast.Node, path string) *Node {
	if c.depth++; c.depth > maxDepth {
		c.depth--
		c.problem(n, path, fmt.Sprintf("want at most %d levels of lists and maps", maxDepth))
		return c.unknown(n, path)
	}
	defer func() { c.depth-- }()
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(n, n.Values, path)
	case *ast.MappingValueNode:
		return c.mapping(n, []*ast.MappingValueNode{n}, path)
	case *ast.SequenceNode:
		return c.sequence(n, path)
	case *ast.AnchorNode:
		return c.anchor(n, path)
	case *ast.AliasNode:
		return c.alias(n, path)
	case *ast.TagNode:
		c.problem(n, path, "want a plain value, got one with a YAML tag")
		return c.unknown(n, path)
	case *ast.NullNode:
		return &Node{Kind: Null, At: c.at(n), Path: path}
	case *ast.LiteralNode:
		return &Node{Kind: Scalar, At: c.at(n), Path: path, Text: n.Value.Value, Quoted: true, width: 1}
	case ast.ScalarNode:
		return c.scalar(n, path)
	default:
		c.problem(n, path, "want a value, got "+strings.ToLower(n.Type().YAMLName()))
		return c.unknown(n, path)
	}
}

// unknown stands for a value that was reported, so that nothing else is.
func (c *converter) unknown(n ast.Node, path string) *Node {
	return &Node{Kind: Null, At: c.at(n), Path: path, Unset: true}
}

// scalar converts a plain or quoted scalar.
func (c *converter) scalar(n ast.ScalarNode, path string) *Node {
	t := n.GetToken()
	out := &Node{Kind: Scalar, At: c.at(n), Path: path}
	if t == nil {
		return out
	}
	written, _, _ := strings.Cut(strings.TrimSpace(t.Origin), "\n")
	out.width = utf8.RuneCountInString(strings.TrimRight(written, " \r"))
	out.Text = t.Value
	out.Quoted = isQuoted(t)
	return out
}

func (c *converter) sequence(n *ast.SequenceNode, path string) *Node {
	out := &Node{Kind: List, At: c.at(n), Path: path, Items: make([]*Node, 0, len(n.Values))}
	for i, value := range n.Values {
		at := joinIndex(path, i)
		item := c.colonScalar(value, at)
		if item == nil {
			item = c.node(value, at)
		}
		out.Items = append(out.Items, item)
	}
	return out
}

// colonScalar undoes a mistake of the parser: within braces it takes the item of
// [content:read] for a map, though a colon separates only with a space behind it
// (YAML 1.2 §7.3.3). It returns nil for what is a map.
func (c *converter) colonScalar(n ast.Node, path string) *Node {
	value, ok := n.(*ast.MappingValueNode)
	if m, isMap := n.(*ast.MappingNode); isMap && !m.IsFlowStyle && len(m.Values) == 1 {
		value, ok = m.Values[0], true
	}
	if !ok || !touches(value) {
		return nil
	}
	scalar, ok := value.Value.(ast.ScalarNode)
	key := value.Key.GetToken()
	if !ok || key == nil || scalar.GetToken() == nil || isQuoted(scalar.GetToken()) {
		return nil
	}
	out := c.scalar(scalar, path)
	out.At = c.position(key)
	out.Text = key.Value + ":" + out.Text
	out.width += utf8.RuneCountInString(key.Value) + 1
	return out
}

// touches says that the colon of a plain key is directly followed by its value.
func touches(n *ast.MappingValueNode) bool {
	key, colon, value := n.Key.GetToken(), n.Start, n.Value.GetToken()
	if key == nil || colon == nil || value == nil || isQuoted(key) || n.Value.Type() == ast.NullType {
		return false
	}
	return colon.Position.Line == value.Position.Line && colon.Position.Column+1 == value.Position.Column
}

func isQuoted(t *token.Token) bool {
	return t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
}

// mapping converts a map and lays it over what << merges into it.
func (c *converter) mapping(n ast.Node, values []*ast.MappingValueNode, path string) *Node {
	own := &Node{Kind: Map, At: c.at(n), Path: path, Entries: make([]Entry, 0, len(values))}
	var merged *Node
	for _, value := range values {
		if _, ok := value.Key.(*ast.MergeKeyNode); ok {
			merged = c.merge(merged, c.node(value.Value, path))
			continue
		}
		key, ok := c.keyOf(value.Key, path)
		if !ok {
			continue
		}
		at := c.at(value.Key)
		if touches(value) {
			c.r.add(Problem{At: at, Path: join(path, key), Text: "want a space after the colon, or quotes around all of it"})
		}
		child := c.node(value.Value, join(path, key))
		if i := own.lookup(key); i >= 0 {
			c.r.add(Problem{At: at, Path: join(path, key), Text: "duplicate key; it stands at " + own.Entries[i].At.String() + " already"})
			c.r.Mask(child) // what it may hold is not decoded
			continue
		}
		own.Append(Entry{Key: key, At: at, Path: join(path, key), Value: child})
	}
	if merged == nil {
		return own
	}
	out := overlay(merged, own)
	out.At, out.Path = own.At, path
	return out
}

// overlay is a merge of YAML: keys of over win whole, none are merged.
func overlay(base, over *Node) *Node {
	out := &Node{Kind: Map}
	for _, e := range over.Entries {
		out.Append(e)
	}
	for _, e := range base.Entries {
		if out.lookup(e.Key) < 0 {
			out.Append(e)
		}
	}
	return out
}

// merge adds what one << names, a map or a list of maps; earlier ones win.
func (c *converter) merge(merged, value *Node) *Node {
	parts := []*Node{value}
	if value.Kind == List {
		parts = value.Items
	}
	if merged == nil {
		merged = &Node{Kind: Map}
	}
	for _, part := range parts {
		if part.Unset {
			continue
		}
		if part.Kind != Map {
			c.r.AddNode(part, "want a map to merge, got "+part.Kind.String(), "")
			continue
		}
		merged = overlay(part, merged)
	}
	return merged
}

// keyOf returns the text of a key.
func (c *converter) keyOf(key ast.MapKeyNode, path string) (string, bool) {
	switch k := key.(type) {
	case *ast.MappingKeyNode, *ast.AliasNode, *ast.AnchorNode, *ast.TagNode, *ast.NullNode, *ast.LiteralNode:
		c.problem(key, path, "want a plain key")
		return "", false
	case ast.ScalarNode:
		if t := k.GetToken(); t != nil && t.Value != "" {
			return t.Value, true
		}
	}
	c.problem(key, path, "want a key, got an empty one")
	return "", false
}

// anchor converts a value and remembers it under its name. It does so after the
// conversion, so that a value can't hold itself.
func (c *converter) anchor(n *ast.AnchorNode, path string) *Node {
	out := c.node(n.Value, path)
	if n.Name != nil && n.Name.GetToken() != nil {
		c.anchors[n.Name.GetToken().Value] = out
	}
	return out
}

// alias returns the value of an anchor; it keeps its own place and path.
func (c *converter) alias(n *ast.AliasNode, path string) *Node {
	name := ""
	if n.Value != nil && n.Value.GetToken() != nil {
		name = n.Value.GetToken().Value
	}
	target := c.anchors[name]
	if target == nil {
		known := make([]string, 0, len(c.anchors))
		for anchor := range c.anchors {
			known = append(known, anchor)
		}
		c.r.add(Problem{At: c.at(n), Path: path, Text: fmt.Sprintf("want the name of an anchor that stands before, got %q", cut(name)), Suggest: Nearest(name, known)})
		return c.unknown(n, path)
	}
	if c.copied += count(target, maxCopied-c.copied+1); c.copied > maxCopied {
		if !c.refused {
			c.problem(n, path, fmt.Sprintf("want aliases that stand for at most %d values in all", maxCopied))
		}
		c.refused = true
		return c.unknown(n, path)
	}
	return target
}

// count returns how many values stand in n, and stops at limit.
func count(n *Node, limit int) int {
	total := 1
	for _, item := range n.Items {
		if total >= limit {
			return total
		}
		total += count(item, limit-total)
	}
	for _, e := range n.Entries {
		if total >= limit {
			return total
		}
		total += count(e.Value, limit-total)
	}
	return total
}
