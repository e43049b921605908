package setting

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// SchemaDialect is the value of $schema in what Schema returns.
const SchemaDialect = "https://json-schema.org/draft/2020-12/schema"

// Schema describes values of type t, as Decode reads them, as a whole JSON Schema
// 2020-12. It can be marshalled to JSON. It panics where Decode would.
func Schema(t reflect.Type) map[string]any {
	out := schemaOf(t, &field{})
	out["$schema"] = SchemaDialect
	out["$defs"] = map[string]any{
		"off": map[string]any{
			"description": "Takes the key out, or switches it off.",
			"anyOf":       []any{map[string]any{"enum": []any{"off", false}}, reference("expression")},
		},
		"expression": map[string]any{"description": "Replaced by environment variables.", "type": "string", "pattern": `\$\{`},
	}
	return out
}

// SchemaOf describes type T as a fragment that stands inside of what Schema
// returns, for types that describe themselves.
func SchemaOf[T any]() map[string]any { return schemaOf(reflect.TypeFor[T](), &field{}) }

func reference(name string) map[string]any { return map[string]any{"$ref": "#/$defs/" + name} }

// either joins forms to one that takes any of them.
func either(forms ...any) map[string]any { return map[string]any{"anyOf": forms} }

// schemaOf describes values of t under the tags of f.
func schemaOf(t reflect.Type, f *field) map[string]any {
	if t == typeNode {
		return map[string]any{"type": []any{"object", "array", "string", "number", "boolean"}}
	}
	if t.Kind() == reflect.Pointer {
		return schemaOf(t.Elem(), f)
	}
	if isScalar(t) {
		return scalarSchema(t, f)
	}
	if t.Implements(typeDescribed) {
		return reflect.Zero(t).Interface().(Described).JSONSchema()
	}
	switch {
	case f.named:
		return mapSchema(t.Elem(), &field{})
	case t.Kind() == reflect.Slice:
		list := map[string]any{"type": "array", "items": schemaOf(t.Elem(), &field{enum: f.enum, unlimited: f.unlimited})}
		if isScalar(t.Elem()) {
			return either(list, map[string]any{"type": "string", "minLength": 1, "description": "The same list, separated by commas."})
		}
		return list
	case t.Kind() == reflect.Map:
		return mapSchema(t.Elem(), f)
	case t.Kind() == reflect.Struct:
		return structSchema(t)
	default:
		panic("setting: a " + t.String() + " has no schema")
	}
}

// mapSchema describes a map from names to values of type elem.
func mapSchema(elem reflect.Type, f *field) map[string]any {
	value := schemaOf(elem, &field{enum: f.enum})
	return map[string]any{"type": "object", "additionalProperties": either(value, reference("off"))}
}

func structSchema(t reflect.Type) map[string]any {
	properties := make(map[string]any)
	for _, f := range fieldsOf(t) {
		if f.role != roleKey {
			continue
		}
		properties[f.name] = propertySchema(&f)
		if twinned(f.typ) {
			properties[f.twin()] = map[string]any{"type": "string", "minLength": 1, "description": "File that holds " + f.name + "; read again on reload."}
		}
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// propertySchema describes one key: its type, that it may be off, its default.
func propertySchema(f *field) map[string]any {
	out := either(schemaOf(f.typ, f), reference("off"))
	if doc := f.documentation(); doc != "" {
		out["description"] = doc
	}
	if f.fallback != "" {
		out["default"] = defaultValue(f)
	}
	return out
}

// documentation is the doc tag with the bounds that a schema can't express.
func (f *field) documentation() string {
	if f.bounds() == "" || len(f.enum) > 0 {
		return f.doc
	}
	return strings.TrimSpace(f.doc + " Range: " + f.bounds() + ".")
}

// scalarSchema describes a value that is written as one scalar. All but strings
// may also be written as an expression.
func scalarSchema(t reflect.Type, f *field) map[string]any {
	switch {
	case len(f.enum) > 0 && !(t.Implements(typeDescribed)):
		words := make([]any, len(f.enum))
		for i, word := range f.enum {
			words[i] = number(word, t)
		}
		return either(map[string]any{"enum": words}, reference("expression"))
	case t.Implements(typeDescribed):
		form := maps.Clone(reflect.Zero(t).Interface().(Described).JSONSchema())
		if f.unlimited {
			return either(form, map[string]any{"enum": []any{"unlimited"}})
		}
		return form
	case readsText(t):
		return map[string]any{"type": []any{"string", "number"}}
	case t.Kind() == reflect.String && f.empty:
		return map[string]any{"type": "string"}
	case t.Kind() == reflect.String:
		return map[string]any{"type": "string", "minLength": 1}
	case t.Kind() == reflect.Bool:
		return either(map[string]any{"enum": []any{true, false, "on", "off"}}, reference("expression"))
	default:
		return either(numberSchema(t, f), reference("expression"))
	}
}

func numberSchema(t reflect.Type, f *field) map[string]any {
	out := map[string]any{"type": "integer"}
	if t.Kind() == reflect.Float64 || t.Kind() == reflect.Float32 {
		out["type"] = "number"
	}
	if f.min != "" {
		out["minimum"] = number(f.min, t)
	}
	if f.max != "" {
		out["maximum"] = number(f.max, t)
	}
	return out
}

// number returns text as a number if values of t are written as numbers.
func number(text string, t reflect.Type) any {
	if readsText(t) {
		return text
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool:
		return text
	case reflect.Float32, reflect.Float64:
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			return v
		}
	default:
		if v, err := strconv.ParseInt(text, 10, 64); err == nil {
			return v
		}
	}
	return text
}

// defaultValue is a default as JSON would hold it.
func defaultValue(f *field) any {
	switch {
	case f.typ.Kind() == reflect.Slice:
		words := []any{}
		for _, word := range strings.Split(f.fallback, ",") {
			words = append(words, number(word, f.typ.Elem()))
		}
		return words
	case f.typ.Kind() == reflect.Bool && slices.Contains([]string{"true", "on"}, f.fallback):
		return true
	case f.typ.Kind() == reflect.Bool:
		return false
	default:
		return number(f.fallback, f.typ)
	}
}
