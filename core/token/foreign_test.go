package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

// idp is a foreign issuer's server.
type idp struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newIDP(t testing.TB, keySet string) *idp {
	t.Helper()
	p := new(idp)
	p.serve(keySet)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		(*p.answer.Load())(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that leave are what these tests are about
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

// serve answers with a key set from now on.
func (p *idp) serve(keySet string) {
	p.handle(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(keySet)) })
}

func (p *idp) handle(h http.HandlerFunc) { p.answer.Store(&h) }

func (p *idp) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	return pool
}

// foreign is the configuration of that issuer.
func (p *idp) foreign(t testing.TB) token.Foreign {
	return token.Foreign{
		Name: "partner", Issuer: "https://idp.example/", KeySetURL: p.URL + "/jwks.json", Audiences: []string{"suuupra"},
		UserPrefix: "partner:", Grants: scopes(t, "content:read", "courses"), Private: true, Roots: p.roots(),
	}
}

// sharedKeys are our own keys in tests that are about those of others: to make keys
// takes longer than all the rest.
var sharedKeys = sync.OnceValue(func() *token.Keys {
	keys, err := token.OpenKeys(context.Background(), token.KeysOptions{
		Store: new(token.MemoryKeys), PublishAhead: time.Hour, Longest: time.Hour, Clock: clock.NewFake(start()), Log: zerolog.Nop(),
	})
	if err != nil {
		panic(err)
	}
	return keys
})

// watched is a verifier that runs, with what it logs and counts.
type watched struct {
	*token.Verifier
	clock *clock.Fake
	log   *lockedBuffer
	meter *meter.Set
}

func watch(t testing.TB, foreign ...token.Foreign) *watched {
	t.Helper()
	c := clock.NewFake(start())
	w := &watched{clock: c, log: new(lockedBuffer), meter: meter.NewSet(c.Now)}
	var err error
	w.Verifier, err = token.NewVerifier(token.VerifierOptions{
		Keys: sharedKeys(), Issuer: ourIssuer, Audiences: []string{ourAudience}, Leeway: 5 * time.Second,
		Foreign: foreign, Clock: c, Log: zerolog.New(w.log), Meter: w.meter,
	})
	if err != nil {
		t.Fatalf("NewVerifier: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// metric returns the value of one series.
func (w *watched) metric(series string) string {
	var out strings.Builder
	w.meter.WritePrometheus(&out)
	for line := range strings.Lines(out.String()) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// fetched waits until so many fetches have ended in a result.
func (w *watched) fetched(t testing.TB, result string, n int) {
	t.Helper()
	series := fmt.Sprintf(`gateway_jwks_fetches_total{issuer="partner",result=%q}`, result)
	eventually(t, fmt.Sprintf("%d fetches are %s", n, result), func() bool { return w.metric(series) == fmt.Sprint(n) })
}

// partnerClaims are good claims of the foreign issuer, changed by more; a nil removes.
func partnerClaims(more map[string]any) map[string]any {
	now := start().Unix()
	all := map[string]any{
		"iss": "https://idp.example/", "aud": "suuupra", "sub": "alice", "iat": now, "exp": now + 3600, "jti": "j-1",
		"client_id": "app", "scope": "content:read",
	}
	for name, v := range more {
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	return all
}

func external(kind, value string) string {
	sum := sha256.Sum256([]byte("https://idp.example/\x00" + kind + "\x00" + value))
	return "ext:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestI1_ForeignSubjectsStandUnderTheirPrefix(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	w := watch(t, p.foreign(t))
	w.fetched(t, "ok", 1)
	for range 2 {
		got, err := w.Access([]byte(key.Token(t, partnerClaims(map[string]any{"sid": "login-1", "sessionId": "s-1", "client_fingerprint": "x"}))))
		if err != nil {
			t.Fatal(err)
		}
		want := principal.Principal{User: "partner:alice", Client: "partner:app", Issuer: "partner", Scopes: scopes(t, "content:read"), Shown: principal.Token}
		if diff := cmp.Diff(want, got.Principal); diff != "" {
			t.Errorf("another principal (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{external("jti", "j-1"), external("sid", "login-1")}, got.Foreign); diff != "" {
			t.Errorf("other keys to revoke it by (-want +got):\n%s", diff)
		}
		if got.Fingerprint != "" || got.KeyID != "k1" || got.ID != "j-1" {
			t.Errorf("%+v", got)
		}
	}
}

func TestI1_ForeignIssuersGrantNoMoreThanTheyMay(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	w := watch(t, p.foreign(t))
	w.fetched(t, "ok", 1)
	for _, c := range []struct {
		scope any
		want  string
	}{
		{nil, ""},
		{"", ""},
		{"*", ""},
		{[]string{"*", "content:read"}, "content:read"},
		{"content", "content:read"},
		{"content:read:own payments", "content:read:own"},
		{[]string{"courses:write", "courses"}, "courses"},
		{[]string{"a role of theirs", "courses::x", ":", "courses"}, "courses"},
		{"payments admin", ""},
	} {
		got, err := w.Access([]byte(key.Token(t, partnerClaims(map[string]any{"scope": c.scope, "scp": nil}))))
		if err != nil || got.Principal.Scopes.String() != c.want {
			t.Errorf("scope %q: %v, %v; want %q", c.scope, got, err, c.want)
		}
	}
	f := p.foreign(t)
	f.Grants = principal.Scopes{} // the default: nothing
	w = watch(t, f)
	w.fetched(t, "ok", 1)
	if got, err := w.Access([]byte(key.Token(t, partnerClaims(nil)))); err != nil || !got.Principal.Scopes.Empty() {
		t.Errorf("an issuer that may grant nothing: %v, %v", got, err)
	}
}

func TestI1_ClaimsAreMapped(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	f := p.foreign(t)
	f.Claims = token.ClaimNames{User: "/profile/e~1mail~0", Client: "/who/1", Scopes: "/realm_access/roles"}
	w := watch(t, f)
	w.fetched(t, "ok", 1)
	claims := partnerClaims(map[string]any{
		"sub": nil, "profile": map[string]any{"e/mail~": "a@b.example"}, "who": []string{"x", "app2"},
		"realm_access": map[string]any{"roles": []string{"courses"}},
	})
	got, err := w.Access([]byte(key.Token(t, claims)))
	if err != nil || got.Principal.User != "partner:a@b.example" || got.Principal.Client != "partner:app2" || got.Principal.Scopes.String() != "courses" {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, who := range []any{[]string{"x"}, map[string]any{"01": "y"}, "app", nil} { // no client there: the issuer's name stands for it
		claims["who"] = who
		if got, err := w.Access([]byte(key.Token(t, claims))); err != nil || got.Principal.Client != "partner:partner" {
			t.Errorf("who is %v: %v, %v", who, got, err)
		}
	}
	claims["profile"] = "x"
	refused(t, w.Verifier, "no user there", key.Token(t, claims), token.ErrInvalid)
	f.Claims = token.ClaimNames{User: "oid", Scopes: "/a/~2"}
	if _, err := token.NewVerifier(token.VerifierOptions{Issuer: ourIssuer, Audiences: []string{"a"}, Foreign: []token.Foreign{f}, Clock: w.clock}); err == nil {
		t.Error("a pointer that is none was taken")
	}
}

func TestI1_FallbacksOfClaims(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	w := watch(t, p.foreign(t))
	w.fetched(t, "ok", 1)
	got, err := w.Access([]byte(key.Token(t, partnerClaims(map[string]any{"client_id": nil, "azp": "spa", "scope": nil, "scp": []string{"courses"}, "jti": nil}))))
	if err != nil || got.Principal.Client != "partner:spa" || got.Principal.Scopes.String() != "courses" || got.ID != "" || got.Foreign != nil {
		t.Errorf("azp and scp: %+v, %v", got, err)
	}
}

func TestI1_ForeignTokensThatAreRefused(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	f := p.foreign(t)
	f.UserPrefix = "partner:"
	w := watch(t, f)
	w.fetched(t, "ok", 1)
	for name, more := range map[string]map[string]any{
		"no subject":           {"sub": nil},
		"subject is a number":  {"sub": 7},
		"CR LF in the subject": {"sub": "a\r\nb"},
		"too long with prefix": {"sub": strings.Repeat("a", 250)},
		"client with a space":  {"client_id": "a b"},
		"jti is a number":      {"jti": 1},
		"sid with a NUL":       {"sid": "a\x00jti\x00b"},
		"another audience":     {"aud": "other"},
		"no expiry":            {"exp": nil},
		"no iat":               {"iat": nil},
		"iat in the future":    {"iat": start().Unix() + 60},
		"scope with CR LF":     {"scope": []string{"courses\r\n"}},
		"scope of 256 bytes":   {"scope": strings.Repeat("a", 256)},
		"scope is a number":    {"scope": 1},
		"bound to a DPoP key":  {"cnf": map[string]any{"jkt": "x"}},
		"our issuer":           {"iss": ourIssuer},
	} {
		refused(t, w.Verifier, name, key.Token(t, partnerClaims(more)), token.ErrInvalid)
	}
	refused(t, w.Verifier, "expired", key.Token(t, partnerClaims(map[string]any{"exp": start().Unix() - 60})), token.ErrExpired)
	if _, err := w.Refresh([]byte(key.Token(t, partnerClaims(map[string]any{"tokenType": "refresh"})))); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("a refresh token of a foreign issuer: %v", err)
	}
	body, _ := json.Marshal(partnerClaims(nil))
	for _, typ := range []string{"JWT", "rt+jwt", "id+jwt"} {
		refused(t, w.Verifier, "typ "+typ, key.Sign(t, fmt.Sprintf(`{"alg":"RS256","kid":"k1","typ":%q}`, typ), string(body)), token.ErrInvalid)
	}
	f.Types = []string{"JWT"}
	w = watch(t, f)
	w.fetched(t, "ok", 1)
	if _, err := w.Access([]byte(key.Sign(t, `{"alg":"RS256","kid":"k1","typ":"JWT"}`, string(body)))); err != nil {
		t.Errorf("typ JWT where it is configured: %v", err)
	}
	refused(t, w.Verifier, "at+jwt where it is not", key.Sign(t, `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, string(body)), token.ErrInvalid)
}

// Each issuer has its own keys: A can't sign as B, nor as us, though all kids are the same.
func TestI2_OneKeySetForEachIssuer(t *testing.T) {
	a, b := tokentest.NewIssuer(t, "k1"), tokentest.NewIssuer(t, "k1")
	pa, pb := newIDP(t, tokentest.KeySet(a.JWK())), newIDP(t, tokentest.KeySet(b.JWK()))
	fa, fb := pa.foreign(t), pb.foreign(t)
	fb.Name, fb.Issuer, fb.UserPrefix = "other", "https://other.example", "other:"
	w := watch(t, fa, fb)
	w.fetched(t, "ok", 1)
	eventually(t, "the other set is there", func() bool {
		return w.metric(`gateway_jwks_fetches_total{issuer="other",result="ok"}`) == "1"
	})
	asB := partnerClaims(map[string]any{"iss": "https://other.example"})
	if got, err := w.Access([]byte(b.Token(t, asB))); err != nil || got.Principal.User != "other:alice" {
		t.Fatalf("b as b: %v, %v", got, err)
	}
	refused(t, w.Verifier, "a as b", a.Token(t, asB), token.ErrInvalid)
	refused(t, w.Verifier, "b as a", b.Token(t, partnerClaims(nil)), token.ErrInvalid)
	refused(t, w.Verifier, "a as us", a.Token(t, partnerClaims(map[string]any{"iss": ourIssuer})), token.ErrInvalid)
	for _, iss := range []string{"https://idp.example", "https://idp.example/ ", "HTTPS://idp.example/", "https://idp.example//"} {
		refused(t, w.Verifier, iss, a.Token(t, partnerClaims(map[string]any{"iss": iss})), token.ErrInvalid)
	}
}

func TestI2_AlgorithmsOfAnIssuer(t *testing.T) {
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	ec521, err4 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	rs := tokentest.NewIssuer(t, "rs")
	ps := &tokentest.Issuer{ID: "ps", Algorithm: "PS256", Private: rs.Private}
	issuers := []*tokentest.Issuer{rs, ps, {ID: "es", Algorithm: "ES256", Private: ec}, {ID: "es384", Algorithm: "ES384", Private: ec384}, {ID: "es512", Algorithm: "ES512", Private: ec521}, {ID: "ed", Algorithm: "EdDSA", Private: ed}}
	for _, algorithm := range []string{"RS384", "RS512", "PS384", "PS512"} {
		issuers = append(issuers, &tokentest.Issuer{ID: algorithm, Algorithm: algorithm, Private: rs.Private})
	}
	var keys []map[string]any
	for _, i := range issuers {
		keys = append(keys, i.JWK())
	}
	p := newIDP(t, tokentest.KeySet(keys...))
	for _, allowed := range [][]string{nil, {"RS256", "ES256"}, {"PS256", "EdDSA"}, token.Algorithms()} {
		f := p.foreign(t)
		f.Algorithms = allowed
		w := watch(t, f)
		w.fetched(t, "ok", 1)
		if allowed == nil {
			allowed = []string{"RS256"}
		}
		for _, i := range issuers {
			tok := i.Token(t, partnerClaims(nil))
			if strings.Contains(strings.Join(allowed, " "), i.Algorithm) {
				if _, err := w.Access([]byte(tok)); err != nil {
					t.Errorf("%s of %s: %v", i.Algorithm, allowed, err)
				}
			} else {
				refused(t, w.Verifier, i.Algorithm, tok, token.ErrInvalid)
			}
			for _, other := range issuers { // the right key under another's kid or algorithm
				if other != i {
					mixed := &tokentest.Issuer{ID: other.ID, Algorithm: i.Algorithm, Private: i.Private}
					refused(t, w.Verifier, i.ID+" as "+other.ID, mixed.Token(t, partnerClaims(nil)), token.ErrInvalid)
					body, _ := json.Marshal(partnerClaims(nil))
					head := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, other.Algorithm, i.ID)
					refused(t, w.Verifier, i.ID+" with alg "+other.Algorithm, i.Sign(t, head, string(body)), token.ErrInvalid)
				}
			}
		}
	}
}

func TestI2_KeysThatMayNotBeUsed(t *testing.T) {
	good := tokentest.NewIssuer(t, "good")
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(more map[string]any) map[string]any {
		k := good.JWK()
		for name, v := range more {
			if k[name] = v; v == nil {
				delete(k, name)
			}
		}
		return k
	}
	small := &tokentest.Issuer{ID: "good", Algorithm: "RS256", Private: rsaKey(t, 1024)}
	ecJWK := (&tokentest.Issuer{ID: "good", Algorithm: "ES256", Private: ec}).JWK()
	offCurve := map[string]any{}
	for name, v := range ecJWK {
		offCurve[name] = v
	}
	offCurve["y"] = offCurve["x"]
	big := base64.RawURLEncoding.EncodeToString(append([]byte{0x80}, append(make([]byte, 2046), 1)...))
	for name, keys := range map[string][]map[string]any{
		"none":                      {},
		"a secret":                  {{"kty": "oct", "kid": "good", "k": "c2VjcmV0", "alg": "HS256"}},
		"a secret for RS256":        {with(map[string]any{"kty": "oct", "k": "c2VjcmV0"})},
		"for encryption":            {with(map[string]any{"use": "enc"})},
		"use in upper case":         {with(map[string]any{"use": "SIG"})},
		"key_ops without verify":    {with(map[string]any{"key_ops": []string{"encrypt"}})},
		"key_ops is text":           {with(map[string]any{"key_ops": "verify"})},
		"for another algorithm":     {with(map[string]any{"alg": "RS512"})},
		"for RSA-OAEP":              {with(map[string]any{"alg": "RSA-OAEP"})},
		"no kid":                    {with(map[string]any{"kid": nil})},
		"kid is a number":           {with(map[string]any{"kid": 1})},
		"kid with a line break":     {with(map[string]any{"kid": "good\n"})},
		"no kty":                    {with(map[string]any{"kty": nil})},
		"kty in lower case":         {with(map[string]any{"kty": "rsa"})},
		"1024 bits":                 {small.JWK()},
		"16 K bits":                 {with(map[string]any{"n": big})},
		"an even modulus":           {with(map[string]any{"n": base64.RawURLEncoding.EncodeToString(append([]byte{0x80}, make([]byte, 255)...))})},
		"no modulus":                {with(map[string]any{"n": nil})},
		"modulus with padding":      {with(map[string]any{"n": good.JWK()["n"].(string) + "=="})},
		"exponent 1":                {with(map[string]any{"e": "AQ"})},
		"exponent 2":                {with(map[string]any{"e": "Ag"})},
		"a huge exponent":           {with(map[string]any{"e": "AQAAAAAB"})},
		"with its private half":     {with(map[string]any{"d": "AQAB"})},
		"an algorithm not allowed":  {ecJWK},
		"a point beside the curve":  {offCurve},
		"twice, and different":      {good.JWK(), tokentest.NewIssuer(t, "good").JWK()},
		"an unknown curve":          {{"kty": "OKP", "crv": "X25519", "kid": "good", "x": "AAAA"}},
		"secp256k1":                 {{"kty": "EC", "crv": "secp256k1", "kid": "good", "x": "AAAA", "y": "AAAA"}},
		"a number among the keys":   nil,
		"members that are no words": {{"kty": []string{"RSA"}, "kid": "good"}},
	} {
		set := tokentest.KeySet(keys...)
		if name == "a number among the keys" {
			set = `{"keys":[1,null,"x",[]]}`
		}
		w := watch(t, newIDP(t, set).foreign(t))
		w.fetched(t, "ok", 1)
		refused(t, w.Verifier, name, good.Token(t, partnerClaims(nil)), token.ErrInvalid)
		if !strings.Contains(w.log.String(), "no key that can be used") {
			t.Errorf("%s: nothing was logged", name)
		}
	}
	w := watch(t, newIDP(t, tokentest.KeySet(small.JWK(), with(map[string]any{"use": nil, "alg": nil, "key_ops": []string{"verify"}, "x5c": []string{"x"}}))).foreign(t))
	w.fetched(t, "ok", 1)
	refused(t, w.Verifier, "two of one kid, one unusable, signed by the unusable", small.Token(t, partnerClaims(nil)), token.ErrInvalid)
	if _, err := w.Access([]byte(good.Token(t, partnerClaims(nil)))); err != nil {
		t.Errorf("a key without use and alg: %v", err)
	}
}
