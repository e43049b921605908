package account

import (
	"context"
	"fmt"

	"github.com/suuupra/gateway/core/setting"
)

// Store keeps users. Its methods may be called concurrently; their errors wrap
// ErrNoUser, ErrExists, ErrChanged, ErrFixed or ErrUnavailable.
type Store interface {
	Users
	Changes
	Factors
}

// Users finds and makes users.
type Users interface {
	// ByEmail finds a user by the canonical e-mail; ErrNoUser.
	ByEmail(ctx context.Context, email string) (Record, error)
	// ByID finds a user by id; ErrNoUser.
	ByID(ctx context.Context, id string) (Record, error)
	// Insert makes a user without second factor; ErrExists if id or e-mail are taken.
	Insert(ctx context.Context, r Record) error
	// List returns at most limit users whose id is greater than after, by id.
	List(ctx context.Context, after string, limit int) ([]User, error)
}

// Changes changes one user; ErrNoUser.
type Changes interface {
	// SetPassword replaces the stored hash if it still is was; ErrChanged if not.
	SetPassword(ctx context.Context, id string, was, now setting.Secret) error
	// SetActive switches a user on or off.
	SetActive(ctx context.Context, id string, active bool) error
}

// Factors changes the second factor of one user.
type Factors interface {
	// Enrol keeps a sealed secret that is not in force yet, in place of an earlier one
	// that is not; ErrEnrolled if one is in force, ErrNoUser.
	Enrol(ctx context.Context, id string, sealed []byte) error
	// Confirm puts the secret in force that Enrol kept, with the step that was used
	// up by it, and hashes of recovery codes; ErrNotEnrolled if another one waits, or none.
	Confirm(ctx context.Context, id string, c Confirmation) error
	// Spend uses up one code; false if it is used up already, or not known.
	Spend(ctx context.Context, id string, code Code) (fresh bool, err error)
	// Remove forgets the second factor and its recovery codes, if there are any; ErrNoUser.
	Remove(ctx context.Context, id string) error
}

// Record is a user with what must stay secret. It is a copy; it prints without.
type Record struct {
	User
	Hash   setting.Secret // argon2id as a PHC string, or bcrypt
	Factor Factor
}

// Format hides what is secret from package fmt.
func (r Record) Format(f fmt.State, _ rune) {
	// The state is a buffer of fmt; writing to it can't fail in a way to handle.
	_, _ = fmt.Fprintf(f, "user %s (%s)", r.ID, setting.Masked)
}

// MarshalText hides what is secret from logs in JSON.
func (r Record) MarshalText() ([]byte, error) { return fmt.Append(nil, r), nil }

// Factor is a second factor as it is kept; the zero value is none. User.MFA says
// whether it is in force.
type Factor struct {
	Sealed []byte         // the TOTP secret, encrypted
	Plain  setting.Secret // the TOTP secret in base32, of users of the configuration alone
	Step   int64          // the last 30 s step of which a code was taken: it and earlier ones are used up
}

// Confirmation is what puts a second factor in force.
type Confirmation struct {
	Sealed   []byte   // the secret that was confirmed
	Step     int64    // of the code that did
	Recovery [][]byte // hashes
}

// Code is what Spend uses up: a step of the TOTP in force if it is later than the
// last one, or else the hash of a recovery code.
type Code struct {
	Step     int64
	Recovery []byte
}
