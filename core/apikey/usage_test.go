package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/suuupra/gateway/core/apikey"
)

// rows are what the store knows of a key.
func (r *rig) rows(key *apikey.Key) []apikey.UsageRow {
	r.t.Helper()
	rows, err := r.store.Usage(r.t.Context(), key.Principal.Key, now.Add(-24*time.Hour), now.Add(240*time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	return rows
}

func (r *rig) used(key *apikey.Key, uses ...apikey.Use) {
	for _, u := range uses {
		r.Used(key, u)
	}
}

// flushes lets the interval pass until what is wanted is stored.
func (r *rig) flushes(key *apikey.Key, want ...apikey.UsageRow) {
	r.t.Helper()
	var got []apikey.UsageRow
	diff := func() string {
		return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(apikey.Usage{}, "LastUsed"))
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got = r.rows(key); diff() == "" {
			return
		}
	}
	r.t.Fatalf("(-want +got)\n%s", diff())
}

func row(key *apikey.Key, route string, hour time.Time, u apikey.Usage) apikey.UsageRow {
	return apikey.UsageRow{Key: key.Principal.Key, Version: key.Version, Route: route, Hour: hour.Truncate(time.Hour).Unix(), Usage: u}
}

func TestAK4_UsageByRouteHourAndVersion(t *testing.T) {
	r := newRig(t, nil)
	r.run()
	_, one := r.create(apikey.NewKey{})
	secret, err := r.Rotate(t.Context(), one.Principal.Key, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.Check([]byte(secret), anywhere)
	if err != nil {
		t.Fatal(err)
	}
	r.used(&one, apikey.Use{Route: "orders", Status: 200, In: 10, Out: 1000}, apikey.Use{Route: "orders", Status: 404, In: 1, Out: 20},
		apikey.Use{Route: "orders", Status: 429, Limited: true, Out: 3}, apikey.Use{Route: "vod", Status: 502})
	r.used(two, apikey.Use{Route: "orders", Status: 399})
	if len(r.rows(&one)) != 0 {
		t.Fatal("usage reached the store on the way of a request")
	}
	r.clock.Advance(10 * time.Second)
	first := []apikey.UsageRow{
		row(&one, "orders", now, apikey.Usage{Requests: 3, Errors: 1, Limited: 1, In: 11, Out: 1023}),
		row(two, "orders", now, apikey.Usage{Requests: 1}),
		row(&one, "vod", now, apikey.Usage{Requests: 1, Errors: 1}),
	}
	r.flushes(&one, first...)
	all, err := r.List(t.Context())
	if err != nil || all[0].LastUsed != now.Unix()+10 {
		t.Fatalf("last used %d, %v", all[0].LastUsed, err)
	}
	// What is counted before the turn of the hour belongs to the hour before it, though
	// no interval ends there.
	r.clock.Advance(29*time.Minute + 45*time.Second)
	r.eventually("the timer is set to the hour's turn", func() bool { return r.clock.Armed() > 0 })
	r.used(two, apikey.Use{Route: "orders", Status: 200})
	r.clock.Advance(5 * time.Second)
	first[1].Requests = 2
	r.flushes(&one, first...)
	r.used(two, apikey.Use{Route: "orders", Status: 200})
	r.clock.Advance(10 * time.Second)
	r.flushes(&one, append(first, row(two, "orders", now.Add(30*time.Minute), apikey.Usage{Requests: 1}))...)
}

func TestAK4_WhatAStoreDidNotTakeIsAddedToTheNext(t *testing.T) { addsToTheNext(t, false) }

// A store that took a batch and could not say so, for the connection broke, counts it once.
func TestAK4_WhatAStoreTookInSilenceIsCountedOnce(t *testing.T) { addsToTheNext(t, true) }

func addsToTheNext(t *testing.T, takes bool) {
	r := newRig(t, nil)
	r.store.takes.Store(takes)
	r.run()
	_, key := r.create(apikey.NewKey{})
	r.store.onUsage(func([]apikey.UsageRow) error { return errors.Join(apikey.ErrUnavailable, errAway) })
	for n := range 3 {
		r.used(&key, apikey.Use{Route: "orders", Status: 200, In: 1})
		failed := uint64(n + 1)
		r.eventually("the flush fails", func() bool {
			r.clock.Advance(10 * time.Second)
			return r.outcome("usage_flushes", "failed") >= failed
		})
	}
	r.store.onUsage(nil)
	r.eventually("it is flushed", func() bool {
		r.clock.Advance(10 * time.Second)
		return r.outcome("usage_flushes", "stored") > 0
	})
	var got apikey.Usage
	for _, u := range r.rows(&key) {
		got.Add(u.Usage)
	}
	if got.Requests != 3 || got.In != 3 {
		t.Fatalf("got %+v", got)
	}
}

func TestAK4_StoppingFlushes(t *testing.T) {
	r := newRig(t, nil)
	stop := r.run()
	_, key := r.create(apikey.NewKey{})
	r.used(&key, apikey.Use{Route: "orders", Status: 200})
	stop()
	r.flushes(&key, row(&key, "orders", now, apikey.Usage{Requests: 1}))
}

// A store that hangs at the end does not keep the process from ending.
func TestAK4_StoppingIsNotHeldUp(t *testing.T) {
	r := newRig(t, nil)
	stop := r.run()
	_, key := r.create(apikey.NewKey{})
	r.used(&key, apikey.Use{Route: "orders", Status: 200})
	r.store.onUsage(func([]apikey.UsageRow) error { return apikey.ErrUnavailable })
	begun := time.Now()
	stop()
	if d := time.Since(begun); d > 10*time.Second {
		t.Fatalf("it took %s", d)
	}
}

// Many cores, many keys and flushes at the same time: every request is counted once.
func TestAK4_NothingIsCountedTwiceOrLost(t *testing.T) {
	r := newRig(t, nil)
	stop := r.run()
	keys := make([]apikey.Key, 5)
	for i := range keys {
		_, keys[i] = r.create(apikey.NewKey{})
	}
	const workers, times = 8, 2000
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range times {
				r.Used(&keys[i%len(keys)], apikey.Use{Route: fmt.Sprintf("route-%d", w%3), Status: 200, In: 1})
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticking := make(chan struct{})
	go func() {
		defer close(ticking)
		for ctx.Err() == nil {
			r.clock.Advance(10 * time.Second)
			time.Sleep(time.Millisecond)
		}
	}()
	all.Wait()
	cancel()
	<-ticking
	stop()
	var got apikey.Usage
	for i := range keys {
		for _, u := range r.rows(&keys[i]) {
			got.Add(u.Usage)
		}
	}
	if got.Requests != workers*times || got.In != workers*times || r.count("gateway_api_key_usage_lost_total") != 0 {
		t.Fatalf("got %+v, want %d requests", got, workers*times)
	}
}

// What is counted is bounded, in memory and while it is owed; what does not fit is
// counted as lost, and never silently.
func TestAK4_SeriesAreBounded(t *testing.T) {
	r := newRig(t, nil)
	const most, owed = 1 << 16, 1 << 17
	_, key := r.create(apikey.NewKey{})
	for i := range most + most/2 {
		r.Used(&key, apikey.Use{Route: fmt.Sprint(i), Status: 200})
	}
	r.store.onUsage(func([]apikey.UsageRow) error { return apikey.ErrUnavailable })
	stop := r.run()
	lost := func() uint64 { return r.count("gateway_api_key_usage_lost_total") }
	r.eventually("the full tally wakes the flusher", func() bool { return lost() >= most/2 })
	before := lost()
	for i := range 3 {
		for j := range most / 2 {
			r.Used(&key, apikey.Use{Route: fmt.Sprint("more ", i, j), Status: 200})
		}
		failed := r.outcome("usage_flushes", "failed")
		r.eventually("a flush", func() bool {
			r.clock.Advance(10 * time.Second)
			return r.outcome("usage_flushes", "failed") > failed
		})
	}
	r.eventually("what is owed is bounded", func() bool { return lost() > before })
	var given []apikey.UsageRow
	r.store.sink.Store(true)
	r.store.onUsage(func(rows []apikey.UsageRow) error {
		given = append(given, rows...)
		return nil
	})
	stop()
	sum := lost()
	for _, u := range given {
		sum += uint64(u.Requests)
	}
	if want := uint64(most + most/2 + 3*(most/2)); sum != want || len(given) < most || len(given) > owed+500 {
		t.Fatalf("%d requests in %d rows and lost, of %d", sum, len(given), want)
	}
}
