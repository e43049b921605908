package router

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/valyala/fasthttp"
)

// ConditionKind is what a [Condition] asks of a value.
type ConditionKind uint8

const (
	// Present asks that the field or key is there, with whatever value.
	Present ConditionKind = iota
	// Exact asks for exactly this value, byte for byte.
	Exact
	// Regex asks for a value in which the regular expression (RE2) matches
	// anywhere: it is anchored only where it says so itself.
	Regex
)

// Condition asks something of one header field or one query key.
type Condition struct {
	Name  string // field name in any case; query key decoded, case significant
	Kind  ConditionKind
	Value string // of Exact: the value (of a query: decoded); of Regex: its source
}

// String returns the condition as an operator would say it.
func (c Condition) String() string {
	switch c.Kind {
	case Exact:
		return c.Name + " is " + quote(c.Value)
	case Regex:
		return c.Name + " matches " + c.Value
	default:
		return c.Name + " is present"
	}
}

// condition is a compiled Condition.
type condition struct {
	Condition
	query bool
	re    *regexp.Regexp
}

// outcome is what became of a condition.
type outcome uint8

const (
	holds outcome = iota
	missing
	differs
	several // the one value asked for stands more than once
)

// message is the part of a request that conditions look at.
type message struct {
	header  *fasthttp.RequestHeader
	query   []byte
	decoded *sync.Pool // of *[]byte, for values that need decoding for a regex
}

// check tests a condition.
func (m *message) check(c *condition) outcome {
	if c.query {
		return m.checkQuery(c)
	}
	if m.header == nil {
		return missing
	}
	values := m.header.PeekAll(c.Name)
	switch {
	case len(values) == 0:
		return missing
	case c.Kind == Present:
		return holds
	case len(values) > 1:
		return several
	case c.Kind == Exact && string(values[0]) == c.Value, c.Kind == Regex && c.re.Match(values[0]):
		return holds
	default:
		return differs
	}
}

// checkQuery tests a condition on a query key.
func (m *message) checkQuery(c *condition) outcome {
	var value []byte
	found := 0
	for rest := m.query; len(rest) > 0; {
		var key, v []byte
		key, v, rest = nextPair(rest)
		if !equalDecoded(key, c.Name) {
			continue
		}
		if c.Kind == Present {
			return holds
		}
		value = v
		found++
	}
	switch {
	case found == 0:
		return missing
	case found > 1:
		return several
	case c.Kind == Exact && equalDecoded(value, c.Value), c.Kind == Regex && m.matchDecoded(c.re, value):
		return holds
	default:
		return differs
	}
}

// matchDecoded matches the decoded form of a query value.
func (m *message) matchDecoded(re *regexp.Regexp, raw []byte) bool {
	if !slices.ContainsFunc(raw, func(c byte) bool { return c == '%' || c == '+' }) {
		return re.Match(raw)
	}
	// A buffer on the stack would escape into the regexp machine.
	buffer := m.decoded.Get().(*[]byte)
	*buffer = (*buffer)[:0]
	for i := 0; i < len(raw); {
		c, n := decodeByte(raw[i:])
		*buffer = append(*buffer, c)
		i += n
	}
	ok := re.Match(*buffer)
	m.decoded.Put(buffer)
	return ok
}

// nextPair splits the first key=value off a raw query. An empty piece has an
// empty key and value, as "=" has.
func nextPair(query []byte) (key, value, rest []byte) {
	end := slices.Index(query, '&')
	if end < 0 {
		end = len(query)
	} else {
		rest = query[end+1:]
	}
	pair := query[:end]
	if eq := slices.Index(pair, '='); eq >= 0 {
		return pair[:eq], pair[eq+1:], rest
	}
	return pair, nil, rest
}

// decodeByte decodes the first byte of a raw query piece and says how many bytes
// it took.
func decodeByte(raw []byte) (c byte, n int) {
	switch {
	case raw[0] == '+':
		return ' ', 1
	case raw[0] == '%' && len(raw) > 2 && unhex(raw[1]) >= 0 && unhex(raw[2]) >= 0:
		return byte(unhex(raw[1])<<4 | unhex(raw[2])), 3
	default:
		return raw[0], 1
	}
}

// equalDecoded says whether raw decodes to want.
func equalDecoded(raw []byte, want string) bool {
	j := 0
	for i := 0; i < len(raw); j++ {
		c, n := decodeByte(raw[i:])
		if j == len(want) || c != want[j] {
			return false
		}
		i += n
	}
	return j == len(want)
}

// compileCondition checks and compiles a condition; reason is empty if it is good.
func compileCondition(c Condition, query bool) (out condition, reason string) {
	out = condition{Condition: c, query: query}
	if c.Name == "" {
		return out, "an empty name"
	}
	if !query {
		if reason := checkFieldName(c.Name); reason != "" {
			return out, reason
		}
		out.Name = string(fasthttp.AppendNormalizedHeaderKey(nil, c.Name))
	}
	switch c.Kind {
	case Present:
		out.Value = ""
	case Exact:
		if !query && (strings.Trim(c.Value, " \t") != c.Value || strings.ContainsAny(c.Value, "\r\n\x00")) {
			return out, "a field value has no spaces around it, no line breaks and no NUL (RFC 9110 §5.5)"
		}
	case Regex:
		re, err := regexp.Compile(c.Value)
		if err != nil {
			return out, "bad regular expression: " + regexReason(err)
		}
		out.re = re
	default:
		return out, "a condition is present, an exact value or a regex"
	}
	return out, ""
}

// checkFieldName says what is wrong with the name of a header condition.
func checkFieldName(name string) string {
	for i := 0; i < len(name); i++ {
		if !isTokenByte(name[i]) {
			return "a field name is a token of RFC 9110 §5.6.2"
		}
	}
	if strings.EqualFold(name, "Host") {
		return "Host is matched by `hosts`"
	}
	return ""
}
