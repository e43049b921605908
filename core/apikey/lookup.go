package apikey

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// flight is one lookup, and what all who wait for it get. Until done is closed it
// is guarded by the mu of Keys.
type flight struct {
	done   chan struct{}
	entry  *entry
	err    error
	landed bool
	dirty  bool  // a push came after it began: what it read may be old
	floor  int64 // an entry of a smaller revision is known to be wrong
}

// look returns the entry of id that the stores have, reading it if nobody is about
// to. ahead: even though the present one is still good.
func (k *Keys) look(id keyID, ahead bool) (*entry, error) {
	k.mu.Lock()
	if f := k.flights[id]; f != nil {
		k.mu.Unlock()
		<-f.done
		return f.entry, f.err
	}
	now := k.clock.Mono()
	old := k.cache.get(&id)
	if old != nil && now < old.fresh.Load() && !ahead { // somebody was quicker
		k.mu.Unlock()
		return old, nil
	}
	if none := k.absent.get(&id); none != nil && now < none.fresh.Load() {
		k.mu.Unlock()
		k.metrics.negative.Add(rand.Uint32(), 1)
		return nil, ErrUnknown
	}
	f := &flight{done: make(chan struct{})}
	if old != nil {
		f.floor = old.revision
	}
	k.flights[id] = f
	k.mu.Unlock()
	k.metrics.misses.Add(rand.Uint32(), 1)
	defer k.crashed(id, f)
	k.fly(id, f, old)
	return f.entry, f.err
}

// crashed lands a flight that a panic ended, so that nobody waits for it for ever.
func (k *Keys) crashed(id keyID, f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !f.landed {
		f.err = unavailable("looking up key "+string(id[:]), errors.New("the lookup panicked"))
		k.land(id, f)
	}
}

// land lets those who wait go on. It is called under mu.
func (k *Keys) land(id keyID, f *flight) {
	f.landed = true
	delete(k.flights, id)
	close(f.done)
}

// tries is how often a key is read again because it changed meanwhile.
const tries = 3

// fly reads id until no push has overtaken the reading.
func (k *Keys) fly(id keyID, f *flight, old *entry) {
	for try := 1; ; try++ {
		e, err := k.gated(id, f)
		if k.settle(f, outcome{id, old, e, err, try == tries}) {
			k.endLasting(id, f)
			return
		}
	}
}

// gated reads id when there is room, and if the stores are not known to be away.
func (k *Keys) gated(id keyID, f *flight) (*entry, error) {
	what := "looking up key " + string(id[:])
	room := time.NewTimer(gateWithin)
	defer room.Stop()
	select {
	case k.gate <- struct{}{}:
		defer func() { <-k.gate }()
	case <-room.C:
		return nil, unavailable(what, errors.New("too many lookups at a time"))
	}
	if k.clock.Mono() < k.away.Load() {
		return nil, unavailable(what, errors.New("the stores were away a moment ago"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadWithin)
	defer cancel()
	e, err := k.read(ctx, id, f)
	switch {
	case err == nil || errors.Is(err, ErrUnknown) || errors.Is(err, ErrInvalid):
		return e, err
	default:
		k.away.Store(k.clock.Mono() + int64(awayRetry))
		return nil, unavailable(what, err)
	}
}

// outcome is what one reading of id gave.
type outcome struct {
	id   keyID
	old  *entry // what was known before; may be nil
	read *entry
	err  error
	last bool // it is not tried again
}

// settle ends the flight with the outcome, unless a push has made it doubtful.
func (k *Keys) settle(f *flight, o outcome) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f.dirty && !o.last {
		f.dirty = false
		return false
	}
	now := k.clock.Mono()
	switch {
	case o.err == nil:
		o.read.ahead = now + int64(aheadLife) + rand.Int64N(int64(aheadSpread))
		o.read.fresh.Store(now + int64(entryLife))
		if f.dirty { // it changes all the time: good for those who wait, and for nobody else
			o.read.fresh.Store(now)
		}
		k.cache.put(o.read)
		k.drop(k.absent, o.id)
		f.entry = o.read
	case errors.Is(o.err, ErrUnknown):
		k.drop(k.cache, o.id)
		none := &entry{id: o.id, cost: absentCost}
		none.fresh.Store(now + int64(absentLife))
		k.absent.put(none)
		f.err = ErrUnknown
	case errors.Is(o.err, ErrInvalid): // what was good before says nothing of what is meant now
		k.drop(k.cache, o.id)
		f.err = unavailable("looking up key "+string(o.id[:]), o.err)
	case o.old != nil && o.old.revision >= f.floor && now-o.old.read <= k.stale:
		// Both stores are away. A push that said more would have removed the entry, or raised the floor.
		o.old.fresh.Store(max(o.old.fresh.Load(), now+int64(staleRetry)))
		k.metrics.stale.Add(0, 1)
		f.entry = o.old
	default:
		f.err = o.err
	}
	k.land(o.id, f)
	return true
}

// absentCost is what an entry for an id that does not exist takes.
const absentCost = 256

// drop forgets id, whatever its revision.
func (k *Keys) drop(c *cache, id keyID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(&id)
}

// read asks the tiers. Errors are ErrUnknown, ErrInvalid if the store's record is
// broken, or say that nobody could answer.
func (k *Keys) read(ctx context.Context, id keyID, f *flight) (*entry, error) {
	ask := k.shared != nil && !k.owesTombstone(id)
	trusted := k.clock.Mono() >= k.distrust.Load()
	if ask && trusted {
		if e := k.readShared(ctx, id, f); e != nil {
			return e, nil
		}
	}
	r, err := k.store.Load(ctx, string(id[:]))
	if errors.Is(err, ErrUnknown) {
		return nil, ErrUnknown
	}
	if err == nil {
		return k.stored(id, &r)
	}
	if ask && !trusted { // an old record is better than none, and is as old as one of ours may be
		if e := k.readShared(context.WithoutCancel(ctx), id, f); e != nil {
			return e, nil
		}
	}
	return nil, err
}

// stored compiles what the store said, and passes it on to the shared tier.
func (k *Keys) stored(id keyID, r *Record) (*entry, error) {
	e, err := newEntry(r)
	if err == nil && e.id != id {
		err = fmt.Errorf("%w: the store returned key %.64q", ErrInvalid, r.ID)
	}
	if err != nil {
		k.log.Error().Err(err).Str("key", string(id[:])).Msg("the store holds an API key that can't be used; correct or revoke it")
		return nil, err
	}
	e.read = k.clock.Mono()
	if k.shared != nil {
		select {
		case k.refills <- *r:
		default: // the shared tier can't keep up: the next reader fills it
		}
	}
	return e, nil
}

// readShared returns what the shared tier has, or nil. What is no good there is
// counted, and the store is asked instead.
func (k *Keys) readShared(ctx context.Context, id keyID, f *flight) *entry {
	if k.clock.Mono() < k.sharedAway.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sharedWithin)
	defer cancel()
	s, err := k.shared.Load(ctx, string(id[:]))
	var e *entry
	if err == nil && s.Found {
		if e, err = newEntry(&s.Record); err == nil && (e.id != id || e.revision != s.Revision) {
			err = fmt.Errorf("%w: the record is not the one that was asked for", ErrInvalid)
		}
	}
	switch {
	case errors.Is(err, ErrInvalid):
		k.metrics.sharedInvalid.Add(0, 1)
		k.log.Warn().Err(err).Str("key", string(id[:])).Msg("the shared tier's record of an API key is ignored")
		return nil
	case err != nil:
		k.metrics.sharedFailed.Add(0, 1)
		k.sharedAway.Store(k.clock.Mono() + int64(awayRetry))
		return nil
	case !k.raise(f, s.Revision) || e == nil: // nothing, a tombstone, or older than what was pushed
		k.metrics.sharedMisses.Add(0, 1)
		return nil
	}
	k.metrics.sharedHits.Add(0, 1)
	e.read = k.clock.Mono() - int64(max(s.Age, 0))
	return e
}

// raise notes that a record of that revision exists; false if a newer one does.
func (k *Keys) raise(f *flight, revision int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if revision < f.floor {
		return false
	}
	f.floor = revision
	return true
}

// owesTombstone says whether the shared tier may hold a record of id that is known
// to be out of date.
func (k *Keys) owesTombstone(id keyID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, owes := k.burials[id]
	return owes
}
