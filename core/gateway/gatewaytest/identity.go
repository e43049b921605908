package gatewaytest

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/token"
)

// Identity is one of real parts that keep everything in memory: Options.Identity for
// tests that need credentials and not their stores.
type Identity struct {
	plugin.Identity
	Signer *token.Signer
	Keys   *apikey.Keys
	Mirror *revocation.Mirror
	t      testing.TB
}

// NewIdentity returns an identity that knows one client, "app".
func NewIdentity(t testing.TB) *Identity {
	t.Helper()
	c, set, log := clock.Real(), meter.NewSet(time.Now), zerolog.Nop()
	keys, err := token.OpenKeys(t.Context(), token.KeysOptions{Store: &token.MemoryKeys{}, Longest: time.Hour, Clock: c, Log: log})
	must(t, err)
	verifier, err := token.NewVerifier(token.VerifierOptions{Keys: keys, Issuer: "https://issuer.example", Audiences: []string{"test"}, Clock: c, Meter: set, Log: log})
	must(t, err)
	mirror, err := revocation.New(revocation.Options{Clock: c, Meter: set, Log: log})
	must(t, err)
	store, err := apikey.NewMemory(nil, []apikey.Client{{ID: "app", Name: "app", Scopes: []string{principal.Every}, Active: true}})
	must(t, err)
	i := &Identity{
		t: t, Signer: token.NewSigner(token.SignerOptions{Keys: keys, Issuer: "https://issuer.example", Audience: "test", Access: time.Hour, Refresh: time.Hour, Clock: c}),
		Keys:   apikey.New(apikey.Options{Store: store, Lasting: mirror.Stays(), Clock: c, Meter: set, Log: log}),
		Mirror: mirror,
	}
	mirror.Stays().AskKeys(i.Keys.Ended)
	i.Identity = plugin.Identity{Tokens: verifier, Revocations: mirror, Keys: i.Keys, Vouchers: i.Signer}
	return i
}

// Run keeps the keys up to date until the test ends.
func (i *Identity) Run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		i.Keys.Run(ctx)
	}()
	i.t.Cleanup(func() {
		cancel()
		<-done
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("making an identity: %v", err)
	}
}

// Token issues an access token of client "app".
func (i *Identity) Token(user string, scopes ...string) string {
	i.t.Helper()
	held, err := principal.NewScopes(scopes)
	must(i.t, err)
	signed, err := i.Signer.Access(token.Grant{User: user, Client: "app", Session: "session-of-" + user, Scopes: held})
	must(i.t, err)
	return signed.Token
}

// Key makes an API key of client "app".
func (i *Identity) Key(scopes ...string) string {
	i.t.Helper()
	secret, _, err := i.Keys.Create(i.t.Context(), apikey.NewKey{Name: "test", Client: "app", Scopes: scopes})
	must(i.t, err)
	return secret
}
