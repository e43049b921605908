package auth

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/setting"
)

// table returns buckets of the rate, with a clock that stands.
func table(t interface {
	Fatal(...any)
	Cleanup(func())
}, rate setting.Rate) (*refused, *clock.Fake) {
	c := clock.NewFake(time.Unix(0, 0))
	c.Advance(time.Second)
	r, err := newRefused(rate, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, c
}

// The table decides like a bucket for each address that holds count refusals and fills
// up again in per, to the microsecond.
func TestI10_ABucketForEachAddress(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(1, 5).Draw(t, "count")
		per := time.Duration(rapid.Int64Range(1, 1000).Draw(t, "per")) * time.Millisecond
		r, c := table(t, setting.Rate{Count: count, Per: per})
		owed := map[netip.Addr]int64{} // count × nanoseconds until full
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			passed := rapid.Int64Range(0, 2*per.Microseconds()/count).Draw(t, "passed")
			c.Advance(time.Duration(passed) * time.Microsecond)
			for a := range owed {
				owed[a] = max(0, owed[a]-passed*1000*count)
			}
			a := netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "address") % 4})
			want := max(0, owed[a]-int64(per)*(count-1)) / count
			if got := int64(r.wait(a, c.Mono())); got < want || got > want+1000 {
				t.Fatalf("%s owes %d of %d and must wait %d, want %d", a, owed[a]/count, per, got, want)
			}
			if rapid.Bool().Draw(t, "refuse") {
				r.add(a)
				owed[a] = min(owed[a]+int64(per), int64(per)*count)
			}
		}
	})
}

// However many addresses misbehave, memory stays, and who misbehaves most is the last
// to be forgotten.
func TestI10_TheTableIsBounded(t *testing.T) {
	t.Parallel()
	r, c := table(t, setting.Rate{Count: 100, Per: time.Minute})
	worst, halfway := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:ffff::1")
	for i := range 100 {
		r.add(worst)
		if i < 50 {
			r.add(halfway)
		}
	}
	var b [16]byte
	for i := range uint64(200_000) {
		binary.BigEndian.PutUint64(b[:], i)
		r.add(netip.AddrFrom16(b))
	}
	if n := r.buckets.Len(); n > refusedAddresses {
		t.Errorf("%d addresses", n)
	}
	if r.wait(worst, c.Mono()) <= 0 {
		t.Error("the worst was forgotten for those who came once")
	}
	if r.wait(netip.MustParseAddr("2001:db8::2"), c.Mono()) <= 0 || r.wait(netip.MustParseAddr("2001:db8:0:1::1"), c.Mono()) != 0 {
		t.Error("an IPv6 network of 64 bits has one bucket")
	}
	for range 50 {
		r.add(halfway)
	}
	if r.wait(halfway, c.Mono()) <= 0 {
		t.Error("half of the refusals were forgotten for those who came once")
	}
}

func TestTheTableIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r, c := table(t, setting.Rate{Count: 3, Per: time.Minute})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 2000 {
				a := netip.AddrFrom4([4]byte{10, byte(j >> 8), byte(j), byte(i % 2)})
				r.add(a)
				r.wait(a, c.Mono())
			}
		})
	}
	all.Wait()
	if r.wait(netip.AddrFrom4([4]byte{10, 0, 7, 0}), c.Mono()) != 0 {
		t.Error("two refusals of three are one too many")
	}
}

func TestRatesThatCantBeCounted(t *testing.T) {
	t.Parallel()
	if _, err := newRefused(setting.Rate{Count: 5, Per: time.Microsecond}, clock.Real()); err == nil {
		t.Error("a microsecond is no time to count in")
	}
}
