package revocation

import (
	"crypto/sha256"
	"encoding/base64"
)

const (
	userPrefix    = "user:"
	foreignPrefix = "ext:"
	// longestPlain is how long an id may be that stands in a key as it is (SECURITY I21).
	longestPlain = 128
	// longestKey is a prefix and an id every byte of which is encoded.
	longestKey = len(userPrefix) + 3*longestPlain
	// hashed leads the hash of a longer id. No encoded id begins so.
	hashed = "%sha256%"
)

// SessionKey is the key under which a session is revoked.
func SessionKey(id string) string {
	if isPlain(id) {
		return id
	}
	return string(appendID(nil, id))
}

// UserKey is the key under which all sessions of a user are revoked.
func UserKey(id string) string { return string(appendID([]byte(userPrefix), id)) }

// ForeignKey is the key under which a token of a foreign issuer is revoked by its
// jti, or a session there by its sid: kind is "jti" or "sid" (SECURITY I5). It tells
// nobody who reads the store whose token that is.
func ForeignKey(issuer, kind, value string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + kind + "\x00" + value))
	return foreignPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// plain says whether c stands in a key as it is (SECURITY I21).
func plain(c byte) bool { return plainBits[c>>6]>>(c&63)&1 != 0 }

// plainBits has a bit for each of 0-9, A-Z, a-z, '-' and '_': every request asks
// about each byte of two ids.
var plainBits = [4]uint64{0: 0x3ff<<'0' | 1<<'-', 1: 0x3ffffff<<('A'-64) | 0x3ffffff<<('a'-64) | 1<<('_'-64)}

func isPlain(id string) bool {
	if len(id) > longestPlain {
		return false
	}
	for i := range len(id) {
		if !plain(id[i]) {
			return false
		}
	}
	return true
}

// appendID appends id as it stands in keys. It allocates nothing beyond dst.
func appendID(dst []byte, id string) []byte {
	if len(id) > longestPlain {
		sum := sha256.Sum256([]byte(id))
		return base64.RawURLEncoding.AppendEncode(append(dst, hashed...), sum[:])
	}
	const digits = "0123456789ABCDEF"
	for i := range len(id) {
		if c := id[i]; plain(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
