package ratelimit_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

const numbers = `
policies:
  two: {rate: 2/1h, burst: 2}
  three: {algorithm: sliding_window, rate: 3/1h}
  many: {rate: 100000/1h}
`

// fieldsOf are the lines of an answer that begin so, sorted as they came.
func fieldsOf(answer string, names ...string) string {
	var out []string
	for line := range strings.SplitSeq(answer, "\r\n") {
		for _, name := range names {
			if strings.HasPrefix(strings.ToLower(line), strings.ToLower(name)) {
				out = append(out, line)
			}
		}
	}
	return strings.Join(out, "\n")
}

func statusOf(answer string) string { return strings.Fields(answer)[1] }

// times makes times that depend on the moment into T.
var times = regexp.MustCompile(`;t=\d+|(Reset|Retry-After): \d+|"retryAfter":\d+|\nDate: [^\n]*`)

// TestRL4_TheWholeAnswer: the fields stand on what the service answers, in place of its
// own, and on the denial.
func TestRL4_TheWholeAnswer(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string {
		return "HTTP/1.1 200 OK\r\nX-RATELIMIT-LIMIT: 7\r\nratelimit-remaining: 6\r\nRateLimit: \"its\";r=1\r\nRetry-After: 5\r\nContent-Length: 2\r\n\r\nok"
	})
	g := gatewaytest.Run(t, numbers+`
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes:
  a: {match: {path: /a}, service: a, plugins: {rate_limit: {levels: {ip: {policy: two}, global: {policy: many}}}}}
  b: {match: {path: /b}, service: a}
`)
	ask := func(path string) string {
		return times.ReplaceAllString(strings.ReplaceAll(g.Do("GET "+path+" HTTP/1.1\r\nHost: h\r\nX-Correlation-ID: id\r\n\r\n"), "\r\n", "\n"), "$1 T")
	}
	got := ask("/a")
	for _, line := range []string{
		"X-RateLimit-Limit: 2\n", "X-RateLimit-Remaining: 1\n", `RateLimit: "ip";r=1 T, "global";r=99999 T` + "\n",
		`RateLimit-Policy: "ip";q=2;w=3600, "global";q=100000;w=3600` + "\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
	if n := strings.Count(strings.ToLower(got), "ratelimit"); n != 5 || strings.Contains(got, `"its"`) {
		t.Errorf("the service's own fields are left:\n%s", got)
	}
	if got := ask("/b"); strings.Count(strings.ToLower(got), "ratelimit") != 3 {
		t.Errorf("a route without limits changes the service's fields:\n%s", got)
	}
	ask("/a")
	got, _, _ = strings.Cut(ask("/a"), "\n\n")
	if statusOf(got) != "429" || !strings.Contains(got, "X-RateLimit-Remaining: 0\n") || !strings.Contains(got, "Retry-After T\n") {
		t.Errorf("denied:\n%s", got)
	}
	if n := len(origin.Requests()); n != 3 {
		t.Errorf("the service got %d requests, want 3: what is denied reaches nobody", n)
	}
}

// TestI10_NothingIsVerifiedForWhoIsExhausted: a flood of credentials from an address
// whose level is exhausted meets no crypto; anonymous levels don't concern it.
func TestI10_NothingIsVerifiedForWhoIsExhausted(t *testing.T) {
	t.Parallel()
	id := gatewaytest.NewIdentity(t)
	g := gatewaytest.RunOptions(t, numbers+`
routes:
  all: {match: {path: /all}, respond: {status: 204}, plugins: {auth: {required: false}, rate_limit: {levels: {ip: {policy: two}}}}}
  anonymous: {match: {path: /anonymous}, respond: {status: 204}, plugins: {auth: {required: false}, rate_limit: {levels: {ip: {policy: three, callers: anonymous}, user: {policy: many, callers: authenticated}}}}}
`, gatewaytest.Options{Identity: &id.Identity})
	ask := func(path, fields string) string {
		return statusOf(g.Do("GET " + path + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"))
	}
	token := "Authorization: Bearer " + id.Token("ann") + "\r\n"
	const bad = "Authorization: Bearer x.y.z\r\n"
	for _, c := range []struct{ path, fields, want string }{
		{"/all", bad, "401"}, // it is not charged: nobody was found
		{"/all", "", "204"}, {"/all", token, "204"}, {"/all", token, "429"},
		{"/all", bad, "429"}, // before anybody looks
		{"/all", "", "429"},
		{"/anonymous", "", "204"}, {"/anonymous", "", "204"}, {"/anonymous", "", "204"}, {"/anonymous", "", "429"},
		{"/anonymous", token, "204"}, {"/anonymous", bad, "401"}, {"/anonymous", "", "429"},
	} {
		if got := ask(c.path, c.fields); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.path, c.fields, got, c.want)
		}
	}
}

// TestRL2_WhatMatchesNothingIsLimited: floods of 404, of broken paths, and of requests
// that never became one.
func TestRL2_WhatMatchesNothingIsLimited(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"no route":         "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n",
		"a bad path":       "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n",
		"not a request":    "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
		"no such method":   "DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n",
		"TRACE":            "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
		"by users, too":    "GET /nothing HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x\r\n\r\n",
		"bytes of a robot": "\x16\x03\x01\r\n\r\n",
	} {
		g := gatewaytest.Run(t, numbers+`
routes: {a: {match: {path: /a, methods: [GET]}, respond: {status: 204}}}
defaults: {plugins: {auth: off, rate_limit: {levels: {user: {policy: two}}}}}
`)
		var got []string
		for range 4 {
			got = append(got, statusOf(g.Do(request)))
		}
		if got[0] == "429" || got[1] == "429" || got[2] != "429" || got[3] != "429" {
			t.Errorf("%s: %s, want two answers and then 429", name, got)
		}
		if got := g.Metrics(); !strings.Contains(got, `gateway_faults_total{route="none",service="none",code="rate_limited"} 2`) || !strings.Contains(got, `gateway_rate_limit_denied_total{level="user",policy="two"} 2`) {
			t.Errorf("%s: the denials are not counted in\n%s", name, fieldsOf(strings.ReplaceAll(got, "\n", "\r\n"), "gateway_faults", "gateway_rate"))
		}
	}
}

// TestRL7_ReloadKeepsCounts: policies change under routes, and what was counted
// stays.
func TestRL7_ReloadKeepsCounts(t *testing.T) {
	t.Parallel()
	const routes = "routes: {a: {match: {path: /a}, respond: {status: 204}, plugins: {rate_limit: {levels: {ip: {policy: p}}}}}}\n"
	g := gatewaytest.Run(t, "policies: {p: {rate: 2/1h}}\n"+routes)
	ask := func(n int) string {
		var out []string
		for range n {
			out = append(out, statusOf(g.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")))
		}
		return strings.Join(out, " ")
	}
	wants := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	wants("two an hour", ask(3), "204 204 429")
	g.Reconfigure("policies: {p: {rate: 2/1h}}\n" + routes)
	wants("the same again", ask(1), "429")
	g.Reconfigure("policies: {p: {rate: 2/1h, burst: 3}}\n" + routes)
	wants("one more", ask(2), "204 429")
	g.Reconfigure("policies: {q: {rate: 2/1h}}\n" + strings.ReplaceAll(routes, "policy: p", "policy: q"))
	wants("another policy counts for itself", ask(3), "204 204 429")
	g.Reconfigure("policies: {p: {rate: 2/1h, burst: 3}}\n" + routes)
	wants("back", ask(1), "429")
}

// TestOB1_WhoWasDeniedIsCounted, by as many names as are allowed.
func TestOB1_WhoWasDeniedIsCounted(t *testing.T) {
	t.Parallel()
	id := gatewaytest.NewIdentity(t)
	g := gatewaytest.RunOptions(t, `
policies: {one: {rate: 1/1h}}
telemetry: {metrics: {identities: 2}}
routes: {a: {match: {path: /a}, respond: {status: 204}, plugins: {auth: {required: false}, rate_limit: {levels: {user: {policy: one}}}}}}
`, gatewaytest.Options{Identity: &id.Identity})
	for i := range 4 {
		for range i + 2 {
			g.Do("GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + id.Token(fmt.Sprint("u", i)) + "\r\n\r\n")
		}
	}
	for range 3 {
		g.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	want := `gateway_rate_limit_exceeded_total{user_id="",client_id="",policy="one"} 2
gateway_rate_limit_exceeded_total{user_id="other",client_id="other",policy="one"} 7
gateway_rate_limit_exceeded_total{user_id="u0",client_id="app",policy="one"} 1
gateway_rate_limit_exceeded_total{user_id="u1",client_id="app",policy="one"} 2`
	if diff := cmp.Diff(want, fieldsOf(strings.ReplaceAll(g.Metrics(), "\n", "\r\n"), "gateway_rate_limit_exceeded_total{")); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// TestRL4_RetryAfterIsExact: who comes back then passes, and not a second before.
func TestRL4_RetryAfterIsExact(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	w := &world{t: t, clock: c, limits: gatewaytest.NewLimits(t, c)}
	w.limits.Replace(policies)
	for _, policy := range []string{"one", "two", "five", "window"} {
		r := rebuilt(w, `{levels: {global: {policy: `+policy+`}}}`)
		for statusCode := ""; statusCode != "429"; {
			statusCode, _, _ = strings.Cut(r.run(r.exchange()), "\n")
		}
		answer := r.run(r.exchange())
		var seconds int
		if _, err := fmt.Sscanf(answer[strings.Index(answer, "Retry-After: "):], "Retry-After: %d", &seconds); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Duration(seconds-1) * time.Second)
		r.wants(policy+" a second early", r.statuses(1), "429")
		c.Advance(time.Second)
		r.wants(policy+" in time", r.statuses(1), "200")
	}
}
