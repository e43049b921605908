package login

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/token"
)

// Accounts knows users and their passwords. Its errors are those of package account.
type Accounts interface {
	Authenticate(ctx context.Context, a account.Attempt) (account.User, error)
	CheckPassword(ctx context.Context, id, password string, from netip.Addr) error
	ChangePassword(ctx context.Context, id, old, new string) error
	User(ctx context.Context, id string) (account.User, error)
}

// Factors knows the second factors of users. Its errors are those of package account.
type Factors interface {
	SecondFactor(ctx context.Context, userID, code string, from netip.Addr) error
	Enrol(ctx context.Context, id string) (account.Enrolment, error)
	Confirm(ctx context.Context, id, code string) (recovery []string, err error)
	DisableMFA(ctx context.Context, id, code string) error
}

// Devices makes the value of the cookie by which a device is known again (SECURITY I11).
type Devices interface {
	Device(userID string) string
}

// Tokens verifies tokens. Errors wrap those of package token.
type Tokens interface {
	Access(raw []byte) (*token.Verified, error)
	Refresh(raw []byte) (*token.Verified, error)
}

// Revocations knows what is refused though its token is good.
type Revocations interface {
	Revoked(session, user string, issuedAt int64) bool
	// State says whether what is known of revocations may be believed at all (SECURITY I6).
	State() (age time.Duration, ready bool)
}

// KeySet publishes the keys that verify access tokens.
type KeySet interface{ JWKS() []byte }

// Options are what logins need. All but Tickets and Web must be set.
type Options struct {
	Accounts    Accounts
	Factors     Factors
	Devices     Devices
	Tokens      Tokens
	Revocations Revocations
	Sessions    *session.Sessions
	Tickets     *ticket.Tickets // nil: there are none
	Keys        KeySet
	// Key, of 32 bytes or more and the same at all instances, seals the tickets of a
	// login that waits for its second factor.
	Key []byte
	// Client is the client id of tokens that a login gives (SECURITY I19).
	Client string
	// FingerprintHeader is the field whose value binds the tokens of a login (SECURITY
	// I14); empty: none does.
	FingerprintHeader string
	Web               *Web          // nil: no cookies
	Timeout           time.Duration // of what one request waits for; 0: 10 s
	Clock             clock.Clock
	Log               zerolog.Logger
}

// Web lets browsers keep their refresh token in a cookie that no script can read. Pages
// of its origins get no other one (SPEC ID10).
type Web struct {
	Cookie  string   // name; it begins with "__Secure-"
	Origins []string // exact
}

// DefaultTimeout is Options.Timeout where that is zero.
const DefaultTimeout = 10 * time.Second

// BodyLimit is the bytes that the body of a request to /auth/* may have (SECURITY C13).
const BodyLimit = 16 << 10

// Login answers /auth/* and the key set. It holds nothing of its own and may be used
// concurrently.
type Login struct {
	o       Options
	waiting *waiting
}

// New returns the answers of logins. It fails for a key that is too short.
func New(o Options) (*Login, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	w, err := newWaiting(o.Key, o.Clock)
	if err != nil {
		return nil, fmt.Errorf("making the seal of waiting logins: %w", err)
	}
	return &Login{o: o, waiting: w}, nil
}

// Route is a built-in route. The program puts it into its table with no auth: who may
// do what is decided by its answer.
type Route struct {
	Name    string
	Paths   []string
	Methods []string // empty: any that no other route takes
	Answer  pipeline.Hook
	// BodyLimit is the bytes of a request body.
	BodyLimit int64
	// Response, if not nil, runs for every answer of the route, faults included.
	Response pipeline.Hook
}

// Routes are all routes of logins. The last one answers the methods that the others
// don't take, so that these answers are stored nowhere either (SECURITY I20).
func (l *Login) Routes() []Route {
	const get, post, del = fasthttp.MethodGet, fasthttp.MethodPost, fasthttp.MethodDelete
	auth := []struct {
		name, method, path string
		answer             pipeline.Hook
	}{
		{"auth login", post, "/auth/login", l.login},
		{"auth mfa challenge", post, "/auth/mfa/challenge", l.challenge},
		{"auth refresh", post, "/auth/refresh", l.refresh},
		{"auth logout", post, "/auth/logout", l.logout},
		{"auth logout-all", post, "/auth/logout-all", l.logoutAll},
		{"auth password", post, "/auth/password", l.password},
		{"auth sessions", get, "/auth/sessions", l.listSessions},
		{"auth session", del, "/auth/sessions/{id}", l.endSession},
		{"auth mfa enrol", post, "/auth/mfa/enrol", l.enrol},
		{"auth mfa verify", post, "/auth/mfa/verify", l.confirm},
		{"auth mfa disable", post, "/auth/mfa/disable", l.disable},
		{"auth tickets", post, "/auth/tickets", l.issueTicket},
	}
	var routes []Route
	other := Route{Name: "auth other methods", BodyLimit: BodyLimit, Response: noStore}
	allowed := map[string]string{}
	for _, a := range auth {
		if a.path == "/auth/tickets" && l.o.Tickets == nil {
			continue
		}
		routes = append(routes, Route{Name: a.name, Paths: []string{a.path}, Methods: []string{a.method},
			Answer: a.answer, BodyLimit: BodyLimit, Response: noStore})
		other.Paths = append(other.Paths, a.path)
		allowed[strings.TrimSuffix(a.path, "{id}")] = a.method
	}
	other.Answer = otherMethod(allowed)
	return append(routes, other, Route{
		Name: "key set", Paths: []string{"/.well-known/jwks.json"}, Methods: []string{get}, Answer: l.keySet, BodyLimit: BodyLimit,
	})
}

// noStore keeps what /auth/* answers out of every cache.
func noStore(x *pipeline.Exchange) pipeline.Verdict {
	x.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return pipeline.Continue
}

// otherMethod answers as the gateway does where a route takes the path and not the method.
func otherMethod(allowed map[string]string) pipeline.Hook {
	return func(x *pipeline.Exchange) pipeline.Verdict {
		path := strings.TrimSuffix(string(x.Path), string(x.Params.Get("id")))
		allow := allowed[path] + ", " + fasthttp.MethodOptions
		if allowed[path] == fasthttp.MethodGet {
			allow = "GET, HEAD, OPTIONS"
		}
		verdict := pipeline.Respond
		if string(x.Request.Header.Method()) == fasthttp.MethodOptions {
			x.Response.SetStatusCode(fasthttp.StatusNoContent)
		} else {
			verdict = x.Fail(fault.MethodNotAllowed)
		}
		x.Response.Header.Set(fasthttp.HeaderAllow, allow)
		return verdict
	}
}

// waitFor bounds what a request waits for. fasthttp tells nobody of a client that
// leaves; what it has asked for is done all the same.
func (l *Login) waitFor() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), l.o.Timeout)
}

// read takes the body of a request apart. If ok is false, verdict says how the exchange
// goes on.
func (l *Login) read(x *pipeline.Exchange, f form) (v values, verdict pipeline.Verdict, ok bool) {
	raw, verdict := x.Body(nil)
	if verdict != pipeline.Continue {
		return nil, verdict, false
	}
	optional := !slices.ContainsFunc(f, func(d field) bool { return !d.optional })
	if len(raw) == 0 && optional {
		return values{}, pipeline.Continue, true
	}
	h := &x.Request.Header
	if !isJSON(string(h.ContentType())) {
		return nil, x.Fail(fault.UnsupportedMediaType.Detail("the body must be application/json")), false
	}
	if coding := h.ContentEncoding(); len(coding) > 0 && !strings.EqualFold(string(coding), "identity") {
		return nil, x.Fail(fault.UnsupportedMediaType.Detail("the body must not be encoded")), false
	}
	v, problems, err := f.read(raw)
	switch {
	case err != nil:
		return nil, x.FailBy(fault.BadRequest.Detail(err.Error()), err), false
	case len(problems) > 0:
		return nil, x.Fail(fault.ValidationFailed.Problems(problems...)), false
	}
	return v, pipeline.Continue, true
}

// isJSON says whether a Content-Type is application/json, in the one charset that JSON
// has. Pages of other origins can't send it without being asked first (SECURITY I20).
func isJSON(contentType string) bool {
	mediaType, parameter, has := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.Trim(mediaType, " \t"), "application/json") {
		return false
	}
	switch strings.ToLower(strings.Trim(parameter, " \t")) {
	case "charset=utf-8", `charset="utf-8"`:
		return true
	default:
		return !has
	}
}

// answer makes the answer out of body, which is written as JSON.
func answer(x *pipeline.Exchange, body any) pipeline.Verdict {
	text, err := json.Marshal(body)
	if err != nil {
		return x.FailBy(fault.Internal, fmt.Errorf("writing an answer: %w", err))
	}
	x.Response.Header.SetContentType("application/json")
	x.Response.SetBodyRaw(text)
	x.BytesOut = int64(len(text))
	return pipeline.Respond
}

// done answers that there is nothing to say.
func done(x *pipeline.Exchange) pipeline.Verdict {
	x.Response.SetStatusCode(fasthttp.StatusNoContent)
	return pipeline.Respond
}
