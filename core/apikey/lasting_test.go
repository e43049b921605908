package apikey_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
)

// lasting is one stream on behalf of each key that it holds.
type lasting struct {
	mu    sync.Mutex
	holds map[string]bool
	ended []string
}

func (l *lasting) hold(ids ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.holds[id] = true
	}
}

func (l *lasting) Keys() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.holds {
		ids = append(ids, id)
	}
	return append(ids, "not an id")
}

func (l *lasting) HoldsKey(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holds[id]
}

func (l *lasting) EndKey(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holds[id] {
		l.ended = append(l.ended, id)
		delete(l.holds, id)
	}
}

func (l *lasting) has(ended ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(ended)
	slices.Sort(l.ended)
	return slices.Equal(l.ended, ended)
}

func lastingRig(t *testing.T, shelf *apikeytest.Shelf) (*rig, *lasting) {
	m, err := apikey.NewMemory(nil, []apikey.Client{apikeytest.Client(1)})
	if err != nil {
		t.Fatal(err)
	}
	l := &lasting{holds: map[string]bool{}}
	return rigOf(t, &store{Memory: m}, shelf, func(o *apikey.Options) { o.Lasting = l }), l
}

// What lasts ends when its key is switched off, and by no other change; whether a
// request shows the key meanwhile, or it is in the cache at all, does not matter.
func TestI21_WhatLastsEndsWithItsKey(t *testing.T) {
	r, l := lastingRig(t, nil)
	r.run()
	used, a := r.create(apikey.NewKey{})
	_, b := r.create(apikey.NewKey{})
	rotated, c := r.create(apikey.NewKey{})
	_, d := r.create(apikey.NewKey{})
	r.settled(8)
	r.wants(used, nil)
	r.wants(rotated, nil)
	l.hold(a.Principal.Key, b.Principal.Key, c.Principal.Key)
	if _, err := r.Rotate(t.Context(), c.Principal.Key, time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{a.Principal.Key, b.Principal.Key, d.Principal.Key} {
		revoke(t, r.store, id)
	}
	r.eventually("two end", func() bool { return l.has(a.Principal.Key, b.Principal.Key) })
	r.wants(rotated, nil)
	if !l.has(a.Principal.Key, b.Principal.Key) {
		t.Errorf("ended %v", l.ended)
	}
}

// A request that finds a key switched off ends what lasts on its behalf, for its push
// may come late or never.
func TestI21_WhatLastsEndsWithWhatARequestFinds(t *testing.T) {
	r, l := lastingRig(t, nil)
	secret, key := r.create(apikey.NewKey{})
	r.wants(secret, nil)
	l.hold(key.Principal.Key)
	revoke(t, r.store, key.Principal.Key)
	r.clock.Advance(2 * time.Minute)
	r.wants(secret, apikey.ErrInactive)
	if !l.has(key.Principal.Key) {
		t.Error("it goes on")
	}
}

// After a push was lost, what no request shows again is read as well.
func TestI21_WhatLastsIsReadAfterALostPush(t *testing.T) {
	r, l := lastingRig(t, nil)
	_, key := r.create(apikey.NewKey{})
	_, other := r.create(apikey.NewKey{})
	l.hold(key.Principal.Key, other.Principal.Key)
	revoke(t, r.store, key.Principal.Key)
	r.run() // whose first connection is one that may have missed something
	r.eventually("it ends", func() bool { return l.has(key.Principal.Key) })
}

// Each tier tells of it, whichever is first.
func TestI21_WhatLastsIsReadWhenTheSharedTierTells(t *testing.T) {
	shelf := &apikeytest.Shelf{}
	r, l := lastingRig(t, shelf)
	secret, key := r.create(apikey.NewKey{})
	r.wants(secret, nil)
	r.run()
	l.hold(key.Principal.Key)
	r.settled(0)
	if err := r.Revoke(t.Context(), key.Principal.Key); err != nil {
		t.Fatal(err)
	}
	r.eventually("it ends", func() bool { return l.has(key.Principal.Key) })
}

// Ended knows what the caches do, and looks for the rest.
func TestI21_Ended(t *testing.T) {
	r, l := lastingRig(t, nil)
	r.run()
	secret, key := r.create(apikey.NewKey{})
	r.settled(2)
	r.wants(secret, nil)
	if r.Ended(key.Principal.Key) || r.Ended("not an id") {
		t.Error("a good key is none that ended")
	}
	_, off := r.create(apikey.NewKey{})
	const unknown = "0000000000000000"
	revoke(t, r.store, off.Principal.Key)
	l.hold(off.Principal.Key, unknown)
	_, _ = r.Ended(off.Principal.Key), r.Ended(unknown) // as what comes asks, after it is known
	r.eventually("what is not known is looked for", func() bool { return l.has(off.Principal.Key, unknown) })
	if !r.Ended(off.Principal.Key) || !r.Ended(unknown) {
		t.Error("what ended is known by now")
	}
}
