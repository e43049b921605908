package account_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/account/accounttest"
	"github.com/suuupra/gateway/core/setting"
)

const password = "Right-Pass1!"

func argonOf(password string, m, t uint32, p uint8) string {
	salt := []byte("0123456789abcdef")
	key := argon2.IDKey([]byte(password), salt, t, m, p, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", m, t, p, b64.EncodeToString(salt), b64.EncodeToString(key))
}

func bcryptOf(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func TestI12_NewHashes(t *testing.T) {
	t.Parallel()
	p := account.NewPasswords(account.PasswordsOptions{})
	first, err1 := p.Hash(t.Context(), password)
	second, err2 := p.Hash(t.Context(), password)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(first.Reveal(), "$")
	if len(parts) != 6 || strings.Join(parts[:4], "$") != "$argon2id$v=19$m=32768,t=2,p=1" || first.Reveal() == second.Reveal() {
		t.Fatalf("hashes %q and %q", first.Reveal(), second.Reveal())
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err := errors.Join(err1, err2); err != nil || len(salt) != 16 || len(key) != 32 {
		t.Errorf("salt of %d, key of %d bytes, %v", len(salt), len(key), err)
	}
	if fmt.Sprint(first) != setting.Masked {
		t.Errorf("prints as %v", first)
	}
}

func TestI12_StoredHashes(t *testing.T) {
	t.Parallel()
	good := argonOf(password, 64, 1, 1)
	for _, stored := range []string{good, argonOf(password, 256, 3, 8), bcryptOf(t, password), "$2y$" + bcryptOf(t, password)[4:]} {
		if err := account.CheckHash(stored); err != nil {
			t.Errorf("%s: %v", stored, err)
		}
	}
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	cut := strings.LastIndexByte(good, '$')
	for stored, want := range map[string]string{
		"":                           "neither argon2id",
		password:                     "neither argon2id",
		"$2b$10$short":               "neither argon2id",
		"$argon2i$" + good[10:]:      "neither argon2id",
		"$argon2d$" + good[10:]:      "neither argon2id",
		good[:cut]:                   "needs v=19",
		good + "$x":                  "needs v=19",
		with("v=19", "v=16"):         "needs v=19",
		with("m=64", "m=262145"):     "m=262145; at most 262144",
		with("t=1", "t=11"):          "t=11; at most 10",
		with("p=1", "p=9"):           "p=9; at most 8",
		with("m=64", "m=0"):          "not m, t and p",
		with("m=64", "m=064"):        "not m, t and p",
		with("m=64", "m=+64"):        "not m, t and p",
		with("m=64", "m=-1"):         "not m, t and p",
		with("m=64", "m=4294967296"): "not m, t and p",
		with("m=64,t=1", "t=1,m=64"): "not m, t and p",
		with("p=1", "p=1,keyid=a"):   "not m, t and p",
		with("m=64", "m=7"):          "less than 8 KiB",
		good + "=":                   "not base64",
		good[:cut] + "$Zm9v":         "a key of 3 bytes",
		good[:cut] + "$" + strings.Repeat("A", 100):              "a key of 75 bytes",
		good[:cut+1] + good[cut+1:cut+10] + "\n" + good[cut+10:]: "not base64",
		with("$MDEyMzQ1Njc4OWFiY2RlZg", "$Zm9v"):                 "a salt of 3",
		"$2b$15$" + bcryptOf(t, password)[7:]:                    "bcrypt cost 15; at most 14",
		"$2b$xx$" + bcryptOf(t, password)[7:]:                    "no bcrypt hash",
	} {
		err := account.CheckHash(stored)
		if err == nil || !strings.Contains(err.Error(), want) || len(stored) > 20 && strings.Contains(err.Error(), stored[len(stored)-12:]) {
			t.Errorf("%q: %v; want %q", stored, err, want)
		}
	}
}

func FuzzStoredHash(f *testing.F) {
	f.Add(argonOf("x", 64, 1, 1))
	f.Add("$2b$10$abcdefghijklmnopqrstuuJ1XkTYbRBWaTPXqYxLDSmrkuIqhZ6xu")
	f.Fuzz(func(_ *testing.T, stored string) { _ = account.CheckHash(stored) })
}

// record inserts a user with that hash and returns a login with a password.
func logins(t *testing.T, s account.Store, name, stored string) func(a *account.Accounts, password string) error {
	t.Helper()
	r := accounttest.User(t, name)
	r.Hash = setting.NewSecret(stored)
	if err := s.Insert(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return func(a *account.Accounts, password string) error {
		_, err := a.Authenticate(t.Context(), account.Attempt{Email: r.Email, Password: password, From: home})
		return err
	}
}

var home = netip.MustParseAddr("192.0.2.1")

func TestI12_OldHashesAreUpgraded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stored string
		anew   bool
	}{
		"bcrypt":   {bcryptOf(t, password), true},
		"weak":     {argonOf(password, 32, 1, 1), true},
		"fewer":    {argonOf(password, 64, 1, 1), true},
		"as today": {argonOf(password, 64, 2, 1), false},
		"stronger": {argonOf(password, 256, 4, 2), false},
	} {
		b := bench(t)
		b.passwords.WithCost(64, 2)
		login := logins(t, b.store, "ann", c.stored)
		hash := func() string {
			r, err := b.store.ByEmail(t.Context(), "ann@example.com")
			if err != nil {
				t.Fatal(err)
			}
			return r.Hash.Reveal()
		}
		if err := login(b.Accounts, "Wrong-Pass1!"); !errors.Is(err, account.ErrCredentials) || hash() != c.stored {
			t.Errorf("%s: a wrong password: %v", name, err)
		}
		if err := login(b.Accounts, password); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (hash() != c.stored) != c.anew || c.anew && !strings.HasPrefix(hash(), "$argon2id$v=19$m=64,t=2,p=1$") {
			t.Errorf("%s: stored as %s", name, hash())
		}
		if err := login(b.Accounts, password); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}

// bcrypt reads 72 bytes: what agrees in those must not be taken for the password.
func TestI12_BcryptIsNeverTruncated(t *testing.T) {
	t.Parallel()
	b := bench(t)
	long := password + strings.Repeat("x", 72-len(password))
	login := logins(t, b.store, "ann", bcryptOf(t, long))
	for _, more := range []string{long + "y", long + strings.Repeat("z", 400), long + strings.Repeat("z", 4000)} {
		if err := login(b.Accounts, more); !errors.Is(err, account.ErrCredentials) {
			t.Errorf("%d bytes: %v", len(more), err)
		}
	}
	if err := login(b.Accounts, long); err != nil {
		t.Error(err)
	}
}

// A hash that asks for more than the machine has to give costs nothing, and opens nothing.
func TestI12_HashesBeyondTheCeilingAreNotRun(t *testing.T) {
	t.Parallel()
	b := bench(t)
	stored := strings.Replace(argonOf(password, 64, 1, 1), "m=64", "m=4194304", 1)
	login := logins(t, b.store, "ann", stored)
	start := time.Now()
	if err := login(b.Accounts, password); !errors.Is(err, account.ErrCredentials) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	if log := b.log.String(); !strings.Contains(log, "asks for m=4194304; at most 262144") || strings.Contains(log, stored[len(stored)-20:]) {
		t.Errorf("the log tells %s", log)
	}
}

func TestI12_ThePoolIsBounded(t *testing.T) {
	t.Parallel()
	p := account.NewPasswords(account.PasswordsOptions{}).Cheaper().WithPool(2, 3, time.Hour)
	leave := p.Occupy(2)
	var queued sync.WaitGroup
	for range 3 {
		queued.Go(func() {
			if _, err := p.Hash(t.Context(), password); err != nil {
				t.Errorf("in the queue: %v", err)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); p.Waiting() < 3; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait", p.Waiting())
		}
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := p.Hash(soon, password); !errors.Is(err, account.ErrBusy) || soon.Err() != nil {
		t.Errorf("beyond the queue: %v", err)
	}
	leave()
	queued.Wait()
	if _, err := p.Hash(t.Context(), password); err != nil || p.Waiting() != 0 {
		t.Errorf("after all left: %v, %d wait", err, p.Waiting())
	}
}

func TestI12_ThePoolKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	p := account.NewPasswords(account.PasswordsOptions{}).Cheaper().WithPool(1, 3, 50*time.Millisecond)
	defer p.Occupy(1)()
	start := time.Now()
	if _, err := p.Hash(t.Context(), password); !errors.Is(err, account.ErrBusy) || time.Since(start) < 50*time.Millisecond {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Hash(ctx, password); !errors.Is(err, account.ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who left: %v", err)
	}
	if p.Waiting() != 0 {
		t.Errorf("%d wait", p.Waiting())
	}
}
