package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/suuupra/gateway/core/clock"
)

//go:embed limit_instances.lua
var limitInstancesScript string

const (
	// instancesKey is where instances are noted.
	instancesKey = "rate_limit:instances"
	// instanceEvery is how often an instance tells that it lives; instanceGood is for how long
	// that is believed.
	instanceEvery, instanceGood = time.Second, 5 * time.Second
)

// LimitInstances counts those that share rate limits, so that each knows its share
// when Redis goes (SPEC RL6). Each is in a set of Redis for some seconds after its last
// word. What was counted last stays when Redis goes, and a lower count is believed when it
// has lasted as long as a word is good: after Redis has lost the set, until all are back.
type LimitInstances struct {
	client *Client
	clock  clock.Clock
	id     string
	beat   *rueidis.Lua
	count  atomic.Int64
	stop   context.CancelFunc
	ended  sync.WaitGroup
}

// NewLimitInstances begins to tell and to count, once a second until Close.
func NewLimitInstances(client *Client, c clock.Clock) *LimitInstances {
	ctx, stop := context.WithCancel(context.Background())
	i := &LimitInstances{client: client, clock: c, id: rand.Text(), beat: rueidis.NewLuaScript(limitInstancesScript), stop: stop}
	i.count.Store(1)
	i.ended.Go(func() { i.run(ctx) })
	return i
}

// Count is how many there are as far as is known: this one at least.
func (i *LimitInstances) Count() int { return int(i.count.Load()) }

// Close takes this instance out, if Redis is there, and ends the telling.
func (i *LimitInstances) Close() {
	i.stop()
	i.ended.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), throttleWithin)
	defer cancel()
	raw := i.client.Raw()
	_ = raw.Do(ctx, raw.B().Zrem().Key(i.client.prefix+instancesKey).Member(i.id).Build()).Error() // else it goes by itself
}

func (i *LimitInstances) run(ctx context.Context) {
	timer := i.clock.NewTimer(0)
	defer timer.Stop()
	var fewer int64 // since when there are, of Mono; 0: there are not
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		if n, ok := i.tell(ctx); ok {
			fewer = i.see(n, fewer)
		} else {
			fewer = 0
		}
		timer.Reset(instanceEvery)
	}
}

// tell is one beat.
func (i *LimitInstances) tell(ctx context.Context) (int64, bool) {
	ctx, cancel := context.WithTimeout(ctx, throttleWithin)
	defer cancel()
	n, err := i.beat.Exec(ctx, i.client.Raw(), []string{i.client.prefix + instancesKey},
		[]string{i.id, strconv.FormatInt(instanceGood.Milliseconds(), 10)}).AsInt64()
	return n, err == nil && n > 0
}

// see takes a count, and returns since when there are fewer.
func (i *LimitInstances) see(n, fewer int64) int64 {
	now := i.clock.Mono()
	switch {
	case n >= i.count.Load():
	case fewer == 0:
		return now
	case now-fewer < instanceGood.Nanoseconds():
		return fewer
	}
	i.count.Store(n)
	return 0
}
