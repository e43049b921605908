package auth

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/setting"
)

// refusedAddresses is how many addresses may misbehave at once, in about 6 MB. Where there
// are more, those forget their refusals that had the fewest.
const refusedAddresses = 1 << 16

// refused remembers whose credentials were refused lately: one bucket for each IPv4
// address and each IPv6 /64 (SECURITY I10). Who has emptied it is refused before
// any signature or store is looked at. Good credentials of the same address wait
// with it; what was only out of date empties nothing, or a campus behind one
// address would lock itself out.
//
// It is read by every request that shows a credential: without a lock, and by one load
// while nobody has emptied his bucket. It is written by refusals alone.
type refused struct {
	clock   clock.Clock
	policy  *limit.Policy
	buckets *limit.Memory
	empty   *limit.Denied
}

func newRefused(rate setting.Rate, c clock.Clock) (*refused, error) {
	policy := &limit.Policy{Name: "refused", Algorithm: limit.TokenBucket, Count: rate.Count, Per: rate.Per, Burst: rate.Count}
	if err := policy.Validate(); err != nil {
		return nil, fmt.Errorf("identity.throttle.refused: %w", err)
	}
	return &refused{clock: c, policy: policy, buckets: limit.NewMemory(c, limit.MemoryOptions{Entries: refusedAddresses}),
		empty: limit.NewDenied(refusedAddresses, 0)}, nil
}

// Close is for plugin.Keep.
func (r *refused) Close() error { return r.buckets.Close() }

// network tells callers apart: the whole of an IPv4 address, or half of another.
func network(room *[16]byte, client netip.Addr) []byte {
	*room = client.As16()
	if client.Unmap().Is4() {
		return room[:]
	}
	return room[:8]
}

// wait is how long the client must wait until a credential of it is looked at; 0 for
// not at all. now is of the clock's Mono.
func (r *refused) wait(client netip.Addr, now int64) time.Duration {
	var room [16]byte
	return r.empty.Until(network(&room, client), now)
}

// add counts one refusal, as far as the bucket goes: of those that were looked at
// together some may come late.
func (r *refused) add(client netip.Addr) {
	var room [16]byte
	charges := [1]limit.Charge{{Policy: r.policy, Key: network(&room, client), Cost: 1, Bypass: true}}
	c := &charges[0]
	if _, err := r.buckets.Take(charges[:]); err != nil || c.Remaining > 0 {
		return // memory never fails under a valid policy
	}
	c.Bypass = false
	if admitted, err := r.buckets.Look(c); err == nil && !admitted {
		now := r.clock.Mono()
		r.empty.Note(c.Key, now, now+int64(c.Wait))
	}
}
