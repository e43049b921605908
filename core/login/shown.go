package login

import (
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/token"
)

// Why an Authorization field is refused.
var (
	errTwice  = errors.New("there are two Authorization fields")
	errScheme = errors.New("the Authorization field is not Bearer and one token")
)

// bearer returns the token of the one Authorization field (RFC 6750 §2.1); empty: there
// is no such field. The scheme's case does not matter (RFC 9110 §11.1).
func bearer(x *pipeline.Exchange) (string, error) {
	lines := x.Request.Header.PeekAll(fasthttp.HeaderAuthorization)
	switch len(lines) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", errTwice // two checks could look at one each (SECURITY I15)
	}
	scheme, credentials, _ := strings.Cut(string(lines[0]), " ")
	if !strings.EqualFold(scheme, "Bearer") || checkToken(credentials) != "" {
		return "", errScheme
	}
	return credentials, nil
}

// authenticate finds out which user calls, by an access token of our own: /auth/* takes
// no other issuer's (SECURITY I1) and no API key. If ok is false, verdict says how the
// exchange goes on.
func (l *Login) authenticate(x *pipeline.Exchange) (t *token.Verified, verdict pipeline.Verdict, ok bool) {
	raw, err := bearer(x)
	switch {
	case err != nil:
		return nil, x.FailBy(fault.TokenInvalid, err), false
	case raw == "":
		return nil, x.Fail(fault.Unauthenticated), false
	}
	t, err = l.o.Tokens.Access([]byte(raw))
	if err != nil {
		return nil, l.refuseToken(x, err), false
	}
	p := &t.Principal
	if p.Issuer != "" {
		return nil, x.FailBy(fault.TokenInvalid, errors.New("the token is of a foreign issuer")), false
	}
	if p.User == "" || p.Session == "" {
		return nil, x.FailBy(fault.Forbidden, errors.New("the token is of no user's session")), false
	}
	if _, ready := l.o.Revocations.State(); !ready {
		return nil, x.FailBy(fault.StoreUnavailable, errors.New("revocations are not known yet")), false
	}
	if l.o.Revocations.Revoked(p.Session, p.User, t.IssuedAt) {
		return nil, x.Fail(fault.TokenRevoked), false
	}
	if !(binding{t.Fingerprint, t.Thumbprint}).shownBy(l.bindingOf(x)) {
		return nil, x.Fail(fault.TokenUnbound), false
	}
	l.o.Sessions.Seen(p.Session, t.ID, t.IssuedAt)
	x.Principal = p
	return t, pipeline.Continue, true
}

// shownToken is a refresh token with the way it came.
type shownToken struct {
	token          string
	cookie, bearer bool
}

// refreshToken finds the refresh token of a request: as Bearer, in the body or, from a
// page of identity.web, as cookie. A token in the query is none (SECURITY I15).
func (l *Login) refreshToken(x *pipeline.Exchange) (s shownToken, verdict pipeline.Verdict, ok bool) {
	v, verdict, ok := l.read(x, form{refresh})
	if !ok {
		return s, verdict, false
	}
	inHeader, err := bearer(x)
	if err != nil {
		return s, x.FailBy(fault.TokenInvalid, err), false
	}
	inBody := v[refresh.name]
	switch {
	case inHeader != "" && inBody != "" && inHeader != inBody:
		return s, x.Fail(fault.BadRequest.Detail("the Authorization field and the body hold different tokens")), false
	case inHeader != "":
		return shownToken{token: inHeader, bearer: true}, pipeline.Continue, true
	case inBody != "":
		return shownToken{token: inBody}, pipeline.Continue, true
	}
	return l.refreshCookie(x)
}

// refreshCookie finds the refresh token that a browser keeps. It comes with every
// request to /auth, whoever has made the browser send it: so the page must be one that
// identity.web names (SPEC ID10).
func (l *Login) refreshCookie(x *pipeline.Exchange) (s shownToken, verdict pipeline.Verdict, ok bool) {
	kept := ""
	if l.o.Web != nil {
		kept = cookie(x, l.o.Web.Cookie)
	}
	switch {
	case kept == "":
		return s, x.Fail(fault.Unauthenticated), false
	case checkToken(kept) != "":
		return s, x.FailBy(fault.TokenInvalid, errors.New("the cookie can't be a token")), false
	case !l.isPage(x):
		return s, x.FailBy(fault.Forbidden, errors.New("the Origin is not one of identity.web")), false
	}
	return shownToken{token: kept, cookie: true}, pipeline.Continue, true
}
