package login_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/login"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/token"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// person is a user of the fake.
type person struct {
	account.User
	password, code string
}

// accounts is an account.Accounts that a test can break.
type accounts struct {
	mu       sync.Mutex
	people   map[string]*person // by id
	attempts []account.Attempt
	err      error // of everything, if not nil
	factor   error // of Confirm, Enrol and DisableMFA, if not nil
}

func (a *accounts) find(id string) (*person, error) {
	if a.err != nil {
		return nil, a.err
	}
	if p := a.people[id]; p != nil {
		return p, nil
	}
	return nil, account.ErrNoUser
}

func (a *accounts) Authenticate(_ context.Context, t account.Attempt) (account.User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts = append(a.attempts, t)
	if a.err != nil {
		return account.User{}, a.err
	}
	for _, p := range a.people {
		if p.Email == t.Email && p.password == t.Password && p.Active {
			return p.User, nil
		}
	}
	return account.User{}, account.ErrCredentials
}

func (a *accounts) CheckPassword(_ context.Context, id, password string, _ netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.find(id)
	if err == nil && p.password != password {
		err = account.ErrCredentials
	}
	return err
}

func (a *accounts) ChangePassword(ctx context.Context, id, old, new string) error {
	if err := a.CheckPassword(ctx, id, old, netip.Addr{}); err != nil {
		return err
	}
	if strings.Contains(new, "Breached") {
		return fmt.Errorf("%w: it is on the list of breached ones", account.ErrPassword)
	}
	a.change(func() { a.people[id].password = new })
	return nil
}

func (a *accounts) User(_ context.Context, id string) (account.User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.find(id)
	if err != nil {
		return account.User{}, err
	}
	return p.User, nil
}

func (a *accounts) SecondFactor(_ context.Context, id, code string, _ netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, err := a.find(id)
	if err == nil && p.code != code {
		err = account.ErrCode
	}
	return err
}

func (a *accounts) Enrol(_ context.Context, id string) (account.Enrolment, error) {
	return account.Enrolment{URL: "otpauth://totp/x?secret=ABC", PNG: []byte("png"), Secret: "ABC"}, a.factorErr()
}

func (a *accounts) Confirm(ctx context.Context, id, code string) ([]string, error) {
	if err := errors.Join(a.factorErr(), a.SecondFactor(ctx, id, code, netip.Addr{})); err != nil {
		return nil, err
	}
	return []string{"aaaa-bbbb", "cccc-dddd"}, nil
}

func (a *accounts) DisableMFA(ctx context.Context, id, code string) error {
	return errors.Join(a.factorErr(), a.SecondFactor(ctx, id, code, netip.Addr{}))
}

func (a *accounts) factorErr() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.err, a.factor)
}

func (a *accounts) Device(id string) string { return "device-of-" + id }

// tried are the attempts so far.
func (a *accounts) tried() []account.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.attempts)
}

// change lets a test break something.
func (a *accounts) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// tokens numbers the tokens that it issues.
type tokens struct {
	clock           clock.Clock
	access, refresh time.Duration
	mu              sync.Mutex
	issued          map[string]*token.Verified
	err             error
}

func (k *tokens) issue(kind string, g token.Grant, life time.Duration) (token.Signed, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	expires := now.Add(life)
	if !g.NotAfter.IsZero() && g.NotAfter.Before(expires) {
		expires = g.NotAfter
	}
	if !expires.After(now) {
		return token.Signed{}, fmt.Errorf("%w: its session is over", token.ErrExpired)
	}
	id := fmt.Sprintf("%s-%d", kind, len(k.issued)/2+1)
	k.issued[id] = &token.Verified{
		Principal: principal.Principal{User: g.User, Client: g.Client, Session: g.Session, Scopes: g.Scopes, Shown: principal.Token},
		ID:        "id-of-" + id, KeyID: "k1", IssuedAt: now.Unix(), Expires: expires.Unix(), Fingerprint: g.Fingerprint, Thumbprint: g.Thumbprint,
	}
	return token.Signed{Token: id, ID: "id-of-" + id, IssuedAt: now, Expires: expires}, nil
}

func (k *tokens) look(kind string, raw []byte) (*token.Verified, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	v := k.issued[string(raw)]
	switch {
	case v == nil || !strings.HasPrefix(string(raw), kind):
		return nil, fmt.Errorf("%w: not one of ours", token.ErrInvalid)
	case v.Expires <= k.clock.Now().Unix():
		return nil, token.ErrExpired
	}
	return v, nil
}

// get returns a token that was issued.
func (k *tokens) get(text string) *token.Verified {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.issued[text]
}

func (k *tokens) put(text string, v *token.Verified) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.issued[text] = v
}

// fail has all verifying end with err.
func (k *tokens) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

type signer struct{ *tokens }

func (s signer) Access(g token.Grant) (token.Signed, error) { return s.issue("access", g, s.access) }
func (s signer) Refresh(g token.Grant) (token.Signed, error) {
	return s.issue("refresh", g, s.tokens.refresh)
}

type verifier struct{ *tokens }

func (v verifier) Access(raw []byte) (*token.Verified, error)  { return v.look("access", raw) }
func (v verifier) Refresh(raw []byte) (*token.Verified, error) { return v.look("refresh", raw) }

// revocations is a mirror.
type revocations struct {
	mu      sync.Mutex
	entries map[string]revocation.Entry
	err     error
	cold    bool
}

func (r *revocations) Revoke(_ context.Context, entries ...revocation.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.entries[e.Key] = e
	}
	return r.err
}

func (r *revocations) Revoked(session, user string, issuedAt int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range []string{session, "user:" + user} {
		if e, there := r.entries[key]; there && (e.NotBefore == 0 || issuedAt < e.NotBefore) {
			return true
		}
	}
	return false
}

func (r *revocations) State() (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return 0, !r.cold
}

func (r *revocations) entry(key string) revocation.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[key]
}

// change has Revoke end with err, and the mirror know nothing yet.
func (r *revocations) change(err error, cold bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.cold = err, cold
}

type keySet struct{}

func (keySet) JWKS() []byte { return []byte(`{"keys":[]}`) }

// stand is a gateway with logins.
type stand struct {
	*gatewaytest.Gateway
	t        *testing.T
	clock    *clock.Fake
	accounts *accounts
	tokens   *tokens
	revoked  *revocations
	sessions *session.Sessions
	tickets  *ticket.Tickets
}

const start = 1_800_000_000 // unix seconds

// good is a password that follows the rules.
const good = "Correct-horse1!"

func scopes(list ...string) principal.Scopes {
	s, err := principal.NewScopes(list)
	if err != nil {
		panic(err)
	}
	return s
}

// newStand starts a gateway; change may change the options first.
func newStand(t *testing.T, change func(*login.Options)) *stand {
	t.Helper()
	return newStandOf(t, open, change)
}

// open is a gateway with a route of its own.
const open = "routes: {status: {match: {path: /status}, respond: {status: 200, body: ok}}}\n"

func newStandOf(t *testing.T, yaml string, change func(*login.Options)) *stand {
	t.Helper()
	fake := clock.NewFake(time.Unix(start, 0))
	s := &stand{
		t: t, clock: fake,
		accounts: &accounts{people: map[string]*person{
			"u1": {User: account.User{ID: "u1", Email: "ada@example.com", Scopes: scopes("courses", "vod"), Active: true}, password: good, code: "123456"},
			"u2": {User: account.User{ID: "u2", Email: "mfa@example.com", Scopes: scopes("courses"), Active: true, MFA: true}, password: good, code: "123456"},
		}},
		tokens:  &tokens{clock: fake, access: 15 * time.Minute, refresh: 168 * time.Hour, issued: map[string]*token.Verified{}},
		revoked: &revocations{entries: map[string]revocation.Entry{}},
	}
	s.sessions = session.New(session.Options{
		Store: session.NewMemory(session.DefaultMemory), Signer: signer{s.tokens}, Revocations: s.revoked,
		Lifetime: 2160 * time.Hour, Grace: time.Minute, Refresh: s.tokens.refresh, Leeway: 5 * time.Second, PerUser: 3,
		Clock: fake, Log: zerolog.Nop(),
	})
	s.tickets = ticket.New(ticket.Options{Store: ticket.NewMemory(10, fake), Timeout: time.Second, Clock: fake})
	o := login.Options{
		Accounts: s.accounts, Factors: s.accounts, Devices: s.accounts, Tokens: verifier{s.tokens}, Revocations: s.revoked,
		Sessions: s.sessions, Tickets: s.tickets, Keys: keySet{}, Key: []byte(strings.Repeat("k", 32)), Client: "first-party",
		FingerprintHeader: "X-Client-Fingerprint", Clock: fake, Log: zerolog.Nop(),
	}
	if change != nil {
		change(&o)
	}
	l, err := login.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Gateway = gatewaytest.RunOptions(t, yaml, gatewaytest.Options{BuiltIns: builtIns(l)})
	return s
}

// builtIns are the routes of logins as a program puts them into its table.
func builtIns(l *login.Login) (all []snapshot.BuiltIn) {
	for _, r := range l.Routes() {
		all = append(all, snapshot.BuiltIn{
			Name: r.Name, Match: router.Match{Paths: r.Paths, Methods: r.Methods}, Answer: r.Answer, BodyLimit: r.BodyLimit, Response: r.Response,
		})
	}
	return all
}

var sessionID = regexp.MustCompile(`("sessionId"|"id"):"[A-Za-z0-9_-]{22}"`)

// post sends a JSON body and returns the whole answer, without what differs from run to run.
func (s *stand) post(path, body string, fields ...string) string {
	s.t.Helper()
	fields = append(fields, fmt.Sprintf("Content-Length: %d", len(body)))
	if body != "" {
		fields = append(fields, "Content-Type: application/json")
	}
	return s.send("POST", path, body, fields...)
}

func (s *stand) send(method, path, body string, fields ...string) string {
	s.t.Helper()
	raw := method + " " + path + " HTTP/1.1\r\nHost: a\r\n"
	for _, f := range fields {
		raw += f + "\r\n"
	}
	return gatewaytest.Scrub(s.Do(raw + "\r\n" + body))
}

func bearer(token string) string { return "Authorization: Bearer " + token }

const loginBody = `{"email":"ada@example.com","password":"` + good + `"}`

// login logs a user in; n is the number of the pair that he gets.
func (s *stand) login(n int, fields ...string) {
	s.t.Helper()
	if got := s.post("/auth/login", loginBody, fields...); !strings.Contains(got, fmt.Sprintf(`"accessToken":"access-%d"`, n)) {
		s.t.Fatalf("logging in: %s", got)
	}
}

// same compares a whole answer; the session's id is scrubbed first.
func same(t *testing.T, name, got, want string) {
	t.Helper()
	got = strings.ReplaceAll(sessionID.ReplaceAllString(got, `$1:"<session>"`), "\r\n", "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// problem is the whole answer of a fault; more stands in its body behind the title.
func problem(status, code, title, head, more string) string {
	number, _, _ := strings.Cut(status, " ")
	body := `{"type":"https://suuupra.dev/faults/` + code + `","title":"` + title + `","status":` + number + `,"code":"` + code +
		`","error":"` + title + `"` + more + `,"correlationId":"<id>"}`
	length := len(body) - len("<id>") + 32
	return fmt.Sprintf("HTTP/1.1 %s\nContent-Type: application/problem+json\nContent-Length: %d\n%sX-Correlation-ID: <id>\n\n%s", status, length, head, body)
}

const (
	noStore    = "Cache-Control: no-store\n"
	challenge  = "Www-Authenticate: Bearer\n"
	badToken   = "Www-Authenticate: Bearer error=\"invalid_token\"\n"
	deviceLine = "Set-Cookie: __Secure-device=device-of-u1; Path=/auth; Max-Age=34560000; Secure; HttpOnly; SameSite=Strict\n"
)
