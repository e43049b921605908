//go:build !race

package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

// machine is a gateway on the machine's own clock, with one token.
func machine(t testing.TB, cacheBytes int64) (*own, *token.Signer, []byte) {
	t.Helper()
	c := clock.Real()
	keys := tokentest.Keys(t, c)
	s := token.NewSigner(token.SignerOptions{Keys: keys, Issuer: ourIssuer, Audience: ourAudience, Access: 15 * time.Minute, Clock: c})
	v, err := token.NewVerifier(token.VerifierOptions{
		Keys: keys, Issuer: ourIssuer, Audiences: []string{ourAudience}, Leeway: 5 * time.Second, CacheBytes: cacheBytes, Clock: c, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Access(grant(t))
	if err != nil {
		t.Fatal(err)
	}
	return &own{keys: keys, signer: s, verifier: v}, s, []byte(signed.Token)
}

func TestI9_AllocsOfAKnownToken(t *testing.T) {
	o, _, tok := machine(t, 0)
	if _, err := o.verifier.Access(tok); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, func() {
		if v, err := o.verifier.Access(tok); err != nil || v.Principal.User != "u-1" {
			t.Fatal(v, err)
		}
	}); n != 0 {
		t.Errorf("a known token allocates %v times", n)
	}
}

// best returns the quickest of rounds, per call: what the machine can do when
// nobody else is at it.
func best(rounds, calls int, f func(i int)) time.Duration {
	least := time.Duration(1 << 62)
	for range rounds {
		began := time.Now()
		for i := range calls {
			f(i)
		}
		least = min(least, time.Since(began)/time.Duration(calls))
	}
	return least
}

func TestI9_KnownTokenCostsLessThanAMicrosecond(t *testing.T) {
	o, _, tok := machine(t, 0)
	took := best(50, 2000, func(int) { _, _ = o.verifier.Access(tok) })
	t.Logf("a known token takes %s", took)
	if took > time.Microsecond {
		t.Error("which is more than a microsecond")
	}
}

// bare verifies signatures and nothing else.
func bare(t testing.TB, o *own, tok []byte) func() {
	t.Helper()
	i := strings.LastIndexByte(string(tok), '.')
	signature, err := base64.RawURLEncoding.DecodeString(string(tok[i+1:]))
	if err != nil {
		t.Fatal(err)
	}
	public := tokentest.PublicKey(t, o.keys.JWKS()).(*rsa.PublicKey)
	return func() {
		sum := sha256.Sum256(tok[:i])
		if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature); err != nil {
			t.Fatal(err)
		}
	}
}

// The cache is one shard of no bytes here, so that each sight is the first.
func TestI9_FirstSightCostsAtMostThreeVerifications(t *testing.T) {
	o, _, tok := machine(t, 1)
	verify := bare(t, o, tok)
	// Both are measured in turns, so that what the machine does besides hits both.
	first, alone := time.Duration(1<<62), time.Duration(1<<62)
	for range 40 {
		first = min(first, best(1, 25, func(int) {
			if _, err := o.verifier.Access(tok); err != nil {
				t.Fatal(err)
			}
		}))
		alone = min(alone, best(1, 25, func(int) { verify() }))
	}
	t.Logf("the first sight of a token takes %s, a bare RS256 verification %s", first, alone)
	if first > 3*alone {
		t.Error("which is more than three times as much")
	}
}

// Ten thousand really signed tokens: each is verified once and known from then on.
// Their issuer signs with ES256, which costs a thirtieth of RS256.
func TestI9_TenThousandSignedTokens(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := &tokentest.Issuer{ID: "k1", Algorithm: "ES256", Private: private}
	f := newIDP(t, tokentest.KeySet(key.JWK())).foreign(t)
	f.Algorithms = []string{"ES256"}
	w := watch(t, f)
	w.fetched(t, "ok", 1)
	tokens := make([][]byte, 10_000)
	for i := range tokens {
		tokens[i] = []byte(key.Token(t, partnerClaims(map[string]any{"sub": fmt.Sprint("user-", i)})))
	}
	for round := range 3 {
		for i, tok := range tokens {
			v, err := w.Access(tok)
			if err != nil || v.Principal.User != fmt.Sprint("partner:user-", i) {
				t.Fatalf("token %d: %v, %v", i, v, err)
			}
		}
		hits, misses := w.metric("gateway_token_cache_hits_total"), w.metric("gateway_token_cache_misses_total")
		if hits != fmt.Sprint(round*10_000) || misses != "10000" {
			t.Fatalf("after round %d: %s hits, %s misses", round, hits, misses)
		}
	}
}

func BenchmarkKnownToken(b *testing.B) {
	o, _, tok := machine(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.verifier.Access(tok); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKnownTokenParallel(b *testing.B) {
	o, _, tok := machine(b, 0)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		mine := slices.Clone(tok)
		for pb.Next() {
			if _, err := o.verifier.Access(mine); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFirstSight(b *testing.B) {
	o, _, tok := machine(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.verifier.Access(tok); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareRS256(b *testing.B) {
	o, _, tok := machine(b, 1)
	verify := bare(b, o, tok)
	b.ReportAllocs()
	for b.Loop() {
		verify()
	}
}

func BenchmarkInternalToken(b *testing.B) {
	o, s, tok := machine(b, 0)
	v, err := o.verifier.Access(tok)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Internal(&v.Principal, "payments"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRefused(b *testing.B) {
	o, _, tok := machine(b, 0)
	bad := slices.Clone(tok)
	bad[len(bad)-9] ^= 1
	for name, t := range map[string][]byte{"garbage": []byte("garbage"), "signature": bad} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.verifier.Access(t); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
