package login_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/login"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/session"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/token"
)

// instance is a gateway with the real parts, which shares a PostgreSQL and a Redis
// with others.
type instance struct {
	*stand
	people  *account.Accounts
	tickets *ticket.Tickets
}

// must returns what a constructor made.
func must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}

// shared are the servers of some instances.
type shared struct {
	postgres *testenv.PostgresServer
	url      string
	redis    *testenv.RedisServer
}

func newShared(t *testing.T) shared {
	s := shared{postgres: testenv.NewPostgres(t), redis: testenv.NewRedis(t)}
	s.url = s.postgres.Database(t)
	return s
}

func (s shared) instance(t *testing.T, yaml string) *instance {
	t.Helper()
	const issuer, audience, leeway, accessLife, refreshLife = "https://api.example", "suuupra", 5 * time.Second, 15 * time.Minute, 168 * time.Hour
	ctx, log, real := t.Context(), zerolog.Nop(), clock.Real()
	set := meter.NewSet(time.Now)
	db := must(postgres.Open(ctx, postgres.Options{URL: s.url, Log: log}))
	t.Cleanup(db.Close)
	client := must(redis.Open(ctx, redis.Options{Addresses: []string{s.redis.Address()}, Log: log}))
	t.Cleanup(client.Close)
	key := []byte(strings.Repeat("e", 32))
	keys := must(token.OpenKeys(ctx, token.KeysOptions{Store: postgres.NewSigningKeys(db), EncryptionKey: key, PublishAhead: time.Hour, Longest: refreshLife, Clock: real, Log: log}))
	verifier := must(token.NewVerifier(token.VerifierOptions{Keys: keys, Issuer: issuer, Audiences: []string{audience}, Leeway: leeway, Clock: real, Log: log}))
	mirror := must(revocation.New(revocation.Options{Durable: postgres.NewRevocations(db), Push: redis.NewRevocations(client), Clock: real, Meter: set, Log: log}))
	people := account.New(account.Options{Store: postgres.NewUsers(db), Throttle: redis.NewThrottle(client, account.NewMemoryThrottle(real)),
		Passwords: account.NewPasswords(account.PasswordsOptions{}), EncryptionKey: key, Clock: real, Log: log})
	sessions := session.New(session.Options{
		Store: postgres.NewSessions(db), Revocations: mirror, Lifetime: 2160 * time.Hour, Grace: time.Minute, Refresh: refreshLife, Leeway: leeway, PerUser: 50,
		Signer: token.NewSigner(token.SignerOptions{Keys: keys, Issuer: issuer, Audience: audience, Access: accessLife, Refresh: refreshLife, Clock: real}),
		Clock:  real, Log: log,
	})
	tickets := ticket.New(ticket.Options{Store: redis.NewTickets(client), Timeout: time.Second, Clock: real})
	l := must(login.New(login.Options{
		Accounts: people, Factors: people, Devices: people, Tokens: verifier, Revocations: mirror, Sessions: sessions, Tickets: tickets, Keys: keys,
		Key: key, Client: "first-party", FingerprintHeader: "X-Client-Fingerprint", Clock: real, Log: log,
	}))
	running, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	for _, run := range []func(context.Context){keys.Run, verifier.Run, mirror.Run, sessions.Run} {
		wait.Go(func() { run(running) })
	}
	t.Cleanup(func() { stop(); wait.Wait() })
	i := &instance{stand: &stand{t: t}, people: people, tickets: tickets}
	i.Gateway = gatewaytest.RunOptions(t, yaml, gatewaytest.Options{BuiltIns: builtIns(l)})
	i.eventually("the revocations are known", func() bool { _, ready := mirror.State(); return ready })
	return i
}

// tokensOf are those of an answer that grants some.
type tokensOf struct{ AccessToken, RefreshToken, SessionID, Ticket string }

// grants reads an answer, which must have that status.
func (s *stand) grants(answer string, status int) (g tokensOf) {
	s.t.Helper()
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", status)) {
		s.t.Fatalf("want %d: %s", status, answer)
	}
	if err := json.Unmarshal([]byte(body), &g); body != "" && err != nil {
		s.t.Fatalf("%v: %s", err, answer)
	}
	return g
}

// is says what the answer must begin with, and which code it has.
func (s *stand) is(name, answer string, status int, code string) {
	s.t.Helper()
	if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", status)) || !strings.Contains(answer, `"code":"`+code+`"`) {
		s.t.Errorf("%s: want %d %s: %s", name, status, code, answer)
	}
}

func (s *stand) eventually(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("in vain: " + what)
		}
	}
}

func TestID5_InstancesShareSessions(t *testing.T) {
	t.Parallel()
	servers := newShared(t)
	a, b := servers.instance(t, open), servers.instance(t, open)
	user := must(a.people.Create(t.Context(), "ada@example.com", good, scopes("courses", "vod")))
	list := func(at *instance, access string) string { return at.send("GET", "/auth/sessions", "", bearer(access)) }

	g := a.grants(a.post("/auth/login", loginBody), 200)
	b.grants(list(b, g.AccessToken), 200)
	next := b.grants(b.post("/auth/refresh", "", bearer(g.RefreshToken)), 200)
	if again := a.grants(a.post("/auth/refresh", "", bearer(g.RefreshToken)), 200); again != next {
		t.Errorf("the grace gives another pair at another instance:\n%+v\n%+v", again, next)
	}
	// Tickets are good at any instance, once.
	issued := a.grants(a.post("/auth/tickets", `{"path":"/vod/1"}`, bearer(g.AccessToken)), 200).Ticket
	if v, err := b.tickets.Redeem([]byte(issued), []byte("/vod/1")); err != nil || v.Principal.User != user.ID || v.Principal.Scopes.String() != "courses vod" {
		t.Errorf("%+v %v", v, err)
	}
	if v, err := a.tickets.Redeem([]byte(issued), []byte("/vod/1")); err == nil {
		t.Errorf("a ticket is good twice: %+v", v)
	}
	// The successor is seen at one instance, the parent is over at the other.
	b.grants(list(b, next.AccessToken), 200)
	a.eventually("reuse is found out", func() bool {
		return strings.Contains(a.post("/auth/refresh", "", bearer(g.RefreshToken)), `"code":"refresh_reused"`)
	})
	b.is("the family", b.post("/auth/refresh", "", bearer(next.RefreshToken)), 401, "session_revoked")
	b.eventually("the access token is refused", func() bool {
		return strings.Contains(list(b, next.AccessToken), `"code":"token_revoked"`)
	})
	// Logging out at one instance is felt at the other.
	g = a.grants(a.post("/auth/login", loginBody), 200)
	b.grants(list(b, g.AccessToken), 200)
	begun := time.Now()
	a.grants(a.post("/auth/logout", "", bearer(g.RefreshToken)), 204)
	b.eventually("the logout is felt", func() bool { return strings.Contains(list(b, g.AccessToken), `"code":"token_revoked"`) })
	t.Logf("a logout was felt at the other instance after %s", time.Since(begun))
	// A disabled user is out at his next refresh.
	g = a.grants(a.post("/auth/login", loginBody), 200)
	must(b.people.Disable(t.Context(), user.ID))
	a.is("disabled", a.post("/auth/refresh", "", bearer(g.RefreshToken)), 401, "session_revoked")
	a.is("disabled", a.post("/auth/login", loginBody), 401, "invalid_credentials")
}

func TestI8_FiftyCallersOneTokenTwoInstances(t *testing.T) {
	t.Parallel()
	servers := newShared(t)
	at := []*instance{servers.instance(t, open), servers.instance(t, open)}
	must(at[0].people.Create(t.Context(), "ada@example.com", good, scopes("courses")))
	g := at[0].grants(at[0].post("/auth/login", loginBody), 200)
	const callers = 50
	answers := make([]string, callers)
	start := make(chan struct{})
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			<-start
			// A machine that is too busy answers 503, which says to come again.
			for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); {
				answers[i] = at[i%2].post("/auth/refresh", "", bearer(g.RefreshToken))
				if !strings.HasPrefix(answers[i], "HTTP/1.1 503 ") {
					return
				}
			}
		})
	}
	close(start)
	wait.Wait()
	pairs := map[tokensOf]int{}
	for _, answer := range answers {
		pairs[at[0].grants(answer, 200)]++
	}
	if len(pairs) != 1 {
		t.Fatalf("%d pairs were issued, want one", len(pairs))
	}
	for next := range pairs {
		at[1].grants(at[1].post("/auth/refresh", "", bearer(next.RefreshToken)), 200)
	}
	at[0].is("the parent", at[0].post("/auth/refresh", "", bearer(g.RefreshToken)), 401, "refresh_reused")
}

func TestI13_EnrolmentFromEndToEnd(t *testing.T) {
	t.Parallel()
	servers := newShared(t)
	a := servers.instance(t, open)
	must(a.people.Create(t.Context(), "ada@example.com", good, scopes("courses")))
	here, there := a.grants(a.post("/auth/login", loginBody), 200), a.grants(a.post("/auth/login", loginBody), 200)
	answer := a.post("/auth/mfa/enrol", `{"password":"`+good+`"}`, bearer(here.AccessToken))
	_, secret, _ := strings.Cut(answer, `"secret":"`)
	secret, _, _ = strings.Cut(secret, `"`)
	if !strings.Contains(answer, `"qrCode":"data:image/png;base64,iVBOR`) || !strings.Contains(answer, `"otpauthUrl":"otpauth://totp/`) {
		t.Fatal(answer)
	}
	code := func(steps int) string {
		return must(totp.GenerateCode(secret, time.Now().Add(time.Duration(steps)*30*time.Second)))
	}
	answer = a.post("/auth/mfa/verify", `{"code":"`+code(-1)+`"}`, bearer(here.AccessToken))
	_, recovery, _ := strings.Cut(answer, `"recoveryCodes":["`)
	recovery, _, _ = strings.Cut(recovery, `"`)
	a.is("the other session has ended", a.post("/auth/refresh", "", bearer(there.RefreshToken)), 401, "session_revoked")
	here = a.grants(a.post("/auth/refresh", "", bearer(here.RefreshToken)), 200)
	waiting := a.grants(a.post("/auth/login", loginBody), 401)
	body := `{"ticket":"` + waiting.Ticket + `","code":"` + code(0) + `"}`
	a.grants(a.post("/auth/mfa/challenge", body), 200)
	a.is("the code once more", a.post("/auth/mfa/challenge", body), 401, "invalid_credentials")
	a.grants(a.post("/auth/mfa/challenge", `{"ticket":"`+waiting.Ticket+`","code":"`+recovery+`"}`), 200)
	a.grants(a.post("/auth/mfa/disable", `{"code":"`+code(1)+`"}`, bearer(here.AccessToken)), 204)
	next := a.grants(a.post("/auth/login", loginBody), 200)
	changed := a.grants(a.post("/auth/password", `{"currentPassword":"`+good+`","newPassword":"Better-horse1!"}`, bearer(next.AccessToken)), 200)
	a.grants(a.send("GET", "/auth/sessions", "", bearer(changed.AccessToken)), 200)
	a.is("the old session", a.post("/auth/refresh", "", bearer(next.RefreshToken)), 401, "session_revoked")
}

func TestID5_PostgresGoesAndComes(t *testing.T) {
	t.Parallel()
	servers := newShared(t)
	a := servers.instance(t, open)
	must(a.people.Create(t.Context(), "ada@example.com", good, scopes("courses")))
	g := a.grants(a.post("/auth/login", loginBody), 200)
	servers.postgres.Stop()
	for name, answer := range map[string]string{
		"login": a.post("/auth/login", loginBody), "refresh": a.post("/auth/refresh", "", bearer(g.RefreshToken)),
		"logout": a.post("/auth/logout", "", bearer(g.RefreshToken)), "list": a.send("GET", "/auth/sessions", "", bearer(g.AccessToken)),
	} {
		if name == "list" && strings.Contains(answer, `"code":"token_revoked"`) {
			continue // the logout is known here, though nobody may be told that it is done
		}
		a.is(name, answer, 503, "store_unavailable")
		if !strings.Contains(answer, "\r\nRetry-After: 1\r\n") {
			t.Error(answer)
		}
	}
	servers.postgres.Start()
	a.eventually("logging out is done", func() bool {
		return strings.HasPrefix(a.post("/auth/logout", "", bearer(g.RefreshToken)), "HTTP/1.1 204 ")
	})
	a.grants(a.post("/auth/login", loginBody), 200)
}
