package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/token"
)

// caller is all that one request shows, and was found to be good.
type caller struct {
	have          principal.Credential
	token, ticket *token.Verified
	key           *apikey.Key
	certificate   string // the name that the client's certificate bears
}

// readToken reads Authorization. Nothing else can hold a token: one in a query or a
// body is never looked at (SECURITY I15).
func (a *auth) readToken(x *pipeline.Exchange, c *caller) pipeline.Verdict {
	if a.takes&principal.Token == 0 {
		return a.refuse(x, noTokens, nil)
	}
	lines := x.Request.Header.PeekAll("Authorization")
	if len(lines) != 1 {
		return a.refuse(x, fault.Unauthenticated.Detail("want one Authorization field"), nil)
	}
	raw, ok := bearer(lines[0])
	if !ok {
		return a.refuse(x, fault.Unauthenticated.Detail("want Authorization: Bearer and a token"), nil)
	}
	if a.Tokens == nil {
		return a.refuse(x, fault.TokenInvalid, errNobody)
	}
	t, err := a.Tokens.Access(raw)
	if err != nil {
		return a.refuseToken(x, err)
	}
	c.token, c.have = t, c.have|principal.Token
	if !a.boundHere(x, t) {
		return a.refuse(x, fault.TokenUnbound, nil)
	}
	return a.standing(x, t)
}

// errNobody is why nothing is good at a gateway that knows nobody.
var errNobody = errors.New("identity is not configured, so that nobody can be authenticated; `auth: off` would open the route")

// bearer cuts the token out of an Authorization. The scheme has no case (RFC 9110
// §11.1); the token is not looked at.
func bearer(line []byte) (raw []byte, ok bool) {
	const scheme = "bearer "
	if len(line) <= len(scheme) || line[len(scheme)-1] != ' ' || !bytes.EqualFold(line[:len(scheme)], []byte(scheme)) {
		return nil, false
	}
	raw = bytes.TrimLeft(line[len(scheme):], " ")
	return raw, len(raw) > 0
}

// refuseToken answers to a token or ticket that is not good. What is only out of
// date does not count against its address: clients show such tokens every day.
func (a *auth) refuseToken(x *pipeline.Exchange, err error) pipeline.Verdict {
	switch {
	case errors.Is(err, token.ErrUnavailable):
		return a.refuse(x, fault.StoreUnavailable.Detail("tokens can't be verified now"), err)
	case errors.Is(err, token.ErrExpired):
		return a.refuse(x, fault.TokenExpired, err)
	}
	a.refused.add(x.Client)
	return a.refuse(x, fault.TokenInvalid, err)
}

// oldest is how old the mirror of revocations may be on a strict route (SECURITY I6).
const oldest = 5 * time.Second

// standing looks at what no signature tells: whether the route takes tokens of this
// issuer, and whether they were revoked since.
func (a *auth) standing(x *pipeline.Exchange, t *token.Verified) pipeline.Verdict {
	p := &t.Principal
	if a.issuers != nil && !slices.Contains(a.issuers, p.Issuer) {
		return a.refuse(x, fault.TokenInvalid.Detail("tokens of this issuer are not taken here"), nil)
	}
	if a.bound && t.Fingerprint == "" && t.Thumbprint == "" {
		return a.refuse(x, fault.TokenUnbound.Detail("this route takes only tokens that are bound to their holder"), nil)
	}
	if a.Revocations.Revoked(p.Session, p.User, t.IssuedAt) || len(t.Foreign) > 0 && a.Revocations.RevokedForeign(t.Foreign) {
		return a.refuse(x, fault.TokenRevoked, nil)
	}
	age, ready := a.Revocations.State()
	if !ready || a.strict && age > oldest {
		return a.refuse(x, fault.StoreUnavailable.Detail("whether the token was revoked is not known now"), nil)
	}
	return pipeline.Continue
}

// boundHere says whether t is shown by who it is bound to, if it is (SECURITY I14).
func (a *auth) boundHere(x *pipeline.Exchange, t *token.Verified) bool {
	if t.Fingerprint != "" {
		if a.FingerprintHeader == "" {
			return false
		}
		lines := x.Request.Header.PeekAll(a.FingerprintHeader)
		if len(lines) != 1 || !sums(lines[0], t.Fingerprint) {
			return false
		}
	}
	return certifiedHere(x, t)
}

// certifiedHere says whether the certificate that t is bound to, if it is, was shown
// on this very connection.
func certifiedHere(x *pipeline.Exchange, t *token.Verified) bool {
	if t.Thumbprint == "" {
		return true
	}
	state := x.Peer.TLS
	return state != nil && len(state.PeerCertificates) > 0 && sums(state.PeerCertificates[0].Raw, t.Thumbprint)
}

// sums says whether the SHA-256 of value is want, in base64url.
func sums(value []byte, want string) bool {
	sum := sha256.Sum256(value)
	var text [43]byte
	base64.RawURLEncoding.Encode(text[:], sum[:])
	return string(text[:]) == want
}

// readKey reads X-API-Key.
func (a *auth) readKey(x *pipeline.Exchange, c *caller) pipeline.Verdict {
	if a.takes&principal.Key == 0 {
		return a.refuse(x, noKeys, nil)
	}
	lines := x.Request.Header.PeekAll("X-Api-Key")
	if len(lines) != 1 {
		return a.refuse(x, fault.Unauthenticated.Detail("want one X-API-Key field"), nil)
	}
	if a.Keys == nil {
		return a.refuse(x, fault.InvalidCredentials, errNobody)
	}
	k, err := a.Keys.Check(lines[0], x.Client)
	if err != nil {
		return a.refuseKey(x, err)
	}
	c.key, c.have, x.Shown = k, c.have|principal.Key, k
	return pipeline.Continue
}

// refuseKey answers to an API key that is not good. Only guesses count against their
// address.
func (a *auth) refuseKey(x *pipeline.Exchange, err error) pipeline.Verdict {
	f := fault.InvalidCredentials.Detail("the API key is not valid")
	switch {
	case errors.Is(err, apikey.ErrUnavailable):
		f = fault.StoreUnavailable.Detail("API keys can't be looked up now")
	case errors.Is(err, apikey.ErrAddress):
		f = fault.Forbidden.Detail("the API key may not be used from this address")
	case errors.Is(err, apikey.ErrExpired):
		f = fault.InvalidCredentials.Detail("the API key has expired")
	case errors.Is(err, apikey.ErrInactive):
	default:
		a.refused.add(x.Client)
	}
	return a.refuse(x, f, err)
}

// readCertificate takes the certificate that the listener has verified. It belongs to
// the connection, so that it is looked at only where the route asks for it.
func (c *caller) readCertificate(x *pipeline.Exchange) {
	if !certified(x) {
		return
	}
	c.have |= principal.Certificate
	if name := nameOf(x.Peer.TLS.PeerCertificates[0]); len(name) <= longestName && visible(name) {
		c.certificate = name
	}
}

// certified says whether the listener has verified a certificate of the client.
func certified(x *pipeline.Exchange) bool {
	return x.Peer.TLS != nil && len(x.Peer.TLS.VerifiedChains) > 0
}

// nameOf is what a certificate calls its holder: the common name, else the first URI,
// else the first DNS name.
func nameOf(certificate *x509.Certificate) string {
	switch {
	case certificate.Subject.CommonName != "":
		return certificate.Subject.CommonName
	case len(certificate.URIs) > 0:
		return certificate.URIs[0].String()
	case len(certificate.DNSNames) > 0:
		return certificate.DNSNames[0]
	}
	return ""
}

// longestName is the longest name of a certificate that becomes a client id, in bytes.
const longestName = 250

// certificatePrefix keeps the names of certificates apart from clients' own ids.
const certificatePrefix = "mtls:"

// principal is who shows all that: one of the principals that were verified, or a new
// one where there are several. False says that they are of different callers.
func (c *caller) principal() (p *principal.Principal, same bool) {
	switch c.have {
	case principal.Token:
		return &c.token.Principal, true
	case principal.Key:
		return &c.key.Principal, true
	case principal.Ticket:
		return &c.ticket.Principal, true
	}
	merged := principal.Principal{Shown: c.have}
	t := c.spoken()
	switch {
	case t != nil:
		merged = t.Principal
	case c.key != nil:
		merged = c.key.Principal
	case c.certificate != "":
		merged.Client = certificatePrefix + c.certificate
	}
	merged.Shown = c.have
	if t != nil && c.key != nil && !addKey(&merged, &c.key.Principal) {
		return nil, false
	}
	if c.token != nil && c.ticket != nil {
		other := &c.ticket.Principal
		if other.User != merged.User || other.Client != merged.Client || other.Issuer != merged.Issuer {
			return nil, false
		}
		merged.Scopes = merged.Scopes.Intersect(other.Scopes)
	}
	return &merged, true
}

// spoken is what a token or a ticket says of the caller; nil without either.
func (c *caller) spoken() *token.Verified {
	if c.token != nil {
		return c.token
	}
	return c.ticket
}

// addKey narrows p, of a token, to what the key may do as well. The key of a client
// names no user, and goes with any of the client's; a user's own key names no client,
// and goes with any token of theirs.
func addKey(p, key *principal.Principal) bool {
	if key.User != "" && key.User != p.User || key.Client != "" && key.Client != p.Client {
		return false
	}
	p.Key, p.Policy, p.Scopes = key.Key, key.Policy, p.Scopes.Intersect(key.Scopes)
	return true
}

// expires is when the first of the credentials ends, in unix seconds; 0: never.
func (c *caller) expires() int64 {
	first := int64(0)
	sooner := func(at int64) {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if c.token != nil {
		sooner(c.token.Expires)
	}
	if c.ticket != nil {
		sooner(c.ticket.Expires)
	}
	if c.key != nil {
		sooner(c.key.Expires)
	}
	return first
}
