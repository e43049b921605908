package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/wire"
)

// PathTemplate makes a path from the parameters of a match: "/b/{rest}".
// It is compiled once and may be used by many exchanges at once.
type PathTemplate struct {
	text  string
	parts []templatePart
}

// templatePart is a literal, or a parameter when name is set.
type templatePart struct {
	literal, name string
}

// ParsePathTemplate compiles text; every {name} must be one of names.
func ParsePathTemplate(text string, names []string) (*PathTemplate, error) {
	t := &PathTemplate{text: text}
	for rest := text; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			t.parts = append(t.parts, templatePart{literal: rest})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, templatePart{literal: rest[:open]})
		}
		end := open + strings.IndexByte(rest[open:], '}')
		if end < open {
			return nil, fmt.Errorf("%q has a { without its }", text)
		}
		name := rest[open+1 : end]
		if !contains(names, name) {
			return nil, fmt.Errorf("{%s} is no parameter of the route; it has %s", name, list(names))
		}
		t.parts = append(t.parts, templatePart{name: name})
		rest = rest[end+1:]
	}
	return t, nil
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "{" + strings.Join(names, "}, {") + "}"
}

// String returns the template as written.
func (t *PathTemplate) String() string { return t.text }

// Append appends the path for p to dst. An empty parameter at the very end
// takes the slash before it along: "/b/{rest}" makes "/b" of an empty rest (RT3).
func (t *PathTemplate) Append(dst []byte, p *router.Params) []byte {
	start := len(dst)
	for i, part := range t.parts {
		if part.name == "" {
			dst = append(dst, part.literal...)
			continue
		}
		value := p.Get(part.name)
		if len(value) == 0 && i == len(t.parts)-1 && len(dst) > start+1 && dst[len(dst)-1] == '/' {
			dst = dst[:len(dst)-1]
		}
		dst = append(dst, value...)
	}
	return dst
}

// errOutsidePrefix is met when strip_prefix does not lead the path.
var errOutsidePrefix = errors.New("the path does not begin with strip_prefix")

// Target returns the request target that the service gets: the canonical path,
// rewritten if the route says so, with the raw query. It is checked again after
// a rewrite, for a parameter may have brought a dot segment (SECURITY C6).
// The bytes are borrowed from the exchange.
func (x *Exchange) Target() ([]byte, error) {
	r := x.Route
	x.target = x.target[:0]
	switch {
	case r.Rewrite != nil:
		x.target = r.Rewrite.Append(x.target, &x.Params)
	case r.StripPrefix != "":
		rest, ok := bytes.CutPrefix(x.Path, []byte(r.StripPrefix))
		if !ok {
			return nil, errOutsidePrefix
		}
		if len(rest) == 0 || rest[0] != '/' {
			x.target = append(x.target, '/')
		}
		x.target = append(x.target, rest...)
	default:
		x.target = append(x.target, x.Path...)
		return x.appendQuery(), nil
	}
	if err := wire.CheckRewritten(x.target); err != nil {
		return nil, fmt.Errorf("rewriting the path: %w", err)
	}
	return x.appendQuery(), nil
}

func (x *Exchange) appendQuery() []byte {
	if x.Query != nil {
		x.target = append(append(x.target, '?'), x.Query...)
	}
	return x.target
}

// Locate appends the Location of the route's redirect to dst. A path made from
// parameters can't become a reference to another host: "//" and "/\" at its
// start are refused (SECURITY C7).
func (x *Exchange) Locate(dst []byte) ([]byte, error) {
	d := x.Route.Redirect
	start := len(dst)
	dst = d.Location.Append(dst, &x.Params)
	if location := dst[start:]; location[0] == '/' && len(location) > 1 && (location[1] == '/' || location[1] == '\\') {
		return nil, errors.New("the redirect would lead to another host")
	}
	if d.KeepQuery && x.Query != nil {
		dst = append(append(dst, '?'), x.Query...)
	}
	return dst, nil
}

// SetTarget reads the request's raw target and makes its path canonical
// (SECURITY C6). The bytes are borrowed from the request and from the exchange.
func (x *Exchange) SetTarget(o wire.PathOptions) error {
	path, query, hasQuery := wire.SplitTarget(x.originForm())
	if hasQuery {
		x.Query = query
	}
	var err error
	x.Path, x.PathFlags, err = wire.CanonicalPath(x.pathBuffer[:0], path, o)
	if err != nil {
		x.Path = nil
		return err
	}
	if x.PathFlags&wire.PathChanged != 0 {
		x.pathBuffer = x.Path[:0]
	}
	return nil
}

// originForm returns the target without the scheme and authority of an
// absolute-form; the scanner has compared that authority with Host (SECURITY C7).
func (x *Exchange) originForm() []byte {
	target := x.Request.Header.RequestURI()
	if x.Head == nil || !x.Head.AbsoluteForm {
		return target
	}
	_, rest, _ := bytes.Cut(target, []byte("://"))
	i := bytes.IndexAny(rest, "/?")
	if i < 0 {
		return []byte("/")
	}
	if rest[i] == '?' {
		return append([]byte("/"), rest[i:]...)
	}
	return rest[i:]
}

// SetHost reads a Host field's value.
func (x *Exchange) SetHost(host []byte) error {
	name, _, err := wire.CanonicalHost(x.hostBuffer[:0], host)
	x.Host = name
	return err
}
