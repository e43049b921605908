package limit

import "errors"

// ErrCounter is wrapped by the errors of a Store that are about one charge or one
// counter: there is something else under its key. The store itself is well, and decides
// about others.
var ErrCounter = errors.New("this counter can't be used")
