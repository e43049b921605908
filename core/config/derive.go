package config

import (
	"slices"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// derive merges defaults and profiles under services and routes, and what routes
// take from services and from the whole gateway under theirs. It works on trees,
// so that every value keeps its place; what has the wrong form is left for the
// decoder to report.
func derive(tree *setting.Node, plugins []string, r *setting.Report) *setting.Node {
	d := deriver{r: r, tree: tree, guarded: slices.Contains(plugins, PluginAuth)}
	d.listen()
	d.services()
	d.routes()
	return d.tree
}

type deriver struct {
	r       *setting.Report
	tree    *setting.Node
	guarded bool // there is a plugin auth, so that every route has it
}

// PluginAuth is the one plugin that the language itself knows: every route has it
// unless `auth: off` says otherwise (SPEC ID9). What answers in no route of the
// configuration never has it.
const PluginAuth = "auth"

// BuiltIn is where things stand that nobody wrote.
const BuiltIn = "built in"

// listen fills in the one public listener.
func (d *deriver) listen() {
	if d.tree.Get("listen") != nil {
		return
	}
	address := &setting.Node{Kind: setting.Scalar, Text: ":8080", Quoted: true}
	public := (&setting.Node{Kind: setting.Map}).With("address", address)
	d.tree = d.tree.With("listen", (&setting.Node{Kind: setting.Map}).With("public", public))
}

// each returns the map under key with every map in it replaced by f's result.
func (d *deriver) each(key string, f func(e setting.Entry) *setting.Node) {
	all := d.tree.Get(key)
	if all == nil || all.Kind != setting.Map {
		return
	}
	out := &setting.Node{Kind: setting.Map, At: all.At, Path: all.Path, Entries: make([]setting.Entry, 0, len(all.Entries))}
	for _, e := range all.Entries {
		if e.Value.Kind == setting.Map {
			e.Value = f(e)
		}
		out.Append(e)
	}
	d.tree = d.tree.With(key, out)
}

// mapOf returns n if it is a map, else nil.
func mapOf(n *setting.Node) *setting.Node {
	if n == nil || n.Kind != setting.Map {
		return nil
	}
	return n
}

func (d *deriver) services() {
	base := mapOf(d.tree.Get("defaults").Get("service"))
	plain := base.With("tls", nil)
	d.each("services", func(e setting.Entry) *setting.Node {
		if e.Value.Get("tls") == nil && !anySecure(e.Value.Get("endpoints")) {
			return setting.Merge(plain, e.Value)
		}
		return setting.Merge(base, e.Value)
	})
}

// anySecure says whether one of the endpoints may speak TLS.
func anySecure(endpoints *setting.Node) bool {
	if endpoints == nil || endpoints.Kind != setting.List {
		return false
	}
	return slices.ContainsFunc(endpoints.Items, func(e *setting.Node) bool {
		if e.Kind != setting.Map {
			return false
		}
		n := e.Get("url")
		return n != nil && (n.Unset || strings.HasPrefix(n.Text, schemeTLS))
	})
}

func (d *deriver) routes() {
	base := &setting.Node{Kind: setting.Map}
	if plugins := mapOf(d.tree.Get("defaults").Get("plugins")); plugins != nil {
		base = base.With("plugins", plugins)
	}
	limits := &setting.Node{Kind: setting.Map}
	for _, key := range []string{"body", "buffer"} {
		if n := mapOf(d.tree.Get("limits")).Get(key); n != nil {
			limits = limits.With(key, n)
		}
	}
	required := base.Get("plugins").Get(PluginAuth)
	if required == nil {
		required = &setting.Node{Kind: setting.Map, At: setting.Position{Source: BuiltIn}, Path: PluginAuth}
	}
	d.each("routes", func(e setting.Entry) *setting.Node {
		route := d.route(base, e.Value)
		if d.guarded {
			route = guard(route, required)
		}
		inherits := []setting.Entry{{Key: "limits", Value: under(route, "limits", limits)}}
		inherits = append(inherits, d.destinations(route)...)
		if service := d.service(route); service != nil {
			for _, key := range []string{"timeouts", "retry"} {
				inherits = append(inherits, setting.Entry{Key: key, Value: under(route, key, service.Get(key))})
			}
		}
		return route.WithAll(inherits)
	})
}

// guard gives a route the plugin auth that the defaults require, unless it says
// something about it: `plugins: off` says nothing.
func guard(route, required *setting.Node) *setting.Node {
	plugins := route.Get("plugins")
	switch {
	case plugins == nil, plugins.IsOff():
		return route.With("plugins", (&setting.Node{Kind: setting.Map}).With(PluginAuth, required))
	case plugins.Kind == setting.Map && plugins.Get(PluginAuth) == nil:
		return route.With("plugins", plugins.With(PluginAuth, required))
	}
	return route
}

// route merges the defaults, the profiles that a route uses, and the route.
func (d *deriver) route(base, route *setting.Node) *setting.Node {
	merged := base
	profiles := d.tree.Get("profiles")
	use := route.Get("use")
	var names setting.StringList
	if use != nil && !use.IsOff() {
		// The decoder reports what is wrong with the list itself.
		setting.Decode(use, &names, &setting.Report{})
	}
	for i, name := range names {
		profile := profiles.Get(name)
		switch {
		case name == "":
		case profile == nil || profile.IsOff():
			n := use.Values()[i]
			d.r.AddNode(n, "want the name of a profile, got "+n.Describe(), nearest(n, keys(profiles)))
		case profile.Kind == setting.Map:
			// A profile of profiles is reported where it stands.
			merged = setting.Merge(merged, profile.With("use", nil))
		}
	}
	return setting.Merge(merged, route)
}

// service returns the tree of the service that a route names, an empty one if it
// can't be found, and nil if the route names none.
func (d *deriver) service(route *setting.Node) *setting.Node {
	name := route.Get("service")
	if name == nil || name.IsOff() {
		return nil
	}
	if service := mapOf(d.tree.Get("services").Get(name.Text)); service != nil && name.Kind == setting.Scalar {
		return service
	}
	return &setting.Node{Kind: setting.Map}
}

// under lays what a route says of key over what it inherits, and returns that. A route that
// switches a whole map off keeps what it inherits, but for retries.
func under(route *setting.Node, key string, inherited *setting.Node) *setting.Node {
	own := route.Get(key)
	if own.IsOff() && key != "retry" {
		own = nil
	}
	merged := setting.Merge(inherited, own)
	if merged == nil {
		merged = &setting.Node{Kind: setting.Map}
	}
	return merged
}

// keys returns the keys of a map that are not switched off.
func keys(n *setting.Node) []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, e := range n.Entries {
		if !e.Value.IsOff() && !strings.HasPrefix(e.Key, "x-") {
			out = append(out, e.Key)
		}
	}
	return out
}
