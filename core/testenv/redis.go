package testenv

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a private redis-server. Its methods belong to one goroutine at a time.
type RedisServer struct {
	*server
	t         testing.TB // whom Stop and Start fail; nil for the shared one
	arguments []string
	sentinel  bool // arguments are all of them
	bus       int  // port of a cluster's node
}

var sharedRedis = sync.OnceValues(func() (*RedisServer, error) { return newRedis() })

// Redis returns the server that the tests of this binary share. Tests that share it
// at the same time use prefixes of their own, and never stop it.
func Redis(t testing.TB) *RedisServer {
	t.Helper()
	s, err := sharedRedis()
	must(t, err)
	return s
}

// NewRedis starts a server for this test alone, which may stop and start it; further
// arguments are redis-server's. It ends with the test.
func NewRedis(t testing.TB, arguments ...string) *RedisServer {
	t.Helper()
	s, err := newRedis(arguments...)
	must(t, err)
	s.t = t
	t.Cleanup(func() { s.remove(syscall.SIGKILL) })
	return s
}

func newRedis(arguments ...string) (*RedisServer, error) {
	place, err := place(nil)
	if err != nil {
		return nil, err
	}
	s := &RedisServer{server: place, arguments: arguments}
	if slices.Contains(arguments, "--cluster-enabled") { // its default, 10000 higher, may be an outgoing connection's
		if s.bus, err = freePort(); err != nil {
			return nil, err
		}
		s.arguments = append(slices.Clone(arguments), "--cluster-port", strconv.Itoa(s.bus))
	}
	if err := s.begin(); err != nil {
		s.remove(syscall.SIGKILL)
		return nil, err
	}
	return s, nil
}

func (s *RedisServer) begin() error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("redis-server is not installed (Debian package redis-server; `make test` installs it): %w", err)
	}
	arguments := s.arguments
	if !s.sentinel {
		arguments = append([]string{
			"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no",
		}, s.arguments...)
	}
	return s.start(exec.Command(path, arguments...), func() error {
		answer, err := s.Ask("PING")
		if err == nil && answer != "+PONG" && !strings.HasPrefix(answer, "-NOAUTH") {
			err = fmt.Errorf("redis-server answered %q", answer)
		}
		return err
	})
}

// Address is where it listens, host:port.
func (s *RedisServer) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Bus is the port at which other nodes of a cluster reach it.
func (s *RedisServer) Bus() string { return strconv.Itoa(s.bus) }

// Stop kills the server, with all that it holds. A second call does nothing.
func (s *RedisServer) Stop() {
	s.own()
	s.stop(syscall.SIGKILL)
}

// Start starts it again, empty, at the same port.
func (s *RedisServer) Start() {
	s.own()
	s.t.Helper()
	must(s.t, s.begin())
}

// own refuses what would hurt the tests that share a server.
func (s *RedisServer) own() {
	if s.t == nil {
		panic("testenv: the shared redis-server is not to be stopped; take one of your own by NewRedis")
	}
}

// FlushAll removes all that the server holds.
func (s *RedisServer) FlushAll(t testing.TB) {
	t.Helper()
	if answer := s.Do(t, "FLUSHALL"); answer != "+OK" {
		t.Fatalf("FLUSHALL answered %q", answer)
	}
}

// Pause makes the server hang: it keeps its connections and answers nothing.
func (s *RedisServer) Pause() {
	s.own()
	must(s.t, s.command.Process.Signal(syscall.SIGSTOP))
}

// Resume ends Pause.
func (s *RedisServer) Resume() { must(s.t, s.command.Process.Signal(syscall.SIGCONT)) }

// Do sends one command and returns the first line of the answer, as Redis wrote it;
// of a bulk string, its bytes.
func (s *RedisServer) Do(t testing.TB, words ...string) string {
	t.Helper()
	answer, err := s.Ask(words...)
	must(t, err)
	return answer
}

// Ask is Do for those who know that the server may be away, or hang up on them.
func (s *RedisServer) Ask(words ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Address(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // a socket that takes none fails by itself
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := conn.Write([]byte(command.String())); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err == nil && strings.HasPrefix(line, "$") && line != "$-1" {
		line, err = r.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
	}
	return line, err
}

// NewSentinel starts a sentinel for this test alone, which watches the server at host
// and port under the name of master. It ends with the test.
func NewSentinel(t testing.TB, master, host, port string) *RedisServer {
	t.Helper()
	s := NewRedis(t)
	s.Stop()
	file := filepath.Join(s.dir, "sentinel.conf") // it writes into it what it finds
	must(t, os.WriteFile(file, fmt.Appendf(nil, "port %d\nbind 127.0.0.1\nsentinel monitor %s %s %s 1\n", s.port, master, host, port), 0o600))
	s.arguments = []string{file, "--sentinel"}
	s.sentinel = true
	s.Start()
	return s
}
