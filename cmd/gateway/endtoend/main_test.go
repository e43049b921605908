// Package endtoend runs the built gateway as its users do: every command, serve
// until its end, the demo, and what README says.
package endtoend

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// binaries is the folder that holds the gateway and the demo's services as users
// have them: built once, by TestMain.
var binaries string

// root is the repository, seen from this package.
const root = "../../.."

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "gateway-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binaries)
	// Without the profile, what the tests have compiled is used again.
	build := exec.Command("go", "build", "-pgo=off", "-trimpath", "-buildvcs=false", "-ldflags", "-X main.version=v1.2.3-test", "-o", binaries+"/", "./cmd/gateway", "./cmd/upstream", "./bench/load", "./bench/origin")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// The exit codes, as `gateway --help` documents them.
const (
	exitOK       = 0
	exitRefused  = 1
	exitUsage    = 2
	exitCutShort = 3
	exitFailed   = 4
)

// result is what one command line left behind.
type result struct {
	out, err string
	code     int
}

// command is the gateway with args, in folder dir.
func command(dir string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(binaries, "gateway"), args...)
	c.Dir = dir
	return c
}

// do runs one command line to its end.
func do(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return finished(t, command(dir, args...))
}

// finished runs c to its end.
func finished(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Start(); err != nil {
		t.Fatalf("running %v: %v", c.Args, err)
	}
	timer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	_ = c.Wait() // the exit code says it; -1 if it was killed
	return result{out.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// wants compares all three.
func (r result) wants(t *testing.T, code int, out, stderr string) {
	t.Helper()
	want := result{out, stderr, code}
	if r != want {
		t.Errorf("differs (- want, + got):\n%s%s\nexit code %d, want %d",
			cmp.Diff(strings.Split(out, "\n"), strings.Split(r.out, "\n")), cmp.Diff(strings.Split(stderr, "\n"), strings.Split(r.err, "\n")), r.code, code)
	}
}

// patience is how long a process may take for what must come.
const patience = 30 * time.Second

// files writes files into a folder of the test's own: name, text, name, text.
func files(t *testing.T, pairs ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := 0; i < len(pairs); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, pairs[i]), []byte(pairs[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
