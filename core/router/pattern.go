package router

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// MaxParams is the greatest number of parameters one path may have.
const MaxParams = 15

// PatternError says what is wrong with a path or host pattern.
type PatternError struct {
	Offset int    // byte of the pattern where it was met, from 0
	Reason string // what is wrong, and what would be right
}

// Error returns the reason with its place.
func (e *PatternError) Error() string {
	return fmt.Sprintf("%s (at byte %d)", e.Reason, e.Offset+1)
}

// segmentKind orders segments: what is smaller comes first in the precedence.
type segmentKind uint8

const (
	kindEnd     segmentKind = iota // the pattern has no more segments
	kindLiteral                    // these bytes
	kindRegex                      // {name:regex}
	kindParam                      // {name}
	kindRest                       // {name...}
)

// segment is what stands between two slashes of a pattern.
type segment struct {
	kind segmentKind
	text string // of a literal: its canonical bytes; of a regex: its source
	name string // of the parameter
	re   *regexp.Regexp
}

// Pattern is a parsed path pattern such as "/a/{id}". It is immutable; the zero
// Pattern matches nothing and has no text.
type Pattern struct {
	segments []segment
	names    []string
}

// ParsePattern parses a path pattern. Literals may be written as they read:
// they become what a canonical path has in their place (SECURITY C6), so
// "/caf%c3%a9", "/café" and "/caf%C3%A9" are one pattern. The error is a
// *[PatternError].
func ParsePattern(s string) (Pattern, error) {
	if s == "" || s[0] != '/' {
		return Pattern{}, &PatternError{0, "a path begins with /"}
	}
	p := Pattern{segments: make([]segment, 0, strings.Count(s, "/"))}
	for at := 1; ; {
		seg, end, err := parseSegment(s, at)
		if err != nil {
			return Pattern{}, err
		}
		if err := p.add(seg, at, end == len(s)); err != nil {
			return Pattern{}, err
		}
		if end == len(s) {
			return p, nil
		}
		at = end + 1
	}
}

// add appends a segment that began at byte at of the pattern.
func (p *Pattern) add(seg segment, at int, last bool) error {
	switch {
	case seg.kind == kindRest && !last:
		return &PatternError{at, "{" + seg.name + "...} can only stand at the end"}
	case seg.kind == kindLiteral && seg.text == "" && !last:
		return &PatternError{at, "an empty segment: // is merged before paths are matched"}
	}
	p.segments = append(p.segments, seg)
	if seg.name == "" {
		return nil
	}
	for _, n := range p.names {
		if n == seg.name {
			return &PatternError{at, "parameter {" + n + "} stands twice"}
		}
	}
	if len(p.names) == MaxParams {
		return &PatternError{at, fmt.Sprintf("more than %d parameters", MaxParams)}
	}
	p.names = append(p.names, seg.name)
	return nil
}

// Names returns the names of the parameters, from the left. The slice is shared:
// it must not be changed.
func (p Pattern) Names() []string { return p.names }

// String returns the pattern in its canonical spelling; parsing that gives the
// same pattern again.
func (p Pattern) String() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		b.WriteString(s.String())
	}
	return b.String()
}

// String returns the segment as it stands in a pattern.
func (s segment) String() string {
	switch s.kind {
	case kindRegex:
		return "{" + s.name + ":" + s.text + "}"
	case kindParam:
		return "{" + s.name + "}"
	case kindRest:
		return "{" + s.name + "...}"
	default:
		return s.text
	}
}

// parseSegment parses the segment that begins at byte at, and returns where it
// ends: at a slash or at the end of s.
func parseSegment(s string, at int) (segment, int, error) {
	if at < len(s) && s[at] == '{' {
		return parseParam(s, at)
	}
	end := len(s)
	if i := strings.IndexByte(s[at:], '/'); i >= 0 {
		end = at + i
	}
	text, err := canonicalLiteral(s[at:end], at)
	if err != nil {
		return segment{}, 0, err
	}
	return segment{kind: kindLiteral, text: text}, end, nil
}

// parseParam parses {name}, {name:regex} or {name...}, which begins at byte at.
func parseParam(s string, at int) (segment, int, error) {
	i := at + 1
	for i < len(s) && isNameByte(s[i]) {
		i++
	}
	name := s[at+1 : i]
	if !validName(name) {
		return segment{}, 0, &PatternError{at, "a parameter needs a name of letters, digits, _ and -, beginning with a letter or _"}
	}
	rest := s[i:]
	switch {
	case strings.HasPrefix(rest, "}"):
		return closeParam(segment{kind: kindParam, name: name}, s, i)
	case strings.HasPrefix(rest, "...}"):
		return closeParam(segment{kind: kindRest, name: name}, s, i+3)
	case strings.HasPrefix(rest, ":"):
		end := regexEnd(s, i+1)
		if end < 0 {
			return segment{}, 0, &PatternError{at, "a { without its }"}
		}
		re, err := compileSegment(s[i+1:end], i+1)
		if err != nil {
			return segment{}, 0, err
		}
		return closeParam(segment{kind: kindRegex, name: name, text: s[i+1 : end], re: re}, s, end)
	case !strings.Contains(rest, "}"):
		return segment{}, 0, &PatternError{at, "a { without its }"}
	default:
		return segment{}, 0, &PatternError{i, "a parameter is {name}, {name:regex} or {name...}"}
	}
}

// closeParam checks that a slash or the end follows the brace at byte brace.
func closeParam(seg segment, s string, brace int) (segment, int, error) {
	end := brace + 1
	if end < len(s) && s[end] != '/' {
		return segment{}, 0, &PatternError{end, "a parameter is a whole segment: for a part of one write {" + seg.name + ":regex}"}
	}
	return seg, end, nil
}

// regexEnd returns where the brace stands that closes a parameter whose regular
// expression begins at byte at, or -1. Braces in it must be balanced, escaped or
// in a class.
func regexEnd(s string, at int) int {
	depth := 1
	for i := at; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[':
			i = classEnd(s, i)
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// classEnd returns where the character class that begins at byte at ends: at its
// "]", or at the end of s.
func classEnd(s string, at int) int {
	i := at + 1
	if i < len(s) && s[i] == '^' {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "[:"):
			if end := strings.Index(s[i:], ":]"); end > 0 {
				i += end + 1
			}
		case s[i] == ']':
			return i
		}
	}
	return len(s)
}

// compileSegment compiles the regular expression of a whole segment.
func compileSegment(source string, at int) (*regexp.Regexp, error) {
	if source == "" {
		return nil, &PatternError{at, "an empty regular expression: {name} takes any segment"}
	}
	// Alone first: within the anchors "a)(b" would be well-formed.
	if _, err := syntax.Parse(source, syntax.Perl); err != nil {
		return nil, &PatternError{at, "bad regular expression: " + regexReason(err)}
	}
	re, err := regexp.Compile(`\A(?:` + source + `)\z`)
	if err != nil {
		return nil, &PatternError{at, "bad regular expression: " + regexReason(err)}
	}
	return re, nil
}

// regexReason says what is wrong with a regular expression, without the library's
// preamble, and with the piece in question unless that is long.
func regexReason(err error) string {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if len(e.Expr) > 80 {
		return e.Code.String()
	}
	return e.Code.String() + ": `" + e.Expr + "`"
}

// canonicalLiteral returns what a canonical path has in place of a literal
// segment (SECURITY C6); at is its place in the pattern. What can never stand in a
// canonical path is an error.
func canonicalLiteral(s string, at int) (string, error) {
	out := make([]byte, 0, len(s))
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c, escaped := s[i], false
		if c == '%' {
			if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
				return "", &PatternError{at + i, "% begins an escape of two hexadecimal digits"}
			}
			c, escaped = byte(unhex(s[i+1])<<4|unhex(s[i+2])), true
		}
		if reason := refusedByte(c, escaped); reason != "" {
			return "", &PatternError{at + i, reason}
		}
		if escaped {
			i += 2
		}
		decoded = append(decoded, c)
		if isUnreserved(c) || !escaped && c < 0x80 {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	if !utf8.Valid(decoded) {
		return "", &PatternError{at, "not UTF-8: such a path is refused before it is matched"}
	}
	if reason := refusedSegment(string(out)); reason != "" {
		return "", &PatternError{at, reason}
	}
	return string(out), nil
}

// refusedByte says why a byte can't stand in a literal, or nothing.
func refusedByte(c byte, escaped bool) string {
	switch {
	case c < 0x20 || c == 0x7f:
		return "a control character: such a path is refused before it is matched"
	case c == '\\':
		return `a \: such a path is refused before it is matched`
	case escaped || c >= 0x80 || isPathByte(c):
		return ""
	case c == '?' || c == '#':
		return "a path has no " + string(c) + ": queries are matched by `query`"
	case c == '{' || c == '}':
		return "a brace within a segment: a parameter is a whole segment, and {name:regex} takes a part of one"
	default:
		return fmt.Sprintf("%q can't stand in a path: write %%%02X", c, c)
	}
}

// refusedSegment says why a canonical path never has such a segment, or why it
// does not mean what its writer thinks.
func refusedSegment(s string) string {
	switch {
	case s == "." || s == "..":
		return "a dot segment: it is resolved before paths are matched"
	case hasDotsParameter(s):
		return "a dot segment with a ;: such a path is refused before it is matched"
	case s == "*" || s == "**":
		return "* is no wildcard in a path: {name} takes one segment, {name...} the rest"
	case strings.HasPrefix(s, ":"):
		return "a parameter is written {" + strings.TrimPrefix(s, ":") + "}"
	default:
		return ""
	}
}

// hasDotsParameter says whether a segment is "." or ".." with a parameter behind,
// which some servers read as a dot segment.
func hasDotsParameter(s string) bool {
	after := strings.TrimPrefix(strings.TrimPrefix(s, "."), ".")
	return after != s && (strings.HasPrefix(after, ";") || strings.HasPrefix(after, "%3B"))
}

const upperHex = "0123456789ABCDEF"

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isUnreserved says whether c is unreserved (RFC 3986 §2.3).
func isUnreserved(c byte) bool {
	return isAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

// isPathByte says whether c may stand unescaped in a segment (RFC 3986 §3.3).
func isPathByte(c byte) bool {
	return isUnreserved(c) || strings.IndexByte("!$&'()*+,;=:@", c) >= 0
}

func isNameByte(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '-' }

// validName says whether s, all of name bytes, may name a parameter.
func validName(s string) bool {
	return s != "" && s[0] != '-' && (s[0] < '0' || s[0] > '9')
}
