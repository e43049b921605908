package token

import (
	"errors"
	"time"

	"github.com/suuupra/gateway/core/principal"
)

// Verified is a token whose signature, issuer and claims were good when it was
// looked at. It is immutable and shared by all who present the same token.
type Verified struct {
	Principal principal.Principal
	ID        string // jti; may be empty for a foreign token
	KeyID     string // kid of the key that signed it
	// Unix seconds.
	IssuedAt, NotBefore, Expires int64
	// Fingerprint is what the token is bound to by header: base64url of a SHA-256
	// (claim client_fingerprint); Thumbprint by certificate (cnf.x5t#S256, RFC 8705).
	// Empty: not bound (SECURITY I14).
	Fingerprint, Thumbprint string
	// Claims is the whole decoded payload, for conditions on claims. Never written.
	Claims map[string]any
	// Foreign are the keys under which a token of a foreign issuer can be revoked
	// (SECURITY I5); nil for our own.
	Foreign []string
}

// Grant is what a token is issued for.
type Grant struct {
	User, Client, Session   string
	Scopes                  principal.Scopes
	Fingerprint, Thumbprint string
	// NotAfter, if not zero, cuts the token's life: the session's end.
	NotAfter time.Time
}

// Signed is an issued token.
type Signed struct {
	Token, ID         string
	IssuedAt, Expires time.Time
}

// Why a token is refused. Errors of this package wrap exactly one of these; their
// text says more, for logs, and never holds any of the token's bytes.
var (
	ErrExpired     = errors.New("the token has expired")
	ErrInvalid     = errors.New("the token is invalid")
	ErrUnavailable = errors.New("the keys to verify the token with are not known now")
)
