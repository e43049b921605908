package redis

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// longestID is the length up to which an id stands in a key as it is, in bytes.
const longestID = 128

// Key returns the name of the key for id in space, such as "jwt_blacklist:". An id may
// come from a caller: what is not a letter, a digit, "_" or "-" is percent-encoded, so
// that no id can reach into another space or choose the slot of a cluster with braces,
// and a long one is hashed (SECURITY I21).
func (c *Client) Key(space, id string) string { return c.prefix + space + escape(id) }

func escape(id string) string {
	if len(id) > longestID {
		sum := sha256.Sum256([]byte(id))
		return "%sha256%" + base64.RawURLEncoding.EncodeToString(sum[:]) // no escape looks like this
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(id) {
		switch ch := id[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '_', ch == '-':
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[ch>>4])
			b.WriteByte(hex[ch&15])
		}
	}
	return b.String()
}
