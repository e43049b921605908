package apikey

import (
	"context"
	"errors"
)

// Lasting is what goes on on behalf of keys after their requests were let in: sockets
// and streams, which end with the key (SECURITY I21). Its methods may be called
// concurrently, and don't wait.
type Lasting interface {
	Keys() []string // ids of the keys on whose behalf something lasts
	HoldsKey(id string) bool
	EndKey(id string)
}

// Ended says whether a key is known to be switched off or deleted. One of which nothing
// is known is read in the background; what lasts on its behalf ends if it is. It never
// waits.
func (k *Keys) Ended(id string) bool {
	if CheckID(id) != nil {
		return false
	}
	at := keyID([]byte(id))
	if e := k.cache.get(&at); e != nil {
		return !e.active
	}
	if k.absent.get(&at) != nil {
		return true
	}
	k.doubt(at)
	return false
}

// doubt orders a reading of a key on whose behalf something lasts.
func (k *Keys) doubt(id keyID) {
	select {
	case k.refreshes <- id:
	default: // so much changes at once that it is as well to read all of them
		k.doubtAll()
	}
}

// doubtAll orders a reading of all keys on whose behalf something lasts.
func (k *Keys) doubtAll() {
	select {
	case k.doubted <- struct{}{}:
	default: // it is ordered already
	}
}

// readLasting reads, when it must, the keys that no request may show again.
func (k *Keys) readLasting(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.doubted:
		}
		for _, id := range k.lasting.Keys() {
			if ctx.Err() != nil {
				return
			}
			if CheckID(id) == nil {
				k.readAgain(keyID([]byte(id)))
			}
		}
	}
}

// endLasting ends what lasts on behalf of a key that a flight has found to be no good.
func (k *Keys) endLasting(id keyID, f *flight) {
	if k.lasting != nil && (f.err == nil && !f.entry.active || errors.Is(f.err, ErrUnknown)) {
		k.lasting.EndKey(string(id[:]))
	}
}
