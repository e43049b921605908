package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/session/sessiontest"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

func sessionsOf(t *testing.T, url string) *postgres.Sessions {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return postgres.NewSessions(db)
}

func TestSessions(t *testing.T) {
	sessiontest.TestStore(t, func(t *testing.T) session.Store { return sessionsOf(t, testenv.Postgres(t)) })
}

// everything calls all that a store of sessions does, and returns its errors.
func everything(ctx context.Context, s session.Store, id string) map[string]error {
	at := time.Now()
	all := map[string]error{}
	_, all["begin"] = s.Begin(ctx, session.Record{Session: session.Session{ID: id, User: "u", Agent: "a\x00b", Created: at, Used: at, Ends: at.Add(time.Hour), LastExpiry: at}}, 1)
	_, all["load"] = s.Load(ctx, id)
	_, all["rotate"] = s.Rotate(ctx, session.Rotation{Session: id, From: "a", To: "b", At: at, LastExpiry: at})
	all["seen"] = s.Seen(ctx, []session.Sighting{{Session: id, Access: "a"}})
	_, all["list"] = s.List(ctx, "u", at)
	_, all["end"] = s.End(ctx, session.Selection{User: "u"}, at)
	all["forget"] = s.Forget(ctx, at, at)
	return all
}

func TestID5_SessionsWithoutPostgres(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	s := sessionsOf(t, server.Database(t))
	server.Stop()
	for what, err := range everything(t.Context(), s, "x") {
		if !errors.Is(err, session.ErrUnavailable) || errors.Is(err, session.ErrUnknown) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestID5_SessionsOfWhoDoesNotWait(t *testing.T) {
	t.Parallel()
	s := sessionsOf(t, testenv.Postgres(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range everything(ctx, s, "x") {
		if !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What PostgreSQL can't keep is refused and says nothing of what it was.
func TestI21_SessionsRefuseOddIDs(t *testing.T) {
	t.Parallel()
	s := sessionsOf(t, testenv.Postgres(t))
	at := time.Now()
	for _, id := range []string{"", "a b", "a:b", "é", strings.Repeat("a", 129)} {
		_, err := s.Begin(t.Context(), session.Record{Session: session.Session{ID: id, User: "u", Agent: "secret", Created: at, Used: at, Ends: at, LastExpiry: at}}, 1)
		if !errors.Is(err, session.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("id %q: %v", id, err)
		}
	}
}
