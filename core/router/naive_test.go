package router

import (
	"bytes"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// naive is the precedence of doc.go written down a second time, as plainly as can
// be and without a line of the package's own code: every pair of host and path of
// every route is tried, and the smallest key wins.
type naive struct{ entries []Entry[int] }

// naiveRequest is a request in strings.
type naiveRequest struct {
	listener, host, path, method, query string
	fields                              [][2]string
}

// naiveFound is what naive found.
type naiveFound struct {
	result Result
	entry  int
	params map[string]string
	tie    bool // two pairs of different routes had the same key
	allow  []string
}

func (n naive) lookup(q naiveRequest) naiveFound {
	var best []int
	out := naiveFound{entry: -1}
	fits, taken := false, false
	allowed := map[string]bool{"OPTIONS": true}
	for i, e := range n.entries {
		m := e.Match
		if len(m.Listeners) > 0 && !slices.Contains(m.Listeners, q.listener) {
			continue
		}
		hosts := m.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, h := range hosts {
			for _, p := range m.Paths {
				hostKey, hostParams, ok := naiveHost(h, strings.TrimSuffix(q.host, "."))
				if !ok {
					continue
				}
				pathKey, params, ok := naivePath(p, q.path)
				if !ok {
					continue
				}
				fits = true
				for _, method := range m.Methods {
					allowed[method] = true
				}
				if len(m.Methods) == 0 {
					for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
						allowed[method] = true
					}
				}
				methodKey, ok := naiveMethod(m.Methods, q.method)
				if !ok {
					continue
				}
				taken = true
				if !naiveConditions(m, q) {
					continue
				}
				key := slices.Concat([]int{-m.Priority}, hostKey, pathKey, []int{methodKey, -len(m.Headers) - len(m.Query)})
				switch d := slices.Compare(key, best); {
				case best == nil || d < 0:
					for name, v := range hostParams {
						params[name] = v
					}
					best = key
					out.entry, out.params, out.tie = i, params, false
				case d == 0:
					out.tie = true
				}
			}
		}
	}
	switch {
	case best != nil:
		out.result = Matched
	case fits && !taken:
		out.result = MethodNotAllowed
	}
	out.allow = naiveAllow(allowed)
	return out
}

// naiveAllow orders methods as Allow has them.
func naiveAllow(set map[string]bool) []string {
	if set["GET"] {
		set["HEAD"] = true
	}
	var out []string
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		if set[m] {
			out = append(out, m)
			delete(set, m)
		}
	}
	var rest []string
	for m := range set {
		rest = append(rest, m)
	}
	slices.Sort(rest)
	return append(out, rest...)
}

func naiveHost(pattern, host string) (key []int, params map[string]string, ok bool) {
	if pattern == "" {
		return []int{2, 0, 0}, nil, true
	}
	if pattern[0] != '*' && pattern[0] != '{' {
		return []int{0, 0, 0}, nil, pattern == host
	}
	first, suffix, _ := strings.Cut(pattern, ".")
	label, ok := strings.CutSuffix(host, "."+suffix)
	if !ok || label == "" || label[0] == '.' {
		return nil, nil, false
	}
	if first == "*" {
		return []int{1, -len(suffix), 1}, nil, true
	}
	return []int{1, -len(suffix), 0}, map[string]string{"host." + strings.Trim(first, "{}"): label}, !strings.Contains(label, ".")
}

// naivePath knows patterns whose regular expressions have no slash.
func naivePath(pattern, path string) (key []int, params map[string]string, ok bool) {
	params = map[string]string{}
	segments := strings.Split(pattern, "/")[1:]
	if len(path) == 0 || path[0] != '/' {
		return nil, nil, false
	}
	given := strings.Split(path, "/")[1:]
	for i, s := range segments {
		if name, isRest := strings.CutSuffix(s, "...}"); isRest {
			params[name[1:]] = strings.Join(given[min(i, len(given)):], "/")
			return append(key, 4), params, true
		}
		if i >= len(given) {
			return nil, nil, false
		}
		if s == "" || s[0] != '{' {
			if s != given[i] {
				return nil, nil, false
			}
			key = append(key, 1)
			continue
		}
		name, re, hasRegex := strings.Cut(s[1:len(s)-1], ":")
		if given[i] == "" || hasRegex && !regexp.MustCompile("^("+re+")$").MatchString(given[i]) {
			return nil, nil, false
		}
		params[name] = given[i]
		key = append(key, 3)
		if hasRegex {
			key[len(key)-1] = 2
		}
	}
	return append(key, 0), params, len(given) == len(segments)
}

func naiveMethod(methods []string, method string) (key int, ok bool) {
	switch {
	case len(methods) == 0:
		return 2, true
	case slices.Contains(methods, method):
		return 0, true
	case method == "HEAD" && slices.Contains(methods, "GET"):
		return 1, true
	default:
		return 0, false
	}
}

func naiveConditions(m Match, q naiveRequest) bool {
	for _, c := range m.Headers {
		var values []string
		for _, f := range q.fields {
			if strings.EqualFold(f[0], c.Name) {
				values = append(values, f[1])
			}
		}
		if !naiveCondition(c, values) {
			return false
		}
	}
	for _, c := range m.Query {
		var values []string
		for pair := range strings.SplitSeq(q.query, "&") {
			k, v, _ := strings.Cut(pair, "=")
			if pair != "" && naiveDecode(k) == c.Name {
				values = append(values, naiveDecode(v))
			}
		}
		if !naiveCondition(c, values) {
			return false
		}
	}
	return true
}

func naiveCondition(c Condition, values []string) bool {
	switch c.Kind {
	case Present:
		return len(values) > 0
	case Exact:
		return len(values) == 1 && values[0] == c.Value
	default:
		return len(values) == 1 && regexp.MustCompile(c.Value).MatchString(values[0])
	}
}

var badEscape = regexp.MustCompile("%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)")

// naiveDecode decodes with the standard library; what it refuses has a bad escape,
// which stands for itself.
func naiveDecode(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	bad := badEscape.FindStringIndex(s)
	return naiveDecode(s[:bad[0]]) + "%" + naiveDecode(s[bad[0]+1:])
}

// toMap returns parameters as a map.
func toMap(p *Params) map[string]string {
	out := map[string]string{}
	for i := range p.Len() {
		name, value := p.At(i)
		if !bytes.Equal(value, p.Get(name)) {
			panic("At and Get differ")
		}
		out[name] = string(value)
	}
	return out
}
