// Package tokentest holds what every store of signing keys must do, and keys and
// issuers for the tests of others.
package tokentest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/token"
)

// TestKeyStore holds a store to what token.KeyStore promises. newStore returns a
// fresh, empty one, and each call of open on it another one that shares its keys,
// as another process would have it.
func TestKeyStore(t *testing.T, newStore func(t *testing.T) (open func() token.KeyStore)) {
	for name, test := range map[string]func(*testing.T, func() token.KeyStore){
		"empty":                 testEmpty,
		"what is updated stays": testUpdate,
		"a change that fails":   testFailingChange,
		"updates take turns":    testTurns,
		"copies":                testCopies,
		"cancelled":             testCancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, newStore(t)) })
	}
}

// Example is a stored key that was never sealed, for tests of stores alone.
func Example(id string, purpose token.Purpose) token.StoredKey {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return token.StoredKey{ID: id, Purpose: purpose, Sealed: []byte("\x00\x01\xff sealed " + id), Created: at, Signs: at.Add(24 * time.Hour), Life: 168 * time.Hour}
}

func load(t *testing.T, s token.KeyStore) []token.StoredKey {
	t.Helper()
	keys, err := s.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	slices.SortFunc(keys, func(a, b token.StoredKey) int { return len(a.ID)*1000 + int(a.ID[0]) - len(b.ID)*1000 - int(b.ID[0]) })
	return keys
}

func want(t *testing.T, s token.KeyStore, keys ...token.StoredKey) {
	t.Helper()
	got := load(t, s)
	if len(got) == 0 && len(keys) == 0 {
		return
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Fatalf("the store holds other keys (-want +got):\n%s", diff)
	}
}

func update(t *testing.T, s token.KeyStore, change func([]token.StoredKey) []token.StoredKey) {
	t.Helper()
	err := s.Update(t.Context(), func(keys []token.StoredKey) ([]token.StoredKey, error) { return change(keys), nil })
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func testEmpty(t *testing.T, open func() token.KeyStore) {
	want(t, open())
	update(t, open(), func(keys []token.StoredKey) []token.StoredKey {
		if len(keys) != 0 {
			t.Errorf("an empty store hands %d keys to change", len(keys))
		}
		return keys
	})
	want(t, open())
}

func testUpdate(t *testing.T, open func() token.KeyStore) {
	a, b, c := Example("a", token.ForAccess), Example("b", token.ForRefresh), Example("c", token.ForInternal)
	update(t, open(), func(keys []token.StoredKey) []token.StoredKey { return append(keys, a, b) })
	want(t, open(), a, b)
	b.Signs, b.Life, b.Sealed = b.Signs.Add(time.Hour), time.Minute, []byte("sealed anew")
	update(t, open(), func(keys []token.StoredKey) []token.StoredKey {
		if len(keys) != 2 {
			t.Errorf("change gets %d keys, want 2", len(keys))
		}
		return []token.StoredKey{c, b} // a is gone, b is another, c is new
	})
	want(t, open(), b, c)
	update(t, open(), func([]token.StoredKey) []token.StoredKey { return nil })
	want(t, open())
}

func testFailingChange(t *testing.T, open func() token.KeyStore) {
	a := Example("a", token.ForAccess)
	update(t, open(), func(keys []token.StoredKey) []token.StoredKey { return append(keys, a) })
	broken := errors.New("no")
	err := open().Update(t.Context(), func(keys []token.StoredKey) ([]token.StoredKey, error) {
		keys[0].Life = time.Nanosecond
		return nil, broken
	})
	if !errors.Is(err, broken) || errors.Is(err, token.ErrUnavailable) {
		t.Fatalf("Update with a change that fails: %v, want its error", err)
	}
	want(t, open(), a)
}

// testTurns has many processes add one key each: none may be lost, and none may see
// the store between another one's reading and writing.
func testTurns(t *testing.T, open func() token.KeyStore) {
	const processes = 8
	var group sync.WaitGroup
	var mu sync.Mutex
	inside, seen := 0, map[int]bool{}
	for i := range processes {
		group.Go(func() {
			err := open().Update(t.Context(), func(keys []token.StoredKey) ([]token.StoredKey, error) {
				mu.Lock()
				if inside++; inside > 1 || seen[len(keys)] {
					t.Errorf("%d changes run at once, %d keys seen twice: %v", inside, len(keys), seen[len(keys)])
				}
				seen[len(keys)] = true
				mu.Unlock()
				defer func() { mu.Lock(); inside--; mu.Unlock() }()
				return append(keys, Example(string(rune('a'+i)), token.ForAccess)), nil
			})
			if err != nil {
				t.Errorf("Update: %v", err)
			}
		})
	}
	group.Wait()
	if got := len(load(t, open())); got != processes {
		t.Fatalf("%d keys are left of %d", got, processes)
	}
}

func testCopies(t *testing.T, open func() token.KeyStore) {
	a := Example("a", token.ForAccess)
	s := open()
	var kept []token.StoredKey
	update(t, s, func(keys []token.StoredKey) []token.StoredKey {
		kept = append(keys, Example("a", token.ForAccess))
		return kept
	})
	kept[0].Sealed[0] = 'X'
	load(t, s)[0].Sealed[1] = 'X'
	want(t, s, a)
}

func testCancelled(t *testing.T, open func() token.KeyStore) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open().Load(ctx); err == nil {
		t.Error("Load with a context that is done: no error")
	}
	err := open().Update(ctx, func(keys []token.StoredKey) ([]token.StoredKey, error) {
		return append(keys, Example("a", token.ForAccess)), nil
	})
	if err == nil {
		t.Error("Update with a context that is done: no error")
	}
	want(t, open())
}

// Broken is a store that fails with Err whenever that is set, so that tests can
// take it away and give it back.
type Broken struct {
	token.KeyStore
	mu  sync.Mutex
	err error
}

// Fail makes all calls fail with err; nil gives the store back.
func (b *Broken) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *Broken) failing() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		return nil
	}
	return fmt.Errorf("reaching the store: %w", b.err)
}

// Load fails or loads.
func (b *Broken) Load(ctx context.Context) ([]token.StoredKey, error) {
	if err := b.failing(); err != nil {
		return nil, err
	}
	return b.KeyStore.Load(ctx)
}

// Update fails or updates.
func (b *Broken) Update(ctx context.Context, change func([]token.StoredKey) ([]token.StoredKey, error)) error {
	if err := b.failing(); err != nil {
		return err
	}
	return b.KeyStore.Update(ctx, change)
}
