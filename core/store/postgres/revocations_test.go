package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/revocation/revocationtest"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

// revocations connects to a database, as one instance would.
func revocations(t *testing.T, url string) *postgres.Revocations {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return postgres.NewRevocations(db)
}

// connection is one connection of a test's own.
func connection(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func hence(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func TestI4_RevocationsAreDurable(t *testing.T) {
	revocationtest.TestDurable(t, func(t *testing.T) func() revocation.Durable {
		url := testenv.Postgres(t)
		return func() revocation.Durable { return revocations(t, url) }
	})
}

// keysSince are the keys that were written since cursor.
func keysSince(t *testing.T, r *postgres.Revocations, cursor string) (keys map[string]int64, next string) {
	t.Helper()
	entries, next, err := r.Since(t.Context(), cursor)
	if err != nil {
		t.Fatal(err)
	}
	keys = map[string]int64{}
	for _, e := range entries {
		keys[e.Key] = e.NotBefore
	}
	return keys, next
}

// A transaction that begins first and ends last is not missed, however far the cursor
// has come meanwhile.
func TestI4_WhatIsCommittedLateIsSeen(t *testing.T) {
	url := testenv.Postgres(t)
	r, late := revocations(t, url), connection(t, url)
	tx, err := late.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	insert := fmt.Sprintf("INSERT INTO revocations (key, not_before, expires) VALUES ('late', 1, %d)", hence(time.Hour))
	if _, err := tx.Exec(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	cursor := ""
	for i := range 3 {
		key := fmt.Sprint("early-", i)
		if err := r.Save(t.Context(), []revocation.Entry{{Key: key, Expires: hence(time.Hour)}}); err != nil {
			t.Fatal(err)
		}
		var keys map[string]int64
		keys, cursor = keysSince(t, r, cursor)
		if _, ok := keys[key]; !ok {
			t.Errorf("%s is missing: %v", key, keys)
		}
		if _, ok := keys["late"]; ok {
			t.Error("what is not committed is seen")
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, cursor := keysSince(t, r, cursor)
	if _, ok := keys["late"]; !ok {
		t.Errorf("it is missing: %v", keys)
	}
	if keys, _ := keysSince(t, r, cursor); len(keys) != 0 {
		t.Errorf("nothing is new, and there are %v", keys)
	}
	// A cursor that this cluster has not come to yet is another cluster's.
	if keys, _ := keysSince(t, r, "99999999999"); len(keys) != 4 {
		t.Errorf("a foreign cursor gives %v", keys)
	}
}

func TestI4_WhatAnOperatorWritesByHandIsFelt(t *testing.T) {
	url := testenv.Postgres(t)
	r, operator := revocations(t, url), connection(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	var woken atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Watch(ctx, func() { woken.Add(1) })
	}()
	defer func() { cancel(); <-done }()
	revocationtest.Eventually(t, "it listens", func() bool { return woken.Load() == 1 })
	cursor := ""
	for i, statement := range []string{
		fmt.Sprintf("INSERT INTO revocations (key, not_before, expires, written) VALUES ('s', 5, %d, '1')", hence(time.Hour)),
		"UPDATE revocations SET not_before = 0 WHERE key = 's'",
		fmt.Sprintf("INSERT INTO revocations (key, not_before, expires) VALUES ('not an id', 0, %d)", hence(time.Hour)),
	} {
		if _, err := operator.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		revocationtest.Eventually(t, "it was told", func() bool { return woken.Load() == int32(i+2) })
		var keys map[string]int64
		keys, cursor = keysSince(t, r, cursor)
		if want := []string{"map[s:5]", "map[s:0]", "map[]"}[i]; fmt.Sprint(keys) != want {
			t.Errorf("%s: %v, want %s", statement, keys, want)
		}
	}
}

// A row whose time has come makes a later one refuse no more than it says.
func TestAnExpiredRowWeighsNothing(t *testing.T) {
	url := testenv.Postgres(t)
	r := revocations(t, url)
	for _, e := range []revocation.Entry{
		{Key: "user:u", Expires: hence(-time.Minute)},
		{Key: "user:u", NotBefore: 5, Expires: hence(time.Hour)},
	} {
		if err := r.Save(t.Context(), []revocation.Entry{e}); err != nil {
			t.Fatal(err)
		}
	}
	if keys, _ := keysSince(t, r, ""); keys["user:u"] != 5 {
		t.Errorf("got %v", keys)
	}
}

func TestRevocationsWithoutAServer(t *testing.T) {
	s := testenv.NewPostgres(t)
	r := revocations(t, s.Database(t))
	if err := r.Save(t.Context(), []revocation.Entry{{Key: "s", Expires: hence(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	_, _, since := r.Since(t.Context(), "")
	for what, err := range map[string]error{
		"saving":  r.Save(t.Context(), []revocation.Entry{{Key: "t", Expires: hence(time.Hour)}}),
		"reading": since,
		"purging": r.Purge(t.Context(), 1),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.Start()
	revocationtest.Eventually(t, "it is there again", func() bool {
		entries, _, err := r.Since(t.Context(), "")
		return err == nil && len(entries) == 1
	})
}
