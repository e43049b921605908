package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/admin"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// output is what a command prints; it may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// running is a program in a folder of its own.
type running struct {
	*program
	t       testing.TB
	folder  string
	log     *output
	hangups chan os.Signal
}

// base is what every configuration of these tests begins with; %s is a body.
const base = `listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s, drain: 5s}
routes:
  s: {match: {path: /s}, respond: {body: "%s"}, plugins: {auth: off}}
`

// boot starts the configuration in text, and stops it when the test ends.
func boot(t testing.TB, text string, o serveOptions) *running {
	t.Helper()
	r := &running{t: t, folder: t.TempDir(), log: &output{}, hangups: make(chan os.Signal, 1)}
	r.write("gateway.yaml", text)
	o.hangups = r.hangups
	p, err := start(&source{files: []string{r.path("gateway.yaml")}}, o, r.log)
	if err != nil {
		t.Fatalf("starting: %v\n%s", err, r.log)
	}
	r.program = p
	t.Cleanup(func() {
		select {
		case <-p.stopping:
		default:
			if err := p.stop(nil); err != nil {
				t.Errorf("stopping: %v\n%s", err, r.log)
			}
		}
	})
	return r
}

func (r *running) path(name string) string { return filepath.Join(r.folder, name) }

// write puts a file in place as an editor does that renames.
func (r *running) write(name, text string) {
	r.t.Helper()
	writeFile(r.t, r.path(name+".new"), text)
	if err := os.Rename(r.path(name+".new"), r.path(name)); err != nil {
		r.t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// get asks the public listener and returns the body.
func (r *running) get(path string) string {
	r.t.Helper()
	_, body := exchange(r.t, r.gateway.Address("public").String(), "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	return body
}

// ask asks the admin listener with the program's own token.
func (r *running) ask(what, body string) (head, answer string) {
	r.t.Helper()
	return exchange(r.t, r.admin.Addr().String(), fmt.Sprintf(
		"%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
		what, r.token(), len(body), body))
}

func (r *running) token() string {
	r.t.Helper()
	token, err := admin.ReadTokenFile(admin.TokenPath(r.started.Directory))
	if err != nil {
		r.t.Fatal(err)
	}
	return token.Reveal()
}

// exchange sends raw on a connection of its own and returns head and body.
func exchange(t testing.TB, address, raw string) (head, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ = strings.Cut(string(answer), "\r\n\r\n")
	return head, body
}

// command runs one command line that asks this program.
func (r *running) command(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	return command(append(args, "-c", r.path("gateway.yaml"), "--address", r.admin.Addr().String())...)
}

func command(args ...string) (code int, stdout, stderr string) {
	var out, errors bytes.Buffer
	code = run(args, &out, &errors)
	return code, out.String(), errors.String()
}

// eventually waits until ok.
func (r *running) eventually(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s did not come; the log:\n%s", what, r.log)
		}
	}
}

// body is the base configuration with that body.
func body(s string) string { return fmt.Sprintf(base, s) }
