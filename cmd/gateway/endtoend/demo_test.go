package endtoend

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// freePorts returns the first of n ports in a row that nobody has. They lie below
// those that the system hands out, so that no other test is given one meanwhile.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 1000 {
		first := 15_000 + rand.IntN(15_000)
		if allFree(first, n) {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

func allFree(first, n int) bool {
	for port := first; port < first+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// demo is a running .ci/demo, which is what `make run` runs.
type demo struct {
	t     *testing.T
	cmd   *exec.Cmd
	first int    // of its eight ports: the gateway's, the operators', those of the services
	mark  string // in the environment of all its processes

	mu     sync.Mutex // guards what was read of its output
	output bytes.Buffer
	read   sync.WaitGroup
}

func startDemo(t *testing.T, first int, environment ...string) *demo {
	t.Helper()
	d := &demo{t: t, cmd: exec.Command(root + "/.ci/demo"), first: first, mark: fmt.Sprintf("GATEWAY_DEMO_TEST=%d", first)}
	d.cmd.Env = append(append(os.Environ(), environment...), d.mark, "BIN="+binaries, "GATEWAY_DIRECTORY="+t.TempDir(),
		fmt.Sprintf("GATEWAY_PORT=%d", first), fmt.Sprintf("ADMIN_PORT=%d", first+1), fmt.Sprintf("UPSTREAM_PORT_BASE=%d", first+2))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	// A shell can't trap a signal that it inherits as ignored, as everything that
	// runs in the background of a script does. While the signal is caught here, the
	// child gets the default.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT)
	err = d.cmd.Start()
	signal.Stop(caught)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	d.read.Go(func() {
		defer r.Close()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			d.mu.Lock()
			d.output.WriteString(lines.Text() + "\n")
			d.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		for _, pid := range d.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		d.read.Wait()
	})
	return d
}

func (d *demo) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.String()
}

// processes are those that carry the demo's mark.
func (d *demo) processes() (pids []int) {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, name := range environments {
		text, _ := os.ReadFile(name) // it may be gone, or another user's
		if bytes.Contains(text, []byte(d.mark+"\x00")) {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// ends waits for the script, wants its exit code, and that nothing is left of it.
func (d *demo) ends(code int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = d.cmd.Process.Kill() })()
	_ = d.cmd.Wait()
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		d.t.Errorf("exit code %d, want %d; it said\n%s", got, code, d.text())
	}
	if left := d.processes(); len(left) > 0 {
		d.t.Errorf("processes %v are left", left)
	}
	if !allFree(d.first, 8) {
		d.t.Errorf("ports from %d on are still taken", d.first)
	}
}

// curls are the lines of a text that call curl.
func curls(text string) []string {
	return regexp.MustCompile(`(?m)^ *(curl .*)$`).FindAllString(text, -1)
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what README says below a heading, up to the next one.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(readme(t), "# "+heading+"\n")
	if !found {
		t.Fatalf("README has no section %q", heading)
	}
	text, _, _ := strings.Cut(after, "\n#")
	return text
}

// shell runs one line as a user would type it.
func shell(t *testing.T, dir, line string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+binaries+":"+os.Getenv("PATH"))
	raw, err := c.Output()
	return strings.ReplaceAll(string(raw), "\r\n", "\n"), err
}

// `make run`, the lines that it and README print, and Ctrl-C.
func TestDemo(t *testing.T) {
	t.Parallel()
	d := startDemo(t, freePorts(t, 8))
	gatewaytest.Eventually(t, "the demo is ready", func() bool { return strings.Contains(d.text(), "Ctrl-C stops everything.") })
	printed := curls(d.text())
	moved := strings.NewReplacer(":8080/", fmt.Sprintf(":%d/", d.first), ":9901/", fmt.Sprintf(":%d/", d.first+1)).Replace(section(t, "Try it"))
	if got := curls(moved); len(printed) != 6 || strings.Join(trimmed(printed), "\n") != strings.Join(trimmed(got), "\n") {
		t.Fatalf("README and the demo differ:\n%q\n%q", got, printed)
	}
	for i, want := range []*regexp.Regexp{
		regexp.MustCompile(`(?s)^HTTP/1\.1 200 OK\n.*\nContent-Type: application/json\n.*X-Correlation-ID: [0-9a-f]{32}\n.*"service": ?"identity"`),
		regexp.MustCompile(`(?s)^HTTP/1\.1 200 OK\n.*\nContent-Length: 2048\n.*X-Correlation-ID: [0-9a-f]{32}\n`),
		regexp.MustCompile(`(?s)^(id: |event: |data: ).*\n\n.*\n\n.*\n\n$`),
		regexp.MustCompile(`(?s)^HTTP/1\.1 101 Switching Protocols\n.*\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\n.*\nUpgrade: websocket\n`),
		regexp.MustCompile(`(?s)^HTTP/1\.1 400 Bad Request\n.*\nContent-Type: application/problem\+json\n.*"code":"bad_request".*encoded slash`),
		regexp.MustCompile(`(?s)gateway_requests_total\{method="GET",route="identity",status_code="200",service="identity"\} 1\n`),
	} {
		line := strings.TrimSpace(printed[i])
		out, err := shell(t, ".", line)
		if strings.Contains(line, "websocket") && err != nil && err.Error() == "exit status 28" {
			err = nil // the WebSocket stays open until curl's time is up
		}
		if err != nil || !want.MatchString(out) {
			t.Errorf("%s: %v\n%s\nwant %s", line, err, out, want)
		}
	}
	gatewaytest.Eventually(t, "the access log follows", func() bool {
		return strings.Contains(d.text(), `"route":"identity"`) && strings.Contains(d.text(), `"fault":"bad_request"`)
	})
	if strings.Contains(d.text(), `"route":"payments"`) {
		t.Errorf("a refused request reached route payments:\n%s", d.text())
	}
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.ends(0)
}

func trimmed(lines []string) (out []string) {
	for _, line := range lines {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

// SIGTERM ends it as well, and a port that is taken is said at once; neither
// leaves anything behind.
func TestDemoEnds(t *testing.T) {
	t.Parallel()
	t.Run("SIGTERM", func(t *testing.T) {
		t.Parallel()
		d := startDemo(t, freePorts(t, 8))
		gatewaytest.Eventually(t, "the demo is ready", func() bool { return strings.Contains(d.text(), "Ready.") })
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		d.ends(143)
	})
	t.Run("a port that is taken", func(t *testing.T) {
		t.Parallel()
		first := freePorts(t, 8)
		taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first))
		if err != nil {
			t.Fatal(err)
		}
		d := startDemo(t, first)
		gatewaytest.Eventually(t, "it says so", func() bool { return strings.Contains(d.text(), "the gateway did not start") })
		if !strings.Contains(d.text(), "address already in use\nAnother process listens there") {
			t.Errorf("it said\n%s", d.text())
		}
		_ = taken.Close()
		d.ends(1)
	})
}

// .ci/with-demo, which the load tests run under, has a demo ready before its command
// and none behind it, and ends as the command does.
func TestWithDemo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, command string
		code          int
		want          string
	}{
		{"a command", `for url in "$GATEWAY/identity/hello" "$ADMIN/readyz"; do curl -s -o /dev/null -w '%{http_code} ' "$url"; done`, 0, "200 200 "},
		{"an operator's command", `curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $ADMIN_TOKEN" "$ADMIN/debug/pprof/heap"`, 0, "200"},
		{"one that fails", "exit 99", 99, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := &demo{t: t, mark: fmt.Sprintf("GATEWAY_WITH_DEMO_TEST=%d", rand.Int())}
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, root+"/.ci/with-demo", "bash", "-c", c.command)
			cmd.Env = append(os.Environ(), d.mark, "BIN="+binaries)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != c.code || string(out) != c.want {
				t.Errorf("exit code %d, want %d; it said %q, want %q", got, c.code, out, c.want)
			}
			if left := d.processes(); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
		})
	}
}

// The command lines of README, in its order, on the file that the first one writes.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)```sh\nmake build\n(.*?)```").FindStringSubmatch(readme(t))
	if block == nil {
		t.Fatal("README has no section that begins with make build")
	}
	dir := files(t, "ports.yaml", "listen: {public: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\n")
	outputs := map[string]string{
		"init": "^$", "check": "^ok: 1 service, 1 route\n$", "routes": `^ROUTE .*\nhello `, "explain": `route:     hello  \(gateway\.yaml:\d+:\d+\)`,
	}
	run := 0
	for line := range strings.Lines(block[1]) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		name := strings.Fields(line)[1]
		line = strings.Replace(line, "./bin/gateway", "gateway", 1)
		if name == "serve" {
			line = "timeout -s TERM --preserve-status 2 " + line + " -c ports.yaml 2>&1"
			outputs[name] = `(?s)"message":"ready.*"message":"stopped"`
		}
		out, err := shell(t, dir, line)
		if want := outputs[name]; err != nil || want == "" || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		run++
	}
	if run != 5 {
		t.Errorf("%d lines were run", run)
	}
}

// The configuration of README is accepted, and routes as it says.
func TestReadmeConfiguration(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	if len(blocks) == 0 {
		t.Fatal("README shows no configuration")
	}
	for _, block := range blocks {
		dir := certificates(t, files(t, "gateway.yaml", block[1]))
		if r := do(t, dir, "check"); r.code != exitOK || r.err != "" {
			t.Errorf("%s\n%+v", block[1], r)
		}
	}
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	s := serveFiles(t, "readme.yaml", blocks[0][1], "over.yaml", `
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
services: {hello: {endpoints: [{url: "`+origin.URL()+`"}]}}
shutdown: {delay: 0s}
`)
	if got := gatewaytest.Scrub(gatewaytest.Do(t, s.public, "GET /hello/a/b?c HTTP/1.1\r\nHost: h\r\n\r\n")); got != ok {
		t.Errorf("got %q", got)
	}
	if seen := origin.Requests(); len(seen) != 1 || !strings.HasPrefix(seen[0], "GET /a/b?c HTTP/1.1\r\n") {
		t.Errorf("the service saw %q", seen)
	}
}

// What README tells people to make can be made.
func TestReadmeTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("(?m)(?:^|9902 )make ([a-z0-9-]+)").FindAllStringSubmatch(readme(t), -1)
	if len(names) < 5 {
		t.Errorf("found %v", names)
	}
	for _, name := range names {
		if !strings.Contains(string(makefile), "\n"+name[1]+":") {
			t.Errorf("make %s is no target", name[1])
		}
	}
}
