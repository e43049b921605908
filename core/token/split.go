package token

import (
	"encoding/base64"
	"strings"
)

// maxToken is the longest token that is looked at, in bytes (SECURITY I3).
const maxToken = 8 << 10

// strict is base64url as RFC 7515 §2 writes it: no padding, no stray bits at the
// end. It passes over line breaks all the same, which split refuses before.
var strict = base64.RawURLEncoding.Strict()

// parts is a token in compact serialisation (RFC 7515 §7.1), taken apart. Nothing
// of it has been verified.
type parts struct {
	header, claims map[string]any
	signed         string // what the signature is of
	signature      []byte
}

// split takes a token apart. One token has one spelling: bytes outside the
// alphabet, padding and stray bits are refused, for a token that is good in two
// spellings is two entries of the cache, and of whatever else knows tokens by
// their bytes.
func split(text string) (parts, error) {
	if len(text) > maxToken {
		return parts{}, refused("it is longer than 8 KiB")
	}
	first := strings.IndexByte(text, '.')
	last := strings.LastIndexByte(text, '.')
	if first < 0 || first == last || strings.IndexByte(text[first+1:last], '.') >= 0 {
		return parts{}, refused("it has not three parts")
	}
	p := parts{signed: text[:last]}
	for _, part := range []struct {
		name, text string
		into       *map[string]any
	}{{"header", text[:first], &p.header}, {"payload", text[first+1 : last], &p.claims}} {
		raw, err := decodeBase64(part.text)
		if err != nil {
			return parts{}, refused("its " + part.name + " " + err.Error())
		}
		if *part.into, err = decodeObject(string(raw)); err != nil {
			return parts{}, refused("its " + part.name + " " + err.Error())
		}
	}
	var err error
	if p.signature, err = decodeBase64(text[last+1:]); err != nil {
		return parts{}, refused("its signature " + err.Error())
	}
	return p, nil
}

// decodeBase64 decodes base64url in its one spelling. Its error quotes nothing.
func decodeBase64(text string) ([]byte, error) {
	if text == "" {
		return nil, errEmpty
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, errBase64
	}
	raw, err := strict.DecodeString(text)
	if err != nil {
		return nil, errBase64
	}
	return raw, nil
}
