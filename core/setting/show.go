package setting

import (
	"reflect"
	"strconv"
	"strings"
)

// ShowOptions say how Show prints a tree.
type ShowOptions struct {
	// Origin adds a comment to each value: where it was written, or "default".
	Origin bool
	// IsSecret says which values to mask, beside fields of type Secret and
	// expanded scalars; Report.IsSecret is one. Nil means none.
	IsSecret func(Position) bool
}

// Show prints n as YAML, with the defaults that Decode would fill in for type t.
// Secrets and expanded scalars read "***". What is not masked can be parsed and
// decoded again to the same values.
func Show(n *Node, t reflect.Type, o ShowOptions) string {
	var b strings.Builder
	ShowTo(n, t, o, func(text []byte) { b.Write(text) })
	return b.String()
}

// ShowTo is Show that hands the text on in parts, which are borrowed.
func ShowTo(n *Node, t reflect.Type, o ShowOptions, to func([]byte)) {
	s := shower{o: o, to: to, fields: make(map[reflect.Type][]field), fallbacks: make(map[*field]string)}
	if t.Kind() == reflect.Pointer && t != typeNode {
		t = t.Elem()
	}
	s.body(n, t, &field{}, 0)
	to(s.b)
}

// shownPart is how much text a shower collects before it is handed on: all of a
// configuration with 10,000 routes would be 6 MB.
const shownPart = 32 << 10

type shower struct {
	o         ShowOptions
	to        func([]byte)
	b         []byte
	lines     int                      // printed so far
	lists     int                      // around: what they have printed may change
	fields    map[reflect.Type][]field // of the types met
	fallbacks map[*field]string        // the defaults of their fields, as printed
	sparse    bool                     // print no defaults
}

// indent begins a line.
func (s *shower) indent(depth int) {
	for range depth {
		s.b = append(s.b, "  "...)
	}
}

// line prints one line; from is what its value came from, nil for a default.
func (s *shower) line(depth int, key, text string, from *Node) {
	s.indent(depth)
	s.b = append(append(s.b, key...), text...)
	if s.o.Origin {
		if from == nil || from.At.IsZero() {
			s.b = append(s.b, "  # default"...)
		} else {
			s.b = append(append(s.b, "  # "...), from.At.Source...)
			if from.At.Line > 0 { // else nobody wrote it
				s.b = strconv.AppendInt(append(s.b, ':'), int64(from.At.Line), 10)
			}
		}
	}
	s.b = append(s.b, '\n')
	s.lines++
	if s.lists == 0 && len(s.b) > shownPart { // no line is taken back any more
		s.to(s.b)
		s.b = s.b[:0]
	}
}

// open prints the line of a key whose value body prints below it, and says whether
// there was any: if not, the line is taken back.
func (s *shower) open(depth int, key string, body func()) bool {
	before, lines := len(s.b), s.lines
	s.indent(depth)
	s.b = append(append(s.b, key...), ":\n"...)
	body()
	if s.lines == lines {
		s.b = s.b[:before]
		return false
	}
	return true
}

// body prints the keys of a map, each on lines of its own.
func (s *shower) body(n *Node, t reflect.Type, f *field, depth int) {
	switch {
	case f.named:
		s.entries(n, t.Elem().Elem(), depth)
	case t.Kind() == reflect.Map:
		s.entries(n, t.Elem(), depth)
	case t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(typeNodeDecoder):
		fields, ok := s.fields[t]
		if !ok {
			fields = fieldsOf(t)
			s.fields[t] = fields
		}
		for i := range fields {
			if fields[i].role == roleKey {
				s.key(n, &fields[i], depth)
			}
		}
	default:
		s.entries(n, typeNode, depth)
	}
}

// entries prints the keys of a map whose values all have type elem.
func (s *shower) entries(n *Node, elem reflect.Type, depth int) {
	if n == nil {
		return
	}
	for _, e := range n.Entries {
		s.value(Entry{Key: quoteKey(e.Key), Value: e.Value}, elem, &field{}, depth)
	}
}

// key prints one key of a struct, or its default if it was not written.
func (s *shower) key(n *Node, f *field, depth int) {
	child := n.Get(f.name)
	if twinned(f.typ) {
		if file := n.Get(f.twin()); file != nil && !file.IsOff() {
			s.value(Entry{Key: f.twin(), Value: file}, reflect.TypeFor[string](), &field{}, depth)
			return
		}
	}
	if child == nil || child.Removes && !s.offIsValue(f) && (f.fallback != "" || f.typ.Kind() == reflect.Struct) {
		s.fallback(f, depth)
		return
	}
	s.value(Entry{Key: f.name, Value: child}, f.typ, f, depth)
}

// offIsValue says that off is a value of the field, not its absence.
func (s *shower) offIsValue(f *field) bool {
	return takesOff(f.typ, f) || f.typ.Kind() == reflect.Bool
}

// fallback prints the default of a field, if it has one.
func (s *shower) fallback(f *field, depth int) {
	switch {
	case s.sparse || f.sparse:
	case f.fallback != "":
		text, ok := s.fallbacks[f]
		if !ok {
			text = f.name + ": " + f.shownFallback()
			s.fallbacks[f] = text
		}
		s.line(depth, "", text, nil)
	case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
		s.open(depth, f.name, func() { s.body(nil, f.typ, &field{}, depth+1) })
	}
}

// shownFallback is the default of a field as it may be written.
func (f *field) shownFallback() string {
	switch f.typ.Kind() {
	case reflect.Slice:
		return "[" + strings.ReplaceAll(f.fallback, ",", ", ") + "]"
	case reflect.String:
		return quoteText(f.fallback, notString.MatchString(f.fallback)) // "1.2" would be read as a number
	}
	return f.fallback
}

// value prints an entry whose value has type t.
func (s *shower) value(e Entry, t reflect.Type, f *field, depth int) {
	key, n := e.Key, e.Value
	if t.Kind() == reflect.Pointer && t != typeNode {
		t = t.Elem()
	}
	switch {
	case n.Kind == Map:
		sparse := s.sparse
		s.sparse = sparse || f.sparse
		if !s.open(depth, key, func() { s.body(n, t, f, depth+1) }) {
			s.line(depth, key, ": {}", n)
		}
		s.sparse = sparse
	case n.Kind == List && allScalars(n):
		s.line(depth, key, ": "+s.flow(n, t), n)
	case n.Kind == List:
		s.open(depth, key, func() { s.items(n, t, depth+1) })
	default:
		s.line(depth, key, ": "+s.scalar(n, t), n)
	}
}

// items prints a list that holds maps or lists, one item after another.
func (s *shower) items(n *Node, t reflect.Type, depth int) {
	elem := typeNode
	if t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	s.lists++
	defer func() { s.lists-- }()
	for _, item := range n.Items {
		begun := len(s.b)
		switch item.Kind {
		case Map:
			inner := elem
			if inner.Kind() == reflect.Pointer && inner != typeNode {
				inner = inner.Elem()
			}
			s.body(item, inner, &field{}, depth+1)
		case List:
			s.items(item, elem, depth+1)
		default:
			s.line(depth, "- ", s.scalar(item, elem), item)
			continue
		}
		if len(s.b) == begun {
			s.line(depth, "- ", map[Kind]string{Map: "{}", List: "[]"}[item.Kind], item)
		} else {
			s.b[begun+2*depth] = '-' // in the first line's indentation
		}
	}
}

func allScalars(n *Node) bool {
	for _, item := range n.Items {
		if item.Kind != Scalar {
			return false
		}
	}
	return true
}

// flow prints a list of scalars on one line.
func (s *shower) flow(n *Node, t reflect.Type) string {
	elem := typeNode
	if t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	words := make([]string, len(n.Items))
	for i, item := range n.Items {
		words[i] = s.scalar(item, elem)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// scalar prints one scalar, masked if it must be.
func (s *shower) scalar(n *Node, t reflect.Type) string {
	switch {
	case n.Kind != Scalar:
		return "null"
	case n.Expanded || t == typeSecret || s.o.IsSecret != nil && s.o.IsSecret(n.At):
		return strconv.Quote(Masked)
	default:
		return quoteText(strings.ReplaceAll(n.Text, "${", "$${"), n.Quoted)
	}
}

// plainSafe finds texts that mean themselves without quotes, in flow style too: a
// colon ends a key unless something follows it at once.
func plainSafe(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '.', c == '_':
		case (c == '%' || c == '+' || c == '~' || c == '-') && i > 0:
		case c == ':' && i > 0 && s[i-1] != ':' && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}

// quoteText returns a scalar as it may be written; texts that were in quotes
// stay so, for they may look like something else.
func quoteText(s string, quoted bool) string {
	if !quoted && (plainSafe(s) || isInteger(s)) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c >= 0x7f && c < 0xa0:
			b.WriteString(`\x` + strconv.FormatInt(0x100+int64(c), 16)[1:])
		case c == '\u2028' || c == '\u2029' || c == '\ufeff':
			b.WriteString(`\u` + strconv.FormatInt(int64(c), 16))
		default:
			b.WriteRune(c)
		}
	}
	return b.String() + `"`
}

// quoteKey is quoteText for keys; null would be none.
func quoteKey(s string) string {
	return quoteText(s, notString.MatchString(s) || strings.EqualFold(s, "null"))
}
