package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to start or to stop.
const patience = 30 * time.Second

// server is a place where a server runs: its directory, its port and the process
// while there is one. It starts no goroutines, so that tests may look for leaks.
type server struct {
	dir     string
	port    int
	as      *syscall.Credential // nil: as we are
	command *exec.Cmd           // nil while stopped
	alive   io.Closer           // the end of it tells the reaper that we are gone
}

// place makes a directory that as, if not nil, may use, and a reaper for it.
func place(as *syscall.Credential) (*server, error) {
	dir, err := directory(as)
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, as: as}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	return s, s.reap()
}

// reaper waits for the end of its input, which comes when the test binary ends in any
// way, be it by SIGKILL; then it ends the server and removes the directory. (A parent's
// death signal would be simpler, but it is the thread that counts as the parent, and
// nobody would remove the directory.)
const reaper = `read nothing
if pid=$(cat "$0/pid" 2>/dev/null); then
	kill -QUIT "$pid"
	tries=0
	while kill -0 "$pid" && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries+1)); done
	kill -KILL "$pid"
fi 2>/dev/null
rm -rf "$0"`

func (s *server) reap() error {
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making the reaper's pipe: %w", err)
	}
	defer in.Close()
	command := exec.Command("/bin/sh", "-c", reaper, s.dir)
	command.Stdin = in
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us, not for it
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting the reaper: %w", err)
	}
	s.alive = out
	return nil
}

// start starts command in the server's directory and asks until ask is content.
func (s *server) start(command *exec.Cmd, ask func() error) error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("opening the server's log: %w", err)
	}
	defer log.Close()
	command.Dir = s.dir // the present one may be closed to its user
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.as}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", command.Path, err)
	}
	s.command = command
	if err := os.WriteFile(s.pidFile(), []byte(strconv.Itoa(command.Process.Pid)), 0o600); err != nil {
		s.stop(syscall.SIGKILL)
		return fmt.Errorf("noting the server's process: %w", err)
	}
	if err := s.ready(ask); err != nil {
		s.stop(syscall.SIGKILL)
		return err
	}
	return nil
}

func (s *server) log() string     { return filepath.Join(s.dir, "log") }
func (s *server) pidFile() string { return filepath.Join(s.dir, "pid") }

// said is the end of what the server said.
func (s *server) said() []byte {
	all, err := os.ReadFile(s.log())
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSpace(all[max(0, len(all)-4096):])
}

func (s *server) ready(ask func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		var status syscall.WaitStatus
		if pid, _ := syscall.Wait4(s.command.Process.Pid, &status, syscall.WNOHANG, nil); pid == s.command.Process.Pid {
			return fmt.Errorf("%s ended at once, with %d:\n%s", s.command.Path, status.ExitStatus(), s.said())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %w\n%s", s.command.Path, err, s.said())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop ends the process and waits for its end; one who does not listen is killed. A
// second call does nothing.
func (s *server) stop(signal syscall.Signal) {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Signal(signal) // it may have ended by itself
	late := time.AfterFunc(patience, func() { _ = s.command.Process.Kill() })
	_ = s.command.Wait() // how it ended is told by its log
	late.Stop()
	_ = os.Remove(s.pidFile()) // the number may be another's soon; the directory may be gone
	s.command = nil
}

// remove ends the process and the reaper, which takes the directory with it.
func (s *server) remove(signal syscall.Signal) {
	s.stop(signal)
	_ = s.alive.Close() // a pipe's end
	_ = os.RemoveAll(s.dir)
}

// freePort returns a port of loopback that nobody has. It is below those that the
// kernel gives to outgoing connections: one of them, even that of a client which waits
// for this very server, could take it while the server is stopped.
func freePort() (int, error) {
	const from = 20000
	to := 32768
	if of, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if first, _, found := strings.Cut(string(of), "\t"); found {
			if n, err := strconv.Atoi(first); err == nil && n > from+1000 {
				to = n
			}
		}
	}
	var err error
	for range 100 {
		port := from + rand.IntN(to-from)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("looking for a free port: %w", err)
}

// directory makes a directory that as, if not nil, may use.
func directory(as *syscall.Credential) (string, error) {
	var problems []error
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if as != nil && !enterable(parent) {
			problems = append(problems, fmt.Errorf("%s is closed to uid %d", parent, as.Uid))
			continue
		}
		dir, err := os.MkdirTemp(parent, "testenv")
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if as != nil {
			err = os.Chown(dir, int(as.Uid), int(as.Gid))
		}
		return dir, err
	}
	return "", fmt.Errorf("making a directory for a server: %w", errors.Join(problems...))
}

// enterable says whether everybody may go through dir and all above it.
func enterable(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
		dir = filepath.Dir(dir)
	}
}

// must ends the test with err, if there is one.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
