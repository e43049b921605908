package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// notifySocket puts a service manager's socket into the environment; next returns
// the next message that it gets.
func notifySocket(t *testing.T) (path string, next func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return path, func() string {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(patience)) // it is open
		p := make([]byte, 4096)
		n, err := conn.Read(p)
		if err != nil {
			t.Fatalf("waiting for a message: %v", err)
		}
		return string(p[:n])
	}
}

func TestOP1_TheSupervisorIsTold(t *testing.T) {
	path, next := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", path)
	s := &supervisor{log: zerolog.Nop()}
	s.ready("3 routes")
	if got := next(); got != "READY=1\nSTATUS=3 routes" {
		t.Errorf("got %q", got)
	}
	monotonic := func() int64 {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		return now.Nano() / 1000
	}
	before := monotonic()
	s.reloading()
	got := next()
	usec, rest, _ := strings.Cut(strings.TrimPrefix(got, "RELOADING=1\nMONOTONIC_USEC="), "\n")
	if n, err := strconv.ParseInt(usec, 10, 64); err != nil || n < before || n > monotonic() || rest != "STATUS=reading the configuration" {
		t.Errorf("got %q, %v; want a time from %d on", got, err, before)
	}
	s.stopping(35 * time.Second)
	if got := next(); got != "STOPPING=1\nEXTEND_TIMEOUT_USEC=50000000\nSTATUS=draining" {
		t.Errorf("got %q", got)
	}
	s.reloading() // too late to be told
	s.ready("x")
	s.tell("STATUS=the last word")
	if got := next(); got != "STATUS=the last word" {
		t.Errorf("after stopping, got %q", got)
	}
}

func TestOP1_NobodyToTell(t *testing.T) {
	var log bytes.Buffer
	t.Setenv("NOTIFY_SOCKET", "")
	(&supervisor{log: zerolog.New(&log)}).ready("x")
	if log.Len() > 0 {
		t.Errorf("no supervisor: logged %s", &log)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	(&supervisor{log: zerolog.New(&log)}).ready("x")
	if !strings.Contains(log.String(), `"state":"READY=1"`) || !strings.Contains(log.String(), "can't be told") {
		t.Errorf("a supervisor that is gone: logged %q", &log)
	}
}

func TestOP1_TheWatchdogIsToldWhileTheCheckPasses(t *testing.T) {
	path, next := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt((20*time.Millisecond).Microseconds(), 10))
	var log bytes.Buffer // written by the watchdog's goroutine, read after its end
	checks := 0
	end := (&supervisor{log: zerolog.New(&log)}).guard(func(ctx context.Context) error {
		if _, limited := ctx.Deadline(); !limited {
			t.Error("the check has no deadline")
		}
		switch checks++; checks {
		case 2:
			return errors.New("planted")
		case 3:
			<-ctx.Done() // stuck until its time is up
			return ctx.Err()
		case 5:
			(&supervisor{}).ready("after four checks")
		}
		return nil
	})
	for _, want := range []string{"WATCHDOG=1", "WATCHDOG=1", "READY=1\nSTATUS=after four checks", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	end()
	if n := strings.Count(log.String(), "the self-check failed"); n != 2 || !strings.Contains(log.String(), "planted") || !strings.Contains(log.String(), "deadline exceeded") {
		t.Errorf("logged %s", &log)
	}
}

func TestOP1_NoWatchdog(t *testing.T) {
	for usec, warned := range map[string]bool{"": false, "0": true, "soon": true} {
		var log bytes.Buffer
		t.Setenv("WATCHDOG_USEC", usec)
		(&supervisor{log: zerolog.New(&log)}).guard(func(context.Context) error { t.Error("checked"); return nil })()
		if warned != strings.Contains(log.String(), "the watchdog is off") {
			t.Errorf("%q: logged %q", usec, &log)
		}
	}
}

// TestMain runs the test binary as the gateway itself where a test starts it so.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_GATEWAY") != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// asGateway is a command that runs the gateway with args, sockets passed on as
// systemd does: names are those of files, an empty one leaves LISTEN_FDNAMES out.
func asGateway(t *testing.T, names string, files []*os.File, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The variable must hold the process's own number, which the shell keeps for
	// what it executes.
	c := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, self}, args...)...)
	c.Env = append(os.Environ(), "RUN_AS_GATEWAY=1", fmt.Sprintf("LISTEN_FDS=%d", len(files)))
	if names != "" {
		c.Env = append(c.Env, "LISTEN_FDNAMES="+names)
	}
	c.ExtraFiles = files
	return c
}

// listening is a TCP socket as systemd would pass it on.
func listening(t *testing.T) (f *os.File, address string) {
	t.Helper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // nor does systemd make such
	l, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err = l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, l.Addr().String()
}

func TestOP1_SocketsThatNobodyClaims(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	if err := os.WriteFile(config, []byte(`
listen: {public: {address: "127.0.0.1:0"}, inside: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
defaults: {plugins: {auth: off}}
routes: {here: {match: {path: /here}, respond: {status: 200, body: x}}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	tcp, _ := listening(t)
	plain, err := os.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	local, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	unixSocket, err := local.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer unixSocket.Close()
	for _, c := range []struct {
		what, names string
		files       []*os.File
		want        string
	}{
		{"unknown", "gateway.socket", []*os.File{tcp}, `passed a socket named "gateway.socket", but the listeners are named inside, public: set FileDescriptorName=`},
		{"unnamed", "", []*os.File{tcp}, `passed a socket named "LISTEN_FD_3", but`},
		{"one too many", "public:other", []*os.File{tcp, tcp}, `passed a socket named "other", but`},
		{"twice", "public:public", []*os.File{tcp, tcp}, `passed two sockets named "public"`},
		{"no socket", "inside", []*os.File{plain}, `the socket named "inside", which the service manager passed, does not listen`},
		{"no TCP", "public", []*os.File{unixSocket}, `the socket named "public", which the service manager passed, is unix: want TCP`},
	} {
		out, err := asGateway(t, c.names, c.files, "serve", "-c", config).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitRefused || !strings.Contains(strings.ReplaceAll(string(out), `\"`, `"`), c.want) {
			t.Errorf("%s: %v\n%s\nwant %s", c.what, err, out, c.want)
		}
	}
}

// TestOP1_StatesOfARunningGateway is a whole life under systemd: a socket that was
// passed, two reloads, the watchdog, and the end.
func TestOP1_StatesOfARunningGateway(t *testing.T) {
	t.Parallel()
	path, next := notifySocket(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "gateway.yaml")
	write := func(route string) {
		t.Helper()
		text := fmt.Sprintf("admin: {address: \"127.0.0.1:0\"}\ndirectory: %q\nshutdown: {delay: 0s, drain: 5s}\ndefaults: {plugins: {auth: off}}\nroutes: {a: {match: {path: /a}, %s}}\n", dir, route)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("respond: {status: 200, body: first}")
	socket, address := listening(t)
	c := asGateway(t, "public", []*os.File{socket}, "serve", "-c", config)
	c.Env = append(c.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000")
	var log bytes.Buffer // written by the command, read after its end
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	attested := 0
	state := func(want string) {
		t.Helper()
		got := next()
		for ; got == "WATCHDOG=1"; got = next() {
			attested++
		}
		if before, _, ok := strings.Cut(got, "MONOTONIC_USEC="); ok {
			got = before + "…"
		}
		if got != want {
			t.Errorf("the state is %q, want %q", got, want)
		}
	}
	ask := func(want string) {
		t.Helper()
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience)) // a new socket takes it
		if _, err := io.WriteString(conn, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\n"+want) {
			t.Errorf("got %q, %v; want %s", answer, err, want)
		}
	}
	signal := func(s os.Signal) {
		t.Helper()
		if err := c.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	state("READY=1\nSTATUS=1 routes, 0 services")
	ask("first")
	write("respond: {status: 200, body: second}")
	signal(syscall.SIGHUP)
	state("RELOADING=1\n…")
	state("READY=1\nSTATUS=1 routes, 0 services")
	ask("second")
	write("service: nowhere")
	signal(syscall.SIGHUP)
	state("RELOADING=1\n…")
	state("READY=1\nSTATUS=1 routes, 0 services; the last reload was refused")
	ask("second")
	for attested == 0 {
		if got := next(); got == "WATCHDOG=1" {
			attested++
		}
	}
	signal(syscall.SIGTERM)
	state("STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\nSTATUS=draining")
	if err := c.Wait(); err != nil {
		t.Errorf("the end: %v\n%s", err, &log)
	}
}
