package apikey

import (
	"context"
	"math/rand/v2"
	"time"
)

// How usage is forgotten: in batches that each hold few locks, now and then, and not by
// all instances at once.
const (
	forgetEvery  = time.Hour
	forgetFirst  = time.Minute // after the start, at most: an instance may never live an hour
	forgetRows   = 1000        // in one transaction
	forgetWithin = 10 * time.Second
)

// forgetUsage deletes usage that is older than it is kept, until ctx is done.
func (k *Keys) forgetUsage(ctx context.Context) {
	timer := k.clock.NewTimer(rand.N(forgetFirst))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		k.forgetOld(ctx)
		timer.Reset(forgetEvery/2 + rand.N(forgetEvery))
	}
}

// forgetOld deletes all that is old now. What a store does not delete is as old the next time.
func (k *Keys) forgetOld(ctx context.Context) {
	before := k.clock.Now().Add(-k.keepUsage)
	for ctx.Err() == nil {
		n, err := k.forgetBatch(ctx, before)
		k.metrics.forgotten.Add(0, uint64(n))
		if err != nil && ctx.Err() == nil {
			k.log.Warn().Err(err).Msg("old usage of API keys is kept: the store did not delete it; it is tried again within two hours")
		}
		if err != nil || n < forgetRows {
			return
		}
	}
}

func (k *Keys) forgetBatch(ctx context.Context, before time.Time) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, forgetWithin)
	defer cancel()
	return k.store.ForgetUsage(ctx, before, forgetRows)
}
