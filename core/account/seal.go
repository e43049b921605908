package account

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// seals are the keys of this package, each for one purpose, all from the one key of
// the configuration.
type seals struct {
	macKey []byte
	aead   cipher.AEAD
}

// newSeals derives the keys (RFC 5869). Without a key it takes a random one: what
// was sealed or signed with it dies with the process. A short key panics, for the
// configuration was checked; nothing else of this can fail.
func newSeals(key []byte) *seals {
	if len(key) == 0 {
		key = randomBytes(sha256.Size)
	}
	if len(key) < sha256.Size {
		panic(fmt.Sprintf("BUG: the encryption key has %d bytes; at least %d are needed", len(key), sha256.Size))
	}
	macKey, err1 := hkdf.Key(sha256.New, key, nil, "gateway account mac", sha256.Size)
	secretKey, err2 := hkdf.Key(sha256.New, key, nil, "gateway account second factors", sha256.Size)
	block, err3 := aes.NewCipher(secretKey)
	if err := errors.Join(err1, err2, err3); err != nil {
		panic(fmt.Sprintf("BUG: deriving keys: %v", err))
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("BUG: making a cipher: %v", err))
	}
	return &seals{macKey: macKey, aead: aead}
}

// sum returns an HMAC-SHA-256 over purpose and parts. Each stands behind its length,
// so that no other split of the same bytes has the same sum.
func (s *seals) sum(purpose string, parts ...string) []byte {
	h := hmac.New(sha256.New, s.macKey)
	for _, p := range append([]string{purpose}, parts...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// mac is sum as base64url.
func (s *seals) mac(purpose string, parts ...string) string {
	return base64.RawURLEncoding.EncodeToString(s.sum(purpose, parts...))
}

// sealedVersion is the first byte of what is sealed, for a later way of sealing.
const sealedVersion = 1

// seal encrypts a user's TOTP secret. The user id is bound to it (SECURITY I13):
// whoever can write the table can't give somebody a secret that he knows.
func (s *seals) seal(userID string, secret []byte) []byte {
	return s.aead.Seal([]byte{sealedVersion}, nil, secret, []byte(userID))
}

// open decrypts what seal made for that user.
func (s *seals) open(userID string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealedVersion {
		return nil, errors.New("the second factor is sealed in a way that is not known")
	}
	secret, err := s.aead.Open(nil, nil, sealed[1:], []byte(userID))
	if err != nil {
		return nil, errors.New("the second factor is sealed with another key, or for another user")
	}
	return secret, nil
}
