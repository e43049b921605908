package cors

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/plugin/plugintest"
)

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, options, want string }{
		{"nothing", `{}`, "options.yaml:1:1: origins: want at least one origin, such as https://app.example.com"},
		{"no origin", `{origins: []}`, "options.yaml:1:11: origins: want at least one origin, such as https://app.example.com"},
		{"a slash", `{origins: ["https://a.example", "https://b.example/"]}`, `options.yaml:1:33: origins[1]: want an origin without anything behind its host and port, got "https://b.example/" (did you mean "https://b.example"?)`},
		{"no scheme", `{origins: a.example}`, `options.yaml:1:11: origins: want an origin such as https://app.example.com or http://localhost:3000, got "a.example" (did you mean "https://a.example"?)`},
		{"a wildcard", `{origins: ["https://*.example"]}`, `options.yaml:1:12: origins[0]: want an exact origin: below a wildcard stands whatever host somebody can get there, got "https://*.example"`},
		{"one origin twice", `{origins: ["https://a.example", "HTTPS://A.example:443"]}`, `options.yaml:1:33: origins[1]: https://a.example is listed twice`},
		{"C14 any origin with credentials", `{origins: "*", credentials: true}`, "options.yaml:1:11: origins: with credentials, * would let every page on the web act for its visitors; list the origins, or set credentials: false"},
		{"C14 null with credentials", `{origins: ["https://a.example", "null"], credentials: true}`, "options.yaml:1:33: origins[1]: any page can make itself one without an origin, so null can't go with credentials; remove it, or set credentials: false"},
		{"any origin and others", `{origins: ["https://a.example", "*"]}`, "options.yaml:1:33: origins[1]: * is every origin, so it stands alone"},
		{"null of YAML", `{origins: [null]}`, "options.yaml:1:12: origins[0]: want a string, got nothing: leave the key out or give it a value"},
		{"no method", `{origins: "*", methods: []}`, "options.yaml:1:25: methods: want at least one method, or leave the key out"},
		{"a method in lower case", `{origins: "*", methods: [get]}`, `options.yaml:1:26: methods[0]: want a method in upper case, got "get" (did you mean "GET"?)`},
		{"a method of no page", `{origins: "*", methods: [GET, trace]}`, `options.yaml:1:31: methods[1]: want a method that browsers let pages send, got "trace"`},
		{"a method twice", `{origins: "*", methods: "GET,PUT,GET"}`, `options.yaml:1:34: methods[2]: GET is listed twice`},
		{"all methods", `{origins: "*", methods: "*"}`, `options.yaml:1:25: methods: want the methods one by one: a wildcard would allow those of tomorrow as well, got "*"`},
		{"no method at all", `{origins: "*", methods: "G ET"}`, `options.yaml:1:25: methods: want a method such as GET, got "G ET"`},
		{"all fields", `{origins: "*", headers: "*"}`, `options.yaml:1:25: headers: want the names of fields one by one: a wildcard would allow those of tomorrow as well, got "*"`},
		{"no field", `{origins: "*", headers: ["X-A:"]}`, `options.yaml:1:26: headers[0]: want the name of a header field, got "X-A:"`},
		{"a field twice", `{origins: "*", headers: [X-A, x-a]}`, `options.yaml:1:31: headers[1]: x-a is listed twice`},
		{"an exposed field twice", `{origins: "*", expose: [ETag, etag]}`, `options.yaml:1:31: expose[1]: etag is listed twice`},
		{"two lines", `{origins: "*", expose: ["A\r\nB"]}`, `options.yaml:1:25: expose[0]: want the name of a header field, got "A\r\nB"`},
		{"an age without a unit", `{origins: "*", maximum_age: 600}`, `options.yaml:1:29: maximum_age: want a duration such as 250ms, 30s or 15m, got "600" (did you mean "600s"?)`},
		{"an age that no browser takes", `{origins: "*", maximum_age: 25h}`, `options.yaml:1:29: maximum_age: want at most 24h, got "25h"`},
		{"an unknown key", `{origins: "*", allow_credentials: false}`, `options.yaml:1:16: allow_credentials: unknown key "allow_credentials"; known here: origins, methods, headers, expose, credentials, maximum_age`},
		{"a near key", `{origin: "*"}`, `options.yaml:1:2: origin: unknown key "origin" (did you mean "origins"?)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{c.want}, plugintest.Problems(t, Plugin, c.options)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options string
		want          []string
	}{
		{"nothing to say", `{origins: ["https://a.example", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:1", "http://x.localhost"], credentials: true, headers: [Authorization]}`, nil},
		{"no credentials over http", `{origins: ["http://a.example"]}`, nil},
		{"credentials over http", `{origins: ["http://a.example:8080"], credentials: true}`, []string{
			"options.yaml:1:12: warning: origins[0]: whoever is in the network of a visitor can forge pages of an http:// origin, and act for the visitor with credentials; use https://",
		}},
		{"fields that do nothing", `{origins: "*", headers: [X-A, cookie, Host], expose: [Set-Cookie]}`, []string{
			"options.yaml:1:31: warning: headers[1]: cookie has no effect here: browsers let no page set it; pages send cookies with credentials: true",
			"options.yaml:1:39: warning: headers[2]: Host has no effect here: browsers let no page set it",
			"options.yaml:1:55: warning: expose[0]: Set-Cookie has no effect here: browsers show it to no page",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, plugintest.Warnings(t, Plugin, c.options)); diff != "" {
				t.Error(diff)
			}
			if problems := plugintest.Problems(t, Plugin, c.options); problems != nil {
				t.Errorf("refused: %q", problems)
			}
		})
	}
}
