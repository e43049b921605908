package account_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *buffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *buffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// workbench is accounts with all that a test may look at.
type workbench struct {
	*account.Accounts
	t         *testing.T
	store     account.Store
	passwords *account.Passwords
	clock     *clock.Fake
	log       *buffer
	meter     *meter.Set
}

func bench(t *testing.T) *workbench { return benchOn(t, account.NewMemory()) }

func benchOn(t *testing.T, s account.Store) *workbench { return benchWith(t, s, account.Limits{}) }

func benchWith(t *testing.T, s account.Store, l account.Limits) *workbench {
	b := &workbench{t: t, store: s, clock: clock.NewFake(time.Unix(1_800_000_000, 0)), log: &buffer{}, meter: meter.NewSet(time.Now)}
	b.passwords = account.NewPasswords(account.PasswordsOptions{Meter: b.meter}).Cheaper()
	b.passwords.WithPool(2, 1000, time.Minute)
	b.Accounts = account.New(account.Options{Store: s, Throttle: account.NewMemoryThrottle(b.clock), Passwords: b.passwords,
		EncryptionKey: bytes.Repeat([]byte("k"), 32), Limits: l, Meter: b.meter, Clock: b.clock, Log: zerolog.New(b.log)})
	return b
}

func (b *workbench) advance(d time.Duration) { b.clock.Advance(d) }

func (b *workbench) create(name string) account.User {
	b.t.Helper()
	u, err := b.Create(b.t.Context(), name+"@example.com", password, principal.Scopes{})
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func (b *workbench) login(email, password string, from netip.Addr) error {
	_, err := b.Authenticate(b.t.Context(), account.Attempt{Email: email, Password: password, From: from})
	return err
}

// code is the user's app at a time.
func (b *workbench) code(e account.Enrolment, at time.Duration) string {
	b.t.Helper()
	c, err := totp.GenerateCode(e.Secret, b.clock.Now().Add(at))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// enrol makes a user with a second factor, and steps on to one that is not used up.
func (b *workbench) enrol(name string) (account.User, account.Enrolment, []string) {
	b.t.Helper()
	u := b.create(name)
	e, err := b.Enrol(b.t.Context(), u.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	recovery, err := b.Confirm(b.t.Context(), u.ID, b.code(e, 0))
	if err != nil {
		b.t.Fatal(err)
	}
	b.advance(90 * time.Second)
	return u, e, recovery
}

// waits says how long the error tells to wait; 0 for other errors.
func waits(err error) time.Duration {
	var throttled *account.Throttled
	if errors.As(err, &throttled) {
		return throttled.After
	}
	return 0
}

func (b *workbench) wants(what string, err, want error) {
	b.t.Helper()
	if !errors.Is(err, want) {
		b.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (b *workbench) metric(line string) {
	b.t.Helper()
	var out bytes.Buffer
	b.meter.WritePrometheus(&out)
	if !strings.Contains(out.String(), line+"\n") {
		b.t.Errorf("metrics lack %q", line)
	}
}

func TestID4_Authenticate(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("Ann")
	if ann.Email != "ann@example.com" || !ann.Active || ann.MFA || !regexp.MustCompile(`^[0-9A-Za-z]{22}$`).MatchString(ann.ID) {
		t.Errorf("made %+v", ann)
	}
	got, err := b.Authenticate(t.Context(), account.Attempt{Email: " ANN@Example.com", Password: password, From: home})
	if err != nil || got.ID != ann.ID {
		t.Errorf("%+v, %v", got, err)
	}
	for what, at := range map[string]account.Attempt{
		"wrong":   {Email: ann.Email, Password: password + "x"},
		"empty":   {Email: ann.Email},
		"unknown": {Email: "bob@example.com", Password: password},
		"no user": {Email: "\x00", Password: password},
		"huge":    {Email: strings.Repeat("a", 1<<20), Password: strings.Repeat("b", 1<<20)},
	} {
		got, err := b.Authenticate(t.Context(), at)
		if !errors.Is(err, account.ErrCredentials) || err.Error() != account.ErrCredentials.Error() || got.ID != "" {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	b.metric(`gateway_logins_total{outcome="success"} 1`)
	b.metric(`gateway_logins_total{outcome="refused"} 5`)
	b.metric(`gateway_passwords_hashing 0`)
	b.metric(`gateway_passwords_waiting 0`)
}

func TestID4_DisabledUsersCantLogIn(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	if u, err := b.Disable(t.Context(), ann.Email); err != nil || u.Active || u.ID != ann.ID {
		t.Fatalf("%+v, %v", u, err)
	}
	b.wants("login", b.login(ann.Email, password, home), account.ErrCredentials)
	b.wants("check", b.CheckPassword(t.Context(), ann.ID, password, home), account.ErrCredentials)
	b.wants("change", b.ChangePassword(t.Context(), ann.ID, password, "Other-Pass1!"), account.ErrCredentials)
	_, err := b.Enrol(t.Context(), ann.ID)
	b.wants("enrol", err, account.ErrCredentials)
	b.wants("code", b.SecondFactor(t.Context(), ann.ID, "123456", home), account.ErrCode)
	if u, err := b.Enable(t.Context(), ann.ID); err != nil || !u.Active {
		t.Fatalf("%+v, %v", u, err)
	}
	b.wants("login again", b.login(ann.Email, password, home), nil)
}

func TestID4_PasswordsChange(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	const second, third = "Second-Pass1!", "Third-Pass1!"
	b.wants("a weak one", b.ChangePassword(t.Context(), ann.ID, password, "weak"), account.ErrPassword)
	b.wants("not the old one", b.ChangePassword(t.Context(), ann.ID, "wrong", second), account.ErrCredentials)
	b.wants("nobody", b.ChangePassword(t.Context(), "nobody", password, second), account.ErrCredentials)
	b.wants("right", b.ChangePassword(t.Context(), ann.ID, password, second), nil)
	b.wants("the old one", b.CheckPassword(t.Context(), ann.ID, password, home), account.ErrCredentials)
	b.wants("the new one", b.CheckPassword(t.Context(), ann.ID, second, home), nil)
	_, err := b.SetPassword(t.Context(), ann.Email, "weak")
	b.wants("by an operator, weak", err, account.ErrPassword)
	u, err := b.SetPassword(t.Context(), ann.Email, third)
	if err != nil || u.ID != ann.ID {
		t.Errorf("%+v, %v", u, err)
	}
	b.wants("login", b.login(ann.Email, third, home), nil)
}

func TestID4_Operators(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, bob := b.create("ann"), b.create("bob")
	_, err := b.Create(t.Context(), "ANN@example.com", password, principal.Scopes{})
	b.wants("twice", err, account.ErrExists)
	_, err = b.Create(t.Context(), "no e-mail", password, principal.Scopes{})
	b.wants("no e-mail", err, account.ErrEmail)
	_, err = b.Create(t.Context(), "c@example.com", "weak", principal.Scopes{})
	b.wants("weak", err, account.ErrPassword)
	for _, who := range []string{"nobody", "nobody@example.com", "no@e@mail", ""} {
		for what, f := range map[string]func() error{
			"find":    func() error { _, err := b.Find(t.Context(), who); return err },
			"disable": func() error { _, err := b.Disable(t.Context(), who); return err },
			"passwd":  func() error { _, err := b.SetPassword(t.Context(), who, password); return err },
			"reset":   func() error { _, err := b.ResetMFA(t.Context(), who); return err },
		} {
			b.wants(what+" "+who, f(), account.ErrNoUser)
		}
	}
	if u, err := b.Find(t.Context(), "Bob@example.com"); err != nil || u.ID != bob.ID {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := b.User(t.Context(), ann.ID); err != nil || u.Email != ann.Email {
		t.Errorf("%+v, %v", u, err)
	}
	for i := range 1100 { // more than are read at once
		r := account.Record{User: account.User{ID: fmt.Sprint("x", i), Email: fmt.Sprintf("x%d@example.com", i)}}
		if err := b.store.Insert(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.List(t.Context())
	if err != nil || len(all) != 1102 {
		t.Errorf("%d users, %v", len(all), err)
	}
}

func TestI13_EnrolConfirmDisable(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	_, err := b.Confirm(t.Context(), ann.ID, "123456")
	b.wants("nothing to confirm", err, account.ErrNotEnrolled)
	b.wants("nothing to disable", b.DisableMFA(t.Context(), ann.ID, "123456"), account.ErrNotEnrolled)
	first, err := b.Enrol(t.Context(), ann.ID)
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Enrol(t.Context(), ann.ID) // in place of the first
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(e.PNG))
	u, err2 := url.Parse(e.URL)
	if err := errors.Join(err, err2); err != nil || picture.Bounds().Dx() != 256 {
		t.Fatal(err)
	}
	want := url.Values{"secret": {e.Secret}, "issuer": {"Suuupra Gateway"}, "period": {"30"}, "algorithm": {"SHA1"}, "digits": {"6"}}
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Suuupra Gateway:ann@example.com" || u.Query().Encode() != want.Encode() || len(e.Secret) != 32 {
		t.Errorf("%s", u.Scheme+u.Host+u.Path)
	}
	got, err := b.Authenticate(t.Context(), account.Attempt{Email: ann.Email, Password: password, From: home})
	if err != nil || got.MFA {
		t.Errorf("not in force yet: %+v, %v", got, err)
	}
	b.wants("a code of what is not in force", b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), home), account.ErrCode)
	_, err = b.Confirm(t.Context(), ann.ID, b.code(first, 0))
	b.wants("the replaced secret", err, account.ErrCode)
	b.advance(time.Hour)
	recovery, err := b.Confirm(t.Context(), ann.ID, b.code(e, 0))
	if err != nil || len(recovery) != 10 || !regexp.MustCompile(`^[a-z2-7]{4}(-[a-z2-7]{4}){3}$`).MatchString(recovery[0]) {
		t.Fatalf("%d codes, %v", len(recovery), err)
	}
	_, err = b.Enrol(t.Context(), ann.ID)
	b.wants("enrol again", err, account.ErrEnrolled)
	_, err = b.Confirm(t.Context(), ann.ID, b.code(e, 30*time.Second))
	b.wants("confirm again", err, account.ErrEnrolled)
	b.wants("the code that confirmed", b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), home), account.ErrCode)
	b.wants("disable by a wrong code", b.DisableMFA(t.Context(), ann.ID, "000000"), account.ErrCode)
	b.wants("disable", b.DisableMFA(t.Context(), ann.ID, recovery[9]), nil)
	got, err = b.Authenticate(t.Context(), account.Attempt{Email: ann.Email, Password: password, From: home})
	if err != nil || got.MFA {
		t.Errorf("disabled: %+v, %v", got, err)
	}
}

func TestI13_Codes(t *testing.T) {
	t.Parallel()
	b := benchWith(t, account.NewMemory(), account.Limits{PerAccount: account.Rate{Attempts: 1000, Window: time.Hour}})
	ann, e, recovery := b.enrol("ann")
	i := 0
	for _, c := range []struct {
		what, code string
		want       error
	}{
		{"two steps before", b.code(e, -60*time.Second), account.ErrCode},
		{"two steps ahead", b.code(e, 60*time.Second), account.ErrCode},
		{"a step before", b.code(e, -30*time.Second), nil},
		{"the same", b.code(e, -30*time.Second), account.ErrCode},
		{"a step ahead", b.code(e, 30*time.Second), nil},
		{"now, which is before that", b.code(e, 0), account.ErrCode},
		{"a space", " " + b.code(e, 0), account.ErrCode},
		{"empty", "", account.ErrCode},
		{"letters", "abcdef", account.ErrCode},
		{"other digits", "１２３４５６", account.ErrCode},
		{"huge", strings.Repeat("1", 1<<20), account.ErrCode},
		{"a recovery code", recovery[0], nil},
		{"the same recovery code", recovery[0], account.ErrCode},
		{"typed otherwise", strings.ToUpper(strings.ReplaceAll(recovery[1], "-", " ")), nil},
		{"bare", strings.ReplaceAll(recovery[2], "-", ""), nil},
		{"none of ours", "aaaa-aaaa-aaaa-aaaa", account.ErrCode},
		{"half a recovery code", recovery[3][:9], account.ErrCode},
	} {
		i++
		b.wants(c.what, b.SecondFactor(t.Context(), ann.ID, c.code, address(i)), c.want)
	}
	b.wants("nobody", b.SecondFactor(t.Context(), "nobody", recovery[4], home), account.ErrCode)
	bob, _, _ := b.enrol("bob")
	b.wants("another's recovery code", b.SecondFactor(t.Context(), bob.ID, recovery[4], home), account.ErrCode)
}

func TestI13_ResetMFA(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, e, recovery := b.enrol("ann")
	if u, err := b.ResetMFA(t.Context(), ann.Email); err != nil || u.MFA {
		t.Fatalf("%+v, %v", u, err)
	}
	b.wants("a code", b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), home), account.ErrCode)
	b.wants("a recovery code", b.SecondFactor(t.Context(), ann.ID, recovery[0], home), account.ErrCode)
	if u, err := b.User(t.Context(), ann.ID); err != nil || u.MFA {
		t.Errorf("%+v, %v", u, err)
	}
}

// Whoever can write the table can't give a user a secret that he knows.
func TestI13_SecretsAreBoundToTheirUser(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, bob := b.create("ann"), b.create("bob")
	e, err := b.Enrol(t.Context(), bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := b.store.ByID(t.Context(), bob.ID)
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(e.Secret)
	for _, sealed := range [][]byte{rec.Factor.Sealed, b.Seal(bob.ID, raw), {1}, {0}, append([]byte{0}, raw...), rec.Factor.Sealed[:20]} {
		if bytes.Contains(sealed[1:], raw) && sealed[0] != 0 {
			t.Error("the secret is stored in the clear")
		}
		if err := b.store.Remove(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
		if err := b.store.Enrol(t.Context(), ann.ID, sealed); err != nil {
			t.Fatal(err)
		}
		_, err = b.Confirm(t.Context(), ann.ID, b.code(e, 0))
		b.wants("another's secret", err, account.ErrNotEnrolled)
		if err := b.store.Confirm(t.Context(), ann.ID, account.Confirmation{Sealed: sealed}); err != nil {
			t.Fatal(err)
		}
		b.wants("another's code", b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), home), account.ErrCode)
		b.advance(time.Hour)
	}
	if !strings.Contains(b.log.String(), "sealed with another key, or for another user") || strings.Contains(b.log.String(), e.Secret) {
		t.Errorf("the log tells %s", b.log)
	}
}

func TestI13_OneCodeLetsOneIn(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, e, _ := b.enrol("ann")
	code := b.code(e, 0)
	var in atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			u, err := b.Authenticate(t.Context(), account.Attempt{Email: ann.Email, Password: password, From: address(i)})
			if err == nil && u.MFA {
				err = b.SecondFactor(t.Context(), u.ID, code, address(i))
			}
			switch {
			case err == nil:
				in.Add(1)
			case !errors.Is(err, account.ErrCode) && waits(err) == 0:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if in.Load() != 1 {
		t.Errorf("%d were let in", in.Load())
	}
}

func TestID6_UsersOfTheConfigurationAreFixed(t *testing.T) {
	t.Parallel()
	const secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	scopes, err := principal.NewScopes([]string{"vod"})
	if err != nil {
		t.Fatal(err)
	}
	users := []account.Listed{
		{Email: "Ann@example.com", Hash: setting.NewSecret(bcryptOf(t, password)), Scopes: scopes},
		{Email: "bob@example.com", Hash: setting.NewSecret(argonOf(password, 64, 1, 1)), TOTP: setting.NewSecret("jbsw y3dp ehpk 3pxp jbsw y3dp ehpk 3pxp")},
	}
	store, err := account.NewFixed(users)
	if err != nil {
		t.Fatal(err)
	}
	b := benchOn(t, store)
	ann, err := b.Authenticate(t.Context(), account.Attempt{Email: "ann@example.com", Password: password, From: home})
	if err != nil || ann.MFA || ann.Scopes.String() != "vod" || !regexp.MustCompile(`^[0-9A-Za-z_-]{22}$`).MatchString(ann.ID) {
		t.Fatalf("%+v, %v", ann, err)
	}
	again, err := account.NewFixed(users)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := again.ByID(t.Context(), ann.ID); err != nil || r.Email != "ann@example.com" {
		t.Errorf("after a restart the id is another's: %v, %v", r, err)
	}
	bob, err := b.Authenticate(t.Context(), account.Attempt{Email: "bob@example.com", Password: password, From: home})
	if err != nil || !bob.MFA {
		t.Fatalf("%+v, %v", bob, err)
	}
	code := b.code(account.Enrolment{Secret: secret}, 0)
	b.wants("a code", b.SecondFactor(t.Context(), bob.ID, code, home), nil)
	b.wants("the same code", b.SecondFactor(t.Context(), bob.ID, code, home), account.ErrCode)
	if changed := store.Replace(again); len(changed) > 0 {
		t.Errorf("%q are others in the same configuration", changed)
	}
	b.wants("the same code after a reload", b.SecondFactor(t.Context(), bob.ID, code, home), account.ErrCode)
	ctx := t.Context()
	for what, f := range map[string]func() error{
		"create":  func() error { _, err := b.Create(ctx, "c@example.com", password, scopes); return err },
		"disable": func() error { _, err := b.Disable(ctx, ann.ID); return err },
		"passwd":  func() error { _, err := b.SetPassword(ctx, ann.ID, "Other-Pass1!"); return err },
		"reset":   func() error { _, err := b.ResetMFA(ctx, bob.Email); return err },
		"change":  func() error { return b.ChangePassword(ctx, ann.ID, password, "Other-Pass1!") },
		"enrol":   func() error { _, err := b.Enrol(ctx, ann.ID); return err },
		"confirm": func() error { _, err := b.Confirm(ctx, ann.ID, code); return err },
		"off":     func() error { return b.DisableMFA(ctx, bob.ID, code) },
		"insert":  func() error { return store.Insert(ctx, account.Record{}) },
		"set":     func() error { return store.SetPassword(ctx, ann.ID, setting.Secret{}, setting.Secret{}) },
		"keep":    func() error { return store.Enrol(ctx, ann.ID, nil) },
		"force":   func() error { return store.Confirm(ctx, ann.ID, account.Confirmation{}) },
	} {
		b.wants(what, f(), account.ErrFixed)
	}
	if all, err := b.List(ctx); err != nil || len(all) != 2 || strings.Contains(b.log.String(), "old way") {
		t.Errorf("%d users, %v, %s", len(all), err, b.log)
	}
	for what, change := range map[string]func(*account.Listed){
		"another second factor": func(l *account.Listed) { l.TOTP = setting.NewSecret("KBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP") },
		"another password":      func(l *account.Listed) { l.Hash = setting.NewSecret(argonOf("Other-Pass1!", 64, 1, 1)) },
		"another user":          func(l *account.Listed) { l.Email = "cat@example.com" },
	} {
		one, err := account.NewFixed(users[1:])
		if err != nil {
			t.Fatal(err)
		}
		next := users[1]
		change(&next)
		two, err := account.NewFixed([]account.Listed{next})
		if err != nil {
			t.Fatal(err)
		}
		if changed := one.Replace(two); len(changed) != 1 || changed[0] != bob.ID {
			t.Errorf("%s: %q must prove who they are, want bob", what, changed)
		}
	}
}

func TestID6_UsersThatCantBeListed(t *testing.T) {
	t.Parallel()
	hash, totp := setting.NewSecret(argonOf(password, 64, 1, 1)), setting.NewSecret("JBSWY3DPEHPK3PXP")
	for want, users := range map[string][]account.Listed{
		`user "ann": not an e-mail`:                      {{Email: "ann", Hash: hash}},
		`user "a@b.c": the stored password hash`:         {{Email: "a@b.c", Hash: setting.NewSecret("S3cret!pass")}},
		`user "a@b.c": a TOTP secret is base32`:          {{Email: "a@b.c", Hash: hash, TOTP: setting.NewSecret("s3cret!!")}},
		`user "A@b.c": a user with this e-mail exists`:   {{Email: "a@b.c", Hash: hash, TOTP: totp}, {Email: "A@b.c", Hash: hash}},
		`user "c@b.c": a TOTP secret is base32 of at le`: {{Email: "c@b.c", Hash: hash, TOTP: setting.NewSecret("JBSWY3DP")}},
	} {
		_, err := account.NewFixed(users)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "s3cret") {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// broken is a store that can't be reached.
type broken struct{ account.Store }

func (broken) ByEmail(context.Context, string) (account.Record, error) {
	return account.Record{}, account.ErrUnavailable
}

func (broken) ByID(context.Context, string) (account.Record, error) {
	return account.Record{}, account.ErrUnavailable
}

func (broken) List(context.Context, string, int) ([]account.User, error) {
	return nil, account.ErrUnavailable
}

func TestID4_AStoreThatIsAway(t *testing.T) {
	t.Parallel()
	b := benchOn(t, broken{account.NewMemory()})
	b.wants("login", b.login("ann@example.com", password, home), account.ErrUnavailable)
	b.wants("known device", func() error {
		_, err := b.Authenticate(t.Context(), account.Attempt{Email: "ann@example.com", Device: b.Device("x")})
		return err
	}(), account.ErrUnavailable)
	b.wants("code", b.SecondFactor(t.Context(), "x", "123456", home), account.ErrUnavailable)
	b.wants("check", b.CheckPassword(t.Context(), "x", password, home), account.ErrUnavailable)
	b.wants("change", b.ChangePassword(t.Context(), "x", password, "Other-Pass1!"), account.ErrUnavailable)
	_, err := b.List(t.Context())
	b.wants("list", err, account.ErrUnavailable)
	_, err = b.Find(t.Context(), "a@b.c")
	b.wants("find", err, account.ErrUnavailable)
	b.metric(`gateway_logins_total{outcome="unavailable"} 3`)
}

func TestI12_BusyIsToldApart(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	b.passwords.WithPool(1, 0, time.Minute)
	leave := b.passwords.Occupy(1)
	b.wants("login", b.login(ann.Email, password, home), account.ErrBusy)
	b.wants("unknown", b.login("bob@example.com", password, home), account.ErrBusy)
	b.wants("change", b.ChangePassword(t.Context(), ann.ID, password, "Other-Pass1!"), account.ErrBusy)
	_, err := b.Create(t.Context(), "c@example.com", password, principal.Scopes{})
	b.wants("create", err, account.ErrBusy)
	_, err = b.SetPassword(t.Context(), ann.ID, password)
	b.wants("set", err, account.ErrBusy)
	b.metric(`gateway_logins_total{outcome="busy"} 2`)
	leave()
	b.wants("later", b.login(ann.Email, password, home), nil)
}

// readOnly is a store that takes no changes now, as a database that is a replica.
type readOnly struct{ account.Store }

func (readOnly) SetPassword(context.Context, string, setting.Secret, setting.Secret) error {
	return account.ErrUnavailable
}

func (readOnly) Enrol(context.Context, string, []byte) error { return account.ErrUnavailable }

func (readOnly) Remove(context.Context, string) error { return account.ErrUnavailable }

func (readOnly) SetActive(context.Context, string, bool) error { return account.ErrUnavailable }

// An upgrade that fails is no reason to refuse; a change that was asked for is told.
func TestID4_AStoreThatTakesNoChanges(t *testing.T) {
	t.Parallel()
	s := account.NewMemory()
	login := logins(t, s, "ann", bcryptOf(t, password))
	b := benchOn(t, readOnly{s})
	b.wants("login", login(b.Accounts, password), nil)
	if log := b.log.String(); !strings.Contains(log, "still stored in an old way") || strings.Contains(log, password) {
		t.Errorf("the log tells %s", log)
	}
	b.wants("change", b.ChangePassword(t.Context(), "id-ann", password, "Other-Pass1!"), account.ErrUnavailable)
	_, err := b.Enrol(t.Context(), "id-ann")
	b.wants("enrol", err, account.ErrUnavailable)
	_, err = b.ResetMFA(t.Context(), "id-ann")
	b.wants("reset", err, account.ErrUnavailable)
	_, err = b.Disable(t.Context(), "id-ann")
	b.wants("disable", err, account.ErrUnavailable)
}

func TestI17_AShortEncryptionKeyIsABug(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a key of 31 bytes was taken")
		}
	}()
	account.New(account.Options{Store: account.NewMemory(), EncryptionKey: make([]byte, 31), Clock: clock.Real()})
}
