package login

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of a JSON text. Ours are flat objects of a few strings; what lies deeper
// is only looked at to be refused with its place.
const (
	maxDepth   = 8
	maxMembers = 32
)

// kind is the type of a JSON value.
type kind string

const (
	isObject kind = "an object"
	isArray  kind = "an array"
	isString kind = "a string"
	isNumber kind = "a number"
	isBool   kind = "a boolean"
	isNull   kind = "null"
)

// member is one member of an object, as it came.
type member struct {
	name string
	kind kind
	text string // of a string
}

// Why a text is no JSON. They quote nothing of it.
var (
	errSyntax   = errors.New("the body is no JSON text (RFC 8259)")
	errEncoding = errors.New("the body is not valid UTF-8")
	errDepth    = errors.New("the body is nested too deep")
	errMembers  = errors.New("the body has too many members")
)

// parser reads one JSON text. The standard decoder is not strict enough for a door
// (SECURITY I20): it takes "EMAIL" for "email", the last of two equal members, and
// broken surrogates for U+FFFD, and another program may read the same bytes otherwise.
type parser struct {
	raw []byte
	pos int
}

// parse reads a JSON text whose top is an object, or says what else it is. The members
// stand in their order; a name may occur twice.
func parse(raw []byte) (members []member, top kind, err error) {
	if !utf8.Valid(raw) {
		return nil, "", errEncoding
	}
	p := &parser{raw: raw}
	p.space()
	if p.peek() == '{' {
		top = isObject
		members, err = p.members()
	} else {
		top, err = p.skip(0)
	}
	if err != nil {
		return nil, "", err
	}
	if p.space(); p.pos != len(p.raw) {
		return nil, "", errSyntax
	}
	return members, top, nil
}

// peek returns the next byte, or 0, which stands in no JSON text, at the end.
func (p *parser) peek() byte {
	if p.pos == len(p.raw) {
		return 0
	}
	return p.raw[p.pos]
}

// take moves on behind c, if it is next.
func (p *parser) take(c byte) bool {
	if p.peek() != c || p.pos == len(p.raw) {
		return false
	}
	p.pos++
	return true
}

func (p *parser) space() {
	for {
		switch p.peek() {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// members reads the object at the top.
func (p *parser) members() ([]member, error) {
	var all []member
	err := p.object(func(name string) (err error) {
		if len(all) == maxMembers {
			return errMembers
		}
		m := member{name: name}
		if p.peek() == '"' {
			m.kind = isString
			m.text, err = p.text()
		} else {
			m.kind, err = p.skip(1)
		}
		all = append(all, m)
		return err
	})
	return all, err
}

// object reads an object; value reads the value of each member.
func (p *parser) object(value func(name string) error) error {
	return p.list('{', '}', func() error {
		name, err := p.text()
		if err != nil {
			return err
		}
		if p.space(); !p.take(':') {
			return errSyntax
		}
		p.space()
		return value(name)
	})
}

// list reads what stands between first and last, parted by commas.
func (p *parser) list(first, last byte, item func() error) error {
	p.take(first)
	if p.space(); p.take(last) {
		return nil
	}
	for {
		p.space()
		if err := item(); err != nil {
			return err
		}
		p.space()
		if p.take(last) {
			return nil
		}
		if !p.take(',') {
			return errSyntax
		}
	}
}

// skip reads any value that stands at that depth.
func (p *parser) skip(depth int) (kind, error) {
	if depth > maxDepth {
		return "", errDepth
	}
	switch c := p.peek(); {
	case c == '{':
		return isObject, p.object(func(string) error {
			_, err := p.skip(depth + 1)
			return err
		})
	case c == '[':
		return isArray, p.list('[', ']', func() error {
			_, err := p.skip(depth + 1)
			return err
		})
	case c == '"':
		_, err := p.text()
		return isString, err
	case c == 't':
		return isBool, p.word("true")
	case c == 'f':
		return isBool, p.word("false")
	case c == 'n':
		return isNull, p.word("null")
	default:
		return isNumber, p.number()
	}
}

func (p *parser) word(w string) error {
	if len(p.raw)-p.pos < len(w) || string(p.raw[p.pos:p.pos+len(w)]) != w {
		return errSyntax
	}
	p.pos += len(w)
	return nil
}

// number reads a number; its value is nobody's business.
func (p *parser) number() error {
	p.take('-')
	if !p.take('0') && !p.digits() {
		return errSyntax
	}
	if p.take('.') && !p.digits() {
		return errSyntax
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return errSyntax
		}
	}
	return nil
}

// digits reads one digit or more.
func (p *parser) digits() bool {
	start := p.pos
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.pos++
	}
	return p.pos > start
}

// text reads a string.
func (p *parser) text() (string, error) {
	if !p.take('"') {
		return "", errSyntax
	}
	var out []byte
	for {
		c := p.peek()
		switch {
		case c == '"':
			p.pos++
			return string(out), nil
		case c < ' ':
			return "", errSyntax // the end, or a control character
		case c != '\\':
			out = append(out, c)
			p.pos++
		default:
			p.pos++
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		}
	}
}

// escape reads what stands behind a backslash.
func (p *parser) escape() (rune, error) {
	c := p.peek()
	p.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.unicode()
	default:
		return 0, errSyntax
	}
}

// unicode reads a code point written as one or, beyond the first plane, two escapes.
func (p *parser) unicode() (rune, error) {
	r, ok := p.hex()
	if !ok {
		return 0, errSyntax
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if !p.take('\\') || !p.take('u') {
		return 0, errSyntax
	}
	low, ok := p.hex()
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, errSyntax
	}
	return r, nil
}

// hex reads four hexadecimal digits.
func (p *parser) hex() (rune, bool) {
	if len(p.raw)-p.pos < 4 {
		return 0, false
	}
	var r rune
	for _, c := range p.raw[p.pos : p.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.pos += 4
	return r, true
}
