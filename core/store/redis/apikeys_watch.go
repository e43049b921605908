package redis

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// How a watch looks after its connections.
const (
	keyWatchPing   = 500 * time.Millisecond // a connection that died without a word is found by this
	keyWatchWithin = time.Second            // for an answer
	keyWatchAgain  = 100 * time.Millisecond // after a failure
	keyWatchNodes  = time.Second            // a cluster may have got another node
)

// Watch calls changed for each key that is written, deleted or expires, with "" after
// each connection, until ctx is done. Every node of a cluster has its own connection.
func (a *APIKeys) Watch(ctx context.Context, changed func(id string)) {
	var all sync.WaitGroup
	defer all.Wait()
	watched := map[string]context.CancelFunc{}
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		nodes := a.client.Raw().Nodes()
		for address := range nodes {
			if watched[address] != nil {
				continue
			}
			one, stop := context.WithCancel(ctx)
			watched[address] = stop
			all.Go(func() { a.watchNode(one, address, changed) })
		}
		for address, stop := range watched {
			if nodes[address] == nil {
				stop()
				delete(watched, address)
			}
		}
		look.Reset(keyWatchNodes)
	}
}

// watchNode keeps one node watched. It takes the library's client of it anew each time: one that
// was replaced, as after a failover, never connects again.
func (a *APIKeys) watchNode(ctx context.Context, address string, changed func(id string)) {
	for ctx.Err() == nil {
		if node := a.client.Raw().Nodes()[address]; node != nil {
			a.watchOnce(ctx, node, changed)
		}
		select {
		case <-ctx.Done():
		case <-time.After(keyWatchAgain):
		}
	}
}

// watchOnce holds one connection on which Redis tells of all keys under our prefix
// (CLIENT TRACKING, broadcasting: Redis keeps no list of who has read what), and
// returns when it is lost.
func (a *APIKeys) watchOnce(ctx context.Context, node rueidis.Client, changed func(id string)) {
	conn, release := node.Dedicate()
	defer release()
	defer conn.Close() // a tracked connection must not go back to the pool
	prefix := a.key("")
	lost := conn.SetOnInvalidations(func(keys []rueidis.RedisMessage) {
		if keys == nil { // FLUSHALL, or the end of the connection
			changed("")
		}
		for _, k := range keys {
			if name, err := k.ToString(); err == nil {
				changed(strings.TrimPrefix(name, prefix))
			}
		}
	})
	do := func(words ...string) bool {
		within, cancel := context.WithTimeout(ctx, keyWatchWithin)
		defer cancel()
		return conn.Do(within, conn.B().Arbitrary(words...).Build()).Error() == nil
	}
	// The library may have switched it on in another mode, which can't be changed.
	if !do("CLIENT", "TRACKING", "OFF") || !do("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", prefix) {
		return
	}
	changed("")
	ping := time.NewTicker(keyWatchPing)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-lost:
			return
		case <-ping.C:
			if !do("PING") {
				return
			}
		}
	}
}
