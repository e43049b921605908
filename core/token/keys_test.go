package token_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

// encryptionKey is 32 bytes that these tests encrypt with.
var encryptionKey = []byte("0123456789abcdef0123456789abcdef")

// instance is one process's view of shared keys.
type instance struct {
	keys     *token.Keys
	signer   *token.Signer
	verifier *token.Verifier
}

func newInstance(t testing.TB, store token.KeyStore, c clock.Clock) *instance {
	t.Helper()
	i, err := openInstance(t, token.KeysOptions{
		Store: store, EncryptionKey: encryptionKey, RotateEvery: 30 * 24 * time.Hour, PublishAhead: 24 * time.Hour, Longest: 7 * 24 * time.Hour, Clock: c,
	})
	if err != nil {
		t.Fatalf("OpenKeys: %v", err)
	}
	return i
}

func openInstance(t testing.TB, o token.KeysOptions) (*instance, error) {
	t.Helper()
	o.Log = zerolog.Nop()
	keys, err := token.OpenKeys(t.Context(), o)
	if err != nil {
		return nil, err
	}
	i := &instance{keys: keys}
	i.signer = token.NewSigner(token.SignerOptions{Keys: keys, Issuer: ourIssuer, Audience: ourAudience, Access: 15 * time.Minute, Refresh: 168 * time.Hour, Clock: o.Clock})
	i.verifier, err = token.NewVerifier(token.VerifierOptions{Keys: keys, Issuer: ourIssuer, Audiences: []string{ourAudience}, Leeway: 5 * time.Second, Clock: o.Clock})
	if err != nil {
		t.Fatal(err)
	}
	return i, nil
}

// run follows the store until the test ends.
func (i *instance) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); i.keys.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (i *instance) access(t testing.TB) (tok, kid string) {
	t.Helper()
	signed, err := i.signer.Access(token.Grant{User: "u", Client: "web", Session: "s"})
	if err != nil {
		t.Fatalf("Access: %v", err)
	}
	var header struct{ Kid string }
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(signed.Token, ".")[0])
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	return signed.Token, header.Kid
}

// phases writes the keys of one purpose as "old current next".
func (i *instance) phases(p token.Purpose) string {
	var out []string
	for _, k := range i.keys.List() {
		if k.Purpose == p {
			out = append(out, k.Phase)
		}
	}
	return strings.Join(out, " ")
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// published returns the kids of a JWK set.
func published(t testing.TB, document []byte) (kids []string) {
	t.Helper()
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(document, &set); err != nil {
		t.Fatalf("the key set is no JSON: %v", err)
	}
	for _, k := range set.Keys {
		kids = append(kids, k["kid"])
	}
	return kids
}

func TestMemoryKeyStore(t *testing.T) {
	tokentest.TestKeyStore(t, func(*testing.T) func() token.KeyStore {
		s := new(token.MemoryKeys)
		return func() token.KeyStore { return s }
	})
}

func TestFileKeyStore(t *testing.T) {
	tokentest.TestKeyStore(t, func(t *testing.T) func() token.KeyStore {
		directory := t.TempDir()
		return func() token.KeyStore { return token.NewFileKeys(directory) }
	})
}

func TestI17_FirstKeysSignAtOnceAndSurviveARestart(t *testing.T) {
	c, directory := clock.NewFake(start()), t.TempDir()
	a := newInstance(t, token.NewFileKeys(directory), c)
	tok, kid := a.access(t)
	b := newInstance(t, token.NewFileKeys(directory), c)
	if _, err := b.verifier.Access([]byte(tok)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, again := b.access(t); again != kid {
		t.Errorf("after a restart %s signs, before it %s did", again, kid)
	}
	info, err := os.Stat(filepath.Join(directory, "signing-keys.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the keys: %v, %v", info, err)
	}
}

func TestI17_KeysAreEncryptedAndBoundToTheirPlace(t *testing.T) {
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	newInstance(t, store, c)
	stored, err := store.Load(t.Context())
	if err != nil || len(stored) != 3 {
		t.Fatalf("%d keys, %v; want one for each purpose", len(stored), err)
	}
	for _, k := range stored {
		if strings.Contains(string(k.Sealed), "\x2a\x86\x48") { // the beginning of every OID of RSA and EC keys
			t.Errorf("the %s key is stored in clear", k.Purpose)
		}
	}
	for name, spoil := range map[string]func(keys []token.StoredKey){
		"a flipped bit":              func(k []token.StoredKey) { k[0].Sealed[40] ^= 1 },
		"cut off":                    func(k []token.StoredKey) { k[0].Sealed = k[0].Sealed[:5] },
		"empty":                      func(k []token.StoredKey) { k[0].Sealed = nil },
		"another key's":              func(k []token.StoredKey) { k[0].Sealed = k[1].Sealed },
		"another purpose":            func(k []token.StoredKey) { k[0].Purpose, k[1].Purpose = k[1].Purpose, k[0].Purpose },
		"another id":                 func(k []token.StoredKey) { k[0].ID = k[1].ID + "x" },
		"planted in clear":           func(k []token.StoredKey) { k[0].Sealed = plainKey(t).Sealed },
		"planted in clear, with kid": func(k []token.StoredKey) { k[0] = plainKey(t) },
	} {
		spoiled := new(token.MemoryKeys)
		err := spoiled.Update(t.Context(), func([]token.StoredKey) ([]token.StoredKey, error) {
			keys, err := store.Load(t.Context())
			slices.SortFunc(keys, func(a, b token.StoredKey) int { return strings.Compare(string(a.Purpose), string(b.Purpose)) })
			keys[1], keys[2] = keys[2], keys[1] // access and refresh first: both RSA
			spoil(keys)
			return keys, err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = openInstance(t, token.KeysOptions{Store: spoiled, EncryptionKey: encryptionKey, PublishAhead: time.Hour, Longest: time.Hour, Clock: c})
		if err == nil {
			t.Errorf("%s: the keys were opened", name)
		}
	}
	other := []byte(strings.Repeat("x", 32))
	for name, key := range map[string][]byte{"another encryption key": other, "none": nil, "a short one": other[:16]} {
		if _, err := openInstance(t, token.KeysOptions{Store: store, EncryptionKey: key, PublishAhead: time.Hour, Longest: time.Hour, Clock: c}); err == nil {
			t.Errorf("%s: the keys were opened", name)
		}
	}
}

// plainKey returns an access key as a store without encryption holds it.
func plainKey(t *testing.T) token.StoredKey {
	t.Helper()
	store := new(token.MemoryKeys)
	if _, err := token.OpenKeys(t.Context(), token.KeysOptions{Store: store, PublishAhead: time.Hour, Longest: time.Hour, Clock: clock.NewFake(start())}); err != nil {
		t.Fatal(err)
	}
	keys, _ := store.Load(t.Context())
	return keys[slices.IndexFunc(keys, func(k token.StoredKey) bool { return k.Purpose == token.ForAccess })]
}

func TestI17_KidIsTheThumbprintOfRFC7638(t *testing.T) {
	i := newInstance(t, new(token.MemoryKeys), clock.NewFake(start()))
	for _, document := range [][]byte{i.keys.JWKS(), i.keys.InternalJWKS()} {
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(document, &set); err != nil || len(set.Keys) != 1 {
			t.Fatalf("%s: %v", document, err)
		}
		k := set.Keys[0]
		canonical := fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, k["e"], k["n"])
		if k["kty"] == "EC" {
			canonical = fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`, k["crv"], k["x"], k["y"])
		}
		if sum := sha256.Sum256([]byte(canonical)); k["kid"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Errorf("kid %s of %s", k["kid"], canonical)
		}
		if k["use"] != "sig" || k["alg"] != map[string]string{"RSA": "RS256", "EC": "ES256"}[k["kty"]] {
			t.Errorf("use %q, alg %q of a %s key", k["use"], k["alg"], k["kty"])
		}
	}
}

func TestI17_KeySetsHoldNoPrivateMembers(t *testing.T) {
	i := newInstance(t, new(token.MemoryKeys), clock.NewFake(start()))
	if _, err := i.keys.Rotate(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	allowed := regexp.MustCompile(`^(alg|crv|e|kid|kty|n|use|x|y)$`)
	for _, document := range [][]byte{i.keys.JWKS(), i.keys.InternalJWKS()} {
		var set map[string][]map[string]any
		if err := json.Unmarshal(document, &set); err != nil || len(set) != 1 || len(set["keys"]) != 2 {
			t.Fatalf("%s: %v", document, err)
		}
		for _, k := range set["keys"] {
			for name := range k {
				if !allowed.MatchString(name) {
					t.Errorf("a published key has member %q", name)
				}
			}
		}
	}
}

func TestI7_OnlyAccessKeysArePublished(t *testing.T) {
	i := newInstance(t, new(token.MemoryKeys), clock.NewFake(start()))
	var access, internal []string
	for _, k := range i.keys.List() {
		switch k.Purpose {
		case token.ForAccess:
			access = append(access, k.ID)
		case token.ForInternal:
			internal = append(internal, k.ID)
		}
	}
	if got := published(t, i.keys.JWKS()); !slices.Equal(got, access) {
		t.Errorf("published are %s, access keys are %s", got, access)
	}
	if got := published(t, i.keys.InternalJWKS()); !slices.Equal(got, internal) {
		t.Errorf("for services are %s, internal keys are %s", got, internal)
	}
}

func TestI17_RotationByAge(t *testing.T) {
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	a := newInstance(t, store, c)
	a.run(t)
	old, first := a.access(t)
	day := 24 * time.Hour
	step := func(d time.Duration, want string) {
		t.Helper()
		eventually(t, "Run waits", func() bool { return c.Armed() == 1 })
		c.Advance(d)
		eventually(t, want+" are the access keys", func() bool { return a.phases(token.ForAccess) == want })
	}
	step(28*day, "current")
	step(day, "current next")
	if _, kid := a.access(t); kid != first || len(published(t, a.keys.JWKS())) != 2 {
		t.Error("the next key signs before its time, or is not published ahead of it")
	}
	c.Advance(day - time.Second)
	last, kid := a.access(t)
	if kid != first {
		t.Error("the next key signs a second too early")
	}
	step(time.Second, "old current")
	if _, kid := a.access(t); kid == first {
		t.Error("the old key still signs")
	}
	if _, err := a.verifier.Access([]byte(last)); err != nil {
		t.Errorf("what the old key signed last: %v", err)
	}
	if _, err := a.verifier.Access([]byte(old)); !errors.Is(err, token.ErrExpired) {
		t.Errorf("a token of thirty days ago: %v", err)
	}
	step(7*day, "old current")
	step(2*time.Minute, "current")
	if kids := published(t, a.keys.JWKS()); slices.Contains(kids, first) {
		t.Error("a key is published longer than anything that it signed lives")
	}
}

func TestI17_RotateOnDemandWaitsForPublication(t *testing.T) {
	c := clock.NewFake(start())
	a := newInstance(t, new(token.MemoryKeys), c)
	_, first := a.access(t)
	for range 2 { // the second call makes no third key
		infos, err := a.keys.Rotate(t.Context(), "")
		if err != nil || len(infos) != 6 {
			t.Fatalf("%d keys, %v; want a current and a next one for each purpose", len(infos), err)
		}
	}
	if _, kid := a.access(t); kid != first {
		t.Error("the new key signs before it was published long enough")
	}
	c.Advance(24 * time.Hour)
	if _, kid := a.access(t); kid == first {
		t.Error("the new key does not sign after publish_ahead")
	}
	if infos := a.keys.List(); infos[0].Phase != "old" || infos[0].Ends.Sub(start()) < 8*24*time.Hour || !infos[1].Ends.IsZero() {
		t.Errorf("keys %+v", infos)
	}
}

func TestI17_CompromisedKeyIsDroppedEverywhere(t *testing.T) {
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	a, b := newInstance(t, store, c), newInstance(t, store, c)
	b.run(t)
	tok, kid := a.access(t)
	refresh, err := a.signer.Refresh(token.Grant{User: "u", Client: "web"})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []*instance{a, b} {
		for range 2 {
			if _, err := i.verifier.Access([]byte(tok)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := a.keys.Rotate(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	if _, err := a.verifier.Access([]byte(tok)); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("its cached token, where it was dropped: %v", err)
	}
	if _, err := b.verifier.Access([]byte(tok)); err != nil {
		t.Errorf("its cached token elsewhere, before the next look: %v", err)
	}
	eventually(t, "Run waits", func() bool { return c.Armed() == 1 })
	c.Advance(999 * time.Millisecond) // push severed: polling alone must do
	eventually(t, "it is refused elsewhere", func() bool {
		_, err := b.verifier.Access([]byte(tok))
		return errors.Is(err, token.ErrInvalid)
	})
	fresh, other := a.access(t)
	if other == kid || slices.Contains(published(t, a.keys.JWKS()), kid) {
		t.Error("the dropped key still signs, or is published")
	}
	for _, i := range []*instance{a, b} {
		if _, err := i.verifier.Access([]byte(fresh)); err != nil {
			t.Errorf("what the new key signs: %v", err)
		}
		if _, err := i.verifier.Refresh([]byte(refresh.Token)); err != nil {
			t.Errorf("a refresh token, whose key was not compromised: %v", err)
		}
	}
	if _, err := a.keys.Rotate(t.Context(), kid); err == nil {
		t.Error("a key that there is not was dropped")
	}
}

func TestI17_CompromisedKeyWithASuccessor(t *testing.T) {
	c := clock.NewFake(start())
	a := newInstance(t, new(token.MemoryKeys), c)
	_, first := a.access(t)
	if _, err := a.keys.Rotate(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	kids := published(t, a.keys.JWKS())
	if _, err := a.keys.Rotate(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, kid := a.access(t); kid != kids[1] || a.phases(token.ForAccess) != "current" {
		t.Errorf("%s signs; want %s, which was published already", kid, kids[1])
	}
	if _, err := a.keys.Rotate(t.Context(), "../../etc/passwd'; DROP TABLE"); err == nil {
		t.Error("an odd kid was found")
	}
}

func TestNudgeMakesRunLookAtOnce(t *testing.T) {
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	a, b := newInstance(t, store, c), newInstance(t, store, c)
	b.run(t)
	_, kid := a.access(t)
	if _, err := a.keys.Rotate(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	b.keys.Nudge()
	b.keys.Nudge() // never waits
	eventually(t, "the other instance signs with the new key, on a clock that stands", func() bool { _, now := b.access(t); return now != kid })
}

// Three instances that start at the same time on an empty store agree on one key.
func TestI17_OneFirstKeyAmongManyInstances(t *testing.T) {
	c, directory := clock.NewFake(start()), t.TempDir()
	kids := make([]string, 3)
	var group sync.WaitGroup
	for i := range kids {
		group.Go(func() { _, kids[i] = newInstance(t, token.NewFileKeys(directory), c).access(t) })
	}
	group.Wait()
	if kids[0] != kids[1] || kids[1] != kids[2] {
		t.Errorf("they sign with %s", kids)
	}
}

func TestKeysStoreAway(t *testing.T) {
	c := clock.NewFake(start())
	store := &tokentest.Broken{KeyStore: new(token.MemoryKeys)}
	var log lockedBuffer
	options := token.KeysOptions{Store: store, PublishAhead: time.Hour, Longest: time.Hour, Clock: c, Log: zerolog.New(&log), Meter: meter.NewSet(c.Now)}
	store.Fail(errors.New("permission denied"))
	if _, err := token.OpenKeys(t.Context(), options); err == nil {
		t.Fatal("a store that fails for another reason than being away: no error")
	}
	store.Fail(token.ErrUnavailable)
	keys, err := token.OpenKeys(t.Context(), options)
	if err != nil {
		t.Fatalf("with the store away: %v; want a start without keys", err)
	}
	i := &instance{keys: keys}
	i.signer = token.NewSigner(token.SignerOptions{Keys: keys, Issuer: ourIssuer, Audience: ourAudience, Access: time.Minute, Clock: c})
	i.verifier, err = token.NewVerifier(token.VerifierOptions{Keys: keys, Issuer: ourIssuer, Audiences: []string{ourAudience}, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.signer.Access(token.Grant{User: "u", Client: "web"}); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("signing without keys: %v", err)
	}
	if _, err := i.signer.Internal(&principal.Principal{User: "u"}, "x"); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("signing internally without keys: %v", err)
	}
	tok, _ := newInstance(t, new(token.MemoryKeys), c).access(t)
	if _, err := i.verifier.Access([]byte(tok)); !errors.Is(err, token.ErrUnavailable) || errors.Is(err, token.ErrInvalid) {
		t.Errorf("verifying without keys: %v", err)
	}
	if got := string(keys.JWKS()); got != `{"keys":[]}` {
		t.Errorf("published without keys: %s", got)
	}
	i.run(t)
	store.Fail(nil)
	keys.Nudge()
	eventually(t, "keys are there", func() bool { return len(keys.List()) == 3 })
	mine, _ := i.access(t)
	store.Fail(token.ErrUnavailable)
	keys.Nudge()
	eventually(t, "the loss is logged", func() bool { return strings.Count(log.String(), "can't be read;") == 3 }) // twice at the start
	c.Advance(30 * time.Second)
	var metrics strings.Builder
	options.Meter.WritePrometheus(&metrics)
	if !strings.Contains(metrics.String(), "\ngateway_signing_keys_age_seconds 30\n") {
		t.Error("the age of the keys is not shown")
	}
	if _, err := i.verifier.Access([]byte(mine)); err != nil {
		t.Errorf("with the store away again, a token of a known key: %v", err)
	}
	if _, err := i.verifier.Access([]byte(tok)); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("with the store away again, an unknown kid: %v", err)
	}
	if _, err := keys.Rotate(t.Context(), ""); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("rotating with the store away: %v", err)
	}
}

// A key that somebody planted is left out; the good ones go on.
func TestI17_PlantedKeyIsLeftOut(t *testing.T) {
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	a := newInstance(t, store, c)
	_, first := a.access(t)
	planted := plainKey(t)
	planted.Signs = start().Truncate(time.Second)
	if err := store.Update(t.Context(), func(k []token.StoredKey) ([]token.StoredKey, error) { return append(k, planted), nil }); err != nil {
		t.Fatal(err)
	}
	a.run(t)
	a.keys.Nudge()
	compromise := planted.ID
	eventually(t, "Run waits again", func() bool { return c.Armed() == 1 })
	if _, kid := a.access(t); kid != first || slices.Contains(published(t, a.keys.JWKS()), compromise) {
		t.Errorf("%s signs, %s are published", kid, a.keys.JWKS())
	}
}

func TestWrongKeyOptions(t *testing.T) {
	c := clock.NewFake(start())
	for name, o := range map[string]token.KeysOptions{
		"a short encryption key":   {EncryptionKey: []byte("short")},
		"published ahead too long": {RotateEvery: time.Hour, PublishAhead: 2 * time.Hour},
	} {
		o.Store, o.Clock, o.Longest = new(token.MemoryKeys), c, time.Hour
		if _, err := openInstance(t, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFileKeysThatMustNotBeRead(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "signing-keys.json")
	s := token.NewFileKeys(directory)
	load := func(want string) {
		t.Helper()
		_, err := s.Load(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, token.ErrUnavailable) || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("error %v; want one with %q", err, want)
		}
		err = s.Update(t.Context(), func(k []token.StoredKey) ([]token.StoredKey, error) { return k, nil })
		if err == nil {
			t.Error("Update wrote over it")
		}
	}
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"version":1,"keys":[{"sealed":"c2VjcmV0`, 0o600)
	load("cut off")
	write(`{"version":2,"keys":[]}`, 0o600)
	load("not written by this gateway")
	write(`{"version":1,"keys":[]}`, 0o644)
	load("chmod")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	load("is no file")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	load("symbolic links")
	gone := token.NewFileKeys(filepath.Join(directory, "gone"))
	if err := gone.Update(t.Context(), func(k []token.StoredKey) ([]token.StoredKey, error) { return k, nil }); err == nil {
		t.Error("keys were written where there is no directory")
	}
}

func TestFileKeysLockIsWaitedForNoLongerThanTheContext(t *testing.T) {
	s := token.NewFileKeys(t.TempDir())
	inside, leave := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		err := s.Update(context.Background(), func(k []token.StoredKey) ([]token.StoredKey, error) { close(inside); <-leave; return k, nil })
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := s.Update(ctx, func(k []token.StoredKey) ([]token.StoredKey, error) { t.Error("two at once"); return k, nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	close(leave)
	group.Wait()
}

// lockedBuffer takes a log that is written by another goroutine.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// rsaKey makes an RSA key of any size, small ones too.
func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
