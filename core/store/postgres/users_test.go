package postgres_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/bcrypt"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/account/accounttest"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
)

func usersOf(t *testing.T, url string) *postgres.Users {
	t.Helper()
	join := "?"
	if strings.Contains(url, "?") {
		join = "&"
	}
	// Many tests at once share one server, and each has a pool.
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url + join + "pool_max_conns=3", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return postgres.NewUsers(db)
}

func TestUsers(t *testing.T) {
	accounttest.TestStore(t, func(t *testing.T) account.Store { return usersOf(t, testenv.Postgres(t)) })
}

// The tables refuse what the gateway would not write, whoever writes.
func TestI21_UsersRefuseOddIDs(t *testing.T) {
	t.Parallel()
	s := usersOf(t, testenv.Postgres(t))
	for _, id := range []string{"", "a b", "a:b", "é", strings.Repeat("a", 129)} {
		r := accounttest.User(t, "ann")
		r.ID = id
		if err := s.Insert(t.Context(), r); !errors.Is(err, account.ErrUnavailable) || strings.Contains(err.Error(), r.Hash.Reveal()) {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

const password = "Right-Pass1!"

func accounts(s account.Store) *account.Accounts {
	return account.New(account.Options{Store: s, Throttle: account.NewMemoryThrottle(clock.Real()), EncryptionKey: []byte(strings.Repeat("k", 32)),
		Passwords: account.NewPasswords(account.PasswordsOptions{}), Clock: clock.Real(), Log: zerolog.Nop()})
}

var home = netip.MustParseAddr("192.0.2.1")

func TestID4_PostgresRestartedMidLogin(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	a := accounts(usersOf(t, server.Database(t)))
	ann, err := a.Create(t.Context(), "ann@example.com", password, principal.Scopes{})
	if err != nil {
		t.Fatal(err)
	}
	login := func() error {
		u, err := a.Authenticate(t.Context(), account.Attempt{Email: ann.Email, Password: password, From: home, Device: a.Device(ann.ID)})
		if err == nil && u.ID != ann.ID {
			t.Errorf("logged in as %+v", u)
		}
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	for range 3 {
		if err := login(); !errors.Is(err, account.ErrUnavailable) || errors.Is(err, account.ErrCredentials) {
			t.Errorf("while it is away: %v", err)
		}
	}
	if err := a.SecondFactor(t.Context(), ann.ID, "123456", home); !errors.Is(err, account.ErrUnavailable) {
		t.Errorf("a code while it is away: %v", err)
	}
	server.Start()
	deadline := time.Now().Add(30 * time.Second)
	for err := login(); err != nil; err = login() {
		if !errors.Is(err, account.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatalf("after it came back: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Two gateways on one database: what one enrols, the other asks for, and a code is
// good at one of them.
func TestI13_TwoGatewaysOneDatabase(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	first, second := accounts(usersOf(t, url)), accounts(usersOf(t, url))
	ann, err := first.Create(t.Context(), "ann@example.com", password, principal.Scopes{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := first.Enrol(t.Context(), ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	code := func(at time.Time) string {
		c, err := totp.GenerateCode(e.Secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// Confirming with the code of the step before leaves the present one and the next.
	now := time.Now()
	recovery, err := second.Confirm(t.Context(), ann.ID, code(now.Add(-30*time.Second)))
	if err != nil || len(recovery) != 10 {
		t.Fatalf("%d recovery codes, %v", len(recovery), err)
	}
	u, err := first.Authenticate(t.Context(), account.Attempt{Email: ann.Email, Password: password, From: home})
	if err != nil || !u.MFA {
		t.Fatalf("%+v, %v", u, err)
	}
	if err := first.SecondFactor(t.Context(), ann.ID, code(now), home); err != nil {
		t.Fatal(err)
	}
	if err := second.SecondFactor(t.Context(), ann.ID, code(now), home); !errors.Is(err, account.ErrCode) {
		t.Errorf("the same code at the other gateway: %v", err)
	}
	if err := second.SecondFactor(t.Context(), ann.ID, recovery[3], home); err != nil {
		t.Error(err)
	}
	if err := first.SecondFactor(t.Context(), ann.ID, recovery[3], home); !errors.Is(err, account.ErrCode) {
		t.Errorf("the same recovery code at the other gateway: %v", err)
	}
}

func TestI12_BcryptIsUpgradedInTheDatabase(t *testing.T) {
	t.Parallel()
	s := usersOf(t, testenv.Postgres(t))
	a := accounts(s)
	old, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r := accounttest.User(t, "ann")
	r.Hash = setting.NewSecret(string(old))
	if err := s.Insert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := a.Authenticate(context.WithoutCancel(t.Context()), account.Attempt{Email: r.Email, Password: password, From: home}); err != nil {
			t.Fatal(err)
		}
		now, err := s.ByID(t.Context(), r.ID)
		if err != nil || !strings.HasPrefix(now.Hash.Reveal(), "$argon2id$v=19$m=32768,t=2,p=1$") {
			t.Errorf("stored as %.30q…, %v", now.Hash.Reveal(), err)
		}
	}
}
