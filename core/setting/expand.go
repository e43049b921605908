package setting

import (
	"fmt"
	"strings"
)

// Variables is where ${NAME} gets its value from.
type Variables struct {
	// Lookup returns the value of a variable, and whether it is set.
	Lookup func(name string) (string, bool)
	// Tolerant marks scalars with unset variables as Unset instead of reporting them.
	Tolerant bool
}

// Expand replaces ${NAME} and ${NAME:-default} in the scalars of n, in place, and
// marks them as Expanded; $${ stands for ${. Keys stay as they are (SECURITY
// C11). A variable that is unset, and has no default, is a problem. A default is
// taken for an empty variable too, as shells do; it ends at the first brace. What was
// expanded is not a second time.
func Expand(n *Node, v Variables, r *Report) {
	e := expander{v: v, r: r}
	e.node(n)
}

type expander struct {
	v Variables
	r *Report
}

func (e *expander) node(n *Node) {
	if n == nil || n.expanded {
		return
	}
	n.expanded = true
	if n.Kind == Scalar && strings.Contains(n.Text, "${") {
		e.scalar(n)
	}
	for _, item := range n.Items {
		e.node(item)
	}
	for _, entry := range n.Entries {
		e.node(entry.Value)
	}
}

// scalar replaces all that one scalar names.
func (e *expander) scalar(n *Node) {
	var b strings.Builder
	var names []string
	rest := n.Text
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			break
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		end := strings.IndexByte(rest[i:], '}')
		if end < 0 {
			e.r.AddNode(n, "want ${NAME} or ${NAME:-default}, got a ${ without its }; a literal ${ is written $${", "")
			n.Unset = true
			return
		}
		expression := rest[i+2 : i+end]
		value, ok := e.value(n, expression)
		if !ok {
			n.Unset = true
		}
		name, _, _ := strings.Cut(expression, ":-")
		names = append(names, "${"+name+"}")
		b.WriteString(value)
		rest = rest[i+end+1:]
	}
	b.WriteString(rest)
	n.Text = b.String()
	if len(names) > 0 {
		n.Expanded, n.variables = true, strings.Join(names, " and ")
		e.r.Mask(n)
	}
}

// value returns what the inside of ${…} stands for; false if nobody knows.
func (e *expander) value(n *Node, expression string) (string, bool) {
	name, fallback, hasFallback := strings.Cut(expression, ":-")
	if !validVariable(name) {
		e.r.AddNode(n, fmt.Sprintf("want ${NAME} or ${NAME:-default} with a name of letters, digits and _, got %q; a literal ${ is written $${", cut("${"+name+"}")), "")
		return "", false
	}
	var value string
	var set bool
	if e.v.Lookup != nil {
		value, set = e.v.Lookup(name)
	}
	switch {
	case set && (value != "" || !hasFallback):
		return value, true
	case hasFallback:
		return fallback, true
	case !e.v.Tolerant:
		e.r.AddNode(n, "variable "+name+" is not set, and has no default: set it, or write ${"+name+":-default}", "")
	}
	return "", false
}

// validVariable says whether s may name an environment variable (POSIX 8.1, and
// lower case).
func validVariable(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
