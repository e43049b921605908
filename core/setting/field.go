package setting

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// NodeDecoder is a type that reads its own node, for values of several forms.
type NodeDecoder interface {
	// DecodeSetting reads n, which is never nil, and reports what is wrong.
	DecodeSetting(n *Node, r *Report)
}

// Disabler is a struct for which plain `off` means something.
type Disabler interface {
	// Disable is called after the defaults are filled in.
	Disable()
}

// Described is a type that describes its own form.
type Described interface {
	// JSONSchema returns a fragment of JSON Schema 2020-12. It is called on a zero value.
	JSONSchema() map[string]any
}

// Types that the decoder knows.
var (
	typeNode        = reflect.TypeFor[*Node]()
	typePosition    = reflect.TypeFor[Position]()
	typeSecret      = reflect.TypeFor[Secret]()
	typeContent     = reflect.TypeFor[Content]()
	typeSize        = reflect.TypeFor[Size]()
	typeText        = reflect.TypeFor[encoding.TextUnmarshaler]()
	typeNodeDecoder = reflect.TypeFor[NodeDecoder]()
	typeDisabler    = reflect.TypeFor[Disabler]()
	typeDescribed   = reflect.TypeFor[Described]()
)

// role says what a struct field is to the decoder.
type role uint8

const (
	roleKey   role = iota // holds the value of a key
	roleName              // receives the name under which the struct stands
	rolePlace             // receives the position
	roleNode              // receives the node
)

// field is one field of a struct with its tags.
type field struct {
	role      role
	index     []int
	name      string
	typ       reflect.Type
	named     bool
	anyName   bool
	off       bool
	unlimited bool
	empty     bool
	sparse    bool
	fallback  string // the default
	min, max  string
	enum      []string
	doc       string
}

// fieldsOf reads the tags of a struct, inlined structs included. A bad tag is a
// mistake of the program, so it panics; every use of a type meets it.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("yaml")
		name, option, _ := strings.Cut(tag, ",")
		switch {
		case name == "-" || !tagged && !f.IsExported():
		case option == "inline":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
		case !tagged || !f.IsExported() || name == "":
			panic(fmt.Sprintf("setting: field %s.%s has no usable yaml tag", t, f.Name))
		default:
			out = append(out, newField(t, f, name, option == "named"))
		}
	}
	return out
}

// roles are the tags of fields that hold no key, with the types they need.
func roleOf(name string) (role, reflect.Type) {
	switch name {
	case "@key":
		return roleName, reflect.TypeFor[string]()
	case "@at":
		return rolePlace, typePosition
	case "@node":
		return roleNode, typeNode
	default:
		return roleKey, nil
	}
}

func newField(t reflect.Type, f reflect.StructField, name string, named bool) field {
	role, want := roleOf(name)
	if want != nil && f.Type != want {
		panic(fmt.Sprintf("setting: field %s.%s has tag %s, so its type must be %s", t, f.Name, name, want))
	}
	if named && (f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() != reflect.Pointer || f.Type.Elem().Elem().Kind() != reflect.Struct) {
		panic(fmt.Sprintf("setting: named field %s.%s must be a slice of pointers to structs", t, f.Name))
	}
	out := field{
		role: role, index: []int{f.Index[0]}, name: name, typ: f.Type, named: named, anyName: f.Tag.Get("names") == "any",
		off: f.Tag.Get("off") == "true", unlimited: f.Tag.Get("unlimited") == "true", empty: f.Tag.Get("empty") == "true", sparse: f.Tag.Get("sparse") == "true",
		fallback: f.Tag.Get("default"), min: f.Tag.Get("min"), max: f.Tag.Get("max"), doc: f.Tag.Get("doc"),
	}
	if e := f.Tag.Get("enum"); e != "" {
		out.enum = strings.Split(e, "|")
	}
	return out
}

// readsText says that values of t read themselves from one scalar.
func readsText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(typeText) }

// isScalar says that values of t are written as one scalar.
func isScalar(t reflect.Type) bool {
	if readsText(t) {
		return true
	}
	if reflect.PointerTo(t).Implements(typeNodeDecoder) {
		return false
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Pointer, reflect.Array:
		return false
	default:
		return true
	}
}

// bounds names the range of a field as messages do, or returns "".
func (f *field) bounds() string {
	switch {
	case f.min != "" && f.max != "":
		return f.min + " to " + f.max
	case f.min != "":
		return "at least " + f.min
	case f.max != "":
		return "at most " + f.max
	default:
		return ""
	}
}

// twin is the key of the file that may hold a secret or a content.
func (f *field) twin() string { return f.name + "_file" }
