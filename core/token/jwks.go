package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync/atomic"

	"github.com/golang-jwt/jwt/v5"
)

// The sizes of an RSA modulus, in bits: below it can be factored (SECURITY I2),
// above one verification costs more than it is worth to whoever publishes it.
const (
	smallestRSA = 2048
	largestRSA  = 8192
)

// maxKeys is how many keys a set may hold.
const maxKeys = 128

// verificationKey is a public key. What it verified is good until it is withdrawn.
type verificationKey struct {
	id        string
	algorithm string // the only one that it is for; empty: any of its kind
	public    crypto.PublicKey
	// withdrawn is written once and read at each hit of the cache, so that a
	// compromised key takes all its tokens along at that very moment.
	withdrawn atomic.Bool
}

// method returns how signatures of algorithm are verified with k; nil if k is of
// another kind or for another algorithm. The key decides: what an attacker writes
// into a header can only fail to agree with it.
func (k *verificationKey) method(algorithm string) jwt.SigningMethod {
	if k.algorithm != "" && k.algorithm != algorithm {
		return nil
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return rsaMethod(algorithm)
	case *ecdsa.PublicKey:
		for _, m := range []*jwt.SigningMethodECDSA{jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodES512} {
			if m.Name == algorithm && m.CurveBits == public.Params().BitSize {
				return m
			}
		}
	case ed25519.PublicKey:
		if algorithm == jwt.SigningMethodEdDSA.Alg() {
			return jwt.SigningMethodEdDSA
		}
	}
	return nil
}

func rsaMethod(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case "RS256":
		return jwt.SigningMethodRS256
	case "RS384":
		return jwt.SigningMethodRS384
	case "RS512":
		return jwt.SigningMethodRS512
	case "PS256":
		return jwt.SigningMethodPS256
	case "PS384":
		return jwt.SigningMethodPS384
	case "PS512":
		return jwt.SigningMethodPS512
	default:
		return nil
	}
}

// Algorithms are those that a foreign issuer may be configured with: signatures by
// a private key, and nothing else.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// jwk is a public key as RFC 7517 writes it. There is no member for a private one.
type jwk struct {
	Algorithm string `json:"alg"`
	Curve     string `json:"crv,omitempty"`
	E         string `json:"e,omitempty"`
	ID        string `json:"kid"`
	Type      string `json:"kty"`
	N         string `json:"n,omitempty"`
	Use       string `json:"use"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
}

// keySetDocument is a JWK set.
type keySetDocument struct {
	Keys []jwk `json:"keys"`
}

// document writes the public keys of one purpose as a JWK set.
func (r *ring) document(p Purpose) []byte {
	set := keySetDocument{Keys: []jwk{}}
	for _, s := range of(r.stored, p) {
		v := r.opened[s.ID].verifier
		k := jwk{Algorithm: v.algorithm, ID: v.id, Use: "sig"}
		switch public := v.public.(type) {
		case *rsa.PublicKey:
			k.Type, k.N, k.E = "RSA", base64Int(public.N, 0), base64Int(big.NewInt(int64(public.E)), 0)
		case *ecdsa.PublicKey:
			k.Type, k.Curve = "EC", public.Params().Name
			k.X, k.Y, _ = coordinates(public) // unseal wrote them once already
		}
		set.Keys = append(set.Keys, k)
	}
	out, _ := json.Marshal(set) // strings alone can't fail
	return out
}

// keys returns the document of one purpose; an empty set before there are keys.
func (r *ring) keys(p Purpose) []byte {
	switch {
	case r.jwks == nil:
		return []byte(`{"keys":[]}`)
	case p == ForInternal:
		return r.foreign
	default:
		return r.jwks
	}
}

// parseKeySet reads the JWK set of a foreign issuer whose tokens are signed by one
// of algorithms. Keys that are for something else, or are too weak, are passed over
// and counted (SECURITY I2); a document that is no JWK set is an error.
func parseKeySet(text string, algorithms []string) (keys map[string]*verificationKey, passed int, err error) {
	set, err := decodeObject(text)
	if err != nil {
		return nil, 0, fmt.Errorf("the key set %w", err)
	}
	list, ok := set["keys"].([]any)
	if !ok {
		return nil, 0, errors.New("the key set has no keys")
	}
	if len(list) > maxKeys {
		return nil, 0, fmt.Errorf("the key set holds %d keys; at most %d", len(list), maxKeys)
	}
	keys = make(map[string]*verificationKey, len(list))
	twice := map[string]bool{}
	for _, one := range list {
		members, _ := one.(map[string]any)
		k := parseKey(members, algorithms)
		if k == nil {
			passed++
			continue
		}
		twice[k.id] = keys[k.id] != nil || twice[k.id]
		keys[k.id] = k
	}
	for id, ambiguous := range twice {
		if ambiguous { // which one signed can't be told, so that neither is taken
			delete(keys, id)
			passed += 2
		}
	}
	return keys, passed, nil
}

// parseKey reads one key; nil for what may not be used. A key that is published
// with its private half is anybody's.
func parseKey(members map[string]any, algorithms []string) *verificationKey {
	c := claims{all: members}
	k := &verificationKey{id: c.text("kid"), algorithm: c.text("alg")}
	use, kind := c.text("use"), c.text("kty")
	_, private := members["d"]
	if c.err != nil || private || !isWord(k.id) || use != "" && use != "sig" || !mayVerify(members) {
		return nil
	}
	switch kind {
	case "RSA":
		k.public = parseRSA(c.text("n"), c.text("e"))
	case "EC":
		k.public = parseEC(c.text("crv"), c.text("x"), c.text("y"))
	case "OKP":
		if raw, err := decodeBase64(c.text("x")); err == nil && len(raw) == ed25519.PublicKeySize && c.text("crv") == "Ed25519" {
			k.public = ed25519.PublicKey(raw)
		}
	}
	usable := k.public != nil && slices.ContainsFunc(algorithms, func(a string) bool { return k.method(a) != nil })
	if c.err != nil || !usable {
		return nil
	}
	return k
}

// mayVerify says whether key_ops, if it is there, allows to verify (RFC 7517 §4.3).
func mayVerify(members map[string]any) bool {
	v, there := members["key_ops"]
	if !there {
		return true
	}
	list, _ := v.([]any)
	return slices.Contains(list, any("verify"))
}

// parseRSA returns the key, or nil without a type: an interface that holds a nil
// pointer would be taken for a key.
func parseRSA(n, e string) crypto.PublicKey {
	modulus, err := decodeBase64(n)
	exponent, err2 := decodeBase64(e)
	if err != nil || err2 != nil || len(modulus) > largestRSA/8+1 || len(exponent) > 4 {
		return nil
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
	bits := k.N.BitLen()
	if bits < smallestRSA || bits > largestRSA || k.N.Bit(0) == 0 || k.E < 3 || k.E > 1<<31-1 || k.E&1 == 0 {
		return nil
	}
	return k
}

func parseEC(curve, x, y string) crypto.PublicKey {
	var c elliptic.Curve
	switch curve {
	case "P-256":
		c = elliptic.P256()
	case "P-384":
		c = elliptic.P384()
	case "P-521":
		c = elliptic.P521()
	default:
		return nil
	}
	size := (c.Params().BitSize + 7) / 8
	first, err := decodeBase64(x)
	second, err2 := decodeBase64(y)
	if err != nil || err2 != nil || len(first) != size || len(second) != size {
		return nil
	}
	k, err := ecdsa.ParseUncompressedPublicKey(c, slices.Concat([]byte{4}, first, second)) // refuses what is not on the curve
	if err != nil {
		return nil
	}
	return k
}
