package router

import (
	"regexp"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/wire"
)

// Asked are conditions on one request, by what they look at.
type Asked struct {
	Headers, Query, Cookies []Condition
}

// Conditions must all hold of a request. They are compiled once and may be used by
// many requests at once.
type Conditions struct {
	all     []condition // on fields and query keys
	cookies []condition
	decoded sync.Pool
}

// BadCondition is a condition that can't be compiled.
type BadCondition struct {
	Field string // "headers.X-Team", "query.v" or "cookies.beta"
	Text  string
}

// NewConditions compiles what is asked; all that is wrong with it is returned.
func NewConditions(a Asked) (*Conditions, []BadCondition) {
	c := &Conditions{decoded: sync.Pool{New: func() any { return new([]byte) }}}
	var bad []BadCondition
	for _, of := range []struct {
		key     string
		list    []Condition
		into    *[]condition
		compile func(Condition) (condition, string)
	}{
		{"headers", a.Headers, &c.all, func(c Condition) (condition, string) { return compileCondition(c, false) }},
		{"query", a.Query, &c.all, func(c Condition) (condition, string) { return compileCondition(c, true) }},
		{"cookies", a.Cookies, &c.cookies, compileCookie},
	} {
		for _, one := range of.list {
			compiled, reason := of.compile(one)
			if reason != "" {
				bad = append(bad, BadCondition{of.key + "." + one.Name, reason})
				continue
			}
			*of.into = append(*of.into, compiled)
		}
	}
	return c, bad
}

// compileCookie checks and compiles a condition on a cookie.
func compileCookie(c Condition) (out condition, reason string) {
	out = condition{Condition: c}
	for i := 0; i < len(c.Name); i++ {
		if !isTokenByte(c.Name[i]) {
			return out, "a cookie's name is a token (RFC 6265 §4.1.1)"
		}
	}
	switch c.Kind {
	case Exact:
		for i := range len(c.Value) {
			if b := c.Value[i]; b <= ' ' || b >= 0x7f || b == '"' || b == ',' || b == ';' || b == '\\' {
				return out, "a cookie's value is of visible ASCII without \" , ; and \\ (RFC 6265 §4.1.1)"
			}
		}
	case Regex:
		re, err := regexp.Compile(c.Value)
		if err != nil {
			return out, "bad regular expression: " + regexReason(err)
		}
		out.re = re
	}
	return out, ""
}

// Hold says whether all conditions hold of a request with these fields and this raw
// query. It allocates nothing but for cookies that somebody has parsed already.
func (c *Conditions) Hold(h *fasthttp.RequestHeader, query []byte) bool {
	m := message{header: h, query: query, decoded: &c.decoded}
	for i := range c.all {
		if m.check(&c.all[i]) != holds {
			return false
		}
	}
	for i := range c.cookies {
		if m.checkCookie(&c.cookies[i]) != holds {
			return false
		}
	}
	return true
}

// Len is how many conditions there are.
func (c *Conditions) Len() int { return len(c.all) + len(c.cookies) }

// Strings are the conditions as an operator would say them.
func (c *Conditions) Strings() []string {
	var out []string
	for _, one := range c.all {
		kind := "header "
		if one.query {
			kind = "query "
		}
		out = append(out, kind+one.String())
	}
	for _, one := range c.cookies {
		out = append(out, "cookie "+one.String())
	}
	return out
}

// checkCookie tests a condition on a cookie. Like a field that stands twice, a cookie
// that does has no one value.
func (m *message) checkCookie(c *condition) outcome {
	var value []byte
	times := 0
	for _, line := range m.header.PeekAll(fasthttp.HeaderCookie) {
		v, n := wire.Cookie(line, c.Name)
		if n > 0 && times == 0 {
			value = v
		}
		times += n
	}
	switch {
	case times == 0:
		return missing
	case c.Kind == Present:
		return holds
	case times > 1:
		return several
	case c.Kind == Exact && string(value) == c.Value, c.Kind == Regex && c.re.Match(value):
		return holds
	default:
		return differs
	}
}
