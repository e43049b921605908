package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// KeysOptions say where signing keys are kept and when they change.
type KeysOptions struct {
	Store         KeyStore
	EncryptionKey []byte        // 32 bytes; nil only where the store is on this machine alone
	RotateEvery   time.Duration // 0: only by Rotate
	PublishAhead  time.Duration // how long a key is published before it signs
	Longest       time.Duration // the longest life of an access or refresh token
	Clock         clock.Clock
	Meter         *meter.Set // nil: nothing is counted
	Log           zerolog.Logger
}

// Keys are the signing keys of all instances that share a store (SECURITY I17).
// They may be used concurrently.
type Keys struct {
	store  KeyStore
	sealer sealer
	rotate rotation
	clock  clock.Clock
	log    zerolog.Logger

	ring  atomic.Pointer[ring] // written under mu, read by every signature and first sight
	read  atomic.Int64         // Mono of the last good look at the store
	nudge chan struct{}

	mu      sync.Mutex // one look at the store at a time
	failing string     // what the last look failed with, so that it is logged once
}

// ring is the keys as they were read last. It is immutable.
type ring struct {
	stored  []StoredKey // ordered
	opened  map[string]*signingKey
	jwks    []byte
	foreign []byte // the public keys of internal tokens
}

// The pace of Run. A key that was compromised must be refused everywhere in less
// than a second, also where the store's notifications don't come through.
const (
	pollEvery   = 800 * time.Millisecond
	pollTimeout = 5 * time.Second
)

// OpenKeys reads the keys and makes those that are missing. Where the store can't
// be reached it succeeds all the same, and Run goes on trying: until then nothing
// is signed, and nothing verified (ErrUnavailable). Keys that can't be opened, most
// likely because the encryption key is another one, are an error.
func OpenKeys(ctx context.Context, o KeysOptions) (*Keys, error) {
	s, err := newSealer(o.EncryptionKey)
	if err != nil {
		return nil, err
	}
	k := &Keys{
		store: o.Store, sealer: s, clock: o.Clock, log: o.Log, nudge: make(chan struct{}, 1),
		rotate: rotation{every: o.RotateEvery, ahead: o.PublishAhead, life: o.Longest},
	}
	if o.RotateEvery > 0 && o.PublishAhead > o.RotateEvery {
		return nil, fmt.Errorf("signing keys can't be published %s ahead and change every %s", o.PublishAhead, o.RotateEvery)
	}
	k.ring.Store(&ring{})
	if err := k.look(ctx); err != nil && (!errors.Is(err, ErrUnavailable) || ctx.Err() != nil) {
		return nil, err
	}
	if o.Meter != nil {
		o.Meter.Gauge("gateway_signing_keys_age_seconds", "Time since the signing keys were last read from their store.", k.age)
	}
	return k, nil
}

// age is how old our knowledge of the store is, in seconds.
func (k *Keys) age() float64 { return time.Duration(k.clock.Mono() - k.read.Load()).Seconds() }

// Run follows the store until ctx is done: it looks each second, and when nudged.
func (k *Keys) Run(ctx context.Context) {
	timer := k.clock.NewTimer(pollEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		case <-k.nudge:
		}
		short, cancel := context.WithTimeout(ctx, pollTimeout)
		_ = k.look(short) // logged there, and tried again soon
		cancel()
		timer.Reset(pollEvery)
	}
}

// Nudge makes Run look at the store now. It never waits.
func (k *Keys) Nudge() {
	select {
	case k.nudge <- struct{}{}:
	default:
	}
}

// look reads the store, changes what is due there, and takes over what it holds.
func (k *Keys) look(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	stored, err := k.store.Load(ctx)
	if err == nil {
		if _, due := k.rotate.settle(cloned(stored), k.now()); due {
			stored, err = k.update(ctx, func(keys []StoredKey) ([]StoredKey, error) { return keys, nil })
		}
	}
	if err == nil {
		err = k.publish(stored)
	}
	k.report(ctx, err)
	return err
}

// report logs a change between failing and not.
func (k *Keys) report(ctx context.Context, err error) {
	switch {
	case err == nil && k.failing != "":
		k.failing = ""
		k.log.Info().Msg("the signing keys can be read again")
	case err != nil && ctx.Err() != context.Canceled && k.failing != err.Error():
		k.failing = err.Error()
		k.log.Error().Err(err).Msg("the signing keys can't be read; those known stay in use")
	}
}

// now is the time in the unit of stored keys.
func (k *Keys) now() time.Time { return k.clock.Now().UTC().Truncate(time.Second) }

// update changes the stored keys by change, then settles them and makes the keys
// that are missing. It is called under mu.
func (k *Keys) update(ctx context.Context, change func([]StoredKey) ([]StoredKey, error)) ([]StoredKey, error) {
	var after []StoredKey
	err := k.store.Update(ctx, func(keys []StoredKey) ([]StoredKey, error) {
		keys, err := change(keys)
		if err != nil {
			return nil, err
		}
		after, _ = k.rotate.settle(keys, k.now())
		for i := range after {
			if after[i].ID != "" {
				continue
			}
			if after[i], err = k.sealer.generate(after[i]); err != nil {
				return nil, err
			}
			k.log.Info().Str("kid", after[i].ID).Str("purpose", string(after[i].Purpose)).Time("signs", after[i].Signs).Msg("a signing key was made")
		}
		return after, nil
	})
	if err != nil {
		return nil, fmt.Errorf("changing the signing keys: %w", err)
	}
	return cloned(after), nil
}

// publish takes over what the store holds. A key that can't be opened is left out
// and reported; the others are used. Keys that are gone are withdrawn at once, and
// with them every token that they signed (SECURITY I9).
func (k *Keys) publish(stored []StoredKey) error {
	ordered(stored)
	before := k.ring.Load()
	k.read.Store(k.clock.Mono())
	if slices.EqualFunc(before.stored, stored, sameKey) && len(before.opened) == len(stored) {
		return nil
	}
	next := &ring{opened: make(map[string]*signingKey, len(stored))}
	var problem error
	for _, s := range stored {
		opened, err := k.opened(before, s)
		if err != nil {
			problem = fmt.Errorf("signing key %q: %w", s.ID, err)
			continue
		}
		next.opened[s.ID] = opened
		next.stored = append(next.stored, s)
	}
	next.jwks, next.foreign = next.document(ForAccess), next.document(ForInternal)
	k.ring.Store(next)
	for id, old := range before.opened {
		if now := next.opened[id]; now == nil || now.verifier != old.verifier {
			old.verifier.withdrawn.Store(true)
		}
	}
	return problem
}

// opened returns the key of s, the one that is known already if it is the same.
func (k *Keys) opened(before *ring, s StoredKey) (*signingKey, error) {
	if known := before.opened[s.ID]; known != nil && known.Purpose == s.Purpose && slices.Equal(known.Sealed, s.Sealed) {
		return &signingKey{StoredKey: s, private: known.private, verifier: known.verifier}, nil
	}
	return k.sealer.unseal(s)
}

func sameKey(a, b StoredKey) bool {
	return a.ID == b.ID && a.Purpose == b.Purpose && a.Life == b.Life && a.Signs.Equal(b.Signs) && slices.Equal(a.Sealed, b.Sealed)
}

// signing returns the key that signs now for a purpose.
func (k *Keys) signing(p Purpose, now time.Time) (*signingKey, error) {
	r := k.ring.Load()
	line := of(r.stored, p)
	i := current(line, now)
	if i < 0 {
		return nil, fmt.Errorf("%w: there is no signing key for %s tokens", ErrUnavailable, p)
	}
	return r.opened[line[i].ID], nil
}

// verification returns the key of that id, if tokens of the purpose may be signed by it.
func (k *Keys) verification(p Purpose, id string) (*verificationKey, error) {
	r := k.ring.Load()
	if s := r.opened[id]; s != nil && s.Purpose == p {
		return s.verifier, nil
	}
	if r.jwks == nil {
		return nil, fmt.Errorf("%w: the signing keys were never read", ErrUnavailable)
	}
	return nil, refused("no key of ours has its kid")
}

// JWKS returns the document of /.well-known/jwks.json (RFC 7517): the public keys
// of access tokens, old, current and next. It is not to be changed.
func (k *Keys) JWKS() []byte { return k.ring.Load().keys(ForAccess) }

// InternalJWKS returns the public keys of internal tokens in the same form. It is
// for the services behind the gateway, and never published beside the other: a
// service that looks at no typ would take internal tokens for access tokens.
func (k *Keys) InternalJWKS() []byte { return k.ring.Load().keys(ForInternal) }

// Rotate changes the keys. Without a kid the next ones sign as soon as they have
// been published long enough. With the kid of a compromised key that one is
// dropped: no instance takes what it signed from its next look at the store on, and
// if it was the one that signed, another does at once. It returns all keys.
func (k *Keys) Rotate(ctx context.Context, compromised string) ([]KeyInfo, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	stored, err := k.update(ctx, func(keys []StoredKey) ([]StoredKey, error) {
		if compromised == "" {
			return k.rotate.hasten(keys, now), nil
		}
		left, found := drop(keys, compromised, now)
		if !found {
			return nil, fmt.Errorf("there is no signing key %q", compromised)
		}
		return left, nil
	})
	if err == nil {
		err = k.publish(stored)
	}
	if err != nil {
		return nil, err
	}
	return k.List(), nil
}

// List returns what may be known of all keys, by purpose and age.
func (k *Keys) List() []KeyInfo {
	stored, now := k.ring.Load().stored, k.clock.Now()
	var out []KeyInfo
	for _, p := range purposes() {
		line := of(stored, p)
		signs := current(line, now)
		for i, s := range line {
			phase := "current"
			switch {
			case i < signs:
				phase = "old"
			case i > signs:
				phase = "next"
			}
			out = append(out, KeyInfo{ID: s.ID, Purpose: p, Phase: phase, Created: s.Created, Signs: s.Signs, Ends: ends(line, i)})
		}
	}
	return out
}
