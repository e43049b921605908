package apikey

import (
	"context"
	"math/rand/v2"
	"time"
)

// changed is called by the store for each change, and with "" when some may have
// been missed.
func (k *Keys) changed(id string, revision int64) {
	if id == "" {
		k.resync()
		return
	}
	if CheckID(id) != nil {
		k.log.Warn().Int("bytes", len(id)).Msg("the store says that something changed which is no API key")
		return
	}
	defer k.metrics.pushed.Add(0, 1)
	at := keyID([]byte(id))
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.flights[at]; f != nil {
		f.dirty, f.floor = true, max(f.floor, revision)
	}
	if k.lasting != nil && k.lasting.HoldsKey(id) {
		k.doubt(at)
	}
	k.cache.forget(&at, revision)
	k.drop(k.absent, at)
	if k.shared != nil {
		k.owe(at, revision)
	}
}

// owe notes that the shared tier must get a tombstone. It is called under mu.
func (k *Keys) owe(id keyID, revision int64) {
	if len(k.burials) >= maxBurials {
		// So much changes while the shared tier is away that it is not worth asking: when
		// it is back, all that it has now will have died first.
		clear(k.burials)
		k.distrust.Store(k.clock.Mono() + int64(SharedLife))
	}
	k.burials[id] = max(k.burials[id], revision)
	select {
	case k.buried <- struct{}{}:
	default:
	}
}

// sharedChanged is called by the shared tier. It tells no revision, and a refill by
// another instance looks the same as a revocation: look again, no more.
func (k *Keys) sharedChanged(id string) {
	if id == "" {
		k.resync()
		return
	}
	if CheckID(id) != nil {
		return // somebody else's key under our prefix
	}
	defer k.metrics.pushed.Add(0, 1)
	at := keyID([]byte(id))
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.flights[at]; f != nil {
		f.dirty = true
	}
	if e := k.cache.get(&at); e != nil {
		e.fresh.Store(0)
	}
	k.drop(k.absent, at)
	if k.lasting != nil && k.lasting.HoldsKey(id) {
		k.doubt(at)
	}
}

// resync makes everything be read again within half a second, for a push may be
// lost. Until what is in the shared tier now has died there, the store is asked
// first: a tombstone may be lost as well.
func (k *Keys) resync() {
	defer k.metrics.resyncs.Add(0, 1)
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Mono()
	k.distrust.Store(now + int64(SharedLife))
	k.away.Store(0)
	k.sharedAway.Store(0)
	for _, f := range k.flights {
		f.dirty = true
	}
	k.cache.each(func(e *entry) {
		e.fresh.Store(min(e.fresh.Load(), now+rand.Int64N(int64(resyncSpread))))
	})
	k.absent.each(func(e *entry) { e.fresh.Store(0) })
	k.doubtAll()
	select {
	case k.buried <- struct{}{}: // it may be back
	default:
	}
}

// Bounds of what the shared tier is told in the background.
const (
	tellWithin  = time.Second
	buryAgain   = time.Second
	buryAtATime = 256 // so that refills have their turn
)

// tendShared fills the shared tier and leaves tombstones there until ctx is done.
func (k *Keys) tendShared(ctx context.Context) {
	timer := k.clock.NewTimer(buryAgain)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-k.refills:
			k.refill(ctx, r)
			continue
		case <-k.buried:
		case <-timer.C():
		}
		k.buryOwed(ctx)
		timer.Reset(buryAgain)
	}
}

func (k *Keys) refill(ctx context.Context, r Record) {
	if k.clock.Mono() < k.sharedAway.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	if err := k.shared.Put(ctx, r); err != nil {
		k.metrics.sharedFailed.Add(0, 1)
		k.sharedAway.Store(k.clock.Mono() + int64(awayRetry))
	}
}

// buryOwed leaves the tombstones that are owed, and ends with the first that fails.
func (k *Keys) buryOwed(ctx context.Context) {
	k.mu.Lock()
	owed := make(map[keyID]int64, min(len(k.burials), buryAtATime))
	for id, revision := range k.burials {
		if len(owed) == buryAtATime {
			break
		}
		owed[id] = revision
	}
	k.mu.Unlock()
	for id, revision := range owed {
		if err := k.bury(ctx, id, revision); err != nil {
			k.metrics.sharedFailed.Add(0, 1)
			return
		}
	}
	if len(owed) == buryAtATime {
		select {
		case k.buried <- struct{}{}:
		default:
		}
	}
}

// bury leaves one tombstone; then the shared tier may be asked about id again.
func (k *Keys) bury(ctx context.Context, id keyID, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	if err := k.shared.Bury(ctx, string(id[:]), revision); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.burials[id] <= revision {
		delete(k.burials, id)
	}
	return nil
}
