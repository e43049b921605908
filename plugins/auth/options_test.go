package auth

import (
	"slices"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

func TestProblems(t *testing.T) {
	t.Parallel()
	for options, want := range map[string][]string{
		`{}`:                                   nil,
		`{required: false}`:                    nil,
		`{accept: [jwt, [api_key, mtls]]}`:     nil,
		`{accept: "jwt, ticket"}`:              nil,
		`{accept: jwt}`:                        nil,
		`{scopes: {all: "courses, vod:read"}}`: nil,
		`{claims: {/a~1b/~0c: x}}`:             nil,
		`{required: maybe}`:                    {"options.yaml:1:12: required: want true or false, got \"maybe\""},
		`{require: false}`:                     {`options.yaml:1:2: require: unknown key "require" (did you mean "required"?)`},
		`{accept: [jtw]}`:                      {`options.yaml:1:11: accept[0]: want jwt, api_key, mtls or ticket, or a list of those that are wanted together; got "jtw" (did you mean "jwt"?)`},
		`{accept: [{jwt: on}]}`:                {"options.yaml:1:11: accept[0]: want jwt, api_key, mtls or ticket, or a list of those that are wanted together; got a map"},
		`{accept: [jwt, []]}`:                  {"options.yaml:1:16: accept[1]: want credentials that are wanted together, got an empty list: it would let everybody in"},
		`{accept: []}`:                         {"options.yaml:1:10: accept: want at least one credential: nobody could come in"},
		`{accept: off}`:                        {"options.yaml:1:10: accept: want a list such as [jwt, api_key], got \"off\""},
		`{accept: {jwt: {}}}`:                  {"options.yaml:1:10: accept: want a list such as [jwt, api_key], got a map"},
		`{accept: [jwt, [jwt, mtls, jwt]]}`:    {"options.yaml:1:28: accept[1][2]: jwt is listed twice"},
		`{accept: [jwt, jwt]}`:                 {"options.yaml:1:16: accept[1]: it is listed twice"},
		`{scopes: {all: ["a b"], any: [x, x]}}`: {
			`options.yaml:1:17: scopes.all[0]: want a scope such as courses or courses:read: scope "a b" holds a character that RFC 6749 allows in no scope`,
			`options.yaml:1:34: scopes.any[1]: "x" is listed twice`,
		},
		`{claims: {plan: pro}}`:             {`options.yaml:1:10: claims: want JSON pointers such as /plan or /realm_access/roles, got "plan": it begins with no /`},
		`{claims: {/a~2: pro}}`:             {`options.yaml:1:10: claims: want JSON pointers such as /plan or /realm_access/roles, got "/a~2": ~ is written ~0, and / within a name ~1`},
		`{claims: {/a: []}}`:                {"options.yaml:1:10: claims: want values that will do for /a"},
		`{issuers: [own, a, own]}`:          {"options.yaml:1:20: issuers[2]: own is listed twice"},
		`{accept: [api_key], strict: true}`: {"options.yaml:1:29: strict: only tokens have that, and accept takes none"},
		`{accept: [mtls], bound: true, claims: {/a: b}, issuers: [own]}`: {
			"options.yaml:1:25: bound: only tokens have that, and accept takes none",
			"options.yaml:1:39: claims: only tokens have that, and accept takes none",
			"options.yaml:1:57: issuers: only tokens have that, and accept takes none",
		},
	} {
		if got := plugintest.Problems(t, Plugin, options); !slices.Equal(got, want) {
			t.Errorf("%s\n got %s\nwant %s", options, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
	want := []string{"options.yaml:1:10: warning: accept: a certificate alone holds no scopes: who shows nothing else is refused with 403"}
	if got := plugintest.Warnings(t, Plugin, `{accept: [jwt, mtls], scopes: {any: [a]}}`); !slices.Equal(got, want) {
		t.Errorf("warnings: %q, want %q", got, want)
	}
}

// A variable that CI does not know says nothing about who is let in.
func TestAnUnknownVariableIsNoProblem(t *testing.T) {
	t.Parallel()
	r := setting.NewReport(setting.ReportOptions{Tolerant: true})
	n := setting.Parse("a.yaml", []byte(`{accept: ["${KIND}", [jwt, "${OTHER}"]]}`), r)
	setting.Expand(n, setting.Variables{Lookup: func(string) (string, bool) { return "", false }, Tolerant: true}, r)
	Plugin.Check(n, plugin.Around{}, r)
	if problems := r.Problems(); len(problems) > 0 {
		t.Errorf("got %v", problems)
	}
}

func TestIssuersAreKnownToThoseWhoServe(t *testing.T) {
	t.Parallel()
	n := setting.Parse("a.yaml", []byte(`{issuers: [own, partner]}`), &setting.Report{})
	d := plugintest.Deps(t)
	for _, c := range []struct {
		identity *plugin.Identity
		want     string
	}{
		{nil, ""},
		{&plugin.Identity{Issuers: []string{"partner"}}, ""},
		{&plugin.Identity{}, "building auth: issuers[1]: there is no identity.issuers.partner"},
	} {
		d.Identity = c.identity
		instance, err := Plugin.Build(n, d)
		if err != nil {
			if err.Error() != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
			continue
		}
		instance.Close()
		if c.want != "" {
			t.Errorf("want %s", c.want)
		}
	}
}

// Each set of accept is enough, and makes nothing enough that it does not hold.
func TestWhatCoversWhat(t *testing.T) {
	t.Parallel()
	const token, key, certificate = principal.Token, principal.Key, principal.Certificate
	a := &auth{}
	if err := a.compile(options{Accept: accepts{token, key | certificate}}, false); err != nil {
		t.Fatal(err)
	}
	for have, want := range map[principal.Credential]principal.Credential{
		0: 0, token: token, key: 0, certificate: 0, key | certificate: key | certificate,
		token | key: token, token | key | certificate: token | key | certificate, token | principal.Ticket: token,
	} {
		if got := a.covered[have]; got != want {
			t.Errorf("%b covers %b, want %b", have, got, want)
		}
	}
}
