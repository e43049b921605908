package login

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/session"
)

// granted is the answer of a login and of a refresh (SPEC ID4).
type granted struct {
	AccessToken      string `json:"accessToken"`
	RefreshToken     string `json:"refreshToken,omitempty"` // not for pages, which have a cookie
	ExpiresIn        int64  `json:"expiresIn"`
	TokenType        string `json:"tokenType"`
	RefreshExpiresIn int64  `json:"refreshExpiresIn"`
	Scope            string `json:"scope"`
	SessionID        string `json:"sessionId"`
}

// seconds is how long a token lives from its issue on. A refresh that is repeated gets
// the same answer to the byte (SECURITY I8), so it does not count from now.
func seconds(from, to time.Time) int64 { return int64(to.Sub(from) / time.Second) }

// give answers with a pair; to pages of identity.web, the refresh token is a cookie.
func (l *Login) give(x *pipeline.Exchange, p session.Pair, page bool) pipeline.Verdict {
	g := granted{
		AccessToken: p.Access.Token, RefreshToken: p.Refresh.Token, TokenType: "Bearer", Scope: p.Scope, SessionID: p.Session,
		ExpiresIn:        seconds(p.Access.IssuedAt, p.Access.Expires),
		RefreshExpiresIn: seconds(p.Refresh.IssuedAt, p.Refresh.Expires),
	}
	if page {
		l.setRefreshCookie(x, g.RefreshToken, g.RefreshExpiresIn)
		g.RefreshToken = ""
	}
	return answer(x, g)
}

// login is POST /auth/login.
func (l *Login) login(x *pipeline.Exchange) pipeline.Verdict {
	v, verdict, ok := l.read(x, form{email, password, field{name: "mfaToken", optional: true, check: checkCode}})
	if !ok {
		return verdict
	}
	b, err := l.bindingToBe(x)
	if err != nil {
		return x.FailBy(fault.BadRequest.Detail(err.Error()), err)
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	user, err := l.o.Accounts.Authenticate(ctx, account.Attempt{
		Email: v["email"], Password: v["password"], From: x.Client, Device: cookie(x, deviceCookie),
	})
	if err != nil {
		return l.refuse(x, err)
	}
	if !user.MFA {
		return l.enter(ctx, x, user, b)
	}
	mfaToken, given := v["mfaToken"]
	if !given {
		return x.Fail(fault.MFARequired.With("ticket", l.waiting.issue(user.ID, b)))
	}
	if err := l.o.Factors.SecondFactor(ctx, user.ID, mfaToken, x.Client); err != nil {
		return l.refuse(x, err)
	}
	return l.enter(ctx, x, user, b)
}

// challenge is POST /auth/mfa/challenge: the code for a login whose password was right.
func (l *Login) challenge(x *pipeline.Exchange) pipeline.Verdict {
	v, verdict, ok := l.read(x, form{field{name: "ticket", check: checkToken}, code})
	if !ok {
		return verdict
	}
	userID, bound, err := l.waiting.redeem(v["ticket"])
	if err != nil {
		return x.FailBy(fault.InvalidCredentials.Detail("the ticket is no longer good; log in again"), err)
	}
	if !bound.shownBy(l.bindingOf(x)) {
		return x.Fail(fault.TokenUnbound)
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	if err := l.o.Factors.SecondFactor(ctx, userID, v["code"], x.Client); err != nil {
		return l.refuse(x, err)
	}
	user, err := l.o.Accounts.User(ctx, userID)
	switch {
	case errors.Is(err, account.ErrNoUser), err == nil && !user.Active:
		return x.FailBy(fault.InvalidCredentials, err)
	case err != nil:
		return l.refuse(x, err)
	}
	return l.enter(ctx, x, user, bound)
}

// maxAgent is how much of a User-Agent is kept, in bytes.
const maxAgent = 256

// enter begins a session for a user who has shown all that he must.
func (l *Login) enter(ctx context.Context, x *pipeline.Exchange, user account.User, b binding) pipeline.Verdict {
	pair, err := l.o.Sessions.Begin(ctx, session.Start{
		User: user.ID, Client: l.o.Client, Scopes: user.Scopes,
		Fingerprint: b.fingerprint, Thumbprint: b.thumbprint,
		Agent: agent(x), Address: x.Client.String(),
	})
	if err != nil {
		return l.refuse(x, err)
	}
	x.Principal = &principal.Principal{User: user.ID, Client: l.o.Client, Session: pair.Session, Scopes: user.Scopes}
	if device := l.o.Devices.Device(user.ID); device != "" {
		setCookie(x, deviceCookie, device, deviceAge)
	}
	return l.give(x, pair, l.isPage(x))
}

// agent is what the client calls itself, for the user's own eyes.
func agent(x *pipeline.Exchange) string {
	raw := x.Request.Header.UserAgent()
	text := strings.ToValidUTF8(string(raw[:min(len(raw), maxAgent)]), "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

// refresh is POST /auth/refresh.
func (l *Login) refresh(x *pipeline.Exchange) pipeline.Verdict {
	shown, verdict, ok := l.refreshToken(x)
	if !ok {
		return verdict
	}
	t, err := l.o.Tokens.Refresh([]byte(shown.token))
	if err != nil {
		return l.refuseRefresh(x, err)
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	user, err := l.o.Accounts.User(ctx, t.Principal.User)
	switch {
	case errors.Is(err, account.ErrNoUser), err == nil && !user.Active:
		if err := l.o.Sessions.EndOf(ctx, t); err != nil {
			return l.refuse(x, err)
		}
		return x.FailBy(fault.SessionRevoked, errors.New("the user is gone or disabled"))
	case err != nil:
		return l.refuse(x, err)
	}
	b := l.bindingOf(x)
	pair, err := l.o.Sessions.Refresh(ctx, session.Shown{
		Raw: []byte(shown.token), Token: t, Fingerprint: b.fingerprint, Thumbprint: b.thumbprint, Scopes: user.Scopes,
	})
	if err != nil {
		return l.refuse(x, err)
	}
	x.Principal = &t.Principal
	return l.give(x, pair, shown.cookie)
}

// keySet is GET /.well-known/jwks.json (RFC 7517).
func (l *Login) keySet(x *pipeline.Exchange) pipeline.Verdict {
	body := l.o.Keys.JWKS()
	tag := etag(body)
	h := &x.Response.Header
	h.Set(fasthttp.HeaderCacheControl, keySetCaching)
	h.Set(fasthttp.HeaderETag, tag)
	if matches(x.Request.Header.PeekAll(fasthttp.HeaderIfNoneMatch), tag) {
		x.Response.SetStatusCode(fasthttp.StatusNotModified)
		return pipeline.Respond
	}
	h.SetContentType("application/jwk-set+json")
	x.Response.SetBodyRaw(body)
	x.BytesOut = int64(len(body))
	return pipeline.Respond
}
