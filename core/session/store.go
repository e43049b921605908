package session

import (
	"context"
	"time"
)

// Record is a session as it is kept, with its family of refresh tokens: each is
// rotated once, into the next one. Of tokens it holds ids alone, and the last pair
// sealed so that only who has the token before it can open it.
type Record struct {
	Session
	Current string    // id of the refresh token that is good
	Ended   time.Time // zero: it lives. It is kept until LastExpiry, so that ending it again is known as such
	Grace   Grace
}

// Grace is what lets the parent of the current refresh token be shown again
// (SECURITY I8). It is empty before the first rotation.
type Grace struct {
	Parent string    // id of the refresh token that Current took the place of
	Since  time.Time // first use of the parent
	Access string    // id of the access token that was issued with Current
	Closed bool      // the access token was seen: the parent is over
	Sealed []byte    // the pair, for who shows the parent
}

// Rotation takes a session from one refresh token to the next, if it still stands
// at the first one.
type Rotation struct {
	Session, From, To string // ids
	At                time.Time
	LastExpiry        time.Time // the largest exp of the new pair
	Access            string    // id of the new access token
	Sealed            []byte
}

// Sighting says that the access token of that id was shown by somebody.
type Sighting struct{ Session, Access string }

// Selection says which sessions of a user are meant.
type Selection struct {
	User   string // required
	ID     string // this one alone; empty: all
	Except string // all but this one; empty: none is spared
}

// Store keeps sessions. It is two interfaces, so that each has its own reader: what
// a login and a refresh need, and what ends and forgets. Errors wrap ErrUnavailable,
// and ErrUnknown where it is named; implementations may be called concurrently, by
// several instances.
type Store interface {
	Families
	Ledger
}

// Families is the part of Store that logins and refreshes use.
type Families interface {
	// Begin keeps r. Where its user has more than most living sessions then, the
	// oldest ones end, in the same step; those are returned.
	Begin(ctx context.Context, r Record, most int) (ended []Session, err error)
	// Load returns a session, also one that has ended; ErrUnknown.
	Load(ctx context.Context, id string) (Record, error)
	// Rotate is one conditional update: it says whether it was the one that took a
	// living session from r.From to r.To. LastExpiry never goes back.
	Rotate(ctx context.Context, r Rotation) (bool, error)
	// Seen closes the graces that were opened with these access tokens; it knows
	// nothing of the others and says nothing about them.
	Seen(ctx context.Context, sightings []Sighting) error
}

// Ledger is the part of Store that lists, ends and forgets.
type Ledger interface {
	// List returns the sessions of a user that live at that time, the oldest first.
	List(ctx context.Context, user string, at time.Time) ([]Session, error)
	// End ends the selected sessions that live, and returns them.
	End(ctx context.Context, which Selection, at time.Time) ([]Session, error)
	// Forget drops sessions nothing of which can be alive at that time, and the
	// sealed pairs of graces that began before graces.
	Forget(ctx context.Context, at, graces time.Time) error
}

// Living says whether the session can go on at that time.
func (r *Record) Living(at time.Time) bool { return r.Ended.IsZero() && at.Before(r.Ends) }
