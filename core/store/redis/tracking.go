package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// beatEvery is how often it is asked whether the way from the servers is open, and
	// beatWithin how long they may take to answer.
	beatEvery  = 500 * time.Millisecond
	beatWithin = time.Second
	// beatAgain is the time to the next question while they do not.
	beatAgain = 100 * time.Millisecond
	// trackedCache is the library's own cache, in bytes; nothing is put into it.
	trackedCache = 1 << 20
)

// tracker hears which keys behind a prefix are written or go away, on connections of
// its own (client tracking in broadcasting mode, RESP3).
type tracker struct {
	client *Client
	prefix string
	// keys is told of keys, whole, on the library's reading goroutine; well that the way
	// from all masters is open, and whether anything may have been missed before that.
	keys func([]string)
	well func(missed bool)

	lost atomic.Bool   // a connection was lost, or a server emptied
	bell chan struct{} // rings with it
}

// run listens until ctx is done.
func (t *tracker) run(ctx context.Context) {
	t.bell = make(chan struct{}, 1)
	for ctx.Err() == nil {
		raw, err := t.connect()
		if raw == nil {
			t.client.log.Debug().Err(err).Msg("nothing can be tracked yet")
			t.pause(ctx, beatAgain)
			continue
		}
		t.follow(ctx, raw)
		raw.Close()
	}
}

// connect makes a client each connection of which is told of the prefix. There is one to a
// server, so that what is told and what is answered there come in order.
func (t *tracker) connect() (rueidis.Client, error) {
	o := option(t.client.options)
	o.ClientName += "-tracking"
	o.DisableCache = false // or the library would not ask to be told
	o.CacheSizeEachConn = trackedCache
	o.ClientTrackingOptions = []string{"PREFIX", t.prefix, "BCAST"}
	o.ConnWriteTimeout = beatWithin
	o.Dialer.KeepAlive = beatWithin // after which a silent connection is asked
	o.OnInvalidations = t.invalidated
	raw, err := rueidis.NewClient(o)
	if raw == nil {
		return nil, fmt.Errorf("connecting to be told of changes: %w", err)
	}
	return raw, nil
}

// invalidated is called by the library. No messages at all mean that a server was emptied or a
// connection lost (FASTHTTP.md F).
func (t *tracker) invalidated(messages []rueidis.RedisMessage) {
	if messages == nil {
		t.lost.Store(true)
		select {
		case t.bell <- struct{}{}:
		default:
		}
		return
	}
	keys := make([]string, 0, len(messages))
	for i := range messages {
		if k, err := messages[i].ToString(); err == nil && strings.HasPrefix(k, t.prefix) {
			keys = append(keys, k)
		}
	}
	t.keys(keys)
}

// follow asks all masters again and again whether they are there. An answer comes
// behind all that was told before; a connection that had to be made for it is told of
// everything from then on, but not of what was before.
func (t *tracker) follow(ctx context.Context, raw rueidis.Client) {
	var known map[string]struct{}
	missed := true
	for ctx.Err() == nil {
		missed = t.lost.Swap(false) || missed
		now, err := t.beat(ctx, raw)
		if err != nil {
			t.pause(ctx, beatAgain)
			continue
		}
		missed = missed || !maps.Equal(known, now)
		known = now
		t.well(missed)
		missed = false
		t.pause(ctx, beatEvery)
	}
}

func (t *tracker) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-t.bell:
	}
}

// beat asks every node, and returns the addresses of those that are masters.
func (t *tracker) beat(ctx context.Context, raw rueidis.Client) (map[string]struct{}, error) {
	found := map[string]struct{}{}
	err := eachMaster(ctx, raw, func(address string, _ rueidis.Client) error {
		found[address] = struct{}{}
		return nil
	})
	return found, err
}

// eachMaster calls f with each node that is a master. HELLO says so to everybody who may speak
// at all, where ROLE and INFO may be forbidden.
func eachMaster(ctx context.Context, raw rueidis.Client, f func(address string, node rueidis.Client) error) error {
	masters := 0
	for address, node := range raw.Nodes() {
		ask, cancel := context.WithTimeout(ctx, beatWithin)
		hello, err := node.Do(ask, node.B().Arbitrary("HELLO").Build()).AsMap()
		cancel()
		if err != nil {
			return fmt.Errorf("asking %s what it is: %w", address, err)
		}
		role := hello["role"]
		if says, err := role.ToString(); err != nil || says != "master" {
			continue
		}
		masters++
		if err := f(address, node); err != nil {
			return err
		}
	}
	if masters == 0 {
		return errors.New("there is no master")
	}
	return nil
}
