package revocation

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
)

// Durable is a store in which revocations survive everything. All instances share
// it. Its methods may be called concurrently.
type Durable interface {
	// Save keeps entries beside what there is of their keys, or merged with it. When it
	// returns nil they survive a crash of everything.
	Save(ctx context.Context, entries []Entry) error
	// Since returns what was saved since another call returned cursor, with the cursor
	// for the next one. It leaves out nothing, whatever order savers end in, and may
	// return something twice, or a key's entries one by one. After "" it returns all
	// that is in force.
	Since(ctx context.Context, cursor string) (entries []Entry, next string, err error)
	// Watch calls woke whenever something may have been saved, until ctx is done. It may
	// miss some: Since is asked every second in any case. It handles its own errors.
	Watch(ctx context.Context, woke func())
	// Purge forgets entries that expired before a unix second.
	Purge(ctx context.Context, before int64) error
}

// Push is a store that tells all instances at once what was written to it, and may
// lose all it has. Its methods may be called concurrently.
type Push interface {
	// Publish keeps entries until they expire, merged with what there is of their
	// keys, and tells everybody whose Follow runs.
	Publish(ctx context.Context, entries []Entry) error
	// Load returns everything, and Read what there is of some keys. What is no entry
	// is logged by the store and left out.
	Load(ctx context.Context) ([]Entry, error)
	Read(ctx context.Context, keys []string) ([]Entry, error)
	// Follow tells the news until ctx is done. It handles its own errors. told is
	// quick; calls may overlap.
	Follow(ctx context.Context, told func(News))
}

// News is what a push store tells. The zero value says that the way from it is open,
// and that nothing has changed but what was told before.
type News struct {
	// Keys were written, or have gone.
	Keys []string
	// Everything says that what was known of the store may be wrong: it was emptied, or
	// was out of sight and can be read again from now on.
	Everything bool
}

// source is what the mirror knows of one of its stores.
type source struct {
	name   string
	counts *counts
	write  func(context.Context, []Entry) error
	// synced is the monotonic time up to which the mirror knows all that the store had;
	// 0: it was never read. Written by the loop of the source, read by State.
	synced atomic.Int64
	owed   debt
}

// debt is the keys of entries that a store lacks, as far as it is known.
type debt struct {
	mu   sync.Mutex // taken by Revoke and by loops
	keys map[string]struct{}
}

func (d *debt) add(keys ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys == nil {
		d.keys = map[string]struct{}{}
	}
	for _, k := range keys {
		d.keys[k] = struct{}{}
	}
}

// take takes away at most n of the keys.
func (d *debt) take(n int) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]string, 0, min(n, len(d.keys)))
	for k := range maps.Keys(d.keys) {
		if len(out) == n {
			break
		}
		out = append(out, k)
		delete(d.keys, k)
	}
	return out
}

func (d *debt) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys)
}

// mailbox is where a push store puts its news, never waiting for the mirror.
type mailbox struct {
	now func() int64
	// wake has one element while there is something to be done at once.
	wake chan struct{}

	mu         sync.Mutex // taken for moments by whoever tells, and by the loop
	keys       map[string]struct{}
	everything bool
	at         int64 // monotonic time of the last news
}

// mostKeys is how many changed keys are remembered. Beyond that, reading everything is cheaper.
const mostKeys = 10_000

func newMailbox(now func() int64) *mailbox {
	return &mailbox{now: now, wake: make(chan struct{}, 1), keys: map[string]struct{}{}}
}

// tell is given to Follow.
func (b *mailbox) tell(n News) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = b.now()
	b.everything = b.everything || n.Everything
	for _, k := range n.Keys {
		b.keys[k] = struct{}{}
	}
	if len(b.keys) > mostKeys {
		b.everything = true
	}
	if b.everything {
		clear(b.keys)
	}
	ring(b.wake)
}

// putBack returns what take gave and could not be read.
func (b *mailbox) putBack(keys []string, everything bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.everything = b.everything || everything
	for _, k := range keys {
		b.keys[k] = struct{}{}
	}
}

// take empties the box. at is when the last news came, 0 if there was none.
func (b *mailbox) take() (keys []string, everything bool, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.keys {
		keys = append(keys, k)
	}
	everything, at = b.everything, b.at
	clear(b.keys)
	b.everything, b.at = false, 0
	return keys, everything, at
}

// ring wakes whoever waits, or will.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
