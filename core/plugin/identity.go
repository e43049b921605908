package plugin

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
)

// deepest bounds how far identity follows pointers and containers; options are
// a few levels deep, so more than this is a cycle.
const deepest = 64

// appendIdentity appends bytes that are equal for two values if and only if they
// are of one type and hold the same data. It looks at the data itself and never
// at a String or GoString method: a secret's would mask it, and two services
// would share what they must not.
func appendIdentity(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if depth > deepest {
		return nil, fmt.Errorf("options are nested deeper than %d levels", deepest)
	}
	if !v.IsValid() {
		return append(dst, 0), nil
	}
	if depth == 0 || v.Kind() == reflect.Interface && !v.IsNil() {
		dst = appendTypeOf(dst, v)
	}
	switch v.Kind() {
	case reflect.String:
		return appendText(dst, v.String()), nil
	case reflect.Bool:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case reflect.Struct:
		return appendFields(dst, v, depth)
	case reflect.Slice, reflect.Array:
		return appendItems(dst, v, depth)
	case reflect.Map:
		return appendEntries(dst, v, depth)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(dst, 0), nil
		}
		return appendIdentity(append(dst, 1), v.Elem(), depth+1)
	default:
		return appendNumber(dst, v)
	}
}

// appendTypeOf names the dynamic type, with its package's whole path.
func appendTypeOf(dst []byte, v reflect.Value) []byte {
	t := v.Type()
	if v.Kind() == reflect.Interface {
		t = v.Elem().Type()
	}
	return appendText(appendText(dst, t.PkgPath()), t.String())
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendNumber(dst []byte, v reflect.Value) ([]byte, error) {
	switch {
	case v.CanInt():
		return binary.AppendVarint(dst, v.Int()), nil
	case v.CanUint():
		return binary.AppendUvarint(dst, v.Uint()), nil
	case v.CanFloat():
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	default:
		return nil, fmt.Errorf("options hold a %s, which can't be compared", v.Type())
	}
}

func appendFields(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	var err error
	for i := range v.NumField() {
		if dst, err = appendIdentity(dst, v.Field(i), depth+1); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// appendItems tells nil from empty no more than the configuration does.
func appendItems(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	var err error
	dst = binary.AppendUvarint(dst, uint64(v.Len()))
	for i := range v.Len() {
		if dst, err = appendIdentity(dst, v.Index(i), depth+1); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// appendEntries writes the entries in an order of their own bytes, for a map has none.
func appendEntries(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	entries := make([][]byte, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		entry, err := appendIdentity(nil, iter.Key(), depth+1)
		if err == nil {
			entry, err = appendIdentity(entry, iter.Value(), depth+1)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry)
	}
	slices.SortFunc(entries, bytes.Compare)
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	for _, entry := range entries {
		dst = append(dst, entry...)
	}
	return dst, nil
}
