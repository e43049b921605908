package apikeytest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
)

// Shelf is a shared tier in memory, for tests that need no Redis. Its zero value
// is empty; Down makes it answer nothing.
type Shelf struct {
	mu       sync.Mutex
	down     bool
	kept     map[string]apikey.Shelved
	watchers []func(string)
	loads    int
}

var _ apikey.Shared = (*Shelf)(nil)

// Down takes the shelf away, or brings it back; what is on it stays, and watchers
// hear that they may have missed something once it is back.
func (s *Shelf) Down(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
	if !down {
		s.tell("")
	}
}

// Loads is how often somebody asked.
func (s *Shelf) Loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

// Plant puts anything there, as an attacker or an old writer would, and tells nobody.
func (s *Shelf) Plant(id string, what apikey.Shelved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(id, what)
}

// Under is what is there.
func (s *Shelf) Under(id string) apikey.Shelved {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[id]
}

func (s *Shelf) keep(id string, what apikey.Shelved) {
	if s.kept == nil {
		s.kept = map[string]apikey.Shelved{}
	}
	s.kept[id] = what
}

func (s *Shelf) tell(id string) {
	s.mu.Lock()
	watchers := s.watchers
	s.mu.Unlock()
	for _, w := range watchers {
		w(id)
	}
}

// Load returns what is there.
func (s *Shelf) Load(_ context.Context, id string) (apikey.Shelved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	if s.down {
		return apikey.Shelved{}, apikey.ErrUnavailable
	}
	return s.kept[id], nil
}

// Put keeps a record.
func (s *Shelf) Put(_ context.Context, r apikey.Record) error {
	s.mu.Lock()
	has := s.kept[r.ID]
	switch {
	case s.down:
		s.mu.Unlock()
		return apikey.ErrUnavailable
	case has.Revision > r.Revision || has.Found && has.Revision == r.Revision:
		s.mu.Unlock()
		return nil
	}
	s.keep(r.ID, apikey.Shelved{Found: true, Record: r, Revision: r.Revision})
	s.mu.Unlock()
	s.tell(r.ID)
	return nil
}

// Bury leaves a tombstone.
func (s *Shelf) Bury(_ context.Context, id string, revision int64) error {
	s.mu.Lock()
	switch {
	case s.down:
		s.mu.Unlock()
		return apikey.ErrUnavailable
	case s.kept[id].Revision >= revision:
		s.mu.Unlock()
		return nil
	}
	s.keep(id, apikey.Shelved{Revision: revision})
	s.mu.Unlock()
	s.tell(id)
	return nil
}

// Watch tells of changes until ctx is done.
func (s *Shelf) Watch(ctx context.Context, changed func(string)) {
	s.mu.Lock()
	s.watchers = append(s.watchers, changed)
	s.mu.Unlock()
	changed("")
	<-ctx.Done()
}

// TestShared is what every shared tier must do; newShared returns an empty one.
func TestShared(t *testing.T, newShared func(t *testing.T) apikey.Shared) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, apikey.Shared)
	}{
		{"what was put is loaded", putsAndLoads},
		{"I18: an older record is refused", refusesOlder},
		{"changes are pushed", tellsChanges},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newShared(t)) })
	}
}

func putsAndLoads(t *testing.T, s apikey.Shared) {
	ctx := t.Context()
	r := withOwner(Record(1, Client(1).ID), Client(1))
	r.LastUsed, r.Revision = 77, 4
	r.Versions = append(r.Versions, apikey.Version{Number: 2, Hash: apikey.Hash{5}, Created: 8})
	r.Versions[0].Until = 9
	bare := apikey.Record{ID: "Bare000000000000", User: "u-1", Revision: 1, Versions: Record(2, "").Versions}
	for _, want := range []apikey.Record{r, bare} {
		got, err := s.Load(ctx, want.ID)
		must(t, err)
		same(t, got, apikey.Shelved{})
		must(t, s.Put(ctx, want))
		got, err = s.Load(ctx, want.ID)
		must(t, err)
		if got.Age < 0 || got.Age > time.Minute {
			t.Errorf("the record is %s old", got.Age)
		}
		got.Age = 0
		same(t, got, apikey.Shelved{Found: true, Record: want, Revision: want.Revision})
	}
}

func refusesOlder(t *testing.T, s apikey.Shared) {
	ctx := t.Context()
	at := func(revision int64, name string) apikey.Record {
		r := Record(1, Client(1).ID)
		r.Revision, r.Name = revision, name
		return r
	}
	expect := func(found bool, revision int64, name string) {
		t.Helper()
		got, err := s.Load(ctx, at(1, "").ID)
		must(t, err)
		if got.Found != found || got.Revision != revision || got.Record.Name != name {
			t.Fatalf("found %v, revision %d, name %q; want %v, %d, %q", got.Found, got.Revision, got.Record.Name, found, revision, name)
		}
	}
	must(t, s.Put(ctx, at(5, "five")))
	must(t, s.Put(ctx, at(4, "four")))
	expect(true, 5, "five")
	must(t, s.Put(ctx, at(5, "five again"))) // no write: it would wake every instance for nothing
	expect(true, 5, "five")
	must(t, s.Bury(ctx, at(1, "").ID, 5)) // the record is the one that the tombstone asks for
	expect(true, 5, "five")
	must(t, s.Bury(ctx, at(1, "").ID, 12))
	expect(false, 12, "")
	must(t, s.Put(ctx, at(9, "nine"))) // 9 comes before 12 as a number, and after it as text
	must(t, s.Put(ctx, at(11, "a refill that was slow")))
	must(t, s.Bury(ctx, at(1, "").ID, 7))
	expect(false, 12, "")
	must(t, s.Put(ctx, at(12, "twelve")))
	expect(true, 12, "twelve")
	must(t, s.Put(ctx, at(1<<53+1, "more than a double holds")))
	must(t, s.Put(ctx, at(1<<53, "one less")))
	expect(true, 1<<53+1, "more than a double holds")
}

func tellsChanges(t *testing.T, s apikey.Shared) {
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan string, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Watch(ctx, func(id string) { told <- id })
	}()
	defer func() { <-done }()
	defer cancel()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Fatalf("told %q, want %q", got, want)
			}
		case <-time.After(Patience):
			t.Fatalf("%q was not told", want)
		}
	}
	next("")
	r := Record(1, Client(1).ID)
	must(t, s.Put(ctx, r))
	next(r.ID)
	must(t, s.Bury(ctx, r.ID, 2))
	next(r.ID)
}
