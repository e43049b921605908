package endtoend

import (
	"regexp"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/testenv"
)

func TestUserCommands(t *testing.T) {
	t.Parallel()
	dir := stored(t, testenv.Postgres(t))
	type user struct {
		ID, Email   string
		Scopes      []string
		Active, MFA bool
	}
	var made user
	decode(t, &made, typed(t, dir, goodPassword+"\n", "user", "create", "Ada@Example.com", "--scopes", "courses,content:read", "--json"))
	if made.ID == "" || made.Email != "ada@example.com" || strings.Join(made.Scopes, " ") != "content:read courses" || !made.Active || made.MFA {
		t.Errorf("made %+v", made)
	}
	for name, c := range map[string]struct {
		text, args, err string
		code            int
	}{
		"a weak password":       {"weak\n", "user create b@example.com", "gateway: the password is refused", exitRefused},
		"no password":           {"", "user create b@example.com", "gateway: want the password as the first line", exitUsage},
		"a scope that is none":  {goodPassword, "user create b@example.com --scopes a:", `gateway: scope "a:" has an empty level`, exitUsage},
		"an address again":      {goodPassword, "user create ada@example.com", "gateway: ", exitRefused},
		"no address":            {goodPassword, "user create nobody", "gateway: ", exitRefused},
		"a password in sight":   {"", "user create b@example.com " + goodPassword, "gateway: want one word", exitUsage},
		"somebody unknown":      {"", "user disable c@example.com", "gateway: ", exitRefused},
		"a password of nobody":  {goodPassword, "user passwd c@example.com", "gateway: ", exitRefused},
		"a second factor of no": {"", "user reset-mfa c@example.com", "gateway: ", exitRefused},
	} {
		r := typed(t, dir, c.text, strings.Fields(c.args)...)
		if r.code != c.code || !strings.HasPrefix(r.err, c.err) || r.out != "" {
			t.Errorf("%s: %+v", name, r)
		}
		if strings.Contains(r.err, goodPassword) && !strings.Contains(name, "sight") {
			t.Errorf("%s: the password is shown: %s", name, r.err)
		}
	}
	typed(t, dir, "Another-horse7!\n", "user", "passwd", made.ID).wants(t, exitOK, "changed the password of ada@example.com\n", "")
	do(t, dir, "user", "reset-mfa", "ada@example.com").wants(t, exitOK, "removed the second factor of ada@example.com\n", "")
	do(t, dir, "user", "disable", "ada@example.com", "--json").wants(t, exitOK, `{"id":"ada@example.com","result":"disabled"}`+"\n", "")
	var all []user
	decode(t, &all, do(t, dir, "user", "list", "--json"))
	if len(all) != 1 || all[0].ID != made.ID || all[0].Active {
		t.Errorf("listed %+v", all)
	}
	if r := do(t, dir, "user", "list"); !regexp.MustCompile(`^ID +EMAIL +SCOPES +ACTIVE +MFA +CREATED\n` + made.ID + ` +ada@example\.com +content:read,courses +no +no +\d`).MatchString(r.out) {
		t.Errorf("listed %s", r.out)
	}
	do(t, dir, "session", "list", "ada@example.com", "--json").wants(t, exitOK, "[]\n", "")
	if r := do(t, dir, "session", "revoke", "no-such-session"); r.code != exitRefused {
		t.Errorf("revoking an unknown session: %+v", r)
	}
}

func TestUserCommandsNeedPostgres(t *testing.T) {
	t.Parallel()
	dir := files(t, "gateway.yaml", "routes: {a: {match: {path: /a}, respond: {status: 200}, plugins: {auth: off}}}\n")
	for _, line := range []string{"user list", "session list a@b.example", "session revoke a"} {
		if r := do(t, dir, strings.Fields(line)...); r.code != exitFailed || !strings.HasPrefix(r.err, "gateway: the configuration names no PostgreSQL") {
			t.Errorf("%s: %+v", line, r)
		}
	}
}
