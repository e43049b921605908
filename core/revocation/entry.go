package revocation

import "errors"

// Entry is one revocation. Two entries of one key merge into the one that refuses
// more: the later NotBefore (or none), the later Expires.
type Entry struct {
	// Key is a session id, "user:" and a user id, or "ext:" and the hash of a foreign
	// token or session; in Redis it stands behind "jwt_blacklist:" (SPEC ID3, SECURITY I5).
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
