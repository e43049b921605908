package login_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/login"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/token"
)

// granted is the whole answer of a login or refresh with the pair of that number.
func granted(n int, cookies string) string {
	body := fmt.Sprintf(`{"accessToken":"access-%d","refreshToken":"refresh-%d","expiresIn":900,"tokenType":"Bearer",`+
		`"refreshExpiresIn":604800,"scope":"courses vod","sessionId":"<session>"}`, n, n)
	return json200(body, cookies)
}

func json200(body, cookies string) string {
	length := len(body) + strings.Count(body, "<session>")*(22-len("<session>"))
	return fmt.Sprintf("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: %d\n%sX-Correlation-ID: <id>\n%s\n%s",
		length, noStore, cookies, body)
}

const noContent = "HTTP/1.1 204 No Content\n" + noStore + "X-Correlation-ID: <id>\n\n"

var (
	unauthenticated = problem("401 Unauthorized", "unauthenticated", "Authentication required", challenge+noStore, "")
	wrongLogin      = problem("401 Unauthorized", "invalid_credentials", "Invalid credentials", challenge+noStore, "")
	invalid         = problem("401 Unauthorized", "token_invalid", "Token invalid", badToken+noStore, "")
	unbound         = problem("401 Unauthorized", "token_unbound", "Token not bound to this caller", badToken+noStore, "")
	revoked         = problem("401 Unauthorized", "token_revoked", "Token revoked", badToken+noStore, "")
	sessionRevoked  = problem("401 Unauthorized", "session_revoked", "Session revoked", badToken+noStore, "")
	reused          = problem("401 Unauthorized", "refresh_reused", "Refresh token already used", challenge+noStore, "")
	expired         = problem("401 Unauthorized", "refresh_expired", "Refresh token expired", challenge+noStore, "")
	notFound        = problem("404 Not Found", "not_found", "Not found", noStore, "")
	away            = problem("503 Service Unavailable", "store_unavailable", "Store unavailable", "Retry-After: 1\n"+noStore, `,"retryAfter":1`)
)

// unprocessable is the answer to a body that does not have its form.
func unprocessable(errors string) string {
	return problem("422 Unprocessable Entity", "validation_failed", "Validation failed", noStore, `,"errors":[`+errors+`]`)
}

func TestID4_LoginAnswers(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	same(t, "login", s.post("/auth/login", loginBody), granted(1, deviceLine))
	same(t, "wrong password", s.post("/auth/login", strings.Replace(loginBody, "horse1", "horse2", 1)), wrongLogin)
	same(t, "unknown user", s.post("/auth/login", strings.Replace(loginBody, "ada@", "eve@", 1)), wrongLogin)
	s.accounts.change(func() { s.accounts.people["u1"].Active = false })
	same(t, "disabled user", s.post("/auth/login", loginBody), wrongLogin)
}

func TestID4_LoginErrors(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	for _, c := range []struct {
		err  error
		want string
	}{
		{&account.Throttled{After: 90 * time.Second}, problem("429 Too Many Requests", "rate_limited", "Rate limit exceeded", "Retry-After: 90\n"+noStore, `,"retryAfter":90`)},
		{account.ErrBusy, problem("503 Service Unavailable", "overloaded", "Overloaded", "Retry-After: 1\n"+noStore, `,"retryAfter":1`)},
		{fmt.Errorf("asking: %w", account.ErrUnavailable), away},
		{errors.New("anything at all, with secrets"), problem("500 Internal Server Error", "internal", "Internal error", noStore, "")},
	} {
		s.accounts.change(func() { s.accounts.err = c.err })
		same(t, c.err.Error(), s.post("/auth/login", loginBody), c.want)
	}
}

func TestI11_LoginSaysWhereItComesFrom(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1, "Cookie: a=b; __Secure-device=device-of-u1")
	s.login(2, "Cookie: __Secure-device=one; __Secure-device=two")
	got := s.accounts.tried()
	if got[0].Device != "device-of-u1" || got[0].From.String() != "127.0.0.1" || got[0].Email != "ada@example.com" || got[0].Password != good {
		t.Errorf("%+v", got[0])
	}
	if got[1].Device != "" {
		t.Errorf("of two device cookies %q was taken", got[1].Device)
	}
}

func TestID4_LoginBodies(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	bad := func(detail string) string {
		return problem("400 Bad Request", "bad_request", "Bad request", noStore, `,"detail":"`+detail+`"`)
	}
	const noJSON, p = "the body is no JSON text (RFC 8259)", `"password":"` + good + `"`
	one := func(pointer, message string) string {
		return unprocessable(`{"pointer":"` + pointer + `","message":"` + message + `"}`)
	}
	password := func(text string) string { return `{"email":"ada@example.com","password":"` + text + `"}` }
	for _, c := range []struct{ name, body, want string }{
		{"unknown member", strings.Replace(loginBody, "{", `{"admin":true,`, 1), one("/admin", "is not known here")},
		{"another case", strings.Replace(loginBody, "email", "Email", 1),
			unprocessable(`{"pointer":"/Email","message":"is not known here"},{"pointer":"/email","message":"is required"}`)},
		{"duplicate", `{"email":"eve@example.com",` + loginBody[1:], one("/email", "stands twice")},
		{"duplicate by escape", `{"em\u0061il":"eve@example.com",` + loginBody[1:], one("/email", "stands twice")},
		{"wrong types", `{"email":["a@b"],"password":12,"mfaToken":null}`, unprocessable(`{"pointer":"/email","message":"must be a string, this is an array"},` +
			`{"pointer":"/password","message":"must be a string, this is a number"},{"pointer":"/mfaToken","message":"must be a string, this is null"}`)},
		{"nothing", `{}`, unprocessable(`{"pointer":"/email","message":"is required"},{"pointer":"/password","message":"is required"}`)},
		{"pointer", `{"a/b~":1,` + loginBody[1:], one("/a~1b~0", "is not known here")},
		{"long name", `{"` + strings.Repeat("x.", 35) + `":1,` + loginBody[1:], one("/"+strings.Repeat("x.", 32)+"…", "is not known here")},
		{"array", `[]`, one("", "must be an object, this is an array")},
		{"string", `"x"`, one("", "must be an object, this is a string")},
		{"129 characters", password(strings.Repeat("é", 125) + "aA1!"), one("/password", "has more than 128 characters")},
		{"128 characters", password(strings.Repeat("é", 124) + "aA1!"), wrongLogin},
		{"none", password(""), one("/password", "is empty")},
		{"one character", password("x"), wrongLogin}, // what was imported may follow other rules
		{"control character", password(`aA1!aA1!\u0000`), one("/password", "holds a control character")},
		{"long e-mail", `{"email":"` + strings.Repeat("a", 251) + `@b.cd",` + p + `}`, one("/email", "has more than 255 bytes")},
		{"no e-mail", `{"email":"ada",` + p + `}`, one("/email", "is no e-mail address")},
		{"control in the e-mail", `{"email":"a\u000a@b",` + p + `}`, one("/email", "holds a control character")},
		{"empty code", strings.Replace(loginBody, "{", `{"mfaToken":"",`, 1), one("/mfaToken", "must be 1 to 64 characters of ASCII")},
		{"no JSON", `email=ada`, bad(noJSON)},
		{"behind the end", loginBody + "x", bad(noJSON)},
		{"two texts", loginBody + loginBody, bad(noJSON)},
		{"trailing comma", `{"email":"a@b",}`, bad(noJSON)},
		{"cut", loginBody[:20], bad(noJSON)},
		{"byte order mark", "\ufeff" + loginBody, bad(noJSON)},
		{"no UTF-8", `{"email":"` + "\xff" + `"}`, bad("the body is not valid UTF-8")},
		{"half a surrogate", `{"email":"\ud800"}`, bad(noJSON)},
		{"deep", `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, bad("the body is nested too deep")},
		{"many members", `{` + strings.Repeat(`"a":1,`, 1000) + `"b":2}`, bad("the body has too many members")},
		{"empty", " ", bad(noJSON)},
	} {
		same(t, c.name, s.post("/auth/login", c.body), c.want)
	}
	if n := len(s.accounts.tried()); n != 2 {
		t.Errorf("%d of the bodies came to the accounts, want the two that have their form", n)
	}
}

func TestI20_OnlyJSON(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	unsupported := func(detail string) string {
		return problem("415 Unsupported Media Type", "unsupported_media_type", "Unsupported media type", noStore, `,"detail":"`+detail+`"`)
	}
	const type415 = "the body must be application/json"
	for _, c := range []struct{ contentType, want string }{
		{"Content-Type: text/plain", unsupported(type415)},
		{"Content-Type: application/x-www-form-urlencoded", unsupported(type415)},
		{"Content-Type: application/json-patch+json", unsupported(type415)},
		{"Content-Type: application/json; charset=latin1", unsupported(type415)},
		{"Content-Type: application/json;", unsupported(type415)},
		{"X-Nothing: 1", unsupported(type415)},
		{"Content-Type: application/json\r\nContent-Encoding: gzip", unsupported("the body must not be encoded")},
		{"Content-Type: Application/JSON ; Charset=UTF-8", granted(1, deviceLine)},
		{"Content-Type: application/json\r\nContent-Encoding: identity", granted(2, deviceLine)},
	} {
		got := s.send("POST", "/auth/login", loginBody, c.contentType, fmt.Sprintf("Content-Length: %d", len(loginBody)))
		same(t, c.contentType, got, c.want)
	}
}

func TestI20_BodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	tooLarge := problem("413 Request Entity Too Large", "body_too_large", "Request body too large", noStore, "")
	big := `{"email":"` + strings.Repeat("a", 1<<20) + `"}`
	same(t, "1 MB that says so", s.send("POST", "/auth/login", big[:8192], "Content-Type: application/json", "Content-Length: 1048588"),
		strings.Replace(tooLarge, "<id>\n", "<id>\nConnection: close\n", 1))
	chunks := ""
	for range 5 {
		chunks += "1000\r\n" + big[:4096] + "\r\n"
	}
	got := s.send("POST", "/auth/login", chunks+"0\r\n\r\n", "Content-Type: application/json", "Transfer-Encoding: chunked")
	same(t, "20 KiB in chunks", got, tooLarge)
	got = s.send("POST", "/auth/login", fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, loginBody[:10], len(loginBody)-10, loginBody[10:]),
		"Content-Type: application/json", "Transfer-Encoding: chunked")
	same(t, "chunks", got, granted(1, deviceLine))
	got = s.send("POST", "/auth/login", "3;\r\nabc\r\nzz\r\n", "Content-Type: application/json", "Transfer-Encoding: chunked")
	if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, `"code":"bad_request"`) {
		t.Errorf("broken chunks: %s", got)
	}
}

func TestI20_EveryAnswerIsStoredNowhere(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	paths := "login mfa/challenge refresh logout logout-all password sessions sessions/x mfa/enrol mfa/verify mfa/disable tickets"
	for path := range strings.FieldsSeq(paths) {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "OPTIONS", "PATCH"} {
			got := s.send(method, "/auth/"+path, "", "Content-Length: 0")
			if !strings.Contains(got, "\r\nCache-Control: no-store\r\n") {
				t.Errorf("%s %s: %s", method, path, got)
			}
		}
	}
	got := s.send("GET", "/auth/login", "")
	same(t, "GET", got, problem("405 Method Not Allowed", "method_not_allowed", "Method not allowed", "Allow: POST, OPTIONS\n"+noStore, ""))
	got = s.send("PUT", "/auth/sessions/xyz", "", "Content-Length: 0")
	same(t, "PUT", got, problem("405 Method Not Allowed", "method_not_allowed", "Method not allowed", "Allow: DELETE, OPTIONS\n"+noStore, ""))
	same(t, "OPTIONS", s.send("OPTIONS", "/auth/sessions", ""), "HTTP/1.1 204 No Content\nAllow: GET, HEAD, OPTIONS\n"+noStore+"X-Correlation-ID: <id>\n\n")
}

func TestID6_TheCodeComesLater(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	body := strings.Replace(loginBody, "ada@", "mfa@", 1)
	got := s.post("/auth/login", body)
	_, ticket, _ := strings.Cut(got, `"ticket":"`)
	ticket, _, _ = strings.Cut(ticket, `"`)
	if want := "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n"; !strings.HasPrefix(got, want) || !strings.Contains(got, `"code":"mfa_required"`) || ticket == "" {
		t.Fatalf("%s", got)
	}
	mfa := func(n int) string {
		w := strings.Replace(granted(n, strings.Replace(deviceLine, "u1", "u2", 1)), `"courses vod"`, `"courses"`, 1)
		return strings.Replace(w, "Length: 175", "Length: 171", 1)
	}
	challenge := func(code string) string {
		return s.post("/auth/mfa/challenge", `{"ticket":"`+ticket+`","code":"`+code+`"}`)
	}
	same(t, "wrong code", challenge("000000"), wrongLogin)
	same(t, "right code", challenge("123456"), mfa(1))
	same(t, "all at once", s.post("/auth/login", strings.Replace(body, "{", `{"mfaToken":"123456",`, 1)), mfa(2))
	same(t, "all at once, wrong", s.post("/auth/login", strings.Replace(body, "{", `{"mfaToken":"123457",`, 1)), wrongLogin)

	gone := problem("401 Unauthorized", "invalid_credentials", "Invalid credentials", "Www-Authenticate: Bearer\n"+noStore, `,"detail":"the ticket is no longer good; log in again"`)
	whole := ticket
	for i := range len(whole) {
		other := byte('A')
		if whole[i] == 'A' {
			other = 'B'
		}
		ticket = whole[:i] + string(other) + whole[i+1:]
		if got := challenge("123456"); !strings.Contains(got, "no longer good") {
			t.Fatalf("a ticket with another byte %d: %s", i, got)
		}
	}
	ticket = whole[:10]
	same(t, "cut ticket", challenge("123456"), gone)
	ticket = whole
	s.accounts.change(func() { s.accounts.people["u2"].Active = false })
	same(t, "disabled meanwhile", challenge("123456"), wrongLogin)
	s.accounts.change(func() { s.accounts.people["u2"].Active = true })
	s.clock.Advance(5 * time.Minute)
	same(t, "old ticket", challenge("123456"), gone)
}

func TestID6_TheTicketIsGoodAtOtherInstancesOfTheSameKey(t *testing.T) {
	t.Parallel()
	one, two := newStand(t, nil), newStand(t, nil)
	other := newStand(t, func(o *login.Options) { o.Key = []byte(strings.Repeat("o", 32)) })
	_, ticket, _ := strings.Cut(one.post("/auth/login", strings.Replace(loginBody, "ada@", "mfa@", 1)), `"ticket":"`)
	ticket, _, _ = strings.Cut(ticket, `"`)
	body := `{"ticket":"` + ticket + `","code":"123456"}`
	if got := two.post("/auth/mfa/challenge", body); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("the same key: %s", got)
	}
	if got := other.post("/auth/mfa/challenge", body); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("another key: %s", got)
	}
	if _, err := login.New(login.Options{Key: make([]byte, 31)}); err == nil {
		t.Error("a short key was taken")
	}
}

func TestID5_Refresh(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	same(t, "in the body", s.post("/auth/refresh", `{"refreshToken":"refresh-1"}`), granted(2, ""))
	same(t, "as Bearer", s.post("/auth/refresh", "", bearer("refresh-2")), granted(3, ""))
	same(t, "as both", s.post("/auth/refresh", `{"refreshToken":"refresh-3"}`, bearer("refresh-3")), granted(4, ""))
	same(t, "any case of the scheme", s.post("/auth/refresh", `{}`, "Authorization: bearer refresh-4"), granted(5, ""))
	same(t, "two different", s.post("/auth/refresh", `{"refreshToken":"refresh-5"}`, bearer("refresh-4")),
		problem("400 Bad Request", "bad_request", "Bad request", noStore, `,"detail":"the Authorization field and the body hold different tokens"`))
	same(t, "none", s.post("/auth/refresh", ""), unauthenticated)
	same(t, "in the query", s.post("/auth/refresh?refreshToken=refresh-5", ""), unauthenticated)
	same(t, "an access token", s.post("/auth/refresh", "", bearer("access-5")), invalid)
	same(t, "rubbish", s.post("/auth/refresh", `{"refreshToken":"x"}`), invalid)
	same(t, "another scheme", s.post("/auth/refresh", "", "Authorization: Basic eDp5"), invalid)
	same(t, "two lines", s.post("/auth/refresh", "", bearer("refresh-5"), bearer("refresh-5")), invalid)
	s.accounts.change(func() { s.accounts.people["u1"].Scopes = scopes("vod:read", "payments") })
	want := strings.Replace(granted(6, ""), "courses vod", "vod:read", 1)
	same(t, "fewer scopes", s.post("/auth/refresh", "", bearer("refresh-5")), strings.Replace(want, "Length: 175", "Length: 172", 1))
	s.accounts.change(func() { s.accounts.people["u1"].Scopes = scopes("courses", "vod") })
	same(t, "again", s.post("/auth/refresh", "", bearer("refresh-6")), granted(7, ""))
	s.clock.Advance(168 * time.Hour)
	same(t, "too old", s.post("/auth/refresh", "", bearer("refresh-7")), expired)
}

func TestID5_RefreshOfWhoIsGone(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.accounts.change(func() { s.accounts.people["u1"].Active = false })
	same(t, "disabled", s.post("/auth/refresh", "", bearer("refresh-1")), sessionRevoked)
	if !s.revoked.Revoked(s.tokens.get("access-1").Principal.Session, "u1", start) {
		t.Error("the session is not revoked")
	}
	s.accounts.change(func() { s.accounts.people["u1"].Active = true })
	same(t, "enabled again", s.post("/auth/refresh", "", bearer("refresh-1")), sessionRevoked)
}

func TestID5_StoreAwayIs503(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.accounts.change(func() { s.accounts.err = account.ErrUnavailable })
	same(t, "accounts", s.post("/auth/refresh", "", bearer("refresh-1")), away)
	same(t, "accounts at login", s.post("/auth/login", loginBody), away)
	s.accounts.change(func() { s.accounts.err = nil })
	s.tokens.fail(fmt.Errorf("%w: no keys yet", token.ErrUnavailable))
	same(t, "keys", s.post("/auth/refresh", "", bearer("refresh-1")), away)
	same(t, "keys at logout", s.post("/auth/logout", "", bearer("refresh-1")), away)
	same(t, "keys at the list", s.send("GET", "/auth/sessions", "", bearer("access-1")), away)
	s.tokens.fail(nil)
	s.revoked.change(nil, true)
	same(t, "revocations", s.send("GET", "/auth/sessions", "", bearer("access-1")), away)
	s.revoked.change(nil, false)
	same(t, "all is well", s.post("/auth/refresh", "", bearer("refresh-1")), granted(2, ""))
}

func TestI8_GraceAndReuseOverHTTP(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	same(t, "first", s.post("/auth/refresh", "", bearer("refresh-1")), granted(2, ""))
	s.clock.Advance(59 * time.Second)
	same(t, "within the grace", s.post("/auth/refresh", "", bearer("refresh-1")), granted(2, ""))
	// The successor is used: the parent is over.
	if got := s.send("GET", "/auth/sessions", "", bearer("access-2")); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatal(got)
	}
	same(t, "behind it", s.post("/auth/refresh", "", bearer("refresh-1")), reused)
	same(t, "the family", s.post("/auth/refresh", "", bearer("refresh-2")), sessionRevoked)
	same(t, "the access token", s.send("GET", "/auth/sessions", "", bearer("access-2")), revoked)
}

func TestI6_LogoutIsDurableOr503(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.login(2)
	s.login(3)
	s.revoked.change(revocation.ErrNotDurable, false)
	same(t, "logout", s.post("/auth/logout", "", bearer("refresh-1")), away)
	id := s.tokens.get("access-2").Principal.Session
	same(t, "revoke", s.send("DELETE", "/auth/sessions/"+id, "", bearer("access-3")), away)
	same(t, "logout everywhere", s.post("/auth/logout-all", "", bearer("access-3")), away)
	s.revoked.change(nil, false)
	same(t, "logout once more", s.post("/auth/logout", "", bearer("refresh-1")), noContent)
	same(t, "refresh", s.post("/auth/refresh", "", bearer("refresh-3")), sessionRevoked)
}

func TestID5_Logout(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.login(2)
	s.login(3)
	for i := range 2 {
		same(t, fmt.Sprint("in the body, ", i), s.post("/auth/logout", `{"refreshToken":"refresh-1"}`), noContent)
	}
	same(t, "refresh behind it", s.post("/auth/refresh", "", bearer("refresh-1")), sessionRevoked)
	same(t, "access behind it", s.send("GET", "/auth/sessions", "", bearer("access-1")), revoked)
	same(t, "by access token", s.post("/auth/logout", "", bearer("access-2")), noContent)
	same(t, "access token in the body", s.post("/auth/logout", `{"refreshToken":"access-3"}`), invalid)
	same(t, "by nothing", s.post("/auth/logout", ""), unauthenticated)
	same(t, "by rubbish", s.post("/auth/logout", "", bearer("x")), invalid)
	same(t, "foreign member", s.post("/auth/logout", `{"x":"y"}`), unprocessable(`{"pointer":"/x","message":"is not known here"}`))
	s.clock.Advance(168 * time.Hour)
	same(t, "by an old one", s.post("/auth/logout", "", bearer("refresh-3")), noContent)
}

func TestID5_LogoutAll(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	s.login(2)
	same(t, "a body", s.post("/auth/logout-all", `{"x":1}`, bearer("access-1")), unprocessable(`{"pointer":"/x","message":"is not known here"}`))
	same(t, "refresh token", s.post("/auth/logout-all", "", bearer("refresh-1")), invalid)
	same(t, "all", s.post("/auth/logout-all", "", bearer("access-1")), noContent)
	same(t, "again", s.post("/auth/logout-all", "", bearer("access-1")), revoked)
	same(t, "the other", s.post("/auth/refresh", "", bearer("refresh-2")), sessionRevoked)
	if e := s.revoked.entry("user:u1"); e.NotBefore != start || e.Expires != start+7*24*3600+65 {
		t.Errorf("%+v", e)
	}
	s.login(3) // in the same second
	if got := s.send("GET", "/auth/sessions", "", bearer("access-3")); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a login behind it: %s", got)
	}
}

func TestI20_Sessions(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1, "User-Agent: one\t"+strings.Repeat("x", 300))
	s.login(2)
	s.post("/auth/login", strings.Replace(strings.Replace(loginBody, "ada@", "mfa@", 1), "{", `{"mfaToken":"123456",`, 1))
	one := func(current, agent string) string {
		return `{"id":"<session>","current":` + current + `,"client":"first-party","scope":"courses vod","agent":"` + agent +
			`","address":"127.0.0.1","bound":false,"created":"2027-01-15T08:00:00Z","used":"2027-01-15T08:00:00Z","ends":"2027-04-15T08:00:00Z"}`
	}
	want := json200(`{"sessions":[`+one("false", "one"+strings.Repeat("x", 252))+`,`+one("true", "")+`]}`, "")
	same(t, "list", s.send("GET", "/auth/sessions", "", bearer("access-2")), want)
	mine, theirs := s.tokens.get("access-1").Principal.Session, s.tokens.get("access-3").Principal.Session
	for _, id := range []string{theirs, "nothing", "%20"} {
		same(t, id, s.send("DELETE", "/auth/sessions/"+id, "", bearer("access-2")), notFound)
	}
	for i := range 2 {
		same(t, fmt.Sprint("my own, ", i), s.send("DELETE", "/auth/sessions/"+mine, "", bearer("access-2")), noContent)
	}
	same(t, "it has ended", s.send("GET", "/auth/sessions", "", bearer("access-1")), revoked)
	same(t, "without a token", s.send("DELETE", "/auth/sessions/"+mine, ""), unauthenticated)
	if got := s.send("GET", "/auth/sessions", "", bearer("access-3")); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("another user's: %s", got)
	}
}

func TestI8_SessionsAreCapped(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	for n := 1; n <= 4; n++ {
		s.login(n)
	}
	same(t, "the oldest", s.send("GET", "/auth/sessions", "", bearer("access-1")), revoked)
	got := s.send("GET", "/auth/sessions", "", bearer("access-2"))
	var list struct{ Sessions []struct{ ID string } }
	if err := json.Unmarshal([]byte(got[strings.Index(got, "{"):]), &list); err != nil || len(list.Sessions) != 3 {
		t.Errorf("%v: %s", err, got)
	}
}

func TestI1_OnlyOurOwnUsersTokens(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.login(1)
	foreign, machine := *s.tokens.get("access-1"), *s.tokens.get("access-1")
	foreign.Principal.Issuer, machine.Principal.User = "partner", ""
	s.tokens.put("access-foreign", &foreign)
	s.tokens.put("access-machine", &machine)
	same(t, "foreign", s.send("GET", "/auth/sessions", "", bearer("access-foreign")), invalid)
	same(t, "foreign logout", s.post("/auth/logout", "", bearer("access-foreign")), invalid)
	same(t, "a client's own", s.send("GET", "/auth/sessions", "", bearer("access-machine")), problem("403 Forbidden", "forbidden", "Forbidden", noStore, ""))
	same(t, "a key", s.send("GET", "/auth/sessions", "", "X-API-Key: gk_x_y"), unauthenticated)
	same(t, "expired", func() string {
		s.clock.Advance(15 * time.Minute)
		return s.send("GET", "/auth/sessions", "", bearer("access-1"))
	}(),
		problem("401 Unauthorized", "token_expired", "Token expired", badToken+noStore, ""))
}
