package apikey_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/apikey"
)

// Usage goes when it is as old as it may be, however much there is, and in batches; a
// store that was away is asked again.
func TestAK4_OldUsageIsForgotten(t *testing.T) {
	r := rigWith(t, func(o *apikey.Options) { o.KeepUsage = 24 * time.Hour })
	_, key := r.create(apikey.NewKey{})
	row := func(n int, age time.Duration) apikey.UsageRow {
		return apikey.UsageRow{Key: key.Principal.Key, Version: 1, Route: fmt.Sprint("route-", n), Hour: now.Add(-age).Truncate(time.Hour).Unix(), Usage: apikey.Usage{Requests: 1, LastUsed: 1}}
	}
	var rows []apikey.UsageRow
	for n := range 2500 {
		rows = append(rows, row(n, 48*time.Hour))
	}
	kept := row(0, 20*time.Hour)
	if err := r.store.AddUsage(t.Context(), "b", append(rows, kept)); err != nil {
		t.Fatal(err)
	}
	asked := make(chan int, 100)
	r.store.onForget(func(most int) error {
		asked <- most
		if r.store.forgets.Load() == 1 {
			return apikey.ErrUnavailable
		}
		return nil
	})
	r.run()
	// turn lets time pass once flusher and forgetter wait for it.
	turn := func(d time.Duration) {
		r.eventually("both wait", func() bool { return r.clock.Armed() == 2 })
		r.clock.Advance(d)
	}
	var last []apikey.UsageRow
	left := func(n int) func() bool {
		return func() bool {
			var err error
			if last, err = r.store.Usage(t.Context(), key.Principal.Key, time.Unix(0, 0), now); err != nil {
				t.Fatal(err)
			}
			return len(last) == n
		}
	}
	turn(time.Minute)
	r.eventually("the store is asked, and is away", func() bool { return len(asked) == 1 })
	turn(90 * time.Minute)
	r.eventually("what is old goes", left(1))
	if last[0] != kept {
		t.Errorf("left %+v, want %+v", last[0], kept)
	}
	if n := r.count("gateway_api_key_usage_forgotten_rows_total"); n != 2500 || len(asked) != 4 {
		t.Errorf("%d rows in %d calls", n, len(asked))
	}
	for range len(asked) {
		if most := <-asked; most > 1000 {
			t.Errorf("asked for %d rows at once", most)
		}
	}
	turn(3 * time.Hour)
	r.eventually("what has become old goes", left(0))
}

// Without a retention nothing is ever asked for.
func TestAK4_UsageIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.store.onForget(func(int) error { return errors.New("nobody asked for that") })
	stop := r.run()
	r.clock.Advance(1000 * time.Hour)
	stop()
	if n := r.store.forgets.Load(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
