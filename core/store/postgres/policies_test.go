package postgres_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

func openPolicies(t *testing.T, url string) *postgres.Policies {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return postgres.NewPolicies(db)
}

// TestRL7_ABadRowCostsItselfAlone reads good rows and bad ones.
func TestRL7_ABadRowCostsItselfAlone(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	p, conn := openPolicies(t, url), connect(t, url)
	if _, err := conn.Exec(t.Context(), `INSERT INTO rate_limit_policies (policy_name, algorithm, requests_per_minute, burst_capacity, window_size_seconds) VALUES
		('bucket', 'token_bucket', 1000, 100, 60), ('window', 'sliding_window', 600, 1, 10), ('log', 'sliding_log', 7, 1, 90),
		('', 'token_bucket', 1, 1, 60), ('too little', 'sliding_window', 1, 1, 10), ('too long', 'sliding_window', 1000, 1, 2147483647), ('too much', 'token_bucket', 2147483647, 1, 60), ('burst', 'token_bucket', 1, 2147483647, 60)`); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO rate_limit_policies (policy_name, requests_per_minute, burst_capacity) VALUES ('default', 60, 5)`); err != nil {
		t.Fatal(err)
	}
	got, bad, err := p.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*limit.Policy{
		"bucket":  {Name: "bucket", Algorithm: limit.TokenBucket, Count: 1000, Per: time.Minute, Burst: 100},
		"window":  {Name: "window", Algorithm: limit.SlidingWindow, Count: 100, Per: 10 * time.Second},
		"log":     {Name: "log", Algorithm: limit.SlidingLog, Count: 10, Per: 90 * time.Second},
		"default": {Name: "default", Algorithm: limit.TokenBucket, Count: 60, Per: time.Minute, Burst: 5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	for _, name := range []string{"too little", "too long", "too much", "burst"} {
		if bad[name] == nil {
			t.Errorf("%s is not reported", name)
		}
	}
	if len(bad) != 5 || bad[""] == nil {
		t.Errorf("bad rows: %v", bad)
	}
	if _, err := conn.Exec(t.Context(), `INSERT INTO rate_limit_policies (policy_name, algorithm, requests_per_minute, burst_capacity) VALUES ('x', 'leaky', 1, 1)`); err == nil {
		t.Error("the table takes an algorithm that there is not")
	}
}

func TestRL7_ChangesAreTold(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	p, conn := openPolicies(t, url), connect(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	var woken atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Watch(ctx, func() { woken.Add(1) })
	}()
	defer func() { cancel(); <-done }()
	wakes := func(what string, more int64) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); woken.Load() < more; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s woke nobody", what)
			}
		}
	}
	wakes("the beginning", 1)
	for i, statement := range []string{
		`INSERT INTO rate_limit_policies (policy_name, requests_per_minute, burst_capacity) VALUES ('a', 1, 1)`,
		`UPDATE rate_limit_policies SET burst_capacity = 2`, `DELETE FROM rate_limit_policies`, `TRUNCATE rate_limit_policies CASCADE`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		wakes(statement, int64(i)+2)
	}
}

func TestPoliciesWithoutTheirTable(t *testing.T) {
	t.Parallel()
	s := testenv.NewPostgres(t)
	p := openPolicies(t, s.URL("postgres"))
	if _, _, err := p.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "was `gateway migrate up` run?") {
		t.Errorf("without tables: %v", err)
	}
	s.Stop()
	if _, _, err := p.Load(t.Context()); err == nil || strings.Contains(err.Error(), "migrate") {
		t.Errorf("without a server: %v", err)
	}
}
