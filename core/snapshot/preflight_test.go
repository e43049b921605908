package snapshot_test

import (
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/snapshot"
)

// withPolicies adds a plugin "policy" that answers preflights, in place of "plain".
func withPolicies(b *bench) *bench {
	b.parts.Plugins[1] = plugin.Of("plain", nil, func(options, *plugin.Deps) (pipeline.Instance, error) {
		return pipeline.Instance{Preflights: true}, nil
	})
	return b
}

// preflights has routes with a policy ("plain") and without one, side by side.
const preflights = services + `
routes:
  put: {match: {path: /a, methods: [PUT]}, service: a, plugins: {plain: {}}}
  rest: {match: {path: "/a/{rest...}"}, service: b, plugins: {plain: {}}}
  delete: {match: {path: /a, methods: [DELETE]}, service: a}
  options: {match: {path: /a, methods: [OPTIONS]}, service: b}
  bare: {match: {path: /b, methods: [GET]}, service: a}
  read: {match: {path: /c, methods: [GET]}, service: a, plugins: {plain: {}}}
  any: {match: {path: /d}, service: b}
  post: {match: {path: /d, methods: [POST]}, service: a, plugins: {plain: {}}}
  odd: {match: {path: "/odd/{x}/{y}", methods: [PUT]}, service: a, path: {encoded_slashes: allow, double_slashes: keep}, plugins: {plain: {}}}
  kept: {match: {path: "/kept/{rest...}", methods: [PUT]}, service: a, path: {double_slashes: keep}}
  merged: {match: {path: "/kept/{rest...}", methods: [OPTIONS]}, service: b}
  version: {match: {path: /v, methods: [PUT], headers: {X-V: "1"}}, service: a, plugins: {plain: {}}}
`

func TestC14_PreflightsMeetTheRouteOfTheAskedMethod(t *testing.T) {
	t.Parallel()
	s := withPolicies(newBench(t)).compile(preflights)
	for _, c := range []struct {
		target, asked string
		want          snapshot.Outcome
		route, path   string
		preflight     bool
	}{
		{"/a", "PUT", snapshot.Matched, "put", "/a", true},
		{"/a", "GET", snapshot.Matched, "rest", "/a", true},
		{"/a", "OPTIONS", snapshot.Matched, "options", "/a", false},
		{"/a", "DELETE", snapshot.Matched, "options", "/a", false},
		{"/a/b", "PURGE", snapshot.Matched, "rest", "/a/b", true},
		{"/b", "GET", snapshot.MethodNotAllowed, "none", "/b", false},
		{"/b", "PUT", snapshot.MethodNotAllowed, "none", "/b", false},
		{"/c", "GET", snapshot.Matched, "read", "/c", true},
		{"/c", "HEAD", snapshot.Matched, "read", "/c", true},
		{"/c", "get", snapshot.MethodNotAllowed, "none", "/c", false},
		{"/c", "PUT", snapshot.MethodNotAllowed, "none", "/c", false},
		{"/d", "POST", snapshot.Matched, "post", "/d", true},
		{"/d", "PUT", snapshot.Matched, "any", "/d", false},
		{"/nothing", "GET", snapshot.NoRoute, "none", "/nothing", false},
		{"/odd//b", "PUT", snapshot.NoRoute, "none", "/odd/b", false},
		{"/odd//b/c", "PUT", snapshot.MethodNotAllowed, "none", "/odd/b/c", false},
		{"/odd/a%2fb/c", "PUT", snapshot.Matched, "odd", "/odd/a%2Fb/c", true},
		{"/kept//b", "PUT", snapshot.Matched, "merged", "/kept/b", false},
		{"/kept/a%2fb", "PUT", snapshot.BadPath, "none", "/kept/a%2Fb", false},
		{"/v", "PUT", snapshot.MethodNotAllowed, "none", "/v", false},
	} {
		x := exchange(s, "OPTIONS", "h", c.target)
		x.Request.Header.Set("Origin", "https://app.example")
		x.Request.Header.Set("Access-Control-Request-Method", c.asked)
		got := s.Match(x)
		if got != c.want || x.Route.Name != c.route || string(x.Path) != c.path || x.Preflight != c.preflight {
			t.Errorf("%s %s: %v, route %s, path %s, preflight %v; want %v, %s, %s, %v",
				c.asked, c.target, got, x.Route.Name, x.Path, x.Preflight, c.want, c.route, c.path, c.preflight)
		}
		if x.Route == s.None && x.Params.Len() != 0 {
			t.Errorf("%s %s: the parameters of a route that was left", c.asked, c.target)
		}
	}
}

// What is no preflight is an OPTIONS request, and what is no OPTIONS request is no
// preflight, whatever it carries.
func TestC14_WhatIsNoPreflight(t *testing.T) {
	t.Parallel()
	s := withPolicies(newBench(t)).compile(preflights)
	for name, c := range map[string]struct {
		method          string
		origins, asking []string
		route           string
	}{
		"no origin":       {"OPTIONS", nil, []string{"PUT"}, "options"},
		"no method":       {"OPTIONS", []string{"https://a"}, nil, "options"},
		"an empty method": {"OPTIONS", []string{"https://a"}, []string{""}, "options"},
		"two origins":     {"OPTIONS", []string{"https://a", "https://b"}, []string{"PUT"}, "options"},
		"two methods":     {"OPTIONS", []string{"https://a"}, []string{"PUT", "GET"}, "options"},
		"another request": {"DELETE", []string{"https://a"}, []string{"PUT"}, "delete"},
	} {
		x := exchange(s, c.method, "h", "/a")
		for _, value := range c.origins {
			x.Request.Header.Add("Origin", value)
		}
		for _, value := range c.asking {
			x.Request.Header.Add("Access-Control-Request-Method", value)
		}
		if got := s.Match(x); got != snapshot.Matched || x.Route.Name != c.route || x.Preflight {
			t.Errorf("%s: %v, route %s, preflight %v", name, got, x.Route.Name, x.Preflight)
		}
	}
}

// With a policy in the defaults, what no route takes is answered by it as well. A
// route that takes OPTIONS still comes first, and for a route that wants no policy
// none speaks.
func TestC14_RouteNoneAnswersForWhatNoRouteTakes(t *testing.T) {
	t.Parallel()
	s := withPolicies(newBench(t)).compile(services + `
defaults: {plugins: {plain: {}}}
routes:
  put: {match: {path: /a, methods: [PUT]}, service: a}
  own: {match: {path: /own, methods: [OPTIONS]}, service: b, plugins: {plain: off}}
  off: {match: {path: /off, methods: [DELETE]}, service: a, plugins: {plain: off}}
`)
	for target, c := range map[string]struct {
		want      snapshot.Outcome
		route     string
		preflight bool
	}{
		"/nothing": {snapshot.NoRoute, "none", true},
		"/a":       {snapshot.MethodNotAllowed, "none", true},
		"/own":     {snapshot.Matched, "own", false},
		"/off":     {snapshot.MethodNotAllowed, "none", false},
	} {
		x := exchange(s, "OPTIONS", "h", target)
		x.Request.Header.Set("Origin", "https://app.example")
		x.Request.Header.Set("Access-Control-Request-Method", "DELETE")
		if got := s.Match(x); got != c.want || x.Route.Name != c.route || x.Preflight != c.preflight {
			t.Errorf("%s: %v, route %s, preflight %v", target, got, x.Route.Name, x.Preflight)
		}
	}
}

func TestC14_PreflightsAreExplainedByTheAskedMethod(t *testing.T) {
	t.Parallel()
	s := withPolicies(newBench(t)).compile(preflights)
	x := exchange(s, "OPTIONS", "h", "/a")
	x.Request.Header.Set("Origin", "https://app.example")
	x.Request.Header.Set("Access-Control-Request-Method", "PUT")
	s.Match(x)
	for _, step := range s.Explain(x) {
		if step.Matched != (step.Name == "put") {
			t.Errorf("%s: %s", step.Name, step.Why)
		}
	}
}
