package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/suuupra/gateway/core/store/postgres"
)

// PostgresServer is a private PostgreSQL. Its methods belong to one goroutine at a
// time, but for URL and Database.
type PostgresServer struct {
	*server
	t    testing.TB   // whom Stop and Start fail; nil for the shared one
	made atomic.Int64 // databases so far
}

var sharedPostgres = sync.OnceValues(newPostgres)

// Postgres returns the URL of a database with all migrations, of this test alone, on
// the server that the tests of this binary share.
func Postgres(t testing.TB) string {
	t.Helper()
	s, err := sharedPostgres()
	must(t, err)
	return s.Database(t)
}

// NewPostgres starts a server for this test alone, which may stop and start it. It
// ends with the test.
func NewPostgres(t testing.TB) *PostgresServer {
	t.Helper()
	s, err := newPostgres()
	must(t, err)
	s.t = t
	t.Cleanup(func() { s.remove(syscall.SIGQUIT) })
	return s
}

// template is the database with all migrations, of which others are copies: that
// costs a fifth of running them.
const template = "migrated"

func newPostgres() (*PostgresServer, error) {
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	place, err := place(as)
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{server: place}
	if err := s.prepare(); err != nil {
		s.remove(syscall.SIGQUIT)
		return nil, err
	}
	return s, nil
}

// prepare makes the cluster, starts the server and makes the template.
func (s *PostgresServer) prepare() error {
	if err := s.initialise(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.query(ctx, "CREATE DATABASE "+template); err != nil {
		return fmt.Errorf("making the template: %w", err)
	}
	if _, err := postgres.Migrate(ctx, s.URL(template), postgres.Up); err != nil {
		return fmt.Errorf("migrating the template: %w", err)
	}
	return nil
}

// unprivileged returns whom root starts PostgreSQL as.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("the ids of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
}

// binary finds a program of PostgreSQL, which Debian keeps out of PATH.
func binary(name string) (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is well formed
	if len(found) > 0 {
		return found[len(found)-1], nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not installed (Debian package postgresql; `make test` installs it): %w", name, err)
	}
	return path, nil
}

func (s *PostgresServer) initialise() error {
	path, err := binary("initdb")
	if err != nil {
		return err
	}
	command := exec.Command(path, "-D", s.data(), "-U", "gateway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	command.Dir = s.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, said)
	}
	return nil
}

func (s *PostgresServer) data() string { return filepath.Join(s.dir, "data") }

func (s *PostgresServer) begin() error {
	path, err := binary("postgres")
	if err != nil {
		return err
	}
	command := exec.Command(path, "-D", s.data(), "-p", strconv.Itoa(s.port), "-k", s.dir, "-h", "127.0.0.1",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200")
	return s.start(command, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return s.query(ctx, "SELECT 1")
	})
}

// query runs one statement on the server's own database.
func (s *PostgresServer) query(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// URL is the URL of a database.
func (s *PostgresServer) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("gateway"), Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Database makes a database with all migrations and returns its URL.
func (s *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	return s.create(t, " TEMPLATE "+template)
}

func (s *PostgresServer) create(t testing.TB, from string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	name := fmt.Sprintf("test%d", s.made.Add(1))
	must(t, s.query(ctx, "CREATE DATABASE "+name+from))
	return s.URL(name)
}

// NewDatabase makes a database without any table and returns its URL.
func (s *PostgresServer) NewDatabase(t testing.TB) string {
	t.Helper()
	return s.create(t, "")
}

// Stop ends the server at once, with all its connections; what was committed stays.
// A second call does nothing.
func (s *PostgresServer) Stop() {
	s.own()
	s.stop(syscall.SIGQUIT)
}

// Start starts it again at the same port, with the same data.
func (s *PostgresServer) Start() {
	s.own()
	s.t.Helper()
	must(s.t, s.begin())
}

// own refuses what would hurt the tests that share a server.
func (s *PostgresServer) own() {
	if s.t == nil {
		panic("testenv: the shared PostgreSQL is not to be stopped; take one of your own by NewPostgres")
	}
}
