package apikey

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// NewKey is what a key is made of. All but Name, and one of Client and User, may be empty.
type NewKey struct {
	Name      string
	Client    string
	User      string
	Scopes    []string
	Policy    string
	AllowFrom []netip.Prefix
	Expires   time.Time // zero: never
}

// maxOverlap is how long two secrets of a key may be good.
const maxOverlap = 366 * 24 * time.Hour

// Create makes a key and returns it as its holder will show it, which is the only
// time that anybody can: only a hash is kept. Errors wrap ErrInvalid, ErrNoClient
// or ErrUnavailable.
func (k *Keys) Create(ctx context.Context, n NewKey) (secretKey string, key Key, err error) {
	now := k.clock.Now().Unix()
	r := Record{
		ID: randomBase62(idSize), Name: n.Name, Client: n.Client, User: n.User, Scopes: slices.Clone(n.Scopes),
		Policy: n.Policy, Active: true, Created: now, Revision: 1,
	}
	for _, p := range n.AllowFrom {
		r.AllowFrom = append(r.AllowFrom, p.Masked())
	}
	if !n.Expires.IsZero() {
		if r.Expires = n.Expires.Unix(); r.Expires <= now {
			return "", Key{}, fmt.Errorf("creating a key: %w: it would have expired already", ErrInvalid)
		}
	}
	var v Version
	secretKey, v.Hash = newKey(r.ID)
	v.Number, v.Created = 1, now
	r.Versions = []Version{v}
	if err := r.Check(); err != nil {
		return "", Key{}, fmt.Errorf("creating a key: %w", err)
	}
	if err := k.store.Create(ctx, r); err != nil {
		return "", Key{}, fmt.Errorf("creating a key: %w", err)
	}
	kept, err := k.store.Load(ctx, r.ID)
	if err != nil {
		return "", Key{}, fmt.Errorf("reading the new key %s: %w", r.ID, err)
	}
	k.tell(ctx, r.ID, kept.Revision)
	scopes, err := kept.scopes()
	if err != nil {
		return "", Key{}, fmt.Errorf("reading the new key %s: %w: %w", r.ID, ErrInvalid, err)
	}
	return secretKey, *kept.key(v, scopes), nil
}

// Rotate gives a key a new secret, which is good at once; the one in use is good
// for overlap more, and every older one ends now. While an overlap lasts, only a
// rotation with an overlap of 0 is possible: that is for a secret that has leaked.
// Of rotations at one time one wins. Errors wrap ErrConflict, ErrRotating,
// ErrUnknown, ErrInactive, ErrExpired, ErrInvalid or ErrUnavailable.
func (k *Keys) Rotate(ctx context.Context, id string, overlap time.Duration) (secretKey string, err error) {
	if overlap < 0 || overlap > maxOverlap {
		return "", fmt.Errorf("rotating key %.64q: %w: an overlap is 0 to %s, got %s", id, ErrInvalid, maxOverlap, overlap)
	}
	r, err := k.load(ctx, id)
	if err != nil {
		return "", fmt.Errorf("rotating key %.64q: %w", id, err)
	}
	now := k.clock.Now()
	switch {
	case !r.Active:
		return "", fmt.Errorf("rotating key %s: %w", id, ErrInactive)
	case r.Expires != 0 && now.Unix() >= r.Expires:
		return "", fmt.Errorf("rotating key %s: %w", id, ErrExpired)
	case overlap > 0 && r.overlaps(now.Unix()):
		return "", fmt.Errorf("rotating key %s: %w", id, ErrRotating)
	}
	secretKey = r.rotate(now.Unix(), now.Add(overlap).Unix())
	if err := k.store.Update(ctx, r); err != nil {
		return "", fmt.Errorf("rotating key %s: %w", id, err)
	}
	k.tell(ctx, id, r.Revision)
	return secretKey, nil
}

// overlaps says whether a secret before the last one is still good.
func (r *Record) overlaps(now int64) bool {
	return slices.ContainsFunc(r.Versions[:len(r.Versions)-1], func(v Version) bool { return v.Until == 0 || v.Until > now })
}

// rotate adds a secret; the last one is good until then, and those before it end now.
func (r *Record) rotate(now, until int64) (secretKey string) {
	last := len(r.Versions) - 1
	for i := range r.Versions {
		v := &r.Versions[i]
		end := now
		if i == last {
			end = until
		}
		if v.Until == 0 || v.Until > end {
			v.Until = end
		}
	}
	secretKey, hash := newKey(r.ID)
	r.Versions = append(r.Versions, Version{Number: r.Versions[last].Number + 1, Hash: hash, Created: now})
	r.Versions = r.Versions[max(0, len(r.Versions)-maxVersions):]
	r.Revision++
	return secretKey
}

// revokeTries is how often a revocation that others overtake is tried again.
const revokeTries = 100

// Revoke switches a key off for good; every instance refuses it within a second. To
// revoke it twice is no error. Errors wrap ErrUnknown, ErrConflict or ErrUnavailable.
func (k *Keys) Revoke(ctx context.Context, id string) error {
	var err error
	for range revokeTries { // it must win against those who rotate
		var r Record
		if r, err = k.load(ctx, id); err != nil {
			return fmt.Errorf("revoking key %.64q: %w", id, err)
		}
		if r.Active {
			r.Active = false
			r.Revision++
			if err = k.store.Update(ctx, r); errors.Is(err, ErrConflict) {
				continue
			}
		}
		if err == nil {
			k.tell(ctx, id, r.Revision)
			return nil
		}
		break
	}
	return fmt.Errorf("revoking key %.64q: %w", id, err)
}

// List returns all keys with their owners, by id. Errors wrap ErrUnavailable.
func (k *Keys) List(ctx context.Context) ([]Record, error) {
	all, err := k.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the keys: %w", err)
	}
	return all, nil
}

// Usage returns how a key was used in the hours that begin at from or later and
// before to, by hour, route and version. What no instance has flushed is not in it.
// Errors wrap ErrUnknown, ErrInvalid or ErrUnavailable.
func (k *Keys) Usage(ctx context.Context, id string, from, to time.Time) ([]UsageRow, error) {
	if !from.Before(to) {
		return nil, fmt.Errorf("usage of key %.64q: %w: from %s is not before %s", id, ErrInvalid, from, to)
	}
	if _, err := k.load(ctx, id); err != nil {
		return nil, fmt.Errorf("usage of key %.64q: %w", id, err)
	}
	rows, err := k.store.Usage(ctx, id, from, to)
	if err != nil {
		return nil, fmt.Errorf("usage of key %s: %w", id, err)
	}
	return rows, nil
}

// load reads a record from the store itself.
func (k *Keys) load(ctx context.Context, id string) (Record, error) {
	if CheckID(id) != nil {
		return Record{}, ErrUnknown
	}
	r, err := k.store.Load(ctx, id)
	if err != nil {
		return Record{}, err
	}
	if len(r.Versions) == 0 {
		return Record{}, fmt.Errorf("%w: no secret is on record", ErrInvalid)
	}
	return r, nil
}

// tell makes a change known here and in the shared tier at once, without waiting
// for a push. A command that ends has nobody who would try the tombstone again;
// every instance that hears of the change does.
func (k *Keys) tell(ctx context.Context, id string, revision int64) {
	k.changed(id, revision)
	if k.shared == nil {
		return
	}
	if err := k.bury(ctx, keyID([]byte(id)), revision); err != nil {
		k.log.Warn().Err(err).Str("key", id).Msg("the shared tier did not hear of a changed API key; it is told again")
	}
}
