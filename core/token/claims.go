package token

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/principal"
)

// maxDate is the last numeric date that is taken, as every language's numbers can
// hold it: 2^53.
const maxDate = 1 << 53

// maxWord is the longest subject, client id and the like, in bytes (SECURITY I3).
const maxWord = 255

// claims reads the claims of a token and keeps the first problem.
type claims struct {
	all map[string]any
	err error
}

// refuse keeps why, unless something was wrong before.
func (c *claims) refuse(why string) {
	if c.err == nil {
		c.err = refused(why)
	}
}

// text returns a claim that must be a string if it is there.
func (c *claims) text(name string) string {
	v, there := c.all[name]
	if !there {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		c.refuse("claim " + name + " is no string")
	}
	return s
}

// word returns a claim that is wanted, and is visible ASCII: it will stand in
// fields of requests and in logs.
func (c *claims) word(name string) string { return c.checked("claim "+name, c.text(name)) }

// checked wants s to be visible ASCII.
func (c *claims) checked(what, s string) string {
	if !isWord(s) {
		c.refuse(what + " is missing, longer than 255 bytes, or not visible ASCII")
	}
	return s
}

// optional is word for what may be missing; an empty string is not missing.
func (c *claims) optional(name string) string {
	if _, there := c.all[name]; !there {
		return ""
	}
	return c.word(name)
}

// isWord says whether s is visible ASCII of 1 to 255 bytes.
func isWord(s string) bool {
	if s == "" || len(s) > maxWord {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// date returns a numeric date (RFC 7519 §2) in whole seconds.
func (c *claims) date(name string, wanted bool) int64 {
	v, there := c.all[name]
	if !there {
		if wanted {
			c.refuse("claim " + name + " is missing")
		}
		return 0
	}
	n, ok := v.(json.Number)
	if !ok {
		c.refuse("claim " + name + " is no number")
		return 0
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || f < 0 || f > maxDate || n[0] == '-' {
		c.refuse("claim " + name + " is no date between 0 and 2^53")
		return 0
	}
	return int64(f)
}

// audience wants aud, a string or an array of them, to name one of wanted.
func (c *claims) audience(wanted []string) {
	for _, a := range c.strings("aud", c.all["aud"]) {
		if slices.Contains(wanted, a) {
			return
		}
	}
	c.refuse("it is for another audience")
}

// strings returns a value that is a string or an array of strings.
func (c *claims) strings(name string, v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []any:
		out := make([]string, 0, len(v))
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				c.refuse("claim " + name + " holds what is no string")
				return nil
			}
			out = append(out, s)
		}
		return out
	default:
		c.refuse("claim " + name + " is neither a string nor an array of strings")
		return nil
	}
}

// scopes returns the scopes in v: an array, as this gateway issues them, or words
// with a space between them, as RFC 9068 has it (SECURITY I19).
func (c *claims) scopes(v any) []string {
	if s, ok := v.(string); ok {
		if s == "" {
			return nil
		}
		return strings.Split(s, " ")
	}
	return c.strings("scope", v)
}

// ownScopes wants every scope to be one.
func (c *claims) ownScopes() principal.Scopes {
	s, err := principal.NewScopes(c.scopes(c.all["scope"]))
	if err != nil {
		c.refuse("claim scope holds what is no scope")
	}
	return s
}

// confirmation returns the certificate that the token is bound to (RFC 8705 §3.1).
// Other bindings are refused: we can't check that the caller holds the key, and a
// stolen token would be taken for one that is not bound at all.
func (c *claims) confirmation() string {
	v, there := c.all["cnf"]
	if !there {
		return ""
	}
	cnf, ok := v.(map[string]any)
	if !ok {
		c.refuse("claim cnf is no object")
		return ""
	}
	thumbprint, _ := cnf["x5t#S256"].(string)
	if len(cnf) != 1 || !isDigest(thumbprint) {
		c.refuse("claim cnf binds it to something other than a certificate")
	}
	return thumbprint
}

// fingerprint returns what the token is bound to by header (SECURITY I14).
func (c *claims) fingerprint() string {
	v, there := c.all["client_fingerprint"]
	if !there {
		return ""
	}
	s, _ := v.(string)
	if !isDigest(s) {
		c.refuse("claim client_fingerprint is no base64url of a SHA-256")
	}
	return s
}

// isDigest says whether s is base64url of 32 bytes.
func isDigest(s string) bool {
	raw, err := decodeBase64(s)
	return err == nil && len(raw) == 32
}
