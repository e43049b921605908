package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// Parts are what a snapshot is compiled from beside the configuration. They
// outlive it.
type Parts struct {
	Plugins  []plugin.Plugin // in the order in which hooks of one phase run
	Deps     plugin.Deps
	Services *upstream.Registry
	Meter    *meter.Set
	BuiltIns []BuiltIn
	// Copier makes what sends copies of a route's requests to a service; nil where none are.
	Copier func(*pipeline.Route, *pipeline.Destination) pipeline.Copier
}

// BuiltIn is a route that the program brings along: a probe, a login. It stands in
// the same table as all others, so that one path parser decides on every byte.
type BuiltIn struct {
	Name   string
	Match  router.Match
	Path   wire.PathOptions
	Answer pipeline.Hook
	// BodyLimit is the bytes of a request body; 0 is what the configuration says.
	BodyLimit int64
	// Response, if not nil, runs for every answer of the route, faults included, as
	// the last hook of its phase.
	Response pipeline.Hook
}

// own are the plugins' instances of b and, behind them, b's own hooks.
func (b *BuiltIn) own(instances []pipeline.Named) []pipeline.Named {
	if b.Response == nil {
		return instances
	}
	n := pipeline.Named{Plugin: b.Name, At: "built in"}
	n.Hooks[pipeline.Response] = b.Response
	return append(instances, n)
}

// RouteNone is the name, in logs and metrics, of what matches no route.
const RouteNone = "none"

// compiler collects what a snapshot holds, so that a failure can give it back.
type compiler struct {
	parts    Parts
	config   *config.Config
	services map[string]*upstream.Service
	hashed   map[string]pipeline.Affinity // of services that balance by hashing
	out      *Snapshot
}

// Compile makes a snapshot of a checked configuration. It starts nothing; when
// it fails, all that it built is closed again.
func Compile(cfg *config.Config, parts Parts) (*Snapshot, error) {
	c := &compiler{parts: parts, config: cfg, services: map[string]*upstream.Service{}, hashed: map[string]pipeline.Affinity{}, out: &Snapshot{Config: cfg}}
	c.out.counted, c.out.mask = newCounts()
	if err := c.compile(); err != nil {
		return nil, errors.Join(err, c.out.Close())
	}
	return c.out, nil
}

func (c *compiler) compile() error {
	c.out.Trusted = clientip.New(prefixes(c.config.TrustedProxies))
	for _, s := range c.config.Services {
		if err := c.service(s); err != nil {
			return err
		}
	}
	none, err := c.none()
	if err != nil {
		return err
	}
	c.out.None = none
	entries, err := c.entries()
	if err != nil {
		return err
	}
	table, problems := router.Compile(entries)
	if len(problems) > 0 {
		return fmt.Errorf("%s: route %s: %s", entries[problems[0].Entry].At, entries[problems[0].Entry].Name, problems[0].Text)
	}
	c.out.table = table
	return nil
}

// closing has f called when the snapshot closes, or when compiling fails.
func (c *compiler) closing(f func()) {
	c.out.close = append(c.out.close, func() error { f(); return nil })
}

func prefixes(cidrs []setting.CIDR) []netip.Prefix {
	out := make([]netip.Prefix, len(cidrs))
	for i, cidr := range cidrs {
		out[i] = cidr.Prefix
	}
	return out
}

// none compiles the route of requests that match nothing: the default plugins
// and no answer of its own.
func (c *compiler) none() (*pipeline.Route, error) {
	r := &pipeline.Route{Name: RouteNone, BodyLimit: int64(c.config.Limits.Body), Buffer: int64(c.config.Limits.Buffer)}
	return r, c.dress(r, c.shared(), nil)
}

// shared are the default plugins of what no route of the configuration answers: auth
// concerns routes alone. Who wants to log in has nothing to show yet.
func (c *compiler) shared() map[string]*setting.Node {
	plugins := maps.Clone(c.config.Defaults.Plugins)
	delete(plugins, config.PluginAuth)
	return plugins
}

// dress gives a route, which b brings along if it is not nil, its chain and its metrics.
func (c *compiler) dress(r *pipeline.Route, options map[string]*setting.Node, b *BuiltIn) error {
	instances, err := c.instances(r.Name, options)
	if err != nil {
		return err
	}
	if b != nil {
		instances = b.own(instances)
	}
	r.Chain = pipeline.NewChain(instances)
	c.out.preflights = c.out.preflights || r.Chain.Preflights()
	r.Series = c.parts.Meter.Route(r.Name, r.ServiceName())
	c.closing(r.Series.Release)
	return nil
}

// instances builds the plugins of one route, in the order of the plugin list.
func (c *compiler) instances(route string, options map[string]*setting.Node) ([]pipeline.Named, error) {
	var out []pipeline.Named
	deps := c.parts.Deps
	deps.Route, deps.Policies = route, c.config.LimitPolicies()
	for _, p := range c.parts.Plugins {
		node, on := options[p.Name]
		if !on {
			continue
		}
		instance, err := p.Build(node, &deps)
		if err != nil {
			return nil, fmt.Errorf("%s: route %s: %w", node.At, route, err)
		}
		if instance.Close != nil {
			c.closing(instance.Close)
		}
		out = append(out, pipeline.Named{Plugin: p.Name, At: node.At.String(), Instance: instance})
	}
	return out, nil
}

// entries compiles all routes, the built-in ones first.
func (c *compiler) entries() ([]router.Entry[*pipeline.Route], error) {
	n := len(c.parts.BuiltIns) + len(c.config.Routes)
	entries := make([]router.Entry[*pipeline.Route], 0, n)
	c.out.Routes, c.out.entries, c.out.matches = make(map[string]*pipeline.Route, n), make([]*pipeline.Route, 0, n), make([]router.Match, 0, n)
	for _, b := range c.parts.BuiltIns {
		r := &pipeline.Route{Name: b.Name, At: config.BuiltIn, Path: b.Path, BuiltIn: b.Answer, BodyLimit: cmp.Or(b.BodyLimit, int64(c.config.Limits.Body))}
		if err := c.dress(r, c.shared(), &b); err != nil {
			return nil, err
		}
		entries = append(entries, c.entry(r, b.Match))
	}
	for _, declared := range c.config.Routes {
		r, err := c.route(declared)
		if err != nil {
			return nil, err
		}
		entries = append(entries, c.entry(r, declared.Match.RouterMatch(declared.Priority)))
	}
	return entries, nil
}

func (c *compiler) entry(r *pipeline.Route, m router.Match) router.Entry[*pipeline.Route] {
	c.out.Routes[r.Name] = r
	c.out.entries = append(c.out.entries, r)
	c.out.matches = append(c.out.matches, m)
	c.out.Path.EncodedSlashes = c.out.Path.EncodedSlashes || r.Path.EncodedSlashes
	return router.Entry[*pipeline.Route]{Name: r.Name, At: r.At, Match: m, Value: r}
}

// route compiles one declared route.
func (c *compiler) route(d *config.Route) (*pipeline.Route, error) {
	r := &pipeline.Route{
		Name: d.Name, At: d.At.String(),
		StripPrefix: d.StripPrefix,
		Path:        wire.PathOptions{EncodedSlashes: d.Path.EncodedSlashes == "allow", DoubleSlashes: d.Path.DoubleSlashes == "keep"},
		Trailers:    d.Trailers,
		Withheld:    c.withheld(),
		BodyLimit:   int64(d.Limits.Body), Buffer: int64(d.Limits.Buffer),
	}
	if d.Host == "preserve" {
		r.PreserveHost = true
	} else {
		r.HostName = d.Host
	}
	if err := c.destinations(r, d); err != nil {
		return nil, fmt.Errorf("%s: route %s: %w", d.At, d.Name, err)
	}
	if err := answers(r, d); err != nil {
		return nil, fmt.Errorf("%s: route %s: %w", d.At, d.Name, err)
	}
	return r, c.dress(r, d.Plugins, nil)
}

// withheld names the fields that no service gets.
func (c *compiler) withheld() [][]byte {
	if id := c.parts.Deps.Identity; id != nil && id.FingerprintHeader != "" {
		return [][]byte{[]byte(id.FingerprintHeader)}
	}
	return nil
}

// answers compiles what a route says about its answer: templates and static ones.
func answers(r *pipeline.Route, d *config.Route) error {
	var names []string
	var err error
	if d.Rewrite != "" || d.Redirect != nil {
		if names, err = parameters(&d.Match); err != nil {
			return err
		}
	}
	if d.Rewrite != "" {
		if r.Rewrite, err = pipeline.ParsePathTemplate(d.Rewrite, names); err != nil {
			return fmt.Errorf("rewrite: %w", err)
		}
	}
	if d.Redirect != nil {
		location, err := pipeline.ParsePathTemplate(d.Redirect.To, names)
		if err != nil {
			return fmt.Errorf("redirect.to: %w", err)
		}
		r.Redirect = &pipeline.Redirect{Status: d.Redirect.Status, Location: location, KeepQuery: !hasQuery(d.Redirect.To)}
	}
	if d.Respond != nil {
		r.Respond = &pipeline.Static{Status: d.Respond.Status, Body: []byte(d.Respond.Body), ContentType: d.Respond.ContentType}
	}
	return nil
}
