package apikey

import (
	"context"
	"crypto/subtle"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// How long what is known of an id counts (SECURITY I10, I18).
const (
	entryLife    = 60 * time.Second // an entry, pushed or not
	aheadLife    = 40 * time.Second // until it is read again in the background, if it is used
	aheadSpread  = 15 * time.Second // so that keys which came together do not go on coming together
	absentLife   = 5 * time.Second  // an id that does not exist
	staleRetry   = time.Second      // a stale entry that was served because both stores are away
	awayRetry    = 500 * time.Millisecond
	resyncSpread = 500 * time.Millisecond // over which everything is read again after a lost push
)

// Bounds of a lookup.
const (
	gateWithin   = time.Second            // waiting for its turn
	loadWithin   = 2 * time.Second        // reading
	sharedWithin = 250 * time.Millisecond // the shared tier's part
	maxLoads     = 32                     // lookups at a time, so that made-up ids can't take all connections
	readers      = 4                      // that read ahead
	maxQueue     = 1024                   // refreshes, refills
	maxBurials   = 10_000                 // tombstones that the shared tier has not taken
)

// The defaults of Options.
const (
	cacheBytes  = 64 << 20
	absentBytes = 1 << 20
)

// Options are what Keys needs.
type Options struct {
	Store      Store         // required
	Shared     Shared        // nil: there is none
	StaleLimit time.Duration // how old an entry may be while both stores are away; 0: a minute
	FlushEvery time.Duration // of usage; 0: 10 s
	KeepUsage  time.Duration // for how long usage is kept; 0: for ever
	CacheBytes int64         // 0: 64 MiB
	Lasting    Lasting       // nil: nothing lasts longer than its request
	Clock      clock.Clock   // required
	Meter      *meter.Set    // required
	Log        zerolog.Logger
}

// Keys checks, changes and counts API keys. Its methods may be called concurrently.
type Keys struct {
	store      Store
	shared     Shared
	stale      int64
	flushEvery time.Duration
	keepUsage  time.Duration
	lasting    Lasting
	clock      clock.Clock
	log        zerolog.Logger
	metrics    *metrics

	cache  *cache // of keys
	absent *cache // of ids that do not exist
	tally  *tally

	gate       chan struct{} // held by each lookup
	away       atomic.Int64  // Mono until which nobody asks the stores
	sharedAway atomic.Int64  // Mono until which nobody asks the shared tier
	distrust   atomic.Int64  // Mono until which the shared tier is asked last
	refreshes  chan keyID
	refills    chan Record
	buried     chan struct{} // woken when burials has something new
	doubted    chan struct{} // woken when all keys on whose behalf something lasts must be read

	// mu guards what follows, and every write to an entry's fresh. It is taken by
	// lookups and pushes, never by a hit.
	mu      sync.Mutex
	flights map[keyID]*flight
	burials map[keyID]int64 // revisions whose tombstones the shared tier has not taken
}

// New returns Keys that work at once; Run adds pushes, background reading and the
// flushing of usage.
func New(o Options) *Keys {
	k := &Keys{
		store: o.Store, shared: o.Shared, clock: o.Clock, log: o.Log,
		stale:      int64(max(o.StaleLimit, entryLife)),
		flushEvery: o.FlushEvery, keepUsage: o.KeepUsage, lasting: o.Lasting,
		absent: newCache(absentBytes), tally: newTally(maxCounted),
		gate: make(chan struct{}, maxLoads), refreshes: make(chan keyID, maxQueue),
		refills: make(chan Record, maxQueue), buried: make(chan struct{}, 1), doubted: make(chan struct{}, 1),
		flights: map[keyID]*flight{}, burials: map[keyID]int64{},
	}
	if k.flushEvery <= 0 {
		k.flushEvery = flushEvery
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = cacheBytes
	}
	k.cache = newCache(o.CacheBytes)
	k.metrics = newMetrics(o.Meter, k)
	k.distrust.Store(k.clock.Mono() + int64(SharedLife))
	return k
}

// Run watches the stores, reads ahead, flushes usage and forgets what is old of it until ctx is done; then it
// flushes once more, and returns when all its goroutines have. Call it once.
func (k *Keys) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { k.store.Watch(ctx, k.changed) })
	for range readers {
		all.Go(func() { k.readAhead(ctx) })
	}
	if k.keepUsage > 0 {
		all.Go(func() { k.forgetUsage(ctx) })
	}
	if k.lasting != nil {
		all.Go(func() { k.readLasting(ctx) })
	}
	all.Go(func() { (&flusher{keys: k, owed: map[rowKey]Usage{}}).run(ctx) })
	if k.shared != nil {
		all.Go(func() { k.shared.Watch(ctx, k.sharedChanged) })
		all.Go(func() { k.tendShared(ctx) })
	}
	all.Wait()
}

// Check returns the key that raw is, shown by somebody at from, or one of the
// errors of this package. raw is only looked at. A known key costs less than a
// microsecond and allocates nothing; an unknown one waits for its turn and for a store, seconds at most.
func (k *Keys) Check(raw []byte, from netip.Addr) (*Key, error) {
	key, err := k.check(raw, from)
	if err != nil {
		k.metrics.refuse(err)
	}
	return key, err
}

func (k *Keys) check(raw []byte, from netip.Addr) (*Key, error) {
	s, ok := parse(raw)
	if !ok {
		return nil, ErrMalformed
	}
	now := k.clock.Mono()
	e := k.cache.get(&s.id)
	if e == nil || now >= e.fresh.Load() {
		var err error
		if e, err = k.look(s.id, false); err != nil {
			return nil, err
		}
	} else {
		k.metrics.hits.Add(rand.Uint32(), 1)
		if now >= e.ahead && !e.asked.Load() {
			k.refresh(e)
		}
	}
	key := e.versionOf(&s)
	if key == nil {
		return nil, ErrUnknown
	}
	if err := k.allow(e, key, from); err != nil {
		return nil, err
	}
	return key, nil
}

// versionOf returns the key whose secret was shown, or nil. The whole digests are
// compared, in constant time; the secrets themselves are kept nowhere.
func (e *entry) versionOf(s *shown) *Key {
	h := s.hash()
	for i := range e.versions {
		if subtle.ConstantTimeCompare(h[:], e.versions[i].hash[:]) == 1 {
			return e.versions[i].key
		}
	}
	return nil
}

// allow says why a key whose secret is known may not be used, or nil.
func (k *Keys) allow(e *entry, key *Key, from netip.Addr) error {
	if !e.active {
		return ErrInactive
	}
	if key.Expires != 0 && k.clock.Now().Unix() >= key.Expires {
		return ErrExpired
	}
	if len(key.AllowFrom) == 0 {
		return nil
	}
	from = from.Unmap().WithZone("")
	for _, p := range key.AllowFrom {
		if p.Contains(from) {
			return nil
		}
	}
	return ErrAddress
}

// refresh orders a reading in the background, if there is room.
func (k *Keys) refresh(e *entry) {
	if e.asked.Swap(true) {
		return
	}
	select {
	case k.refreshes <- e.id:
	default:
		e.asked.Store(false)
	}
}

// readAhead reads what is about to be out of date, so that no request waits for it.
func (k *Keys) readAhead(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-k.refreshes:
			k.readAgain(id)
		}
	}
}

// readAgain reads id; what it finds is known to all then.
func (k *Keys) readAgain(id keyID) {
	if _, err := k.look(id, true); err != nil {
		k.log.Debug().Err(err).Str("key", string(id[:])).Msg("reading an API key again")
	}
}

// unavailable makes err one that wraps ErrUnavailable, and no other of ours.
func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w: %v", what, ErrUnavailable, err)
}
