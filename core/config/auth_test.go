package config_test

import (
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/setting"
)

// loadGuarded loads text where there is a plugin auth.
func loadGuarded(t *testing.T, text string) (*config.Config, *setting.Report) {
	t.Helper()
	o := options("gw.yaml")
	o.Plugins = append(o.Plugins, config.PluginAuth)
	o.CheckPlugin = nil
	o.ReadFile = func(string) ([]byte, error) { return []byte(text), nil }
	return config.Load(o)
}

// TestID9_EveryRouteHasAuth unless `auth: off` says otherwise, and nothing else does.
func TestID9_EveryRouteHasAuth(t *testing.T) {
	t.Parallel()
	const off = "off"
	for _, c := range []struct{ name, text, want, at string }{
		{"nothing is said", "", "{}", "built in"},
		{"the route", "R: {plugins: {auth: off}}", off, ""},
		{"the route, in other words", "R: {plugins: {auth: false}}", off, ""},
		{"the defaults", "D: {auth: off}", off, ""},
		{"the defaults, and the route will have none of it", "D: {auth: off}\nR: {plugins: {auth: {}}}", "{}", "gw.yaml:"},
		{"the defaults have options", "D: {auth: {required: false}}", "{required: false}", "gw.yaml:"},
		{"the route adds to them", "D: {auth: {required: false}}\nR: {plugins: {auth: {strict: true}}}", "{required: false, strict: true}", "gw.yaml:"},
		{"the route takes all plugins out", "R: {plugins: off}", "{}", "built in"},
		{"the route takes all plugins out, those of the defaults too", "D: {auth: {strict: true}, access_log: {}}\nR: {plugins: off}", "{strict: true}", "gw.yaml:"},
		{"the route takes all plugins out, and the defaults had opened it", "D: {auth: off}\nR: {plugins: off}", off, ""},
		{"a profile", "P: {plugins: {auth: off}}\nR: {use: [p]}", off, ""},
		{"a profile, and the route will have none of it", "P: {plugins: {auth: off}}\nR: {use: [p], plugins: {auth: {}}}", "{}", "gw.yaml:"},
	} {
		text := "services: {a: {endpoints: [{url: \"http://h:1\"}]}}\n"
		route := "match: {path: /a}, service: a"
		for line := range strings.SplitSeq(c.text, "\n") {
			switch value := strings.TrimPrefix(line[min(len(line), 2):], " "); line[:min(len(line), 1)] {
			case "D":
				text += "defaults: {plugins: " + value + "}\n"
			case "P":
				text += "profiles: {p: " + value + "}\n"
			case "R":
				route += ", " + strings.TrimSuffix(strings.TrimPrefix(value, "{"), "}")
			}
		}
		cfg, r := loadGuarded(t, text+"routes: {a: {"+route+"}}\n")
		if cfg == nil {
			t.Errorf("%s: %v", c.name, r.Err())
			continue
		}
		got, at := off, ""
		if n := cfg.Routes[0].Plugins[config.PluginAuth]; n != nil {
			got, at = flow(n), n.At.String()
		}
		if got != c.want || !strings.HasPrefix(at, c.at) {
			t.Errorf("%s: got %s from %s, want %s from %s", c.name, got, at, c.want, c.at)
		}
		if n := cfg.Defaults.Plugins[config.PluginAuth]; n != nil && !strings.Contains(c.text, "D: {auth: {") {
			t.Errorf("%s: the defaults have %s", c.name, flow(n))
		}
	}
}

// flow writes a map of scalars.
func flow(n *setting.Node) string {
	var parts []string
	for _, e := range n.Entries {
		parts = append(parts, e.Key+": "+e.Value.Text)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// Where every route has auth, showing the configuration says so, and what is shown is
// the same configuration.
func TestShownRoutesHaveAuth(t *testing.T) {
	t.Parallel()
	cfg, r := loadGuarded(t, minimal)
	if cfg == nil {
		t.Fatal(r.Err())
	}
	shown := config.Effective(cfg, true)
	if !strings.Contains(shown, "auth: {}") || !strings.Contains(shown, "built in") {
		t.Errorf("shown is\n%s", shown)
	}
	again, r := loadGuarded(t, config.Effective(cfg, false))
	if again == nil || again.Routes[0].Plugins[config.PluginAuth] == nil {
		t.Errorf("loaded again: %v", r.Err())
	}
	open, _ := loadText(t, minimal)
	if open.Routes[0].Plugins[config.PluginAuth] != nil {
		t.Error("a program without the plugin got it")
	}
}

func TestAGatewayThatKnowsNobodyIsWarnedOf(t *testing.T) {
	t.Parallel()
	const want = " a credential, and nobody can have one: declare identity.users, identity.api_keys, identity.issuers or stores.postgres, or open what is for everybody with `auth: off`"
	for routes, warning := range map[string]string{
		"a: {match: {path: /a}, respond: {}}":                                                            "gw.yaml:1:10: warning: routes.a: this route wants" + want,
		"a: {match: {path: /a}, respond: {}}, b: {match: {path: /b}, respond: {}}":                       "gw.yaml:1:10: warning: routes.a: 2 routes want" + want,
		"a: {match: {path: /a}, respond: {}, plugins: {auth: off}}":                                      "",
		"a: {match: {path: /a}, respond: {}, plugins: {auth: {required: false}}}":                        "",
		"a: {match: {path: /a}, respond: {}, plugins: {auth: {accept: [jwt, [api_key, mtls]]}}}":         "",
		"a: {match: {path: /a}, respond: {}, plugins: {auth: {accept: [jwt]}}}":                          "gw.yaml:1:10: warning: routes.a: this route wants" + want,
		"a: {match: {path: /a}, respond: {}, plugins: {auth: off}}, b: {match: {path: /b}, respond: {}}": "gw.yaml:1:69: warning: routes.b: this route wants" + want,
	} {
		_, r := loadGuarded(t, "routes: {"+routes+"}\n")
		var got []string
		for _, w := range r.Warnings() {
			got = append(got, w.String())
		}
		if strings.Join(got, "\n") != warning {
			t.Errorf("%s\n got %q\nwant %q", routes, got, warning)
		}
	}
}
