package auth

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/setting"
)

// The table decides like a bucket for each address that holds count refusals and fills
// up again in per.
func TestI10_ABucketForEachAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(1, 5).Draw(t, "count")
		per := time.Duration(rapid.Int64Range(1, 1000).Draw(t, "per")) * time.Millisecond
		r := newRefused(setting.Rate{Count: count, Per: per})
		each := int64(per) / count
		owed := map[netip.Addr]int64{} // nanoseconds until full, at now
		now := int64(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			passed := rapid.Int64Range(0, 2*each).Draw(t, "passed")
			now += passed
			for a := range owed {
				owed[a] = max(0, owed[a]-passed)
			}
			a := netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "address") % 4})
			want := max(0, owed[a]-each*count+each)
			if got := int64(r.wait(a, now)); got != want {
				t.Fatalf("%s owes %d of %d and must wait %d, want %d", a, owed[a], each*count, got, want)
			}
			if rapid.Bool().Draw(t, "refuse") {
				r.add(a, now)
				owed[a] = min(owed[a]+each, each*count)
			}
		}
	})
}

// However many addresses misbehave, memory stays, and who misbehaves most is the last
// to be forgotten.
func TestI10_TheTableIsBounded(t *testing.T) {
	t.Parallel()
	r := newRefused(setting.Rate{Count: 100, Per: time.Minute})
	worst := netip.MustParseAddr("2001:db8::1")
	for range 100 {
		r.add(worst, 1)
	}
	var b [16]byte
	for i := range uint64(200_000) {
		binary.BigEndian.PutUint64(b[:], i)
		r.add(netip.AddrFrom16(b), 2)
	}
	if r.wait(worst, 3) <= 0 {
		t.Error("the worst was forgotten for those who came once")
	}
	if r.wait(netip.MustParseAddr("2001:db8::2"), 3) <= 0 || r.wait(netip.MustParseAddr("2001:db8:0:1::1"), 3) != 0 {
		t.Error("an IPv6 network of 64 bits has one bucket")
	}
}

func TestTheTableIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r := newRefused(setting.Rate{Count: 3, Per: time.Minute})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 2000 {
				a := netip.AddrFrom4([4]byte{10, byte(j >> 8), byte(j), byte(i % 2)})
				r.add(a, 1)
				r.wait(a, 2)
			}
		})
	}
	all.Wait()
	if r.wait(netip.AddrFrom4([4]byte{10, 0, 7, 0}), 2) != 0 {
		t.Error("two refusals of three are one too many")
	}
}
