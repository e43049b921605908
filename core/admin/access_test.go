package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/tunnel"
)

const (
	readToken  = "0123456789abcdef-read-0123456789"
	writeToken = "0123456789abcdef-write-0123456789"
)

func tokens() []admin.Token {
	return []admin.Token{
		admin.NewToken("viewer", false, setting.NewSecret(readToken)),
		admin.NewToken("deploy", true, setting.NewSecret(writeToken)),
	}
}

// reloads answers every reload with one outcome.
type reloads struct{ admin.Outcome }

func (r *reloads) Reload(trigger string) admin.Outcome {
	r.Trigger = trigger
	return r.Outcome
}

func (r *reloads) InForce() admin.InForce {
	return admin.InForce{
		Version: 7, LoadedAt: moment.Add(-90 * time.Second), Sources: []string{"a.yaml"},
		Hash: strings.Repeat("xy", 32), Routes: 3, Services: 1, LastReload: &r.Outcome,
	}
}

var moment = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// levels takes two levels.
type levels struct{ now string }

func (l *levels) Level() string { return l.now }

func (l *levels) SetLevel(name string) error {
	if name != "info" && name != "debug" {
		return errors.New("want info or debug")
	}
	l.now = name
	return nil
}

type upgraded int

func (n upgraded) Len() int { return int(n) }

func (n upgraded) List() []tunnel.Info {
	return []tunnel.Info{{ID: 3, CorrelationID: "one", Route: "ws", Service: "live", Endpoint: "192.0.2.9:80", Client: netip.MustParseAddr("192.0.2.1"),
		Opened: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), BytesIn: 1, BytesOut: 2}}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// api is an admin listener before a real gateway.
type api struct {
	*admin.Server
	t       testing.TB
	address string
	public  string // of the gateway
	log     *lines
	reloads *reloads
	closed  bool
}

const configuration = `
services:
  one: {endpoints: [{url: "http://127.0.0.1:9001", weight: 2}, {url: "http://127.0.0.1:9002"}], breaker: {}, bulkhead: {maximum: 5, queue: 0}}
  plain: {endpoints: [{url: "http://127.0.0.1:9003"}]}
routes:
  a: {match: {path: "/a/{rest...}", hosts: [a.example.com], methods: [GET, POST]}, service: one, plugins: {security_headers: {}}}
  b: {match: {path: /b}, redirect: {to: /c, status: 308}}
  c: {match: {path: /c}, respond: {body: c}}
`

func startAPI(t testing.TB, tokens []admin.Token) *api {
	t.Helper()
	g := gatewaytest.Run(t, configuration)
	a := &api{t: t, log: &lines{}, reloads: &reloads{admin.Outcome{Result: admin.Applied, At: moment, Problems: []admin.Problem{}}}}
	a.Server = admin.New(admin.Options{
		Address: "127.0.0.1:0", Tokens: tokens, Meter: meter.NewSet(time.Now), Probes: probes(), Log: zerolog.New(a.log).Level(zerolog.WarnLevel),
		API: &admin.API{
			Version: "v9", Started: moment.Add(-time.Hour), Now: func() time.Time { return moment },
			Snapshot: g.Current, Listeners: g.Listeners, Reloader: a.reloads, LogLevel: &levels{"info"}, Connections: upgraded(4),
		},
	})
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	a.address, a.public = a.Addr().String(), g.Address()
	t.Cleanup(a.close)
	return a
}

func (a *api) close() {
	if a.closed {
		return
	}
	a.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		a.t.Error(err)
	}
}

// call sends a request with further fields, each on a line, and a body.
func (a *api) call(t *testing.T, what string, fields, body string) string {
	t.Helper()
	if body != "" {
		fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return ask(t, a.address, what+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"+fields+"\r\n"+body)
}

func bearer(token string) string { return "Authorization: Bearer " + token + "\r\n" }

const asJSON = "Content-Type: application/json\r\n"

// whole puts an answer together, its length apart.
func whole(status, fields, body string) string {
	return "HTTP/1.1 " + status + "\r\n" + fields + "Connection: close\r\n\r\n" + body
}

func problem(code, title string, status int, detail string) string {
	return fmt.Sprintf(`{"type":"https://suuupra.dev/faults/%s","title":"%s","status":%d,"code":"%s","error":"%s","detail":"%s","correlationId":""}`, code, title, status, code, title, detail)
}

const problemFields = "Content-Type: application/problem+json\r\nX-Correlation-ID: \r\n"

func TestC8_TheAPIWantsAToken(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	const level = "Content-Type: application/json\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\n"
	missing := whole("401 Unauthorized", problemFields+"Www-Authenticate: Bearer\r\n",
		problem("unauthenticated", "Authentication required", 401, "want Authorization: Bearer with a token of admin.tokens, or the one in admin.token of `directory`"))
	invalid := whole("401 Unauthorized", problemFields+"Www-Authenticate: Bearer error=\"invalid_token\"\r\n",
		`{"type":"https://suuupra.dev/faults/token_invalid","title":"Token invalid","status":401,"code":"token_invalid","error":"Token invalid","correlationId":""}`)
	narrow := whole("403 Forbidden", problemFields, problem("insufficient_scope", "Insufficient scope", 403, "this token may only read"))
	info := whole("200 OK", level, `{"level":"info"}`+"\n")
	for _, c := range []struct{ name, what, fields, body, want string }{
		{"none", "GET /admin/log-level", "", "", missing},
		{"none, to change", "POST /admin/log-level", asJSON, `{"level":"info"}`, missing},
		{"read", "GET /admin/log-level", bearer(readToken), "", info},
		{"read, to change", "POST /admin/log-level", bearer(readToken) + asJSON, `{"level":"info"}`, narrow},
		{"read, for a profile", "GET /debug/pprof/heap", bearer(readToken), "", narrow},
		{"write", "GET /admin/log-level", bearer(writeToken), "", info},
		{"write, to change", "POST /admin/log-level", bearer(writeToken) + asJSON, `{"level":"info"}`, info},
		{"another case of the scheme", "GET /admin/log-level", "authorization: bearer   " + readToken + "\r\n", "", info},
		{"another scheme", "GET /admin/log-level", "Authorization: Basic " + readToken + "\r\n", "", invalid},
		{"no scheme", "GET /admin/log-level", "Authorization: " + readToken + "\r\n", "", invalid},
		{"empty", "GET /admin/log-level", "Authorization: Bearer\r\n", "", invalid},
		{"cut", "GET /admin/log-level", bearer(readToken[:31]), "", invalid},
		{"longer", "GET /admin/log-level", bearer(readToken + "0"), "", invalid},
		{"two words", "GET /admin/log-level", bearer(readToken + " " + readToken), "", invalid},
		{"twice", "GET /admin/log-level", bearer(readToken) + bearer(readToken), "", invalid},
		{"a good one behind a bad one", "GET /admin/log-level", bearer("x") + bearer(writeToken), "", invalid},
		{"in the query", "GET /admin/log-level?access_token=" + writeToken, "", "", missing},
	} {
		if diff := cmp.Diff(lengthless(c.want), lengthless(a.call(t, c.what, c.fields, c.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestC8_EveryEndpointWantsAToken asks for all that the router knows.
func TestC8_EveryEndpointWantsAToken(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	const ok = "HTTP/1.1 200 "
	open := map[string]string{
		"GET /metrics": ok, "GET /livez": ok, "GET /readyz": ok, "GET /health": ok,
		"GET /internal/jwks.json": "HTTP/1.1 404 ", // public keys (SECURITY I7), which this one has none of
	}
	for _, what := range a.Served() {
		got := a.call(t, strings.Replace(what, "{profile}", "heap", 1), asJSON, "")
		want := "HTTP/1.1 401 "
		if status := open[what]; status != "" {
			want = status
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s without a token: want %q, got %.80q", what, want, got)
		}
	}
}

func TestC8_WithoutConfiguredTokensNobodyMayEnter(t *testing.T) {
	t.Parallel()
	a := startAPI(t, nil)
	want := whole("403 Forbidden", problemFields, problem("forbidden", "Forbidden", 403,
		"no token is configured: name one in admin.tokens, or set `directory` to a folder that the gateway can write to, and restart it"))
	for _, fields := range []string{"", bearer(""), bearer(writeToken)} {
		if diff := cmp.Diff(want, lengthless(a.call(t, "GET /admin/status", fields, ""))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", fields, diff)
		}
	}
	if got := a.call(t, "GET /readyz", "", ""); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("the probes must answer all the same, got %q", got)
	}
}

// TestC8_ChangesAreDeclared refuses what a page of another site could make a
// browser send, and what is not there.
func TestC8_ChangesAreDeclared(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	write := bearer(writeToken)
	for _, c := range []struct {
		what, fields, body string
		want               string
	}{
		{"POST /admin/reload", write, "", "415 Unsupported Media Type"},
		{"POST /admin/reload", write + "Content-Type: text/plain\r\n", "{}", "415 Unsupported Media Type"},
		{"POST /admin/reload", write + "Content-Type: application/x-www-form-urlencoded\r\n", "a=b", "415 Unsupported Media Type"},
		{"POST /admin/reload", write + "Content-Type: application/json, text/plain\r\n", "{}", "415 Unsupported Media Type"},
		{"POST /admin/reload", write + "Content-Type: application/json; charset=latin1\r\n", "{}", "415 Unsupported Media Type"},
		{"POST /admin/reload", write + "Content-Type: application/json; a=b\r\n", "{}", "415 Unsupported Media Type"},
		{"POST /admin/reload", write + "Content-Type: Application/JSON; charset=UTF-8\r\n", "{}", "200 OK"},
		{"POST /admin/reload", write + asJSON, "", "200 OK"},
		{"POST /admin/reload", write + asJSON, " {} ", "200 OK"},
		{"POST /admin/reload", write + asJSON, "{", "400 Bad Request"},
		{"POST /admin/reload", write + asJSON, `{"force":"yes"}`, "400 Bad Request"},
		{"POST /admin/reload", write + asJSON + "Origin: http://evil.example.com\r\n", "{}", "403 Forbidden"},
		{"POST /admin/reload", write + asJSON + "Sec-Fetch-Site: cross-site\r\n", "{}", "403 Forbidden"},
		{"GET /admin/reload", write, "", "405 Method Not Allowed"},
		{"OPTIONS /admin/reload", write, "", "405 Method Not Allowed"},
		{"DELETE /admin/log-level", write + asJSON, "", "405 Method Not Allowed"},
		{"GET /admin/routes/", write, "", "404 Not Found"},
		{"GET /Admin/routes", write, "", "404 Not Found"},
		{"GET /debug/pprof/", write, "", "404 Not Found"},
		{"GET /debug/pprof/nothing", write, "", "404 Not Found"},
		{"GET /debug/pprof/heap/x", write, "", "404 Not Found"},
	} {
		got := a.call(t, c.what, c.fields, c.body)
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.want+"\r\n") {
			t.Errorf("%s %q %q: want %s, got %q", c.what, c.fields, c.body, c.want, got)
		}
		if strings.HasPrefix(c.want, "405") && !strings.Contains(got, "\r\nAllow: ") {
			t.Errorf("%s: no Allow in %q", c.what, got)
		}
	}
	_, port, _ := net.SplitHostPort(a.address)
	got := ask(t, a.address, "POST /admin/reload HTTP/1.1\r\nHost: evil.example.com:"+port+"\r\nConnection: close\r\nContent-Length: 0\r\n"+write+asJSON+"\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 421 ") {
		t.Errorf("another Host: got %q", got)
	}
}

var logged = regexp.MustCompile(`"from":"127\.0\.0\.1:\d+"`)

// TestC8_ChangesAreAudited compares the lines of the log, whose level would keep
// them out.
func TestC8_ChangesAreAudited(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	id := "X-Correlation-ID: mine\r\n"
	a.call(t, "GET /admin/status", bearer(readToken)+id, "") // no change
	a.call(t, "POST /admin/reload", bearer(writeToken)+id+asJSON, "")
	a.reloads.Result = admin.Refused
	a.call(t, "POST /admin/reload", bearer(writeToken)+id+asJSON, "")
	a.call(t, "POST /admin/reload", bearer(writeToken)+id, "")
	a.call(t, "POST /admin/reload", bearer(readToken)+id+asJSON, "")
	a.call(t, "POST /admin/reload", bearer("guess")+id+asJSON, "")
	a.call(t, "POST /admin/log-level", bearer(writeToken)+id+asJSON, `{"level":"debug"}`)
	a.call(t, "POST /admin/log-level", bearer(writeToken)+id+asJSON, `{"level":"loud"}`)
	a.call(t, "POST /admin/drain", bearer(writeToken)+id+asJSON, `{"service":"one","endpoint":"127.0.0.1:9001"}`)
	a.call(t, "POST /admin/breaker", bearer(writeToken)+id+asJSON, `{"service":"one","state":"open"}`)
	a.close()
	line := func(who, what, outcome string) string {
		return `{"level":"info","who":"` + who + `","what":"POST /admin/` + what + `","from":"<peer>","outcome":"` + outcome + `","correlation_id":"mine","message":"audit"}` + "\n"
	}
	want := line("deploy", "reload", "applied") + line("deploy", "reload", "refused") + line("deploy", "reload", "unsupported_media_type") +
		line("viewer", "reload", "insufficient_scope") + line("-", "reload", "token_invalid") +
		line("deploy", "log-level", "level debug") + line("deploy", "log-level", "validation_failed") +
		line("deploy", "drain", "one 127.0.0.1:9001") + line("deploy", "breaker", "one open")
	if diff := cmp.Diff(want, logged.ReplaceAllString(a.log.String(), `"from":"<peer>"`)); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
}

func TestUpdateChangesWhoMayEnter(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	status := func(token, host string) string {
		got := ask(t, a.address, "GET /health HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")[9:12]
		return got + " " + a.call(t, "GET /admin/log-level", bearer(token), "")[9:12]
	}
	sick := probes()
	sick.Checks = func() admin.Checks { return admin.Checks{} }
	sick.DegradedStatus = 200
	if got := status(writeToken, "gateway.example.com"); got != "421 200" {
		t.Errorf("before: %s", got)
	}
	a.Update([]string{"Gateway.example.com"}, []admin.Token{admin.NewToken("new", false, setting.NewSecret(readToken+"new"))}, sick)
	if got := status(writeToken, "gateway.example.com"); got != "200 401" {
		t.Errorf("the old token: %s", got)
	}
	if got := status(readToken+"new", "localhost"); got != "200 200" {
		t.Errorf("the new token: %s", got)
	}
	if got := a.call(t, "GET /health", "", ""); !strings.Contains(got, `"status":"degraded"`) {
		t.Errorf("the new probes: %q", got)
	}
}
