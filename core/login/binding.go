package login

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/bits"

	"github.com/suuupra/gateway/core/pipeline"
)

// binding is what tokens are bound to: base64url of SHA-256 digests, or nothing
// (SECURITY I14). A fingerprint is a secret of the client's own that it shows with each
// request; it proves no possession, for who can read a token from the wire can read it
// there as well. It helps against tokens that leak alone: from logs, storage, referrers.
type binding struct {
	fingerprint string // of the fingerprint header
	thumbprint  string // of the client's certificate (RFC 8705)
}

// shownBy says whether what b asks for is there.
func (b binding) shownBy(shown binding) bool {
	return (b.fingerprint == "" || b.fingerprint == shown.fingerprint) && (b.thumbprint == "" || b.thumbprint == shown.thumbprint)
}

// Why a login can't be bound.
var (
	errFingerprints = errors.New("the fingerprint header stands twice")
	errFingerprint  = errors.New("the fingerprint header must hold a random value of at least 128 bits, such as 32 hexadecimal digits or 22 of base64url")
)

// bindingToBe is what a login binds its tokens to.
func (l *Login) bindingToBe(x *pipeline.Exchange) (binding, error) {
	values := l.fingerprints(x)
	switch {
	case len(values) > 1:
		return binding{}, errFingerprints
	case len(values) == 1 && !strong(values[0]):
		return binding{}, errFingerprint
	}
	return l.bindingOf(x), nil
}

// bindingOf is what a request shows.
func (l *Login) bindingOf(x *pipeline.Exchange) binding {
	var b binding
	if values := l.fingerprints(x); len(values) == 1 {
		b.fingerprint = digest(values[0])
	}
	// Only what the listener has verified counts; it may ask for a certificate and take none.
	if tls := x.Peer.TLS; tls != nil && len(tls.VerifiedChains) > 0 && len(tls.PeerCertificates) > 0 {
		b.thumbprint = digest(tls.PeerCertificates[0].Raw)
	}
	return b
}

// fingerprints are the values of the fingerprint header, borrowed.
func (l *Login) fingerprints(x *pipeline.Exchange) [][]byte {
	if l.o.FingerprintHeader == "" {
		return nil
	}
	return x.Request.Header.PeekAll(l.o.FingerprintHeader)
}

func digest(value []byte) string {
	sum := sha256.Sum256(value)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// The bounds of a fingerprint.
const (
	maxFingerprint = 256 // bytes
	minBits        = 128
	minDistinct    = 8 // different characters: nobody's random value has less
)

// strong says whether value can be one of 128 random bits: long enough for the narrowest
// alphabet that it may be of, and no repetition of a few characters.
func strong(value []byte) bool {
	if len(value) > maxFingerprint {
		return false
	}
	var seen [2]uint64
	digitsOnly, hexOnly := true, true
	for _, c := range value {
		if c <= ' ' || c > '~' {
			return false
		}
		seen[c>>6] |= 1 << (c & 63)
		digit := '0' <= c && c <= '9'
		digitsOnly = digitsOnly && digit
		hexOnly = hexOnly && (digit || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' || c == '-')
	}
	bitsEach := 6.0 // base64url
	switch {
	case digitsOnly:
		bitsEach = 3.3
	case hexOnly:
		bitsEach = 4
	}
	distinct := bits.OnesCount64(seen[0]) + bits.OnesCount64(seen[1])
	return float64(len(value))*bitsEach >= minBits && distinct >= minDistinct
}
