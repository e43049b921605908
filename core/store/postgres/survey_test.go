package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

func TestSurvey(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	url := server.Database(t)
	open := func(url string) *postgres.DB {
		db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		return db
	}
	s, err := open(url).Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Version == "" || s.Number < 130000 || s.ReadOnly || s.Connections != 200 || s.Pool != 16 || s.Skew.Abs() > 10*time.Second {
		t.Errorf("the server is %+v", s)
	}
	if s, err := open(url + "&default_transaction_read_only=on&pool_max_conns=3").Survey(t.Context()); err != nil || !s.ReadOnly || s.Pool != 3 {
		t.Errorf("who may not write learns %+v, %v", s, err)
	}
	db := open(url)
	server.Stop()
	if _, err := db.Survey(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "connecting to PostgreSQL: ") {
		t.Errorf("without a server: %v", err)
	}
}
