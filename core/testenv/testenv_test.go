package testenv_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/testenv"
)

// Servers must not look like leaks to the tests that use them.
func TestMain(m *testing.M) {
	if os.Getenv("TESTENV_KILLED") != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

func TestRedis(t *testing.T) {
	s := testenv.NewRedis(t)
	if got := s.Do(t, "SET", "k", "v"); got != "+OK" {
		t.Fatalf("SET answered %q", got)
	}
	if got := s.Do(t, "GET", "k"); got != "v" {
		t.Fatalf("GET answered %q", got)
	}
	s.FlushAll(t)
	if got := s.Do(t, "GET", "k"); got != "$-1" {
		t.Fatalf("after FLUSHALL, GET answered %q", got)
	}
	address := s.Address()
	s.Stop()
	s.Stop()
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Fatal("it listens after Stop")
	}
	s.Start()
	if s.Address() != address {
		t.Fatalf("it was at %s and is at %s", address, s.Address())
	}
	if got := s.Do(t, "PING"); got != "+PONG" {
		t.Fatalf("PING answered %q", got)
	}
}

// connect opens one connection, closed with the test.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func count(t *testing.T, conn *pgx.Conn, query string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgresGivesEachTestItsOwn(t *testing.T) {
	one, other := connect(t, testenv.Postgres(t)), connect(t, testenv.Postgres(t))
	if _, err := one.Exec(t.Context(), "INSERT INTO rate_limit_policies (policy_name, requests_per_minute, burst_capacity) VALUES ('a', 1, 1)"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, one, "SELECT count(*) FROM rate_limit_policies"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if n := count(t, other, "SELECT count(*) FROM rate_limit_policies"); n != 0 {
		t.Errorf("the other database has %d rows", n)
	}
}

func TestPostgresStopsAndStarts(t *testing.T) {
	s := testenv.NewPostgres(t)
	url := s.Database(t)
	if _, err := connect(t, url).Exec(t.Context(), "INSERT INTO service_registry (service_name, endpoint_url) VALUES ('a', 'http://127.0.0.1:1')"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Fatal("it answers after Stop")
	}
	s.Start()
	if n := count(t, connect(t, url), "SELECT count(*) FROM service_registry"); n != 1 {
		t.Errorf("%d rows after the restart, want 1", n)
	}
	if n := count(t, connect(t, s.NewDatabase(t)), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); n != 0 {
		t.Errorf("a new database has %d tables", n)
	}
}

// A test binary that is killed leaves neither servers nor directories.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("TESTENV_KILLED") != "" {
		s := testenv.NewPostgres(t)
		redis := testenv.NewRedis(t)
		os.Stdout.WriteString("\nat " + s.URL("postgres") + " " + redis.Address() + "\n")
		select {}
	}
	temporary := t.TempDir()
	if err := os.Chmod(temporary, 0o755); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeft$")
	command.Env = append(os.Environ(), "TESTENV_KILLED=yes", "TMPDIR="+temporary)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var url, address string
	for lines := bufio.NewScanner(out); address == "" && lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "at "); found {
			url, address, _ = strings.Cut(rest, " ")
		}
	}
	if err := errors.Join(command.Process.Kill(), ignore(command.Wait())); err != nil || address == "" {
		t.Fatalf("the other test binary told of no servers (%v)", err)
	}
	gone := func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return false
		}
		db, err := pgx.Connect(t.Context(), url)
		if err == nil {
			_ = db.Close(t.Context())
			return false
		}
		left, err := os.ReadDir(temporary)
		return err == nil && len(left) == 0
	}
	for deadline := time.Now().Add(20 * time.Second); !gone(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			left, _ := os.ReadDir(temporary)
			t.Fatalf("20 s later there is still something; of the directories: %v", left)
		}
	}
}

// ignore drops the error of a process that was killed on purpose.
func ignore(err error) error {
	if _, killed := errors.AsType[*exec.ExitError](err); killed {
		return nil
	}
	return err
}
