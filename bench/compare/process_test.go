package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startShell(t *testing.T, script string) *process {
	t.Helper()
	p, err := startProcess(t.TempDir(), "shell", []string{"GOMAXPROCS=2"}, "sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// eventually polls until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			t.Fatalf("never %s", what)
		}
	}
}

func TestProcessLife(t *testing.T) {
	t.Parallel()
	p := startShell(t, "sleep 600 & echo ready; wait")
	if err := p.await(context.Background(), func() error {
		if p.tail() != "ready" {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.alive(); err != nil {
		t.Error(err)
	}
	pids, err := family(p.pid())
	if err != nil || len(pids) != 2 || pids[0] != p.pid() {
		t.Errorf("family %v (%v), want the shell and its sleep", pids, err)
	}
	if n, err := threads(p.pid()); err != nil || n != 1 {
		t.Errorf("%d threads (%v)", n, err)
	}
	if v, err := environment(p.pid(), "GOMAXPROCS"); err != nil || v != "2" {
		t.Errorf("GOMAXPROCS %q (%v)", v, err)
	}
	if n, err := memory(pids); err != nil || n < 1<<10 {
		t.Errorf("%d bytes (%v)", n, err)
	}
	p.stop()
	if err := p.alive(); err == nil {
		t.Error("it lives on")
	}
	for _, pid := range pids[1:] {
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill() // the shell's sleep is nobody's now
		}
	}
	if _, err := memory([]int{p.pid()}); err == nil {
		t.Error("a process that ended has memory")
	}
	if _, err := cpuTime([]int{p.pid()}); err == nil {
		t.Error("a process that ended has a clock")
	}
	if _, err := threads(p.pid()); err == nil {
		t.Error("a process that ended has threads")
	}
	if _, err := environment(p.pid(), "GOMAXPROCS"); err == nil {
		t.Error("a process that ended has an environment")
	}
}

func TestProcessThatEndsIsNotAwaited(t *testing.T) {
	t.Parallel()
	p := startShell(t, "echo no such option >&2; exit 3")
	err := p.await(context.Background(), func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "no such option") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	if _, err := startProcess(t.TempDir(), "none", nil, "/does/not/exist"); err == nil {
		t.Error("a missing program was started")
	}
	if _, err := startProcess("/does/not/exist", "none", nil, "sh"); err == nil {
		t.Error("a process was started nowhere")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := startShell(t, "exec sleep 600").await(ctx, func() error { return errors.New("not yet") }); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: %v", err)
	}
}

func TestCPUTimeCountsFinely(t *testing.T) {
	t.Parallel()
	idle, busy := startShell(t, "exec sleep 600"), startShell(t, "while :; do :; done")
	eventually(t, "busy", func() bool {
		used, err := cpuTime([]int{busy.pid()})
		return err == nil && used > 30*time.Millisecond
	})
	before, err := machineTime()
	if err != nil {
		t.Fatal(err)
	}
	rested, err := cpuTime([]int{idle.pid()})
	if err != nil || rested <= 0 {
		t.Errorf("the idle one used %v (%v); a start costs something", rested, err)
	}
	both, err := cpuTime([]int{idle.pid(), busy.pid()})
	if err != nil || both < rested+30*time.Millisecond {
		t.Errorf("both used %v (%v)", both, err)
	}
	if both%(10*time.Millisecond) == 0 && rested%(10*time.Millisecond) == 0 {
		t.Errorf("%v and %v are ticks", both, rested)
	}
	eventually(t, "seen by the machine", func() bool {
		after, err := machineTime()
		return err == nil && after > before
	})
}

func TestCheckWorkers(t *testing.T) {
	t.Parallel()
	p := startShell(t, "sleep 600 & sleep 600 & wait")
	eventually(t, "with two children", func() bool {
		pids, err := family(p.pid())
		return err == nil && len(pids) == 3
	})
	t.Cleanup(func() {
		pids, _ := family(p.pid())
		for _, pid := range pids[1:] {
			if child, err := os.FindProcess(pid); err == nil {
				_ = child.Kill()
			}
		}
	})
	for _, c := range []struct {
		name    string
		workers int
		want    string
	}{
		{nginx, 2, ""}, {nginx, 3, "has 2 workers, want 3"},
		{haproxy, 1, ""}, {haproxy, 2, "has 1 workers, want 2"},
		{ours, 2, ""}, {ours, 4, "has 2 workers, want 4"},
		{direct, 9, ""},
	} {
		err := checkWorkers(&subject{name: c.name, process: p}, c.workers)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s with %d: %v, want %q", c.name, c.workers, err, c.want)
		}
	}
	unset, err := startProcess(t.TempDir(), "shell", []string{"GOMAXPROCS="}, "sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unset.stop)
	if err := checkWorkers(&subject{name: ours, process: unset}, 2); err == nil {
		t.Error("no GOMAXPROCS was accepted")
	}
}

func TestToolsAndPorts(t *testing.T) {
	t.Parallel()
	if err := install(context.Background(), "sh", "cat"); err != nil {
		t.Errorf("what is there was to be installed: %v", err)
	}
	if text, err := output(context.Background(), "/", "sh", "-c", "pwd; echo oops >&2"); err != nil || text != "/\noops\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := output(context.Background(), "/", "sh", "-c", "echo oops >&2; exit 1"); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("got %v", err)
	}
	if port, err := freePort(); err != nil || port == 0 {
		t.Errorf("port %d, %v", port, err)
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	l, err := measureLoopback(50 * time.Millisecond)
	if err != nil || l.perSecond < 10 || l.cpu < 500*time.Nanosecond || l.cpu > time.Second {
		t.Errorf("%+v, %v", l, err)
	}
}
