package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// fetched is the key of that id in a key set as the admin listener serves it.
func (r *running) fetched(id any) (*ecdsa.PublicKey, error) {
	head, body := exchange(r.t, r.admin.Addr().String(), "GET /internal/jwks.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.Contains(head, "Content-Type: application/jwk-set+json") || !strings.Contains(head, "Cache-Control: max-age=300") {
		return nil, errors.New(head)
	}
	var set struct {
		Keys []struct{ Kty, Crv, Kid, X, Y string }
	}
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		return nil, err
	}
	for _, k := range set.Keys {
		if k.Kid == id && k.Kty == "EC" && k.Crv == "P-256" {
			x, err1 := base64.RawURLEncoding.DecodeString(k.X)
			y, err2 := base64.RawURLEncoding.DecodeString(k.Y)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y)) // SEC 1 §2.3.3
		}
	}
	return nil, fmt.Errorf("no key %v in %s", id, body)
}

// TestI7_ServicesVerifyInternalTokens with no more than what the admin listener serves;
// public listeners serve nothing of it.
func TestI7_ServicesVerifyInternalTokens(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	service := gatewaytest.NewOrigin(t, func(request string) string {
		_, rest, _ := strings.Cut(request, "X-Gateway-Token: ")
		token, _, _ := strings.Cut(rest, "\r\n")
		told <- token
		return gatewaytest.OK
	})
	hash, err := account.NewPasswords(account.PasswordsOptions{}).Hash(t.Context(), "Correct-horse7!")
	if err != nil {
		t.Fatal(err)
	}
	r := boot(t, body("x")+`  a: {match: {path: /a}, service: courses, plugins: {auth: {internal_token: true}}}
services: {courses: {endpoints: [{url: "`+service.URL()+`"}]}}
identity: {users: {ada@example.com: {password_hash: "`+hash.Reveal()+`", scopes: [courses]}}}
`, serveOptions{})
	login := `{"email":"ada@example.com","password":"Correct-horse7!"}`
	_, answer := exchange(t, r.gateway.Address("public").String(), fmt.Sprintf(
		"POST /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(login), login))
	var pair struct{ AccessToken string }
	if err := json.Unmarshal([]byte(answer), &pair); err != nil || pair.AccessToken == "" {
		t.Fatalf("the login was answered with %s", answer)
	}
	if head, _ := exchange(t, r.gateway.Address("public").String(), "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer "+pair.AccessToken+"\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Fatalf("got %s", head)
	}
	parsed, err := jwt.Parse(<-told, func(token *jwt.Token) (any, error) { return r.fetched(token.Header["kid"]) },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience("service:courses"), jwt.WithIssuer("gateway"), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	ends, err := parsed.Claims.GetExpirationTime()
	if err != nil || time.Until(ends.Time) > time.Minute || parsed.Header["typ"] != "gw+jwt" {
		t.Errorf("it ends at %s: %v; %v", ends, err, parsed.Header)
	}
	for _, path := range []string{"/internal/jwks.json", "/.well-known/internal-jwks.json"} {
		if body := r.get(path); !strings.Contains(body, `"code":"no_route"`) {
			t.Errorf("a public listener answers %s with %s", path, body)
		}
	}
	kid := parsed.Header["kid"].(string)
	if body := r.get("/.well-known/jwks.json"); strings.Contains(body, kid) || !strings.Contains(body, `"kid"`) {
		t.Errorf("the key of internal tokens is published: %s", body)
	}
}
