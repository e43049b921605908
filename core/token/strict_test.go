package token_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

// forge is a gateway together with its own access key, so that tests can sign what
// the signer never would: everything is right about such a token but one thing.
type forge struct {
	*own
	key *tokentest.Issuer
}

func newForge(t testing.TB) *forge {
	t.Helper()
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	keys, err := token.OpenKeys(t.Context(), token.KeysOptions{Store: store, PublishAhead: time.Hour, Longest: time.Hour, Clock: c, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	o := &own{clock: c, keys: keys}
	o.signer = token.NewSigner(token.SignerOptions{Keys: keys, Issuer: ourIssuer, Audience: ourAudience, Access: time.Minute, Refresh: time.Hour, Clock: c})
	o.verifier, err = token.NewVerifier(token.VerifierOptions{Keys: keys, Issuer: ourIssuer, Audiences: []string{"other", ourAudience}, Leeway: 5 * time.Second, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	return &forge{o, storedKey(t, store, token.ForAccess)}
}

// storedKey takes a key out of a store that does not encrypt.
func storedKey(t testing.TB, store token.KeyStore, p token.Purpose) *tokentest.Issuer {
	t.Helper()
	stored, err := store.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range stored {
		if k.Purpose == p {
			private, err := x509.ParsePKCS8PrivateKey(k.Sealed[1:])
			if err != nil {
				t.Fatal(err)
			}
			return &tokentest.Issuer{ID: k.ID, Algorithm: "RS256", Private: private.(crypto.Signer)}
		}
	}
	t.Fatalf("no key for %s", p)
	return nil
}

func (f *forge) header() string {
	return fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"at+jwt"}`, f.key.ID)
}

// claims are good ones.
func (f *forge) claims() string {
	now := start().Unix()
	return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"u-1","iat":%d,"exp":%d,"jti":"j-1","scope":["courses"],"sessionId":"s-1","client_id":"web"}`, ourIssuer, ourAudience, now, now+60)
}

// with replaces, removes (by "") or adds a claim, as text.
func (f *forge) with(name, value string) string {
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(f.claims()), &all); err != nil {
		panic(err)
	}
	delete(all, name)
	if value != "" {
		all[name] = json.RawMessage(value)
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// refused wants a token to be refused twice for want, by an error that quotes none of it.
func refused(t *testing.T, v *token.Verifier, name, tok string, want error) {
	t.Helper()
	for range 2 {
		got, err := v.Access([]byte(tok))
		if got != nil || !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, want)
			return
		}
		wrapped := 0
		for _, one := range []error{token.ErrExpired, token.ErrInvalid, token.ErrUnavailable} {
			if errors.Is(err, one) {
				wrapped++
			}
		}
		if wrapped != 1 {
			t.Errorf("%s: %v wraps %d of the package's errors", name, err, wrapped)
		}
		if holdsBytesOf(err.Error(), tok) {
			t.Errorf("%s: %q holds bytes of the token", name, err)
		}
	}
}

// holdsBytesOf says whether text holds eight bytes in a row of what stands behind a
// token's header; words of our own have no digits.
func holdsBytesOf(text, tok string) bool {
	_, rest, _ := strings.Cut(tok, ".")
	for i := 0; i+8 <= len(rest); i++ {
		if strings.Contains(text, rest[i:i+8]) && strings.ContainsAny(rest[i:i+8], "0123456789-_") {
			return true
		}
	}
	return false
}

// Whatever is wrong with a claim or a member of the header, its value is in no error.
func TestI3_ErrorsQuoteNothing(t *testing.T) {
	f := newForge(t)
	const canary = "le ak"
	var tokens []string
	for _, name := range []string{"iss", "aud", "sub", "iat", "exp", "nbf", "jti", "scope", "sessionId", "client_id", "client_fingerprint", "cnf", "le ak"} {
		for _, value := range []string{`"le ak"`, `["le ak"]`, `{"le ak":"le ak"}`, `{"le ak":1,"le ak":2}`} {
			tokens = append(tokens, f.key.Sign(t, f.header(), f.with(name, value)))
		}
	}
	for _, name := range []string{"alg", "kid", "typ", "crit", "le ak"} {
		for _, value := range []string{`"le ak"`, `["le ak"]`, `{"le ak":1,"le ak":2}`} {
			tokens = append(tokens, f.key.Sign(t, fmt.Sprintf(`{"alg":"RS256","typ":"at+jwt",%q:%s}`, name, value), f.claims()))
		}
	}
	tokens = append(tokens, "le ak.le ak.le ak", "le ak", f.key.Sign(t, f.header(), "le ak"))
	failed := 0
	for _, tok := range tokens {
		for _, verify := range []func([]byte) (*token.Verified, error){f.verifier.Access, f.verifier.Refresh} {
			if _, err := verify([]byte(tok)); err != nil {
				failed++
				if strings.Contains(err.Error(), canary) {
					t.Errorf("%q quotes the token", err)
				}
			}
		}
	}
	if failed < len(tokens) {
		t.Errorf("only %d of %d were refused", failed, len(tokens))
	}
}

func TestI3_GoodTokensInAllTheirForms(t *testing.T) {
	f := newForge(t)
	for name, claims := range map[string]string{
		"as it is issued":    f.claims(),
		"audience in a list": f.with("aud", `["someone","suuupra"]`),
		"scope as a string":  f.with("scope", `"courses payments:refund"`),
		"no scope":           f.with("scope", ""),
		"an empty scope":     f.with("scope", `""`),
		"no scopes":          f.with("scope", `[]`),
		"not before now":     f.with("nbf", fmt.Sprint(start().Unix())),
		"a date with digits": f.with("exp", fmt.Sprintf("%d.75", start().Unix()+60)),
		"issued in leeway":   f.with("iat", fmt.Sprint(start().Unix()+5)),
		"expired in leeway":  f.with("exp", fmt.Sprint(start().Unix()-4)),
		"255 bytes":          f.with("sub", `"`+strings.Repeat("a", 255)+`"`),
		"an unknown claim":   f.with("plan", `{"name":"pro","seats":[1,2,{"x":null}]}`),
		"an escaped name":    strings.Replace(f.claims(), `"sub"`, `"\u0073ub"`, 1),
		"white space":        strings.ReplaceAll(f.claims(), ",", " ,\r\n\t"),
		"the last date":      f.with("exp", "9007199254740992"),
	} {
		if _, err := f.verifier.Access([]byte(f.key.Sign(t, f.header(), claims))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestI3_ClaimsThatAreRefused(t *testing.T) {
	f := newForge(t)
	now := start().Unix()
	cases := map[string]string{
		"no issuer":               f.with("iss", ""),
		"another issuer":          f.with("iss", `"https://api.example/"`),
		"issuer in upper case":    f.with("iss", `"HTTPS://API.EXAMPLE"`),
		"issuer in a list":        f.with("iss", `["https://api.example"]`),
		"no audience":             f.with("aud", ""),
		"an empty audience":       f.with("aud", `""`),
		"an empty list":           f.with("aud", `[]`),
		"another audience":        f.with("aud", `"someone"`),
		"audience is a number":    f.with("aud", `1`),
		"audience holds a number": f.with("aud", `["suuupra",1]`),
		"audience is null":        f.with("aud", `null`),
		"audience with a space":   f.with("aud", `"suuupra "`),
		"no subject":              f.with("sub", ""),
		"an empty subject":        f.with("sub", `""`),
		"subject is a number":     f.with("sub", `1`),
		"CR LF in the subject":    f.with("sub", `"u\r\nX-Admin: 1"`),
		"NUL in the subject":      f.with("sub", `"u\u0000"`),
		"umlaut in the subject":   f.with("sub", `"ü"`),
		"256 bytes":               f.with("sub", `"`+strings.Repeat("a", 256)+`"`),
		"no client":               f.with("client_id", ""),
		"client with a space":     f.with("client_id", `"a b"`),
		"client is null":          f.with("client_id", `null`),
		"no id":                   f.with("jti", ""),
		"session is a number":     f.with("sessionId", `1`),
		"session is empty":        f.with("sessionId", `""`),
		"no iat":                  f.with("iat", ""),
		"iat is a string":         f.with("iat", fmt.Sprintf(`"%d"`, now)),
		"iat is negative":         f.with("iat", `-1`),
		"iat is minus zero":       f.with("iat", `-0`),
		"iat is huge":             f.with("iat", `1e300`),
		"iat in the future":       f.with("iat", fmt.Sprint(now+6)),
		"iat overflows":           f.with("iat", `1e999`),
		"no exp":                  f.with("exp", ""),
		"exp is a string":         f.with("exp", fmt.Sprintf(`"%d"`, now+60)),
		"exp is negative":         f.with("exp", `-1`),
		"exp is huge":             f.with("exp", `9007199254740994`),
		"exp is null":             f.with("exp", `null`),
		"exp is true":             f.with("exp", `true`),
		"exp in a list":           f.with("exp", fmt.Sprintf(`[%d]`, now+60)),
		"nbf is a string":         f.with("nbf", `"0"`),
		"nbf is negative":         f.with("nbf", `-5`),
		"nbf is huge":             f.with("nbf", `1e17`),
		"nbf to come":             f.with("nbf", fmt.Sprint(now+6)),
		"scope is a number":       f.with("scope", `7`),
		"scope holds null":        f.with("scope", `["a",null]`),
		"scope in scope":          f.with("scope", `[["a"]]`),
		"scope with a space":      f.with("scope", `["a b"]`),
		"two spaces":              f.with("scope", `"a  b"`),
		"scope with CR LF":        f.with("scope", `"a\r\nb"`),
		"a long scope":            f.with("scope", `["`+strings.Repeat("a", 256)+`"]`),
		"an empty level":          f.with("scope", `["a:"]`),
		"odd fingerprint":         f.with("client_fingerprint", `"abc"`),
		"fingerprint is null":     f.with("client_fingerprint", `null`),
		"confirmation is text":    f.with("cnf", `"x"`),
		"confirmed by a key":      f.with("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`),
		"confirmed by two":        f.with("cnf", fmt.Sprintf(`{"x5t#S256":%q,"jkt":"x"}`, tokentest.Digest("c"))),
		"confirmed by nothing":    f.with("cnf", `{}`),
		"SUB and sub":             strings.Replace(f.with("sub", ""), `{`, `{"SUB":"root",`, 1),
		"duplicate sub":           strings.Replace(f.claims(), `{`, `{"sub":"u-0",`, 1),
		"duplicate, escaped":      strings.Replace(f.claims(), `{`, `{"s\u0075b":"u-0",`, 1),
		"duplicate exp":           strings.Replace(f.claims(), `{`, `{"exp":9007199254740992,`, 1),
		"duplicate deep inside":   f.with("plan", `{"a":1,"a":1}`),
		"deep":                    f.with("x", strings.Repeat("[", 4000)+strings.Repeat("]", 4000)),
		"a little too deep":       f.with("x", strings.Repeat("[", 16)+strings.Repeat("]", 16)),
		"a list":                  `[` + f.claims() + `]`,
		"text":                    `"` + ourIssuer + `"`,
		"null":                    `null`,
		"empty":                   ` `,
		"two objects":             f.claims() + f.claims(),
		"a comma too many":        strings.Replace(f.claims(), `}`, `,}`, 1),
		"a comment":               strings.Replace(f.claims(), `{`, `{/* */`, 1),
		"single quotes":           strings.ReplaceAll(f.claims(), `"`, `'`),
		"no UTF-8":                strings.Replace(f.claims(), `u-1`, "u-\xff", 1),
		"half a pair":             f.with("x", `"\ud800"`),
		"a byte order mark":       "\ufeff" + f.claims(),
		"NUL behind it":           f.claims() + "\x00",
		"cut off":                 f.claims()[:len(f.claims())-1],
		"hexadecimal":             strings.Replace(f.claims(), fmt.Sprint(now+60), "0x7fffffff", 1),
		"a leading zero":          strings.Replace(f.claims(), fmt.Sprint(now+60), fmt.Sprintf("0%d", now+60), 1),
		"a leading plus":          strings.Replace(f.claims(), fmt.Sprint(now+60), fmt.Sprintf("+%d", now+60), 1),
		"infinity":                strings.Replace(f.claims(), fmt.Sprint(now+60), "Infinity", 1),
	}
	for name, claims := range cases {
		refused(t, f.verifier, name, f.key.Sign(t, f.header(), claims), token.ErrInvalid)
	}
	refused(t, f.verifier, "expired", f.key.Sign(t, f.header(), f.with("exp", fmt.Sprint(now-5))), token.ErrExpired)
	refused(t, f.verifier, "expired long ago", f.key.Sign(t, f.header(), f.with("exp", "0")), token.ErrExpired)
}

func TestI3_HeadersThatAreRefused(t *testing.T) {
	f := newForge(t)
	h := func(members string) string {
		return fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"at+jwt",%s}`, f.key.ID, members)
	}
	kid := func(kid string) string { return fmt.Sprintf(`{"alg":"RS256","kid":%s,"typ":"at+jwt"}`, kid) }
	typ := func(typ string) string { return fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":%s}`, f.key.ID, typ) }
	alg := func(alg string) string { return fmt.Sprintf(`{"alg":%s,"kid":%q,"typ":"at+jwt"}`, alg, f.key.ID) }
	for name, header := range map[string]string{
		"no kid":                   `{"alg":"RS256","typ":"at+jwt"}`,
		"an empty kid":             kid(`""`),
		"kid is a number":          kid(`1`),
		"kid is a list":            kid(`["` + f.key.ID + `"]`),
		"kid is a path":            kid(`"../../../../dev/null"`),
		"kid is SQL":               kid(`"' UNION SELECT 'secret' --"`),
		"kid is a command":         kid(`"|/bin/sh -c id"`),
		"kid of 5 KB":              kid(`"` + strings.Repeat("k", 5000) + `"`),
		"kid with a NUL":           kid(`"` + f.key.ID + `\u0000"`),
		"kid in another case":      kid(`"` + strings.ToUpper(f.key.ID) + `"`),
		"kid of a refresh key":     kid(`"` + f.keys.List()[1].ID + `"`),
		"kid of an internal key":   kid(`"` + f.keys.List()[2].ID + `"`),
		"no typ":                   `{"alg":"RS256","kid":"` + f.key.ID + `"}`,
		"typ JWT":                  typ(`"JWT"`),
		"typ of a refresh token":   typ(`"rt+jwt"`),
		"typ of an internal token": typ(`"gw+jwt"`),
		"typ in upper case":        typ(`"AT+JWT"`),
		"typ with application":     typ(`"application/at+jwt"`),
		"typ is a list":            typ(`["at+jwt"]`),
		"alg none":                 alg(`"none"`),
		"alg None":                 alg(`"None"`),
		"alg nOnE":                 alg(`"nOnE"`),
		"alg is empty":             alg(`""`),
		"alg is missing":           `{"kid":"` + f.key.ID + `","typ":"at+jwt"}`,
		"alg is null":              alg(`null`),
		"alg HS256":                alg(`"HS256"`),
		"alg ES256":                alg(`"ES256"`),
		"alg PS256":                alg(`"PS256"`),
		"alg RS384":                alg(`"RS384"`),
		"alg in lower case":        alg(`"rs256"`),
		"alg is a list":            alg(`["RS256"]`),
		"alg twice":                h(`"alg":"RS256"`),
		"ALG beside alg, twice":    h(`"x":1,"x":1`),
		"jku":                      h(`"jku":"https://evil.example/jwks.json"`),
		"x5u":                      h(`"x5u":"https://evil.example/cert.pem"`),
		"x5c":                      h(`"x5c":["MIIB"]`),
		"jwk":                      h(`"jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}`),
		"crit":                     h(`"crit":["exp"]`),
		"an empty crit":            h(`"crit":[]`),
		"b64":                      h(`"b64":false`),
		"zip":                      h(`"zip":"DEF"`),
		"enc":                      h(`"enc":"A256GCM"`),
		"a list":                   `[]`,
		"no JSON":                  `alg: RS256`,
	} {
		refused(t, f.verifier, name, f.key.Sign(t, header, f.claims()), token.ErrInvalid)
	}
	if _, err := f.verifier.Access([]byte(f.key.Sign(t, h(`"x5t":"abc","cty":"x"`), f.claims()))); err != nil {
		t.Errorf("members that mean nothing here: %v", err)
	}
}

// The public key is published, so that anybody can make an HMAC with it.
func TestI3_PublicKeyAsSecret(t *testing.T) {
	f := newForge(t)
	der, err := x509.MarshalPKIXPublicKey(f.key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"DER":     der,
		"PEM":     pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"modulus": f.key.Private.Public().(*rsa.PublicKey).N.Bytes(),
		"nothing": nil,
	} {
		for _, alg := range []string{"HS256", "RS256"} {
			head := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, f.key.ID)
			text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(f.claims()))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(text))
			refused(t, f.verifier, alg+" by "+name, text+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), token.ErrInvalid)
		}
	}
}

// One token has one spelling: everything else is refused, also once the token is known.
func TestI3_OtherSpellings(t *testing.T) {
	f := newForge(t)
	good := f.key.Sign(t, f.header(), f.claims())
	if _, err := f.verifier.Access([]byte(good)); err != nil {
		t.Fatal(err)
	}
	part := strings.Split(good, ".")
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	// The signature has 256 bytes: its last character carries four bits of padding.
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, good[len(good)-1])
	cases := map[string]string{
		"nothing":              "",
		"dots":                 "..",
		"one part":             part[0],
		"two parts":            join(part[0], part[1]),
		"no signature":         join(part[0], part[1], ""),
		"no payload":           join(part[0], "", part[2]),
		"no header":            join("", part[1], part[2]),
		"four parts":           join(part[0], part[1], part[2], "x"),
		"five parts":           join(part[0], part[1], part[2], "x", "y"),
		"a dot behind it":      good + ".",
		"a space before it":    " " + good,
		"a space behind it":    good + " ",
		"a tab inside":         join(part[0], part[1]+"\t", part[2]),
		"a line break inside":  join(part[0], part[1][:20]+"\n"+part[1][20:], part[2]),
		"CR LF in signature":   join(part[0], part[1], part[2][:20]+"\r\n"+part[2][20:]),
		"a line break behind":  good + "\n",
		"NUL behind it":        good + "\x00",
		"padded":               good + "==",
		"padded payload":       join(part[0], part[1]+"=", part[2]),
		"another alphabet":     strings.NewReplacer("-", "+", "_", "/").Replace(good),
		"percent":              strings.Replace(good, ".", "%2e", 1),
		"stray bits":           good[:len(good)-1] + alphabet[last|1:last|1+1],
		"cut by one":           good[:len(good)-1],
		"cut by four":          good[:len(good)-4],
		"cut in half":          good[:len(good)/2],
		"longer signature":     good + "AAAA",
		"another letter":       good[:len(good)-9] + map[bool]string{true: "B", false: "A"}[good[len(good)-9] == 'A'] + good[len(good)-8:],
		"an empty signature":   join(part[0], part[1], base64.RawURLEncoding.EncodeToString(make([]byte, 256))),
		"another's payload":    join(part[0], base64.RawURLEncoding.EncodeToString([]byte(f.with("sub", `"root"`))), part[2]),
		"longer than 8 KiB":    f.key.Sign(t, f.header(), f.with("x", `"`+strings.Repeat("a", 6000)+`"`)),
		"a megabyte":           strings.Repeat("a", 1<<20),
		"a megabyte of dots":   strings.Repeat(".", 1<<20),
		"with its scheme":      "Bearer " + good,
		"quoted":               `"` + good + `"`,
		"JSON serialisation":   fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, part[1], part[0], part[2]),
		"encrypted, five part": "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d",
	}
	if cases["stray bits"] == good {
		t.Fatal("the case of stray bits is none")
	}
	for name, tok := range cases {
		if tok == good {
			continue // "another alphabet" of a token that has neither - nor _
		}
		refused(t, f.verifier, name, tok, token.ErrInvalid)
		if v, err := f.verifier.Refresh([]byte(tok)); v != nil || !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s as a refresh token: %v, %v", name, v, err)
		}
	}
	if _, err := f.verifier.Access([]byte(good)); err != nil {
		t.Errorf("the good one, after all that: %v", err)
	}
}

// An 8 KiB token is looked at, so that the bound is where it is said to be.
func TestI3_LargestToken(t *testing.T) {
	f := newForge(t)
	for pad := 5200; ; pad++ {
		tok := f.key.Sign(t, f.header(), f.with("x", `"`+strings.Repeat("a", pad)+`"`))
		if len(tok) > 8<<10 {
			refused(t, f.verifier, "too long", tok, token.ErrInvalid)
			return
		}
		if len(tok) < 8<<10-1 {
			pad += (8<<10 - 2 - len(tok)) / 2
			continue
		}
		if _, err := f.verifier.Access([]byte(tok)); err != nil {
			t.Fatalf("%d bytes: %v", len(tok), err)
		}
	}
}

func TestI3_RefreshTokensAreJustAsStrict(t *testing.T) {
	c, store := clock.NewFake(start()), new(token.MemoryKeys)
	keys, err := token.OpenKeys(t.Context(), token.KeysOptions{Store: store, PublishAhead: time.Hour, Longest: time.Hour, Clock: c, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.VerifierOptions{Keys: keys, Issuer: ourIssuer, Audiences: []string{ourAudience}, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	key := storedKey(t, store, token.ForRefresh)
	claims := func(more string) string {
		now := start().Unix()
		return fmt.Sprintf(`{"iss":%q,"sub":"u","iat":%d,"jti":"j","client_id":"web",%s}`, ourIssuer, now, more)
	}
	good := fmt.Sprintf(`"aud":%q,"exp":%d,"tokenType":"refresh"`, ourIssuer, start().Unix()+60)
	head := fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"rt+jwt"}`, key.ID)
	if got, err := v.Refresh([]byte(key.Sign(t, head, claims(good)))); err != nil || got.Principal.User != "u" {
		t.Fatalf("a good one: %v, %v", got, err)
	}
	for name, c := range map[string]struct {
		head, claims string
		want         error
	}{
		"audience of access tokens": {head, claims(strings.Replace(good, ourIssuer, ourAudience, 1)), token.ErrInvalid},
		"no tokenType":              {head, claims(strings.Replace(good, "tokenType", "tokentype", 1)), token.ErrInvalid},
		"another tokenType":         {head, claims(strings.Replace(good, `"refresh"`, `"access"`, 1)), token.ErrInvalid},
		"typ of access tokens":      {strings.Replace(head, "rt+jwt", "at+jwt", 1), claims(good), token.ErrInvalid},
		"kid of access tokens":      {strings.Replace(head, key.ID, keys.List()[0].ID, 1), claims(good), token.ErrInvalid},
		"another issuer":            {head, strings.Replace(claims(good), ourIssuer, "https://evil.example", 1), token.ErrInvalid},
		"no subject":                {head, strings.Replace(claims(good), `"sub"`, `"Sub"`, 1), token.ErrInvalid},
		"expired":                   {head, claims(fmt.Sprintf(`"aud":%q,"exp":%d,"tokenType":"refresh"`, ourIssuer, start().Unix())), token.ErrExpired},
	} {
		if got, err := v.Refresh([]byte(key.Sign(t, c.head, c.claims))); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
