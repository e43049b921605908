package admin_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/admin"
)

var (
	port = regexp.MustCompile(`127\.0\.0\.1:\d+"`)
	pid  = regexp.MustCompile(`"pid":\d+`)
)

// body returns what stands behind the head of an answer with that status.
func body(t *testing.T, answer, status string) string {
	t.Helper()
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 "+status) {
		t.Fatalf("want %s, got %q", status, answer)
	}
	return body
}

// guards are those of the service that the test has, when nothing has happened.
const guards = `"breaker":{"state":"closed","outcomes":0,"failures":0,"slow":0},"bulkhead":{"inFlight":0,"queue":0,"limit":5},`

const plain = `{"name":"plain","at":"gateway.yaml:4:3","endpoints":[{"address":"127.0.0.1:9003","weight":1,"inFlight":0,"connections":{"open":0,"idle":0},"inService":true,"health":"unknown","drained":false,"ejections":0}]}`

func TestViews(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	const outcome = `{"result":"applied","trigger":"","at":"2026-01-02T03:04:05Z","milliseconds":0,"version":0,"hash":"","problems":[]}`
	snapshot := `{"version":7,"loadedAt":"2026-01-02T03:02:35Z","ageSeconds":90,"sources":["a.yaml"],"hash":"` + strings.Repeat("xy", 32) + `","routes":3,"services":1,"lastReload":` + outcome + `}`
	const connections = `{"open":0,"maximum":MAX,"upgraded":4,"listeners":[{"name":"public","address":"ADDRESS","open":0,"idle":0,"accepted":0,"acceptErrors":0,"refusedFull":0,"refusedPerIp":0,"nonConforming":0}],"tunnels":[{"id":3,"correlationId":"one","route":"ws","service":"live","endpoint":"192.0.2.9:80","client":"192.0.2.1","openedAt":"2026-01-02T03:04:05Z","bytesIn":1,"bytesOut":2}]}`
	for path, want := range map[string]string{
		"/admin/routes": `[{"name":"a","listeners":[],"methods":["GET","POST"],"hosts":["a.example.com"],"paths":["/a/{rest...}"],"answer":"service one","plugins":[{"name":"security_headers","at":"gateway.yaml:6:126"}],"at":"gateway.yaml:6:3"},` +
			`{"name":"b","listeners":[],"methods":[],"hosts":[],"paths":["/b"],"answer":"redirect 308 /c","plugins":[],"at":"gateway.yaml:7:3"},` +
			`{"name":"c","listeners":[],"methods":[],"hosts":[],"paths":["/c"],"answer":"respond 200","plugins":[],"at":"gateway.yaml:8:3"}]`,
		"/admin/services": `[{"name":"one","at":"gateway.yaml:3:3",` + guards + `"endpoints":[{"address":"127.0.0.1:9001","weight":2,"inFlight":0,"connections":{"open":0,"idle":0},"inService":true,"health":"unknown","drained":false,"ejections":0},` +
			`{"address":"127.0.0.1:9002","weight":1,"inFlight":0,"connections":{"open":0,"idle":0},"inService":true,"health":"unknown","drained":false,"ejections":0}]},` + plain + "]",
		"/admin/snapshot":    snapshot,
		"/admin/connections": connections,
		"/admin/status": `{"version":"v9",PID,"startedAt":"2026-01-02T02:04:05Z","uptimeSeconds":3600,"ready":true,"reason":"","health":"healthy",` +
			`"checks":{"redis":true,"database":true,"services":true,"certificates":true,"discovery":true},"logLevel":"info","snapshot":` + snapshot + `,"connections":` + connections + `}`,
		"/admin/log-level": `{"level":"info"}`,
	} {
		got := body(t, a.call(t, "GET "+path, bearer(readToken), ""), "200 OK")
		if strings.Contains(want, "ADDRESS") {
			got = port.ReplaceAllString(got, `ADDRESS"`)
			got = regexp.MustCompile(`"maximum":\d+`).ReplaceAllString(got, `"maximum":MAX`)
		}
		got = pid.ReplaceAllString(got, "PID")
		if diff := cmp.Diff(want+"\n", got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestStatusTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	sick := probes()
	sick.Ready = func() error { return fmt.Errorf("draining") }
	sick.Checks = func() admin.Checks { return admin.Checks{Redis: true} }
	a.Update(nil, tokens(), sick)
	got := body(t, a.call(t, "GET /admin/status", bearer(readToken), ""), "200 OK")
	if want := `"ready":false,"reason":"draining","health":"degraded","checks":{"redis":true,"database":false,"services":false,"certificates":false,"discovery":false}`; !strings.Contains(got, want) {
		t.Errorf("want %s in %s", want, got)
	}
}

// TestReloadTellsItsOutcome has the same members either way.
func TestReloadTellsItsOutcome(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	a.reloads.Outcome = admin.Outcome{Result: admin.Applied, At: moment, Milliseconds: 5, Version: 8, Hash: "abc", Problems: []admin.Problem{
		{File: "a.yaml", Line: 2, Column: 3, Path: "listen.a", Text: "takes effect at the next start", Excerpt: "    2 | a\n", Warning: true},
	}}
	members := `"trigger":"admin","at":"2026-01-02T03:04:05Z","milliseconds":5,"version":8,"hash":"abc","problems":[{"file":"a.yaml","line":2,"column":3,"path":"listen.a","text":"takes effect at the next start","excerpt":"    2 | a\n","warning":true}]}` + "\n"
	want := whole("200 OK", "Content-Type: application/json\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\n", `{"result":"applied",`+members)
	if diff := cmp.Diff(want, lengthless(a.call(t, "POST /admin/reload", bearer(writeToken)+asJSON, "{}"))); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	a.reloads.Result = admin.Refused
	fault := strings.TrimSuffix(problem("validation_failed", "Validation failed", 422, "the configuration was refused; what was in force still is"), "}")
	want = whole("422 Unprocessable Entity", problemFields+"Cache-Control: no-store\r\n", fault+`,"result":"refused",`+members)
	if diff := cmp.Diff(want, lengthless(a.call(t, "POST /admin/reload", bearer(writeToken)+asJSON, "{}"))); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func TestLogLevelBodies(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	for text, want := range map[string]string{
		`{"level":"debug"}`:                  "200",
		"\n{ \"level\" : \"info\" }\n":       "200",
		`{"level":"loud"}`:                   "422",
		`{"level":""}`:                       "422",
		``:                                   "400",
		`{}`:                                 "400",
		`null`:                               "400",
		`[]`:                                 "400",
		`"debug"`:                            "400",
		`{"level":"debug"`:                   "400",
		`{"level":"debug"}x`:                 "400",
		`{"level":"debug"}{}`:                "400",
		`{"level":1}`:                        "400",
		`{"level":null}`:                     "400",
		`{"level":["debug"]}`:                "400",
		`{"Level":"debug"}`:                  "400",
		`{"level":"debug","level":"info"}`:   "400",
		`{"level":"debug","more":"x"}`:       "400",
		`{"level":"de` + "\xff" + `bug"}`:    "422",
		`{1:"debug"}`:                        "400",
		strings.Repeat(`{"level":`, 100_000): "400",
	} {
		if got := a.call(t, "POST /admin/log-level", bearer(writeToken)+asJSON, text); got[9:12] != want {
			t.Errorf("%.60q: want %s, got %.300q", text, want, got)
		}
	}
	if got := a.call(t, "GET /admin/log-level", bearer(readToken), ""); !strings.Contains(got, `{"level":"`) {
		t.Errorf("got %q", got)
	}
}

// TestDrain takes an endpoint out and puts it back; whoever names none is told where they stand.
func TestDrain(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	const first, second = `{"address":"127.0.0.1:9001","weight":2,"inFlight":0,"connections":{"open":0,"idle":0},`, `{"address":"127.0.0.1:9002","weight":1,"inFlight":0,"connections":{"open":0,"idle":0},"inService":true,"health":"unknown","drained":false,"ejections":0}`
	const out, in = first + `"inService":false,"health":"unknown","drained":true,"ejections":0}`, first + `"inService":true,"health":"unknown","drained":false,"ejections":0}`
	for _, step := range []struct{ what, want string }{{"drain", out}, {"drain", out}, {"undrain", in}, {"undrain", in}} {
		got := body(t, a.call(t, "POST /admin/"+step.what, bearer(writeToken)+asJSON, `{"service":"one","endpoint":"127.0.0.1:9001"}`), "200 OK")
		want := `{"name":"one","at":"gateway.yaml:3:3",` + guards + `"endpoints":[` + step.want + "," + second + "]}"
		if diff := cmp.Diff(want+"\n", got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.what, diff)
		}
		if view := body(t, a.call(t, "GET /admin/services", bearer(readToken), ""), "200 OK"); view != "["+want+","+plain+"]\n" {
			t.Errorf("after %s the view says %s", step.what, view)
		}
	}
	for text, want := range map[string]string{
		`{"service":"two","endpoint":"127.0.0.1:9001"}`:         "422",
		`{"service":"one","endpoint":"127.0.0.1:9003"}`:         "422",
		`{"service":"one","endpoint":""}`:                       "422",
		`{"service":"one"}`:                                     "400",
		`{"service":"one","endpoint":1}`:                        "400",
		`{"service":"one","endpoint":"127.0.0.1:9001","x":"y"}`: "400",
		``: "400",
	} {
		if got := a.call(t, "POST /admin/drain", bearer(writeToken)+asJSON, text); got[9:12] != want || !strings.Contains(got, `"detail"`) {
			t.Errorf("%s: want %s, got %q", text, want, got)
		}
	}
	if got := a.call(t, "POST /admin/drain", bearer(readToken)+asJSON, `{"service":"one","endpoint":"127.0.0.1:9001"}`); got[9:12] != "403" {
		t.Errorf("who may only read: %q", got)
	}
	if view := body(t, a.call(t, "GET /admin/services", bearer(readToken), ""), "200 OK"); strings.Contains(view, `"drained":true`) {
		t.Errorf("what was refused drained something: %s", view)
	}
}

// TestBreakersAreForced holds one open and closed, and leaves it to itself, as a request sees it.
func TestBreakersAreForced(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	for _, step := range []struct{ state, want, answer string }{
		{"open", `{"state":"open","forced":true,`, "503"},
		{"closed", `{"state":"closed","forced":true,`, "502"},
		{"open", `{"state":"open","forced":true,`, "503"},
		{"auto", `{"state":"closed",`, "502"},
	} {
		got := body(t, a.call(t, "POST /admin/breaker", bearer(writeToken)+asJSON, `{"service":"one","state":"`+step.state+`"}`), "200 OK")
		if !strings.HasPrefix(got, `{"name":"one","at":"gateway.yaml:3:3","breaker":`+step.want+`"outcomes":`) {
			t.Errorf("%s: %s", step.state, got)
		}
		if view := body(t, a.call(t, "GET /admin/services", bearer(readToken), ""), "200 OK"); view != "["+strings.TrimSuffix(got, "\n")+","+plain+"]\n" {
			t.Errorf("after %s the view says %s", step.state, view)
		}
		if got := ask(t, a.public, "GET /a/x HTTP/1.1\r\nHost: a.example.com\r\nConnection: close\r\n\r\n"); got[9:12] != step.answer {
			t.Errorf("%s: a request got %q", step.state, got)
		}
	}
	for text, want := range map[string]string{
		`{"service":"two","state":"open"}`:           "422",
		`{"service":"plain","state":"open"}`:         "422",
		`{"service":"one","state":"half_open"}`:      "422",
		`{"service":"one","state":""}`:               "422",
		`{"service":"one"}`:                          "400",
		`{"service":"one","state":true}`:             "400",
		`{"service":"one","state":"open","for":"1"}`: "400",
	} {
		if got := a.call(t, "POST /admin/breaker", bearer(writeToken)+asJSON, text); got[9:12] != want || !strings.Contains(got, `"detail"`) {
			t.Errorf("%s: want %s, got %q", text, want, got)
		}
	}
	if got := a.call(t, "POST /admin/breaker", bearer(readToken)+asJSON, `{"service":"one","state":"open"}`); got[9:12] != "403" {
		t.Errorf("who may only read: %q", got)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	for _, c := range []struct{ path, status, fields, begins string }{
		{"heap", "200", "Content-Type: application/octet-stream\r\n", "\x1f\x8b"},
		{"heap?debug=1", "200", "Content-Type: text/plain; charset=utf-8\r\n", "heap profile: "},
		{"goroutine?debug=2", "200", "Content-Type: text/plain; charset=utf-8\r\n", "goroutine "},
		{"goroutine?debug=3", "400", "", ""},
		{"goroutine?debug=x", "400", "", ""},
		{"profile?seconds=0", "400", "", ""},
		{"profile?seconds=61", "400", "", ""},
		{"profile?seconds=-1", "400", "", ""},
		{"trace?seconds=1", "200", "Content-Type: application/octet-stream\r\n", "go 1."},
		{"profile?seconds=1", "200", "Content-Type: application/octet-stream\r\n", "\x1f\x8b"},
	} {
		got := a.call(t, "GET /debug/pprof/"+c.path, bearer(writeToken), "")
		_, body, _ := strings.Cut(got, "\r\n\r\n")
		if got[9:12] != c.status || !strings.Contains(got, c.fields) || !strings.HasPrefix(body, c.begins) {
			t.Errorf("%s: got %.300q", c.path, got)
		}
	}
}

// TestARecordingEndsWithTheListener takes the two recordings one after the other:
// there is one recorder of each kind in a process.
func TestARecordingEndsWithTheListener(t *testing.T) {
	a := startAPI(t, tokens())
	first := make(chan string, 1)
	go func() {
		answer := ""
		for answer == "" || strings.HasPrefix(answer, "HTTP/1.1 503 ") { // the other one was faster
			answer = a.call(t, "GET /debug/pprof/profile?seconds=60", bearer(writeToken), "")
		}
		first <- answer
	}()
	for deadline := time.Now().Add(20 * time.Second); ; {
		got := a.call(t, "GET /debug/pprof/profile?seconds=1", bearer(writeToken), "")
		if strings.HasPrefix(got, "HTTP/1.1 503 ") && strings.Contains(got, `"detail":"another recording is under way"`) && strings.Contains(got, "\r\nRetry-After: 1\r\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the second recording was not refused, but answered %q", got)
		}
	}
	begun := time.Now()
	a.close()
	if got := <-first; !strings.HasPrefix(got, "HTTP/1.1 200 ") || time.Since(begun) > 20*time.Second {
		t.Errorf("after %s: %.300q", time.Since(begun), got)
	}
}

// TestOpenAPIListsWhatIsServed holds the document and the router together.
func TestOpenAPIListsWhatIsServed(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromData(admin.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Error(err)
	}
	var described []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	served := startAPI(t, tokens()).Served()
	slices.Sort(described)
	slices.Sort(served)
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("served and described differ (-served +described):\n%s", diff)
	}
}

// TestConnectionsAreCounted opens one to the public listener.
func TestConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	a := startAPI(t, tokens())
	view := func() string {
		return body(t, a.call(t, "GET /admin/connections", bearer(readToken), ""), "200 OK")
	}
	address := regexp.MustCompile(`"address":"([^"]+)"`).FindStringSubmatch(view())[1]
	if _, err := netip.ParseAddrPort(address); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	want := `"open":1,"idle":1,"accepted":1,`
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(view(), want); {
		if time.Now().After(deadline) {
			t.Fatalf("want %s in %s", want, view())
		}
	}
}

func TestProblemsPrintAsCheckDoes(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := admin.Print(&out, []admin.Problem{
		{File: "a.yaml", Line: 1, Column: 2, Path: "b", Text: "wrong", Suggest: "right", Excerpt: "    1 | b\n      | ^\n"},
		{Text: "it could not be compiled"},
		{File: "a.yaml", Line: 3, Column: 4, Path: "c", Text: "odd", Warning: true},
	})
	want := "a.yaml:1:2: b: wrong (did you mean \"right\"?)\n    1 | b\n      | ^\nit could not be compiled\na.yaml:3:4: warning: c: odd\n"
	if out.String() != want || err != nil {
		t.Errorf("got %q and %v", out.String(), err)
	}
	full, openErr := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if openErr != nil {
		t.Fatal(openErr)
	}
	defer full.Close()
	if err := admin.Print(full, []admin.Problem{{Text: "x"}}); err == nil {
		t.Error("a full disk is no error")
	}
}
