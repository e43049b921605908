package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ourIssuer   = "https://api.example"
	ourAudience = "suuupra"
)

// start is when the clocks of these tests begin.
func start() time.Time { return time.Date(2026, 5, 6, 7, 8, 9, 500e6, time.UTC) }

// own is a gateway's signer and verifier over one set of keys and one clock.
type own struct {
	clock    *clock.Fake
	keys     *token.Keys
	signer   *token.Signer
	verifier *token.Verifier
}

func newOwn(t testing.TB, foreign ...token.Foreign) *own {
	t.Helper()
	o := &own{clock: clock.NewFake(start())}
	o.keys = tokentest.Keys(t, o.clock)
	o.signer = token.NewSigner(token.SignerOptions{
		Keys: o.keys, Issuer: ourIssuer, Audience: ourAudience, Access: 15 * time.Minute, Refresh: 168 * time.Hour, Clock: o.clock,
	})
	var err error
	o.verifier, err = token.NewVerifier(token.VerifierOptions{
		Keys: o.keys, Issuer: ourIssuer, Audiences: []string{ourAudience}, Leeway: 5 * time.Second, Foreign: foreign, Clock: o.clock, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatalf("NewVerifier: %v", err)
	}
	return o
}

func scopes(t testing.TB, list ...string) principal.Scopes {
	t.Helper()
	s, err := principal.NewScopes(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// grant is what most tests issue.
func grant(t testing.TB) token.Grant {
	return token.Grant{
		User: "u-1", Client: "web", Session: "s-1", Scopes: scopes(t, "courses", "payments:refund"),
		Fingerprint: tokentest.Digest("device"), Thumbprint: tokentest.Digest("certificate"),
	}
}

func TestID1_AccessTokenSaysWhatItWasGrantedFor(t *testing.T) {
	o := newOwn(t)
	signed, err := o.signer.Access(grant(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := start().Truncate(time.Second); !signed.IssuedAt.Equal(want) || !signed.Expires.Equal(want.Add(15*time.Minute)) {
		t.Errorf("issued at %s, expires %s", signed.IssuedAt, signed.Expires)
	}
	for range 2 { // the second time from the cache
		got, err := o.verifier.Access([]byte(signed.Token))
		if err != nil {
			t.Fatal(err)
		}
		want := principal.Principal{User: "u-1", Client: "web", Session: "s-1", Scopes: scopes(t, "courses", "payments:refund"), Shown: principal.Token}
		if diff := cmp.Diff(want, got.Principal); diff != "" {
			t.Errorf("another principal (-want +got):\n%s", diff)
		}
		if got.ID != signed.ID || got.IssuedAt != signed.IssuedAt.Unix() || got.Expires != signed.Expires.Unix() || got.NotBefore != 0 {
			t.Errorf("id %s, dates %d %d %d", got.ID, got.IssuedAt, got.NotBefore, got.Expires)
		}
		if got.Fingerprint != tokentest.Digest("device") || got.Thumbprint != tokentest.Digest("certificate") || got.Foreign != nil {
			t.Errorf("bound to %q and %q, foreign %q", got.Fingerprint, got.Thumbprint, got.Foreign)
		}
		if got.KeyID != o.keys.List()[0].ID || got.Claims["sessionId"] != "s-1" {
			t.Errorf("signed by %s, claims %v", got.KeyID, got.Claims)
		}
	}
}

func TestAccessTokenOfAClientThatActsForItself(t *testing.T) {
	o := newOwn(t)
	signed, err := o.signer.Access(token.Grant{Client: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.verifier.Access([]byte(signed.Token))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(principal.Principal{Client: "billing", Shown: principal.Token}, got.Principal); diff != "" {
		t.Errorf("another principal (-want +got):\n%s", diff)
	}
	if got.Claims["sub"] != "billing" {
		t.Errorf("the subject is %v", got.Claims["sub"])
	}
}

func TestGrantsThatAreNoneAreRefused(t *testing.T) {
	o := newOwn(t)
	for name, g := range map[string]token.Grant{
		"nobody":            {},
		"no client":         {User: "u"},
		"user named client": {User: "web", Client: "web"},
		"control character": {User: "u\r\nX: y", Client: "web"},
		"odd session":       {User: "u", Client: "web", Session: "s 1"},
		"odd fingerprint":   {User: "u", Client: "web", Fingerprint: "abc"},
		"odd thumbprint":    {User: "u", Client: "web", Thumbprint: "abc"},
		"ended session":     {User: "u", Client: "web", NotAfter: start()},
	} {
		if _, err := o.signer.Access(g); err == nil {
			t.Errorf("%s: an access token was issued", name)
		}
		if _, err := o.signer.Refresh(g); err == nil {
			t.Errorf("%s: a refresh token was issued", name)
		}
	}
}

func TestTokensEndWithTheirSession(t *testing.T) {
	o := newOwn(t)
	g := grant(t)
	g.NotAfter = start().Add(time.Minute)
	for _, issue := range []func(token.Grant) (token.Signed, error){o.signer.Access, o.signer.Refresh} {
		if signed, err := issue(g); err != nil || signed.Expires.After(g.NotAfter) {
			t.Errorf("expires %s, error %v; the session ends %s", signed.Expires, err, g.NotAfter)
		}
	}
}

func TestI7_EachKindOfTokenIsGoodForItsOwnUseOnly(t *testing.T) {
	o := newOwn(t)
	access, err1 := o.signer.Access(grant(t))
	refresh, err2 := o.signer.Refresh(grant(t))
	internal, err3 := o.signer.Internal(&principal.Principal{User: "u-1", Client: "web"}, "payments")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	got, err := o.verifier.Refresh([]byte(refresh.Token))
	if err != nil || got.Principal.User != "u-1" || got.Principal.Session != "s-1" || got.Expires-got.IssuedAt != 168*3600 {
		t.Fatalf("the refresh token: %+v, %v", got, err)
	}
	for name, refused := range map[string]func() (*token.Verified, error){
		"refresh as access":   func() (*token.Verified, error) { return o.verifier.Access([]byte(refresh.Token)) },
		"internal as access":  func() (*token.Verified, error) { return o.verifier.Access([]byte(internal)) },
		"access as refresh":   func() (*token.Verified, error) { return o.verifier.Refresh([]byte(access.Token)) },
		"internal as refresh": func() (*token.Verified, error) { return o.verifier.Refresh([]byte(internal)) },
	} {
		if v, err := refused(); !errors.Is(err, token.ErrInvalid) || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}
