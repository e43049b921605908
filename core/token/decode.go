package token

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may nest. Issuers need three; the
// decoder calls itself for each level, so that a bound is a bound on its stack.
const maxDepth = 16

// decodeObject decodes one JSON object as RFC 8259 writes it, and nothing else:
// encoding/json takes "SUB" for "sub", lets the last of two members win and
// replaces broken UTF-8, and whoever parses the same bytes differently sees
// another caller than we do (SECURITY I3). Two members of one name are refused at
// every depth.
//
// Values are map[string]any, []any, string, json.Number, bool and nil. Strings
// without escapes share text's memory. Errors quote nothing of text.
func decodeObject(text string) (map[string]any, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("is no UTF-8")
	}
	d := decoder{text: text}
	d.space()
	if d.peek() != '{' {
		return nil, errors.New("is no JSON object")
	}
	v, err := d.object(1)
	if err != nil {
		return nil, err
	}
	if d.space(); d.at < len(d.text) {
		return nil, errors.New("has something after the JSON object")
	}
	return v, nil
}

// Why text is no JSON of ours.
var (
	errSyntax    = errors.New("is no JSON")
	errDeep      = errors.New("nests too deep")
	errDuplicate = errors.New("holds two members of one name")
	errEscape    = errors.New("holds half of a surrogate pair")
)

// decoder reads text from at on.
type decoder struct {
	text string
	at   int
}

// peek returns the next byte, 0 at the end: no grammar below allows a 0.
func (d *decoder) peek() byte {
	if d.at < len(d.text) {
		return d.text[d.at]
	}
	return 0
}

func (d *decoder) space() {
	for d.at < len(d.text) {
		switch d.text[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// take passes c, after white space if there is any.
func (d *decoder) take(c byte) bool {
	d.space()
	if d.peek() != c {
		return false
	}
	d.at++
	return true
}

// value reads what may stand at depth, white space before it.
func (d *decoder) value(depth int) (any, error) {
	d.space()
	switch c := d.peek(); {
	case c == '{' || c == '[':
		if depth > maxDepth {
			return nil, errDeep
		}
		if c == '[' {
			return d.array(depth)
		}
		return d.object(depth)
	case c == '"':
		return d.string()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	case d.literal("true"):
		return true, nil
	case d.literal("false"):
		return false, nil
	case d.literal("null"):
		return nil, nil
	default:
		return nil, errSyntax
	}
}

func (d *decoder) literal(word string) bool {
	if !strings.HasPrefix(d.text[d.at:], word) {
		return false
	}
	d.at += len(word)
	return true
}

// object reads an object whose brace is next.
func (d *decoder) object(depth int) (map[string]any, error) {
	d.at++
	out := make(map[string]any, d.members())
	if d.take('}') {
		return out, nil
	}
	for {
		if d.space(); d.peek() != '"' {
			return nil, errSyntax
		}
		name, err := d.string()
		if err != nil {
			return nil, err
		}
		if _, twice := out[name]; twice {
			return nil, errDuplicate
		}
		if !d.take(':') {
			return nil, errSyntax
		}
		if out[name], err = d.value(depth + 1); err != nil {
			return nil, err
		}
		switch {
		case d.take('}'):
			return out, nil
		case !d.take(','):
			return nil, errSyntax
		}
	}
}

// members guesses how many members an object has that opened just now, so that
// its map is made once: the claims of an access token are nine to fourteen.
func (d *decoder) members() int {
	if d.at <= 1 {
		return min(16, strings.Count(d.text, ":"))
	}
	return 0
}

// array reads an array whose bracket is next.
func (d *decoder) array(depth int) ([]any, error) {
	d.at++
	out := []any{}
	if d.take(']') {
		return out, nil
	}
	for {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		switch {
		case d.take(']'):
			return out, nil
		case !d.take(','):
			return nil, errSyntax
		}
	}
}

// string reads a string whose quote is next.
func (d *decoder) string() (string, error) {
	d.at++
	for start := d.at; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return d.text[start : d.at-1], nil
		case c == '\\':
			return d.escaped(d.text[start:d.at])
		case c < ' ':
			return "", errSyntax
		}
	}
	return "", errSyntax
}

// escaped reads the rest of a string that began with begun; a backslash is next.
func (d *decoder) escaped(begun string) (string, error) {
	out := append(make([]byte, 0, len(begun)+16), begun...)
	for d.at < len(d.text) {
		c := d.text[d.at]
		d.at++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			out = append(out, c)
			continue
		}
		r, err := d.escape()
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, r)
	}
	return "", errSyntax
}

// escape reads what stands behind a backslash. Half of a surrogate pair is refused:
// every decoder replaces it by something else.
func (d *decoder) escape() (rune, error) {
	c := d.peek()
	d.at++
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return 0, errSyntax
	}
	r, ok := d.hex4()
	switch {
	case !ok:
		return 0, errSyntax
	case r < 0xd800 || r > 0xdfff:
		return r, nil
	case r > 0xdbff || !d.literal(`\u`):
		return 0, errEscape
	}
	low, ok := d.hex4()
	if !ok || low < 0xdc00 || low > 0xdfff {
		return 0, errEscape
	}
	return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), nil
}

// hex4 reads four hexadecimal digits.
func (d *decoder) hex4() (rune, bool) {
	if len(d.text)-d.at < 4 {
		return 0, false
	}
	var r rune
	for range 4 {
		c := d.text[d.at]
		d.at++
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// number reads a number as its text: a float64 would make two large ids equal.
func (d *decoder) number() (json.Number, error) {
	start := d.at
	if d.peek() == '-' {
		d.at++
	}
	whole := d.at
	if !d.digits() || d.text[whole] == '0' && d.at > whole+1 {
		return "", errSyntax
	}
	if d.peek() == '.' {
		if d.at++; !d.digits() {
			return "", errSyntax
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.at++
		if c := d.peek(); c == '+' || c == '-' {
			d.at++
		}
		if !d.digits() {
			return "", errSyntax
		}
	}
	return json.Number(d.text[start:d.at]), nil
}

// digits passes digits and says whether there was one.
func (d *decoder) digits() bool {
	start := d.at
	for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
		d.at++
	}
	return d.at > start
}
