package login

import (
	"encoding/base64"
	"errors"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/ticket"
)

// What a user changes about himself, with an access token of his own.

// password is POST /auth/password. All sessions end, this one as well (SECURITY I5); the
// answer begins a new one, so that who knows the password stays.
func (l *Login) password(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	v, verdict, ok := l.read(x, form{{name: "currentPassword", check: checkShownPassword}, {name: "newPassword", check: checkNewPassword}})
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	id := t.Principal.User
	err := l.o.Accounts.ChangePassword(ctx, id, v["currentPassword"], v["newPassword"])
	switch {
	case errors.Is(err, account.ErrPassword):
		return x.FailBy(wrong("/newPassword", err.Error()), err)
	case err != nil:
		return l.refuseOwn(x, err, "/currentPassword")
	}
	if err := l.o.Sessions.EndAll(ctx, id); err != nil {
		return l.refuseAfter(x, err, "the password is changed, but other sessions may live on: log in and call /auth/logout-all")
	}
	user, err := l.o.Accounts.User(ctx, id)
	if err != nil {
		return l.refuseAfter(x, err, "the password is changed: log in again")
	}
	return l.enter(ctx, x, user, binding{t.Fingerprint, t.Thumbprint})
}

// wrong is a fault of one member.
func wrong(pointer, message string) fault.Fault {
	return fault.ValidationFailed.Problems(fault.Problem{Pointer: pointer, Message: message})
}

// enrol is POST /auth/mfa/enrol: a new second factor, which is not in force yet.
func (l *Login) enrol(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	v, verdict, ok := l.read(x, form{password})
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	if err := l.o.Accounts.CheckPassword(ctx, t.Principal.User, v["password"], x.Client); err != nil {
		return l.refuseOwn(x, err, "/password")
	}
	e, err := l.o.Factors.Enrol(ctx, t.Principal.User)
	if err != nil {
		return l.refuseOwn(x, err, "")
	}
	return answer(x, struct {
		URL    string `json:"otpauthUrl"`
		QRCode string `json:"qrCode"`
		Secret string `json:"secret"`
	}{e.URL, "data:image/png;base64," + base64.StdEncoding.EncodeToString(e.PNG), e.Secret})
}

// confirm is POST /auth/mfa/verify: a code of the new second factor puts it in force.
func (l *Login) confirm(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	v, verdict, ok := l.read(x, form{code})
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	recovery, err := l.o.Factors.Confirm(ctx, t.Principal.User, v["code"])
	if err != nil {
		return l.refuseOwn(x, err, "/code")
	}
	// Whatever comes of it, the codes can't be shown again.
	if err := l.o.Sessions.EndOthers(ctx, t.Principal.User, t.Principal.Session); err != nil {
		l.o.Log.Error().Err(err).Str("user", t.Principal.User).Msg("a second factor is in force, but the user's other sessions may live on")
	}
	return answer(x, struct {
		Codes []string `json:"recoveryCodes"`
	}{recovery})
}

// disable is POST /auth/mfa/disable.
func (l *Login) disable(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	v, verdict, ok := l.read(x, form{code})
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	if err := l.o.Factors.DisableMFA(ctx, t.Principal.User, v["code"]); err != nil {
		return l.refuseOwn(x, err, "/code")
	}
	if err := l.o.Sessions.EndOthers(ctx, t.Principal.User, t.Principal.Session); err != nil {
		return l.refuseAfter(x, err, "the second factor is removed, but other sessions may live on: call /auth/logout-all")
	}
	return done(x)
}

// issueTicket is POST /auth/tickets.
func (l *Login) issueTicket(x *pipeline.Exchange) pipeline.Verdict {
	t, verdict, ok := l.authenticate(x)
	if !ok {
		return verdict
	}
	v, verdict, ok := l.read(x, form{{name: "path", check: checkPath}})
	if !ok {
		return verdict
	}
	ctx, cancel := l.waitFor()
	defer cancel()
	issued, err := l.o.Tickets.Issue(ctx, t, v["path"])
	if err != nil {
		return l.refuse(x, err)
	}
	return answer(x, struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int64  `json:"expiresIn"`
	}{issued, int64(ticket.Life.Seconds())})
}
