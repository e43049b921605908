package login_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/login"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/revocation"
)

func TestID5_Password(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.login(2)
	change := func(old, new string) string {
		return s.post("/auth/password", `{"currentPassword":"`+old+`","newPassword":"`+new+`"}`, bearer("access-1"))
	}
	one := func(pointer, message string) string {
		return unprocessable(`{"pointer":"` + pointer + `","message":"` + message + `"}`)
	}
	same(t, "wrong", change("Wrong-horse1!", "Better-horse1!"), one("/currentPassword", "is wrong"))
	same(t, "weak", change(good, "better"), one("/newPassword", "has less than 8 characters"))
	for password, why := range map[string]string{
		"": "is empty", "AAAAAA1!": "has no lower-case letter (a-z)", "aaaaaa1!": "has no upper-case letter (A-Z)",
		"aaaaaaA!": "has no digit (0-9)", "aaaaaaA1": `has none of @$!%*?\u0026`, strings.Repeat("aA1!", 33): "has more than 128 characters",
	} {
		same(t, password, change(good, password), one("/newPassword", why))
	}
	same(t, "breached", change(good, "Breached-horse1!"), one("/newPassword", "the password is refused: it is on the list of breached ones"))
	same(t, "right", change(good, "Better-horse1!"), granted(3, deviceLine))
	for _, n := range []string{"1", "2"} {
		same(t, "refresh "+n, s.post("/auth/refresh", "", bearer("refresh-"+n)), sessionRevoked)
		same(t, "access "+n, s.send("GET", "/auth/sessions", "", bearer("access-"+n)), revoked)
	}
	same(t, "the new session", s.post("/auth/refresh", "", bearer("refresh-3")), granted(4, ""))
	same(t, "the old password", s.post("/auth/login", loginBody), wrongLogin)
	s.revoked.change(revocation.ErrNotDurable, false)
	got := s.post("/auth/password", `{"currentPassword":"Better-horse1!","newPassword":"`+good+`"}`, bearer("access-4"))
	same(t, "not durable", got, problem("503 Service Unavailable", "store_unavailable", "Store unavailable", "Retry-After: 1\n"+noStore,
		`,"detail":"the password is changed, but other sessions may live on: log in and call /auth/logout-all","retryAfter":1`))
}

func TestI13_ChangesOfTheFactor(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.login(2)
	one := func(pointer, message string) string {
		return unprocessable(`{"pointer":"` + pointer + `","message":"` + message + `"}`)
	}
	enrol := func(password string) string {
		return s.post("/auth/mfa/enrol", `{"password":"`+password+`"}`, bearer("access-1"))
	}
	code := func(path, code string) string {
		return s.post("/auth/mfa/"+path, `{"code":"`+code+`"}`, bearer("access-1"))
	}
	same(t, "without a password", s.post("/auth/mfa/enrol", "{}", bearer("access-1")), one("/password", "is required"))
	same(t, "wrong password", enrol("Wrong-horse1!"), one("/password", "is wrong"))
	same(t, "enrol", enrol(good), json200(`{"otpauthUrl":"otpauth://totp/x?secret=ABC","qrCode":"data:image/png;base64,cG5n","secret":"ABC"}`, ""))
	same(t, "wrong code", code("verify", "000000"), one("/code", "is wrong"))
	same(t, "no change yet", s.post("/auth/refresh", "", bearer("refresh-2")), granted(3, ""))
	same(t, "verify", code("verify", "123456"), json200(`{"recoveryCodes":["aaaa-bbbb","cccc-dddd"]}`, ""))
	same(t, "the other session", s.post("/auth/refresh", "", bearer("refresh-3")), sessionRevoked)
	s.login(4)
	same(t, "wrong code to disable", code("disable", "000000"), one("/code", "is wrong"))
	same(t, "disable", code("disable", "123456"), noContent)
	same(t, "the other session", s.post("/auth/refresh", "", bearer("refresh-4")), sessionRevoked)
	same(t, "this session", s.post("/auth/refresh", "", bearer("refresh-1")), granted(5, ""))

	for _, c := range []struct {
		err  error
		want string
	}{
		{account.ErrEnrolled, one("", "a second factor is in force; disable it first")},
		{account.ErrNotEnrolled, one("", "there is no second factor; enrol one first")},
		{account.ErrChanged, one("", "the user was changed meanwhile; try again")},
		{account.ErrFixed, problem("501 Not Implemented", "not_implemented", "Not implemented", noStore, `,"detail":"users of the configuration file can't be changed here"`)},
		{account.ErrUnavailable, away},
	} {
		s.accounts.change(func() { s.accounts.factor = c.err })
		same(t, c.err.Error(), enrol(good), c.want)
		same(t, c.err.Error(), code("verify", "123456"), c.want)
		same(t, c.err.Error(), code("disable", "123456"), c.want)
	}
	s.accounts.change(func() { s.accounts.factor = nil })
	s.revoked.change(revocation.ErrNotDurable, false)
	s.login(6)
	if got := code("verify", "123456"); !strings.Contains(got, "recoveryCodes") {
		t.Errorf("the recovery codes are lost: %s", got)
	}
	s.login(7)
	same(t, "not durable", code("disable", "123456"), problem("503 Service Unavailable", "store_unavailable", "Store unavailable", "Retry-After: 1\n"+noStore,
		`,"detail":"the second factor is removed, but other sessions may live on: call /auth/logout-all","retryAfter":1`))
}

func TestI14_Binding(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	const mine, theirs = "X-Client-Fingerprint: 0123456789abcdef0123456789ABCDEF", "X-Client-Fingerprint: fedcba9876543210fedcba9876543210"
	weak := problem("400 Bad Request", "bad_request", "Bad request", noStore,
		`,"detail":"the fingerprint header must hold a random value of at least 128 bits, such as 32 hexadecimal digits or 22 of base64url"`)
	for _, value := range []string{"", "short", "0123456789abcdef0123456789abcde", strings.Repeat("a", 64), "01234567890123456789012345678901", "abcdefghijklmnopqrst1",
		strings.Repeat("0123456789abcdef", 17), "0123456789abcdef 0123456789abcdef"} {
		same(t, value, s.post("/auth/login", loginBody, "X-Client-Fingerprint: "+value), weak)
	}
	same(t, "twice", s.post("/auth/login", loginBody, mine, mine),
		problem("400 Bad Request", "bad_request", "Bad request", noStore, `,"detail":"the fingerprint header stands twice"`))
	s.login(1, mine)
	sum := sha256.Sum256([]byte("0123456789abcdef0123456789ABCDEF"))
	if got, want := s.tokens.get("access-1").Fingerprint, base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("bound to %q, want %q", got, want)
	}
	for name, fields := range map[string][]string{"without": nil, "another": {theirs}, "twice": {mine, mine}} {
		same(t, name+", access", s.send("GET", "/auth/sessions", "", append(fields, bearer("access-1"))...), unbound)
		same(t, name+", refresh", s.post("/auth/refresh", "", append(fields, bearer("refresh-1"))...), unbound)
		same(t, name+", logout", s.post("/auth/logout", "", append(fields, bearer("refresh-1"))...), unbound)
	}
	same(t, "right", s.post("/auth/refresh", "", mine, bearer("refresh-1")), granted(2, ""))
	same(t, "grace for the same binding", s.post("/auth/refresh", "", mine, bearer("refresh-1")), granted(2, ""))
	same(t, "grace for another", s.post("/auth/refresh", "", theirs, bearer("refresh-1")), unbound)
	if got := s.send("GET", "/auth/sessions", "", mine, bearer("access-2")); !strings.Contains(got, `"bound":true`) {
		t.Error(got)
	}
	// What is not bound is taken with any header.
	s.login(3)
	same(t, "not bound", s.post("/auth/refresh", "", "X-Client-Fingerprint: x", bearer("refresh-3")), granted(4, ""))
}

func TestI14_TheCodeComesFromTheSameClient(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	const mine = "X-Client-Fingerprint: 0123456789abcdef0123456789abcdef"
	_, ticket, _ := strings.Cut(s.post("/auth/login", strings.Replace(loginBody, "ada@", "mfa@", 1), mine), `"ticket":"`)
	ticket, _, _ = strings.Cut(ticket, `"`)
	body := `{"ticket":"` + ticket + `","code":"123456"}`
	same(t, "without", s.post("/auth/mfa/challenge", body), unbound)
	if got := s.post("/auth/mfa/challenge", body, mine); !strings.HasPrefix(got, "HTTP/1.1 200 ") || s.tokens.get("access-1").Fingerprint == "" {
		t.Errorf("%s", got)
	}
}

func TestID10_Cookie(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(o *login.Options) {
		o.Web = &login.Web{Cookie: "__Secure-refresh", Origins: []string{"https://app.example"}}
	})
	const page, stranger = "Origin: https://app.example", "Origin: https://evil.example"
	set := func(value string, age int) string {
		return fmt.Sprintf("Set-Cookie: __Secure-refresh=%s; Path=/auth; Max-Age=%d; Secure; HttpOnly; SameSite=Strict\n", value, age)
	}
	hidden := func(n int, cookies string) string {
		body := fmt.Sprintf(`{"accessToken":"access-%d","expiresIn":900,"tokenType":"Bearer","refreshExpiresIn":604800,"scope":"courses vod","sessionId":"<session>"}`, n)
		return json200(body, cookies)
	}
	forbidden := problem("403 Forbidden", "forbidden", "Forbidden", noStore, "")
	cookie := func(n int) string { return fmt.Sprintf("Cookie: x=y; __Secure-refresh=refresh-%d", n) }

	same(t, "login of a page", s.post("/auth/login", loginBody, page), hidden(1, deviceLine+set("refresh-1", 604800)))
	same(t, "login of another page", s.post("/auth/login", loginBody, stranger), granted(2, deviceLine))
	same(t, "login of none", s.post("/auth/login", loginBody), granted(3, deviceLine))
	same(t, "refresh of another page", s.post("/auth/refresh", "", stranger, cookie(1)), forbidden)
	same(t, "refresh without an origin", s.post("/auth/refresh", "", cookie(1)), forbidden)
	same(t, "refresh with two", s.post("/auth/refresh", "", page, stranger, cookie(1)), forbidden)
	same(t, "refresh with null", s.post("/auth/refresh", "", "Origin: null", cookie(1)), forbidden)
	same(t, "two cookies", s.post("/auth/refresh", "", page, "Cookie: __Secure-refresh=a; __Secure-refresh=refresh-1"), unauthenticated)
	same(t, "a cookie that is none", s.post("/auth/refresh", "", page, "Cookie: __Secure-refresh=a b"), invalid)
	same(t, "refresh", s.post("/auth/refresh", "", page, cookie(1)), hidden(4, set("refresh-4", 604800)))
	same(t, "refresh once more", s.post("/auth/refresh", "{}", page, cookie(1)), hidden(4, set("refresh-4", 604800)))
	same(t, "Bearer of a page", s.post("/auth/refresh", "", page, cookie(4), bearer("refresh-3")), granted(5, ""))
	left := strings.TrimSuffix(noContent, "\n") + set("", 0) + "\n"
	same(t, "logout of another page", s.post("/auth/logout", "", stranger, cookie(4)), forbidden)
	same(t, "logout", s.post("/auth/logout", "", page, cookie(4)), left)
	same(t, "logout again", s.post("/auth/logout", "", page, cookie(4)), left)
	same(t, "logout everywhere", s.post("/auth/logout-all", "", page, bearer("access-5")), left)
}

func TestID10_NoCookieUnlessAskedFor(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	same(t, "login", s.post("/auth/login", loginBody, "Origin: https://app.example"), granted(1, deviceLine))
	same(t, "refresh", s.post("/auth/refresh", "", "Origin: https://app.example", "Cookie: __Secure-refresh=refresh-1"), unauthenticated)
}

func TestID10_Tickets(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	const mine = "X-Client-Fingerprint: 0123456789abcdef0123456789abcdef"
	s.login(1, mine)
	ask := func(path string) string {
		return s.post("/auth/tickets", `{"path":"`+path+`"}`, mine, bearer("access-1"))
	}
	got := ask("/vod/a%20b/1.m3u8")
	_, issued, _ := strings.Cut(got, `"ticket":"`)
	issued, _, _ = strings.Cut(issued, `"`)
	if want := json200(`{"ticket":"`+issued+`","expiresIn":30}`, ""); strings.ReplaceAll(got, "\r\n", "\n") != want || len(issued) != 43 {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	v, err := s.tickets.Redeem([]byte(issued), []byte("/vod/a%20b/1.m3u8"))
	if err != nil {
		t.Fatal(err)
	}
	of := s.tokens.get("access-1")
	if p := v.Principal; p.User != "u1" || p.Session != of.Principal.Session || p.Client != "first-party" || p.Scopes.String() != "courses vod" || p.Shown != principal.Ticket ||
		v.Expires != of.Expires || v.IssuedAt != of.IssuedAt || v.ID != of.ID || v.Fingerprint != "" {
		t.Errorf("%+v", v)
	}
	for path, message := range map[string]string{
		"":           "must be a path that begins with /, without a query, of at most 8192 bytes",
		"vod":        "must be a path that begins with /, without a query, of at most 8192 bytes",
		"/vod?x=1":   "must be a path that begins with /, without a query, of at most 8192 bytes",
		"/vod/../x":  "must be in its canonical spelling",
		"/v%6fd":     "must be in its canonical spelling",
		"/vod%00":    "",
		"//evil.com": "",
	} {
		got := ask(path)
		if message == "" {
			if path == "//evil.com" {
				continue // a route may keep double slashes
			}
			if !strings.Contains(got, "is no path that the gateway takes") {
				t.Errorf("%q: %s", path, got)
			}
			continue
		}
		same(t, path, got, unprocessable(`{"pointer":"/path","message":"`+message+`"}`))
	}
	for range 10 {
		got = ask("/x")
	}
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Error(got)
	}
	same(t, "a full store", ask("/x"), away)
	s.clock.Advance(30 * time.Second)
	if got := ask("/x"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("the old ones are gone: %s", got)
	}
	same(t, "without a token", s.post("/auth/tickets", `{"path":"/x"}`), unauthenticated)
}

func TestID10_NoTicketsWithoutAStore(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(o *login.Options) { o.Tickets = nil })
	same(t, "tickets", s.post("/auth/tickets", `{"path":"/x"}`), problem("404 Not Found", "no_route", "No such route", "", ""))
}

func TestID8_KeySet(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	const head, tag = "Cache-Control: public, max-age=300\n", `"ZgcVzGUjHZJcHD3LGXNjNg"`
	tagLine := "Etag: " + tag + "\n"
	got := strings.ReplaceAll(s.send("GET", "/.well-known/jwks.json", ""), "\r\n", "\n")
	_, is, _ := strings.Cut(got, "Etag: ")
	is, _, _ = strings.Cut(is, "\n")
	tagLine = "Etag: " + is + "\n"
	if len(is) != len(tag) {
		t.Errorf("tag %s", is)
	}
	if want := "HTTP/1.1 200 OK\nContent-Type: application/jwk-set+json\nContent-Length: 11\n" + head + tagLine + "X-Correlation-ID: <id>\n\n" + `{"keys":[]}`; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, match := range []string{is, "W/" + is, `"x", ` + is, "*"} {
		got := strings.ReplaceAll(s.send("GET", "/.well-known/jwks.json", "", "If-None-Match: "+match), "\r\n", "\n")
		if want := "HTTP/1.1 304 Not Modified\n" + head + tagLine + "X-Correlation-ID: <id>\n\n"; got != want {
			t.Errorf("%s: got %q, want %q", match, got, want)
		}
	}
	if got := s.send("GET", "/.well-known/jwks.json", "", `If-None-Match: "x"`); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Error(got)
	}
	if got := s.send("HEAD", "/.well-known/jwks.json", ""); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Error(got)
	}
}
