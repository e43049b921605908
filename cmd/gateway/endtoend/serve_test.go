package endtoend

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// served is a running `gateway serve`.
type served struct {
	t             *testing.T
	cmd           *exec.Cmd
	public, admin string
	stdout        bytes.Buffer // complete once the process has ended
	mu            sync.Mutex   // guards log
	log           []logLine
	read          sync.WaitGroup
}

// logLine is what the tests look at in one line of the gateway's log.
type logLine struct {
	Level, Message, Listener, Address, Error, Signal, Kind string
}

// serveFile starts the gateway over yaml, on free ports, and waits until it is ready.
func serveFile(t *testing.T, yaml string) *served {
	t.Helper()
	return serveFiles(t, "ports.yaml", "listen: {public: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\n", "gateway.yaml", yaml)
}

// serveFiles is serveFile over two files of any content: name, text, name, text.
func serveFiles(t *testing.T, pairs ...string) *served {
	t.Helper()
	return serveBy(t, command(files(t, pairs...), "serve", "-c", pairs[0], "-c", pairs[2]))
}

// serveBy starts c, which serves, and waits until it does.
func serveBy(t *testing.T, c *exec.Cmd) *served {
	t.Helper()
	s := &served{t: t, cmd: c}
	s.cmd.Stdout = &s.stdout
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.read.Go(func() { s.readLog(stderr) })
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); s.read.Wait() })
	s.public = s.logged("listening").Address
	s.admin = s.logged("listening for operators").Address
	gatewaytest.Eventually(t, "ready", func() bool { return s.ready() == 200 })
	return s
}

// readLog reads the log until the process ends. Every line must be JSON.
func (s *served) readLog(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var l logLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			s.t.Errorf("the log holds %q: %v", lines.Bytes(), err)
		}
		s.mu.Lock()
		s.log = append(s.log, l)
		s.mu.Unlock()
	}
}

// logged waits for the line with that message.
func (s *served) logged(message string) (found logLine) {
	s.t.Helper()
	gatewaytest.Eventually(s.t, "the log line "+message, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.log {
			if l.Message == message {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// ready is the status of /readyz, 0 if nobody answers.
func (s *served) ready() int {
	conn, err := net.DialTimeout("tcp", s.admin, patience)
	if err != nil {
		return 0
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(conn)
	status := 0
	_, _ = fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status)
	return status
}

func (s *served) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the process to end and compares its exit code.
func (s *served) ends(code int) {
	s.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	s.read.Wait() // standard error closes with the process
	_ = s.cmd.Wait()
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, want %d; logged %+v", got, code, s.log)
	}
}

// one is a configuration for one service.
func one(o *gatewaytest.Origin) string {
	return `
services: {a: {endpoints: [{url: "` + o.URL() + `"}], retry: off}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
defaults: {plugins: {auth: off, access_log: {to: stdout}}}
`
}

const (
	get = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
	ok  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok"
)

func TestServe(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
			s := serveFile(t, one(origin)+"shutdown: {delay: 0s, drain: 5s}\n")
			client := gatewaytest.Dial(t, s.public)
			for range 2 {
				client.Write(get)
				if got := gatewaytest.Scrub(client.Read("GET")); got != ok {
					t.Errorf("got %q", got)
				}
			}
			if got := gatewaytest.Do(t, s.admin, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "\ngateway_requests_total{") {
				t.Errorf("/metrics: %q", got)
			}
			s.signal(sig)
			s.ends(exitOK)
			client.Closed()
			wanted := []string{"listening", "listening for operators", "ready; nothing is stored: counters and connections die with this process", "stopping", "stopped"}
			for _, l := range s.log {
				if l.Level != "info" {
					t.Errorf("logged %+v", l)
				}
				if len(wanted) > 0 && l.Message == wanted[0] {
					wanted = wanted[1:]
				}
			}
			if len(wanted) > 0 {
				t.Errorf("the log lacks %q: %+v", wanted, s.log)
			}
			if got := strings.Count(s.stdout.String(), "\n"); got != 2 || !strings.Contains(s.stdout.String(), `"status":200`) {
				t.Errorf("the access log holds %q", s.stdout.String())
			}
			if conn, err := net.Dial("tcp", s.public); err == nil {
				_ = conn.Close()
				t.Error("the port is still open")
			}
		})
	}
}

// gated answers once leave is given, and tells that a request has come.
func gated(t *testing.T) (origin *gatewaytest.Origin, came, leave chan struct{}) {
	came, leave = make(chan struct{}, 16), make(chan struct{})
	return gatewaytest.NewOrigin(t, func(string) string {
		came <- struct{}{}
		<-leave
		return gatewaytest.OK
	}), came, leave
}

// While it drains, /readyz says so, new connections are taken for the delay, and
// what is under way ends.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	origin, came, leave := gated(t)
	s := serveFile(t, one(origin)+"shutdown: {delay: 1s, drain: 15s}\n")
	before := gatewaytest.Dial(t, s.public)
	before.Write(get)
	<-came
	s.signal(syscall.SIGTERM)
	gatewaytest.Eventually(t, "/readyz says 503", func() bool { return s.ready() == 503 })
	after := gatewaytest.Dial(t, s.public)
	after.Write(get)
	<-came
	gatewaytest.Eventually(t, "the listener closes", func() bool {
		conn, err := net.Dial("tcp", s.public)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(leave)
	for _, client := range []*gatewaytest.Client{before, after} {
		if got := client.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\nok") {
			t.Errorf("got %q", got)
		}
		client.Closed()
	}
	s.ends(exitOK)
}

// What outlasts the drain is cut, and the exit code says that it was.
func TestServeCuts(t *testing.T) {
	t.Parallel()
	origin, came, leave := gated(t)
	defer close(leave)
	s := serveFile(t, one(origin)+"shutdown: {delay: 0s, drain: 200ms}\n")
	client := gatewaytest.Dial(t, s.public)
	client.Write(get)
	<-came
	s.signal(syscall.SIGTERM)
	s.ends(exitCutShort)
	client.Closed()
	if l := s.logged("stopped, not everything had ended"); l.Level != "error" || !strings.Contains(l.Error, "200ms") {
		t.Errorf("logged %+v", l)
	}
	if !strings.Contains(s.stdout.String(), `"status":499`) && !strings.Contains(s.stdout.String(), `"status":502`) {
		t.Errorf("the access log holds %q", s.stdout.String())
	}
}

// A second signal ends the waiting, of the delay and of the drain.
func TestServeSecondSignal(t *testing.T) {
	t.Parallel()
	for shutdown, second := range map[string]os.Signal{"{delay: 10m, drain: 10m}": syscall.SIGINT, "{delay: 0s, drain: 10m}": syscall.SIGTERM} {
		t.Run(shutdown, func(t *testing.T) {
			t.Parallel()
			origin, came, leave := gated(t)
			defer close(leave)
			s := serveFile(t, one(origin)+"shutdown: "+shutdown+"\n")
			gatewaytest.Dial(t, s.public).Write(get)
			<-came
			s.signal(syscall.SIGTERM)
			if l := s.logged("stopping"); l.Signal != "terminated" {
				t.Errorf("logged %+v", l)
			}
			s.signal(second)
			s.ends(exitCutShort)
			if l := s.logged("a second signal: not waiting any longer"); l.Level != "warn" {
				t.Errorf("logged %+v", l)
			}
		})
	}
}

// TestServeStorm: hangups come by the hundred while requests do, and the end in the
// middle of a reload: the last file wins, nothing is lost, and the process ends cleanly.
func TestServeStorm(t *testing.T) {
	t.Parallel()
	origin, came, leave := gated(t)
	config := func(body string) string {
		b := new(strings.Builder)
		_, _ = fmt.Fprintf(b, "shutdown: {delay: 0s, drain: 30s}\nservices: {a: {endpoints: [{url: %q}], retry: off}}\ndefaults: {plugins: {auth: off}}\nroutes:\n  a: {match: {path: \"/{rest...}\"}, service: a}\n", origin.URL())
		for i := range 2000 { // a reload takes its time
			_, _ = fmt.Fprintf(b, "  r%d: {match: {path: /r%d}, respond: {body: %q}}\n", i, i, body)
		}
		return b.String()
	}
	s := serveFile(t, config("start"))
	write := func(body string) {
		t.Helper()
		name := filepath.Join(s.cmd.Dir, "gateway.yaml")
		if err := os.WriteFile(name+".new", []byte(config(body)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	waiting := gatewaytest.Dial(t, s.public)
	waiting.Write(get)
	<-came
	client := gatewaytest.Dial(t, s.public)
	ask := func() string {
		t.Helper()
		client.Write("GET /r1 HTTP/1.1\r\nHost: h\r\n\r\n")
		_, body, _ := strings.Cut(client.Read("GET"), "\r\n\r\n")
		return body
	}
	for i := range 500 {
		if i%100 == 0 {
			write(fmt.Sprint("version ", i))
		}
		s.signal(syscall.SIGHUP)
		if body := ask(); body != "start" && !strings.HasPrefix(body, "version ") {
			t.Fatalf("got %q", body)
		}
	}
	gatewaytest.Eventually(t, "the last file", func() bool { return ask() == "version 400" })
	write("too late")
	s.signal(syscall.SIGHUP)
	s.signal(syscall.SIGTERM)
	s.signal(syscall.SIGHUP) // of an operator who does not know
	s.logged("stopping")
	close(leave)
	if got := waiting.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("the request that was under way got %q", got)
	}
	s.ends(0)
}

// What keeps the gateway from starting is named, with its place and what to do.
func TestServeCannotStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the parallel cases
	const inUse = "Another process listens there (`ss -ltnp` names it): stop it, or choose another address.\n"
	for _, c := range []struct{ name, public, admin, want string }{
		{"public address in use", taken.Addr().String(), "127.0.0.1:0",
			"gateway: gateway.yaml:1:10: listener public: listen tcp " + taken.Addr().String() + ": bind: address already in use\n" + inUse},
		{"admin address in use", "127.0.0.1:0", taken.Addr().String(),
			"gateway: admin.address: listen tcp " + taken.Addr().String() + ": bind: address already in use\n" + inUse},
		{"an address of another machine", "192.0.2.1:8080", "127.0.0.1:0",
			"gateway: gateway.yaml:1:10: listener public: listen tcp 192.0.2.1:8080: bind: cannot assign requested address\n" +
				"No interface of this machine has that address (`ip address` lists them).\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := files(t, "gateway.yaml", fmt.Sprintf("listen: {public: {address: %q}}\nadmin: {address: %q}\nroutes: {a: {match: {path: /a}, respond: {}, plugins: {auth: off}}}\n", c.public, c.admin))
			do(t, dir, "serve").wants(t, exitFailed, "", c.want)
		})
	}
}
