package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
)

// What requests may show.
const (
	showsToken = "token"
	showsKey   = "key"
)

// What tokens of the bench say.
const (
	issuer   = "https://bench.example"
	audience = "bench"
)

// field is one field of a request.
type field struct{ name, value string }

// known is the one caller that all proxies know.
type known struct {
	dir    string           // where the gateway finds its signing keys
	yaml   string           // how the gateway knows the caller
	public string           // file of the key that verifies tokens, for HAProxy
	fields map[string]field // by what a scenario shows
}

// newKnown makes signing keys, a token and an API key below dir.
func newKnown(ctx context.Context, dir string) (*known, error) {
	k := &known{dir: filepath.Join(dir, "keys"), public: filepath.Join(dir, "token.pem"), fields: map[string]field{}}
	if err := os.Mkdir(k.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory of keys: %w", err)
	}
	keys, err := token.OpenKeys(ctx, token.KeysOptions{Store: token.NewFileKeys(k.dir), Longest: 24 * time.Hour, Clock: clock.Real(), Log: zerolog.Nop()})
	if err != nil {
		return nil, fmt.Errorf("make signing keys: %w", err)
	}
	if err := k.issueToken(keys); err != nil {
		return nil, err
	}
	if err := k.publish(keys.JWKS()); err != nil {
		return nil, err
	}
	return k, k.makeKey(ctx)
}

// issueToken makes the token that requests show.
func (k *known) issueToken(keys *token.Keys) error {
	scopes, err := principal.NewScopes([]string{"bench"})
	if err != nil {
		return err
	}
	signer := token.NewSigner(token.SignerOptions{Keys: keys, Issuer: issuer, Audience: audience, Access: 24 * time.Hour, Refresh: 24 * time.Hour, Clock: clock.Real()})
	signed, err := signer.Access(token.Grant{User: "0b0d5c1e-7a52-4a0e-9d53-6d1f3c1f9a11", Client: "bench", Session: "bench-session", Scopes: scopes})
	if err != nil {
		return fmt.Errorf("sign a token: %w", err)
	}
	k.fields[showsToken] = field{"Authorization", "Bearer " + signed.Token}
	return nil
}

// publish writes the first RSA key of a key set (RFC 7517) as PEM.
func (k *known) publish(jwks []byte) error {
	var set struct {
		Keys []struct{ Kty, N, E string }
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		return fmt.Errorf("read the key set: %w", err)
	}
	for _, key := range set.Keys {
		n, errN := base64.RawURLEncoding.DecodeString(key.N)
		e, errE := base64.RawURLEncoding.DecodeString(key.E)
		if key.Kty != "RSA" || errN != nil || errE != nil {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())})
		if err != nil {
			return fmt.Errorf("write down the key: %w", err)
		}
		return os.WriteFile(k.public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
	}
	return errors.New("the key set holds no RSA key")
}

// makeKey makes the API key that requests show, and what the gateway must know of it.
func (k *known) makeKey(ctx context.Context) error {
	store, err := apikey.NewMemory(nil, []apikey.Client{{ID: "bench", Name: "bench", Scopes: []string{"bench"}, Active: true}})
	if err != nil {
		return fmt.Errorf("make a store of keys: %w", err)
	}
	made := apikey.New(apikey.Options{Store: store, Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: zerolog.Nop()})
	secret, _, err := made.Create(ctx, apikey.NewKey{Name: "bench", Client: "bench", Scopes: []string{"bench"}})
	if err != nil {
		return fmt.Errorf("make an API key: %w", err)
	}
	id, hash, err := apikey.HashOf(secret)
	if err != nil {
		return fmt.Errorf("hash the API key: %w", err)
	}
	k.fields[showsKey] = field{"X-API-Key", secret}
	k.yaml = fmt.Sprintf(`identity:
  issuer: %s
  audience: %s
  clients: {bench: {name: bench, scopes: [bench]}}
  api_keys: {%q: {name: bench, hash: %q, client: bench, scopes: [bench]}}
`, issuer, audience, id, hash)
	return nil
}
