// Package session keeps the sessions of users: who is logged in where, with which
// family of refresh tokens, rotated once each, with reuse found out (SPEC ID5,
// SECURITY I8).
package session

import (
	"errors"
	"time"

	"github.com/suuupra/gateway/core/principal"
)

// Session is one login of a user. It is a copy.
type Session struct {
	ID                      string // 128 random bits
	User, Client            string
	Scopes                  principal.Scopes // granted at login; a refresh can only narrow them
	Fingerprint, Thumbprint string           // what its tokens are bound to (SECURITY I14)
	Agent, Address          string           // for the user's own list
	Created, Used, Ends     time.Time        // Ends: the end of its lifetime, whatever is refreshed
	LastExpiry              time.Time        // the largest exp issued in it (SECURITY I5)
}

// Why a refresh is refused.
var (
	ErrUnknown     = errors.New("no such session") // ended, or never was
	ErrExpired     = errors.New("the refresh token has expired")
	ErrReused      = errors.New("the refresh token was used before") // family and session are revoked
	ErrUnbound     = errors.New("the refresh token is bound to another caller")
	ErrUnavailable = errors.New("the store of sessions can't be reached")
)
