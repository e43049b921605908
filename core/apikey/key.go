package apikey

import (
	"errors"
	"net/netip"

	"github.com/suuupra/gateway/core/principal"
)

// Key is an API key that was good when it was looked at. It is immutable and
// shared by all who present it.
type Key struct {
	Principal principal.Principal // Key, Client, User, Scopes and Policy are set
	Name      string
	Version   int            // which secret of the key was shown (SPEC AK3)
	AllowFrom []netip.Prefix // empty: from anywhere
	Expires   int64          // unix seconds, of the key or of this secret, whichever is first; 0: never
}

// Why a key is refused. Errors of this package wrap exactly one of these; their
// text never holds any of the secret's bytes.
var (
	ErrMalformed   = errors.New("not an API key") // form or checksum: no store was asked
	ErrUnknown     = errors.New("no such API key")
	ErrInactive    = errors.New("the API key was revoked or switched off")
	ErrExpired     = errors.New("the API key has expired")
	ErrAddress     = errors.New("the API key may not be used from this address")
	ErrUnavailable = errors.New("the API key can't be looked up now")
)

// Why a key or a client can't be made or changed.
var (
	ErrInvalid  = errors.New("the API key or client is not well-formed")
	ErrConflict = errors.New("somebody else changed it at the same time; look again")
	ErrRotating = errors.New("the API key was rotated, and the overlap has not ended; use an overlap of 0 to end it now")
	ErrNoClient = errors.New("no such client")
	ErrExists   = errors.New("it exists already")
)

// KeyID is the id of the key, for logs. It implements pipeline.ShownKey.
func (k *Key) KeyID() string { return k.Principal.Key }
