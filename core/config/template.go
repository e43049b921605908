package config

import (
	"slices"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// templateNames returns the names in braces of a template such as /v2/{rest}, in
// order; a brace that does not belong to a name is reported as false.
func templateNames(s string) (names []string, ok bool) {
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			return names, true
		}
		end := strings.IndexAny(s[i+1:], "{}")
		if s[i] == '}' || end < 0 || s[i+1+end] == '{' {
			return nil, false
		}
		names = append(names, s[i+1:i+1+end])
		s = s[i+end+2:]
	}
	return names, true
}

// fill puts value in place of every name of a template.
func fill(s, value string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(rest, "}")
		b.WriteString(value)
	}
}

// template checks the names of a template against those a route's match has, and
// says whether they are right.
func (c *checker) template(n *setting.Node, known []string) bool {
	names, ok := templateNames(n.Text)
	if !ok {
		c.r.AddNode(n, "want names in braces, such as {rest}, got "+n.Describe(), "")
		return false
	}
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		text := "no {name} that every path of the route has"
		if len(known) > 0 {
			text = "{" + strings.Join(known, "}, {") + "}"
		}
		near := setting.Nearest(strings.TrimSuffix(name, "..."), known)
		if slices.Contains(known, strings.TrimSuffix(name, "...")) {
			near = strings.TrimSuffix(name, "...")
		}
		if near != "" {
			near = "{" + near + "}"
		}
		got := "{" + name + "}"
		if n.Expanded {
			got, near = "in "+n.Describe(), ""
		}
		c.r.AddNode(n, "unknown name "+got+"; known here: "+text, near)
		return false
	}
	return true
}

// pathFault says what is wrong with a path in a template, or returns "": it
// begins with one slash, and has no dot segments and no bytes that a path can't
// have (RFC 3986 §3.3, SECURITY C6).
func pathFault(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "a path that begins with /"
	case strings.HasPrefix(path, "//"), strings.HasPrefix(path, `/\`):
		return "a path that begins with one /: this would name another host"
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return "a path without the segments . and .."
		}
	}
	if strings.Contains(path, "//") {
		return "a path without //"
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return "a path with two hexadecimal digits after each %"
			}
			if strings.EqualFold(path[i:i+3], "%5c") || strings.EqualFold(path[i:i+3], "%2e") || path[i+1] < '2' {
				return "a path without encoded dots, backslashes and controls"
			}
			i += 2
			continue
		}
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>?\\^`{|}", c) >= 0 {
			return "a path without spaces, controls, " + `? # \` + " and the like: encode them"
		}
	}
	return ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// redirectFault says what is wrong with the target of a redirect, or returns "".
// filled is the target with every name replaced (SECURITY C7).
func redirectFault(target, filled string) string {
	scheme, rest, absolute := strings.Cut(filled, "://")
	if !absolute {
		path, _, _ := strings.Cut(filled, "#")
		path, _, _ = strings.Cut(path, "?")
		if fault := pathFault(path); fault != "" {
			return fault
		}
		return tailFault(filled)
	}
	if scheme != "http" && scheme != "https" {
		return "a path, or a URL that begins with http:// or https://"
	}
	host := rest[:len(rest)-len(strings.TrimLeft(rest, hostBytes))]
	written, _ := strings.CutPrefix(target, scheme+"://")
	if !strings.HasPrefix(written, host) || host == "" || !isRedirectHost(host) {
		return "a URL whose host is written out: it can't come from the request"
	}
	rest = rest[len(host):]
	switch {
	case rest == "":
		return ""
	case rest[0] == '?' || rest[0] == '#':
		return tailFault(rest)
	case rest[0] != '/':
		return "a URL that has a host and a port alone before its path"
	}
	path, _, _ := strings.Cut(rest, "#")
	path, _, _ = strings.Cut(path, "?")
	if fault := pathFault(path); fault != "" {
		return fault
	}
	return tailFault(rest)
}

// hostBytes are what an authority of a redirect may hold.
const hostBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:[]"

// isRedirectHost says that s is a host with or without a port.
func isRedirectHost(s string) bool {
	if a, ok := parseAddress(s); ok {
		return a.host != "" && a.port != 0
	}
	a, ok := parseAddress(s + ":80")
	return ok && a.host != ""
}

// tailFault looks at the query and fragment of a target.
func tailFault(s string) string {
	i := strings.IndexAny(s, "?#")
	if i < 0 {
		return ""
	}
	for _, c := range []byte(s[i:]) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return "a query without spaces, controls and quotes: encode them"
		}
	}
	return ""
}
