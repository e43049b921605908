package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/limit"
)

var (
	//go:embed limit_counter.lua
	limitCounterScript string
	//go:embed limit_lease.lua
	limitLeaseScript string
	//go:embed limit_begin.lua
	limitBeginScript string
)

// LeaseOptions are what NewLeases needs.
type LeaseOptions struct {
	// Timeout is how long Lease waits for Redis; default 20 ms.
	Timeout time.Duration
}

// Leases hands out leases of counters in Redis, to one limit.Leased: the counters are
// those of ExactLimits. It is one call of a script for each counter, all at once, by the
// clock of Redis. It is safe for concurrent use.
//
// A call that is late may still be run. Then a lease is charged that nobody spends: it comes
// back with the next call, or ends by itself, with its tokens charged.
type Leases struct {
	store    *ExactLimits // whose keys, epochs and gate are the same
	script   *script
	instance string
}

var _ limit.Lessor = (*Leases)(nil)

// NewLeases returns the lessor. Close it before the client. Each has a name of its own in
// Redis: one that was restarted does not take the leases of before for its own.
func NewLeases(client *Client, o LeaseOptions) *Leases {
	return newLeases(client, o, limitCounterScript+limitLeaseScript)
}

func newLeases(client *Client, o LeaseOptions, script string) *Leases {
	return &Leases{
		store:    NewExactLimits(client, ExactOptions{Timeout: o.Timeout, LeaseLife: time.Second}), // its epochs are wanted
		script:   newScript(script),
		instance: "l:" + rand.Text()[:16] + ":",
	}
}

// Begin begins the counting in a Redis that holds nothing yet, and returns when counters
// open there, if leases last life: 0 where they are open. A cluster begins each slot with
// its first request, so for it Begin does nothing.
func (l *Leases) Begin(ctx context.Context, life time.Duration) (opens time.Duration, err error) {
	if l.store.cluster {
		return 0, nil
	}
	client := l.store.client
	left, err := rueidis.NewLuaScript(limitBeginScript).Exec(ctx, client.Raw(), l.store.epochs, []string{strconv.FormatInt(life.Microseconds(), 10)}).AsInt64()
	if err != nil || left < 0 || left > life.Microseconds() {
		return 0, fmt.Errorf("begin to count in Redis: %w", cmp.Or(err, errGarbled))
	}
	return time.Duration(left) * time.Microsecond, nil
}

// Close ends the goroutines, after the answers that they wait for. Lease fails after it.
func (l *Leases) Close() { l.store.Close() }

// Lease is limit.Lessor's. The error of an ask that is a limit.ErrCounter is about its
// key, and Redis is well.
func (l *Leases) Lease(asks []*limit.Ask) {
	sent := make([]*ask, len(asks))
	for i, want := range asks {
		a := l.store.gate.borrow(l.script)
		if want.Err = l.write(a, want); want.Err == nil {
			want.Err = l.store.gate.send(a)
		}
		if want.Err != nil {
			l.store.gate.put(a)
			continue
		}
		sent[i] = a
	}
	timer := time.NewTimer(l.store.gate.timeout)
	defer timer.Stop()
	late := timer.C
	for i, a := range sent {
		if a == nil {
			continue
		}
		want := asks[i]
		if want.Err = l.store.gate.wait(a, late); want.Err == nil {
			want.Err = readLease(a.answer, want)
			l.store.gate.put(a)
		} else {
			late = l.store.gate.past // it was for all of them
		}
		if want.Err != nil {
			want.Err = fmt.Errorf("leasing of Redis: %w", want.Err)
		}
	}
}

// write makes the keys and arguments of limit_lease.lua.
func (l *Leases) write(a *ask, want *limit.Ask) error {
	if want.Policy.Algorithm == limit.SlidingLog {
		return errNoLease
	}
	terms, err := l.store.terms(want.Policy)
	if err != nil {
		return err
	}
	numbers := func(ns ...int64) {
		for _, n := range ns {
			a.arguments = append(a.arguments, strconv.FormatInt(n, 10))
		}
	}
	field := func(lease uint64) {
		a.arguments = append(a.arguments, l.instance+strconv.FormatUint(lease, 36))
	}
	numbers(want.Life.Microseconds())
	a.arguments = append(a.arguments, terms.arguments[:]...)
	field(want.Lease)
	numbers(want.Want, want.Soon, want.Owed, int64(len(want.Reports)))
	for _, r := range want.Reports {
		field(r.Lease)
		ended := int64(0)
		if r.Ended {
			ended = 1
		}
		numbers(r.Left, ended)
	}
	numbers(int64(len(want.Refunds)))
	for _, r := range want.Refunds {
		numbers(r.Tokens, r.At)
	}
	for _, d := range want.Now {
		numbers(d.Cost, d.Count)
	}
	a.name(l.store.client.prefix, want.Key)
	l.store.complete(a)
	return nil
}

// leaseNumbers is how many numbers the answer has before those of the demands.
const leaseNumbers = 6

// readLease takes nothing but what the script can have answered.
func readLease(answer rueidis.RedisResult, want *limit.Ask) error {
	v, err := answer.AsIntSlice()
	if failed, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(failed.Error(), keyFault) {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(failed.Error(), keyFault), limit.ErrCounter)
	} else if err != nil {
		return err
	}
	if len(v) != leaseNumbers+len(want.Now) {
		return errGarbled
	}
	for _, n := range v {
		if n < 0 {
			return errGarbled
		}
	}
	if v[1] > want.Want || v[2] > want.Life.Microseconds() || v[3] > want.Policy.Capacity() {
		return errGarbled
	}
	for i := range want.Now {
		if v[leaseNumbers+i] > want.Now[i].Count {
			return errGarbled
		}
	}
	want.At, want.Leased, want.Until, want.Left = v[0], v[1], microseconds(v[2]), v[3]
	want.Reset, want.Wait = microseconds(v[4]), microseconds(v[5])
	for i := range want.Now {
		want.Now[i].Granted = v[leaseNumbers+i]
	}
	return nil
}

var errNoLease = fmt.Errorf("a sliding_log is exact, it has no leases: %w", limit.ErrCounter)
