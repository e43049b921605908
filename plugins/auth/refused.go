package auth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/suuupra/gateway/core/setting"
)

// The size of the table of addresses: 2 MiB, and 64 Ki addresses that misbehave at
// once. Where there are more, those forget their refusals that had the fewest.
const (
	refusedSets = 1 << 13
	refusedWays = 8
)

// refused remembers whose credentials were refused lately: one bucket for each IPv4
// address and each IPv6 /64 (SECURITY I10). Who has emptied it is refused before
// any signature or store is looked at. Good credentials of the same address wait
// with it; what was only out of date empties nothing, or a campus behind one
// address would lock itself out.
//
// It is read by every request that shows a credential, without a lock, and written
// by refusals alone.
type refused struct {
	seed  maphash.Seed
	each  int64 // nanoseconds that one refusal costs
	whole int64 // nanoseconds of all that a bucket holds

	used  atomic.Bool // some bucket was ever used: until then reading costs a load
	mu    sync.Mutex  // of writers
	slots [][refusedWays]slot
}

// slot is one bucket: whose it is, and when it will be full again. Each is written
// under mu, key last; a reader that meets one in between takes it for another's.
type slot struct{ key, full atomic.Int64 }

func newRefused(rate setting.Rate) *refused {
	each := max(int64(rate.Per)/rate.Count, 1)
	return &refused{seed: maphash.MakeSeed(), each: each, whole: each * rate.Count}
}

// Close is for plugin.Keep: there is nothing to end.
func (*refused) Close() error { return nil }

// key tells addresses apart; it is never 0.
func (r *refused) key(client netip.Addr) int64 {
	b := client.As16()
	n := len(b)
	if !client.Unmap().Is4() {
		n = 8
	}
	return int64(maphash.Bytes(r.seed, b[:n]) | 1)
}

// wait is how long the client must wait until a credential of it is looked at; 0 for
// not at all. now is of the clock's Mono.
func (r *refused) wait(client netip.Addr, now int64) time.Duration {
	if !r.used.Load() {
		return 0
	}
	key := r.key(client)
	set := &r.slots[uint64(key)>>1%refusedSets]
	for i := range set {
		if s := &set[i]; s.key.Load() == key {
			return time.Duration(max(0, s.full.Load()-now-r.whole+r.each))
		}
	}
	return 0
}

// add counts one refusal.
func (r *refused) add(client netip.Addr, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slots == nil {
		r.slots = make([][refusedWays]slot, refusedSets)
		defer r.used.Store(true)
	}
	key := r.key(client)
	set := &r.slots[uint64(key)>>1%refusedSets]
	least := &set[0]
	for i := range set {
		s := &set[i]
		if s.key.Load() == key {
			s.full.Store(min(max(s.full.Load(), now)+r.each, now+r.whole))
			return
		}
		if s.full.Load() < least.full.Load() {
			least = s
		}
	}
	least.key.Store(0)
	least.full.Store(now + r.each)
	least.key.Store(key)
}
