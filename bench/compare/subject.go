package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// The subjects that are compared.
const (
	ours    = "ours"
	nginx   = "nginx"
	haproxy = "haproxy"
	direct  = "direct" // the origin itself, with nothing before it
	plain   = "plain"  // ours without what the scenario is about, such as auth
)

// subject is something that requests are sent to: a running proxy or the origin.
type subject struct {
	name    string
	address string // host:port
	admin   string // of ours: the listener for operators
	dir     string // its own files
	process *process
}

// pids are its processes. For direct these are the origin's.
func (s *subject) pids() ([]int, error) { return family(s.process.pid()) }

// stand is what the measurements stand on: the binaries, the origin, and a
// directory that goes when everything is done.
type stand struct {
	options
	dir      string
	origin   *subject
	redis    *subject             // nil unless a scenario counts there
	draw     *rand.Rand           // orders the rounds
	identity *identity            // of every proxy that speaks TLS
	known    *known               // whom every proxy knows that looks at credentials
	say      func(string, ...any) // tells how it goes on
}

// module is the import path that the programs are built from, so that the
// command may run in any folder of it.
const module = "github.com/suuupra/gateway/"

// build makes the programs that take part, unless the gateway's was named.
func (st *stand) build(ctx context.Context) error {
	folders := map[string]string{"origin": "bench/origin"}
	if st.openLoopRate > 0 {
		folders["load"] = "bench/load"
	}
	if st.webSockets > 0 {
		folders = map[string]string{"upstream": "cmd/upstream"}
	}
	if (st.wants(ours) || st.wants(plain)) && st.gateway == "" {
		folders["gateway"] = "cmd/gateway"
	}
	for name, folder := range folders {
		if _, err := output(ctx, ".", "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(st.dir, name), module+folder); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	return nil
}

// gatewayBinary is the one that was named, or the one that was built.
func (st *stand) gatewayBinary() string {
	if st.gateway != "" {
		return st.gateway
	}
	return filepath.Join(st.dir, "gateway")
}

// startOrigin starts the origin on a free port, which it prints.
func (st *stand) startOrigin(ctx context.Context) error {
	p, err := startProcess(st.dir, "origin", []string{fmt.Sprintf("GOMAXPROCS=%d", st.workers)}, filepath.Join(st.dir, "origin"))
	if err != nil {
		return err
	}
	st.origin = &subject{name: direct, process: p}
	return p.await(ctx, func() error {
		text, err := os.ReadFile(p.output)
		if err != nil {
			return err
		}
		line, _, whole := strings.Cut(string(text), "\n")
		if !whole {
			return fmt.Errorf("it has not printed its address")
		}
		st.origin.address = strings.TrimPrefix(line, "http://")
		return nil
	})
}

// start starts one subject for a scenario and waits until it answers. The
// caller stops it.
func (st *stand) start(ctx context.Context, name string, sc *scenario) (*subject, error) {
	if name == direct {
		return st.origin, nil
	}
	s := &setting{
		dir: filepath.Join(st.dir, sc.name+"-"+name), origin: st.origin.address,
		workers: st.workers, connections: max(st.connections, st.webSockets), logging: sc.logging, upgrades: sc.sockets,
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if sc.tls {
		s.identity = st.identity
	}
	if sc.shows != "" && name != plain {
		s.known = st.known
		s.limits = sc.limits
	}
	s.guarded = sc.guarded && name == ours
	if sc.inRedis() && name == ours {
		s.redis = st.redis.address
	}
	var err error
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if s.admin, err = freePort(); err != nil {
		return nil, err
	}
	p, err := st.launch(name, s)
	if err != nil {
		return nil, err
	}
	sub := &subject{name: name, address: fmt.Sprintf("127.0.0.1:%d", s.port), admin: fmt.Sprintf("127.0.0.1:%d", s.admin), dir: s.dir, process: p}
	err = p.await(ctx, func() error {
		_, err := st.digest(ctx, sub.address, sc)
		return err
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return sub, nil
}

// launch writes the configuration of a proxy and runs it.
func (st *stand) launch(name string, s *setting) (*process, error) {
	config := filepath.Join(s.dir, name+".conf")
	text, env := "", []string(nil)
	var argv []string
	switch name {
	case ours, plain:
		text, env = gatewayYAML(s), []string{fmt.Sprintf("GOMAXPROCS=%d", s.workers)}
		argv = []string{st.gatewayBinary(), "serve", "-c", config}
	case nginx:
		text, argv = nginxConf(s), []string{nginx, "-c", config, "-p", s.dir}
	case haproxy:
		text, argv = haproxyConf(s), []string{haproxy, "-db", "-f", config}
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	program, err := lookTool(argv[0])
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	argv[0] = program
	return startProcess(s.dir, name, env, argv...)
}

// stopAll ends the proxies; the origin goes on.
func (st *stand) stopAll(subjects []*subject) {
	for _, s := range subjects {
		if s != st.origin {
			s.process.stop()
		}
	}
}

// client asks for single answers; it keeps no connections, follows no redirects
// and uses no proxy of the environment. It trusts the proxies' one certificate, if
// there is one.
func client(id *identity) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	if id != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: id.pool}
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       startPatience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
