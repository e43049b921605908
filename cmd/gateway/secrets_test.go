package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/testenv"
)

// secrets gathers what must be shown to nobody, and all that was shown.
type secrets struct {
	*running
	text   string            // of the configuration
	hidden map[string]string // value → what it is
	shown  map[string]string // where → what
	lines  int
}

// hide takes a secret and returns it.
func (s *secrets) hide(what, value string) string {
	s.t.Helper()
	if len(value) < 8 {
		s.t.Fatalf("%s: %q is too short to be looked for", what, value)
	}
	s.hidden[value] = what
	return value
}

// show keeps a text that somebody may see.
func (s *secrets) show(where, text string) {
	s.lines++
	s.shown[fmt.Sprintf("%s (%d)", where, s.lines)] = text
}

// post sends JSON, keeps the answer if it is a fault, and returns the tokens in it.
func (s *secrets) post(path, body string, fields ...string) (pair struct{ AccessToken, RefreshToken, Ticket string }) {
	s.t.Helper()
	if body != "" {
		fields = append(fields, "Content-Type: application/json")
	}
	answer := s.call("POST "+path, body, fields...)
	if err := json.Unmarshal([]byte(answer), &pair); err != nil && answer != "" {
		s.t.Errorf("%s: %v in %s", path, err, answer)
	}
	for what, value := range map[string]string{"access token": pair.AccessToken, "refresh token": pair.RefreshToken, "ticket": pair.Ticket} {
		if value != "" {
			s.hide(what, value)
		}
	}
	return pair
}

// call sends a request, keeps the answer if it is a fault, and returns its body.
func (s *secrets) call(what, body string, fields ...string) string {
	s.t.Helper()
	raw := what + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	for _, f := range fields {
		raw += f + "\r\n"
	}
	head, answer := exchange(s.t, s.gateway.Address("public").String(), raw+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
	status := strings.Fields(head)[1]
	if status >= "400" {
		s.show(what, head+"\n"+answer)
	}
	return answer
}

// selfSigned makes a certificate with its key, as PEM.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// The secrets that the test chooses.
const (
	rightPassword = "Right-Horse7!battery"
	wrongPassword = "Wrong-Horse7!battery"
	newPassword   = "Other-Horse7!battery"
	oddPassword   = "0dd-\u0001-Horse7!battery"
	clientSecret  = "a client's own secret"
	adminToken    = "0123456789abcdef-admin-token-of-the-test"
	redisPassword = "redis-password-of-the-test"
	pgPassword    = "postgres-password-of-the-test"
	fingerprint   = "fingerprint-of-the-device-of-the-test"
	totp          = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
)

const secretsYAML = `listen:
  public: {address: "127.0.0.1:0"}
  secure: {address: "127.0.0.1:0", tls: {certificates: [{certificate_file: a.pem, key_file: a.key}]}}
admin: {address: "127.0.0.1:0", tokens: {ops: {token: "ADMIN", role: write}}}
directory: state
shutdown: {delay: 0s, drain: 5s}
telemetry: {log: {level: debug}}
defaults: {plugins: {auth: {accept: [jwt, api_key, [jwt, api_key], ticket]}, access_log: {to: ACCESS}}}
services: {a: {endpoints: [{url: "ORIGIN"}], retry: off}}
routes: {a: {match: {path: /a}, service: a}, pass: {match: {path: /pass}, service: a, plugins: {auth: {accept: [jwt], internal_token: true}}}}
`

// newSecrets boots a gateway with the stores and identity given.
func newSecrets(t *testing.T, rest string, hidden map[string]string) *secrets {
	t.Helper()
	s := &secrets{hidden: map[string]string{}, shown: map[string]string{}}
	pemText, keyText := selfSigned(t)
	told := make(chan string, 1000)
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		if _, token, is := strings.Cut(request, "X-Gateway-Token: "); is {
			token, _, _ = strings.Cut(token, "\r\n")
			told <- token
		}
		return gatewaytest.OK
	})
	folder := t.TempDir()
	writeFile(t, folder+"/a.pem", pemText)
	writeFile(t, folder+"/a.key", keyText)
	text := strings.NewReplacer("ACCESS", folder+"/access.log", "ADMIN", adminToken, "ORIGIN", origin.URL(), "a.pem", folder+"/a.pem", "a.key", folder+"/a.key").Replace(secretsYAML) + rest
	s.text = text
	s.running = boot(t, text, serveOptions{})
	maps.Copy(s.hidden, hidden)
	for value, what := range map[string]string{
		rightPassword: "password", wrongPassword: "wrong password", newPassword: "new password", oddPassword: "odd password", `0dd-\u0001-Horse`: "odd password",
		clientSecret: "client secret", adminToken: "admin token", fingerprint: "fingerprint",
		strings.Split(keyText, "\n")[1]: "TLS key",
	} {
		s.hide(what, value)
	}
	t.Cleanup(func() {
		for len(told) > 0 {
			s.hide("internal token", <-told)
		}
		s.show("the log", s.log.String())
		s.show("the access log", s.accessLog(folder+"/access.log"))
		if len(s.shown) < 100 {
			t.Errorf("only %d texts were looked through", len(s.shown))
		}
		for _, found := range leaks(s.hidden, s.shown) {
			t.Error(found)
		}
	})
	return s
}

// accessLog waits until the last answer stands in the log.
func (s *secrets) accessLog(path string) (text string) {
	s.eventually("the access log", func() bool {
		s.call("GET /the-last-one", "")
		all, err := os.ReadFile(path)
		text = string(all)
		return err == nil && strings.Contains(text, "/the-last-one")
	})
	return text
}

// leaks looks for each secret in all that was shown: as it is, in base64 as Basic
// credentials have it, and the parts of it that are as good as the whole.
func leaks(hidden, shown map[string]string) (found []string) {
	for value, what := range hidden {
		spellings := []string{value, base64.StdEncoding.EncodeToString([]byte(value))}
		if parts := strings.Split(value, "."); len(parts) == 3 { // a token, without its header
			spellings = append(spellings, parts[1]+"."+parts[2], parts[2])
		}
		if strings.HasPrefix(value, "gk_") { // an API key, without its id
			spellings = append(spellings, value[20:63])
		}
		for where, text := range shown {
			for _, spelling := range spellings {
				if at := strings.Index(text, spelling); at >= 0 {
					found = append(found, fmt.Sprintf("%s shows the %s: …%q…", where, what, text[max(0, at-80):min(len(text), at+len(spelling)+20)]))
				}
			}
		}
	}
	return found
}

// TestLeaksAreFound in every spelling.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	key := "gk_0123456789abcdef_" + strings.Repeat("k", 49)
	hidden := map[string]string{"open sesame": "password", "aaaa.bbbb.cccc": "token", key: "key"}
	for text, want := range map[string]int{
		"said open sesame twice: open sesame": 1, "Basic " + base64.StdEncoding.EncodeToString([]byte("open sesame")): 1,
		"signed cccc": 1, "bbbb.cccc": 2, "secret " + strings.Repeat("k", 43): 1, "gk_0123456789abcdef": 0, "nothing": 0,
	} {
		if got := leaks(hidden, map[string]string{"log": text}); len(got) != want {
			t.Errorf("%s: %q, want %d", text, got, want)
		}
	}
}

// commands runs those that print something of the configuration, also over a broken one.
func (s *secrets) commands() {
	s.t.Helper()
	file := s.path("gateway.yaml")
	for _, line := range []string{
		"check", "check --json", "config show", "config show --origin", "routes", "routes --json", "explain GET /a", "explain GET /a --json", "explain POST /auth/login",
		"keys list", "keys list --json", "client list", "client list --json", "apikey list", "apikey list --json", "user list", "user list --json", "session list ada@example.com", "session list ada@example.com --json",
		"keys rotate",
	} {
		_, out, stderr := command(append(strings.Fields(line), "-c", file)...)
		s.show("gateway "+line, out+stderr)
	}
	_, out, stderr := command("explain", "GET", "/a?access_token="+s.any("access token"), "-H", "Authorization: Bearer "+s.any("access token"), "-c", file)
	s.show("gateway explain with a token", strings.ReplaceAll(out+stderr, "/a?access_token="+s.any("access token"), "")) // the URL was given by who reads it
	for _, line := range []string{"status", "reload", "status --json"} {
		_, out, stderr := s.command(strings.Fields(line)...)
		s.show("gateway "+line, out+stderr)
	}
}

// any is one secret of a kind.
func (s *secrets) any(kind string) string {
	for _, value := range slices.Sorted(maps.Keys(s.hidden)) {
		if s.hidden[value] == kind {
			return value
		}
	}
	s.t.Fatalf("there is no %s", kind)
	return ""
}

// operators asks the admin listener for all that can be looked at.
func (s *secrets) operators() {
	s.t.Helper()
	address := s.admin.Addr().String()
	for _, path := range []string{
		"/metrics", "/livez", "/readyz", "/health", "/internal/jwks.json", "/admin/routes", "/admin/status", "/admin/snapshot", "/admin/connections", "/admin/services", "/admin/log-level", "/admin/openapi.yaml", "/nothing",
	} {
		head, body := exchange(s.t, address, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "+adminToken+"\r\n\r\n")
		s.show("GET "+path, head+"\n"+body)
		head, body = exchange(s.t, address, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "+s.any("access token")+"\r\n\r\n")
		s.show("GET "+path+" with another token", head+"\n"+body)
	}
}

// traffic does what callers do, well and badly. key is a good API key; its user logs in.
func (s *secrets) traffic(key string) {
	s.t.Helper()
	login := func(password string) string {
		return fmt.Sprintf(`{"email":"ada@example.com","password":%q}`, password)
	}
	bound := "X-Client-Fingerprint: " + fingerprint
	pair := s.post("/auth/login", login(rightPassword))
	if pair.AccessToken == "" {
		s.t.Fatal("nobody can log in")
	}
	own := s.post("/auth/login", login(rightPassword), bound)
	s.post("/auth/login", login(wrongPassword))
	s.post("/auth/login", `{"email":"ada@example.com","password":"`+strings.ReplaceAll(oddPassword, "\u0001", `\u0001`)+`"}`)
	s.post("/auth/login", strings.Replace(login(rightPassword), `"password"`, `"passwort"`, 1))
	s.post("/auth/login", login(rightPassword)[:50])
	s.post("/auth/login", login(rightPassword), "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("ada@example.com:"+wrongPassword)))
	s.call("POST /auth/login?password="+rightPassword, "x")

	bearer := func(token string) string { return "Authorization: Bearer " + token }
	xkey := func(key string) string { return "X-API-Key: " + key }
	for _, fields := range [][]string{
		{bearer(pair.AccessToken)}, {bearer(pair.AccessToken + "x")}, {bearer(pair.RefreshToken)}, {bearer(own.AccessToken)}, {bearer(own.AccessToken), bound},
		{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ada:"+wrongPassword))}, {"Authorization: " + pair.AccessToken},
		{bearer(pair.AccessToken), bearer(pair.AccessToken)}, {xkey(key)}, {xkey(key + "x")}, {xkey(key[:63] + "000000")}, {xkey(key), xkey(key)}, {xkey(pair.AccessToken)}, {bearer(key)}, {},
		{"Cookie: __Secure-refresh=" + pair.RefreshToken},
	} {
		for _, path := range []string{"/a", "/pass", "/nowhere"} {
			s.call("GET "+path, "", fields...)
		}
	}
	s.call("GET /a?access_token="+pair.AccessToken+"&api_key="+key, "")
	s.call("GET /a HTTP/1.0\r\n"+bearer(pair.AccessToken)+"\r\nX: y", "") // not one line
	ticket := s.post("/auth/tickets", `{"path":"/a"}`, bearer(pair.AccessToken))
	for range 2 {
		s.call("GET /a?ticket="+ticket.Ticket, "")
	}
	s.call("GET /a?ticket="+s.hide("wrong ticket", "wrongticketwrongticketwrong"), "")
	next := s.post("/auth/refresh", "", bearer(pair.RefreshToken))
	s.call("GET /a", "", bearer(next.AccessToken))
	s.post("/auth/refresh", "", bearer(pair.RefreshToken)) // shown again, after its grace
	s.post("/auth/refresh", fmt.Sprintf(`{"refreshToken":%q}`, next.RefreshToken[:len(next.RefreshToken)-4]))
	s.post("/auth/refresh", fmt.Sprintf(`{"refreshToken":%q,"more":%q}`, next.RefreshToken, wrongPassword))
	last := s.post("/auth/login", login(rightPassword))
	s.post("/auth/password", fmt.Sprintf(`{"currentPassword":%q,"newPassword":%q}`, wrongPassword, newPassword), bearer(last.AccessToken))
	s.post("/auth/mfa/verify", fmt.Sprintf(`{"code":%q}`, wrongPassword), bearer(last.AccessToken))
	s.call("POST /auth/logout", "", bearer(last.RefreshToken))
	s.call("GET /a", "", bearer(last.AccessToken))
}

// broken reloads configurations that hold secrets in wrong places.
func (s *secrets) broken(text string) {
	s.t.Helper()
	for _, change := range [][2]string{
		{"telemetry:", "password: " + rightPassword + "\ntelemetry:"},
		{"token: \"", "token: [\"x\"], token: \""},
		{"certificate_file:", "key: \"" + clientSecret + "\", certificate_file:"},
		{"auth: {accept:", "auth: {key: \"" + rightPassword + "\", accept:"},
	} {
		if !strings.Contains(text, change[0]) {
			s.t.Fatalf("no %s in the configuration", change[0])
		}
		s.write("gateway.yaml", strings.Replace(text, change[0], change[1], 1))
		_ = s.Reload(triggerSignal)
	}
	s.write("gateway.yaml", text)
	_ = s.Reload(triggerSignal)
}

// passwordHash hashes as `gateway hash password` does.
func passwordHash(t *testing.T, password string) string {
	t.Helper()
	hash, err := account.NewPasswords(account.PasswordsOptions{}).Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return hash.Reveal()
}

// TestC11_NoSecretIsShownFromTheFile runs a gateway whose secrets stand in files.
func TestC11_NoSecretIsShownFromTheFile(t *testing.T) {
	t.Parallel()
	redis := testenv.NewRedis(t, "--requirepass", redisPassword)
	client, err := bcrypt.GenerateFromPassword([]byte(clientSecret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	var key hashedKey
	if _, out, _ := command("hash", "key", "--json"); json.Unmarshal([]byte(out), &key) != nil {
		t.Fatal(out)
	}
	hash := passwordHash(t, rightPassword)
	seal := base64.StdEncoding.EncodeToString([]byte("sealing-key-of-the-test-32-bytes"))
	text := strings.NewReplacer("REDIS", redis.Address(), "PASSWORD", redisPassword, "SEAL", seal, "HASH", hash, "CLIENT", string(client), "KEYHASH", key.Hash, "KEYID", key.ID, "TOTP", totp).Replace(`
stores: {redis: {addresses: "REDIS", password: "PASSWORD"}}
identity:
  signing_keys: {encryption_key: "SEAL"}
  refresh_grace: 0s
  throttle: {per_account: 1000/1m, refused: 1000/1m}
  web: {origins: ["https://app.example.com"]}
  users:
    ada@example.com: {password_hash: "HASH", scopes: [courses]}
    bob@example.com: {password_hash: "HASH", totp: "TOTP"}
  clients: {c: {secret_hash: "CLIENT", scopes: [courses]}}
  api_keys: {KEYID: {hash: "KEYHASH", client: c, scopes: [courses]}}
`)
	s := newSecrets(t, text, map[string]string{
		redisPassword: "Redis password", hash: "password hash", string(client): "client's hash", key.Key: "API key", key.Hash: "API key's hash", seal: "sealing key", totp: "TOTP secret",
	})
	s.traffic(key.Key)
	s.commands()
	s.operators()
	s.broken(s.text)
	redis.Stop()
	s.traffic(key.Key)
	s.operators()
}

// TestC11_NoSecretIsShownFromPostgreSQL runs one whose secrets stand in its stores, which go away.
func TestC11_NoSecretIsShownFromPostgreSQL(t *testing.T) {
	t.Parallel()
	redis := testenv.NewRedis(t, "--requirepass", redisPassword)
	database := testenv.NewPostgres(t)
	where, err := url.Parse(database.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	where.User = url.UserPassword(where.User.Username(), pgPassword)
	seal := strings.Repeat("5ec2e75e", 8)
	s := newSecrets(t, strings.NewReplacer("REDIS", redis.Address(), "PASSWORD", redisPassword, "SEAL", seal, "URL", where.String()).Replace(`
stores: {redis: {addresses: "REDIS", password: "PASSWORD"}, postgres: {url: "URL"}}
identity:
  signing_keys: {encryption_key: "SEAL"}
  refresh_grace: 0s
  throttle: {per_account: 1000/1m, refused: 1000/1m}
`), map[string]string{redisPassword: "Redis password", pgPassword: "PostgreSQL password", seal: "sealing key"})
	accounts, err := s.identity.accounts()
	if err != nil {
		t.Fatal(err)
	}
	held, err := principal.NewScopes([]string{"courses"})
	if err != nil {
		t.Fatal(err)
	}
	user, err := accounts.Create(t.Context(), "ada@example.com", rightPassword, held)
	if err != nil {
		t.Fatal(err)
	}
	key, made, err := s.identity.apiKeys.Create(t.Context(), apikey.NewKey{Name: "k", User: user.ID, Scopes: []string{"courses"}})
	if err != nil {
		t.Fatal(err)
	}
	s.hide("API key", key)
	s.traffic(key)
	s.commands()
	s.operators()
	if _, err := s.identity.apiKeys.Rotate(t.Context(), made.Principal.Key, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.broken(s.text)
	redis.Stop()
	database.Stop()
	s.post("/auth/login", fmt.Sprintf(`{"email":"ada@example.com","password":%q}`, rightPassword))
	s.call("GET /a", "", "X-API-Key: "+strings.Replace(key, key[3:19], "0000000000000000", 1))
	s.call("GET /a", "", "Authorization: Bearer "+s.any("access token"))
	s.commands()
	s.operators()
}
