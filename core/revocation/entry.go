package revocation

import (
	"errors"
	"fmt"
	"strings"
)

// Entry is one revocation. Two entries of one key merge into the one that refuses
// more: the later NotBefore (or none), the later Expires.
type Entry struct {
	// Key is a session id, "user:" and a user id, or "ext:" and the hash of a foreign
	// token or session; in Redis it stands behind "jwt_blacklist:" (SPEC ID3, SECURITY I5).
	// SessionKey, UserKey and ForeignKey make it.
	Key string
	// NotBefore, unix seconds, refuses only what was issued before it; 0 refuses all.
	NotBefore int64
	// Expires, unix seconds, is when nothing can be alive any more that it refuses:
	// the mirror keeps it until then, whatever the stores say (SECURITY I4).
	Expires int64
}

// ErrNotDurable says that no store took a revocation that would survive: it is
// known here and told to those who listen, and the caller must answer 503 (SECURITY I6).
var ErrNotDurable = errors.New("no durable store took the revocation")

// latest is the last second that an entry may name: JSON, Lua and JavaScript know
// whole numbers up to here.
const latest = 1 << 53

// Check says what makes e no entry, or nil. Stores ask it about what they read: an
// entry that somebody else wrote is data from outside.
func (e Entry) Check() error {
	rest, isUser := strings.CutPrefix(e.Key, userPrefix)
	if !isUser {
		rest = strings.TrimPrefix(rest, foreignPrefix)
	}
	switch {
	case rest == "" || len(e.Key) > longestKey:
		return fmt.Errorf("a key has 1 to %d bytes, this one has %d", longestKey, len(e.Key))
	case strings.ContainsFunc(rest, func(c rune) bool { return c > 0x7f || !plain(byte(c)) && c != '%' }):
		return fmt.Errorf("key %q holds a character that ids are encoded for", e.Key)
	case e.Expires <= 0 || e.Expires > latest:
		return fmt.Errorf("key %q expires at %d, which is no time", e.Key, e.Expires)
	case e.NotBefore < 0 || e.NotBefore > latest:
		return fmt.Errorf("key %q is not before %d, which is no time", e.Key, e.NotBefore)
	}
	return nil
}

// Merge returns what refuses all that e or o refuses; both have one key.
func (e Entry) Merge(o Entry) Entry {
	e.Expires = max(e.Expires, o.Expires)
	if e.NotBefore == 0 || o.NotBefore == 0 {
		e.NotBefore = 0
	} else {
		e.NotBefore = max(e.NotBefore, o.NotBefore)
	}
	return e
}

// refuses says whether the entry is against what was issued at that unix second.
func (e Entry) refuses(issuedAt int64) bool { return e.NotBefore == 0 || issuedAt < e.NotBefore }
