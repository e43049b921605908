package wire

import (
	"bytes"
	"unicode/utf8"
)

// PathOptions says what a path may hold.
type PathOptions struct {
	EncodedSlashes bool // %2F stays, instead of being refused
	DoubleSlashes  bool // // stays, instead of being merged
}

// PathFlags says what a raw path held, and whether the canonical one differs.
type PathFlags uint8

// The flags.
const (
	PathEncodedSlash PathFlags = 1 << iota
	PathDoubleSlash
	PathChanged // the canonical path is no part of the raw one
)

var (
	errPathStart   = bad("the path does not begin with a slash")
	errPathByte    = bad("the path holds a character that no path may hold")
	errPathEscape  = bad("the path holds a broken percent escape")
	errPathControl = bad("the path holds an encoded control character")
	errPathSlash   = bad("the path holds an encoded slash or backslash")
	errPathText    = bad("the path holds escapes that are no valid UTF-8")
	errPathDots    = bad("the path holds a dot segment with a parameter")
	errPathAway    = bad("the rewritten path does not begin with exactly one slash")
	errPathUp      = bad("the rewritten path holds a dot segment")
)

// SplitTarget cuts a target in origin-form at its first "?".
func SplitTarget(target []byte) (path, query []byte, hasQuery bool) {
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i+1:], true
	}
	return target, nil, false
}

// CanonicalPath returns the one form of a path that everything from matching to
// the service sees (SPEC RT2, SECURITY C6):
//
//   - escapes of unreserved characters are decoded, once; all others stay, with
//     upper-case digits; raw characters that a path must not hold but clients send
//     ({, |, ") are escaped;
//   - "//" becomes "/", unless o keeps it; dot segments are resolved, never above
//     the root;
//   - refused are raw "\", "#", controls and bytes above 0x7f; escapes that are
//     broken, or of controls, "\", and "/" unless o allows it, or of what is not
//     UTF-8; and "." or ".." with a parameter behind (";x"), which some servers read
//     as a dot segment.
//
// A path that needs no change is returned as it is, else it is appended to dst and
// that part of dst is returned. The error is a *Violation.
func CanonicalPath(dst, raw []byte, o PathOptions) (path []byte, flags PathFlags, err error) {
	if len(raw) == 0 || raw[0] != '/' {
		return nil, 0, errPathStart
	}
	if isCanonical(raw) {
		return raw, 0, nil
	}
	start := len(dst)
	dst, flags, v := decodePath(dst, raw, o)
	if v != nil {
		return nil, flags, v
	}
	path, v = resolve(dst[start:], o.DoubleSlashes)
	if v != nil {
		return nil, flags, v
	}
	return path, flags | PathChanged, nil
}

// isCanonical looks for anything that needs a closer look: most paths have nothing.
func isCanonical(raw []byte) bool {
	before := byte('/')
	for _, c := range raw[1:] {
		if c == '/' || c == '.' {
			if before == '/' {
				return false
			}
		} else if !is(c, pathPlain) {
			return false
		}
		before = c
	}
	return true
}

// decodePath validates and decodes escapes.
func decodePath(dst, raw []byte, o PathOptions) ([]byte, PathFlags, *Violation) {
	var flags PathFlags
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case c == '%':
			n, f, v := decodeEscape(&dst, raw[i:], o)
			if v != nil {
				return nil, flags | f, v
			}
			flags |= f
			i += n
			continue
		case is(c, pathPlain):
			dst = append(dst, c)
		case c == '/':
			if i > 0 && raw[i-1] == '/' {
				flags |= PathDoubleSlash
			}
			dst = append(dst, c)
		case c == '\\' || c == '?' || !is(c, visible):
			return nil, flags, errPathByte
		default:
			dst = appendEscape(dst, c)
		}
		i++
	}
	return dst, flags, nil
}

const upperHex = "0123456789ABCDEF"

func appendEscape(dst []byte, c byte) []byte { return append(dst, '%', upperHex[c>>4], upperHex[c&15]) }

// decodeEscape reads the escape that raw begins with, or all escapes that make up
// one character, and returns how many bytes of raw those were.
func decodeEscape(dst *[]byte, raw []byte, o PathOptions) (n int, flags PathFlags, v *Violation) {
	c, ok := escaped(raw)
	switch {
	case !ok:
		return 0, 0, errPathEscape
	case c < ' ' || c == 0x7f:
		return 0, 0, errPathControl
	case c == '\\':
		return 0, 0, errPathSlash
	case c == '/':
		if !o.EncodedSlashes {
			return 0, PathEncodedSlash, errPathSlash
		}
		*dst = appendEscape(*dst, c)
		return 3, PathEncodedSlash, nil
	case is(c, unreserved):
		*dst = append(*dst, c)
		return 3, 0, nil
	case c < utf8.RuneSelf:
		*dst = appendEscape(*dst, c)
		return 3, 0, nil
	}
	return decodeRune(dst, raw)
}

// decodeRune keeps the escapes of one character above 0x7f, if they are valid
// UTF-8: an overlong "/" or "." is none.
func decodeRune(dst *[]byte, raw []byte) (n int, flags PathFlags, v *Violation) {
	var char [utf8.UTFMax]byte
	length := 0
	for length < len(char) {
		c, ok := escaped(raw[3*length:])
		if !ok || c < utf8.RuneSelf {
			break
		}
		char[length] = c
		length++
	}
	r, size := utf8.DecodeRune(char[:length])
	if r == utf8.RuneError && size < 2 {
		return 0, 0, errPathText
	}
	for _, c := range char[:size] {
		*dst = appendEscape(*dst, c)
	}
	return 3 * size, 0, nil
}

// escaped returns the byte of the escape that raw begins with.
func escaped(raw []byte) (byte, bool) {
	if len(raw) < 3 || raw[0] != '%' || !is(raw[1], hexadecimal) || !is(raw[2], hexadecimal) {
		return 0, false
	}
	return unhex(raw[1])<<4 | unhex(raw[2]), true
}

// resolve merges slashes and removes dot segments (RFC 3986 §5.2.4), in place.
func resolve(path []byte, keepDouble bool) ([]byte, *Violation) {
	out := path[:0]
	for i := 0; i < len(path); {
		end := i + 1
		for end < len(path) && path[end] != '/' {
			end++
		}
		segment, last := path[i+1:end], end == len(path)
		switch {
		case isDots(segment, 1):
			if last {
				out = append(out, '/')
			}
		case isDots(segment, 2):
			if cut := bytes.LastIndexByte(out, '/'); cut >= 0 {
				out = out[:cut]
			}
			if last {
				out = append(out, '/')
			}
		case hasDotsParameter(segment):
			return nil, errPathDots
		case len(segment) == 0 && !last && (!keepDouble || len(out) == 0):
			// A kept path must not begin with "//" either: to a service that reads
			// absolute references, what follows would be a host.
		default:
			out = append(out, path[i:end]...)
		}
		i = end
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out, nil
}

func isDots(segment []byte, n int) bool {
	return len(segment) == n && segment[0] == '.' && segment[n-1] == '.'
}

// hasDotsParameter says whether segment is "." or ".." with a parameter behind.
func hasDotsParameter(segment []byte) bool {
	dots := 0
	for dots < len(segment) && segment[dots] == '.' {
		dots++
	}
	if dots != 1 && dots != 2 {
		return false
	}
	rest := segment[dots:]
	return bytes.HasPrefix(rest, []byte(";")) || bytes.HasPrefix(rest, []byte("%3B"))
}

// CheckRewritten says whether a path that was made from parameters may be sent:
// exactly one leading slash, no dot segment, and no byte that a canonical path
// could not hold (SECURITY C6). The error is a *Violation.
func CheckRewritten(path []byte) error {
	if len(path) == 0 || path[0] != '/' || len(path) > 1 && (path[1] == '/' || path[1] == '\\') {
		return errPathAway
	}
	for rest := path; len(rest) > 0; {
		end := bytes.IndexByte(rest[1:], '/') + 1
		if end == 0 {
			end = len(rest)
		}
		segment := rest[1:end]
		if isDots(segment, 1) || isDots(segment, 2) || hasDotsParameter(segment) {
			return errPathUp
		}
		for _, c := range segment {
			if c != '%' && !is(c, pathPlain) {
				return errPathByte
			}
		}
		rest = rest[end:]
	}
	return nil
}
