package revocationtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/revocation"
)

// patience is how long anything may take here.
const patience = 30 * time.Second

// Eventually polls until ok says yes.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func hence(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// sorted returns entries by key, each merged as a mirror would.
func sorted(entries []revocation.Entry) []revocation.Entry {
	merged := map[string]revocation.Entry{}
	for _, e := range entries {
		if old, known := merged[e.Key]; known {
			e = old.Merge(e)
		}
		merged[e.Key] = e
	}
	out := make([]revocation.Entry, 0, len(merged))
	for _, e := range merged {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b revocation.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func same(t *testing.T, got []revocation.Entry, want ...revocation.Entry) {
	t.Helper()
	if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// merges are pairs of entries that meet, and what comes of it.
func merges() [][3]revocation.Entry {
	near, far := hence(time.Hour), hence(2*time.Hour)
	of := func(k string, notBefore, expires int64) revocation.Entry {
		return revocation.Entry{Key: k, NotBefore: notBefore, Expires: expires}
	}
	return [][3]revocation.Entry{
		{of("later", 0, near), of("later", 0, far), of("later", 0, far)},
		{of("sooner", 0, far), of("sooner", 0, near), of("sooner", 0, far)},
		{of("user:all", 0, near), of("user:all", 50, far), of("user:all", 0, far)},
		{of("user:then-all", 50, far), of("user:then-all", 0, near), of("user:then-all", 0, far)},
		{of("user:up", 9, near), of("user:up", 10, near), of("user:up", 10, near)},
		{of("user:down", 10, near), of("user:down", 9, far), of("user:down", 10, far)},
		{of("user:a%3Ab", 1, near), of("user:a%3Ab", 1, near), of("user:a%3Ab", 1, near)},
	}
}

// TestDurable holds a durable store to its contract. open returns a function that
// connects to one fresh store, each time as another instance would.
func TestDurable(t *testing.T, open func(t *testing.T) (connect func() revocation.Durable)) {
	t.Run("what is saved is seen by others, once and merged", func(t *testing.T) {
		connect := open(t)
		a, b := connect(), connect()
		cursor := whole(t, b)
		made := merges() // once: each call reads the clock
		for _, m := range made {
			save(t, a, m[0])
			one, next := since(t, b, cursor)
			same(t, only(one, m[0].Key), m[0])
			save(t, b, m[1])
			var two []revocation.Entry
			two, cursor = since(t, b, next)
			same(t, only(append(one, two...), m[0].Key), m[2])
		}
		all, _ := since(t, a, "")
		same(t, all, results(made)...)
	})
	t.Run("a batch with one key twice", func(t *testing.T) {
		d := open(t)()
		e := revocation.Entry{Key: "twice", NotBefore: 5, Expires: hence(time.Hour)}
		later := e
		later.NotBefore = 7
		save(t, d, e, later, e)
		all, _ := since(t, d, "")
		same(t, all, later)
		save(t, d)
	})
	t.Run("nothing is missed whatever order savers end in", func(t *testing.T) { testNothingMissed(t, open) })
	t.Run("purged is what expired before", func(t *testing.T) {
		d := open(t)()
		kept := revocation.Entry{Key: "kept", Expires: hence(time.Hour)}
		save(t, d, kept, revocation.Entry{Key: "gone", Expires: hence(time.Minute)})
		if err := d.Purge(t.Context(), hence(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		if all, _ := since(t, d, ""); len(all) > 0 {
			same(t, only(all, "kept"), kept)
		} else {
			t.Error("what had not expired was purged")
		}
	})
	t.Run("a caller who left", func(t *testing.T) {
		d := open(t)()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.Watch(ctx, func() {})
		}()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("Watch goes on after its context is done")
		}
	})
}

func testNothingMissed(t *testing.T, open func(t *testing.T) func() revocation.Durable) {
	connect := open(t)
	reader := connect()
	const savers, each = 4, 25
	var group sync.WaitGroup
	for s := range savers {
		d := connect()
		group.Go(func() {
			for i := range each {
				if err := d.Save(t.Context(), []revocation.Entry{{Key: fmt.Sprintf("s%d-%d", s, i), Expires: hence(time.Hour)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[string]struct{}{}
	cursor := whole(t, reader)
	note := func() {
		got, next := since(t, reader, cursor)
		cursor = next
		for _, e := range got {
			seen[e.Key] = struct{}{}
		}
	}
	for _, e := range func() []revocation.Entry { all, _ := since(t, reader, ""); return all }() {
		seen[e.Key] = struct{}{}
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
		}
		note()
	}
	if len(seen) != savers*each {
		t.Errorf("%d of %d were seen", len(seen), savers*each)
	}
}

func results(made [][3]revocation.Entry) (out []revocation.Entry) {
	for _, m := range made {
		out = append(out, m[2])
	}
	return out
}

func only(entries []revocation.Entry, key string) (out []revocation.Entry) {
	for _, e := range entries {
		if e.Key == key {
			out = append(out, e)
		}
	}
	return out
}

func save(t *testing.T, d revocation.Durable, entries ...revocation.Entry) {
	t.Helper()
	if err := d.Save(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

func since(t *testing.T, d revocation.Durable, cursor string) ([]revocation.Entry, string) {
	t.Helper()
	got, next, err := d.Since(t.Context(), cursor)
	if err != nil {
		t.Fatal(err)
	}
	return got, next
}

func whole(t *testing.T, d revocation.Durable) string {
	t.Helper()
	_, cursor := since(t, d, "")
	return cursor
}

// TestPush holds a push store to its contract. open returns a function that connects
// to one fresh store, each time as another instance would.
func TestPush(t *testing.T, open func(t *testing.T) (connect func() revocation.Push)) {
	t.Run("what is published is read by others, merged", func(t *testing.T) {
		connect := open(t)
		a, b := connect(), connect()
		made := merges() // once: each call reads the clock
		for _, m := range made {
			publish(t, a, m[0])
			publish(t, b, m[1])
			got, err := a.Read(t.Context(), []string{m[0].Key, "another"})
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, m[2])
		}
		all, err := b.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same(t, all, results(made)...)
	})
	t.Run("a follower learns that all is to be read, then of each key", func(t *testing.T) {
		connect := open(t)
		a, b := connect(), connect()
		news := follow(t, b)
		Eventually(t, "everything", func() bool { return news.everything() })
		want := map[string]bool{}
		for i := range 20 {
			k := fmt.Sprintf("key-%d", i)
			want[k] = true
			publish(t, a, revocation.Entry{Key: k, Expires: hence(time.Hour)})
		}
		Eventually(t, "all keys", func() bool {
			for k := range want {
				if !news.told(k) {
					return false
				}
			}
			return true
		})
	})
	t.Run("many at once", func(t *testing.T) {
		p := open(t)()
		var many []revocation.Entry
		for i := range 1500 {
			many = append(many, revocation.Entry{Key: fmt.Sprintf("user:m%d", i), NotBefore: int64(i), Expires: hence(time.Hour)})
		}
		publish(t, p, many...)
		all, err := p.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same(t, all, many...)
	})
}

func publish(t *testing.T, p revocation.Push, entries ...revocation.Entry) {
	t.Helper()
	if err := p.Publish(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

// heard is all that a follower was told.
type heard struct {
	mu   sync.Mutex
	keys map[string]bool
	all  bool
}

func (h *heard) everything() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}

func (h *heard) told(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keys[key]
}

// follow follows a store until the test ends.
func follow(t *testing.T, p revocation.Push) *heard {
	h := &heard{keys: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Follow(ctx, func(n revocation.News) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.all = h.all || n.Everything
			for _, k := range n.Keys {
				h.keys[k] = true
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return h
}
