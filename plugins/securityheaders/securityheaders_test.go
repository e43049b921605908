package securityheaders

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

const (
	get    = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok"
)

func TestFields(t *testing.T) {
	t.Parallel()
	defaults := []string{
		"Content-Security-Policy: base-uri 'self'; object-src 'none'; frame-ancestors 'none'",
		"Permissions-Policy: camera=(self), geolocation=(self), microphone=(self)",
		"Referrer-Policy: strict-origin-when-cross-origin",
		"X-Content-Type-Options: nosniff",
		"X-Frame-Options: DENY",
	}
	for _, c := range []struct {
		name, options, scheme, upstream string
		want                            []string
	}{
		{"defaults", `{}`, "http", "", defaults},
		{
			"defaults on TLS", `{}`, "https", "",
			slices.Concat(defaults[:3], []string{"Strict-Transport-Security: max-age=31536000"}, defaults[3:]),
		},
		{
			"frames of the same origin", `{frame: sameorigin}`, "http", "",
			slices.Concat(
				[]string{"Content-Security-Policy: base-uri 'self'; object-src 'none'; frame-ancestors 'self'"},
				defaults[1:4], []string{"X-Frame-Options: SAMEORIGIN"},
			),
		},
		{
			"frames of everybody", `{frame: off}`, "http", "",
			slices.Concat([]string{"Content-Security-Policy: base-uri 'self'; object-src 'none'"}, defaults[1:4]),
		},
		{
			"own values", `{csp: "default-src 'self'", referrer: no-referrer, permissions: camera=(), nosniff: off, frame: off}`, "http", "",
			[]string{"Content-Security-Policy: default-src 'self'", "Permissions-Policy: camera=()", "Referrer-Policy: no-referrer"},
		},
		{
			"HSTS with everything", `{csp: off, frame: off, nosniff: off, referrer: off, permissions: off,
			  hsts: {maximum_age: 17520h, include_subdomains: true, preload: true}}`, "https", "",
			[]string{"Strict-Transport-Security: max-age=63072000; includeSubDomains; preload"},
		},
		{
			"HSTS off TLS", `{csp: off, frame: off, nosniff: off, referrer: off, permissions: off, hsts: {include_subdomains: true}}`, "http", "", nil,
		},
		{"HSTS off", `{csp: off, frame: off, nosniff: off, referrer: off, permissions: off, hsts: off}`, "https", "", nil},
		{
			"what the service has set stays", `{}`, "https",
			"x-frame-options: ALLOWALL\r\nContent-Security-Policy: default-src *\r\nStrict-Transport-Security: max-age=1\r\nreferrer-policy: origin\r\n" +
				"X-Content-Type-Options: sniff\r\nPermissions-Policy: camera=*\r\n",
			[]string{
				"Content-Security-Policy: default-src *", "Permissions-Policy: camera=*", "Referrer-Policy: origin",
				"Strict-Transport-Security: max-age=1", "X-Content-Type-Options: sniff", "X-Frame-Options: ALLOWALL",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			built := plugintest.Build(t, Plugin, c.options)
			x := plugintest.Exchange(t, get)
			x.Scheme = c.scheme
			plugintest.Answer(t, x, strings.Replace(answer, "Content-Length", c.upstream+"Content-Length", 1))
			if v := built.Run(pipeline.Response, x); v != pipeline.Continue {
				t.Errorf("verdict %v", v)
			}
			lines := append([]string{"Content-Length: 2", "Content-Type: text/html"}, c.want...)
			slices.Sort(lines)
			want := "200\n" + strings.Join(lines, "\n") + "\n\nok"
			if diff := cmp.Diff(want, plugintest.Text(x)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The gateway's own faults carry the fields too, and keep their shape.
func TestFaultsCarryThem(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{}`)
	x := plugintest.Exchange(t, get)
	x.Fail(fault.NoRoute)
	built.Run(pipeline.Response, x)
	text := plugintest.Text(x)
	for _, want := range []string{"404\n", "Content-Type: application/problem+json\n", "X-Frame-Options: DENY\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestNothingToSetIsNoHook(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{csp: off, frame: off, nosniff: off, referrer: off, permissions: off, hsts: off}`)
	if built.Hooks[pipeline.Response] != nil {
		t.Error("a hook that does nothing costs every request something")
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, options, want string }{
		{"two lines", `{csp: "default-src 'self'\r\nSet-Cookie: a=b"}`, "options.yaml:1:7: csp: want the value of a header field on one line, got"},
		{"blanks around", `{permissions: " camera=()"}`, "options.yaml:1:15: permissions: want the value of a header field on one line, got"},
		{"an unknown policy", `{referrer: never}`, "options.yaml:1:12: referrer: want"},
		{"an unknown frame", `{frame: allow}`, "options.yaml:1:9: frame: want"},
		{
			"preload alone", `{hsts: {preload: true}}`,
			"options.yaml:1:18: hsts.preload: the preload list takes no domain without its subdomains; set include_subdomains: true",
		},
		{
			"preload too short", `{hsts: {preload: true, include_subdomains: true, maximum_age: 8759h}}`,
			"options.yaml:1:18: hsts.preload: the preload list wants a maximum_age of 8760h at least",
		},
		{"an unknown key", `{x_frame: deny}`, "options.yaml:1:2: x_frame: unknown key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := plugintest.Problems(t, Plugin, c.options)
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("got %q, want one that begins with %q", got, c.want)
			}
		})
	}
}
