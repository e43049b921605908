package endtoend

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// terminal is a pseudo-terminal: what is typed into it, and what it shows.
type terminal struct {
	t      *testing.T
	ours   *os.File
	theirs *os.File
	mu     sync.Mutex
	shown  strings.Builder
	read   sync.WaitGroup
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	raw, err := ours.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var number int
	err = raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, ours: ours, theirs: theirs}
	term.read.Go(term.follow)
	t.Cleanup(func() {
		_ = theirs.Close()
		term.read.Wait() // the last other end is closed, which is EIO
	})
	return term
}

// follow keeps what is shown until the other end is closed.
func (term *terminal) follow() {
	for room := make([]byte, 4096); ; {
		n, err := term.ours.Read(room)
		term.mu.Lock()
		term.shown.Write(room[:n])
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.shown.String()
}

// answers waits for a prompt and for the terminal to echo nothing, and types text.
func (term *terminal) answers(prompt, text string) {
	term.t.Helper()
	gatewaytest.Eventually(term.t, prompt, func() bool {
		state, err := unix.IoctlGetTermios(int(term.theirs.Fd()), unix.TCGETS)
		return err == nil && state.Lflag&unix.ECHO == 0 && strings.HasSuffix(term.text(), prompt)
	})
	if _, err := io.WriteString(term.ours, text+"\n"); err != nil {
		term.t.Fatal(err)
	}
}

// TestSecretsAreAskedForInTheDark at a terminal of its own: twice, never shown, and with
// the echo on again at the end.
func TestSecretsAreAskedForInTheDark(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, first, second string
		code                int
		want                string
	}{
		{"the same twice", goodPassword, goodPassword, exitOK, "$argon2id$v=19$m=32768,t=2,p=1$"},
		{"two different ones", goodPassword, "Correct-horse8!", exitUsage, "these were two different ones; nothing was changed"},
		{"none", "", "", exitUsage, "want a password, got none"},
		{"a weak one", "weakling", "weakling", exitRefused, "it has no upper-case letter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			term := openTerminal(t)
			run := command(t.TempDir(), "hash", "password")
			run.Stdin, run.Stdout, run.Stderr = term.theirs, term.theirs, term.theirs
			run.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(patience, func() { _ = run.Process.Kill() })
			defer timer.Stop()
			defer func() { _ = run.Process.Kill() }() // of one that was given up
			term.answers("password: ", c.first)
			term.answers("password, again: ", c.second)
			_ = run.Wait() // the exit code says it
			if code := run.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			gatewaytest.Eventually(t, c.want, func() bool { return strings.Contains(term.text(), c.want) })
			if shown := term.text(); c.first != "" && (strings.Contains(shown, c.first) || strings.Contains(shown, c.second)) {
				t.Errorf("the terminal shows it: %q", shown)
			}
			if state, err := unix.IoctlGetTermios(int(term.theirs.Fd()), unix.TCGETS); err != nil || state.Lflag&unix.ECHO == 0 {
				t.Errorf("the terminal echoes no more: %v", err)
			}
		})
	}
}
