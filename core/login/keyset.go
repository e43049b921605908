package login

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// keySetCaching lets verifiers keep the key set for a while, which must be shorter than
// a key is published before it signs.
const keySetCaching = "public, max-age=300"

// etag is a strong validator of body (RFC 9110 §8.8.3).
func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
}

// matches says whether If-None-Match lists tag; weak validators count (RFC 9110 §13.1.2).
// Our tags hold no comma.
func matches(lines [][]byte, tag string) bool {
	for _, line := range lines {
		for one := range strings.SplitSeq(string(line), ",") {
			one = strings.Trim(one, " \t")
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}
