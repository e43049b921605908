package endtoend

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/testenv"
)

// stored is a folder with a configuration that names a database of the test's own.
func stored(t *testing.T, url string) (dir string) {
	t.Helper()
	return files(t, "gateway.yaml", `
stores: {postgres: {url_file: url}}
identity: {signing_keys: {encryption_key_file: key}}
routes: {a: {match: {path: /a}, respond: {status: 200}, plugins: {auth: off}}}
telemetry: {log: {level: error}}
`, "url", url+"\n", "key", strings.Repeat("5a", 32)+"\n")
}

// typed runs one command line with text on its standard input.
func typed(t *testing.T, dir, text string, args ...string) result {
	t.Helper()
	c := command(dir, args...)
	c.Stdin = strings.NewReader(text)
	return finished(t, c)
}

// decode runs a command that must succeed, and reads the JSON that it prints.
func decode(t *testing.T, into any, r result) {
	t.Helper()
	if r.code != exitOK {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.err)
	}
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		t.Fatalf("%v in %s", err, r.out)
	}
}

var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

func TestMigrate(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	dir := stored(t, server.NewDatabase(t))
	if r := do(t, dir, "migrate", "status"); r.code != exitRefused || !strings.Contains(r.out, "00001_gateway.sql") || strings.Contains(r.out, "T0") || r.err != "" {
		t.Errorf("status of a new database: %+v", r)
	}
	var steps []struct {
		Number int
		Name   string
		Done   *time.Time
	}
	decode(t, &steps, do(t, dir, "migrate", "up", "--json"))
	if len(steps) == 0 || steps[0].Number != 1 || steps[0].Name != "00001_gateway.sql" || steps[0].Done == nil {
		t.Errorf("up told of %+v", steps)
	}
	do(t, dir, "migrate", "up").wants(t, exitOK, "nothing to do: all steps are done\n", "")
	do(t, dir, "migrate", "up", "--json").wants(t, exitOK, "[]\n", "")
	r := do(t, dir, "migrate", "status")
	if r.code != exitOK || len(times.FindAllString(r.out, -1)) != len(steps) {
		t.Errorf("status: %+v", r)
	}
	do(t, dir, "migrate", "down").wants(t, exitUsage, "",
		"gateway: what stands in the tables of the last step would be lost; say --yes if that is meant\n`gateway migrate down --help` shows how it is used.\n")
	last := steps[len(steps)-1].Name
	if r := do(t, dir, "migrate", "down", "--yes"); r.code != exitOK || !strings.Contains(r.out, last) {
		t.Errorf("down: %+v", r)
	}
	if r := do(t, dir, "migrate", "status"); r.code != exitRefused || !strings.Contains(r.out, last) {
		t.Errorf("status after down: %+v", r)
	}
	server.Stop()
	if r := do(t, dir, "migrate", "up"); r.code != exitFailed || !strings.HasPrefix(r.err, "gateway: connecting to PostgreSQL: ") {
		t.Errorf("without a server: %+v", r)
	}
}

func TestCommandsNeedPostgres(t *testing.T) {
	t.Parallel()
	dir := files(t, "gateway.yaml", "routes: {a: {match: {path: /a}, respond: {status: 200}, plugins: {auth: off}}}\n")
	for _, line := range []string{"migrate up", "migrate status", "client list", "apikey list"} {
		r := do(t, dir, strings.Fields(line)...)
		if r.code != exitFailed || !strings.HasPrefix(r.err, "gateway: the configuration names no PostgreSQL: stores: {postgres: {url_file: …}}") || r.out != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

const goodPassword = "Correct-horse7!"

func TestClientAndKeyCommands(t *testing.T) {
	t.Parallel()
	dir := stored(t, testenv.Postgres(t))
	var client struct {
		ID, Name, Secret string
		Scopes           []string
		Active           bool
	}
	decode(t, &client, do(t, dir, "client", "create", "--name", "portal", "--scopes", "content", "--json"))
	if client.ID == "" || client.Name != "portal" || len(client.Secret) < 40 || !client.Active {
		t.Errorf("made %+v", client)
	}
	if r := do(t, dir, "client", "list", "--json"); strings.Contains(r.out, client.Secret) || strings.Contains(r.out, "$2") || !strings.Contains(r.out, client.ID) {
		t.Errorf("listed %s", r.out)
	}
	if r := do(t, dir, "client", "create", "--name", "second"); r.code != exitOK || r.err != "Keep this secret now: it can't be shown again.\n" || !regexp.MustCompile(`^id      \S+\nsecret  \S+\n$`).MatchString(r.out) {
		t.Errorf("made %+v", r)
	}

	var key struct{ ID, Key string }
	decode(t, &key, do(t, dir, "apikey", "create", "--name", "ci", "--client", client.ID, "--scopes", "content:read", "--allow-from", "192.0.2.0/24", "--expires", "2099-01-31", "--json"))
	if len(key.ID) != 16 || !strings.HasPrefix(key.Key, "gk_"+key.ID+"_") {
		t.Errorf("made %+v", key)
	}
	r := do(t, dir, "apikey", "rotate", key.ID, "--overlap", "1h")
	if r.code != exitOK || !strings.Contains(r.out, "gk_"+key.ID+"_") || strings.Contains(r.out, key.Key) || r.err != "Keep this key now: it can't be shown again.\n" {
		t.Errorf("rotated: %+v", r)
	}
	if r := do(t, dir, "apikey", "rotate", key.ID); r.code != exitRefused || !strings.Contains(r.err, "rotated") {
		t.Errorf("rotated again: %+v", r)
	}
	if r := do(t, dir, "apikey", "list"); !regexp.MustCompile(`\n` + key.ID + ` +ci +` + client.ID + ` +- +content:read +2 +yes +2099-01-31T00:00:00Z +never\n$`).MatchString(r.out) {
		t.Errorf("listed %s", r.out)
	}
	do(t, dir, "apikey", "usage", key.ID, "--json").wants(t, exitOK, "[]\n", "")
	if r := do(t, dir, "apikey", "usage", key.ID); !strings.HasPrefix(r.out, "HOUR") {
		t.Errorf("usage: %+v", r)
	}
	do(t, dir, "apikey", "revoke", key.ID).wants(t, exitOK, "revoked "+key.ID+"\n", "")
	do(t, dir, "client", "disable", client.ID).wants(t, exitOK, "disabled "+client.ID+"\n", "")
	if r := do(t, dir, "apikey", "list", "--json"); !strings.Contains(r.out, `"active":false`) || strings.Contains(r.out, "sha256") {
		t.Errorf("listed %s", r.out)
	}
	for _, line := range []string{
		"apikey create --client " + client.ID + " --allow-from here", "apikey create --expires soon", "apikey usage " + key.ID + " --from then", "apikey usage " + key.ID + " --to then",
		"apikey rotate", "apikey revoke a b", "client disable",
	} {
		if r := do(t, dir, strings.Fields(line)...); r.code != exitUsage || r.out != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	for _, line := range []string{
		"apikey create --name x", "apikey create --name x --client 00000000-0000-0000-0000-000000000000", "apikey rotate 0000000000000000", "apikey revoke 0000000000000000",
		"client disable 00000000-0000-0000-0000-000000000000", "apikey usage 0000000000000000",
	} {
		if r := do(t, dir, strings.Fields(line)...); r.code != exitRefused || r.out != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	dir := files(t)
	if r := typed(t, dir, goodPassword+"\r\n", "hash", "password"); r.code != exitOK || !strings.HasPrefix(r.out, "$argon2id$v=19$m=32768,t=2,p=1$") || r.err != "" {
		t.Errorf("password: %+v", r)
	}
	if r := typed(t, dir, "secret of a client", "hash", "secret"); r.code != exitOK || !strings.HasPrefix(r.out, "$2a$10$") || len(r.out) != 61 {
		t.Errorf("secret: %+v", r)
	}
	if r := typed(t, dir, strings.Repeat("s", 73), "hash", "secret"); r.code != exitRefused || r.out != "" {
		t.Errorf("a secret that bcrypt would cut: %+v", r)
	}
	if r := typed(t, dir, strings.Repeat("s", 5000), "hash", "password"); r.code != exitUsage || r.out != "" {
		t.Errorf("a password without end: %+v", r)
	}
	var key struct{ ID, Key, Hash string }
	decode(t, &key, do(t, dir, "hash", "key", "--json"))
	if !strings.HasPrefix(key.Key, "gk_"+key.ID+"_") || !strings.HasPrefix(key.Hash, "sha256:") {
		t.Errorf("key: %+v", key)
	}
}

// What the hashes are for takes them.
func TestHashesStandInConfigurations(t *testing.T) {
	t.Parallel()
	dir := files(t)
	password := strings.TrimSpace(typed(t, dir, goodPassword, "hash", "password").out)
	secret := strings.TrimSpace(typed(t, dir, "secret of a client", "hash", "secret").out)
	_, entry, _ := strings.Cut(do(t, dir, "hash", "key").out, "\n\n")
	entry = strings.Replace(entry, "CLIENT", "portal", 1)
	dir = files(t, "gateway.yaml", entry+`  clients: {portal: {secret_hash: "`+secret+`"}}
  users: {ada@example.com: {password_hash: "`+password+`"}}
routes: {a: {match: {path: /a}, respond: {status: 200}, plugins: {auth: off}}}
`)
	do(t, dir, "check").wants(t, exitOK, "ok: 0 services, 1 route\n", "")
}

func TestKeysCommands(t *testing.T) {
	t.Parallel()
	dir := files(t, "gateway.yaml", "directory: state\nidentity: {}\nroutes: {a: {match: {path: /a}, respond: {status: 200}, plugins: {auth: off}}}\ntelemetry: {log: {level: error}}\n")
	do(t, dir, "keys", "list").wants(t, exitRefused, "", "gateway: there are no signing keys yet: a gateway makes them at its first start\n")
	if out, err := exec.Command("ls", dir).Output(); err != nil || string(out) != "gateway.yaml\n" {
		t.Errorf("looking made files: %s %v", out, err)
	}
}
