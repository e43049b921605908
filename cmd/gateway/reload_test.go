package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/certificate/certificatetest"
)

// TestS1_FourWaysToReload changes the file and asks each way; each is told what
// came of it.
func TestS1_FourWaysToReload(t *testing.T) {
	t.Parallel()
	r := boot(t, body("start"), serveOptions{watch: true, every: 20 * time.Millisecond})
	if got := r.get("/s"); got != "start" {
		t.Fatalf("at the start: %q", got)
	}
	ways := map[string]func(){
		"watch":  func() {},
		"signal": func() { r.hangups <- syscall.SIGHUP },
		"command": func() {
			code, stdout, stderr := r.command("reload")
			if code != exitOK || stderr != "" || !regexp.MustCompile(`^ok: version \d+ is in force, [0-9a-f]{12}\n$`).MatchString(stdout) {
				t.Errorf("gateway reload: exit %d, %q and %q", code, stdout, stderr)
			}
		},
		"endpoint": func() {
			head, answer := r.ask("POST /admin/reload", "")
			var o admin.Outcome
			if err := json.Unmarshal([]byte(answer), &o); err != nil || !strings.HasPrefix(head, "HTTP/1.1 200 ") || o.Result != admin.Applied || o.Trigger != "admin" {
				t.Errorf("the endpoint: %q %q", head, answer)
			}
		},
	}
	for name, ask := range ways {
		r.write("gateway.yaml", body(name))
		ask()
		r.eventually(name, func() bool { return r.get("/s") == name })
	}
	if last := r.InForce().LastReload; last.Result != admin.Applied || r.InForce().Version < 5 {
		t.Errorf("in force: %+v, %+v", r.InForce(), last)
	}
}

// TestReloadPrintsWhatCheckPrints compares the two to the letter.
func TestReloadPrintsWhatCheckPrints(t *testing.T) {
	t.Parallel()
	r := boot(t, body("start"), serveOptions{})
	version, snapshot := r.InForce().Version, r.gateway.Current()
	for name, text := range map[string]string{
		"two mistakes":  body("x") + "servces: {}\nlimits: {body: 10}\n",
		"an include":    body("x") + "include: nothing.yaml\n",
		"a secret":      strings.Replace(body("x"), `:0"}`+"\ndir", `:0", tokens: {a: {token_file: nothing}}}`+"\ndir", 1),
		"not compiled":  body("x") + "defaults: {plugins: {access_log: {to: /proc/nothing/log}}}\n",
		"wrong address": strings.Replace(body("x"), `admin: {address: "127.0.0.1:0"}`, "admin: {address: \"0.0.0.0:1\"}", 1),
	} {
		r.write("gateway.yaml", text)
		wantCode, _, want := command("check", "-c", r.path("gateway.yaml"))
		code, stdout, stderr := r.command("reload")
		if diff := cmp.Diff(want, stderr); diff != "" || stdout != "" || code != exitRefused || wantCode != exitRefused || want == "" {
			t.Errorf("%s: exit %d and %d, stdout %q (-check +reload):\n%s", name, wantCode, code, stdout, diff)
		}
	}
	if r.get("/s") != "start" || r.InForce().Version != version || r.gateway.Current() != snapshot {
		t.Error("what was refused changed something")
	}
	code, stdout, _ := r.command("reload", "--json")
	var o admin.Outcome
	if err := json.Unmarshal([]byte(stdout), &o); err != nil || code != exitRefused || o.Result != admin.Refused || len(o.Problems) == 0 {
		t.Errorf("--json: exit %d, %q", code, stdout)
	}
	if !strings.Contains(r.log.String(), `"message":"the configuration was refused; the one in force stays"`) {
		t.Errorf("the log does not say so:\n%s", r.log)
	}
}

func TestReloadSaysWhatWaitsForTheNextStart(t *testing.T) {
	t.Parallel()
	r := boot(t, body("start"), serveOptions{})
	r.write("gateway.yaml", strings.Replace(body("next"), "listen: {public: {address: \"127.0.0.1:0\"}}", "listen: {public: {address: \"127.0.0.1:1\"}}", 1)+"limits: {headers: 50}\n")
	want := "FILE:1:19: warning: listen.public.address: takes effect at the next start\n" +
		"    1 | listen: {public: {address: \"127.0.0.1:1\"}}\n      |                   ^\n" +
		"FILE:7:19: warning: limits.headers: takes effect at the next start\n" +
		"    7 | limits: {headers: 50}\n      |                   ^\n"
	for range 2 { // what was started stays the measure, not what was loaded last
		code, _, stderr := r.command("reload")
		if diff := cmp.Diff(want, strings.ReplaceAll(stderr, r.path("gateway.yaml"), "FILE")); diff != "" || code != exitOK {
			t.Errorf("exit %d (-want +got):\n%s", code, diff)
		}
	}
	if got := r.get("/s"); got != "next" {
		t.Errorf("the rest is in force at once; got %q", got)
	}
}

// TestReloadChangesWhatIsLive looks at what is no part of the snapshot.
func TestReloadChangesWhatIsLive(t *testing.T) {
	t.Parallel()
	r := boot(t, body("start"), serveOptions{})
	own := r.token()
	if head, answer := r.ask("POST /admin/log-level", `{"level":"debug"}`); !strings.HasPrefix(head, "HTTP/1.1 200 ") || r.level.Level() != "debug" {
		t.Errorf("the level is %s: %q %q", r.level.Level(), head, answer)
	}
	const token = "0123456789abcdef0123456789abcdef"
	r.write("token", token+"\n")
	r.write("gateway.yaml", strings.Replace(body("next"), `:0"}`+"\ndir", `:0", hosts: [ops.example.com], tokens: {ci: {token_file: token}}}`+"\ndir", 1)+
		"telemetry: {log: {level: warn}}\nprobes: {public: [/livez]}\nlimits: {connections: 77}\n")
	if code, _, stderr := r.command("reload"); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if got := r.level.Level(); got != "warn" {
		t.Errorf("the level is %s", got)
	}
	if got := r.get("/livez"); got != "alive\n" {
		t.Errorf("the public probe: %q", got)
	}
	if _, totals := r.gateway.Listeners(); totals.Maximum() != 77 {
		t.Errorf("%d connections are allowed", totals.Maximum())
	}
	for presented, want := range map[string]string{own: "401", token: "403"} { // ci may only read
		head, _ := exchange(t, r.admin.Addr().String(), "POST /admin/reload HTTP/1.1\r\nHost: ops.example.com\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 0\r\nAuthorization: Bearer "+presented+"\r\n\r\n")
		if head[9:12] != want {
			t.Errorf("want %s, got %q", want, head)
		}
	}
}

var countOf = regexp.MustCompile(`gateway_config_reloads_total\{outcome="refused"\} (\d+)`)

// TestS1_BadReloadsLeaveNoTrace tries 1,000 that fail, each at another step.
func TestS1_BadReloadsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	good := body("start") + "  x: {match: {path: /x}, service: x}\nservices: {x: {endpoints: [{url: \"http://127.0.0.1:9\"}]}}\n"
	r := boot(t, good, serveOptions{})
	bad := []string{
		"a: [\n", "", good + "unknown: 1\n", good + "include: [nothing.yaml]\n",
		strings.Replace(good, "service: x", "service: y", 1),
		good + "defaults: {plugins: {access_log: {to: /proc/nothing/log}}}\n",
		strings.Replace(good, "path: /x", "path: /s", 1),
	}
	again := func() {
		for _, text := range bad {
			writeFile(t, r.path("gateway.yaml"), text)
			if o := r.Reload(triggerSignal); o.Result != admin.Refused || len(o.Problems) == 0 {
				t.Fatalf("%q: %+v", text, o)
			}
		}
	}
	again()
	snapshot, goroutines, descriptors := r.gateway.Current(), runtime.NumGoroutine(), openFiles(t)
	const n = 1000
	for range n / len(bad) {
		again()
	}
	// Other tests of the package run at the same time, so what rose must fall again.
	r.eventually("goroutines and descriptors as before", func() bool {
		return runtime.NumGoroutine() <= goroutines+50 && openFiles(t) <= descriptors+50
	})
	if r.gateway.Current() != snapshot || r.InForce().Version != 1 || r.get("/s") != "start" {
		t.Error("the snapshot is another one")
	}
	_, metrics := exchange(t, r.admin.Addr().String(), "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	want := fmt.Sprint((n/len(bad) + 1) * len(bad))
	if m := countOf.FindStringSubmatch(metrics); m == nil || m[1] != want {
		t.Errorf("counted %v, want %s", m, want)
	}
	for _, line := range []string{"gateway_config_last_reload_successful 0\n", `gateway_config_reloads_total{outcome="applied"} 0` + "\n", `gateway_config_info{hash="` + r.InForce().Hash + `",version="1"} 1` + "\n", "gateway_config_last_reload_timestamp_seconds 1"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no %q in the metrics", line)
		}
	}
	writeFile(t, r.path("gateway.yaml"), good)
	if o := r.Reload(triggerSignal); o.Result != admin.Applied || o.Version != 2 {
		t.Errorf("a good one afterwards: %+v", o)
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestOP2_BadCertificatesRefuseTheReload: files that vanished, or don't fit together, refuse
// it with the place that names them, and what was shown before is.
func TestOP2_BadCertificatesRefuseTheReload(t *testing.T) {
	t.Parallel()
	ca, folder := certificatetest.NewAuthority(t), t.TempDir()
	good, other := ca.Issue(t, "a.example"), ca.Issue(t, "a.example")
	certificate, key := good.Write(t, folder, "a")
	r := boot(t, strings.Replace(body("x"), `public: {address: "127.0.0.1:0"}`, fmt.Sprintf(
		`public: {address: "127.0.0.1:0", tls: {certificates: [{certificate_file: %q, key_file: %q}]}}`, certificate, key), 1), serveOptions{})
	for what, c := range map[string]struct {
		spoil func()
		want  string
	}{
		"a key that vanished":         {func() { _ = os.Remove(key) }, "no such file or directory"},
		"a certificate that vanished": {func() { _ = os.Remove(certificate) }, "no such file or directory"},
		"another one's key":           {func() { writeFile(t, key, other.Key) }, "want the private key of the certificate, got that of another one"},
		"an empty certificate":        {func() { writeFile(t, certificate, "") }, "got an empty one"},
		"what is no key":              {func() { writeFile(t, key, "x") }, "want a private key in PEM form, got none"},
	} {
		c.spoil()
		o := r.Reload(triggerSignal)
		if o.Result != admin.Refused || len(o.Problems) != 1 || !strings.Contains(o.Problems[0].Text, c.want) || o.Problems[0].Line == 0 {
			t.Errorf("%s: %+v, want %q", what, o, c.want)
		}
		conn, err := tls.Dial("tcp", r.gateway.Address("public").String(), &tls.Config{RootCAs: ca.Pool, ServerName: "a.example"})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !conn.ConnectionState().PeerCertificates[0].Equal(good.Pair.Leaf) {
			t.Errorf("%s: another certificate is shown", what)
		}
		_ = conn.Close()
		good.Write(t, folder, "a")
		if o := r.Reload(triggerSignal); o.Result != admin.Applied {
			t.Errorf("good files after %s: %+v", what, o)
		}
	}
}

// TestWS3_ReloadLosesNoRequest reloads under kept-alive clients that never retry:
// each answer must be whole and of one of the two configurations.
func TestWS3_ReloadLosesNoRequest(t *testing.T) {
	t.Parallel()
	origin := serveOK(t)
	text := func(body string) string {
		return fmt.Sprintf(base, body) + "  x: {match: {path: \"/x/{rest...}\"}, service: x, plugins: {auth: off}}\nservices: {x: {endpoints: [{url: \"http://" + origin + "\"}]}}\n"
	}
	r := boot(t, text("one"), serveOptions{})
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var answers atomic.Int64
	for i := range 8 {
		path, want := "/s", []string{"one", "two"}
		if i%2 == 0 {
			path, want = "/x/y", []string{"ok"}
		}
		clients.Go(func() { keepAsking(ctx, t, r.gateway.Address("public").String(), path, want, &answers) })
	}
	const reloads = 50
	for i := range reloads {
		writeFile(t, r.path("gateway.yaml"), text([]string{"two", "one"}[i%2]))
		if o := r.Reload(triggerSignal); o.Result != admin.Applied {
			t.Fatalf("%+v", o)
		}
		for n := answers.Load(); answers.Load() < n+20; { // some of each
			runtime.Gosched()
		}
	}
	cancel()
	clients.Wait()
	if r.InForce().Version != reloads+1 {
		t.Errorf("version %d", r.InForce().Version)
	}
	t.Logf("%d requests during %d reloads", answers.Load(), reloads)
}

// keepAsking sends one request after the other on one connection.
func keepAsking(ctx context.Context, t *testing.T, address, path string, want []string, answers *atomic.Int64) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	room := make([]byte, 4096)
	for ctx.Err() == nil {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		n, err := conn.Read(room)
		_, body, _ := strings.Cut(string(room[:n]), "\r\n\r\n")
		if err != nil || !strings.HasPrefix(string(room[:n]), "HTTP/1.1 200 ") || !strings.Contains(strings.Join(want, " "), body) || body == "" {
			t.Errorf("%s: %v, %q", path, err, room[:n])
			return
		}
		answers.Add(1)
	}
}

// serveOK answers every request with ok and returns its address.
func serveOK(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener; its connections end with the gateway's pool
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for room := make([]byte, 4096); ; {
					if _, err := conn.Read(room); err != nil {
						return
					}
					if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestAStormOfHangupsEndsInTheLastFile asks a thousand times while the file
// changes; reloads take turns, and the last one sees the last file.
func TestAStormOfHangupsEndsInTheLastFile(t *testing.T) {
	t.Parallel()
	r := boot(t, body("0"), serveOptions{})
	for i := range 1000 {
		if i%100 == 0 {
			r.write("gateway.yaml", body(fmt.Sprint(i)))
		}
		select {
		case r.hangups <- syscall.SIGHUP:
		default: // as signal.Notify does
		}
	}
	r.eventually("the last file", func() bool { return r.get("/s") == "900" })
}

func TestReloadsAtOnceTakeTurns(t *testing.T) {
	t.Parallel()
	r := boot(t, body("x"), serveOptions{})
	var all sync.WaitGroup
	var versions sync.Map
	for range 20 {
		all.Go(func() {
			if _, twice := versions.LoadOrStore(r.Reload(triggerSignal).Version, true); twice {
				t.Error("two reloads became one version")
			}
		})
	}
	all.Wait()
	if r.InForce().Version != 21 {
		t.Errorf("version %d after 20 reloads", r.InForce().Version)
	}
}

func TestAReloadComesTooLate(t *testing.T) {
	t.Parallel()
	r := boot(t, body("x"), serveOptions{})
	if err := r.stop(nil); err != nil {
		t.Fatal(err)
	}
	if o := r.Reload(triggerSignal); o.Result != admin.Refused || len(o.Problems) != 1 || o.Problems[0].Text != "the gateway is stopping" {
		t.Errorf("got %+v", o)
	}
}

// TestServeHearsSignals runs serve as main does, and sends this process what an
// operator sends.
func TestServeHearsSignals(t *testing.T) {
	folder := t.TempDir()
	file, log := filepath.Join(folder, "gateway.yaml"), &output{}
	writeFile(t, file, body("one"))
	ended := make(chan error, 1)
	go func() {
		ended <- serve(context.Background(), &source{files: []string{file}}, serveOptions{every: watchEvery}, log)
	}()
	wait := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(patience); !strings.Contains(log.String(), what); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no %q in the log:\n%s", what, log)
			}
		}
	}
	wait(`"message":"ready`)
	writeFile(t, file, "a: [")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	wait("the configuration was refused")
	writeFile(t, file, body("two"))
	_ = syscall.Kill(os.Getpid(), syscall.SIGHUP)
	wait(`"trigger":"signal","version":2`)
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	if err := <-ended; err != nil || !strings.Contains(log.String(), `"message":"stopped"`) {
		t.Errorf("%v:\n%s", err, log)
	}
}
