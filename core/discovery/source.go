package discovery

import (
	"context"
	"errors"
	"time"

	"github.com/suuupra/gateway/core/upstream"
)

// Source is a kind of server that knows endpoints. Its method may be called
// concurrently.
type Source interface {
	// Open begins to ask for d. It asks nobody yet.
	Open(d upstream.Discovery) Query
}

// Query asks one thing again and again. It belongs to one goroutine.
type Query interface {
	// Next asks. Where the server can tell of changes, it waits for one, at most as long
	// as wait. Errors are of type *Error.
	Next(ctx context.Context, wait time.Duration) (Answer, error)
}

// Answer is what a source says.
type Answer struct {
	Endpoints []upstream.EndpointSpec // in any order, with duplicates and nonsense
	Again     time.Duration           // how long there is nothing new to learn
	// Doubtful says that the source may know less than it did: it was away, or has begun
	// anew.
	Doubtful bool
}

// Kind says why a source gave no answer. It is a label of metrics.
type Kind string

// The kinds.
const (
	Unreachable Kind = "unreachable" // no connection, or it broke
	Timeout     Kind = "timeout"     // no answer in time
	Denied      Kind = "denied"      // we may not ask
	Overloaded  Kind = "overloaded"  // asked too often
	Broken      Kind = "broken"      // the server has a problem of its own
	Nonsense    Kind = "nonsense"    // what came can't be read
	Absent      Kind = "absent"      // the name does not exist
	Empty       Kind = "empty"       // there is the name, and no endpoint
	Refused     Kind = "refused"     // there are endpoints, and none that may be called
)

// Error is why there is no answer.
type Error struct {
	Kind Kind
	Err  error
}

// Error says what went wrong.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fail makes an Error; one that ran out of time is a Timeout, whatever else it is.
func Fail(kind Kind, err error) error {
	var timed interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || kind == Unreachable && errors.As(err, &timed) && timed.Timeout() {
		kind = Timeout
	}
	return &Error{kind, err}
}

// kindOf is the kind of an error of a source.
func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Broken
}
