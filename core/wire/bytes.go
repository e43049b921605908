package wire

import "encoding/binary"

// class says what a byte may be part of.
type class uint8

const (
	tchar     class = 1 << iota // RFC 9110 §5.6.2
	plain                       // [A-Za-z0-9-]: the names that nobody reads in two ways
	visible                     // a target may hold it raw, as far as RFC 9112 goes
	pathPlain                   // a path may hold it, and it stays as it is
	hexadecimal
	unreserved // RFC 3986 §2.3
)

// classes is written once, by the function that makes it.
var classes = makeClasses()

func makeClasses() (t [256]class) {
	set := func(chars string, c class) {
		for i := range len(chars) {
			t[chars[i]] |= c
		}
	}
	const letters, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "0123456789"
	set(letters+digits+"!#$%&'*+-.^_`|~", tchar)
	set(letters+digits+"-", plain)
	set(letters+digits+"-._~", unreserved)
	set(digits+"abcdefABCDEF", hexadecimal)
	for b := 0x21; b < 0x7f; b++ {
		if b != '#' {
			t[b] |= visible
		}
	}
	set(letters+digits+"-._~!$&'()*+,;=:@", pathPlain) // pchar without escapes, RFC 3986 §3.3
	return t
}

func is(b byte, c class) bool { return classes[b]&c != 0 }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// ValidFieldValue says whether a field value may hold all of b: visible bytes,
// SP, HTAB and obs-text (RFC 9110 §5.5). Eight bytes at a time: values are most
// of a head.
func ValidFieldValue(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ 0x7f*ones
		if ((x-0x20*ones)&^x|(del-ones)&^del)&highs != 0 && !validSlowly(b[:8]) {
			return false
		}
		b = b[8:]
	}
	return validSlowly(b)
}

func validSlowly(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// ValidFieldName says whether b is a token (RFC 9110 §5.1).
func ValidFieldName(b []byte) bool { return len(b) > 0 && all(b, tchar) }

// all says whether every byte of b is of class c.
func all(b []byte, c class) bool {
	for _, x := range b {
		if !is(x, c) {
			return false
		}
	}
	return true
}

// trim takes optional white space off both ends (RFC 9110 §5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// folds says whether b is lower but for case. lower must be lower-case letters,
// digits and hyphens, which all have the bit that tells case apart; no other
// token character becomes one of them with it.
func folds(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(lower) {
		if b[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

func unhex(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	default:
		return b | 0x20 - 'a' + 10
	}
}
