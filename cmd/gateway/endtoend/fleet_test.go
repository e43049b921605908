package endtoend

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/testenv"
)

// fleet is three gateways that share nothing but PostgreSQL and Redis.
type fleet struct {
	t         *testing.T
	instances [3]*served
	dir       string // of a configuration for commands
	postgres  *testenv.PostgresServer
	redis     *testenv.RedisServer
}

const fleetYAML = `
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: state
shutdown: {delay: 0s}
stores: {postgres: {url_file: url}, redis: {addresses: "REDIS"}}
identity: {signing_keys: {encryption_key_file: key}}
telemetry: {log: {level: info}}
`

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, postgres: testenv.NewPostgres(t), redis: testenv.NewRedis(t)}
	all := []string{
		"stores.yaml", strings.Replace(fleetYAML, "REDIS", f.redis.Address(), 1),
		"gateway.yaml", "routes: {a: {match: {path: /a}, respond: {status: 200, body: in}}}\n",
		"url", f.postgres.Database(t), "key", strings.Repeat("5a", 32),
	}
	f.dir = files(t, all...)
	for i := range f.instances {
		f.instances[i] = serveFiles(t, all...)
	}
	return f
}

// command runs a command that must succeed, and reads the JSON that it prints.
func (f *fleet) command(into any, text string, args ...string) {
	f.t.Helper()
	decode(f.t, into, typed(f.t, f.dir, text, append(args, "--json", "-c", "stores.yaml", "-c", "gateway.yaml")...))
}

// pair is what a login answers with.
type pair struct{ AccessToken, RefreshToken, SessionID string }

// login logs in at one instance.
func (f *fleet) login(at int, email string) (p pair) {
	f.t.Helper()
	body := fmt.Sprintf(`{"email":%q,"password":%q}`, email, goodPassword)
	answer := gatewaytest.Do(f.t, f.instances[at].public, fmt.Sprintf("POST /auth/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	_, text, _ := strings.Cut(answer, "\r\n\r\n")
	if err := json.Unmarshal([]byte(text), &p); err != nil || p.AccessToken == "" {
		f.t.Fatalf("the login was answered with %s", answer)
	}
	return p
}

// call is the status, and the code of a fault, that one instance answers to a credential.
func (f *fleet) call(at int, credential string) string {
	f.t.Helper()
	return came(strings.ReplaceAll(gatewaytest.Do(f.t, f.instances[at].public, "GET /a HTTP/1.1\r\nHost: h\r\n"+credential+"\r\n\r\n"), "\r\n", "\n"))[0]
}

// refusedWithin wants all instances to refuse a credential with an outcome soon, and says
// when the last of them did.
func (f *fleet) refusedWithin(limit time.Duration, credential, outcome string) time.Duration {
	f.t.Helper()
	begun := time.Now()
	for i := range f.instances {
		for got := f.call(i, credential); got != outcome; got = f.call(i, credential) {
			if got != "200" || time.Since(begun) > limit {
				f.t.Fatalf("after %s instance %d answers %q, want %q", time.Since(begun), i, got, outcome)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return time.Since(begun)
}

func (f *fleet) logout(at int, p pair) {
	f.t.Helper()
	answer := gatewaytest.Do(f.t, f.instances[at].public, "POST /auth/logout HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "+p.RefreshToken+"\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 204 ") {
		f.t.Fatalf("the logout was answered with %s", answer)
	}
}

// Log in on one, be refused on another after logout on the third (SPEC ID3); the same
// for what commands revoke.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var user struct{ ID string }
	f.command(&user, goodPassword, "user", "create", "ada@example.com")
	bearer := func(p pair) string { return "Authorization: Bearer " + p.AccessToken }
	good := func(credential string) {
		t.Helper()
		for i := range f.instances {
			if got := f.call(i, credential); got != "200" {
				t.Fatalf("instance %d answers %q", i, got)
			}
		}
	}

	var took []time.Duration
	for i := range 20 {
		p := f.login(i%3, "ada@example.com")
		good(bearer(p))
		f.logout((i+2)%3, p)
		took = append(took, f.refusedWithin(time.Second, bearer(p), "401 token_revoked"))
	}
	slices.Sort(took)
	t.Logf("logout → refused by all of three: median %s, at most %s", took[len(took)/2], took[len(took)-1])

	var done struct{ Result string }
	p := f.login(0, "ada@example.com")
	good(bearer(p))
	f.command(&done, "", "session", "revoke", p.SessionID)
	f.refusedWithin(time.Second, bearer(p), "401 token_revoked")

	var client, key struct{ ID, Key string }
	f.command(&client, "", "client", "create", "--name", "portal")
	f.command(&key, "", "apikey", "create", "--name", "ci", "--client", client.ID)
	good("X-API-Key: " + key.Key)
	f.command(&done, "", "apikey", "revoke", key.ID)
	f.refusedWithin(time.Second, "X-API-Key: "+key.Key, "401 invalid_credentials")

	// A key that signs is compromised: what it signed is good nowhere, and logins go on.
	var keys []struct{ Kid, Purpose, Phase string }
	p = f.login(1, "ada@example.com")
	good(bearer(p))
	f.command(&keys, "", "keys", "list")
	for _, k := range keys {
		if k.Purpose == "access" && k.Phase == "current" {
			f.command(&keys, "", "keys", "rotate", "--compromised", k.Kid)
		}
	}
	f.refusedWithin(2*time.Second, bearer(p), "401 token_invalid")
	good(bearer(f.login(2, "ada@example.com")))

	// Without Redis PostgreSQL tells it.
	f.redis.Stop()
	p = f.login(0, "ada@example.com")
	good(bearer(p))
	f.logout(1, p)
	f.refusedWithin(2*time.Second, bearer(p), "401 token_revoked")
	f.redis.Start()

	p = f.login(1, "ada@example.com")
	good(bearer(p))
	f.command(&done, "", "user", "disable", "ada@example.com")
	f.refusedWithin(2*time.Second, bearer(p), "401 token_revoked")
}
