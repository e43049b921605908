package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
)

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestCommandsFindTheGateway reads address and token from the same files, also
// when they hold mistakes.
func TestCommandsFindTheGateway(t *testing.T) {
	t.Parallel()
	text := strings.Replace(body("x"), `admin: {address: "127.0.0.1:0"}`, fmt.Sprintf(`admin: {address: "127.0.0.1:%d"}`, freePort(t)), 1)
	r := boot(t, text, serveOptions{})
	file := r.path("gateway.yaml")
	if code, stdout, stderr := command("reload", "-c", file); code != exitOK || !strings.HasPrefix(stdout, "ok: version 2 is in force, ") || stderr != "" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	r.write("gateway.yaml", text+"unknown: 1\n")
	if code, _, stderr := command("reload", "-c", file); code != exitRefused || !strings.Contains(stderr, `unknown key "unknown"`) || r.InForce().LastReload.Result != admin.Refused {
		t.Errorf("exit %d, %q: the gateway must be asked", code, stderr)
	}
	asked := r.InForce().LastReload.At
	r.write("gateway.yaml", text+"a: [\n")
	if code, _, stderr := command("reload", "-c", file); code != exitRefused || !strings.Contains(stderr, "not well-formed YAML") || !strings.Contains(stderr, "so it was not asked; give --address") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if r.InForce().LastReload.At != asked {
		t.Error("the gateway was asked, whoever that was")
	}
	code, _, stderr := command("reload", "--address", r.admin.Addr().String(), "--token-file", admin.TokenPath(r.started.Directory))
	if code != exitRefused || !strings.Contains(stderr, "not well-formed YAML") || r.InForce().LastReload.At == asked {
		t.Errorf("exit %d, %q: flags say it all", code, stderr)
	}
}

// TestCommandsSayWhyTheyCannot names what the operator has to do.
func TestCommandsSayWhyTheyCannot(t *testing.T) {
	t.Parallel()
	r := boot(t, body("x"), serveOptions{})
	other := filepath.Join(t.TempDir(), "token")
	writeFile(t, other, strings.Repeat("x", 32))
	nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	elsewhere := filepath.Join(t.TempDir(), "gateway.yaml")
	writeFile(t, elsewhere, body("x"))
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--address", nobody, "--token-file", other}, exitFailed, "gateway: asking the gateway at " + nobody + ": "},
		{[]string{"--address", r.admin.Addr().String(), "--token-file", other}, exitRefused, "gateway: the gateway answered 401 Token invalid; if its tokens have just been changed, send it SIGHUP once, or give --token-file with one that it knows\n"},
		{[]string{"--address", r.admin.Addr().String(), "--token-file", other + "x"}, exitFailed, "no such file"},
		{[]string{"-c", elsewhere}, exitFailed, "gateway: there is no admin token to show: admin.tokens names none that can be read here, and neither can the gateway's own: open "},
		{[]string{"--address", r.gateway.Address("public").String(), "--token-file", other}, exitRefused, "gateway: the gateway answered 404 No such route\n"},
		{[]string{"--address", serveOK(t), "--token-file", other}, exitRefused, "gateway: the gateway answered with status 200, which is not how a gateway of this version answers\n"},
	} {
		for _, name := range []string{"reload", "status"} {
			code, stdout, stderr := command(append([]string{name}, c.args...)...)
			if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
				t.Errorf("%s %v: exit %d, %q, %q; want %q", name, c.args, code, stdout, stderr, c.want)
			}
			if strings.Contains(stderr, strings.Repeat("x", 32)) {
				t.Errorf("%s shows the token: %q", name, stderr)
			}
		}
	}
}

var changing = regexp.MustCompile(`process \d+|up \d+s|for \d+s|[0-9a-f]{12}\n|\d+ accepted|/\S+/gateway\.yaml|127\.0\.0\.1:\d+| of \d+, `)

func TestStatus(t *testing.T) {
	t.Parallel()
	r := boot(t, body("x"), serveOptions{})
	show := func() string {
		code, stdout, stderr := r.command("status")
		if code != exitOK || stderr != "" {
			t.Errorf("exit %d, %q", code, stderr)
		}
		return changing.ReplaceAllStringFunc(stdout, func(s string) string {
			return map[bool]string{true: "…\n", false: "…"}[strings.HasSuffix(s, "\n")]
		})
	}
	want := "gateway      dev, …, …, ready\nhealth       healthy\nlog level    info\n" +
		"snapshot     version 1, 1 routes, 0 services, in force …, …\nfiles        …\nlast reload  none\n" +
		"connections  0…0 upgraded\n  public     …, 0 open, 0 of them idle, …\n"
	if diff := cmp.Diff(want, show()); diff != "" {
		t.Errorf("at the start (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		body("y"):                        "\nlast reload  applied at ",
		body("x") + "one: 1\n":           `, asked for by signal: …:7:1: one: unknown key "one"; known here: `,
		body("x") + "one: 1\ntwo: 2\n":   `, asked for by signal; the first of 2 problems: …:7:1: one: unknown key "one"; known here: `,
		body("x") + "limits: {uri: 99B}": `, asked for by signal: …:7:15: warning: limits.uri: takes effect at the next start`,
	} {
		r.write("gateway.yaml", text)
		r.Reload(triggerSignal)
		if got := show(); !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	code, stdout, _ := r.command("status", "--json")
	var s admin.Status
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || code != exitOK || !s.Ready || s.PID != os.Getpid() {
		t.Errorf("--json: exit %d, %v, %q", code, err, stdout)
	}
}

// TestServeRunsWithoutADirectory answers everything but the API.
func TestServeRunsWithoutADirectory(t *testing.T) {
	t.Parallel()
	r := boot(t, strings.Replace(body("x"), "directory: state", "directory: /dev/null/state", 1), serveOptions{})
	if r.get("/s") != "x" {
		t.Error("the gateway does not serve")
	}
	head, answer := exchange(t, r.admin.Addr().String(), "GET /admin/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 403 ") || !strings.Contains(answer, "admin.tokens") {
		t.Errorf("got %q %q", head, answer)
	}
	if log := r.log.String(); !strings.Contains(log, `"level":"warn"`) || !strings.Contains(log, "nobody can use the admin API") {
		t.Errorf("the log does not say so:\n%s", log)
	}
}

// TestC8_NoEndpointIsTheAdminListener gets past the check of the configuration by a
// port that it can't know.
func TestC8_NoEndpointIsTheAdminListener(t *testing.T) {
	t.Parallel()
	r := boot(t, body("x"), serveOptions{})
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "localhost"} {
		r.write("gateway.yaml", fmt.Sprintf(base, "x")+fmt.Sprintf("  x: {match: {path: \"/{rest...}\"}, service: x, host: localhost, plugins: {auth: off}}\nservices: {x: {endpoints: [{url: \"http://%s:%d\"}], retry: off}}\n",
			host, r.admin.Addr().(*net.TCPAddr).Port))
		if o := r.Reload(triggerSignal); o.Result != admin.Applied {
			t.Fatalf("%+v", o)
		}
		head, answer := exchange(t, r.gateway.Address("public").String(), "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 502 ") || !strings.Contains(answer, `"code":"bad_gateway"`) {
			t.Errorf("%s: got %q %.100q", host, head, answer)
		}
	}
}

// TestAD5_AnswersAreAsDescribed asks for every path and method of the document,
// as the program shows it, and holds the answers to its schemas.
func TestAD5_AnswersAreAsDescribed(t *testing.T) {
	t.Parallel()
	r := boot(t, withService(), serveOptions{})
	_, text := r.ask("GET /admin/openapi.yaml", "")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			what := method + " " + strings.Replace(path, "{profile}", "heap", 1)
			asked++
			for _, c := range requests(operation.OperationID) {
				if c.prepare != nil {
					c.prepare(r)
				}
				head, answer := r.ask(what, c.body)
				described(t, operation, what, head, answer, c.status)
			}
			if operation.Security != nil && len(*operation.Security) == 0 {
				continue
			}
			head, answer := exchange(t, r.admin.Addr().String(), what+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			described(t, operation, what, head, answer, "401")
		}
	}
	if asked < 17 {
		t.Errorf("the document has %d operations", asked)
	}
}

// withService has something of all that the document describes.
func withService() string {
	return body("x") + "  x: {match: {path: \"/x/{rest...}\"}, service: x}\nservices: {x: {endpoints: [{url: \"http://127.0.0.1:9\"}], breaker: {}, bulkhead: {maximum: 5}}}\ndefaults: {plugins: {security_headers: {}}}\n"
}

// request is one request and the status that the document promises for it.
type request struct {
	prepare      func(*running)
	body, status string
}

// requests are what to ask of an operation.
func requests(operation string) []request {
	back := func(r *running) { // a reload may have taken the service away
		r.write("gateway.yaml", withService())
		r.Reload(triggerSignal)
	}
	switch operation {
	case "setLogLevel":
		return []request{{nil, `{"level":"debug"}`, "200"}, {nil, `{"level":"x"}`, "422"}, {nil, `x`, "400"}}
	case "reload":
		bad := func(r *running) { r.write("gateway.yaml", body("x")+"unknown: 1\n") }
		good := func(r *running) { r.write("gateway.yaml", body("y")) }
		return []request{{nil, "", "200"}, {bad, "{}", "422"}, {good, "{}", "200"}, {nil, "[]", "400"}}
	case "drain", "undrain":
		return []request{{back, `{"service":"x","endpoint":"127.0.0.1:9"}`, "200"}, {nil, `{"service":"x","endpoint":"127.0.0.1:8"}`, "422"}, {nil, "{}", "400"}}
	case "forceBreaker":
		return []request{{back, `{"service":"x","state":"open"}`, "200"}, {nil, `{"service":"x","state":"auto"}`, "200"}, {nil, `{"service":"x","state":"x"}`, "422"}, {nil, "{}", "400"}}
	case "internalKeys":
		return []request{{nil, "", "404"}} // this one has no identity
	default:
		return []request{{nil, "", "200"}}
	}
}

// described holds one answer to what the document says of it.
func described(t *testing.T, operation *openapi3.Operation, what, head, answer, status string) {
	t.Helper()
	if head[9:12] != status {
		t.Errorf("%s: want %s, got %q %q", what, status, head, answer)
		return
	}
	response := operation.Responses.Value(status)
	if response == nil {
		t.Errorf("%s: %s is not described", what, status)
		return
	}
	_, media, _ := strings.Cut(head, "\r\nContent-Type: ")
	media, _, _ = strings.Cut(media, "\r\n")
	media, _, _ = strings.Cut(media, ";")
	content := response.Value.Content[media]
	if content == nil {
		t.Errorf("%s: %s with %s is not described", what, status, media)
		return
	}
	if !strings.HasSuffix(media, "json") {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Errorf("%s: %v in %q", what, err, answer)
	} else if err := content.Schema.Value.VisitJSON(v, openapi3.MultiErrors()); err != nil {
		t.Errorf("%s: %s: %v", what, answer, err)
	}
}

// TestTheLevelReachesEveryLogger changes it after loggers were handed out.
func TestTheLevelReachesEveryLogger(t *testing.T) {
	t.Parallel()
	var out output
	log, level := newLog(config.Log{Level: "warn", Format: "json"}, &out)
	child := log.With().Str("who", "child").Logger()
	write := func() (got string) {
		before := len(out.String())
		for _, l := range []zerolog.Level{zerolog.TraceLevel, zerolog.DebugLevel, zerolog.InfoLevel, zerolog.WarnLevel, zerolog.ErrorLevel, zerolog.NoLevel} {
			child.WithLevel(l).Msg("m")
		}
		return fmt.Sprint(strings.Count(out.String()[before:], "\n"))
	}
	got := write()
	for _, name := range []string{"trace", "debug", "info", "warn", "error", "fatal", "ERROR", "disabled", "", "1"} {
		err := level.SetLevel(name)
		got += fmt.Sprintf(" %s:%v:%s:%s", name, err == nil, level.Level(), write())
	}
	want := "3 trace:true:trace:6 debug:true:debug:5 info:true:info:4 warn:true:warn:3 error:true:error:2 fatal:false:error:2 ERROR:false:error:2 disabled:false:error:2 :false:error:2 1:false:error:2"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
