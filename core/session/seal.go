package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/suuupra/gateway/core/token"
)

// Pair is what a login or a refresh answers with.
type Pair struct {
	Session         string
	Scope           string // granted, as in RFC 6749 §3.3
	Access, Refresh token.Signed
}

// sealPurpose keeps the key apart from whatever else may be derived from a token.
const sealPurpose = "gateway: the pair after this refresh token"

// sealer makes the AEAD by which the pair behind a refresh token is kept. Its key is
// derived from that token, which nobody but its owner has: who reads the store, or
// a backup of it, can't open what lies there (SECURITY I8).
func sealer(raw []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, raw, nil, sealPurpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal closes p for who shows raw again. The id of raw's session and of raw itself
// are bound to it, so that what is swapped in the store opens nowhere else.
func seal(p Pair, raw []byte, parent string) ([]byte, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("writing a pair: %w", err)
	}
	aead, err := sealer(raw)
	if err != nil {
		return nil, fmt.Errorf("sealing a pair: %w", err)
	}
	return aead.Seal(nil, nil, text, bound(p.Session, parent)), nil
}

// unseal opens what seal has closed.
func unseal(sealed, raw []byte, session, parent string) (Pair, error) {
	var p Pair
	aead, err := sealer(raw)
	if err != nil {
		return p, fmt.Errorf("opening a pair: %w", err)
	}
	text, err := aead.Open(nil, nil, sealed, bound(session, parent))
	if err != nil {
		return p, errors.New("opening a pair: it was not sealed for this token")
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, fmt.Errorf("reading a pair: %w", err)
	}
	return p, nil
}

func bound(session, parent string) []byte { return []byte(session + "\x00" + parent) }
