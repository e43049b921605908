package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a database until the end of the test.
func open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// connect opens one connection beside the gateway's.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// await polls until so is true.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("20 s later it is not so: %s", what)
		}
	}
}

func TestOpenWithoutServer(t *testing.T) {
	s := testenv.NewPostgres(t)
	url := s.URL("postgres")
	s.Stop()
	db := open(t, url)
	if db.Healthy(t.Context()) {
		t.Error("healthy without a server")
	}
	s.Start()
	if !db.Healthy(t.Context()) {
		t.Error("not healthy with the server back")
	}
	s.Stop()
	if db.Healthy(t.Context()) {
		t.Error("healthy with the server gone")
	}
}

func TestC11_BadURLKeepsItsPassword(t *testing.T) {
	for _, url := range []string{"postgres://u:sesame@[::1/x", "postgres://u:sesame@h:port/x", "postgres://u:sesame@h/x?sslmode=odd", "host=h password=sesame sslmode=odd"} {
		_, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
		if err == nil {
			t.Errorf("%s was opened", url)
			continue
		}
		if strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error holds the password: %s", err)
		}
		if _, err := postgres.Migrate(t.Context(), url, postgres.Status); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("the error of Migrate holds the password: %v", err)
		}
	}
}

// heard collects what a listener tells.
type heard struct {
	mu   sync.Mutex
	told []string
}

func (h *heard) add(payload string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, payload)
}

func (h *heard) is(want ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return cmp.Equal(h.told, want)
}

func TestListen(t *testing.T) {
	s := testenv.NewPostgres(t)
	url := s.Database(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var h heard
	db := open(t, url)
	all.Go(func() { db.Listen(ctx, `odd "channel"`, h.add) })
	defer all.Wait()
	defer cancel()
	notify := func(payload string) {
		conn := connect(t, url)
		if _, err := conn.Exec(t.Context(), `NOTIFY "odd ""channel""", '`+payload+`'`); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "it listens", func() bool { return h.is("") })
	notify("one")
	await(t, "one is heard", func() bool { return h.is("", "one") })

	// Longer than it waits between two pings, it still listens on the same connection.
	time.Sleep(3500 * time.Millisecond)
	notify("two")
	await(t, "two is heard", func() bool { return h.is("", "one", "two") })

	s.Stop()
	s.Start()
	await(t, "it listens again", func() bool { return h.is("", "one", "two", "") })
	notify("three")
	await(t, "three is heard", func() bool { return h.is("", "one", "two", "", "three") })
}

func TestMigrate(t *testing.T) {
	s := testenv.NewPostgres(t)
	url := s.NewDatabase(t)
	status := func() (done, all int) {
		t.Helper()
		steps, err := postgres.Migrate(t.Context(), url, postgres.Status)
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range steps {
			if !strings.HasPrefix(step.Name, fmt.Sprintf("%05d_", step.Number)) || i > 0 && step.Number <= steps[i-1].Number {
				t.Errorf("step %d is %+v", i, step)
			}
			if !step.Done.IsZero() {
				done++
			}
		}
		return done, len(steps)
	}
	if done, all := status(); done != 0 || all == 0 {
		t.Fatalf("%d of %d steps are done in a new database", done, all)
	}
	if undone, err := postgres.Migrate(t.Context(), url, postgres.Down); err != nil || undone != nil {
		t.Fatalf("with nothing to undo: %v, %v", undone, err)
	}

	// Many at once: all end well, and each step was done once.
	var mu sync.Mutex
	var all sync.WaitGroup
	var numbers []int64
	for range 4 {
		all.Go(func() {
			steps, err := postgres.Migrate(t.Context(), url, postgres.Up)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			for _, step := range steps {
				numbers = append(numbers, step.Number)
			}
		})
	}
	all.Wait()
	done, total := status()
	if done != total || len(numbers) != total {
		t.Fatalf("%d of %d steps are done, and steps %v were told of", done, total, numbers)
	}

	// All the way down, and up again.
	for left := total; left > 0; left-- {
		steps, err := postgres.Migrate(t.Context(), url, postgres.Down)
		if err != nil || len(steps) != 1 || steps[0].Number != numbers[left-1] {
			t.Fatalf("the step down from %d: %v, %v", numbers[left-1], steps, err)
		}
	}
	var tables int
	conn := connect(t, url)
	left := `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND relname NOT LIKE 'goose%'`
	if err := conn.QueryRow(t.Context(), left).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables, indexes or sequences are left after all steps down (%v)", tables, err)
	}
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d functions are left after all steps down (%v)", tables, err)
	}
	if steps, err := postgres.Migrate(t.Context(), url, postgres.Up); err != nil || len(steps) != total {
		t.Errorf("up again: %v, %v", steps, err)
	}
}

func TestMigrateWithoutServer(t *testing.T) {
	s := testenv.NewPostgres(t)
	url := s.URL("postgres")
	s.Stop()
	begun := time.Now()
	_, err := postgres.Migrate(t.Context(), url, postgres.Up)
	if err == nil || !strings.HasPrefix(err.Error(), "connecting to PostgreSQL: ") {
		t.Errorf("without a server: %v", err)
	}
	if errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
		t.Errorf("it took %s: %v", time.Since(begun), err)
	}
}

// The columns of SPEC AD1 are a contract with others who read these tables.
func TestColumns(t *testing.T) {
	conn := connect(t, testenv.Postgres(t))
	want := map[string]string{
		"gateway_routes":      "id integer, path_pattern text, service_name text, method text, auth_required boolean = true, rate_limit_rpm integer = 1000, created_at timestamp with time zone = now()",
		"rate_limit_policies": "id integer, policy_name text, requests_per_minute integer, burst_capacity integer, window_size_seconds integer = 60, created_at timestamp with time zone = now()",
		"api_clients":         "id uuid = gen_random_uuid(), client_name text, client_secret_hash text, scopes ARRAY = '{}'::text[], rate_limit_policy_id integer, is_active boolean = true, created_at timestamp with time zone = now(), updated_at timestamp with time zone = now()",
		"service_registry":    "id integer, service_name text, endpoint_url text, health_check_url text, weight integer = 1, is_active boolean = true, last_health_check timestamp with time zone, health_status text = 'unknown'::text, created_at timestamp with time zone = now()",
	}
	for table, columns := range want {
		var got string
		err := conn.QueryRow(t.Context(), `SELECT string_agg(column_name || ' ' || data_type || CASE WHEN column_default IS NULL OR column_default LIKE 'nextval%' THEN '' ELSE ' = ' || column_default END, ', ' ORDER BY ordinal_position)
			FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1`, table).Scan(&got)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(got, columns) {
			t.Errorf("%s differs (- want, + got):\n%s", table, cmp.Diff(columns, got))
		}
	}
}
