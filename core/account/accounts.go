package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/setting"
)

// Options are what Accounts needs.
type Options struct {
	Store     Store
	Throttle  Throttle
	Passwords *Passwords
	// EncryptionKey is of at least 32 bytes, the same at all instances. It seals second
	// factors and signs device cookies. Nil only where nothing is kept: then it is made
	// up, and a restart forgets which devices are known.
	EncryptionKey []byte
	Limits        Limits     // zero fields are the defaults
	Issuer        string     // whose code it is, as the user's app shows; "Suuupra Gateway" if empty
	Meter         *meter.Set // nil counts for nobody
	Clock         clock.Clock
	Log           zerolog.Logger
}

// Accounts lets users in. It may be used concurrently.
type Accounts struct {
	store     Store
	throttle  Throttle
	passwords *Passwords
	seals     *seals
	limits    limits
	issuer    string
	metrics   metrics
	clock     clock.Clock
	log       zerolog.Logger
	fixed     bool
}

// New returns accounts; it starts nothing.
func New(o Options) *Accounts {
	a := &Accounts{store: o.Store, throttle: o.Throttle, passwords: o.Passwords, seals: newSeals(o.EncryptionKey),
		limits: newLimits(o.Limits), issuer: o.Issuer, clock: o.Clock, log: o.Log}
	_, a.fixed = o.Store.(*Fixed)
	if a.issuer == "" {
		a.issuer = "Suuupra Gateway"
	}
	set := o.Meter
	if set == nil {
		set = meter.NewSet(o.Clock.Now)
	}
	a.metrics = newMetrics(set)
	return a
}

// Attempt is somebody who says that he is a user. It prints without the password.
type Attempt struct {
	Email, Password string     // as they came
	From            netip.Addr // of the client
	Device          string     // the device cookie; may be empty, or anything
}

// Format hides all of it from package fmt.
func (Attempt) Format(f fmt.State, _ rune) {
	// The state is a buffer of fmt; writing to it can't fail in a way to handle.
	_, _ = f.Write([]byte("an attempt to log in (" + setting.Masked + ")"))
}

// MarshalText hides all of it from logs in JSON.
func (t Attempt) MarshalText() ([]byte, error) { return fmt.Append(nil, t), nil }

// Authenticate is the password half of a login. If the user that it returns has MFA,
// nobody is logged in before SecondFactor. The error is ErrCredentials, after the same
// work and at least the same time whatever was wrong, *Throttled, ErrBusy or ErrUnavailable.
func (a *Accounts) Authenticate(ctx context.Context, t Attempt) (User, error) {
	u, err := a.authenticate(ctx, t)
	switch {
	case err != nil:
		a.metrics.failed(err)
	case u.MFA:
		a.metrics.logins[outcomeCodeNeeded].Add(0, 1)
	default:
		a.metrics.logins[outcomeSuccess].Add(0, 1)
	}
	return u, err
}

func (a *Accounts) authenticate(ctx context.Context, t Attempt) (User, error) {
	email, err := CanonicalEmail(t.Email)
	if err != nil {
		email = "" // nobody's; it is counted and compared like any other
	}
	rec, counters, err := a.admit(ctx, email, t)
	if err != nil {
		return User{}, err
	}
	if err := a.prove(ctx, rec, t.Password); err != nil {
		return User{}, err
	}
	if !rec.MFA { // a right password alone resets nothing where it is half of a login (SECURITY I11)
		a.forget(ctx, counters)
	}
	return rec.User, nil
}

// admit counts an attempt, before anything of it is verified, and finds the user; the
// zero record is nobody. A device on which the user has logged in before is counted
// by itself: neither those who share its network nor those who try the account from
// everywhere can lock it out, and whoever steals its cookie has a few attempts.
func (a *Accounts) admit(ctx context.Context, email string, t Attempt) (Record, []counter, error) {
	if owner, nonce, ok := a.device(t.Device); ok {
		rec, err := a.find(ctx, email)
		if err != nil {
			return Record{}, nil, err
		}
		if rec.ID == owner {
			counters := []counter{{byDevice, a.key(byDevice, owner, nonce), a.limits.pair, true}}
			return rec, counters, a.count(ctx, counters)
		}
	}
	counters := []counter{a.networkCounter(t.From), a.pairCounter(email, t.From), a.accountCounter(email)}
	if err := a.count(ctx, counters); err != nil {
		return Record{}, nil, err
	}
	rec, err := a.find(ctx, email)
	return rec, counters, err
}

// find returns the zero record for nobody.
func (a *Accounts) find(ctx context.Context, email string) (Record, error) {
	if email == "" {
		return Record{}, nil
	}
	rec, err := a.store.ByEmail(ctx, email)
	if errors.Is(err, ErrNoUser) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("finding a user by e-mail: %w", err)
	}
	return rec, nil
}

// prove compares the password of a user who may be nobody or disabled: then it is
// compared with nothing, at the same price. A right one that is stored in a weaker way
// than today's is hashed anew.
func (a *Accounts) prove(ctx context.Context, rec Record, password string) error {
	stored := rec.Hash
	if !rec.Active {
		stored = setting.Secret{}
	}
	m, err := a.passwords.compare(ctx, stored, password)
	switch {
	case errors.Is(err, errHash):
		a.log.Error().Err(err).Str("user", rec.ID).Msg("a user can't log in; set a new password")
	case err != nil:
		return fmt.Errorf("comparing a password: %w", err)
	}
	if !m.right {
		return ErrCredentials
	}
	if m.outdated && !a.fixed {
		a.upgrade(ctx, rec, password)
	}
	return nil
}

// upgrade hashes a right password in today's way. What keeps it from doing so is no
// reason to refuse the login: the next one tries again.
func (a *Accounts) upgrade(ctx context.Context, rec Record, password string) {
	now, err := a.passwords.Hash(ctx, password)
	if err == nil {
		err = a.store.SetPassword(ctx, rec.ID, rec.Hash, now)
	}
	if err != nil {
		a.log.Warn().Err(err).Str("user", rec.ID).Msg("a password is still stored in an old way")
		return
	}
	a.log.Info().Str("user", rec.ID).Msg("a password is now stored as argon2id")
}

// User returns a user by id; ErrNoUser, ErrUnavailable.
func (a *Accounts) User(ctx context.Context, id string) (User, error) {
	rec, err := a.byID(ctx, id)
	return rec.User, err
}

func (a *Accounts) byID(ctx context.Context, id string) (Record, error) {
	rec, err := a.store.ByID(ctx, id)
	if err != nil {
		return Record{}, fmt.Errorf("finding a user by id: %w", err)
	}
	return rec, nil
}

// active is byID for users who are not disabled; others are ErrCredentials.
func (a *Accounts) active(ctx context.Context, id string) (Record, error) {
	rec, err := a.byID(ctx, id)
	if errors.Is(err, ErrNoUser) || err == nil && !rec.Active {
		return Record{}, ErrCredentials
	}
	return rec, err
}

// CheckPassword says with ErrCredentials that it is not the password of a user who is
// logged in; it counts like a login. Other errors are those of Authenticate.
func (a *Accounts) CheckPassword(ctx context.Context, id, password string, from netip.Addr) error {
	rec, err := a.active(ctx, id)
	if err != nil {
		return err
	}
	counters := []counter{a.networkCounter(from), a.pairCounter(rec.Email, from), a.accountCounter(rec.Email)}
	if err := a.count(ctx, counters); err != nil {
		return err
	}
	if err := a.prove(ctx, rec, password); err != nil {
		return err
	}
	a.forget(ctx, counters)
	return nil
}

// ChangePassword sets a password for a user who knows the old one. The caller ends
// the user's other sessions. The error is ErrPassword, ErrFixed, ErrChanged, or one of
// Authenticate.
func (a *Accounts) ChangePassword(ctx context.Context, id, old, password string) error {
	if a.fixed {
		return ErrFixed
	}
	if err := a.passwords.Check(password); err != nil {
		return err
	}
	rec, err := a.active(ctx, id)
	if err != nil {
		return err
	}
	counters := []counter{{byPair, a.key(byPair, rec.Email, "change"), a.limits.pair, true}, a.accountCounter(rec.Email)}
	if err := a.count(ctx, counters); err != nil {
		return err
	}
	m, err := a.passwords.compare(ctx, rec.Hash, old)
	if err != nil && !errors.Is(err, errHash) {
		return fmt.Errorf("comparing a password: %w", err)
	}
	if !m.right {
		return ErrCredentials
	}
	a.forget(ctx, counters)
	return a.setPassword(ctx, rec, password)
}

func (a *Accounts) setPassword(ctx context.Context, rec Record, password string) error {
	now, err := a.passwords.Hash(ctx, password)
	if err != nil {
		return fmt.Errorf("hashing a password: %w", err)
	}
	if err := a.store.SetPassword(ctx, rec.ID, rec.Hash, now); err != nil {
		return fmt.Errorf("setting a password: %w", err)
	}
	return nil
}
