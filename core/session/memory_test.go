package session_test

import (
	"context"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/session/sessiontest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	sessiontest.TestStore(t, func(*testing.T) session.Store { return session.NewMemory(session.DefaultMemory) })
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := session.NewMemory(3)
	at := time.Unix(1000, 0)
	var ended []string
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		if id == "e" {
			if _, err := m.End(t.Context(), session.Selection{User: "of-b", ID: "b"}, at); err != nil {
				t.Fatal(err)
			}
		}
		gone, err := m.Begin(context.Background(), session.Record{Session: session.Session{ID: id, User: "of-" + id, Created: at, Ends: at.Add(time.Hour)}}, 10)
		if err != nil {
			t.Fatal(err)
		}
		for i := range gone {
			ended = append(ended, gone[i].ID)
		}
	}
	if len(ended) != 1 || ended[0] != "a" {
		t.Errorf("ended %v, want the oldest one that lived", ended)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := m.Load(t.Context(), id); err == nil {
			t.Errorf("%s is still there", id)
		}
	}
}
