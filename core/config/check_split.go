package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
)

// destinations checks where a route sends its requests: what it splits over, and whom
// it pins.
func (c *checker) destinations(route *Route) {
	n := route.Node
	if split := mapOf(given(n, "split")); split != nil {
		c.split(route, split)
	} else if by := given(n, "split_by"); by != nil {
		c.r.AddNode(by, "only a route with split can have split_by", "")
	}
	if route.SplitBy.Word == "user" && c.nobody(route) {
		c.r.WarnNode(n.Get("split_by"), "auth is off: nobody has a user, so that addresses count", "ip")
	}
	c.mirror(route)
	for _, p := range route.Pin {
		if p.Node.Kind == setting.Map {
			c.pin(route, p)
		}
	}
}

// mirror wants a service that is there.
func (c *checker) mirror(route *Route) {
	if route.Mirror == nil || mapOf(route.Mirror.Node) == nil {
		return
	}
	if missing(route.Mirror.Node, "service") {
		c.r.AddNode(route.Mirror.Node, "want the service that gets the copies", "")
	}
	n := given(route.Mirror.Node, "service")
	if n == nil || route.Mirror.Service == "" {
		return
	}
	c.used["service "+route.Mirror.Service] = true
	switch {
	case !slices.Contains(c.services, route.Mirror.Service):
		c.r.AddNode(n, "want the name of a service, got "+n.Describe(), nearest(n, c.services))
	case route.Mirror.Service == route.Service:
		c.r.AddNode(n, "want another service than the route's own: every request would reach it twice", "")
	}
}

// nobody says that a route never learns who calls.
func (c *checker) nobody(route *Route) bool {
	return slices.Contains(c.o.Plugins, PluginAuth) && route.Plugins[PluginAuth] == nil
}

func (c *checker) split(route *Route, n *setting.Node) {
	sum := 0
	for _, s := range route.Split {
		c.used["service "+s.Service] = true
		if !slices.Contains(c.services, s.Service) {
			c.r.Add(s.At, n.Path+"."+s.Service, fmt.Sprintf("want the name of a service, got %q", s.Service), setting.Nearest(s.Service, c.services))
		}
		if s.Node.Kind == setting.Map && missing(s.Node, "weight") {
			c.r.AddNode(s.Node, "want a weight", "")
		}
		if s.Retry != nil {
			c.retry(s.Node.Get("retry"), &s.Retry.Retry)
		}
		sum += s.Weight
	}
	switch {
	case len(route.Split) == 0:
		c.r.AddNode(n, "want services with their weights, such as {content: 95, content-next: 5}", "")
	case sum == 0 && !hasUnset(n) && readableWeights(route.Split):
		c.r.AddNode(n, "want one weight above 0 at least: no request would go anywhere", "")
	}
}

// readableWeights says that all weights are as they were written: one that was refused
// is 0 as well.
func readableWeights(split []*SplitTo) bool {
	return !slices.ContainsFunc(split, func(s *SplitTo) bool {
		w := s.Node.Get("weight")
		return w == nil || w.Text != "0"
	})
}

// pin wants a condition at least, conditions that can be compiled, and a service.
func (c *checker) pin(route *Route, p *Pin) {
	if missing(p.Node, "service") {
		c.r.AddNode(p.Node, "want the service that these requests go to", "")
	}
	if n := given(p.Node, "service"); n != nil && p.Service != "" {
		c.used["service "+p.Service] = true
		if !slices.Contains(c.services, p.Service) {
			c.r.AddNode(n, "want the name of a service, got "+n.Describe(), nearest(n, c.services))
		}
	}
	asks := false
	for _, key := range []string{"headers", "query", "cookies", "user", "client", "scope", "claim"} {
		n := p.Node.Get(key)
		asks = asks || n != nil && !n.IsOff() && (n.Kind == setting.Scalar || len(n.Entries)+len(n.Items) > 0)
	}
	if !asks {
		c.r.AddNode(p.Node, "want a condition: headers, query, cookies, user, client, scope or claim", "")
	}
	c.pinnedRequest(p)
	c.pinnedCaller(route, p)
	if p.Retry != nil {
		c.retry(p.Node.Get("retry"), &p.Retry.Retry)
	}
}

func (c *checker) pinnedRequest(p *Pin) {
	for _, key := range []string{"headers", "query", "cookies"} {
		if hasUnset(p.Node.Get(key)) {
			return
		}
	}
	asked := p.Asked()
	for _, list := range []*[]router.Condition{&asked.Headers, &asked.Query, &asked.Cookies} {
		// Those without a value were refused already.
		*list = slices.DeleteFunc(*list, func(one router.Condition) bool { return one.Kind != router.Present && one.Value == "" })
	}
	_, bad := router.NewConditions(asked)
	for _, b := range bad {
		n, _ := p.Node.Find(b.Field)
		text := "can't ask this: " + b.Text
		if n.Expanded {
			text = "can't ask for " + n.Describe()
		}
		c.r.AddNode(n, text, "")
	}
}

func (c *checker) pinnedCaller(route *Route, p *Pin) {
	if n := given(p.Node, "scope"); n != nil && p.Scope != "" {
		if err := principal.CheckScope(p.Scope); err != nil {
			c.r.AddNode(n, "want a scope such as premium or courses:read: "+err.Error(), "")
		}
	}
	for _, pointer := range slices.Sorted(maps.Keys(p.Claim)) {
		n := p.Node.Get("claim").Get(pointer)
		if _, err := principal.ParseClaim(pointer, nil); err != nil {
			c.r.AddNode(n, fmt.Sprintf("want JSON pointers such as /plan, got %q: %s", pointer, err), "")
		}
		if len(p.Claim[pointer]) == 0 && !n.Unset {
			c.r.AddNode(n, "want values that will do for "+pointer, "")
		}
	}
	if caller := p.Caller(); !caller.IsZero() && c.nobody(route) {
		c.r.WarnNode(p.Node, "auth is off: nobody is known, so that this never holds", "")
	}
}
