package config

import (
	"fmt"

	"github.com/suuupra/gateway/core/setting"
)

// callers are where those stand whom the gateway can know.
var callers = [][]string{{"identity", "users"}, {"identity", "api_keys"}, {"identity", "issuers"}, {"stores", "postgres"}}

// anybody warns where routes want a credential and nobody can have one: such a
// gateway answers 401 to the whole world, which is safe and hardly meant.
func (c *checker) anybody() {
	for _, path := range callers {
		n := c.cfg.tree.Get(path[0]).Get(path[1])
		if n != nil && !n.IsOff() && (n.Kind != setting.Map || len(n.Entries) > 0 || n.Unset) {
			return
		}
	}
	var closed []*Route
	for _, route := range c.cfg.Routes {
		if n := route.Plugins[PluginAuth]; n != nil && !n.Unset && !n.Get("required").IsOff() && !mentions(n.Get("accept"), "mtls") {
			closed = append(closed, route)
		}
	}
	if len(closed) == 0 {
		return
	}
	who := "this route wants"
	if len(closed) > 1 {
		who = fmt.Sprintf("%d routes want", len(closed))
	}
	c.r.Warn(closed[0].At, closed[0].Node.Path, who+" a credential, and nobody can have one: declare identity.users, identity.api_keys, "+
		"identity.issuers or stores.postgres, or open what is for everybody with `auth: off`", "")
}

// mentions says whether a word stands somewhere in n, or can't be ruled out.
func mentions(n *setting.Node, word string) bool {
	if n == nil {
		return false
	}
	for _, item := range n.Values() {
		if item.Unset || item.Text == word || item.Kind == setting.List && mentions(item, word) {
			return true
		}
	}
	return false
}
