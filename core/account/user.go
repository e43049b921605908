package account

import (
	"errors"
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/principal"
)

// User is a person who can log in, without secrets. It is a copy; change it freely.
type User struct {
	ID      string
	Email   string // canonical: trimmed, lower case
	Scopes  principal.Scopes
	Active  bool
	MFA     bool // a second factor is verified and asked for
	Created time.Time
}

// Why something about a user is refused. Errors wrap exactly one of these, or are
// a *Throttled; their text never holds a password, a code or a secret.
var (
	ErrCredentials = errors.New("e-mail or password is wrong") // unknown, disabled and wrong alike
	ErrCode        = errors.New("the code is wrong, or was used before")
	ErrNoUser      = errors.New("no such user")
	ErrExists      = errors.New("a user with this e-mail exists")
	ErrPassword    = errors.New("the password is refused")                          // by the rules or the breached list; the text says why
	ErrEmail       = errors.New("not an e-mail address")                            // the text says why
	ErrEnrolled    = errors.New("a second factor is in force; disable it first")    // 409
	ErrNotEnrolled = errors.New("there is no second factor")                        // 409: none waits for its code, or is in force
	ErrChanged     = errors.New("the user was changed meanwhile; try again")        // 409
	ErrFixed       = errors.New("users of the configuration file can't be changed") // 501
	ErrBusy        = errors.New("too many passwords are being checked")             // 503
	ErrUnavailable = errors.New("the store of users can't be reached")              // 503
)

// Throttled says that there were too many attempts (SECURITY I11).
type Throttled struct{ After time.Duration }

// Error says how long to wait.
func (t *Throttled) Error() string { return fmt.Sprintf("too many attempts; wait %s", t.After) }
