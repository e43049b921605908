package router

import (
	"math/bits"
	"slices"
)

// methodSet holds methods as bits: those every table knows, then those that its
// routes name besides, in the order of the alphabet.
type methodSet uint64

const (
	methodGet methodSet = 1 << iota
	methodHead
	methodPost
	methodPut
	methodPatch
	methodDelete
	methodOptions

	commonMethods           = 7
	allCommon     methodSet = 1<<commonMethods - 1
	anyMethod     methodSet = 1 << 63 // a route without methods was met
	otherMethods            = 63 - commonMethods
)

// commonNames are the methods every table knows, in the order Allow has them.
var commonNames = [commonMethods]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// methodTable gives each method its bit.
type methodTable struct {
	other []string // at most otherMethods
}

// of returns the bit of a method, or 0 if no route can name it.
func (t *methodTable) of(method []byte) methodSet {
	switch string(method) {
	case "GET":
		return methodGet
	case "HEAD":
		return methodHead
	case "POST":
		return methodPost
	case "PUT":
		return methodPut
	case "PATCH":
		return methodPatch
	case "DELETE":
		return methodDelete
	case "OPTIONS":
		return methodOptions
	}
	for i, m := range t.other {
		if m == string(method) {
			return 1 << (commonMethods + i)
		}
	}
	return 0
}

// newMethodTable makes the table for all methods that routes name, and says
// whether there is room for them.
func newMethodTable(named []string) (methodTable, bool) {
	var t methodTable
	slices.Sort(named)
	for _, m := range slices.Compact(named) {
		if !slices.Contains(commonNames[:], m) {
			t.other = append(t.other, m)
		}
	}
	return t, len(t.other) <= otherMethods
}

// append appends the names of a set to dst, separated by ", ".
func (t *methodTable) append(dst []byte, set methodSet) []byte {
	set &^= anyMethod
	for first := true; set != 0; first = false {
		if !first {
			dst = append(dst, ", "...)
		}
		i := bits.TrailingZeros64(uint64(set))
		set &= set - 1
		if i < commonMethods {
			dst = append(dst, commonNames[i]...)
		} else {
			dst = append(dst, t.other[i-commonMethods]...)
		}
	}
	return dst
}

// checkMethod says what is wrong with a configured method, or nothing.
func checkMethod(m string) string {
	if m == "" || len(m) > 24 {
		return "a method has 1 to 24 characters"
	}
	for i := 0; i < len(m); i++ {
		switch c := m[i]; {
		case 'a' <= c && c <= 'z':
			return "methods are written in upper case (RFC 9110 §9.1)"
		case !isTokenByte(c):
			return "a method is a token of RFC 9110 §5.6.2"
		}
	}
	if m == "CONNECT" || m == "TRACE" {
		return m + " is always answered with 405"
	}
	return ""
}

// isTokenByte says whether c is a tchar (RFC 9110 §5.6.2).
func isTokenByte(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return isAlphanumeric(c)
}
