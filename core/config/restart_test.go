package config_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/setting"
)

// texts is a file system of files by name.
func texts(files map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
}

func TestDirectoryIsRelativeToItsFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"directory: here\n": "/etc/gateway/here", "directory: ../var\n": "/etc/var", "directory: /var\n": "/var", "": "/var/lib/gateway",
	} {
		cfg, r := config.Load(config.LoadOptions{Files: []string{"/etc/gateway/a.yaml"}, ReadFile: texts(map[string]string{"/etc/gateway/a.yaml": text + minimal})})
		if cfg == nil || cfg.Directory != want {
			t.Errorf("%q: got %+v and %v, want %s", text, cfg, r.Err(), want)
		}
	}
}

// TestOperatorsSeePastMistakes finds the admin listener in files that hold
// mistakes, but not in files of which one can't be read.
func TestOperatorsSeePastMistakes(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a.yaml": "admin: {address: \"127.0.0.1:1\", tokens: {w: {role: write, token_file: token}, gone: {token_file: nothing}}}\ndirectory: here\nroutes: {a: {servce: b}}\n",
		"b.yaml": "admin: {address: \"127.0.0.1:2\"}\n", "broken.yaml": "a: [\n",
		"unset.yaml": "admin: {address: \"127.0.0.1:${NOT_SET}\"}\n", "nowhere.yaml": "directory: \"${NOT_SET}\"\n", "token": "0123456789abcdef0123456789abcdef\n",
	}
	a, directory, ok := config.Operators(config.LoadOptions{Files: []string{"a.yaml", "b.yaml"}, ReadFile: texts(files)})
	if !ok || a.Address != "127.0.0.1:2" || directory != "here" || len(a.Tokens) != 2 || !a.Tokens[0].Token.IsZero() || a.Tokens[1].Token.Reveal() != "0123456789abcdef0123456789abcdef" {
		t.Errorf("got %+v, %q and %v", a, directory, ok)
	}
	for _, second := range []string{"broken.yaml", "missing.yaml", "unset.yaml", "nowhere.yaml"} {
		if _, _, ok := config.Operators(config.LoadOptions{Files: []string{"a.yaml", second}, ReadFile: texts(files), Env: environment}); ok {
			t.Errorf("%s: it says that it knows the address", second)
		}
	}
}

// TestWarnAtStart names every setting that a reload can't put in force, and no
// other.
func TestWarnAtStart(t *testing.T) {
	t.Parallel()
	parse := func(text string) (*config.Config, *setting.Report) {
		cfg, r := config.Load(config.LoadOptions{Files: []string{"a.yaml"}, ReadFile: texts(map[string]string{"a.yaml": text + minimal})})
		if cfg == nil {
			t.Fatal(r.Err())
		}
		return cfg, r
	}
	for _, c := range []struct{ before, after, want string }{
		{"", "", ""},
		{"", "trusted_proxies: [10.0.0.0/8]\nprobes: {public: [/readyz], degraded_status: 200}\nshutdown: {delay: 1s}\n" +
			"limits: {connections: 7, body: 1KiB, buffer: 1KiB}\ntelemetry: {log: {level: debug}}\nadmin: {hosts: [a], tokens: {a: {token: \"0123456789abcdef0123456789abcdef\"}}}\n", ""},
		{
			"", "admin: {address: \"127.0.0.1:1\"}\ndirectory: /a\nodd_header_names: refuse\ntelemetry: {log: {format: text}}\n" +
				"limits:\n  connections_per_ip: 1\n  uri: 1KiB\n  header: 8KiB\n  headers: 1\n  header_timeout: 1s\n  body_timeout: 1s\n  idle_timeout: 1s\n",
			"a.yaml:1:18: warning: admin.address: takes effect at the next start\n" +
				"a.yaml:2:12: warning: directory: takes effect at the next start\n" +
				"a.yaml:3:19: warning: odd_header_names: takes effect at the next start\n" +
				"a.yaml:4:27: warning: telemetry.log.format: takes effect at the next start\n" +
				"a.yaml:6:23: warning: limits.connections_per_ip: takes effect at the next start\n" +
				"a.yaml:7:8: warning: limits.uri: takes effect at the next start\n" +
				"a.yaml:8:11: warning: limits.header: takes effect at the next start\n" +
				"a.yaml:9:12: warning: limits.headers: takes effect at the next start\n" +
				"a.yaml:10:19: warning: limits.header_timeout: takes effect at the next start\n" +
				"a.yaml:11:17: warning: limits.body_timeout: takes effect at the next start\n" +
				"a.yaml:12:17: warning: limits.idle_timeout: takes effect at the next start",
		},
		{
			"listen: {a: {address: \":1\"}, b: {address: \":2\"}, c: {address: \":3\"}}\n", "listen: {a: {address: \":1\"}, c: {address: \":4\"}, d: {address: \":5\"}}\n",
			"a.yaml:1:1: warning: listen.b: the listener goes away at the next start\n" +
				"a.yaml:1:34: warning: listen.c.address: takes effect at the next start\n" +
				"a.yaml:1:50: warning: listen.d: takes effect at the next start",
		},
		{
			"listen: {a: {address: \":1\"}, b: {address: \":2\", proxy_protocol: {from: [10.0.0.0/8]}}, c: {address: \":3\", proxy_protocol: {from: [10.0.0.0/8]}}}\n",
			"listen:\n  a: {address: \":1\", proxy_protocol: {from: [10.0.0.0/8]}}\n  b: {address: \":2\"}\n  c: {address: \":3\", proxy_protocol: {from: [11.0.0.0/8]}}\n",
			"a.yaml:2:22: warning: listen.a.proxy_protocol: takes effect at the next start\n" +
				"a.yaml:3:6: warning: listen.b.proxy_protocol: takes effect at the next start\n" +
				"a.yaml:4:22: warning: listen.c.proxy_protocol: takes effect at the next start",
		},
		{"limits: {uri: 1KiB}\n", "limits: {headers: 100}\n", "a.yaml:1:9: warning: limits.uri: takes effect at the next start"},
		{
			"identity: {audience: a, users: {m@example.com: {password_hash: \"$argon2id$\"}}}\n", "stores: {redis: {addresses: \"127.0.0.1:6379\"}}\nidentity: {audience: b, users: {m@example.com: {password_hash: \"$argon2id$\"}}}\n",
			"a.yaml:1:9: warning: stores: takes effect at the next start\n" +
				"a.yaml:2:11: warning: identity: takes effect at the next start",
		},
		{"identity: {users: {m@example.com: {password_hash: \"$argon2id$\"}}}\n", "identity:\n  users: {m@example.com: {password_hash: \"$argon2id$\"}}\n", ""},
		{"identity: {users: {m@example.com: {password_hash: \"$argon2id$\"}}}\n", "identity: {clients: {c: {scopes: [x]}}}\n", ""}, // a reload puts these in force
		{"", "identity: {users: {m@example.com: {password_hash: \"$argon2id$\"}}}\n", "a.yaml:1:11: warning: identity: takes effect at the next start"},
		{"policies: {a: {rate: 1/1s}}\n", "policies: {b: {rate: 1/1s}}\nlimiter: {mode: memory}\n", "a.yaml:2:10: warning: limiter: takes effect at the next start"},
		{"odd_header_names: refuse\n", "", "a.yaml:1:1: warning: odd_header_names: takes effect at the next start"},
	} {
		started, _ := parse(c.before)
		next, r := parse(c.after)
		config.WarnAtStart(started, next, r)
		var got []string
		for _, p := range r.All() {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q → %q (-want +got):\n%s", c.before, c.after, diff)
		}
	}
}

// TestWarnAtStartOfTLS makes a plain listener of one that speaks TLS.
func TestWarnAtStartOfTLS(t *testing.T) {
	t.Parallel()
	started, r, text := load(t, "good/tls.yaml")
	if started == nil {
		t.Fatal(r.Err())
	}
	plain := options("plain.yaml")
	plain.ReadFile = texts(map[string]string{"plain.yaml": text[:strings.Index(text, "listen:")] +
		"listen: {public: {address: \":8080\"}, secure: {address: \":8443\", proxy_protocol: {from: [10.0.0.0/8, \"fd00::/8\"]}}}\n" + minimal})
	next, r := config.Load(plain)
	if next == nil {
		t.Fatal(r.Err())
	}
	config.WarnAtStart(started, next, r)
	const want = "[plain.yaml:1:46: warning: listen.secure.redirect_from: takes effect at the next start plain.yaml:1:46: warning: listen.secure.tls: takes effect at the next start]"
	got := fmt.Sprint(r.All())
	same, again := config.Load(plain)
	config.WarnAtStart(next, same, again)
	if got != want || len(again.All()) != 0 {
		t.Errorf("got  %s\nwant %s\nand of the same %v", got, want, again.All())
	}
}
