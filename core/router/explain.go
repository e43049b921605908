package router

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Step is what one route has to say to a request.
type Step struct {
	Entry   int    `json:"-"` // its index
	Name    string `json:"name"`
	At      string `json:"at"`
	Matched bool   `json:"matched"` // it takes the request; at most one step says so
	Why     string `json:"why"`     // what matched, or the first thing that did not
}

// Explain says of every route, in match order, whether it takes the request and
// why not. It shows no field values, which may be secret. It is slow, and meant
// for people.
func (t *Table[T]) Explain(q *Query) []Step { return t.index.explain(q) }

func (ix *index) explain(q *Query) []Step {
	var p Params
	var winner *rule
	if c, _ := ix.lookup(q, &p); c != nil {
		winner = c.rule
	}
	steps := make([]Step, 0, len(ix.order))
	for _, entry := range ix.order {
		info := &ix.routes[entry]
		s := Step{Entry: entry, Name: info.name, At: info.at}
		switch r, why := ix.judge(info, q); {
		case winner != nil && winner.entry == entry:
			s.Matched = true
			s.Why = fmt.Sprintf("takes the request by %s on %s", winner.pattern, winner.host)
		case why != "":
			s.Why = why
		default:
			s.Why = fmt.Sprintf("matches too, but %q comes first by its %s", ix.routes[winner.entry].name, decidedBy(winner, r, q))
		}
		steps = append(steps, s)
	}
	return steps
}

// decidedBy says which criterion puts winner before r.
func decidedBy(winner, r *rule, q *Query) string {
	_, criterion := comparePrecedence(winner, r)
	switch criterion {
	case "priority", "host", "path":
		return criterion
	}
	if string(q.Method) == "HEAD" && winner.methods&methodHead != r.methods&methodHead {
		return "methods"
	}
	return criterion
}

// judge returns the first rule of a route that takes the request, or why none does.
func (ix *index) judge(info *routeInfo, q *Query) (*rule, string) {
	var w walker
	ix.start(&w, q)
	common := info.rules[0] // all rules agree in what is not host and path
	if common.listeners != 0 && common.listeners&w.listener == 0 {
		return nil, fmt.Sprintf("listener %q is not %s", q.Listener, ix.listenerNames(common.listeners))
	}
	r, why := info.locate(q)
	switch {
	case r == nil:
		return nil, why
	case !r.takes(w.method | w.instead):
		return nil, fmt.Sprintf("method %s is not %s", strconv.QuoteToASCII(string(q.Method)), ix.methods.append(nil, r.methods))
	}
	for i := range r.conds {
		if o := w.check(&r.conds[i]); o != holds {
			return nil, r.conds[i].refusal(o)
		}
	}
	return r, ""
}

// locate returns the first rule whose host and path fit, or why none does.
func (info *routeInfo) locate(q *Query) (*rule, string) {
	host := trimHost(q.Host)
	var near []*rule
	for _, r := range info.rules {
		if !r.host.matches(host) {
			continue
		}
		if r.pattern.mismatch(q.Path) == "" {
			return r, ""
		}
		near = append(near, r)
	}
	switch len(near) {
	case 0:
		return nil, fmt.Sprintf("host %q is not %s", host, list(info.rules, func(r *rule) string { return r.host.String() }))
	case 1:
		return nil, near[0].pattern.mismatch(q.Path)
	default:
		return nil, fmt.Sprintf("path %q fits none of %s", q.Path, list(near, func(r *rule) string { return r.pattern.String() }))
	}
}

// list joins what text says of each rule, each once.
func list(rules []*rule, text func(*rule) string) string {
	var texts []string
	seen := map[string]bool{}
	for _, r := range rules {
		if s := text(r); !seen[s] {
			seen[s] = true
			texts = append(texts, s)
		}
	}
	return strings.Join(texts, ", ")
}

// refusal says why a condition does not hold.
func (c *condition) refusal(o outcome) string {
	switch {
	case o == missing:
		return c.key() + " is missing"
	case o == several:
		return c.key() + " stands more than once, so it has no one value"
	case c.Kind == Exact:
		return c.key() + " is not " + quote(c.Value)
	default:
		return c.key() + " does not match " + c.Value
	}
}

// mismatch says why the pattern does not fit a path, or nothing if it does.
func (p Pattern) mismatch(path []byte) string {
	if len(path) == 0 || path[0] != '/' {
		return "the path does not begin with /"
	}
	rest := path
	for i, s := range p.segments {
		if s.kind == kindRest {
			return ""
		}
		if len(rest) == 0 {
			if s.text == "" && s.kind == kindLiteral {
				return "the path has no trailing slash"
			}
			return "the path ends before /" + s.String()
		}
		segment := rest[1:]
		if end := bytes.IndexByte(segment, '/'); end >= 0 {
			segment = segment[:end]
		}
		if why := s.refusal(segment); why != "" {
			return fmt.Sprintf("segment %d of the path, %q, %s", i+1, segment, why)
		}
		rest = rest[1+len(segment):]
	}
	switch {
	case len(rest) == 0:
		return ""
	case len(rest) == 1:
		return "the path has a trailing slash"
	default:
		return fmt.Sprintf("the path goes on with %q", rest)
	}
}

// refusal says why a segment of a path does not fit, or nothing if it does.
func (s segment) refusal(text []byte) string {
	switch {
	case s.kind == kindLiteral && string(text) == s.text:
		return ""
	case s.kind == kindLiteral && s.text == "":
		return "stands where the pattern ends"
	case s.kind == kindLiteral:
		return "is not " + quote(s.text)
	case len(text) == 0:
		return "is empty"
	case s.kind == kindRegex && !s.re.Match(text):
		return "does not match " + s.text
	default:
		return ""
	}
}

func quote(s string) string { return strconv.Quote(s) }
