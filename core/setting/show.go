package setting

import (
	"reflect"
	"regexp"
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
	s := shower{o: o, fields: make(map[reflect.Type][]field)}
	if t.Kind() == reflect.Pointer && t != typeNode {
		t = t.Elem()
	}
	s.body(n, t, &field{}, 0)
	return s.b.String()
}

type shower struct {
	o      ShowOptions
	b      strings.Builder
	fields map[reflect.Type][]field // of the types met, shared with nested showers
	sparse bool                     // print no defaults
}

// nested returns a shower for what stands below a key.
func (s *shower) nested() shower {
	return shower{o: s.o, fields: s.fields, sparse: s.sparse}
}

// line prints one line; from is what its value came from, nil for a default.
func (s *shower) line(depth int, text string, from *Node) {
	s.b.WriteString(strings.Repeat("  ", depth) + text)
	if s.o.Origin {
		if from == nil || from.At.IsZero() {
			s.b.WriteString("  # default")
		} else {
			s.b.WriteString("  # " + from.At.Source)
			if from.At.Line > 0 { // else nobody wrote it
				s.b.WriteString(":" + strconv.Itoa(from.At.Line))
			}
		}
	}
	s.b.WriteByte('\n')
}

// open prints the line of a key whose value stands below it.
func (s *shower) open(depth int, key string) {
	s.b.WriteString(strings.Repeat("  ", depth) + key + ":\n")
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
	case f.fallback != "" && f.typ.Kind() == reflect.Slice:
		s.line(depth, f.name+": ["+strings.ReplaceAll(f.fallback, ",", ", ")+"]", nil)
	case f.fallback != "":
		text := f.fallback
		if f.typ.Kind() == reflect.String {
			text = quoteText(text, notString.MatchString(text)) // "1.2" would be read as a number
		}
		s.line(depth, f.name+": "+text, nil)
	case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
		inner := s.nested()
		inner.body(nil, f.typ, &field{}, depth+1)
		if inner.b.Len() > 0 {
			s.open(depth, f.name)
			s.b.WriteString(inner.b.String())
		}
	}
}

// value prints an entry whose value has type t.
func (s *shower) value(e Entry, t reflect.Type, f *field, depth int) {
	key, n := e.Key, e.Value
	if t.Kind() == reflect.Pointer && t != typeNode {
		t = t.Elem()
	}
	switch {
	case n.Kind == Map:
		inner := s.nested()
		inner.sparse = inner.sparse || f.sparse
		inner.body(n, t, f, depth+1)
		if inner.b.Len() == 0 {
			s.line(depth, key+": {}", n)
			return
		}
		s.open(depth, key)
		s.b.WriteString(inner.b.String())
	case n.Kind == List && allScalars(n):
		s.line(depth, key+": "+s.flow(n, t), n)
	case n.Kind == List:
		s.open(depth, key)
		s.items(n, t, depth+1)
	default:
		s.line(depth, key+": "+s.scalar(n, t), n)
	}
}

// items prints a list that holds maps or lists, one item after another.
func (s *shower) items(n *Node, t reflect.Type, depth int) {
	elem := typeNode
	if t.Kind() == reflect.Slice {
		elem = t.Elem()
	}
	for _, item := range n.Items {
		inner := s.nested()
		switch item.Kind {
		case Map:
			if e := elem; e.Kind() == reflect.Pointer && e != typeNode {
				inner.body(item, e.Elem(), &field{}, depth+1)
			} else {
				inner.body(item, e, &field{}, depth+1)
			}
		case List:
			inner.items(item, elem, depth+1)
		default:
			s.line(depth, "- "+s.scalar(item, elem), item)
			continue
		}
		if text := inner.b.String(); text == "" {
			s.line(depth, "- "+map[Kind]string{Map: "{}", List: "[]"}[item.Kind], item)
		} else {
			indent := strings.Repeat("  ", depth)
			s.b.WriteString(indent + "- " + strings.TrimPrefix(text, indent+"  "))
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

// plainSafe finds texts that mean themselves without quotes, in flow style too.
var plainSafe = regexp.MustCompile(`^[A-Za-z0-9/._][A-Za-z0-9/._%+~-]*(?::[A-Za-z0-9/._%+~-]+)*$`)

// quoteText returns a scalar as it may be written; texts that were in quotes
// stay so, for they may look like something else.
func quoteText(s string, quoted bool) string {
	if !quoted && (plainSafe.MatchString(s) || isInteger(s)) {
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
