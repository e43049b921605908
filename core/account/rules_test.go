package account_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/setting"
)

func TestID4_CanonicalEmail(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"ann@example.com":              "ann@example.com",
		"  Ann.B+Tag@EXAMPLE.Com ":     "ann.b+tag@example.com",
		"a@b":                          "a@b",
		"!#$%&'*+-/=?^_`{|}~@xn--a.de": "!#$%&'*+-/=?^_`{|}~@xn--a.de",
		long + "a@" + long + "." + long + "." + strings.Repeat("b", 62): long + "a@" + long + "." + long + "." + strings.Repeat("b", 62),
	} {
		if got, err := account.CanonicalEmail(in); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", " ", "ann", "@", "ann@", "@example.com", "a@b@c", "a b@c", "a\x00@b.c", "ann@example.com\n", "\tann@example.com", "ann@exa\r\nmple.com",
		".ann@b.c", "ann.@b.c", "a..b@b.c", "ann@.c", "ann@b.", "ann@b..c", "ann@-b.c", "ann@b-.c", "ann@b_c.d", "ann@[127.0.0.1]", `"a b"@c.d`,
		"änn@b.c", "ann@bücher.de", "ann@example.\u212Aom", "\u00a0ann@b.c", "a,b@c.d", "<ann@b.c>", "a(x)@b.c",
		strings.Repeat("a", 65) + "@b.c", "a@" + strings.Repeat("b", 64) + ".c",
		long + "a@" + long + "." + long + "." + strings.Repeat("b", 63), strings.Repeat("a", 1<<20) + "@b.c", strings.Repeat(" ", 600) + "a@b.c",
	} {
		if got, err := account.CanonicalEmail(in); !errors.Is(err, account.ErrEmail) {
			t.Errorf("%.40q is %q, %v; want ErrEmail", in, got, err)
		}
	}
}

// There is one spelling, and it is its own.
func TestID4_CanonicalIsStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.StringMatching(`[ ]{0,2}[A-Za-z0-9.+_-]{1,12}@[A-Za-z0-9.-]{1,12}`), rapid.String()).Draw(t, "in")
		first, err := account.CanonicalEmail(in)
		if err != nil {
			return
		}
		second, err := account.CanonicalEmail(strings.ToUpper(first))
		if err != nil || second != first || len(first) > account.MaxEmail {
			t.Fatalf("%q is %q, which is %q, %v", in, first, second, err)
		}
	})
}

func FuzzCanonicalEmail(f *testing.F) {
	for _, seed := range []string{"ann@example.com", "a..b@c", "\x00@b", "ä@b", strings.Repeat("a", 300)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if got, err := account.CanonicalEmail(in); err == nil && (len(got) > account.MaxEmail || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7f })) {
			t.Errorf("%q is %q", in, got)
		}
	})
}

func TestID4_PasswordRules(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"Abcdef1!", "Passw0rd@ with spaces", "Aa1?ÄÖÜ漢字", "Aa1&" + strings.Repeat("x", 124), "Aa1%" + strings.Repeat("漢", 124), "Aa1$`'\"<>;--#^()",
	} {
		if err := account.CheckRules(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, why := range map[string]string{
		"":                                "less than 8",
		"Abcde1!":                         "less than 8",
		"Äa1!漢字x":                         "less than 8",
		"Aa1!" + strings.Repeat("x", 125): "more than 128",
		"Aa1!" + strings.Repeat("漢", 125): "more than 128",
		strings.Repeat("Aa1!", 1<<18):     "more than 128",
		"ABCDEF1!":                        "no lower-case",
		"ÄBCDEFé1!":                       "no lower-case",
		"abcdef1!":                        "no upper-case",
		"Abcdefg!":                        "no digit",
		"Abcdefg!٣":                       "no digit",
		"Abcdefg1":                        "none of @$!%*?&",
		"Abcdefg1#":                       "none of @$!%*?&",
		"Abcdef1!\n":                      "control character",
		"Abc\x00def1!":                    "control character",
		"Abcdef1!\x7f":                    "control character",
		"Abcdef1!\u0085":                  "control character",
		"Abcdef1!\xff":                    "UTF-8",
	} {
		err := account.CheckRules(bad)
		if !errors.Is(err, account.ErrPassword) || !strings.Contains(err.Error(), why) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%.30q: %v; want %q", bad, err, why)
		}
	}
}

func TestID4_BreachedPasswords(t *testing.T) {
	t.Parallel()
	hash := func(password string) string { return fmt.Sprintf("%X", sha1.Sum([]byte(password))) }
	notHash := strings.Repeat("Z", 40)
	path := filepath.Join(t.TempDir(), "list")
	lines := []string{"Password1!", hash("Hashed-1!") + ":12345", strings.ToLower(hash("Lower-1!")), hash("Bare-1!"), "", "Colon:1!Ab",
		notHash, "Password1!", hash("Odd-1!") + ":12x", strings.Repeat("Long-1!", 200), "Last-1!a"}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\r\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := account.LoadBreached(path)
	if err != nil || b.Len() != 8 {
		t.Fatalf("%d passwords, %v", b.Len(), err)
	}
	for password, want := range map[string]bool{
		"Password1!": true, "Hashed-1!": true, "Lower-1!": true, "Bare-1!": true, "Colon:1!Ab": true, notHash: true, "Last-1!a": true,
		"password1!": false, "Odd-1!": false, "": false, "Long-1!": false, "Good-Pass1!": false,
	} {
		if b.Holds(password) != want {
			t.Errorf("%q is listed: %v, want %v", password, !want, want)
		}
	}
	p := account.NewPasswords(account.PasswordsOptions{Breached: b})
	if err := p.Check("Password1!"); !errors.Is(err, account.ErrPassword) || strings.Contains(err.Error(), "Password1!") {
		t.Errorf("a breached password: %v", err)
	}
	if err := p.Check("short"); !errors.Is(err, account.ErrPassword) {
		t.Errorf("a short password: %v", err)
	}
	if err := p.Check("Good-Pass1!"); err != nil {
		t.Error(err)
	}
	var none *account.Breached
	if none.Holds("Password1!") || none.Len() != 0 {
		t.Error("no list lists something")
	}
}

func TestID4_BreachedListsThatCantBeUsed(t *testing.T) {
	t.Parallel()
	if _, err := account.LoadBreached(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := account.LoadBreached(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
	for in, want := range map[string]string{
		"one\ntwo\n0123456789abcdef0123456789ABCDEF:3\n": "line 3 is an NTLM hash",
		"one\ntwo\n\nthree\nfour\n":                      "line 5: there are more than 3 passwords",
	} {
		_, err := account.ReadBreached(strings.NewReader(in), 3)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "four") {
			t.Errorf("%q: %v; want %q", in, err, want)
		}
	}
}

// Whatever prints them, secrets stay.
func TestSecretsPrintMasked(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, v := range []any{
		account.Attempt{Email: secret, Password: secret, Device: secret},
		&account.Attempt{Email: secret, Password: secret, Device: secret},
		account.Enrolment{URL: secret, PNG: []byte(secret), Secret: secret},
		account.Record{Hash: setting.NewSecret(secret), Factor: account.Factor{Sealed: []byte(secret), Plain: setting.NewSecret(secret)}},
		account.Listed{Hash: setting.NewSecret(secret), TOTP: setting.NewSecret(secret)},
	} {
		var b bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(j)
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), "czNjcjN0"} {
			if strings.Contains(b.String(), form) {
				t.Errorf("%T shows it:\n%s", v, b.String())
			}
		}
	}
}
