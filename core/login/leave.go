package login

import (
	"errors"
	"time"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/token"
)

// logout is POST /auth/logout, with the refresh token alone or with an access token.
// That the session has ended before is fine; 204 says that all instances will know.
func (l *Login) logout(x *pipeline.Exchange) pipeline.Verdict {
	shown, verdict, ok := l.refreshToken(x)
	if !ok {
		return verdict
	}
	if l.o.Web != nil && (shown.cookie || l.isPage(x)) {
		l.clearRefreshCookie(x)
	}
	t, err := l.ownToken([]byte(shown.token), shown.bearer)
	if errors.Is(err, token.ErrExpired) {
		return done(x) // who has nothing better is logged out already
	}
	if err != nil {
		return l.refuseToken(x, err)
	}
	if !(binding{t.Fingerprint, t.Thumbprint}).shownBy(l.bindingOf(x)) {
		return x.Fail(fault.TokenUnbound)
	}
	x.Principal = &t.Principal
	ctx, cancel := l.waitFor()
	defer cancel()
	if err := l.o.Sessions.EndOf(ctx, t); err != nil {
		return l.refuse(x, err)
	}
	return done(x)
}

// ownToken verifies a refresh token or, if it came as Bearer, an access token of a
// session of ours.
func (l *Login) ownToken(raw []byte, bearer bool) (*token.Verified, error) {
	t, err := l.o.Tokens.Refresh(raw)
	if !bearer || !errors.Is(err, token.ErrInvalid) {
		return t, err
	}
	t, err = l.o.Tokens.Access(raw)
	if err == nil && (t.Principal.Issuer != "" || t.Principal.Session == "") {
		return nil, token.ErrInvalid
	}
	return t, err
}

// logoutAll is POST /auth/logout-all.
func (l *Login) logoutAll(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	if _, verdict, ok := l.read(x, form{}); !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	if err := l.o.Sessions.EndAll(ctx, t.Principal.User); err != nil {
		return l.refuse(x, err)
	}
	if l.o.Web != nil && l.isPage(x) {
		l.clearRefreshCookie(x)
	}
	return done(x)
}

// shownSession is a session in the list of its user.
type shownSession struct {
	ID      string    `json:"id"`
	Current bool      `json:"current"`
	Client  string    `json:"client"`
	Scope   string    `json:"scope"`
	Agent   string    `json:"agent"`
	Address string    `json:"address"`
	Bound   bool      `json:"bound"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Ends    time.Time `json:"ends"`
}

// listSessions is GET /auth/sessions.
func (l *Login) listSessions(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	all, err := l.o.Sessions.List(ctx, t.Principal.User)
	if err != nil {
		return l.refuse(x, err)
	}
	shown := make([]shownSession, len(all))
	for i := range all {
		s := &all[i]
		shown[i] = shownSession{
			ID: s.ID, Current: s.ID == t.Principal.Session, Client: s.Client, Scope: s.Scopes.String(),
			Agent: s.Agent, Address: s.Address, Bound: s.Fingerprint != "" || s.Thumbprint != "",
			Created: whole(s.Created), Used: whole(s.Used), Ends: whole(s.Ends),
		}
	}
	return answer(x, struct {
		Sessions []shownSession `json:"sessions"`
	}{shown})
}

// whole is a time as it is shown: nobody needs parts of a second.
func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// endSession is DELETE /auth/sessions/{id}.
func (l *Login) endSession(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	err := l.o.Sessions.End(ctx, t.Principal.User, string(x.Params.Get("id")))
	if errors.Is(err, session.ErrUnknown) {
		return x.FailBy(fault.NotFound, err) // that of another user looks like none (SECURITY I20)
	}
	if err != nil {
		return l.refuse(x, err)
	}
	return done(x)
}
