package setting

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Decode reads n into the value that into points to, by the tags described in
// the package's documentation. What is wrong is added to r, all of it: a field
// that could not be read keeps its zero value. A nil n sets the defaults.
//
// Decode panics if into is not a pointer, or its type has bad tags.
func Decode(n *Node, into any, r *Report) {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic("setting: Decode needs a pointer")
	}
	d := decoder{r: r, fields: make(map[reflect.Type][]field), fallbacks: make(map[fallbackOf]reflect.Value)}
	if n == nil {
		d.fallback(v.Elem(), &field{})
		return
	}
	d.value(n, v.Elem(), &field{}, place{at: n.At})
}

// decoder is one call of Decode.
type decoder struct {
	r         *Report
	fields    map[reflect.Type][]field
	fallbacks map[fallbackOf]reflect.Value
}

// place is where a value stands: its key, if it has one.
type place struct {
	key string
	at  Position
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	out, ok := d.fields[t]
	if !ok {
		out = fieldsOf(t)
		d.fields[t] = out
	}
	return out
}

// value reads n into v.
func (d *decoder) value(n *Node, v reflect.Value, f *field, p place) {
	switch {
	case v.Type() == typeNode:
		v.Set(reflect.ValueOf(n))
	case n.Unset:
		d.fallback(v, f)
		if v.Kind() == reflect.Struct && !isScalar(v.Type()) && !v.Addr().Type().Implements(typeNodeDecoder) {
			d.roles(n, v, p)
		}
	case n.IsOff() && d.off(n, v, f):
	case n.Kind == Scalar && n.Quoted && n.Text == "off" && !n.Expanded && takesOff(v.Type(), f):
		d.fallback(v, f)
		d.r.AddNode(n, "want off without quotes, got the string \"off\"", "")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), f, p)
	case v.Addr().Type().Implements(typeNodeDecoder):
		v.Addr().Interface().(NodeDecoder).DecodeSetting(n, d.r)
	case isScalar(v.Type()):
		d.scalar(n, v, f)
	case f.named:
		d.named(n, v, f)
	case v.Kind() == reflect.Slice:
		d.list(n, v, f)
	case v.Kind() == reflect.Map:
		d.entries(n, v, f)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, p)
	default:
		panic(fmt.Sprintf("setting: a %s can't be decoded", v.Type()))
	}
}

// off handles the plain word off where it does not stand for a boolean, and says
// whether it did: where nothing was beneath, and nothing can be switched off, the
// word is read like any other and refused.
func (d *decoder) off(n *Node, v reflect.Value, f *field) bool {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Bool {
		return false
	}
	_, disables := reflect.New(t).Interface().(Disabler)
	switch {
	case f.off:
		v.SetZero()
	case disables:
		into := reflect.New(t)
		d.fallback(into.Elem(), &field{})
		into.Interface().(Disabler).Disable()
		if v.Kind() == reflect.Pointer {
			v.Set(into)
		} else {
			v.Set(into.Elem())
		}
	case v.Kind() == reflect.Pointer:
		v.SetZero()
	case n.Removes:
		d.fallback(v, f)
	default:
		return false
	}
	return true
}

// takesOff says that off means something for a field, beside taking its key out.
func takesOff(t reflect.Type, f *field) bool {
	if t.Kind() == reflect.Pointer {
		return true
	}
	return f.off || reflect.PointerTo(t).Implements(typeDisabler)
}

// fallbackOf is what a default is told by.
type fallbackOf struct {
	t    reflect.Type
	text string // as tagged; of a struct, ""
}

// fallback sets v to the default of its field, and the fields of a struct to theirs.
// Each is read once: what it holds is shared, and nobody's to change.
func (d *decoder) fallback(v reflect.Value, f *field) {
	whole := f.fallback == "" && v.Kind() == reflect.Struct && !readsText(v.Type()) && !v.Addr().Type().Implements(typeNodeDecoder)
	if f.fallback == "" && !whole {
		v.SetZero()
		return
	}
	of := fallbackOf{v.Type(), f.fallback}
	known, ok := d.fallbacks[of]
	if !ok {
		known = reflect.New(v.Type()).Elem()
		if whole {
			d.fallbackFields(known)
		} else {
			d.readFallback(known, f)
		}
		d.fallbacks[of] = known
	}
	v.Set(known)
}

// readFallback reads the default of a field from its tag.
func (d *decoder) readFallback(v reflect.Value, f *field) {
	n := &Node{Kind: Scalar, Text: f.fallback, Expanded: true}
	loose := *f
	loose.min, loose.max, loose.enum, loose.fallback = "", "", nil, ""
	check := decoder{r: &Report{}, fields: d.fields, fallbacks: d.fallbacks}
	check.value(n, v, &loose, place{})
	if err := check.r.Err(); err != nil {
		panic(fmt.Sprintf("setting: bad default %q of key %s: %v", f.fallback, f.name, err))
	}
}

// fallbackFields sets the fields of a struct to their defaults.
func (d *decoder) fallbackFields(v reflect.Value) {
	fields := d.fieldsOf(v.Type())
	for i := range fields {
		if f := &fields[i]; f.role == roleKey {
			d.fallback(v.FieldByIndex(f.index), f)
		}
	}
}

// structure reads a map into a struct.
func (d *decoder) structure(n *Node, v reflect.Value, p place) {
	fields := d.fieldsOf(v.Type())
	if n.Kind != Map {
		d.fallback(v, &field{})
		d.roles(n, v, p)
		if n.Kind == Scalar && !n.IsOff() && slices.ContainsFunc(fields, func(f field) bool { return f.typ == typeSecret }) {
			d.r.markSecret(n) // most likely the secret itself, one level too high
		}
		text := "want a map, got " + n.Describe()
		if n.IsOff() {
			text += ": it can't be switched off"
		}
		d.r.AddNode(n, text, "")
		return
	}
	d.roles(n, v, p)
	for i := range fields {
		if f := &fields[i]; f.role == roleKey {
			d.key(n, v.FieldByIndex(f.index), f)
		}
	}
	d.unknown(n, fields)
}

// roles fills in the fields of a struct that hold no key.
func (d *decoder) roles(n *Node, v reflect.Value, p place) {
	fields := d.fieldsOf(v.Type())
	for i := range fields {
		switch f := &fields[i]; f.role {
		case roleName:
			v.FieldByIndex(f.index).SetString(p.key)
		case rolePlace:
			v.FieldByIndex(f.index).Set(reflect.ValueOf(p.at))
		case roleNode:
			v.FieldByIndex(f.index).Set(reflect.ValueOf(n))
		}
	}
}

// key reads the value of one key of n, or takes its default.
func (d *decoder) key(n *Node, v reflect.Value, f *field) {
	if twinned(f.typ) && n.Get(f.twin()) != nil && !n.Get(f.twin()).IsOff() {
		d.file(n, v, f)
		return
	}
	i := n.lookup(f.name)
	if i < 0 {
		d.fallback(v, f)
		return
	}
	e := &n.Entries[i]
	d.value(e.Value, v, f, place{key: e.Key, at: e.At})
}

// unknown reports the keys of n that are no field.
func (d *decoder) unknown(n *Node, fields []field) {
	var known []string
	for _, e := range n.Entries {
		if isKnown(e.Key, fields) {
			continue
		}
		if known == nil {
			for _, f := range fields {
				if f.role == roleKey {
					known = append(known, f.name)
				}
			}
		}
		d.r.Mask(e.Value)
		text := fmt.Sprintf("unknown key %q", cut(e.Key))
		near := Nearest(e.Key, known)
		if near == "" {
			text += "; known here: " + strings.Join(known, ", ")
		}
		d.r.add(Problem{At: e.At, Path: e.Path, Text: text, Suggest: near})
	}
}

func isKnown(key string, fields []field) bool {
	return slices.ContainsFunc(fields, func(f field) bool {
		return f.role == roleKey && (f.name == key || twinned(f.typ) && f.twin() == key)
	})
}

// named reads a map into a slice of *struct, sorted by name.
func (d *decoder) named(n *Node, v reflect.Value, f *field) {
	if n.Kind != Map {
		d.r.AddNode(n, "want a map of names, got "+n.Describe(), "")
		return
	}
	entries := slices.Clone(n.Entries)
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	out := reflect.MakeSlice(v.Type(), 0, len(entries))
	for _, e := range entries {
		if e.Value.IsOff() {
			continue
		}
		if !f.anyName && !validName(e.Key) {
			d.r.add(Problem{At: e.At, Path: e.Path, Text: fmt.Sprintf("want a name of at most 64 letters, digits, dots, hyphens and underscores, got %q", cut(e.Key))})
		}
		into := reflect.New(v.Type().Elem().Elem())
		d.value(e.Value, into.Elem(), &field{}, place{key: e.Key, at: e.At})
		out = reflect.Append(out, into)
	}
	v.Set(out)
}

// validName says whether s may name a route, a service and the like: names stand
// in metric labels, logs and paths of messages.
func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case (c == '.' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// entries reads a map into a Go map.
func (d *decoder) entries(n *Node, v reflect.Value, f *field) {
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("setting: keys of %s must be strings", v.Type()))
	}
	if n.Kind != Map {
		d.r.AddNode(n, "want a map, got "+n.Describe(), "")
		return
	}
	elem := v.Type().Elem()
	removable := elem == typeNode || elem.Kind() == reflect.Pointer
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Entries)))
	for _, e := range n.Entries {
		if e.Value.IsOff() && (removable || e.Value.Removes) {
			continue
		}
		into := reflect.New(elem).Elem()
		d.value(e.Value, present(into), &field{enum: f.enum, min: f.min, max: f.max, empty: f.empty}, place{key: e.Key, at: e.At})
		v.SetMapIndex(reflect.ValueOf(e.Key).Convert(v.Type().Key()), into)
	}
}

// present returns what a pointer in a list or map is to point to: a value that is
// listed is there, even if nothing of it could be read.
func present(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer || v.Type() == typeNode {
		return v
	}
	v.Set(reflect.New(v.Type().Elem()))
	return v.Elem()
}

// list reads a list, or a list of scalars from one comma-separated string.
func (d *decoder) list(n *Node, v reflect.Value, f *field) {
	elem := v.Type().Elem()
	scalars := isScalar(elem)
	if n.Kind != List && (!scalars || n.Kind != Scalar || n.IsOff()) {
		want := "want a list, got "
		if scalars {
			want = "want a list or a comma-separated string, got "
		}
		d.r.AddNode(n, want+n.Describe(), "")
		return
	}
	items := n.Values()
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		d.value(item, present(out.Index(i)), &field{enum: f.enum, min: f.min, max: f.max, unlimited: f.unlimited}, place{at: item.At})
	}
	v.Set(out)
}

// unmarshalText lets a type read its own scalar.
func unmarshalText(v reflect.Value, text string) error {
	return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
}
