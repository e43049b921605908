package account

import (
	"fmt"
	"strings"
)

// The longest e-mail address and its parts, in bytes (SPEC ID4, RFC 5321 §4.5.3.1).
const (
	MaxEmail  = 255
	maxLocal  = 64
	maxDomain = 253
	maxLabel  = 63
)

// CanonicalEmail returns the one spelling of an e-mail address by which a user is
// found: spaces around it trimmed, letters lower case. It takes the dot-atom form of
// RFC 5321 §4.1.2 alone, in ASCII: quoted local parts, comments and address literals
// are nobody's login, and other scripts have letters that look, or fold, alike. An
// internationalised domain is written in its xn-- form. Anything else is ErrEmail.
func CanonicalEmail(text string) (string, error) {
	if len(text) > 2*MaxEmail { // nothing is done for a megabyte of it
		return "", fmt.Errorf("%w: it is longer than %d bytes", ErrEmail, MaxEmail)
	}
	text = strings.Trim(text, " ")
	if len(text) > MaxEmail {
		return "", fmt.Errorf("%w: it is longer than %d bytes", ErrEmail, MaxEmail)
	}
	local, domain, found := strings.Cut(text, "@")
	switch {
	case !found:
		return "", fmt.Errorf("%w: it has no @", ErrEmail)
	case len(local) > maxLocal || !dotted(local, localByte):
		return "", fmt.Errorf("%w: what stands before the @ is no dot-atom of 1 to %d ASCII characters", ErrEmail, maxLocal)
	case len(domain) > maxDomain || !dotted(domain, domainByte):
		return "", fmt.Errorf("%w: what stands behind the @ is no domain name in ASCII", ErrEmail)
	}
	for label := range strings.SplitSeq(domain, ".") {
		if len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%w: what stands behind the @ is no domain name in ASCII", ErrEmail)
		}
	}
	return strings.ToLower(text), nil
}

// dotted says whether s is one or more parts of allowed bytes with single dots
// between them.
func dotted(s string, allowed func(byte) bool) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := range len(s) {
		if s[i] == '.' && s[i-1] == '.' || s[i] != '.' && !allowed(s[i]) {
			return false
		}
	}
	return true
}

func letterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// localByte is atext of RFC 5322 §3.2.3.
func localByte(c byte) bool {
	return letterOrDigit(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func domainByte(c byte) bool { return letterOrDigit(c) || c == '-' }
