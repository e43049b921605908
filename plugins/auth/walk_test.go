package auth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// routes has one of each kind.
const routes = `
services: {a: {endpoints: [{url: "ORIGIN"}]}}
routes:
  plain: {match: {path: "/plain/{rest...}"}, service: a}
  explicit: {match: {path: "/explicit/{rest...}"}, service: a, plugins: {auth: {}}}
  open: {match: {path: "/open/{rest...}"}, service: a, plugins: {auth: off}}
  optional: {match: {path: "/optional/{rest...}"}, service: a, plugins: {auth: {required: false, scopes: {any: ["courses:read", vod]}}}}
  tokens: {match: {path: "/tokens/{rest...}"}, service: a, plugins: {auth: {accept: [jwt]}}}
  keys: {match: {path: "/keys/{rest...}"}, service: a, plugins: {auth: {accept: "api_key"}}}
  both: {match: {path: "/both/{rest...}"}, service: a, plugins: {auth: {accept: [[jwt, api_key]]}}}
  scoped: {match: {path: "/scoped/{rest...}"}, service: a, plugins: {auth: {scopes: {all: ["courses:read", "payments:read"]}}}}
  claimed: {match: {path: "/claimed/{rest...}"}, service: a, plugins: {auth: {claims: {/plan: [pro, team], /levels: ["3"], /realm/on: "true"}}}}
  unclaimed: {match: {path: "/unclaimed/{rest...}"}, service: a, plugins: {auth: {claims: {/plan: [team]}}}}
  strict: {match: {path: "/strict/{rest...}"}, service: a, plugins: {auth: {strict: true}}}
  ours: {match: {path: "/ours/{rest...}"}, service: a, plugins: {auth: {issuers: [own]}}}
  partner: {match: {path: "/partner/{rest...}"}, service: a, plugins: {auth: {issuers: [partner]}}}
  bound: {match: {path: "/bound/{rest...}"}, service: a, plugins: {auth: {bound: true}}}
  forward: {match: {path: "/forward/{rest...}"}, service: a, plugins: {auth: {forward_credentials: true}}}
  signed: {match: {path: "/signed/{rest...}"}, service: a, plugins: {auth: {required: false, internal_token: true}}}
  ticket: {match: {path: "/ticket/{rest...}"}, service: a, plugins: {auth: {accept: [jwt, ticket]}, websocket: {}}}
  socket: {match: {path: "/socket/{rest...}"}, service: a, plugins: {websocket: {}}}
  fixed: {match: {path: /fixed}, respond: {status: 204}}
  moved: {match: {path: /moved}, redirect: {to: /plain/a}}
`

const (
	missing      = "401 unauthenticated Bearer"
	invalid      = `401 token_invalid Bearer error="invalid_token"`
	wrong        = "401 invalid_credentials Bearer"
	unbound      = `401 token_unbound Bearer error="invalid_token"`
	forbidden    = "403 forbidden"
	ann          = "|X-User-ID: ann|X-Client-ID: app|X-Scopes: courses payments:read"
	clientKey    = "|X-Client-ID: app|X-Scopes: courses:read vod"
	authorizeAnn = "Authorization: Bearer ann\r\n"
	keyOfClient  = "X-API-Key: gk_client\r\n"
)

// call sends one request and returns its outcome, and what the origin was told if it
// was asked at all.
func call(g *gatewaytest.Gateway, o *gatewaytest.Origin, target, fields string) string {
	before := len(o.Requests())
	got := outcome(g.Do("GET " + target + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"))
	if len(o.Requests()) > before {
		got += " < " + told(o)
	}
	return got
}

// sees is the outcome of a request that reached the origin.
func sees(target, caller string) string { return "200 < GET " + target + " HTTP/1.1" + caller }

type walk struct{ name, target, fields, want string }

func (w *world) run(t *testing.T, yaml string, walks []walk) {
	t.Helper()
	g, o := w.gateway(t, yaml)
	for _, c := range walks {
		if got := call(g, o, c.target, c.fields); got != c.want {
			t.Errorf("%s: %s with %q\n got %s\nwant %s", c.name, c.target, c.fields, got, c.want)
		}
	}
}

func TestID9_WhoCallsAndWhetherTheyMay(t *testing.T) {
	t.Parallel()
	newWorld().run(t, routes, []walk{
		{"nobody", "/plain/a", "", missing},
		{"nobody, said explicitly", "/explicit/a", "", missing},
		{"nobody, and no service to protect", "/fixed", "", missing},
		{"nobody, to be sent elsewhere", "/moved", "", missing},
		{"somebody", "/fixed", authorizeAnn, "204"},
		{"nobody on an open route", "/open/a", "", sees("/open/a", "")},
		{"nobody on an optional route", "/optional/a", "", sees("/optional/a", "")},
		{"a path that no route takes", "/nothing", "", "404 no_route"},
		{"a path that no route takes, and a bad token", "/nothing", "Authorization: Bearer bad\r\n", "404 no_route"},
		{"a token", "/plain/a?b=c", authorizeAnn, sees("/plain/a?b=c", ann)},
		{"a scheme in other cases", "/plain/a", "aUTHORIZATION: bEaReR  ann\r\n", sees("/plain/a", ann)},
		{"a key", "/plain/a", keyOfClient, sees("/plain/a", clientKey)},
		{"a key, in lower case", "/plain/a", "x-api-key: gk_client\r\n", sees("/plain/a", clientKey)},
		{"scopes that cover", "/scoped/a", authorizeAnn, sees("/scoped/a", ann)},
		{"the scope of all", "/scoped/a", "Authorization: Bearer every\r\n", sees("/scoped/a", "|X-User-ID: root|X-Client-ID: app|X-Scopes: *")},
		{"scopes that don't", "/scoped/a", "Authorization: Bearer bob\r\n", `403 insufficient_scope Bearer error="insufficient_scope", scope="courses:read payments:read"`},
		{"a key whose scopes don't", "/scoped/a", keyOfClient, "403 insufficient_scope"},
		{"one of the scopes", "/optional/a", "Authorization: Bearer bob\r\n", sees("/optional/a", "|X-User-ID: bob|X-Client-ID: app|X-Scopes: vod")},
		{"claims that hold", "/claimed/a", authorizeAnn, sees("/claimed/a", ann)},
		{"claims that don't", "/unclaimed/a", authorizeAnn, forbidden},
		{"a token that claims nothing", "/unclaimed/a", "Authorization: Bearer mute\r\n", forbidden},
		{"a key, which claims nothing", "/unclaimed/a", keyOfClient, sees("/unclaimed/a", clientKey)},
		{"another issuer's token", "/partner/a", "Authorization: Bearer far\r\n", sees("/partner/a", "|X-User-ID: partner:eve|X-Client-ID: partner-app|X-Scopes: courses")},
		{"another issuer's token where ours are wanted", "/ours/a", "Authorization: Bearer far\r\n", invalid},
		{"our token where another issuer's are wanted", "/partner/a", authorizeAnn, invalid},
		{"our token where ours are wanted", "/ours/a", authorizeAnn, sees("/ours/a", ann)},
	})
}

// TestI16_ABadCredentialIsNeverNobody: whatever was shown must be good, and of a kind
// that the route takes.
func TestI16_ABadCredentialIsNeverNobody(t *testing.T) {
	t.Parallel()
	walks := []walk{
		{"a bad key and a good token", "/plain/a", authorizeAnn + "X-API-Key: gk_unknown\r\n", wrong},
		{"a good key and a bad token", "/plain/a", "Authorization: Bearer bad\r\n" + keyOfClient, invalid},
		{"a token where keys are taken", "/keys/a", authorizeAnn, missing},
		{"a token beside a key where keys are taken", "/keys/a", authorizeAnn + keyOfClient, missing},
		{"a key where tokens are taken", "/tokens/a", keyOfClient, missing},
		{"a key beside a token where tokens are taken", "/tokens/a", authorizeAnn + keyOfClient, missing},
		{"one of two", "/both/a", authorizeAnn, missing},
		{"the other of two", "/both/a", keyOfClient, missing},
		{"none of two", "/both/a", "", missing},
		{"a key that may be used elsewhere", "/keys/a", "X-API-Key: gk_away\r\n", forbidden},
		{"ids that would break a field", "/plain/a", "Authorization: Bearer crlf\r\n", "500 internal"},
	}
	for _, c := range []struct{ shown, want string }{
		{"Authorization: Bearer bad\r\n", invalid},
		{"Authorization: Bearer expired\r\n", `401 token_expired Bearer error="invalid_token"`},
		{"Authorization: Bearer unavailable\r\n", "503 store_unavailable"},
		{"Authorization: Bearer ann, Bearer ann\r\n", invalid},
		{"Authorization: Bearer ann bob\r\n", invalid},
		{"Authorization: Bearer\r\n", missing},
		{"Authorization:\r\n", missing},
		{"Authorization: ann\r\n", missing},
		{"Authorization: Bearerann\r\n", missing},
		{"Authorization: Basic YW5uOmFubg==\r\n", missing},
		{"X-API-Key: gk_unknown\r\n", wrong},
		{"X-API-Key: gk_malformed\r\n", wrong},
		{"X-API-Key: gk_inactive\r\n", wrong},
		{"X-API-Key: gk_expired\r\n", wrong},
		{"X-API-Key: gk_unavailable\r\n", "503 store_unavailable"},
		{"X-API-Key:\r\n", wrong},
		{"X-API-Key: gk_client, gk_client\r\n", wrong},
	} {
		for _, route := range []string{"/plain/a", "/optional/a", "/signed/a"} {
			walks = append(walks, walk{"on " + route, route, c.shown, c.want})
		}
	}
	newWorld().run(t, routes, walks)
}

func TestI16_TokenAndKeyMustAgree(t *testing.T) {
	t.Parallel()
	const scopes = "|X-User-ID: ann|X-Client-ID: app|X-Scopes: courses:read"
	newWorld().run(t, routes, []walk{
		{"a client's key", "/both/a", authorizeAnn + keyOfClient, sees("/both/a", scopes)},
		{"where either would do", "/plain/a", authorizeAnn + keyOfClient, sees("/plain/a", scopes)},
		{"the user's key", "/both/a", authorizeAnn + "X-API-Key: gk_ann\r\n", sees("/both/a", scopes)},
		{"the user's own key", "/both/a", authorizeAnn + "X-API-Key: gk_own\r\n", sees("/both/a", scopes)},
		{"a user's own key, of another client's token", "/both/a", "Authorization: Bearer other\r\nX-API-Key: gk_own\r\n", sees("/both/a", "|X-User-ID: ann|X-Client-ID: other-app|X-Scopes: courses:read")},
		{"another user's own key", "/both/a", "Authorization: Bearer bob\r\nX-API-Key: gk_own\r\n", forbidden},
		{"another user's key", "/both/a", authorizeAnn + "X-API-Key: gk_bob\r\n", forbidden},
		{"another user's key, where either would do", "/optional/a", authorizeAnn + "X-API-Key: gk_bob\r\n", forbidden},
		{"another client's key", "/both/a", authorizeAnn + "X-API-Key: gk_other\r\n", forbidden},
		{"another client's token", "/both/a", "Authorization: Bearer other\r\n" + keyOfClient, forbidden},
		{"nothing in common", "/both/a", "Authorization: Bearer bob\r\nX-API-Key: gk_bob\r\n", sees("/both/a", "|X-User-ID: bob|X-Client-ID: app")},
		{"nothing in common, and a scope is wanted", "/optional/a", "Authorization: Bearer bob\r\nX-API-Key: gk_bob\r\n", `403 insufficient_scope Bearer error="insufficient_scope", scope="courses:read vod"`},
	})
}

// TestI15_CredentialsStopHere: a service sees none, unless its route says so; what is
// no field is no credential.
func TestI15_CredentialsStopHere(t *testing.T) {
	t.Parallel()
	const finger = "X-Client-Fingerprint: " + fingerprint + "\r\n"
	newWorld().run(t, routes, []walk{
		{"a token", "/plain/a", authorizeAnn + finger, sees("/plain/a", ann)},
		{"a key", "/keys/a", keyOfClient + finger, sees("/keys/a", clientKey)},
		{"forwarded, but not what tokens are bound to", "/forward/a", authorizeAnn + finger, sees("/forward/a", "|Authorization: Bearer ann"+ann)},
		{"a key that is forwarded", "/forward/a", keyOfClient, sees("/forward/a", "|X-Api-Key: gk_client"+clientKey)},
		{"an open route: its service reads Authorization itself", "/open/a", "Authorization: Basic YTpi\r\n" + keyOfClient + finger, sees("/open/a", "|Authorization: Basic YTpi")},
		{"two lines of a token", "/plain/a", authorizeAnn + authorizeAnn, missing},
		{"two lines of a key", "/plain/a", keyOfClient + keyOfClient, missing},
		{"two lines, the first empty", "/optional/a", "Authorization:\r\n" + authorizeAnn, missing},
		{"two lines in other spellings", "/optional/a", "authorization: Bearer ann\r\n" + authorizeAnn, missing},
		{"an odd spelling is no key", "/keys/a", "X_API_Key: gk_client\r\n", missing},
		{"a token in the query", "/plain/a?access_token=ann&authorization=Bearer+ann&api_key=gk_client&ticket=t-ann", "", missing},
		{"a token in a cookie", "/plain/a", "Cookie: access_token=ann; Authorization=Bearer ann\r\n", missing},
		{"as proxies have it", "/plain/a", "Proxy-Authorization: Bearer ann\r\n", missing},
	})
	g, _ := newWorld().gateway(t, routes)
	const body = "access_token=ann"
	answer := g.Do(fmt.Sprintf("POST /plain/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	if got := outcome(answer); got != missing {
		t.Errorf("a token in the body: %s", got)
	}
	answer = g.Do("POST /plain/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: Bearer ann\r\n\r\n")
	if got := outcome(answer); got != "400 bad_request" { // no trailer may hold it
		t.Errorf("a token in the trailer: %s", got)
	}
}

// TestC3_NobodySaysWhoTheyAre: the fields that name a caller are ours alone, on every
// kind of route and in every spelling.
func TestC3_NobodySaysWhoTheyAre(t *testing.T) {
	t.Parallel()
	const lies = "X-User-ID: root\r\nx-user-id: root\r\nX_User_ID: root\r\nX.User.Id: root\r\nX-Client_ID: root\r\nX-Scopes: *\r\n" +
		"X-Gateway-Token: root\r\nX_Gateway_Token: root\r\nConnection: X-Nothing\r\n"
	for _, policy := range []string{"drop", "allow"} {
		w := newWorld()
		g, o := w.gateway(t, "odd_header_names: "+policy+routes)
		for _, c := range []walk{
			{"an open route", "/open/a", lies, sees("/open/a", "")},
			{"an optional route", "/optional/a", lies, sees("/optional/a", "")},
			{"a signed route, and nobody", "/signed/a", lies, sees("/signed/a", "")},
			{"a caller's own", "/plain/a", lies + authorizeAnn, sees("/plain/a", ann)},
			{"a key that names no user", "/plain/a", lies + keyOfClient, sees("/plain/a", clientKey)},
			{"in place of the fields", "/signed/a", lies + authorizeAnn, sees("/signed/a", "|X-Gateway-Token: signed-1-a-ann-app")},
		} {
			if got := call(g, o, c.target, c.fields); got != c.want {
				t.Errorf("%s, %s:\n got %s\nwant %s", policy, c.name, got, c.want)
			}
		}
		if strings.Contains(strings.ToLower(strings.Join(o.Requests(), "")), "root") {
			t.Errorf("%s: an origin saw what nobody but the gateway may say:\n%s", policy, o.Requests())
		}
		socket := gatewaytest.Dial(t, g.Address())
		socket.Write(gatewaytest.Handshake("/socket/a", strings.Replace(lies, "Connection: X-Nothing\r\n", authorizeAnn, 1)))
		if head, err := socket.Until("\r\n\r\n"); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") || told(o) != "GET /socket/a HTTP/1.1"+ann {
			t.Errorf("%s, a WebSocket: %s\n%s", policy, head, told(o))
		}
	}
}

// TestI6_WhatIsNotKnownToBeGood: revoked ones are refused everywhere; where nobody can
// know, tokens wait, and keys don't.
func TestI6_WhatIsNotKnownToBeGood(t *testing.T) {
	t.Parallel()
	const revoked = `401 token_revoked Bearer error="invalid_token"`
	w := newWorld()
	g, o := w.gateway(t, routes)
	for _, c := range []struct {
		name                  string
		change                func(w *world)
		plain, strict, remote string
	}{
		{"fresh", func(*world) {}, "200", "200", "200"},
		{"a little old", func(w *world) { w.age = 5 * time.Second }, "200", "200", "200"},
		{"old", func(w *world) { w.age = 5*time.Second + 1 }, "200", "503 store_unavailable", "200"},
		{"never known", func(w *world) { w.age, w.cold = 0, true }, "503 store_unavailable", "503 store_unavailable", "503 store_unavailable"},
		{"the session", func(w *world) { w.cold, w.revoked = false, []string{"s-ann"} }, revoked, revoked, "200"},
		{"the session, and nothing is fresh", func(w *world) { w.cold = true }, revoked, revoked, "503 store_unavailable"},
		{"the user", func(w *world) { w.cold, w.revoked = false, []string{"user:ann"} }, revoked, revoked, "200"},
		{"a foreign token", func(w *world) { w.revoked = []string{"ext:far"} }, "200", "200", revoked},
	} {
		w.change(c.change)
		for target, want := range map[string]string{"/plain/a": c.plain, "/strict/a": c.strict} {
			if got, _, _ := strings.Cut(call(g, o, target, authorizeAnn), " <"); got != want {
				t.Errorf("%s, %s: got %s, want %s", c.name, target, got, want)
			}
			if got, _, _ := strings.Cut(call(g, o, target, keyOfClient), " <"); got != "200" {
				t.Errorf("%s, %s with a key: got %s", c.name, target, got)
			}
		}
		if got, _, _ := strings.Cut(call(g, o, "/partner/a", "Authorization: Bearer far\r\n"), " <"); got != c.remote {
			t.Errorf("%s, another issuer's: got %s, want %s", c.name, got, c.remote)
		}
	}
}

// A gateway that knows nobody lets nobody in.
func TestWithoutIdentityNobodyComesIn(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, strings.ReplaceAll(strings.ReplaceAll(routes, "ORIGIN", origin.URL()), "issuers: [partner]", "issuers: [own]"))
	for _, c := range []walk{
		{"nobody", "/plain/a", "", missing},
		{"a token", "/plain/a", authorizeAnn, invalid},
		{"a key", "/plain/a", keyOfClient, wrong},
		{"a ticket", "/ticket/a?ticket=t", "", invalid},
		{"a key on an optional route", "/optional/a", keyOfClient, wrong},
		{"an open route", "/open/a", "", sees("/open/a", "")},
	} {
		if got := call(g, origin, c.target, c.fields); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// Browsers ask whether they may before they show anything; the policy answers.
func TestC14_PreflightsNeedNoCredential(t *testing.T) {
	t.Parallel()
	g, _ := newWorld().gateway(t, `
services: {a: {endpoints: [{url: "ORIGIN"}]}}
routes: {a: {match: {path: /a, methods: [PUT]}, service: a, plugins: {auth: {}, cors: {origins: [https://app.example], methods: [PUT], headers: [Authorization]}}}}
`)
	for request, want := range map[string]string{
		"OPTIONS /a HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n\r\n": "204",
		"PUT /a HTTP/1.1\r\nHost: h\r\nOrigin: https://app.example\r\nContent-Length: 0\r\n\r\n":                                                                       missing,
	} {
		answer := g.Do(request)
		if got := outcome(answer); got != want || !strings.Contains(answer, "Access-Control-Allow-Origin: https://app.example") {
			t.Errorf("%q: want %s and the policy's fields, got\n%s", request, want, answer)
		}
	}
}
