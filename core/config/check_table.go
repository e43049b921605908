package config

import (
	"strings"

	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
)

// table lets the router compile all routes whose match could be read, and puts
// its problems where their cause stands.
func (c *checker) table() {
	entries := make([]router.Entry[*Route], 0, len(c.cfg.Routes))
	for _, route := range c.cfg.Routes {
		if readable(route) {
			entries = append(entries, router.Entry[*Route]{
				Name: route.Name, At: route.At.String(), Match: route.Match.RouterMatch(route.Priority), Value: route,
			})
		}
	}
	for _, p := range router.Check(entries) {
		route := entries[p.Entry].Value
		if p.Other >= 0 || p.Field == "" {
			c.r.Add(route.At, route.Node.Path, p.Text, "")
			continue
		}
		n, text := c.matchNode(route, p.Field), p.Text
		if n.Expanded {
			text = "the router can't use " + n.Describe()
		}
		c.r.AddNode(n, text, "")
	}
}

// readable says that a route's match holds all that was written: nothing that is
// unknown, and nothing that the decoder refused.
func readable(route *Route) bool {
	match := mapOf(route.Node.Get("match"))
	if match == nil || hasUnset(match) || hasUnset(route.Node.Get("priority")) {
		return false
	}
	m := &route.Match
	if len(m.AllPaths()) == 0 || given(match, "path") != nil && m.Path == "" {
		return false
	}
	for _, words := range [][]string{m.AllPaths(), m.Hosts, m.Methods, m.Listeners} {
		for _, word := range words {
			if word == "" {
				return false
			}
		}
	}
	for _, conditions := range []map[string]Condition{m.Headers, m.Query} {
		for _, condition := range conditions {
			if condition.Kind != router.Present && condition.Value == "" {
				return false
			}
		}
	}
	return true
}

// hasUnset says that n holds a value that is unknown.
func hasUnset(n *setting.Node) bool {
	if n == nil {
		return false
	}
	if n.Unset {
		return true
	}
	for _, item := range n.Items {
		if hasUnset(item) {
			return true
		}
	}
	for _, e := range n.Entries {
		if hasUnset(e.Value) {
			return true
		}
	}
	return false
}

// matchNode returns where the part of a match was written that the router names
// as "paths[1]" or "headers.X-Team".
func (c *checker) matchNode(route *Route, field string) *setting.Node {
	match := route.Node.Get("match")
	switch key, name, found := strings.Cut(field, "."); {
	case found:
		if n := match.Get(key).Get(name); n != nil {
			return n
		}
	case strings.HasPrefix(field, "paths["):
		return c.pathNode(route, atIndex(field))
	case strings.Contains(field, "["):
		key, _, _ = strings.Cut(field, "[")
		return match.Get(key).Values()[atIndex(field)]
	default:
		if n := match.Get(field); n != nil {
			return n
		}
	}
	return match
}

// atIndex returns the number in brackets of "paths[1]".
func atIndex(field string) int {
	n := 0
	for _, c := range field {
		if c >= '0' && c <= '9' {
			n = n*10 + int(c-'0')
		}
	}
	return n
}
