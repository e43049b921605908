package token

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// The first byte of a sealed key says how it is sealed.
const (
	sealedPlain  = 0 // PKCS #8 as it is: stores on this machine alone, without an encryption key
	sealedAESGCM = 1 // 12 bytes of nonce, then AES-256-GCM
)

// sealer encrypts private keys for a store. Without an AEAD it writes them plain,
// and it never reads one kind where the other is expected: whoever can write to
// the store could otherwise plant a key of their own.
type sealer struct{ aead cipher.AEAD }

// newSealer takes 32 bytes, or none for a store that is on this machine alone.
func newSealer(key []byte) (sealer, error) {
	if len(key) == 0 {
		return sealer{}, nil
	}
	if len(key) != 32 {
		return sealer{}, fmt.Errorf("the encryption key of the signing keys has %d bytes; want 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("the encryption key of the signing keys: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return sealer{}, fmt.Errorf("the encryption key of the signing keys: %w", err)
	}
	return sealer{aead}, nil
}

// bound is what a sealed key can't be taken away from: a store that hands out the
// key of refresh tokens as one of access tokens is found out.
func bound(purpose Purpose, id string) []byte {
	return []byte("suuupra signing key\x00" + string(purpose) + "\x00" + id)
}

func (s sealer) seal(k StoredKey, private []byte) []byte {
	if s.aead == nil {
		return append([]byte{sealedPlain}, private...)
	}
	nonce := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails; it ends the process instead
	out := append([]byte{sealedAESGCM}, nonce...)
	return s.aead.Seal(out, nonce, private, bound(k.Purpose, k.ID))
}

var errSealed = errors.New("it can't be opened with this encryption key")

func (s sealer) open(k StoredKey) ([]byte, error) {
	kind := byte(sealedPlain)
	if s.aead != nil {
		kind = sealedAESGCM
	}
	if len(k.Sealed) == 0 || k.Sealed[0] != kind {
		return nil, errSealed
	}
	if s.aead == nil {
		return k.Sealed[1:], nil
	}
	rest, size := k.Sealed[1:], s.aead.NonceSize()
	if len(rest) < size {
		return nil, errSealed
	}
	private, err := s.aead.Open(nil, rest[:size], rest[size:], bound(k.Purpose, k.ID))
	if err != nil {
		return nil, errSealed
	}
	return private, nil
}

// generate makes a key and seals it. Access and refresh tokens are RS256, as this
// platform's services expect (SPEC ID1). Internal tokens are made for each request
// that wants one, and an ES256 signature costs a thirtieth of an RS256 one.
func (s sealer) generate(k StoredKey) (StoredKey, error) {
	var private crypto.Signer
	var err error
	if k.Purpose == ForInternal {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return k, fmt.Errorf("making a signing key: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return k, fmt.Errorf("writing a signing key: %w", err)
	}
	if k.ID, err = thumbprint(private.Public()); err != nil {
		return k, err
	}
	k.Sealed = s.seal(k, raw)
	return k, nil
}

// signingKey is a stored key, opened.
type signingKey struct {
	StoredKey
	private  crypto.Signer
	verifier *verificationKey
}

// unseal opens a stored key and wants it to be the one that its id says.
func (s sealer) unseal(k StoredKey) (*signingKey, error) {
	raw, err := s.open(k)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return nil, errors.New("it is no private key") // the cause may quote it
	}
	out := &signingKey{StoredKey: k}
	alg := "RS256"
	switch private := parsed.(type) {
	case *rsa.PrivateKey:
		if private.N.BitLen() < smallestRSA || k.Purpose == ForInternal {
			return nil, errors.New("it is an RSA key that is too small, or for another purpose")
		}
		out.private = private
	case *ecdsa.PrivateKey:
		if private.Curve != elliptic.P256() || k.Purpose != ForInternal {
			return nil, errors.New("it is an EC key of another curve, or for another purpose")
		}
		out.private, alg = private, "ES256"
	default:
		return nil, errors.New("it is a key of a kind that signs nothing here")
	}
	id, err := thumbprint(out.private.Public())
	if err != nil || id != k.ID {
		return nil, errors.New("it is not the key that its id says")
	}
	out.verifier = &verificationKey{id: k.ID, algorithm: alg, public: out.private.Public()}
	return out, nil
}

// thumbprint is the id of a key by RFC 7638: the hash of its required members, in
// the order of their names, without white space.
func thumbprint(public crypto.PublicKey) (string, error) {
	var canonical string
	switch k := public.(type) {
	case *rsa.PublicKey:
		canonical = `{"e":"` + base64Int(big.NewInt(int64(k.E)), 0) + `","kty":"RSA","n":"` + base64Int(k.N, 0) + `"}`
	case *ecdsa.PublicKey:
		x, y, err := coordinates(k)
		if err != nil {
			return "", err
		}
		canonical = `{"crv":"` + k.Params().Name + `","kty":"EC","x":"` + x + `","y":"` + y + `"}`
	default:
		return "", fmt.Errorf("a %T has no thumbprint here", public)
	}
	sum := sha256.Sum256([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// base64Int writes n as RFC 7518 §2 wants it: big-endian, in its shortest form, or
// in size bytes if that is longer.
func base64Int(n *big.Int, size int) string {
	raw := n.FillBytes(make([]byte, max(size, (n.BitLen()+7)/8)))
	return base64.RawURLEncoding.EncodeToString(raw)
}

// coordinates returns x and y of an EC key as JWKs write them.
func coordinates(k *ecdsa.PublicKey) (x, y string, err error) {
	point, err := k.Bytes() // 4, x, y
	if err != nil {
		return "", "", fmt.Errorf("writing an EC key: %w", err)
	}
	half := (len(point) - 1) / 2
	return base64.RawURLEncoding.EncodeToString(point[1 : 1+half]), base64.RawURLEncoding.EncodeToString(point[1+half:]), nil
}

// KeyInfo is what may be known of a signing key.
type KeyInfo struct {
	ID      string
	Purpose Purpose
	Phase   string // next, current, old
	Created time.Time
	Signs   time.Time // from when on it signs
	Ends    time.Time // when it is forgotten; zero while nothing has taken its place
}
