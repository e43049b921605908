package login

import (
	"context"
	"errors"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/token"
)

// away says whether err is about something that can't be reached right now: 503, never
// 401, which would have a client throw its tokens away (SPEC ID5).
func away(err error) bool {
	for _, is := range []error{
		account.ErrUnavailable, session.ErrUnavailable, token.ErrUnavailable, ticket.ErrUnavailable,
		revocation.ErrNotDurable, context.DeadlineExceeded,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// faultOf names the fault of an error of those who know users, sessions and tickets.
func faultOf(err error) fault.Fault {
	var throttled *account.Throttled
	switch {
	case away(err):
		return fault.StoreUnavailable
	case errors.As(err, &throttled):
		return fault.RateLimited.After(throttled.After)
	case errors.Is(err, account.ErrBusy):
		return fault.Overloaded
	case errors.Is(err, account.ErrFixed):
		return fault.NotImplemented.Detail("users of the configuration file can't be changed here")
	case errors.Is(err, account.ErrCredentials), errors.Is(err, account.ErrCode):
		return fault.InvalidCredentials
	case errors.Is(err, session.ErrExpired):
		return fault.RefreshExpired
	case errors.Is(err, session.ErrReused):
		return fault.RefreshReused
	case errors.Is(err, session.ErrUnknown):
		return fault.SessionRevoked
	case errors.Is(err, session.ErrUnbound):
		return fault.TokenUnbound
	}
	return fault.Internal
}

// refuse answers err. It is the cause in the log, and never sent.
func (l *Login) refuse(x *pipeline.Exchange, err error) pipeline.Verdict {
	return x.FailBy(faultOf(err), err)
}

// refuseAfter answers err where half of what was asked for has been done.
func (l *Login) refuseAfter(x *pipeline.Exchange, err error, detail string) pipeline.Verdict {
	return x.FailBy(faultOf(err).Detail(detail), err)
}

// refuseOwn answers err to a user who changes something about himself. That the member
// at pointer is wrong is no 401: his tokens are good.
func (l *Login) refuseOwn(x *pipeline.Exchange, err error, pointer string) pipeline.Verdict {
	switch {
	case away(err):
		return l.refuse(x, err)
	case errors.Is(err, account.ErrCredentials), errors.Is(err, account.ErrCode):
		return x.FailBy(wrong(pointer, "is wrong"), err)
	case errors.Is(err, account.ErrChanged):
		return x.FailBy(wrong("", "the user was changed meanwhile; try again"), err)
	case errors.Is(err, account.ErrEnrolled):
		return x.FailBy(wrong("", "a second factor is in force; disable it first"), err)
	case errors.Is(err, account.ErrNotEnrolled):
		return x.FailBy(wrong("", "there is no second factor; enrol one first"), err)
	}
	return l.refuse(x, err)
}

// refuseToken answers err about a token.
func (l *Login) refuseToken(x *pipeline.Exchange, err error) pipeline.Verdict {
	switch {
	case away(err):
		return l.refuse(x, err)
	case errors.Is(err, token.ErrExpired):
		return x.FailBy(fault.TokenExpired, err)
	case errors.Is(err, token.ErrInvalid):
		return x.FailBy(fault.TokenInvalid, err)
	}
	return l.refuse(x, err)
}

// refuseRefresh is refuseToken for a refresh token.
func (l *Login) refuseRefresh(x *pipeline.Exchange, err error) pipeline.Verdict {
	if errors.Is(err, token.ErrExpired) {
		return x.FailBy(fault.RefreshExpired, err)
	}
	return l.refuseToken(x, err)
}
