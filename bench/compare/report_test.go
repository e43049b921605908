package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/config"
)

func rows(subject string, cpus ...float64) measured {
	m := measured{subject: subject, memory: 3 << 19}
	for _, cpu := range cpus {
		m.samples = append(m.samples, sample{cpu: cpu, rate: 1000 / cpu, p50: 1, p99: 2, p999: 3, others: 0.05})
	}
	return m
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table([]measured{rows(ours, 11, 12, 13, 14, 15), rows(nginx, 10, 10, 10, 20, 20), rows(direct, 5)})
	want := `| | CPU µs/request | median | × nginx | (median) | requests/s | p50 ms | p99 ms | p99.9 ms | memory MiB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| ours | 12.00 | 13.00 | 1.20 | 1.30 | 77 | 1.00 | 2.00 | 3.00 | 1.5 |
| nginx | 10.00 | 10.00 | 1.00 | 1.00 | 100 | 1.00 | 2.00 | 3.00 | 1.5 |
| direct | 5.00 | 5.00 |  |  | 200 | 1.00 | 2.00 | 3.00 | 1.5 |
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := table([]measured{rows(ours, 1)}); !strings.Contains(got, "| ours | 1.00 | 1.00 |  |  |") {
		t.Errorf("without nginx: %s", got)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	opts := &options{rounds: 12, duration: 2 * time.Second, seed: 7, connections: 64, threads: 1, workers: 2}
	o := &outcome{
		environment: []string{"a machine"}, loopback: loopback{perSecond: 50000, cpu: 8500},
		scenarios: scenarios()[:1], tables: [][]measured{{rows(ours, 11), rows(nginx, 10)}},
	}
	got := o.markdown(opts)
	for _, want := range []string{
		"- a machine\n", "12 rounds of 2s each", "(seed 7)", "50000 round trips of 128 bytes", "8.50 µs of CPU each",
		"used 0.05 cores", "## GET, 128 bytes (`small`)\n\n| |", "| small | CPU a request | 1.10 | at most 1.10 | kept |\n| small | requests/s | 0.91 | at least 0.95 | **not kept** |\n| small | p99, best round | 1.00 | at most 1.20 | kept |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "not to be relied on") {
		t.Error("a quiet machine was called loud")
	}
	o.tables[0][0] = rows(ours, 11.2)
	o.tables[0][0].samples[0].others = 0.9
	if got := o.markdown(opts); !strings.Contains(got, "not to be relied on") || !strings.Contains(got, "| small | CPU a request | 1.12 | at most 1.10 | **not kept** |") {
		t.Errorf("a loud machine, a broken promise:\n%s", got)
	}
	o.tables = [][]measured{{rows(ours, 1)}}
	if got := o.kept(); got != "" {
		t.Errorf("promises kept beside nobody: %s", got)
	}
	for _, p := range promises() {
		if _, err := choose(scenarios(), p.scenario, func(s scenario) string { return s.name }); err != nil {
			t.Errorf("a promise about no scenario: %v", err)
		}
	}
}

func TestOpenLoopReport(t *testing.T) {
	t.Parallel()
	run := openRun{subject: ours, cpu: 12.345, memory: 20 << 20}
	run.load.Rate, run.load.PerSecond, run.load.Clean = 50000, 49999, true
	run.load.Latency.P99 = 1.5
	got := openLoopMarkdown(&options{openLoopRate: 50000, duration: 20 * time.Second, connections: 64}, []string{"a machine"}, []openRun{run, {subject: nginx}})
	for _, want := range []string{"-open-loop 50000", "- a machine\n", "| ours | 50000 | 49999 | 0 | 0.00 | 1.50 | 0.00 | 0.00 | 0.0 | yes | 12.35 | 20.0 |", "| nginx | 0 | 0 | 0 |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args      []string
		out       string
		scenarios int
		duration  time.Duration
		bad       string
	}{
		"full":             {nil, "bench/RESULTS.md", 14, 2 * time.Second, ""},
		"part of it":       {[]string{"-only", "nginx,direct"}, "", 14, 2 * time.Second, ""},
		"one scenario":     {[]string{"-scenarios", "post"}, "", 1, 2 * time.Second, ""},
		"too few rounds":   {[]string{"-rounds", "11"}, "", 14, 2 * time.Second, ""},
		"where asked for":  {[]string{"-rounds", "1", "-out", "x"}, "x", 14, 2 * time.Second, ""},
		"open loop":        {[]string{"-open-loop", "50000"}, "bench/OPENLOOP.md", 1, 20 * time.Second, ""},
		"short open loop":  {[]string{"-open-loop", "50000", "-duration", "3s"}, "", 1, 3 * time.Second, ""},
		"unknown subject":  {[]string{"-only", "apache"}, "", 0, 0, "unknown or twice: apache"},
		"unknown scenario": {[]string{"-scenarios", "small,small"}, "", 0, 0, "unknown or twice: small"},
		"half a second":    {[]string{"-duration", "1500ms"}, "", 0, 0, "whole seconds"},
		"no rounds":        {[]string{"-rounds", "0"}, "", 0, 0, "must be positive"},
		"argument":         {[]string{"x"}, "", 0, 0, "unexpected argument"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, chosen, err := parseFlags(c.args, io.Discard)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("error %v, want %q", err, c.bad)
				}
				return
			}
			if err != nil || o.out != c.out || len(chosen) != c.scenarios || o.duration != c.duration || o.seed == 0 {
				t.Errorf("%+v, %d scenarios (%v)", o, len(chosen), err)
			}
		})
	}
	if err := run(context.Background(), []string{"-help"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: %v", err)
	}
}

// A run at a constant rate from end to end, with nothing before the origin.
func TestOpenLoopRun(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "report.md")
	var out, errOut strings.Builder
	args := []string{"-open-loop", "400", "-only", " direct", "-duration", "1s", "-connections", "4", "-out", name}
	if err := run(context.Background(), args, &out, &errOut); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	written, err := os.ReadFile(name)
	if err != nil || string(written) != out.String() {
		t.Errorf("the file differs from what was printed (%v)", err)
	}
	for _, want := range []string{"| direct | 200 | ", "| direct | 400 | "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// The configuration must be one that the gateway takes, with and without a log.
func TestGatewayYAMLIsValid(t *testing.T) {
	t.Parallel()
	for _, logging := range []bool{false, true} {
		s := &setting{dir: t.TempDir(), origin: "127.0.0.1:7000", port: 7001, admin: 7002, connections: 64, logging: logging}
		name := filepath.Join(s.dir, "gateway.yaml")
		if err := os.WriteFile(name, []byte(gatewayYAML(s)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, r := config.Load(config.LoadOptions{Files: []string{name}, Plugins: []string{"access_log", "auth"}})
		if cfg == nil {
			t.Errorf("logging %v: %v", logging, r.Err())
			continue
		}
		if on := cfg.Routes[0].Plugins["access_log"] != nil; on != logging {
			t.Errorf("access_log: %v, want %v", on, logging)
		}
	}
}

// Where credentials are looked at, the gateway takes the configuration, and the token
// that requests show is one that it and HAProxy can verify with what they are given.
func TestKnownCallersAreKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := newKnown(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &setting{dir: t.TempDir(), origin: "127.0.0.1:7000", port: 7001, admin: 7002, connections: 64, known: k}
	name := filepath.Join(s.dir, "gateway.yaml")
	if err := os.WriteFile(name, []byte(gatewayYAML(s)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, r := config.Load(config.LoadOptions{Files: []string{name}, Plugins: []string{"access_log", "auth"}})
	if cfg == nil {
		t.Fatal(r.Err())
	}
	if len(r.Warnings()) > 0 || cfg.Routes[0].Plugins["auth"] == nil || cfg.Directory != k.dir {
		t.Errorf("warnings %v, auth %v, directory %s", r.Warnings(), cfg.Routes[0].Plugins["auth"], cfg.Directory)
	}
	public, err := os.ReadFile(k.public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParseRSAPublicKeyFromPEM(public)
	if err != nil {
		t.Fatal(err)
	}
	raw := strings.TrimPrefix(k.fields[showsToken].value, "Bearer ")
	if _, err := jwt.Parse(raw, func(*jwt.Token) (any, error) { return key, nil }, jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithValidMethods([]string{"RS256"})); err != nil {
		t.Errorf("the token: %v", err)
	}
	if rules := haproxyConf(s); !strings.Contains(rules, `jwt_verify(txn.alg,"`+k.public+`")`) || strings.Contains(rules, "%!") {
		t.Errorf("HAProxy has\n%s", rules)
	}
	for _, sc := range scenarios() {
		sc.field = k.fields[sc.shows]
		if got := strings.Contains(sc.script(), "wrk.headers[\""+sc.field.name+"\"] = \""+sc.field.value); got != (sc.shows != "") {
			t.Errorf("%s: the script is\n%s", sc.name, sc.script())
		}
	}
}

// Where callers are counted, both proxies count at three levels, and nobody is refused.
func TestLimitsAreCounted(t *testing.T) {
	t.Parallel()
	k, err := newKnown(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"memory", "leased", "exact"} {
		s := &setting{dir: t.TempDir(), origin: "127.0.0.1:7000", port: 7001, admin: 7002, connections: 64, known: k, limits: mode, redis: "127.0.0.1:7003"}
		name := filepath.Join(s.dir, "gateway.yaml")
		if err := os.WriteFile(name, []byte(gatewayYAML(s)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, r := config.Load(config.LoadOptions{Files: []string{name}, Plugins: []string{"access_log", "auth", "rate_limit"}})
		if cfg == nil {
			t.Fatal(r.Err())
		}
		if len(r.Warnings()) > 0 || cfg.Routes[0].Plugins["rate_limit"] == nil || string(cfg.Limiter.Mode) != mode {
			t.Errorf("warnings %v, rate_limit %v, mode %v", r.Warnings(), cfg.Routes[0].Plugins["rate_limit"], cfg.Limiter.Mode)
		}
		if conf := haproxyConf(s); strings.Count(conf, "http-request track-sc") != 3 || strings.Count(conf, "stick-table") != 3 || strings.Contains(conf, "%!") {
			t.Errorf("HAProxy has\n%s", conf)
		}
	}
}

// What makes the comparison fair must stand in the configurations.
func TestRivalsAreConfiguredFairly(t *testing.T) {
	t.Parallel()
	s := &setting{dir: "/d", origin: "127.0.0.1:7000", port: 7001, workers: 3, connections: 64}
	for _, want := range []string{
		"worker_processes 3;", "server 127.0.0.1:7000;", "keepalive 128;", "proxy_http_version 1.1;", `proxy_set_header Connection "";`,
		"access_log off;", "listen 127.0.0.1:7001 reuseport", "proxy_max_temp_file_size 0;", "keepalive_requests 1000000000;",
	} {
		if !strings.Contains(nginxConf(s), want) {
			t.Errorf("nginx without %q", want)
		}
	}
	for _, want := range []string{"nbthread 3", "http-reuse always", "bind 127.0.0.1:7001", "server origin 127.0.0.1:7000", "tune.bufsize 65536"} {
		if !strings.Contains(haproxyConf(s), want) {
			t.Errorf("HAProxy without %q", want)
		}
	}
	s.logging = true
	if !strings.Contains(nginxConf(s), "access_log /d/access.log;") {
		t.Error("nginx does not log")
	}
	if strings.Contains(nginxConf(s)+haproxyConf(s), "ssl") {
		t.Error("TLS in a plain scenario")
	}
	var err error
	if s.identity, err = newIdentity(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(nginxConf(s), "listen 127.0.0.1:7001 ssl reuseport") || !strings.Contains(haproxyConf(s), "bind 127.0.0.1:7001 ssl crt "+s.identity.both) {
		t.Error("no TLS in a scenario of it")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	all := []string{"a", "b", "c"}
	self := func(s string) string { return s }
	for names, want := range map[string]string{"": "abc", "b": "b", "c,a": "ac", " c , b": "bc"} {
		got, err := choose(all, names, self)
		if err != nil || strings.Join(got, "") != want {
			t.Errorf("%q: %v (%v), want %s", names, got, err, want)
		}
	}
	for _, names := range []string{"d", "a,a", "a,", ","} {
		if got, err := choose(all, names, self); err == nil {
			t.Errorf("%q: %v", names, got)
		}
	}
}
