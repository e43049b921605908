// Package fault holds every answer that the gateway gives by itself: the closed
// table of codes with their status and title, and the one writer that puts such
// an answer into a response.
//
// A Fault is a small comparable value, so that hooks can return and compare it
// freely:
//
//	return x.Fail(fault.RateLimited.After(3 * time.Second))
//
// Its wire form is RFC 9457 problem details, always with the members in this
// order: type, title, status, code, error, detail, retryAfter, correlationId.
// error repeats the title for callers that look for the human text there; detail
// stands only where one was set, retryAfter (seconds) only where there is
// something to wait for. A detail is meant for the caller: it must never hold an
// address, a stack or an internal name. The cause of a fault is logged, not sent.
//
// Nothing else in the gateway sets a status of 400 or above on an answer of its
// own.
package fault
