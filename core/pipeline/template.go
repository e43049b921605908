package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// Template makes a text of what is known of an exchange: "{principal.client}",
// "{host.tenant}:{header.X-Team}". It is compiled once and may be used by many
// exchanges at once.
//
//	{host}              the host that was asked for, in lower case, without a port
//	{host.NAME}         the parameter NAME of the route's host pattern
//	{path.NAME}         the parameter NAME of its path pattern, as in the canonical path
//	{header.NAME}       a request field, the first line of it; no credential
//	{principal.NAME}    user, client, session or key: the id of who calls
type Template struct {
	text  string
	parts []sourcePart
}

// source is where a part of a text comes from.
type source uint8

const (
	fromText source = iota
	fromHost
	fromParameter // of the path or the host
	fromHeader
	fromUser
	fromClient
	fromSession
	fromKey
)

// sourcePart is a literal, or what stands in its place.
type sourcePart struct {
	source source
	text   string // the literal, or the name of the parameter or field
}

// ofPrincipal are the names behind "principal.".
var ofPrincipal = []struct {
	name   string
	source source
}{{"user", fromUser}, {"client", fromClient}, {"session", fromSession}, {"key", fromKey}}

// secretFields hold credentials, which stop here (SECURITY I15): no text is made of them.
var secretFields = []string{"authorization", "proxy-authorization", "cookie", "x-api-key"}

// ParseTemplate compiles text. The error completes "want …"; it is a *setting.ValueError.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			i = len(rest)
		}
		if i > 0 {
			t.parts = append(t.parts, sourcePart{text: rest[:i]})
		}
		if rest = rest[i:]; rest == "" {
			break
		}
		end := strings.IndexAny(rest[1:], "{}")
		if rest[0] == '}' || end < 0 || rest[1+end] == '{' {
			return nil, &setting.ValueError{Want: "names in braces, such as {host.tenant}"}
		}
		part, err := parseSource(rest[1 : 1+end])
		if err != nil {
			return nil, err
		}
		t.parts, rest = append(t.parts, part), rest[2+end:]
	}
	return t, nil
}

// parseSource reads what stands between braces.
func parseSource(name string) (sourcePart, error) {
	kind, rest, _ := strings.Cut(name, ".")
	switch {
	case name == "host":
		return sourcePart{source: fromHost}, nil
	case kind == "host" && isName(rest):
		return sourcePart{fromParameter, name}, nil
	case kind == "path" && isName(rest):
		return sourcePart{fromParameter, rest}, nil
	case kind == "header" && isFieldName(rest):
		if slices.Contains(secretFields, strings.ToLower(rest)) {
			return sourcePart{}, &setting.ValueError{Want: "a field that holds no credential"}
		}
		return sourcePart{fromHeader, rest}, nil
	case kind == "principal":
		for _, p := range ofPrincipal {
			if p.name == rest {
				return sourcePart{source: p.source}, nil
			}
		}
	}
	return sourcePart{}, &setting.ValueError{
		Want:    "one of {host}, {host.NAME}, {path.NAME}, {header.NAME}, {principal.user}, {principal.client}, {principal.session} and {principal.key}",
		Suggest: nearestSource(kind, rest),
	}
}

// nearestSource is what {kind.rest} was probably meant to be, or "".
func nearestSource(kind, rest string) string {
	near := setting.Nearest(kind, []string{"host", "path", "header", "principal"})
	if kind == "principal" || near == "principal" {
		var names []string
		for _, p := range ofPrincipal {
			names = append(names, p.name)
		}
		if of := setting.Nearest(rest, names); of != "" {
			rest = of
		}
		if !slices.Contains(names, rest) {
			return ""
		}
		near = "principal"
	}
	if near == "" || rest == "" {
		return ""
	}
	return fmt.Sprintf("{%s.%s}", near, rest)
}

// isName says that s may name a parameter of a pattern.
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && r != '_' })
}

func isFieldName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !isAlphanumeric(r) && r != '-' })
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// String returns the template as written.
func (t *Template) String() string { return t.text }

// NeedsPrincipal says whether something of who calls is part of the text.
func (t *Template) NeedsPrincipal() bool {
	return slices.ContainsFunc(t.parts, func(p sourcePart) bool { return p.source >= fromUser })
}

// Append appends the text for x to dst. It says false, and what was appended is of no
// use, if something that the text is made of is not there, or is empty.
func (t *Template) Append(dst []byte, x *Exchange) ([]byte, bool) {
	for i := range t.parts {
		begun := len(dst)
		dst = t.parts[i].append(dst, x)
		if len(dst) == begun {
			return dst, false
		}
	}
	return dst, true
}

func (s *sourcePart) append(dst []byte, x *Exchange) []byte {
	switch s.source {
	case fromText:
		return append(dst, s.text...)
	case fromHost:
		return append(dst, x.Host...)
	case fromParameter:
		return append(dst, x.Params.Get(s.text)...)
	case fromHeader:
		return append(dst, x.Request.Header.Peek(s.text)...)
	}
	p := x.Principal
	switch {
	case p == nil:
		return dst
	case s.source == fromUser:
		return append(dst, p.User...)
	case s.source == fromClient:
		return append(dst, p.Client...)
	case s.source == fromSession:
		return append(dst, p.Session...)
	default:
		return append(dst, p.Key...)
	}
}
