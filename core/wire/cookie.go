package wire

import "bytes"

// Cookie looks for a cookie in the value of one Cookie field (RFC 6265 §5.4), as it
// came over the wire: nothing of the request is parsed or changed. It returns the value
// of the first one of that name, borrowed, and how many there are: more than one is
// nothing that a well-meaning client sends for one path.
func Cookie(field []byte, name string) (value []byte, times int) {
	for len(field) > 0 {
		var pair []byte
		pair, field, _ = bytes.Cut(field, semicolon)
		key, v, found := bytes.Cut(pair, equals)
		if !found || string(bytes.TrimSpace(key)) != name {
			continue
		}
		if times == 0 {
			value = bytes.TrimSpace(v)
		}
		times++
	}
	return value, times
}

var (
	semicolon = []byte(";")
	equals    = []byte("=")
)
