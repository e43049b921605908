// Package tickettest holds what every store of tickets must do.
package tickettest

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/ticket"
)

// TestStore runs the suite against stores made by newStore, each of which is empty.
func TestStore(t *testing.T, newStore func(t *testing.T) ticket.Store) {
	put := func(t *testing.T, s ticket.Store, key string, value []byte) {
		t.Helper()
		if err := s.Put(t.Context(), key, value, time.Minute); err != nil {
			t.Fatalf("putting: %v", err)
		}
	}
	take := func(t *testing.T, s ticket.Store, key string) []byte {
		t.Helper()
		value, err := s.Take(t.Context(), key)
		if err != nil {
			t.Fatalf("taking: %v", err)
		}
		return value
	}
	t.Run("once", func(t *testing.T) {
		s, value := newStore(t), []byte{0, 0xff, '\r', '\n', 'x'}
		if got := take(t, s, "a"); got != nil {
			t.Errorf("what was not put: %q", got)
		}
		put(t, s, "a", value)
		put(t, s, "b", []byte("other"))
		if got := take(t, s, "a"); !bytes.Equal(got, value) {
			t.Errorf("got %q", got)
		}
		if got := take(t, s, "a"); got != nil {
			t.Errorf("a second time: %q", got)
		}
		if got := take(t, s, "b"); string(got) != "other" {
			t.Errorf("the other one: %q", got)
		}
	})
	t.Run("once, of many", func(t *testing.T) {
		s := newStore(t)
		put(t, s, "a", []byte("x"))
		var got atomic.Int32
		var wait sync.WaitGroup
		for range 30 {
			wait.Go(func() {
				if value, err := s.Take(t.Context(), "a"); err != nil {
					t.Errorf("taking: %v", err)
				} else if value != nil {
					got.Add(1)
				}
			})
		}
		wait.Wait()
		if got.Load() != 1 {
			t.Errorf("%d have got it", got.Load())
		}
	})
}
