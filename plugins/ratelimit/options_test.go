package ratelimit_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/plugins/ratelimit"
)

// TestProblems holds every message to the letter.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ options, want string }{
		{`{levels: {ip: {policy: two}}}`, ""},
		{`{cost: 5, levels: {ip: {policy: five, callers: anonymous}, tenant: {by: "{host.tenant}", policy: many, otherwise: global, scope: route}}}`, ""},
		{`{levels: {user: {policy: two, upgrade: [{scope: premium, policy: five}, {client: big, bypass: true}, {claim: {/plan: [pro]}, scope: a, policy: many}]}}}`, ""},
		{`{levels: {ip: {policy: unsure}}}`, ""}, // its numbers are not known

		{`{}`, `options.yaml:1:1: levels: want at least one level, such as ip: {policy: NAME}: without any nothing is counted`},
		{`{levels: {}}`, `options.yaml:1:10: levels: want at least one level, such as ip: {policy: NAME}: without any nothing is counted`},
		{`{levels: {a: {by: ip, policy: two}, b: {by: ip, policy: two}, c: {by: ip, policy: two}, d: {by: ip, policy: two}, e: {by: ip, policy: two}, f: {by: ip, policy: two}, g: {by: ip, policy: two}, h: {by: ip, policy: two}, i: {by: ip, policy: two}}}`,
			`options.yaml:1:10: levels: want 8 levels at most, got 9`},
		{`{levels: {ip: two}}`, `options.yaml:1:15: levels.ip: want a map, got "two"`},
		{`{levels: {ip: {}}}`, `options.yaml:1:15: levels.ip.policy: want the name of a policy`},
		{`{levels: {ip: {policy: twoo}}}`, `options.yaml:1:24: levels.ip.policy: want the name of one of the policies, got "twoo" (did you mean "two"?)`},
		{`{levels: {ip: {policy: something}}}`, `options.yaml:1:24: levels.ip.policy: want the name of one of the policies, got "something"; known: five, huge, huge-window, many, one, short, two, unsure, window`},
		{`{levels: {ipp: {policy: two}}}`, `options.yaml:1:16: levels.ipp.by: want what the level counts by: user, client, api_key, ip, route, service or global, or a text such as "{host.tenant}" (did you mean "ip"?)`},
		{`{levels: {tenant: {policy: two}}}`, `options.yaml:1:19: levels.tenant.by: want what the level counts by: user, client, api_key, ip, route, service or global, or a text such as "{host.tenant}"`},
		{`{levels: {tenant: {by: usr, policy: two}}}`, `options.yaml:1:24: levels.tenant.by: want user, client, api_key, ip, route, service or global, or a text such as "{host.tenant}", got "usr" (did you mean "user"?)`},
		{`{levels: {ip: {by: user, policy: two}}}`, `options.yaml:1:20: levels.ip.by: a level of this name counts by ip: give it another name, or leave by out`},
		{`{levels: {ip: {by: "{header.X-A}", policy: two}}}`, `options.yaml:1:20: levels.ip.by: a level of this name counts by ip: give it another name, or leave by out`},
		{`{levels: {t: {by: "{hots.tenant}", policy: two}}}`, `options.yaml:1:19: levels.t.by: want one of {host}, {host.NAME}, {path.NAME}, {header.NAME}, {principal.user}, {principal.client}, {principal.session} and {principal.key}, got "{hots.tenant}" (did you mean "{host.tenant}"?)`},
		{`{levels: {t: {by: "{principal.usr}", policy: two}}}`, `options.yaml:1:19: levels.t.by: want one of {host}, {host.NAME}, {path.NAME}, {header.NAME}, {principal.user}, {principal.client}, {principal.session} and {principal.key}, got "{principal.usr}" (did you mean "{principal.user}"?)`},
		{`{levels: {t: {by: "{host", policy: two}}}`, `options.yaml:1:19: levels.t.by: want names in braces, such as {host.tenant}, got "{host"`},
		{`{levels: {t: {by: "{header.Authorization}", policy: two}}}`, `options.yaml:1:19: levels.t.by: want a field that holds no credential, got "{header.Authorization}"`},
		{`{levels: {user: {policy: two, callers: anonymous}}}`, `options.yaml:1:40: levels.user.callers: an anonymous caller has no user: count by ip (did you mean "authenticated"?)`},
		{`{levels: {api_key: {policy: two, callers: anonymous}}}`, `options.yaml:1:43: levels.api_key.callers: an anonymous caller has no api key: count by ip (did you mean "authenticated"?)`},
		{`{levels: {t: {by: "{principal.user}", policy: two, callers: anonymous}}}`, `options.yaml:1:61: levels.t.callers: of an anonymous caller there is no principal (did you mean "authenticated"?)`},
		{`{levels: {ip: {policy: two, callers: anonymous, upgrade: [{scope: a, policy: five}]}}}`, `options.yaml:1:58: levels.ip.upgrade: nobody who is anonymous can be upgraded`},
		{`{levels: {ip: {policy: two, callers: anon, otherwise: user, scope: routes}}}`,
			"options.yaml:1:38: levels.ip.callers: want all, anonymous or authenticated, got \"anon\"\n" +
				"options.yaml:1:55: levels.ip.otherwise: want ip, route, service or global, got \"user\"\n" +
				`options.yaml:1:68: levels.ip.scope: want route, got "routes" (did you mean "route"?)`},
		{`{cost: 3, levels: {ip: {policy: two}}}`, `options.yaml:1:8: cost: want at most 2, which is all that policy two ever admits at once: no request would pass`},
		{`{cost: 4, levels: {user: {policy: many, upgrade: [{scope: a, policy: window}]}}}`, `options.yaml:1:8: cost: want at most 3, which is all that policy window ever admits at once: no request would pass`},
		{`{cost: 0, levels: {ip: {policy: two}}}`, `options.yaml:1:8: cost: want from 1 to 1000000, got "0"`},
		{`{levels: {user: {policy: two, upgrade: [{policy: five}, {scope: a}, {scope: a, policy: five, bypass: true}, {scope: "a b", policy: fiv}, {claim: {plan: [], /x: y}, bypass: true}, 7]}}}`,
			`options.yaml:1:180: levels.user.upgrade[5]: want a map, got "7"`},
		{`{levels: {user: {policy: two, upgrade: [{policy: five}, {scope: a}, {scope: a, policy: five, bypass: true}, {scope: "a b", policy: fiv}, {claim: {plan: [], /x: y}, bypass: true}]}}}`,
			"options.yaml:1:41: levels.user.upgrade[0]: want whom it concerns: scope, claim or client\n" +
				"options.yaml:1:57: levels.user.upgrade[1]: want what changes: a policy, or bypass: true\n" +
				"options.yaml:1:69: levels.user.upgrade[2]: want a policy, or bypass: true, got both\n" +
				"options.yaml:1:117: levels.user.upgrade[3].scope: want a scope such as premium or courses:read: scope \"a b\" holds a character that RFC 6749 allows in no scope\n" +
				"options.yaml:1:132: levels.user.upgrade[3].policy: want the name of one of the policies, got \"fiv\" (did you mean \"five\"?)\n" +
				"options.yaml:1:146: levels.user.upgrade[4].claim: want JSON pointers such as /plan, got \"plan\": it begins with no /\n" +
				"options.yaml:1:146: levels.user.upgrade[4].claim: want values that will do for plan"},
		{`{levels: {ip: {policy: two, polcy: x}}, level: {}}`,
			"options.yaml:1:29: levels.ip.polcy: unknown key \"polcy\" (did you mean \"policy\"?)\n" +
				`options.yaml:1:41: level: unknown key "level" (did you mean "levels"?)`},
		{`{levels: {"a b": {by: ip, policy: two}}}`, `options.yaml:1:11: levels."a b": want a name of at most 64 letters, digits, dots, hyphens and underscores, got "a b"`},
	} {
		around := plugin.Around{Policies: map[string]*limit.Policy{"unsure": nil}}
		for name, p := range policies {
			around.Policies[name] = p
		}
		got := strings.Join(plugintest.ProblemsAround(t, ratelimit.Plugin, around, c.options), "\n")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.options, diff)
		}
	}
	if got := plugintest.Problems(t, ratelimit.Plugin, `{cost: 9, levels: {ip: {policy: any}}}`); len(got) != 0 {
		t.Errorf("of policies that are not known: %q", got)
	}
	want := "options.yaml:1:40: warning: levels.ip.otherwise: it changes nothing: every request has its ip"
	if got := plugintest.Warnings(t, ratelimit.Plugin, `{levels: {ip: {policy: two, otherwise: global}}}`); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// TestNotes is what `gateway explain` shows.
func TestNotes(t *testing.T) {
	t.Parallel()
	w := build(t, `
levels:
  user: {policy: two, scope: route, callers: authenticated, upgrade: [{scope: premium, claim: {/plan: [pro, team]}, policy: five}, {client: big, bypass: true}]}
  tenant: {by: "{host.tenant}", policy: window, otherwise: global}
  ip: {policy: short, callers: anonymous}
`)
	want := []string{
		"level user: by user, otherwise by ip, policy two (token_bucket 2/1m, burst 2), authenticated callers, of this route alone; scope premium and claim /plan = pro or team: five (token_bucket 60/1m, burst 5); client big: bypass",
		"level tenant: by {host.tenant}, otherwise by global, policy window (sliding_window 3/1m4s)",
		"level ip: by ip, policy short (sliding_window 10/640ms), anonymous callers",
	}
	if diff := cmp.Diff(want, w.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestBuildWithoutAPolicy: a route that can't count is none.
func TestBuildWithoutAPolicy(t *testing.T) {
	t.Parallel()
	w := build(t, `{levels: {ip: {policy: one}}}`)
	for _, options := range []string{`{levels: {ip: {policy: gone}}}`, `{levels: {user: {policy: one, upgrade: [{scope: a, policy: gone}]}}}`} {
		d := plugintest.Deps(t)
		d.Policies, d.Limits = policies, w.limits
		if _, err := ratelimit.Plugin.Build(parse(t, options), d); err == nil || !strings.Contains(err.Error(), `there is no policy "gone"`) {
			t.Errorf("%s: %v", options, err)
		}
		d.Limits = nil // it only shows
		instance, err := ratelimit.Plugin.Build(parse(t, options), d)
		if err != nil || len(instance.Notes) != 1 {
			t.Errorf("%s: %v, %q", options, err, instance.Notes)
		}
	}
	d := plugintest.Deps(t)
	d.Policies, d.Limits = policies, &plugin.Limits{}
	if _, err := ratelimit.Plugin.Build(parse(t, `{levels: {ip: {policy: one}}}`), d); err == nil {
		t.Error("it counts nowhere")
	}
}

func parse(t *testing.T, options string) *setting.Node {
	t.Helper()
	var r setting.Report
	n := setting.Parse(plugintest.Source, []byte(options), &r)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
