package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/apikey/apikeytest"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

// openKeys opens a fresh database.
func openKeys(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestAPIKeys(t *testing.T) {
	apikeytest.TestStore(t, func(t *testing.T) apikeytest.Subject {
		keys := postgres.NewAPIKeys(openKeys(t, testenv.Postgres(t)))
		return apikeytest.Subject{Store: keys, Clients: keys, User: "6f0c3a52-9d0e-4c3b-8f6e-6c1d3f6a1b11"}
	})
}

// execute runs one statement beside the gateway.
func execute(t *testing.T, url, sql string, arguments ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatal(err)
	}
}
