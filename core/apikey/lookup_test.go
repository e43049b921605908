package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
)

func TestAK2_AnEntryLivesForAMinute(t *testing.T) {
	r := newRig(t, nil)
	secret, _ := r.create(apikey.NewKey{})
	r.store.loads.Store(0)
	for range 100 {
		r.wants(secret, nil)
	}
	r.clock.Advance(time.Minute - 1)
	r.wants(secret, nil)
	if n := r.store.loads.Load(); n != 1 {
		t.Fatalf("the store was asked %d times in a minute", n)
	}
	r.clock.Advance(1)
	r.wants(secret, nil)
	if n := r.store.loads.Load(); n != 2 {
		t.Fatalf("the store was asked %d times in two minutes", n)
	}
	if h, m := r.outcome("cache", "hit"), r.outcome("cache", "miss"); h != 100 || m != 2 {
		t.Fatalf("%d hits, %d misses", h, m)
	}
}

func TestAKeyInUseIsReadAhead(t *testing.T) {
	r := newRig(t, nil)
	r.run()
	secret, _ := r.create(apikey.NewKey{})
	r.settled(2)
	r.wants(secret, nil)
	r.store.loads.Store(0)
	misses := r.outcome("cache", "miss")
	r.clock.Advance(56 * time.Second)
	r.wants(secret, nil) // a hit, which orders it
	r.eventually("it was read ahead", func() bool { return r.store.loads.Load() == 1 && r.outcome("cache", "miss") == misses+1 })
	r.clock.Advance(30 * time.Second)
	r.wants(secret, nil)
	if n := r.store.loads.Load(); n != 1 {
		t.Fatalf("the store was asked %d times", n)
	}
}

func TestI10_UnknownIdsAreAskedForOnce(t *testing.T) {
	r := newRig(t, nil)
	nobody := keyOf("0000000000000000", strings.Repeat("x", 43))
	for range 10 {
		r.wants(nobody, apikey.ErrUnknown)
	}
	r.clock.Advance(5*time.Second - 1)
	r.wants(nobody, apikey.ErrUnknown)
	if n := r.store.loads.Load(); n != 1 {
		t.Fatalf("the store was asked %d times", n)
	}
	r.clock.Advance(1)
	r.wants(nobody, apikey.ErrUnknown)
	if n := r.store.loads.Load(); n != 2 {
		t.Fatalf("the store was asked %d times after five seconds", n)
	}
	if n := r.outcome("cache", "negative"); n != 10 {
		t.Fatalf("%d negative hits", n)
	}
}

// A key that is made while its id counts as unknown is good when the push comes.
func TestAKeyThatComesIntoBeing(t *testing.T) {
	r := newRig(t, nil)
	r.run()
	key := keyOf("0000000000000000", strings.Repeat("x", 43))
	r.wants(key, apikey.ErrUnknown)
	record := apikey.Record{ID: "0000000000000000", User: "u", Active: true, Revision: 1, Versions: []apikey.Version{{Number: 1}}}
	_, record.Versions[0].Hash, _ = apikey.HashOf(key)
	if err := r.store.Memory.Create(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is good", func() bool { _, err := r.Check([]byte(key), anywhere); return err == nil })
}

func TestI10_MissesOfOneKeyAreOneFlight(t *testing.T) {
	r := newRig(t, nil)
	secret, _ := r.create(apikey.NewKey{})
	r.store.loads.Store(0)
	hold, there := make(chan struct{}), make(chan struct{})
	r.store.onLoad(func(*apikey.Record, *error) { close(there); <-hold })
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := r.Check([]byte(secret), anywhere); err != nil {
				t.Error(err)
			}
		})
	}
	<-there
	close(hold)
	all.Wait()
	if n := r.store.loads.Load(); n != 1 {
		t.Fatalf("the store was asked %d times", n)
	}
}

// A flood of made-up ids holds a bounded number of lookups; a known key is not kept waiting.
func TestI10_AFloodOfUnknownIdsIsBounded(t *testing.T) {
	r := newRig(t, nil)
	secret, _ := r.create(apikey.NewKey{})
	r.wants(secret, nil)
	hold := make(chan struct{})
	var mu sync.Mutex
	at, most := 0, 0
	r.store.onLoad(func(*apikey.Record, *error) {
		mu.Lock()
		at++
		most = max(most, at)
		mu.Unlock()
		<-hold
		mu.Lock()
		at--
		mu.Unlock()
	})
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			_, err := r.Check([]byte(keyOf(fmt.Sprintf("%016d", i), strings.Repeat("x", 43))), anywhere)
			if !errors.Is(err, apikey.ErrUnknown) && !errors.Is(err, apikey.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	r.eventually("the lookups are all taken", func() bool { mu.Lock(); defer mu.Unlock(); return at == 32 })
	begun := time.Now()
	r.wants(secret, nil)
	if d := time.Since(begun); d > time.Second {
		t.Errorf("a known key took %s", d)
	}
	close(hold)
	all.Wait()
	if most != 32 {
		t.Errorf("%d lookups at a time", most)
	}
}

func TestI18_BothStoresAway(t *testing.T) {
	for name, shelf := range map[string]*apikeytest.Shelf{"alone": nil, "with a shared tier": {}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, shelf)
			secret, _ := r.create(apikey.NewKey{})
			unseen, _ := r.create(apikey.NewKey{})
			r.wants(secret, nil)
			r.store.away.Store(true)
			if shelf != nil {
				shelf.Down(true)
			}
			r.wants(unseen, apikey.ErrUnavailable)
			r.clock.Advance(time.Second)
			for at := time.Second; at <= 15*time.Minute; at += 30 * time.Second {
				r.wants(secret, nil)
				r.clock.Advance(30 * time.Second)
			}
			r.wants(secret, apikey.ErrUnavailable)
			if r.outcome("cache", "stale") == 0 || r.refused("unavailable") != 2 {
				t.Errorf("%d stale, %d unavailable", r.outcome("cache", "stale"), r.refused("unavailable"))
			}
			r.store.away.Store(false)
			r.clock.Advance(time.Second)
			r.wants(secret, nil)
			r.wants(unseen, nil)
		})
	}
}

// While the stores are away they are asked a few times a second, not by every request.
func TestStoresThatAreAwayAreLeftAlone(t *testing.T) {
	r := newRig(t, nil)
	secret, _ := r.create(apikey.NewKey{})
	r.wants(secret, nil)
	r.store.away.Store(true)
	r.store.loads.Store(0)
	r.clock.Advance(time.Minute)
	for i := range 100 {
		r.wants(secret, nil)
		r.wants(keyOf(fmt.Sprintf("%016d", i), strings.Repeat("x", 43)), apikey.ErrUnavailable)
	}
	if n := r.store.loads.Load(); n != 1 {
		t.Fatalf("the store was asked %d times", n)
	}
}

// One broken row refuses its own key, at once, and no other.
func TestARecordThatIsBroken(t *testing.T) {
	r := newRig(t, nil)
	bad, key := r.create(apikey.NewKey{})
	good, _ := r.create(apikey.NewKey{})
	r.wants(bad, nil)
	r.store.onLoad(func(k *apikey.Record, _ *error) {
		if k.ID == key.Principal.Key {
			k.Scopes = []string{"a\r\nX-Admin: 1"}
		}
	})
	r.clock.Advance(time.Minute)
	r.wants(bad, apikey.ErrUnavailable)
	r.wants(good, nil)
	r.store.onLoad(func(k *apikey.Record, _ *error) { k.ID = "0000000000000000" })
	r.clock.Advance(time.Minute)
	r.wants(good, apikey.ErrUnavailable)
}

func TestAPanicOfTheStoreHoldsNobody(t *testing.T) {
	r := newRig(t, nil)
	secret, _ := r.create(apikey.NewKey{})
	hold, there := make(chan struct{}), make(chan struct{})
	r.store.onLoad(func(*apikey.Record, *error) { close(there); <-hold; panic("a bug") })
	var all sync.WaitGroup
	all.Go(func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = r.Check([]byte(secret), anywhere)
	})
	<-there
	r.store.onLoad(nil)
	for range 20 { // these wait for the flight, or come too late for it
		all.Go(func() {
			if _, err := r.Check([]byte(secret), anywhere); err != nil && !errors.Is(err, apikey.ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	close(hold)
	all.Wait()
	r.wants(secret, nil)
}

// revoke changes the store behind the instances' backs, as another process does.
func revoke(t *testing.T, s *store, id string) {
	t.Helper()
	r, err := s.Memory.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.Active = false
	r.Revision++
	if err := s.Update(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// A revocation that comes between the reading and the keeping of a record is not lost.
func TestI18_ARevocationOvertakesALookup(t *testing.T) {
	r := newRig(t, nil)
	r.run()
	secret, key := r.create(apikey.NewKey{})
	r.settled(2)
	pushed := func() uint64 { return r.count("gateway_api_key_pushes_total") }
	before := pushed()
	once := false
	r.store.onLoad(func(*apikey.Record, *error) {
		if !once {
			once = true
			revoke(t, r.store, key.Principal.Key)
			r.eventually("the push came", func() bool { return pushed() > before })
		}
	})
	r.wants(secret, apikey.ErrInactive)
	r.wants(secret, apikey.ErrInactive)
}

// A key that changes under every reading is still answered, and not kept.
func TestAKeyThatNeverStandsStill(t *testing.T) {
	r := newRig(t, nil)
	r.run()
	secret, key := r.create(apikey.NewKey{})
	r.settled(2)
	r.store.loads.Store(0)
	r.store.onLoad(func(*apikey.Record, *error) {
		before := r.count("gateway_api_key_pushes_total")
		now, _ := r.store.Memory.Load(context.Background(), key.Principal.Key)
		now.Revision++
		_ = r.store.Update(context.Background(), now)
		r.eventually("the push came", func() bool { return r.count("gateway_api_key_pushes_total") > before })
	})
	r.wants(secret, nil)
	if n := r.store.loads.Load(); n != 3 {
		t.Fatalf("read %d times", n)
	}
	r.wants(secret, nil)
	if n := r.store.loads.Load(); n != 6 {
		t.Fatalf("read %d times: what is doubtful was kept", n)
	}
}
