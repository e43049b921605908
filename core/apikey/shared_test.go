package apikey_test

import (
	"errors"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
)

// trusting is an instance that has run for long enough to believe the shared tier.
func trusting(t *testing.T, s *store, shelf *apikeytest.Shelf) *rig {
	var r *rig
	if s == nil {
		r = newRig(t, shelf)
	} else {
		r = rigOn(t, s, shelf)
	}
	r.run()
	r.clock.Advance(apikey.SharedLife)
	return r
}

func TestAK2_InstancesShareWhatOneHasRead(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	one := trusting(t, nil, shelf)
	two := trusting(t, one.store, shelf)
	secret, key := one.create(apikey.NewKey{})
	one.wants(secret, nil)
	one.eventually("it is shared", func() bool { return shelf.Under(key.Principal.Key).Found })
	two.settled(2)
	one.store.away.Store(true)
	two.wants(secret, nil)
	if n := two.outcome("shared", "hit"); n != 1 {
		t.Fatalf("%d hits of the shared tier", n)
	}
}

// The age of a record counts where it is kept, so that a key does not outlive the
// stale limit by being passed around.
func TestI18_StaleLimitCountsTheTimeInTheSharedTier(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := trusting(t, nil, shelf)
	secret, key := r.create(apikey.NewKey{})
	record, err := r.store.Load(t.Context(), key.Principal.Key)
	if err != nil {
		t.Fatal(err)
	}
	r.settled(3)
	shelf.Plant(record.ID, apikey.Shelved{Found: true, Record: record, Revision: record.Revision, Age: 4 * time.Minute})
	r.wants(secret, nil)
	if r.outcome("shared", "hit") != 1 {
		t.Fatal("it did not come from the shared tier")
	}
	r.store.away.Store(true)
	shelf.Down(true)
	r.clock.Advance(11*time.Minute - time.Second)
	r.wants(secret, nil)
	r.clock.Advance(2 * time.Second)
	r.wants(secret, apikey.ErrUnavailable)
}

func TestI18_WhatIsNoGoodInTheSharedTier(t *testing.T) {
	for name, change := range map[string]func(*apikey.Shelved){
		"another key's":    func(s *apikey.Shelved) { s.Record.ID = "0000000000000000" },
		"broken":           func(s *apikey.Shelved) { s.Record.Scopes = []string{"\x00"} },
		"another revision": func(s *apikey.Shelved) { s.Revision++ },
		"no secret":        func(s *apikey.Shelved) { s.Record.Versions = nil },
	} {
		t.Run(name, func(t *testing.T) {
			shelf := new(apikeytest.Shelf)
			r := trusting(t, nil, shelf)
			secret, key := r.create(apikey.NewKey{})
			record, err := r.store.Load(t.Context(), key.Principal.Key)
			if err != nil {
				t.Fatal(err)
			}
			s := apikey.Shelved{Found: true, Record: record, Revision: record.Revision}
			s.Record.User = "mallory"
			change(&s)
			shelf.Plant(record.ID, s)
			r.settled(3)
			got, err := r.Check([]byte(secret), anywhere)
			if err != nil || got.Principal.User != "" || r.outcome("shared", "invalid") != 1 {
				t.Fatalf("got %+v, %v; %d invalid", got, err, r.outcome("shared", "invalid"))
			}
		})
	}
}

// A revocation that the shared tier missed: its old record comes back with it, and
// nobody believes it; then it gets its tombstone.
func TestI18_AnOldRecordDoesNotComeBack(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	one := trusting(t, nil, shelf)
	two := trusting(t, one.store, shelf)
	secret, key := one.create(apikey.NewKey{})
	id := key.Principal.Key
	one.wants(secret, nil)
	two.wants(secret, nil)
	one.eventually("it is shared", func() bool { return shelf.Under(id).Found })
	shelf.Down(true)
	revoke(t, one.store, id)
	for _, r := range []*rig{one, two} {
		r.eventually("it is refused", func() bool { _, err := r.Check([]byte(secret), anywhere); return errors.Is(err, apikey.ErrInactive) })
	}
	one.store.away.Store(true) // nobody but the shared tier could answer, and it would be wrong
	one.clock.Advance(time.Minute)
	shelf.Down(false)
	one.eventually("the old record is buried", func() bool { one.clock.Advance(time.Second); return shelf.Under(id).Revision == 2 })
	if _, err := one.Check([]byte(secret), anywhere); err == nil {
		t.Fatal("a revoked key is good again")
	}
	one.store.away.Store(false)
	one.clock.Advance(time.Minute)
	one.wants(secret, apikey.ErrInactive)
}

// A refill by a reader who was slow comes after the tombstone, and is refused.
func TestI18_AStaleRefillDoesNotResurrect(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := trusting(t, nil, shelf)
	secret, key := r.create(apikey.NewKey{})
	id := key.Principal.Key
	old, err := r.store.Load(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := shelf.Put(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if got := shelf.Under(id); got.Found || got.Revision != 2 {
		t.Fatalf("the shared tier has %+v", got)
	}
	r.wants(secret, apikey.ErrInactive)
}

// The tombstone alone tells an instance which hears nothing from the store that
// what it has is wrong, even while nobody can say what is right.
func TestI18_ATombstoneEndsAStaleEntry(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := trusting(t, nil, shelf)
	secret, key := r.create(apikey.NewKey{})
	r.settled(3)
	r.wants(secret, nil)
	r.store.away.Store(true)
	if err := shelf.Bury(t.Context(), key.Principal.Key, 2); err != nil {
		t.Fatal(err)
	}
	r.wants(secret, apikey.ErrUnavailable)
}

// Until an instance knows that no tombstone was lost, the store is asked first, and
// the shared tier only if the store is away.
func TestI18_TheSharedTierIsAskedLastAfterALostPush(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := newRig(t, shelf)
	r.run()
	secret, key := r.create(apikey.NewKey{})
	record, err := r.store.Load(t.Context(), key.Principal.Key)
	if err != nil {
		t.Fatal(err)
	}
	r.settled(3)
	record.User = "as-it-was"
	shelf.Plant(record.ID, apikey.Shelved{Found: true, Record: record, Revision: record.Revision})
	user := func() string {
		t.Helper()
		k, err := r.Check([]byte(secret), anywhere)
		if err != nil {
			t.Fatal(err)
		}
		return k.Principal.User
	}
	if u := user(); u != "" {
		t.Fatalf("at the start: %q", u)
	}
	r.clock.Advance(apikey.SharedLife)
	r.eventually("it is believed when all is well", func() bool { r.clock.Advance(time.Minute); return user() == "as-it-was" })
	shelf.Down(false) // it tells that it was away
	r.clock.Advance(time.Second)
	if u := user(); u != "" {
		t.Fatalf("after a lost push: %q", u)
	}
	r.store.away.Store(true)
	r.clock.Advance(time.Minute)
	if u := user(); u != "as-it-was" {
		t.Fatalf("with the store away: %q", u)
	}
}

// A shared tier that is down costs one failed call now and then.
func TestASharedTierThatIsDownIsLeftAlone(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := trusting(t, nil, shelf)
	shelf.Down(true)
	before := shelf.Loads()
	for range 50 {
		secret, _ := r.create(apikey.NewKey{})
		r.wants(secret, nil)
	}
	if n := shelf.Loads() - before; n > 1 {
		t.Fatalf("it was asked %d times", n)
	}
	r.eventually("the failure is counted", func() bool { return r.outcome("shared", "failed") > 0 })
}

// More changes than can wait for the shared tier: it is not believed until all
// that was there has died.
func TestMoreTombstonesThanCanWait(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := trusting(t, nil, shelf)
	secret, key := r.create(apikey.NewKey{})
	r.wants(secret, nil)
	r.eventually("it is shared", func() bool { return shelf.Under(key.Principal.Key).Found })
	planted := shelf.Under(key.Principal.Key)
	shelf.Down(true)
	revoke(t, r.store, key.Principal.Key)
	pushes := r.count("gateway_api_key_pushes_total")
	record := apikeytest.Record(1, apikeytest.Client(1).ID)
	const many = 10_001
	for i := range many {
		record.ID = "Many" + string([]byte{'0' + byte(i/100000%10), '0' + byte(i/10000%10), '0' + byte(i/1000%10), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)}) + "000000"
		if err := r.store.Memory.Create(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 { // no faster than a watcher can follow
			want := pushes + uint64(i)
			r.eventually("the pushes came", func() bool { return r.count("gateway_api_key_pushes_total") >= want })
		}
	}
	shelf.Down(false)
	shelf.Plant(key.Principal.Key, planted)
	r.clock.Advance(time.Minute)
	r.wants(secret, apikey.ErrInactive)
}

func TestPushesOfGarbage(t *testing.T) {
	shelf := new(apikeytest.Shelf)
	r := trusting(t, nil, shelf)
	secret, _ := r.create(apikey.NewKey{})
	r.wants(secret, nil)
	loads := r.store.loads.Load()
	shelf.Plant("x", apikey.Shelved{})
	if err := shelf.Bury(t.Context(), "no id", 1<<62); err != nil {
		t.Fatal(err)
	}
	r.wants(secret, nil)
	if n := r.store.loads.Load(); n != loads {
		t.Fatalf("the store was asked %d times", n-loads)
	}
}
