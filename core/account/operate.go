package account

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/suuupra/gateway/core/principal"
)

// listed is how many users are asked for at once.
const listed = 1000

// Create makes a user who can log in. The error is ErrEmail, ErrPassword, ErrExists,
// ErrFixed, ErrBusy or ErrUnavailable.
func (a *Accounts) Create(ctx context.Context, email, password string, scopes principal.Scopes) (User, error) {
	if a.fixed {
		return User{}, ErrFixed
	}
	email, err := CanonicalEmail(email)
	if err != nil {
		return User{}, err
	}
	if err := a.passwords.Check(password); err != nil {
		return User{}, err
	}
	hash, err := a.passwords.Hash(ctx, password)
	if err != nil {
		return User{}, fmt.Errorf("hashing a password: %w", err)
	}
	u := User{ID: newID(), Email: email, Scopes: scopes, Active: true, Created: a.clock.Now().UTC()}
	if err := a.store.Insert(ctx, Record{User: u, Hash: hash}); err != nil {
		return User{}, fmt.Errorf("creating a user: %w", err)
	}
	return u, nil
}

// List returns all users, by id.
func (a *Accounts) List(ctx context.Context) ([]User, error) {
	var all []User
	for after := ""; ; {
		some, err := a.store.List(ctx, after, listed)
		if err != nil {
			return nil, fmt.Errorf("listing users: %w", err)
		}
		all = append(all, some...)
		if len(some) < listed {
			return all, nil
		}
		after = some[len(some)-1].ID
	}
}

// Find returns a user by id or e-mail; ErrNoUser, ErrUnavailable.
func (a *Accounts) Find(ctx context.Context, who string) (User, error) {
	rec, err := a.named(ctx, who)
	return rec.User, err
}

func (a *Accounts) named(ctx context.Context, who string) (Record, error) {
	if !strings.Contains(who, "@") { // no id has one
		return a.byID(ctx, who)
	}
	email, err := CanonicalEmail(who)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrNoUser, err)
	}
	rec, err := a.store.ByEmail(ctx, email)
	if err != nil {
		return Record{}, fmt.Errorf("finding a user by e-mail: %w", err)
	}
	return rec, nil
}

// Disable switches a user off, by id or e-mail, who can't log in any more. The caller
// revokes what he holds (SECURITY I5). The error is ErrNoUser, ErrFixed or ErrUnavailable.
func (a *Accounts) Disable(ctx context.Context, who string) (User, error) {
	return a.setActive(ctx, who, false)
}

// Enable takes Disable back.
func (a *Accounts) Enable(ctx context.Context, who string) (User, error) {
	return a.setActive(ctx, who, true)
}

func (a *Accounts) setActive(ctx context.Context, who string, active bool) (User, error) {
	rec, err := a.named(ctx, who)
	if err != nil {
		return User{}, err
	}
	if err := a.store.SetActive(ctx, rec.ID, active); err != nil {
		return User{}, fmt.Errorf("switching a user on or off: %w", err)
	}
	rec.Active = active
	return rec.User, nil
}

// SetPassword sets the password of a user, by id or e-mail, without the old one. The
// caller revokes what he holds (SECURITY I5). The error is ErrPassword, ErrNoUser,
// ErrChanged, ErrFixed, ErrBusy or ErrUnavailable.
func (a *Accounts) SetPassword(ctx context.Context, who, password string) (User, error) {
	if a.fixed {
		return User{}, ErrFixed
	}
	if err := a.passwords.Check(password); err != nil {
		return User{}, err
	}
	rec, err := a.named(ctx, who)
	if err != nil {
		return User{}, err
	}
	if err := a.setPassword(ctx, rec, password); err != nil {
		return User{}, err
	}
	return rec.User, nil
}

// ResetMFA removes the second factor of a user, by id or e-mail, who lost it. The
// caller revokes what he holds (SECURITY I5). The error is ErrNoUser, ErrFixed or
// ErrUnavailable; there need not be a factor.
func (a *Accounts) ResetMFA(ctx context.Context, who string) (User, error) {
	rec, err := a.named(ctx, who)
	if err != nil {
		return User{}, err
	}
	if err := a.store.Remove(ctx, rec.ID); err != nil {
		return User{}, fmt.Errorf("removing a second factor: %w", err)
	}
	rec.MFA = false
	return rec.User, nil
}

// base62 are the characters of ids.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newID returns a user id: 22 characters, 131 random bits.
func newID() string {
	id := make([]byte, 0, 22)
	var b [32]byte
	for len(id) < cap(id) {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		for _, c := range b {
			if c &= 63; int(c) < len(base62) && len(id) < cap(id) { // no character is likelier than another
				id = append(id, base62[c])
			}
		}
	}
	return string(id)
}
