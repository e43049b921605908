package auth_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// TestI14_ABoundTokenNeedsWhatItIsBoundTo, on every route; where only bound ones are
// taken, a token that anybody could have stolen is refused.
func TestI14_ABoundTokenNeedsWhatItIsBoundTo(t *testing.T) {
	t.Parallel()
	const bearer, finger = "Authorization: Bearer bound\r\n", "X-Client-Fingerprint: " + fingerprint + "\r\n"
	const courses = "|X-User-ID: ann|X-Client-ID: app|X-Scopes: courses"
	newWorld().run(t, routes, []walk{
		{"with it", "/plain/a", bearer + finger, sees("/plain/a", courses)},
		{"in another spelling of the field", "/plain/a", bearer + strings.ToLower(finger), sees("/plain/a", courses)},
		{"without it", "/plain/a", bearer, unbound},
		{"without it, optional", "/optional/a", bearer, unbound},
		{"with another", "/plain/a", bearer + "X-Client-Fingerprint: " + fingerprint[1:] + "0\r\n", unbound},
		{"with the hash itself", "/plain/a", bearer + "X-Client-Fingerprint: " + fingered + "\r\n", unbound},
		{"with two", "/plain/a", bearer + finger + finger, unbound},
		{"with an empty one", "/plain/a", bearer + "X-Client-Fingerprint:\r\n", unbound},
		{"in an odd spelling", "/plain/a", bearer + "X_Client_Fingerprint: " + fingerprint + "\r\n", unbound},
		{"bound, where that is wanted", "/bound/a", bearer + finger, sees("/bound/a", courses)},
		{"unbound, where bound is wanted", "/bound/a", authorizeAnn + finger, unbound},
		{"a key, which is bound to nothing", "/bound/a", keyOfClient, sees("/bound/a", clientKey)},
		{"bound to a certificate, on a plain connection", "/plain/a", "Authorization: Bearer mtls\r\n", unbound},
	})
	w := newWorld()
	id := w.identity()
	id.FingerprintHeader = ""
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.RunOptions(t, strings.ReplaceAll(routes, "ORIGIN", origin.URL()), gatewaytest.Options{Identity: id})
	if got := call(g, origin, "/plain/a", bearer+finger); got != unbound {
		t.Errorf("a gateway without such a field: %s", got)
	}
}

// certified boots a gateway whose TLS listener asks for certificates.
type certified struct {
	*gatewaytest.Gateway
	origin *gatewaytest.Origin
	roots  *certificatetest.Authority
}

func (c *certified) call(t *testing.T, target, fields string, shown ...tls.Certificate) string {
	t.Helper()
	client := gatewaytest.DialTLS(t, c.Gateway.Gateway.Address("secure").String(),
		&tls.Config{RootCAs: c.roots.Pool, ServerName: "api.example", Certificates: shown})
	before := len(c.origin.Requests())
	client.Write("GET " + target + " HTTP/1.1\r\nHost: api.example\r\n" + fields + "\r\n")
	got := outcome(client.Read("GET"))
	if len(c.origin.Requests()) > before {
		got += " < " + told(c.origin)
	}
	return got
}

func TestI14_CertificatesOfThisVeryConnection(t *testing.T) {
	t.Parallel()
	dir, clients, servers := t.TempDir(), certificatetest.NewAuthority(t), certificatetest.NewAuthority(t)
	certificate, key := servers.Issue(t, "api.example").Write(t, dir, "server")
	clientCA := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(clientCA, []byte(clients.PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	mine, others := clients.Issue(t, "partner.example"), clients.Issue(t, "other.example")
	sum := sha256.Sum256(mine.TLS().Certificate[0])
	w := newWorld()
	w.tokens["mtls"].Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	w.tickets["t-ann"].Thumbprint = w.tokens["mtls"].Thumbprint
	g, o := w.gateway(t, fmt.Sprintf(`
listen: {secure: {address: "127.0.0.1:0", tls: {certificates: [{certificate_file: %q, key_file: %q, client_ca_file: %q, client_auth: optional}]}}}
services: {a: {endpoints: [{url: "ORIGIN"}]}}
routes:
  plain: {match: {path: "/plain/{rest...}"}, service: a}
  bound: {match: {path: "/bound/{rest...}"}, service: a, plugins: {auth: {bound: true}}}
  mtls: {match: {path: "/mtls/{rest...}"}, service: a, plugins: {auth: {accept: [mtls]}}}
  either: {match: {path: "/either/{rest...}"}, service: a, plugins: {auth: {accept: [jwt, [api_key, mtls]]}}}
  optional: {match: {path: "/optional/{rest...}"}, service: a, plugins: {auth: {required: false, accept: [jwt, mtls]}}}
  scoped: {match: {path: "/scoped/{rest...}"}, service: a, plugins: {auth: {accept: [mtls], scopes: {all: [vod]}}}}
  ticket: {match: {path: "/ticket/{rest...}"}, service: a, plugins: {auth: {accept: [ticket]}}}
`, certificate, key, clientCA))
	c := certified{g, o, servers}
	const bearer = "Authorization: Bearer mtls\r\n"
	const courses, name = "|X-User-ID: ann|X-Client-ID: app|X-Scopes: courses", "|X-Client-ID: mtls:partner.example"
	me, other := []tls.Certificate{mine.TLS()}, []tls.Certificate{others.TLS()}
	for _, one := range []struct {
		name, target, fields string
		shown                []tls.Certificate
		want                 string
	}{
		{"a bound token, over its connection", "/plain/a", bearer, me, sees("/plain/a", courses)},
		{"over another's", "/plain/a", bearer, other, unbound},
		{"over nobody's", "/plain/a", bearer, nil, unbound},
		{"where bound ones are wanted", "/bound/a", bearer, me, sees("/bound/a", courses)},
		{"a ticket of a bound token", "/ticket/a?ticket=t-ann", "", me, sees("/ticket/a", "|X-User-ID: ann|X-Client-ID: app|X-Scopes: courses:read")},
		{"a ticket of a bound token, over another's", "/ticket/a?ticket=t-ann", "", other, unbound},
		{"a certificate alone", "/mtls/a", "", me, sees("/mtls/a", name)},
		{"nothing", "/mtls/a", "", nil, missing},
		{"a certificate alone, where a key is wanted with it", "/either/a", "", me, missing},
		{"a key alone, where a certificate is wanted with it", "/either/a", keyOfClient, nil, missing},
		{"a key with a certificate", "/either/a", keyOfClient, me, sees("/either/a", clientKey)},
		{"a token alone", "/either/a", authorizeAnn, nil, sees("/either/a", ann)},
		{"a token, a key and no certificate", "/either/a", authorizeAnn + keyOfClient, nil, missing},
		{"a certificate that nobody asks for", "/plain/a", "", me, missing},
		{"a certificate on an optional route", "/optional/a", "", me, sees("/optional/a", name)},
		{"no certificate on an optional route", "/optional/a", "", nil, sees("/optional/a", "")},
		{"a token beside a certificate", "/optional/a", authorizeAnn, me, sees("/optional/a", ann)},
		{"a certificate holds no scopes", "/scoped/a", "", me, "403 insufficient_scope"},
	} {
		if got := c.call(t, one.target, one.fields, one.shown...); got != one.want {
			t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
		}
	}
}

// TestID10_TicketsAreTakenAndHidden from services and logs; anywhere else the word
// means what the service makes of it.
func TestID10_TicketsAreTakenAndHidden(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "access.log")
	const reader = "|X-User-ID: ann|X-Client-ID: app|X-Scopes: courses:read"
	w := newWorld()
	g, o := w.gateway(t, strings.Replace(routes, "routes:", fmt.Sprintf("defaults: {plugins: {access_log: {to: %q, query: names}, auth: {}}}\nroutes:", log), 1))
	for _, c := range []walk{
		{"alone", "/ticket/a?ticket=t-ann", "", sees("/ticket/a", reader)},
		{"first", "/ticket/a?ticket=t-ann&b=c", "", sees("/ticket/a?b=c", reader)},
		{"between", "/ticket/a?b=c&ticket=t-ann&d=%20&&e", "", sees("/ticket/a?b=c&d=%20&&e", reader)},
		{"last", "/ticket/a?&ticket=t-ann", "", sees("/ticket/a?", reader)},
		{"with its token", "/ticket/a?ticket=t-ann", authorizeAnn, sees("/ticket/a", reader)},
		{"of somebody else than the token", "/ticket/a?ticket=t-bob", authorizeAnn, forbidden},
		{"for another path", "/ticket/b?ticket=t-ann", "", invalid},
		{"not one", "/ticket/a?ticket=bad", "", invalid},
		{"empty", "/ticket/a?ticket=", "", invalid},
		{"too old", "/ticket/a?ticket=expired", "", `401 token_expired Bearer error="invalid_token"`},
		{"two", "/ticket/a?ticket=t-ann&ticket=t-ann", "", missing},
		{"within another name", "/ticket/a?myticket=t-ann&tickets=t-ann", "", missing},
		{"within another value", "/ticket/a?b=ticket=t-ann", "", missing},
		{"in a fragment of a name", "/ticket/a?%74icket=t-ann", "", missing},
		{"where none is taken", "/plain/a?ticket=mine", authorizeAnn, sees("/plain/a?ticket=mine", ann)},
		{"where none is taken, alone", "/plain/a?ticket=t-ann", "", missing},
	} {
		if got := call(g, o, c.target, c.fields); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	socket := gatewaytest.Dial(t, g.Address())
	socket.Write(gatewaytest.Handshake("/ticket/a?v=1&ticket=t-ann", ""))
	if head, err := socket.Until("\r\n\r\n"); err != nil || !strings.HasPrefix(head, "HTTP/1.1 101 ") || told(o) != "GET /ticket/a?v=1 HTTP/1.1"+reader {
		t.Errorf("a WebSocket: %v\n%s\n%s", err, head, told(o))
	}
	w.change(func(w *world) { w.revoked = []string{"s-ann"} })
	if got := call(g, o, "/ticket/a?ticket=t-ann", ""); got != `401 token_revoked Bearer error="invalid_token"` {
		t.Errorf("a ticket of a session that has ended: %s", got)
	}
	text := ""
	gatewaytest.Eventually(t, "17 lines of the log", func() bool {
		raw, _ := os.ReadFile(log)
		text = string(raw)
		return strings.Count(text, "\n") >= 17
	})
	if strings.Contains(text, "t-ann") || strings.Contains(text, "Bearer") {
		t.Errorf("the log holds a credential:\n%s", text)
	}
	if !strings.Contains(text, `"user_id":"ann","client_id":"app","session_id":"s-ann"`) {
		t.Errorf("the log does not say who called:\n%s", text)
	}
}

// TestI7_AServiceIsToldInASignedToken in place of the fields; one token serves for a
// while.
func TestI7_AServiceIsToldInASignedToken(t *testing.T) {
	t.Parallel()
	newWorld().run(t, routes, []walk{
		{"a token", "/signed/a", authorizeAnn, sees("/signed/a", "|X-Gateway-Token: signed-1-a-ann-app")},
		{"the same again", "/signed/b", authorizeAnn, sees("/signed/b", "|X-Gateway-Token: signed-1-a-ann-app")},
		{"a key", "/signed/a", keyOfClient, sees("/signed/a", "|X-Gateway-Token: signed-2-a--app")},
		{"both", "/signed/a", authorizeAnn + keyOfClient, sees("/signed/a", "|X-Gateway-Token: signed-3-a-ann-app")},
		{"the first again", "/signed/a", authorizeAnn, sees("/signed/a", "|X-Gateway-Token: signed-1-a-ann-app")},
		{"nobody", "/signed/a", "", sees("/signed/a", "")},
		{"no signature to be had", "/signed/a", "Authorization: Bearer short\r\n", "500 internal"},
	})
}

// TestAK4_UseOfKeysIsCounted whatever came of the request, and never for a key that is
// not good.
func TestAK4_UseOfKeysIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld()
	g, _ := w.gateway(t, routes)
	for _, request := range []string{
		"POST /plain/a HTTP/1.1\r\nHost: h\r\n" + keyOfClient + "Content-Length: 3\r\n\r\nabc",
		"GET /scoped/a HTTP/1.1\r\nHost: h\r\n" + keyOfClient + "\r\n",
		"GET /both/a HTTP/1.1\r\nHost: h\r\n" + keyOfClient + "\r\n",
		"GET /plain/a HTTP/1.1\r\nHost: h\r\nX-API-Key: gk_unknown\r\n\r\n",
		"GET /plain/a HTTP/1.1\r\nHost: h\r\n" + authorizeAnn + "\r\n",
		"GET /plain/a HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		g.Do(request)
	}
	want := []string{"client plain 200 in 3 out 2 limited false", "client scoped 403 in 0", "client both 401 in 0"}
	var got []string
	gatewaytest.Eventually(t, "three uses", func() bool { got = w.uses(); return len(got) >= 3 })
	if len(got) != 3 || slices.ContainsFunc(want, func(use string) bool {
		return !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, use) })
	}) {
		t.Errorf("got %q, want %q", got, want)
	}
}
