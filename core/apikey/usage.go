package apikey

import (
	"cmp"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Use is one request that was made with a key.
type Use struct {
	Route   string // its name in the configuration, and no view into a request
	Status  int    // of the answer
	In, Out int64  // bytes of the bodies
	Limited bool   // a rate limit refused it
}

// Bounds of what is counted and not yet stored.
const (
	maxCounted = 1 << 16 // series in memory between two flushes
	maxOwed    = 1 << 17 // rows that a store has not taken
	batchRows  = 500     // in one transaction
)

// flushEvery is how often usage goes to the store.
const flushEvery = 10 * time.Second

// flushWithin bounds a flush. The end of the process does not cut it short: what a
// store did with a call that was cancelled, nobody knows.
const flushWithin = 5 * time.Second

// series is what is counted together: there are as many as keys and routes allow,
// and no caller can make one up.
type series struct {
	key     string
	version int
	route   string
}

// tally counts in stripes. Which stripe a request takes is drawn, so that a key
// which all cores use has as many as there are; its lock is then nearly always
// free. The flusher swaps the map, and gives it back empty but as large.
type tally struct {
	stripes []stripe
	most    int // series in one stripe
	full    chan struct{}
}

type stripe struct {
	mu     sync.Mutex
	counts map[series]Usage
	spare  map[series]Usage
	lost   int64
	_      [128]byte // two stripes share no cache line
}

func newTally(most int) *tally {
	n := 1
	for n < 2*runtime.GOMAXPROCS(0) {
		n *= 2
	}
	t := &tally{stripes: make([]stripe, n), most: max(1, most/n), full: make(chan struct{}, 1)}
	for i := range t.stripes {
		t.stripes[i].counts, t.stripes[i].spare = map[series]Usage{}, map[series]Usage{}
	}
	return t
}

// Used counts one request of a key that Check returned. It reads no clock, allocates nothing
// for a series that is known, and may be called concurrently.
func (k *Keys) Used(key *Key, use Use) {
	u := Usage{Requests: 1, In: use.In, Out: use.Out}
	switch {
	case use.Limited:
		u.Limited = 1
	case use.Status >= 400:
		u.Errors = 1
	}
	k.tally.add(series{key.Principal.Key, key.Version, use.Route}, u)
}

func (t *tally) add(of series, u Usage) {
	s := &t.stripes[rand.Uint32()&uint32(len(t.stripes)-1)]
	s.mu.Lock()
	was, ok := s.counts[of]
	full := !ok && len(s.counts) >= t.most
	if full {
		s.lost++
	} else {
		was.Add(u)
		s.counts[of] = was
	}
	s.mu.Unlock()
	if full {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
}

// take moves what was counted to where it is wanted; lost is how many requests were
// not counted because there were too many series.
func (t *tally) take(to func(series, Usage)) (lost int64) {
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		counts := s.counts
		s.counts, s.spare = s.spare, nil
		lost += s.lost
		s.lost = 0
		s.mu.Unlock()
		for of, u := range counts {
			to(of, u)
		}
		clear(counts)
		s.mu.Lock()
		s.spare = counts
		s.mu.Unlock()
	}
	return lost
}

// rowKey is what is added up in the store.
type rowKey struct {
	series
	hour int64
}

// flusher moves usage to the store. Only its own goroutine calls it.
type flusher struct {
	keys  *Keys
	owed  map[rowKey]Usage
	since int64 // unix seconds when the counting of the present interval began
	// doubtful is the batch that failed last, under its name: the store may have it, so
	// nothing is added to it, and it is given again until the store says yes.
	doubtful []UsageRow
	name     string
}

// run flushes each interval, and at the turn of the hour, so that what was counted
// belongs to one hour; and at last when ctx is done.
func (f *flusher) run(ctx context.Context) {
	k := f.keys
	f.since = k.clock.Now().Unix()
	timer := k.clock.NewTimer(f.wait())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			f.flush(ctx)
			f.giveUp()
			return
		case <-timer.C():
		case <-k.tally.full:
		}
		f.flush(ctx)
		timer.Reset(f.wait())
	}
}

// giveUp tells and counts what the store did not take before the end.
func (f *flusher) giveUp() {
	requests := int64(0)
	for _, u := range f.owed {
		requests += u.Requests
	}
	for _, r := range f.doubtful {
		requests += r.Requests
	}
	if requests > 0 {
		f.keys.metrics.lost.Add(0, uint64(requests))
		f.keys.log.Warn().Int64("requests", requests).Msg("usage of API keys is lost: the store did not take it before the end")
	}
}

// wait is how long the next interval is.
func (f *flusher) wait() time.Duration {
	now := f.keys.clock.Now()
	return min(f.keys.flushEvery, now.Truncate(time.Hour).Add(time.Hour).Sub(now))
}

// flush gives the store what was counted and what it has not taken yet.
func (f *flusher) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	f.take()
	for f.doubtful != nil || len(f.owed) > 0 {
		if f.doubtful == nil {
			f.next()
		}
		if err := f.keys.store.AddUsage(ctx, f.name, f.doubtful); err != nil {
			f.keys.metrics.flushFailed.Add(0, 1)
			f.keys.log.Warn().Err(err).Int("rows", len(f.owed)+len(f.doubtful)).Msg("usage of API keys is kept for the next flush")
			break
		}
		f.keys.metrics.flushed.Add(0, 1)
		f.doubtful = nil
	}
	f.keys.metrics.owed.Store(int64(len(f.owed) + len(f.doubtful)))
}

// take adds what was counted since the last time to what is owed.
func (f *flusher) take() {
	k := f.keys
	now := k.clock.Now().Unix()
	hour := f.since - f.since%3600
	f.since = now
	lost := k.tally.take(func(of series, u Usage) {
		u.LastUsed = now
		at := rowKey{of, hour}
		was, ok := f.owed[at]
		if !ok && len(f.owed) >= maxOwed {
			k.metrics.lost.Add(0, uint64(u.Requests))
			return
		}
		was.Add(u)
		f.owed[at] = was
	})
	k.metrics.lost.Add(0, uint64(lost))
}

// next makes a batch of what is owed, in order: two instances which add to the same
// rows can't wait for each other.
func (f *flusher) next() {
	rows := make([]UsageRow, 0, min(len(f.owed), batchRows))
	for at, u := range f.owed {
		if len(rows) == batchRows {
			break
		}
		rows = append(rows, UsageRow{Key: at.key, Version: at.version, Route: at.route, Hour: at.hour, Usage: u})
		delete(f.owed, at)
	}
	slices.SortFunc(rows, CompareRows)
	f.doubtful, f.name = rows, randomUUID()
}

// CompareRows orders rows by key, hour, route and version.
func CompareRows(a, b UsageRow) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Version, b.Version))
}
