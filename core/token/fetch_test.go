package token_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

// pass lets the pause between two fetches go by, once Run waits in it: one timer is
// the sweep's.
func (w *watched) pass(t testing.TB, d time.Duration) {
	t.Helper()
	eventually(t, "Run waits", func() bool { return w.clock.Armed() == 2 })
	w.clock.Advance(d)
}

func TestI2_RotationIsPickedUp(t *testing.T) {
	old, next := tokentest.NewIssuer(t, "k1"), tokentest.NewIssuer(t, "k2")
	p := newIDP(t, tokentest.KeySet(old.JWK()))
	w := watch(t, p.foreign(t))
	w.fetched(t, "ok", 1)
	before := old.Token(t, partnerClaims(nil))
	after := next.Token(t, partnerClaims(nil))
	if _, err := w.Access([]byte(before)); err != nil {
		t.Fatal(err)
	}
	known, _ := w.Access([]byte(before))
	p.serve(tokentest.KeySet(old.JWK(), next.JWK()))
	refused(t, w.Verifier, "an unknown kid, at once", after, token.ErrInvalid)
	w.pass(t, 30*time.Second) // the kid was asked for
	w.fetched(t, "ok", 2)
	if _, err := w.Access([]byte(after)); err != nil {
		t.Fatalf("after the fetch: %v", err)
	}
	if again, err := w.Access([]byte(before)); err != nil || again != known {
		t.Errorf("a key that stayed forgot what it had verified: %v", err)
	}
	p.serve(tokentest.KeySet(next.JWK()))
	w.pass(t, 30*time.Second)
	w.pass(t, 5*time.Minute) // nobody asks; the set is old enough
	w.fetched(t, "ok", 3)
	refused(t, w.Verifier, "a cached token of a withdrawn kid", before, token.ErrInvalid)
	if age := w.metric(`gateway_jwks_age_seconds{issuer="partner"}`); age != "0" {
		t.Errorf("the set is %s s old", age)
	}
}

func TestI2_KeyThatChangesUnderItsKid(t *testing.T) {
	a, b := tokentest.NewIssuer(t, "k1"), tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(a.JWK()))
	w := watch(t, p.foreign(t))
	w.fetched(t, "ok", 1)
	tok := a.Token(t, partnerClaims(nil))
	if _, err := w.Access([]byte(tok)); err != nil {
		t.Fatal(err)
	}
	p.serve(tokentest.KeySet(b.JWK()))
	w.pass(t, 30*time.Second)
	w.pass(t, 5*time.Minute)
	w.fetched(t, "ok", 2)
	refused(t, w.Verifier, "a cached token of the key before", tok, token.ErrInvalid)
	if _, err := w.Access([]byte(b.Token(t, partnerClaims(nil)))); err != nil {
		t.Errorf("the key now: %v", err)
	}
}

// A flood of unknown kids asks once in thirty seconds, and waits for nothing.
func TestI2_UnknownKidFloodFetchesOnce(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	w := watch(t, p.foreign(t))
	w.fetched(t, "ok", 1)
	good := key.Token(t, partnerClaims(nil))
	_, rest, _ := strings.Cut(good, ".")
	flood := func() {
		var group sync.WaitGroup
		for g := range 4 {
			group.Go(func() {
				for i := range 250 {
					head := fmt.Sprintf(`{"alg":"RS256","kid":"../k-%d-%d","typ":"at+jwt"}`, g, i)
					tok := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + rest
					if v, err := w.Access([]byte(tok)); !errors.Is(err, token.ErrInvalid) {
						t.Errorf("%v, %v", v, err)
					}
				}
			})
		}
		group.Wait()
	}
	flood()
	w.pass(t, 30*time.Second-1)
	flood()
	if n := p.asked.Load(); n != 1 {
		t.Fatalf("%d fetches within thirty seconds", n)
	}
	w.clock.Advance(1)
	w.fetched(t, "ok", 2)
	flood()
	eventually(t, "Run waits", func() bool { return w.clock.Armed() == 2 })
	if n := p.asked.Load(); n != 2 {
		t.Fatalf("%d fetches within a minute", n)
	}
}

func TestI2_IssuerAwayKeepsTheLastGoodKeys(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, "")
	p.handle(func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "down", http.StatusInternalServerError) })
	w := watch(t, p.foreign(t))
	w.fetched(t, "failed", 1)
	tok := key.Token(t, partnerClaims(nil))
	refused(t, w.Verifier, "before there was a set", tok, token.ErrUnavailable)
	w.pass(t, 30*time.Second)
	w.fetched(t, "failed", 2)
	p.serve(tokentest.KeySet(key.JWK()))
	w.pass(t, 30*time.Second)
	w.fetched(t, "ok", 1)
	if _, err := w.Access([]byte(tok)); err != nil {
		t.Fatal(err)
	}
	hang := make(chan struct{})
	defer close(hang)
	failed := 2
	for name, h := range map[string]http.HandlerFunc{
		"500":               func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) },
		"404":               func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotFound) },
		"204":               func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) },
		"an empty answer":   func(http.ResponseWriter, *http.Request) {},
		"a page":            func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("<html>maintenance</html>")) },
		"no keys member":    func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(`{"Keys":[]}`)) },
		"keys is an object": func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(`{"keys":{}}`)) },
		"keys twice":        func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(`{"keys":[],"keys":[]}`)) },
		"cut off": func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte(tokentest.KeySet(key.JWK())[:100]))
		},
		"deep": func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte(`{"keys":` + strings.Repeat("[", 1e5)))
		},
		"129 keys": func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte(`{"keys":[` + strings.Repeat("1,", 128) + `1]}`))
		},
		"a length that lies": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "900")
			_, _ = rw.Write([]byte(`{}`))
		},
		"100 MB":               func(rw http.ResponseWriter, _ *http.Request) { writeMuch(rw, 100<<20) },
		"a header of a MB":     func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"a redirect to itself": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/jwks.json", http.StatusFound) },
		"hangs":                func(_ http.ResponseWriter, r *http.Request) { hangUntil(r, hang) },
		"hangs in the body": func(rw http.ResponseWriter, r *http.Request) {
			_, _ = rw.Write([]byte(`{"keys":[`))
			rw.(http.Flusher).Flush()
			hangUntil(r, hang)
		},
		"breaks off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		p.handle(h)
		stranger := &tokentest.Issuer{ID: "k2", Algorithm: key.Algorithm, Private: key.Private}
		refused(t, w.Verifier, "an unknown kid meanwhile", stranger.Token(t, partnerClaims(nil)), token.ErrInvalid)
		began, asked := time.Now(), p.asked.Load()
		w.pass(t, 30*time.Second)
		failed++
		w.fetched(t, "failed", failed)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: the fetch took %s", name, took)
		}
		if n := p.asked.Load() - asked; n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
		if _, err := w.Access([]byte(tok)); err != nil {
			t.Errorf("%s: the last good key is lost: %v", name, err)
		}
		if _, err := w.Access([]byte(key.Token(t, partnerClaims(map[string]any{"jti": fmt.Sprint(failed)})))); err != nil {
			t.Errorf("%s: the last good key is lost for new tokens: %v", name, err)
		}
	}
	p.serve(`{"keys":[]}`) // that is no failure: the issuer says that no key is good
	w.pass(t, 30*time.Second)
	w.fetched(t, "ok", 2)
	refused(t, w.Verifier, "all keys were withdrawn", tok, token.ErrInvalid)
}

// hangUntil answers nothing until the client leaves or the test ends.
func hangUntil(r *http.Request, end chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-end:
	}
}

// writeMuch writes n bytes of a key set that would be good.
func writeMuch(rw http.ResponseWriter, n int) {
	_, _ = rw.Write([]byte(`{"keys":[],"x":"`))
	chunk := []byte(strings.Repeat("x", 1<<20))
	for range n >> 20 {
		if _, err := rw.Write(chunk); err != nil {
			return
		}
	}
	_, _ = rw.Write([]byte(`"}`))
}

// The key set's URL is followed nowhere, least of all to this machine.
func TestI2_RedirectsAreNotFollowed(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	var reached bool
	inside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		reached = true
		_, _ = rw.Write([]byte(tokentest.KeySet(key.JWK())))
	}))
	defer inside.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		p := newIDP(t, "")
		p.handle(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, inside.URL, status) })
		w := watch(t, p.foreign(t))
		w.fetched(t, "failed", 1)
		refused(t, w.Verifier, fmt.Sprint(status), key.Token(t, partnerClaims(nil)), token.ErrUnavailable)
		if !strings.Contains(w.log.String(), fmt.Sprintf("status %d", status)) {
			t.Errorf("logged: %s", w.log)
		}
	}
	if reached {
		t.Error("a redirect was followed")
	}
}

// A name may lead anywhere by the time it is dialled: what counts is the address then.
func TestI2_PrivateAddressesAreRefusedWhenDialled(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	p := newIDP(t, tokentest.KeySet(key.JWK()))
	f := p.foreign(t)
	f.Private = false
	f.KeySetURL = strings.Replace(f.KeySetURL, "127.0.0.1", "localhost", 1)
	w := watch(t, f)
	w.fetched(t, "failed", 1)
	if p.asked.Load() != 0 || !strings.Contains(w.log.String(), "private: true") {
		t.Errorf("asked %d times; logged %s", p.asked.Load(), w.log)
	}
}

func TestI2_CertificateOfTheKeySetIsVerified(t *testing.T) {
	p := newIDP(t, tokentest.KeySet())
	f := p.foreign(t)
	f.Roots = nil // the system's: nobody vouches for a test's server
	w := watch(t, f)
	w.fetched(t, "failed", 1)
	if p.asked.Load() != 0 || !strings.Contains(w.log.String(), "certificate") {
		t.Errorf("asked %d times; logged %s", p.asked.Load(), w.log)
	}
}

func TestI2_PlainHTTPOnThisMachine(t *testing.T) {
	key := tokentest.NewIssuer(t, "k1")
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie")+r.Header.Get("Authorization") != "" || r.Method != http.MethodGet {
			t.Errorf("asked with %v", r.Header)
		}
		_, _ = rw.Write([]byte(tokentest.KeySet(key.JWK())))
	}))
	defer server.Close()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		w := watch(t, token.Foreign{
			Name: "partner", Issuer: "https://idp.example/", KeySetURL: strings.Replace(server.URL, "127.0.0.1", host, 1),
			Audiences: []string{"suuupra"}, UserPrefix: "p:", Private: true,
		})
		w.fetched(t, "ok", 1)
		if _, err := w.Access([]byte(key.Token(t, partnerClaims(nil)))); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestI1_I2_IssuersThatAreRefused(t *testing.T) {
	good := token.Foreign{Name: "a", Issuer: "https://a.example", KeySetURL: "https://a.example/jwks", Audiences: []string{"x"}, UserPrefix: "a:"}
	try := func(f ...token.Foreign) error {
		_, err := token.NewVerifier(token.VerifierOptions{Issuer: ourIssuer, Audiences: []string{"x"}, Foreign: f, Clock: clock.NewFake(start())})
		return err
	}
	if err := try(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*token.Foreign){
		"no issuer":                  func(f *token.Foreign) { f.Issuer = "" },
		"our issuer":                 func(f *token.Foreign) { f.Issuer = ourIssuer },
		"no name":                    func(f *token.Foreign) { f.Name = "" },
		"no audience":                func(f *token.Foreign) { f.Audiences = nil },
		"an empty audience":          func(f *token.Foreign) { f.Audiences = []string{""} },
		"no prefix":                  func(f *token.Foreign) { f.UserPrefix = "" },
		"a prefix with a space":      func(f *token.Foreign) { f.UserPrefix = "a b" },
		"everything granted":         func(f *token.Foreign) { f.Grants = scopes(t, "*") },
		"alg none":                   func(f *token.Foreign) { f.Algorithms = []string{"none"} },
		"alg HS256":                  func(f *token.Foreign) { f.Algorithms = []string{"RS256", "HS256"} },
		"plain http":                 func(f *token.Foreign) { f.KeySetURL = "http://a.example/jwks" },
		"plain http, private":        func(f *token.Foreign) { f.KeySetURL, f.Private = "http://10.0.0.1/jwks", true },
		"plain http to this machine": func(f *token.Foreign) { f.KeySetURL = "http://127.0.0.1/jwks" },
		"a file":                     func(f *token.Foreign) { f.KeySetURL = "file:///etc/passwd" },
		"no URL":                     func(f *token.Foreign) { f.KeySetURL = "" },
		"a broken URL":               func(f *token.Foreign) { f.KeySetURL = "https://a.example:port/" },
		"a user in the URL":          func(f *token.Foreign) { f.KeySetURL = "https://u:p@a.example/jwks" },
		"a fragment":                 func(f *token.Foreign) { f.KeySetURL = "https://a.example/jwks#x" },
		"loopback":                   func(f *token.Foreign) { f.KeySetURL = "https://127.0.0.2/jwks" },
		"loopback by IPv6":           func(f *token.Foreign) { f.KeySetURL = "https://[::1]/jwks" },
		"loopback in IPv6":           func(f *token.Foreign) { f.KeySetURL = "https://[::ffff:127.0.0.1]/jwks" },
		"unspecified":                func(f *token.Foreign) { f.KeySetURL = "https://0.0.0.0/jwks" },
		"the metadata of a cloud":    func(f *token.Foreign) { f.KeySetURL = "https://169.254.169.254/jwks" },
		"private":                    func(f *token.Foreign) { f.KeySetURL = "https://192.168.1.1/jwks" },
		"unique local":               func(f *token.Foreign) { f.KeySetURL = "https://[fd00::1]/jwks" },
		"link local":                 func(f *token.Foreign) { f.KeySetURL = "https://[fe80::1]/jwks" },
		"carrier-grade":              func(f *token.Foreign) { f.KeySetURL = "https://100.64.0.1/jwks" },
		"private by NAT64":           func(f *token.Foreign) { f.KeySetURL = "https://[64:ff9b::a00:1]/jwks" },
		"private by 6to4":            func(f *token.Foreign) { f.KeySetURL = "https://[2002:a00:1::1]/jwks" },
		"multicast":                  func(f *token.Foreign) { f.KeySetURL = "https://224.0.0.1/jwks" },
		"broadcast":                  func(f *token.Foreign) { f.KeySetURL = "https://255.255.255.255/jwks" },
	} {
		f := good
		change(&f)
		if try(f) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if try(good, good) == nil {
		t.Error("one issuer twice was accepted")
	}
	for name, o := range map[string]token.VerifierOptions{
		"no issuer":         {Audiences: []string{"x"}},
		"no audience":       {Issuer: ourIssuer},
		"an empty audience": {Issuer: ourIssuer, Audiences: []string{"x", ""}},
	} {
		o.Clock = clock.NewFake(start())
		if _, err := token.NewVerifier(o); err == nil {
			t.Errorf("a verifier with %s was made", name)
		}
	}
}
