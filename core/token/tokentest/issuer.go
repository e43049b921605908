package tokentest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/token"
)

// Keys returns signing keys in memory that never change by age.
func Keys(t testing.TB, c clock.Clock) *token.Keys {
	t.Helper()
	keys, err := token.OpenKeys(t.Context(), token.KeysOptions{
		Store: new(token.MemoryKeys), PublishAhead: time.Hour, Longest: 7 * 24 * time.Hour, Clock: c, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatalf("OpenKeys: %v", err)
	}
	return keys
}

// Issuer is a foreign issuer's key, to sign any token with and to publish.
type Issuer struct {
	ID        string
	Algorithm string
	Private   crypto.Signer
}

// NewIssuer makes an RS256 key of that kid.
func NewIssuer(t testing.TB, id string) *Issuer {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{ID: id, Algorithm: "RS256", Private: private}
}

// Sign makes a token of any header and claims; the signature is right for the
// issuer's key and algorithm, whatever the header says.
func (i *Issuer) Sign(t testing.TB, header, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.GetSigningMethod(i.Algorithm).Sign(text, i.Private)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// Token signs claims under the header that belongs to an access token of the issuer.
func (i *Issuer) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	header, _ := json.Marshal(map[string]any{"alg": i.Algorithm, "kid": i.ID, "typ": "at+jwt"})
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return i.Sign(t, string(header), string(body))
}

// JWK returns the members of the public key as a key set has them.
func (i *Issuer) JWK() map[string]any {
	k := map[string]any{"kid": i.ID, "use": "sig", "alg": i.Algorithm}
	encode := base64.RawURLEncoding.EncodeToString
	switch public := i.Private.Public().(type) {
	case *rsa.PublicKey:
		k["kty"], k["n"], k["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		half := (len(point) - 1) / 2
		k["kty"], k["crv"], k["x"], k["y"] = "EC", public.Params().Name, encode(point[1:1+half]), encode(point[1+half:])
	case ed25519.PublicKey:
		k["kty"], k["crv"], k["x"] = "OKP", "Ed25519", encode(public)
	}
	return k
}

// KeySet writes a JWK set of keys.
func KeySet(keys ...map[string]any) string {
	if keys == nil {
		keys = []map[string]any{}
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Digest is what a token may be bound to: base64url of the SHA-256 of s.
func Digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// PublicKey returns the first RSA key of a JWK set of ours.
func PublicKey(t testing.TB, document []byte) crypto.PublicKey {
	t.Helper()
	var set struct {
		Keys []struct{ N, E string } `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil || len(set.Keys) == 0 {
		t.Fatalf("no key in %s: %v", document, err)
	}
	n, err1 := base64.RawURLEncoding.DecodeString(set.Keys[0].N)
	e, err2 := base64.RawURLEncoding.DecodeString(set.Keys[0].E)
	if err1 != nil || err2 != nil {
		t.Fatalf("%s: %v, %v", document, err1, err2)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
}
