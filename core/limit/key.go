package limit

import (
	"crypto/sha256"
	"encoding/base64"
)

// longestValue is the length up to which a level's value stands in a key as it is, in
// bytes. Those that are longer are hashed.
const longestValue = 128

// Counter names what a Charge counts (SPEC RL2, RL3).
type Counter struct {
	Level  string // user, client, api_key, ip, route, service, global, or the name of a template's level
	Value  string // of the level, as a caller may have chosen it; empty for global
	Policy *Policy
	Route  string // set by `scope: route`: the routes do not share the counter then
}

// AppendKey appends the name of the counter in any store to dst: that of Redis without
// the prefix. A value may come from a caller: what is not a letter, a digit, "_", "-" or "."
// is percent-encoded, so that no value reaches into another counter or chooses a slot
// of a cluster with braces (SECURITY I21).
func (c *Counter) AppendKey(dst []byte) []byte {
	dst = append(dst, "rate_limit:"...)
	if c.Policy.Algorithm != TokenBucket {
		dst = append(dst, "sliding:"...)
	}
	dst = appendEscaped(dst, c.Level)
	if c.Level != "global" {
		dst = append(dst, ':')
		dst = appendEscaped(dst, c.Value)
	}
	dst = append(dst, ':')
	dst = appendEscaped(dst, c.Policy.Name)
	if c.Route != "" {
		dst = append(dst, '@')
		dst = appendEscaped(dst, c.Route)
	}
	return dst
}

func appendEscaped(dst []byte, s string) []byte {
	if len(s) > longestValue {
		sum := sha256.Sum256([]byte(s))
		dst = append(dst, "%sha256%"...) // no escape looks like this
		return base64.RawURLEncoding.AppendEncode(dst, sum[:])
	}
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch b := s[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '_', b == '-', b == '.':
			dst = append(dst, b)
		default:
			dst = append(dst, '%', hex[b>>4], hex[b&15])
		}
	}
	return dst
}
