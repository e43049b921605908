//go:build !race

package account_test

import (
	"errors"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/account"
)

// A flood takes the memory of the hashes under way, of the last one that the garbage
// collector has not seen, and no more: not 32 MiB for each who waits.
func TestI12_AFloodIsBoundedInMemory(t *testing.T) {
	const callers, one = 12, 32 << 20
	p := account.NewPasswords(account.PasswordsOptions{}).WithPool(1, 64, time.Minute)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var done atomic.Bool
	var most uint64
	var watch, all sync.WaitGroup
	watch.Go(func() {
		for !done.Load() {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapInuse)
			time.Sleep(5 * time.Millisecond)
		}
	})
	for range callers {
		all.Go(func() {
			if _, err := p.Hash(t.Context(), password); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	done.Store(true)
	watch.Wait()
	if grown := int64(most) - int64(before.HeapInuse); grown > 5*one {
		t.Errorf("%d logins at once took %d MiB", callers, grown>>20)
	}
}

// Nobody learns from the time of an answer whether a user exists: unknown, disabled,
// wrong, and one whose hash costs another price.
func TestID4_FailuresTakeTheSameTime(t *testing.T) {
	b := bench(t)
	b.passwords.WithCost(1<<10, 2).WithFloor(40 * time.Millisecond)
	logins(t, b.store, "known", argonOf(password, 1<<10, 2, 1))
	logins(t, b.store, "old", bcryptOf(t, password))
	logins(t, b.store, "off", argonOf(password, 1<<10, 2, 1))
	if err := b.store.SetActive(t.Context(), "id-off", false); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]account.Attempt{
		"unknown":  {Email: "nobody@example.com", Password: password},
		"wrong":    {Email: "known@example.com", Password: "Wrong-Pass1!"},
		"old hash": {Email: "old@example.com", Password: "Wrong-Pass1!"},
		"disabled": {Email: "off@example.com", Password: password},
		"no email": {Email: "nothing", Password: password},
	}
	times := map[string][]float64{}
	for i := range 30 {
		for kind, at := range kinds { // in random order, so that a busy machine is busy for all
			at.From = netip.AddrFrom4([4]byte{10, 0, byte(i), byte(len(kind))})
			start := time.Now()
			_, err := b.Authenticate(t.Context(), at)
			took := time.Since(start)
			b.advance(time.Hour) // so that nothing is throttled
			if !errors.Is(err, account.ErrCredentials) || err.Error() != account.ErrCredentials.Error() {
				t.Fatalf("%s: %v", kind, err)
			}
			times[kind] = append(times[kind], took.Seconds())
		}
	}
	quartile := func(kind string) float64 { // the lower one: what else runs only adds
		slices.Sort(times[kind])
		return times[kind][len(times[kind])/4]
	}
	for kind := range kinds {
		if d := quartile(kind) - quartile("wrong"); quartile(kind) < .040 || math.Abs(d) > .004 {
			t.Errorf("%s takes %.1f ms, a wrong password %.1f ms", kind, 1000*quartile(kind), 1000*quartile("wrong"))
		}
	}
}

// Without the floor as well, an unknown user costs a hash with today's parameters.
func TestID4_AnUnknownUserCostsAHash(t *testing.T) {
	b := bench(t)
	b.passwords.WithCost(8<<10, 2)
	logins(t, b.store, "known", argonOf(password, 8<<10, 2, 1))
	times := map[string]float64{"known": math.Inf(1), "unknown": math.Inf(1)} // the fastest: what else runs only adds
	for range 40 {
		for who := range times {
			start := time.Now()
			_, err := b.Authenticate(t.Context(), account.Attempt{Email: who + "@example.com", Password: "Wrong-Pass1!", From: home})
			times[who] = min(times[who], time.Since(start).Seconds())
			b.advance(time.Hour)
			if !errors.Is(err, account.ErrCredentials) {
				t.Fatal(err)
			}
		}
	}
	known, unknown := times["known"], times["unknown"]
	if ratio := unknown / known; ratio < .8 || ratio > 1.25 {
		t.Errorf("unknown %.2f ms, known %.2f ms", 1000*unknown, 1000*known)
	}
}
