package apikey

import (
	"context"
	"time"
)

// Store is where keys live for good: PostgreSQL, or the configuration in memory.
// Methods may be called concurrently. Errors wrap ErrUnavailable if the store can't
// be reached or broke, and what each method says otherwise.
type Store interface {
	Records
	Ledger
	Watcher
}

// Records are the keys themselves.
type Records interface {
	// Load returns a key with its owner, or ErrUnknown.
	Load(ctx context.Context, id string) (Record, error)
	// Create keeps a new key, at revision 1. ErrExists; ErrNoClient if its client or
	// its user is not known.
	Create(ctx context.Context, r Record) error
	// Update replaces the key if what is stored has revision r.Revision-1, and tells
	// the watchers. Versions that r does not name stay on record, and are dead.
	// ErrConflict if another one was quicker, ErrUnknown.
	Update(ctx context.Context, r Record) error
	// List returns all keys, by id.
	List(ctx context.Context) ([]Record, error)
}

// Ledger counts what keys are used for.
type Ledger interface {
	// AddUsage adds rows to what is known, all of them or none; no two are of one
	// place. Rows of keys that are gone are left out. A batch, named by a UUID, that was
	// added before is not added again: whoever got an error may give it once more.
	AddUsage(ctx context.Context, batch string, rows []UsageRow) error
	// Usage returns the rows of a key with from <= Hour < to, by hour, route and version.
	Usage(ctx context.Context, id string, from, to time.Time) ([]UsageRow, error)
	// ForgetUsage deletes rows with Hour < before, at most most of them, and says how many
	// it deleted. When each key was used last stays known.
	ForgetUsage(ctx context.Context, before time.Time, most int) (deleted int, err error)
}

// Watcher pushes changes.
type Watcher interface {
	// Watch calls changed for each key that was made or changed by anybody, and with
	// "" when changes may have been missed: after each connection, the first one
	// included. It returns when ctx is done.
	Watch(ctx context.Context, changed func(id string, revision int64))
}

// Shared is the tier between the memory of the instances and the store (Redis). It
// may lose everything at any time. Methods may be called concurrently.
type Shared interface {
	// Load returns what is there. ErrInvalid says that it was nothing of ours, or was
	// tampered with, and ErrUnavailable that nobody answered.
	Load(ctx context.Context, id string) (Shelved, error)
	// Put keeps a record for SharedLife, unless one or a tombstone is there whose
	// revision is as great or greater; only a tombstone of its own revision it replaces.
	Put(ctx context.Context, r Record) error
	// Bury leaves a tombstone instead of an older record, for twice SharedLife: no
	// record of a smaller revision can be put there.
	Bury(ctx context.Context, id string, revision int64) error
	// Watch calls changed for each key that may have changed, with "" after each
	// connection. It returns when ctx is done.
	Watch(ctx context.Context, changed func(id string))
}

// SharedLife is how long a record can be in the shared tier.
const SharedLife = 5 * time.Minute

// Shelved is what the shared tier has under an id; the zero value is nothing.
type Shelved struct {
	Found    bool // there is a record, not only a tombstone
	Record   Record
	Revision int64         // of the record or the tombstone
	Age      time.Duration // since the record came from the store, at most
}

// UsageRow is how one secret of a key was used on one route in one hour.
type UsageRow struct {
	Key     string
	Version int
	Route   string
	Hour    int64 // unix seconds of its beginning
	Usage
}

// Usage is what is counted.
type Usage struct {
	Requests int64
	Errors   int64 // answered 400 or above, without those that were limited
	Limited  int64 // refused by a rate limit
	In, Out  int64 // bytes of bodies
	LastUsed int64 // unix seconds, no finer than the interval of flushes
}

// Add adds o to u.
func (u *Usage) Add(o Usage) {
	u.Requests += o.Requests
	u.Errors += o.Errors
	u.Limited += o.Limited
	u.In += o.In
	u.Out += o.Out
	u.LastUsed = max(u.LastUsed, o.LastUsed)
}
