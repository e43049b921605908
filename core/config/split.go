package config

import (
	"maps"
	"slices"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
)

// SplitTo is a service that a route splits its requests over.
type SplitTo struct {
	Service            string           `yaml:"@key"`
	At                 setting.Position `yaml:"@at"`
	Node               *setting.Node    `yaml:"@node"`
	Weight             int              `yaml:"weight" min:"0" max:"10000" doc:"Share of the requests, relative to the other services; 0 for none."`
	DestinationOptions `yaml:",inline"`
}

// DestinationOptions is what holds for the requests that go to one of the services of a
// route. Load has merged the service's and the route's under each of them already.
type DestinationOptions struct {
	Timeouts *Timeouts   `yaml:"timeouts" doc:"Timeouts of this route there, in place of the route's and the service's."`
	Retry    *RouteRetry `yaml:"retry" doc:"Retries of this route there, in place of the route's and the service's; off for never."`
}

// splitForm is the long form of a SplitTo.
type splitForm SplitTo

// JSONSchema describes both forms: the weight alone, and all that holds there.
func (SplitTo) JSONSchema() map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "integer", "minimum": 0, "maximum": 10000, "description": "The weight."},
		map[string]any{"$ref": "#/$defs/expression"},
		setting.SchemaOf[splitForm](),
	}}
}

// Pin sends some requests of a route to one service: those of which all holds that is
// asked for. A claim is one that the caller's token makes.
type Pin struct {
	At                 setting.Position              `yaml:"@at"`
	Node               *setting.Node                 `yaml:"@node"`
	Headers            map[string]Condition          `yaml:"headers" doc:"Conditions on header fields."`
	Query              map[string]Condition          `yaml:"query" doc:"Conditions on query values, compared decoded."`
	Cookies            map[string]Condition          `yaml:"cookies" doc:"Conditions on cookies."`
	User               setting.StringList            `yaml:"user" doc:"Ids of users, one of which calls."`
	Client             setting.StringList            `yaml:"client" doc:"Ids of clients, one of which calls."`
	Scope              string                        `yaml:"scope" doc:"A scope that the caller holds."`
	Claim              map[string]setting.StringList `yaml:"claim" doc:"What the caller's token says: JSON pointers into its claims, each with the values that will do."`
	Service            string                        `yaml:"service" doc:"The service that these requests go to."`
	DestinationOptions `yaml:",inline"`
}

// Mirror is a service that gets copies of a route's requests.
type Mirror struct {
	Node    *setting.Node `yaml:"@node"`
	Service string        `yaml:"service" doc:"The service that gets the copies."`
	Share   setting.Share `yaml:"share" default:"100%" doc:"Share of the requests that are copied."`
}

// Asked are the conditions on the request, sorted by name.
func (p *Pin) Asked() router.Asked {
	return router.Asked{Headers: conditions(p.Headers), Query: conditions(p.Query), Cookies: conditions(p.Cookies)}
}

// Caller is the condition on who calls.
func (p *Pin) Caller() principal.Match {
	m := principal.Match{Users: p.User, Clients: p.Client, Scope: p.Scope}
	for _, pointer := range slices.Sorted(maps.Keys(p.Claim)) {
		if claim, err := principal.ParseClaim(pointer, p.Claim[pointer]); err == nil { // check has reported the others
			m.Claims = append(m.Claims, claim)
		}
	}
	return m
}

// By says which requests belong together. Without any of its fields: none do.
type By struct {
	Word   string // user, ip or cookie: the gateway's own
	Header string // the name of a field
	Cookie string // the name of a cookie that somebody else gives
}

// byForm is the long form of a By.
type byForm struct {
	Header string `yaml:"header" doc:"Name of a request field; where it is missing, the address counts."`
	Cookie string `yaml:"cookie" doc:"Name of a cookie that a service gives; where it is missing, the address counts."`
}

var byWords = []string{"user", "cookie", "ip"}

const wantBy = "want user, cookie, ip, {header: NAME} or {cookie: NAME}, got "

// DecodeSetting reads either form.
func (b *By) DecodeSetting(n *setting.Node, r *setting.Report) {
	switch {
	case n.Kind == setting.Map:
		var form byForm
		setting.Decode(n, &form, r)
		header, cookie := given(n, "header"), given(n, "cookie")
		switch {
		case header != nil && cookie != nil:
			r.AddNode(n, "want either header or cookie, got both", "")
		case header != nil && form.Header != "" && !isToken(form.Header):
			r.AddNode(header, "want the name of a field, got "+header.Describe(), "")
		case cookie != nil && form.Cookie != "" && !isToken(form.Cookie):
			r.AddNode(cookie, "want the name of a cookie, got "+cookie.Describe(), "")
		case len(n.Entries) == 0:
			r.AddNode(n, wantBy+"an empty map", "")
		}
		b.Header, b.Cookie = form.Header, form.Cookie
	case n.Kind == setting.Scalar && slices.Contains(byWords, n.Text):
		b.Word = n.Text
	default:
		r.AddNode(n, wantBy+n.Describe(), nearest(n, byWords))
	}
}

// JSONSchema describes both forms.
func (By) JSONSchema() map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"enum": []any{"user", "cookie", "ip"}},
		map[string]any{"$ref": "#/$defs/expression"},
		setting.SchemaOf[byForm](),
	}}
}

// spellOut writes the short form of what a route splits over, a weight alone, as the
// long one.
func spellOut(tree *setting.Node) *setting.Node {
	for _, key := range []string{"routes", "profiles"} {
		all := mapOf(tree.Get(key))
		if all == nil {
			continue
		}
		var over []setting.Entry
		for _, e := range all.Entries {
			if split := mapOf(mapOf(e.Value).Get("split")); split != nil {
				over = append(over, setting.Entry{Key: e.Key, Value: e.Value.With("split", weighed(split))})
			}
		}
		if len(over) > 0 {
			tree = tree.With(key, all.WithAll(over))
		}
	}
	return tree
}

func weighed(split *setting.Node) *setting.Node {
	var over []setting.Entry
	for _, e := range split.Entries {
		if e.Value.Kind == setting.Scalar && !e.Value.IsOff() {
			long := (&setting.Node{Kind: setting.Map, At: e.Value.At, Path: e.Value.Path}).With("weight", e.Value)
			over = append(over, setting.Entry{Key: e.Key, Value: long})
		}
	}
	return split.WithAll(over)
}

// destinations gives each service of a route that has several what holds there: the
// service's timeouts and retries, with the route's over them, and its own over both. What
// the route says of those that it splits over stands there only.
func (d *deriver) destinations(route *setting.Node) (out []setting.Entry) {
	if split := mapOf(route.Get("split")); split != nil {
		var over []setting.Entry
		for _, e := range split.Entries {
			if e.Value.Kind == setting.Map {
				over = append(over, setting.Entry{Key: e.Key, Value: d.destination(route, e.Value, e.Key)})
			}
		}
		out = append(out, setting.Entry{Key: "split", Value: split.WithAll(over)})
		if d.service(route) == nil {
			out = append(out, setting.Entry{Key: "timeouts"}, setting.Entry{Key: "retry"})
		}
	}
	if pins := route.Get("pin"); pins != nil && pins.Kind == setting.List {
		all := *pins
		all.Items = slices.Clone(pins.Items)
		for i, pin := range all.Items {
			if name := mapOf(pin).Get("service"); name != nil && name.Kind == setting.Scalar {
				all.Items[i] = d.destination(route, pin, name.Text)
			}
		}
		out = append(out, setting.Entry{Key: "pin", Value: &all})
	}
	return out
}

func (d *deriver) destination(route, own *setting.Node, service string) *setting.Node {
	of := mapOf(d.tree.Get("services").Get(service))
	var over []setting.Entry
	for _, key := range []string{"timeouts", "retry"} {
		over = append(over, setting.Entry{Key: key, Value: under(own, key, under(route, key, of.Get(key)))})
	}
	return own.WithAll(over)
}
