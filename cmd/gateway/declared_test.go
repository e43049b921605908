package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/admin"
)

// called is the status, and the code of a fault, that the program answers to a credential.
func (r *running) called(field string) string {
	r.t.Helper()
	head, body := exchange(r.t, r.gateway.Address("public").String(), "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+field+"\r\n\r\n")
	var fault struct{ Code string }
	_ = json.Unmarshal([]byte(body), &fault) // what is no fault has none
	return strings.TrimSpace(strings.Fields(head)[1] + " " + fault.Code)
}

// tried logs in, and returns the access token as a field, or the fault's code.
func (r *running) tried(email, password string) (bearer, fault string) {
	r.t.Helper()
	login := fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
	_, body := exchange(r.t, r.gateway.Address("public").String(), fmt.Sprintf(
		"POST /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(login), login))
	var answer struct{ AccessToken, Code string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		r.t.Fatalf("%v in %s", err, body)
	}
	return "Authorization: Bearer " + answer.AccessToken, answer.Code
}

// TestS1_ReloadsPutDeclaredUsersAndKeysInForce, end the sessions of those who are gone or have
// another password, and change nothing of others; a reload that is refused changes nobody.
func TestS1_ReloadsPutDeclaredUsersAndKeysInForce(t *testing.T) {
	t.Parallel()
	const password, other = "Correct-horse7!", "Another-horse7!"
	hash, second := passwordHash(t, password), passwordHash(t, other)
	keys := make([]hashedKey, 2)
	for i := range keys {
		if _, out, _ := command("hash", "key", "--json"); json.Unmarshal([]byte(out), &keys[i]) != nil {
			t.Fatal(out)
		}
	}
	key := func(i int) string {
		return fmt.Sprintf("    %q: {hash: %q, client: c, scopes: []}\n", keys[i].ID, keys[i].Hash)
	}
	user := func(name, hash, more string) string {
		return fmt.Sprintf("    %s@example.com: {password_hash: %q%s}\n", name, hash, more)
	}
	file := func(audience, users, client, keys string) string {
		return body("x") + "  a: {match: {path: /a}, respond: {body: in}, plugins: {auth: {accept: [jwt, api_key]}}}\n" +
			"identity:\n  audience: " + audience + "\n  users:\n" + users + "  clients: {c: {" + client + "}}\n  api_keys:\n" + keys
	}
	r := boot(t, file("one", user("ada", hash, "")+user("bob", hash, "")+user("cat", hash, ""), "", key(0)), serveOptions{})
	reload := func(text, result string, problems int) {
		t.Helper()
		r.write("gateway.yaml", text)
		if o := r.Reload(triggerSignal); o.Result != result || len(o.Problems) != problems {
			t.Fatalf("reloading: %+v", o)
		}
	}
	expect := func(what, field, want string) {
		t.Helper()
		r.eventually(what+": "+want, func() bool { return r.called(field) == want })
	}
	ada, _ := r.tried("ada@example.com", password)
	bob, _ := r.tried("bob@example.com", password)
	cat, _ := r.tried("cat@example.com", password)
	first, next := "X-API-Key: "+keys[0].Key, "X-API-Key: "+keys[1].Key
	for what, field := range map[string]string{"ada": ada, "bob": bob, "cat": cat, "the key": first} {
		expect(what, field, "200")
	}

	broken := file("one", user("eve", hash, ""), "", key(1)) + "services: {s: {endpoints: [{url: \"http://127.0.0.1:9\"}]}, t: 1}\n"
	r.write("gateway.yaml", broken)
	if o := r.Reload(triggerSignal); o.Result != admin.Refused {
		t.Fatalf("reloading: %+v", o)
	}
	for what, field := range map[string]string{"ada": ada, "bob": bob, "the key": first} {
		expect(what+" after a refusal", field, "200")
	}

	reload(file("one", user("ada", hash, ", scopes: [courses]")+user("bob", hash, ", active: false")+user("cat", second, "")+user("eve", hash, ""), "", key(1)), admin.Applied, 0)
	expect("ada, who stays", ada, "200")
	expect("bob, who is switched off", bob, "401 token_revoked")
	expect("cat, whose password is another", cat, "401 token_revoked")
	expect("the key that is gone", first, "401 invalid_credentials")
	expect("the key that is new", next, "200")
	for email, want := range map[string][2]string{
		"ada@example.com": {"", "invalid_credentials"}, "bob@example.com": {"invalid_credentials", "invalid_credentials"},
		"cat@example.com": {"invalid_credentials", ""}, "eve@example.com": {"", "invalid_credentials"},
	} {
		_, one := r.tried(email, password)
		_, two := r.tried(email, other)
		if one != want[0] || two != want[1] {
			t.Errorf("%s: %q and %q, want %q", email, one, two, want)
		}
	}

	reload(file("two", user("ada", hash, ""), "active: false", key(1)), admin.Applied, 1) // the audience waits for a start
	expect("the key of a client that is switched off", next, "401 invalid_credentials")
	expect("ada", ada, "200")
	if _, fault := r.tried("eve@example.com", password); fault != "invalid_credentials" {
		t.Errorf("eve, who is gone: %q", fault)
	}
}

// TestID4_ImportedPasswordsLogIn, though they follow none of the rules for new ones.
func TestID4_ImportedPasswordsLogIn(t *testing.T) {
	t.Parallel()
	r := boot(t, body("x")+"identity: {users: {ada@example.com: {password_hash: \""+passwordHash(t, "weak")+"\"}}}\n", serveOptions{})
	for password, want := range map[string]string{"weak": "", "Weak": "invalid_credentials", "": "validation_failed", strings.Repeat("x", 129): "validation_failed"} {
		if _, fault := r.tried("ada@example.com", password); fault != want {
			t.Errorf("%q: %q, want %q", password, fault, want)
		}
	}
}
