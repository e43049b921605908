package endtoend

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/testenv"
)

// diagnosis is what `gateway doctor --json` printed, by check.
type diagnosis map[string]struct{ State, Check, Text, Do string }

// diagnose runs doctor in dir, and wants it to exit with code.
func diagnose(t *testing.T, dir string, code int, args ...string) diagnosis {
	t.Helper()
	r := do(t, dir, append([]string{"doctor", "--json"}, args...)...)
	var all []struct{ State, Check, Text, Do string }
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || r.code != code || r.err != "" {
		t.Errorf("%v, exit code %d, want %d:\n%s%s", err, r.code, code, r.out, r.err)
	}
	d := diagnosis{}
	for _, f := range all {
		if f.State != "ok" && (f.Text == "" || f.Do == "") {
			t.Errorf("a diagnosis that does not say what to do: %+v", f)
		}
		d[f.Check] = f
	}
	return d
}

// wants compares one diagnosis's state, and looks for words in its text.
func (d diagnosis) wants(t *testing.T, check, state string, words ...string) {
	t.Helper()
	f, found := d[check]
	if !found || f.State != state {
		t.Errorf("%s: want %s, got %+v", check, state, f)
	}
	for _, w := range words {
		if !strings.Contains(f.Text+" -> "+f.Do, w) {
			t.Errorf("%s: want %q in %q -> %q", check, w, f.Text, f.Do)
		}
	}
}

// taken is an address of loopback at which somebody listens until the test ends.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// closed is an address of loopback at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
}

func TestS4_DoctorOfAHealthyPlace(t *testing.T) {
	t.Parallel()
	redis := testenv.NewRedis(t)
	endpoint := taken(t)
	dir := files(t, "url", testenv.Postgres(t)+"\n", "key", strings.Repeat("5a", 32)+"\n", "gateway.yaml", fmt.Sprintf(`
listen: {public: {address: %q}}
admin: {address: %q}
directory: state
stores: {postgres: {url_file: url}, redis: {addresses: %q}}
identity: {signing_keys: {encryption_key_file: key}}
services: {a: {endpoints: [{url: "http://%s"}]}}
routes: {a: {match: {path: /a}, service: a, plugins: {auth: off}}}
`, closedAddress(t), closedAddress(t), redis.Address(), endpoint))
	d := diagnose(t, dir, exitOK)
	for check, words := range map[string]string{
		"configuration": "1 service, 1 route", "files": "3 files", "secrets": "2 files", "directory": "first start", "gateway": "none runs",
		"listener public": "is free", "admin listener": "is free", "postgres": "version", "migrations": "steps are done",
		"redis " + redis.Address(): "master, 0 replicas, maxmemory-policy noeviction", "service a": "1 of 1 endpoints",
	} {
		d.wants(t, check, "ok", words)
	}
	for _, check := range []string{"clock", "open files"} {
		if f := d[check]; f.State != "ok" && f.State != "warn" {
			t.Errorf("%s: %+v", check, f)
		}
	}
	text := do(t, dir, "doctor")
	if text.code != exitOK || strings.Count(text.out, "\n") != len(d) || !strings.HasPrefix(text.out, "ok    configuration") {
		t.Errorf("as text: %d\n%s", text.code, text.out)
	}
}

func TestS4_DoctorOfASickPlace(t *testing.T) {
	t.Parallel()
	redis := testenv.NewRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru", "--requirepass", "topsecret1")
	database := testenv.NewPostgres(t)
	at, err := url.Parse(database.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("gateway", "topsecret2")
	authority := certificatetest.NewAuthority(t)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	expired := authority.IssueWith(t, own, func(c *x509.Certificate) {
		c.DNSNames, c.NotBefore, c.NotAfter = []string{"a.example"}, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	})
	busy, operators, up, mute, down := taken(t), taken(t), taken(t), taken(t), closedAddress(t)
	dir := files(t, "url", at.String()+"\n", "key", strings.Repeat("5a", 32)+"\n", "password", "topsecret1\n", "gateway.yaml", fmt.Sprintf(`
listen: {public: {address: %q, tls: {certificates: [{certificate_file: c.pem, key_file: c.key}]}}}
admin: {address: %q}
directory: state
limits: {connections: 5000000}
stores: {postgres: {url_file: url}, redis: {addresses: %q, password_file: password}}
identity: {signing_keys: {encryption_key_file: key}}
services:
  a: {endpoints: [{url: "http://%s"}, {url: "http://%s"}]}
  b: {endpoints: [{url: "http://%s"}]}
  c: {endpoints: [{url: "http://nowhere.invalid:80"}]}
  d: {endpoints: [{url: "https://%s"}]}
  e: {consul: {service: shop}}
discovery: {consul: {address: "http://%s"}}
routes: {a: {match: {path: /a}, service: a, plugins: {auth: off}}}
`, busy, operators, redis.Address(), up, down, down, mute, down))
	expired.Write(t, dir, "c")
	for name, mode := range map[string]os.FileMode{"password": 0o644, "gateway.yaml": 0o666, "key": 0o600} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := diagnose(t, dir, exitRefused)
	d.wants(t, "configuration", "warn", "gateway check")
	d.wants(t, "files", "fail", "gateway.yaml", "chmod o-w")
	d.wants(t, "secrets", "fail", "password", "chmod")
	d.wants(t, "directory", "fail", "mode 0755", "chmod 700")
	d.wants(t, "gateway", "ok", "none runs")
	d.wants(t, "listener public", "fail", busy, "ss -ltnp")
	d.wants(t, "admin listener", "fail", operators)
	d.wants(t, "certificate of listener public", "fail", "expired on")
	d.wants(t, "open files", "fail", "limits.connections is 5000000")
	d.wants(t, "postgres", "ok")
	d.wants(t, "migrations", "fail", "00001_gateway.sql", "gateway migrate up")
	d.wants(t, "redis "+redis.Address(), "fail", "allkeys-lru", "noeviction")
	d.wants(t, "service a", "warn", "1 of 2", down)
	d.wants(t, "service b", "fail", "no endpoint", down)
	d.wants(t, "service c", "fail", "nowhere.invalid")
	d.wants(t, "service d", "fail", mute)
	d.wants(t, "discovery of e", "fail", down, "connection refused", "discovery.consul")

	redis.Stop()
	database.Stop()
	r := do(t, dir, "doctor", "--timeout", "5s")
	for _, want := range []string{"fail  redis  ", "fail  postgres  "} {
		if got := strings.Join(strings.Fields(r.out), "  "); !strings.Contains(got, want) {
			t.Errorf("with the stores away, want %q in\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out+r.err+fmt.Sprint(d), "topsecret") {
		t.Errorf("a secret is shown:\n%s%s%v", r.out, r.err, d)
	}
}

func TestS4_DoctorBesideARunningGateway(t *testing.T) {
	t.Parallel()
	public, admin := closedAddress(t), closedAddress(t)
	s := serveFiles(t, "ports.yaml", fmt.Sprintf("listen: {public: {address: %q}}\nadmin: {address: %q}\n", public, admin), "gateway.yaml",
		"directory: state\nroutes: {a: {match: {path: /a}, respond: {status: 200}, plugins: {auth: off}}}\n")
	both := []string{"-c", "ports.yaml", "-c", "gateway.yaml"}
	d := diagnose(t, s.cmd.Dir, exitOK, both...)
	d.wants(t, "gateway", "ok", "ready and healthy")
	d.wants(t, "listener public", "ok", "held by the gateway")
	d.wants(t, "admin listener", "ok", "held by the gateway")
	d.wants(t, "directory", "ok", "closed to others")
	wrong := filepath.Join(s.cmd.Dir, "wrong")
	if err := os.WriteFile(wrong, []byte(strings.Repeat("x", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	d = diagnose(t, s.cmd.Dir, exitOK, append(both, "--token-file", wrong)...)
	d.wants(t, "listener public", "warn", "--token-file")
	d.wants(t, "admin listener", "ok", "held by the gateway")
}

func TestS4_DoctorWithoutAConfiguration(t *testing.T) {
	t.Parallel()
	d := diagnose(t, files(t, "gateway.yaml", "routs: {}\n"), exitRefused)
	d.wants(t, "configuration", "fail", "gateway.yaml:1:1", "gateway check")
	if len(d) != 3 || d["clock"].State == "" || d["open files"].State == "" {
		t.Errorf("it looked at %v", d)
	}
	if r := do(t, t.TempDir(), "doctor", "--timeout", "0s"); r.code != exitUsage || !strings.Contains(r.err, "--timeout") {
		t.Errorf("without time: %+v", r)
	}
}

// What answers at the admin address, and hangs or is something else, does not hold doctor up.
func TestS4_DoctorIsNotHeldUp(t *testing.T) {
	t.Parallel()
	silent, mute := taken(t), taken(t) // the kernel accepts for them, and nobody answers
	dir := files(t, "gateway.yaml", fmt.Sprintf(`
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: %q}
directory: state
stores: {redis: {addresses: %q}}
services: {a: {endpoints: [{url: "https://%s"}]}}
routes: {a: {match: {path: /a}, service: a, plugins: {auth: off}}}
`, silent, mute, mute))
	begun := time.Now()
	d := diagnose(t, dir, exitRefused, "--timeout", "2s")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	d.wants(t, "admin listener", "fail", silent)
	d.wants(t, "redis", "fail")
	d.wants(t, "service a", "fail", mute)
}
