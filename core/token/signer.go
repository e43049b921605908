package token

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
)

// The types of tokens: RFC 9068 names the first, the others are ours (SECURITY I7).
const (
	typAccess   = "at+jwt"
	typRefresh  = "rt+jwt"
	typInternal = "gw+jwt"
)

// SignerOptions say what tokens are issued.
type SignerOptions struct {
	Keys             *Keys
	Issuer, Audience string
	Access, Refresh  time.Duration // how long tokens live
	Clock            clock.Clock
}

// Signer issues tokens. It may be used concurrently.
type Signer struct{ o SignerOptions }

// NewSigner returns a signer.
func NewSigner(o SignerOptions) *Signer { return &Signer{o} }

// header is a JOSE header of ours.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// payload is the claims of a token of ours (SPEC ID1).
type payload struct {
	Issuer       string        `json:"iss"`
	Audience     string        `json:"aud"`
	Subject      string        `json:"sub"`
	IssuedAt     int64         `json:"iat"`
	Expires      int64         `json:"exp"`
	ID           string        `json:"jti"`
	Scope        []string      `json:"scope"`
	Session      string        `json:"sessionId,omitempty"`
	Client       string        `json:"client_id,omitempty"`
	Key          string        `json:"api_key,omitempty"`
	Fingerprint  string        `json:"client_fingerprint,omitempty"`
	Confirmation *confirmation `json:"cnf,omitempty"`
	TokenType    string        `json:"tokenType,omitempty"`
}

// confirmation binds a token to a certificate (RFC 8705 §3.1).
type confirmation struct {
	Thumbprint string `json:"x5t#S256"`
}

// Access issues an access token (RFC 9068). Without a user the client acts for
// itself, and is the subject.
func (s *Signer) Access(g Grant) (Signed, error) {
	p, err := s.claims(g, s.o.Access)
	if err != nil {
		return Signed{}, fmt.Errorf("issuing an access token: %w", err)
	}
	p.Audience = s.o.Audience
	return s.issue(ForAccess, typAccess, p)
}

// Refresh issues a refresh token.
func (s *Signer) Refresh(g Grant) (Signed, error) {
	p, err := s.claims(g, s.o.Refresh)
	if err != nil {
		return Signed{}, fmt.Errorf("issuing a refresh token: %w", err)
	}
	p.Audience, p.TokenType = s.o.Issuer, "refresh"
	return s.issue(ForRefresh, typRefresh, p)
}

// Internal issues the token that tells the service of that name who calls. It
// lives for a minute, and our own door refuses it.
func (s *Signer) Internal(p *principal.Principal, service string) (string, error) {
	now := s.o.Clock.Now()
	c := payload{
		Issuer: s.o.Issuer, Audience: "service:" + service, ID: newID(), Scope: list(p.Scopes),
		IssuedAt: now.Unix(), Expires: now.Add(internalLife).Unix(),
		Session: p.Session, Client: p.Client, Key: p.Key,
	}
	for _, who := range []string{p.User, p.Client, p.Key} {
		if c.Subject == "" {
			c.Subject = who
		}
	}
	if c.Subject == "" {
		return "", errors.New("issuing an internal token: the principal names nobody")
	}
	signed, err := s.issue(ForInternal, typInternal, c)
	return signed.Token, err
}

// claims are those that access and refresh tokens share. What the verifier would
// refuse is refused here, where somebody can be told.
func (s *Signer) claims(g Grant, life time.Duration) (payload, error) {
	now := s.o.Clock.Now()
	expires := now.Add(life)
	if !g.NotAfter.IsZero() && g.NotAfter.Before(expires) {
		expires = g.NotAfter
	}
	p := payload{
		Issuer: s.o.Issuer, Subject: g.User, ID: newID(), Scope: list(g.Scopes), Session: g.Session, Client: g.Client,
		IssuedAt: now.Unix(), Expires: expires.Unix(), Fingerprint: g.Fingerprint,
	}
	if g.Thumbprint != "" {
		p.Confirmation = &confirmation{g.Thumbprint}
	}
	if p.Subject == "" {
		p.Subject = g.Client
	}
	switch {
	case p.Expires <= p.IssuedAt:
		return p, fmt.Errorf("%w: its session is over", ErrExpired)
	case !isWord(p.Subject) || !isWord(p.Client) || p.Session != "" && !isWord(p.Session):
		return p, errors.New("user, client and session must be visible ASCII of at most 255 bytes")
	case g.User == g.Client:
		return p, errors.New("a user may not be called like the client")
	case g.Fingerprint != "" && !isDigest(g.Fingerprint) || g.Thumbprint != "" && !isDigest(g.Thumbprint):
		return p, errors.New("a token is bound to base64url of a SHA-256")
	}
	return p, nil
}

// issue signs.
func (s *Signer) issue(purpose Purpose, typ string, p payload) (Signed, error) {
	key, err := s.o.Keys.signing(purpose, s.o.Clock.Now())
	if err != nil {
		return Signed{}, err
	}
	method := key.verifier.method(key.verifier.algorithm)
	head, _ := json.Marshal(header{method.Alg(), key.ID, typ}) // strings alone can't fail
	body, _ := json.Marshal(p)
	text := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := method.Sign(text, key.private)
	if err != nil {
		return Signed{}, fmt.Errorf("signing a token: %w", err)
	}
	text += "." + base64.RawURLEncoding.EncodeToString(signature)
	if len(text) > maxToken {
		return Signed{}, fmt.Errorf("a token with %d scopes is longer than %d bytes", len(p.Scope), maxToken)
	}
	return Signed{Token: text, ID: p.ID, IssuedAt: time.Unix(p.IssuedAt, 0), Expires: time.Unix(p.Expires, 0)}, nil
}

// newID is 128 random bits.
func newID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails; it ends the process instead
	return base64.RawURLEncoding.EncodeToString(raw)
}

// list is the scopes as a JSON array, which is never null.
func list(s principal.Scopes) []string {
	if l := s.List(); l != nil {
		return l
	}
	return []string{}
}
