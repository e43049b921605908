package config_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
)

// loadText loads one file that holds text.
func loadText(t testing.TB, text string) (*config.Config, *setting.Report) {
	t.Helper()
	o := options("gw.yaml")
	o.ReadFile = func(string) ([]byte, error) { return []byte(text), nil }
	return config.Load(o)
}

const minimal = "services: {a: {endpoints: [{url: \"http://Host.example:9001\"}]}}\nroutes: {a: {match: {path: /a}, service: a}}\n"

// TestDefaults writes down every default of the language.
func TestDefaults(t *testing.T) {
	t.Parallel()
	cfg, r := loadText(t, minimal)
	if cfg == nil {
		t.Fatal(r.Err())
	}
	timeouts := config.Timeouts{
		Connect: setting.Duration(time.Second), Response: setting.Duration(10 * time.Second),
		Idle: setting.Duration(60 * time.Second), Total: setting.Duration(30 * time.Second),
	}
	retry := config.Retry{
		Retries: 1, When: []config.RetryOn{"connect", "reset", "timeout", "502", "503", "504"}, Budget: 0.2,
		Backoff: config.Backoff{Initial: setting.Duration(10 * time.Millisecond), Maximum: setting.Duration(250 * time.Millisecond)},
	}
	want := &config.Config{
		Listeners: []*config.Listener{{Name: "public", Address: ":8080"}},
		Admin:     config.Admin{Address: "127.0.0.1:9901"},
		Directory: "/var/lib/gateway",
		Probes:    config.Probes{DegradedStatus: 503},
		Shutdown:  config.Shutdown{Delay: setting.Duration(5 * time.Second), Drain: setting.Duration(30 * time.Second)},
		Limits: config.Limits{
			URI: 8 << 10, Header: 16 << 10, Headers: 100, Body: 10 << 20, Buffer: 64 << 10,
			HeaderTimeout: setting.Duration(10 * time.Second), BodyTimeout: setting.Duration(30 * time.Second), IdleTimeout: setting.Duration(60 * time.Second),
		},
		Limiter: config.Limiter{Mode: "auto", OnStoreError: "local"}, OddHeaderNames: "drop",
		Discovery: config.Discovery{DNS: config.DNSDiscovery{Resolver: setting.StringList{"system"}, MinimumTTL: setting.Duration(time.Second)}},
		Services: []*config.Service{{
			Name: "a", Balance: config.Balance{Word: "weighted_round_robin"}, Timeouts: timeouts, Retry: retry, PanicThreshold: 0.5,
			Endpoints:   []*config.Endpoint{{URL: "http://Host.example:9001", Weight: 1, Address: "host.example:9001"}},
			Connections: config.Connections{Maximum: 512, Idle: 64, IdleTimeout: setting.Duration(30 * time.Second), KeepAlive: true},
		}},
		Routes: []*config.Route{{Name: "a", RouteOptions: config.RouteOptions{
			Match: config.Match{Path: "/a"}, Service: "a", Path: config.PathOptions{EncodedSlashes: "refuse", DoubleSlashes: "merge"},
			Limits: config.RouteLimits{Body: 10 << 20, Buffer: 64 << 10}, Timeouts: &timeouts, Retry: &config.RouteRetry{Retry: retry},
		}}},
		Telemetry: config.Telemetry{Log: config.Log{Level: "info", Format: "json"}, Metrics: config.Metrics{Identities: 100}},
	}
	if diff := cmp.Diff(want, cfg, sameConfig); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if s := cfg.Service("a"); s != cfg.Services[0] || cfg.Service("b") != nil || cfg.Service("") != nil {
		t.Errorf("Service finds %v", s)
	}
}

// TestPlaces holds where things were written, for later messages.
func TestPlaces(t *testing.T) {
	t.Parallel()
	cfg, r := loadText(t, minimal+"listen: {public: {address: \":1\"}}\nprofiles: {p: {}}\nadmin: {hosts: []}\n")
	if cfg == nil {
		t.Fatal(r.Err())
	}
	got := []setting.Position{cfg.Services[0].At, cfg.Services[0].Endpoints[0].At, cfg.Routes[0].At, cfg.Listeners[0].At, cfg.Profiles[0].At, cfg.Admin.At}
	want := []string{"gw.yaml:1:12", "gw.yaml:1:28", "gw.yaml:2:10", "gw.yaml:3:10", "gw.yaml:4:12", "gw.yaml:5:1"}
	for i := range want {
		if got[i].String() != want[i] {
			t.Errorf("%d: got %s, want %s", i, got[i], want[i])
		}
	}
}

// TestFull looks at what the file with every key is read as.
func TestFull(t *testing.T) {
	t.Parallel()
	cfg, r, _ := load(t, "good/full.yaml")
	if cfg == nil {
		t.Fatal(r.Err())
	}
	identity := cfg.Routes[1]
	if identity.Name != "identity" {
		t.Fatalf("routes are not sorted: %s", identity.Name)
	}
	want := router.Match{
		Listeners: []string{"public"}, Hosts: []string{"{tenant}.partners.example"}, Paths: []string{"/identity/{rest...}"},
		Methods: []string{http.MethodGet, http.MethodPost}, Priority: 5,
		Headers: []router.Condition{{Name: "X-Canary", Kind: router.Exact, Value: "1"}, {Name: "X-Team", Kind: router.Present}, {Name: "X-Version", Kind: router.Regex, Value: `^2\.`}},
		Query:   []router.Condition{{Name: "v", Kind: router.Exact, Value: "2"}},
	}
	if diff := cmp.Diff(want, identity.Match.RouterMatch(identity.Priority)); diff != "" {
		t.Errorf("match (-want +got):\n%s", diff)
	}
	if l := identity.Limits; l.Body != setting.Unlimited || l.Buffer != 1<<10 {
		t.Errorf("limits: %+v", l)
	}
	if o := identity.Timeouts; o.Connect != setting.Duration(2*time.Second) || o.Response != 0 || o.Idle != setting.Duration(10*time.Second) || o.Total != setting.Duration(15*time.Second) {
		t.Errorf("timeouts: %+v", o)
	}
	if o := identity.Retry; !o.IdempotencyKey || o.Retries != 1 || o.PerTry != setting.Duration(2*time.Second) || o.Budget != 0.125 || !o.On(config.RetryOnReset) || !o.OnStatus(502) || o.OnStatus(500) {
		t.Errorf("retry: %+v", o)
	}
	if p := identity.Plugins; len(p) != 1 || p["access_log"].Get("sample").Text != "100%" || p["access_log"].Get("slow").Text != "2s" || p["access_log"].Get("to").Text != "stdout" {
		t.Errorf("plugins: %v", p)
	}
	if at := identity.Plugins["access_log"].Get("to").At.String(); !strings.HasPrefix(at, "good/full.yaml:46:") {
		t.Errorf("an option merged from the defaults lost its place: %s", at)
	}
	vod := cfg.Service("vod")
	if b := vod.Breaker; b.Failures != 0 || b.Consecutive != 10 || b.Slow.Over != setting.Duration(5*time.Second) || b.Slow.Share != 0.8 || b.Fallback.Service != "identity" || b.OpenMaximum != setting.Duration(time.Minute) {
		t.Errorf("breaker: %+v", b)
	}
	if b := vod.Bulkhead; *b != (config.Bulkhead{Maximum: 1000, QueueTimeout: setting.Duration(100 * time.Millisecond), Adaptive: true}) {
		t.Errorf("bulkhead: %+v", b)
	}
	if vod.Retry.Retries != 0 || vod.Retry.On(config.RetryOnConnect) || vod.Timeouts.Connect != setting.Duration(500*time.Millisecond) {
		t.Errorf("vod: %+v", vod)
	}
	for _, route := range cfg.Routes {
		if (route.Timeouts != nil) != (route.Service != "") || (route.Retry != nil) != (route.Service != "") {
			t.Errorf("route %s: timeouts %v, retry %v", route.Name, route.Timeouts, route.Retry)
		}
	}
	if content := cfg.Routes[0]; content.Retry.Retries != 3 || cfg.Routes[4].Retry.Retries != 0 {
		t.Errorf("retries: %d, %d", content.Retry.Retries, cfg.Routes[4].Retry.Retries)
	}
	if s := cfg.Service("identity"); s.Connections.Idle != 5 || s.Connections.KeepAlive {
		t.Errorf("connections: %+v", s.Connections)
	}
}

// TestIdleConnections says that the default of idle never exceeds a small maximum.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	cfg, r := loadText(t, strings.Replace(minimal, "]}}", "], connections: {maximum: 3}}}", 1))
	if cfg == nil || cfg.Services[0].Connections.Idle != 3 {
		t.Errorf("got %+v, %v", cfg, r.Err())
	}
}

// TestOverlay says what overlays change, and what off takes away.
func TestOverlay(t *testing.T) {
	t.Parallel()
	cfg, r, _ := load(t, "good/overlay.yaml")
	if cfg == nil {
		t.Fatal(r.Err())
	}
	a := cfg.Routes[0]
	switch {
	case len(cfg.Routes) != 1 || len(cfg.Services) != 1:
		t.Error("off does not take a route or a service out")
	case a.Timeouts.Total != 0 || a.Timeouts.Response != setting.Duration(2*time.Second):
		t.Errorf("timeouts: %+v", a.Timeouts)
	case a.Retry.Retries != 0:
		t.Errorf("retries: %+v", a.Retry)
	case a.Limits.Body != 10<<20 || cfg.Limits.ConnectionsPerIP != 0:
		t.Errorf("limits: %+v, %+v", a.Limits, cfg.Limits)
	case len(a.Match.Methods) != 1 || a.Match.Methods[0] != http.MethodPut:
		t.Errorf("a list does not replace: %v", a.Match.Methods)
	case len(a.Plugins) != 1 || a.Plugins["access_log"].Get("to").Text != "file" || a.Plugins["access_log"].Get("slow").Text != "5s":
		t.Errorf("plugins: %v", a.Plugins)
	}
}

// TestIncludeOrder says that included files win over the one that names them, in
// their order, and that each is read once.
func TestIncludeOrder(t *testing.T) {
	t.Parallel()
	cfg, r, _ := load(t, "good/include.yaml")
	if cfg == nil {
		t.Fatal(r.Err())
	}
	if cfg.Limits.Headers != 30 || cfg.Limits.URI != 4<<10 || len(cfg.Services) != 2 || cfg.Routes[1].Match.Path != "/c" {
		t.Errorf("got %+v", cfg.Limits)
	}
}

// TestNoEnv wants no value from what is not set.
func TestNoEnv(t *testing.T) {
	t.Parallel()
	cfg, r, _ := load(t, "good/no-env.yaml")
	if cfg == nil {
		t.Fatal(r.Err())
	}
	if cfg.Limits.Headers != 100 || cfg.Routes[0].Service != "" {
		t.Errorf("got %+v", cfg)
	}
}

// TestFromDisk loads real files by the defaults of LoadOptions.
func TestFromDisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CONFIG_TEST_PORT", "9001")
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put("b-1.yaml", "services: {a: {endpoints: [{url: \"http://127.0.0.1:${CONFIG_TEST_PORT}\"}]}}\n")
	main := put("gw.yaml", "include: b-*.yaml\nroutes: {a: {match: {path: /a}, service: a}}\n")
	cfg, r := config.Load(config.LoadOptions{Files: []string{main}})
	if cfg == nil || cfg.Services[0].Endpoints[0].Address != "127.0.0.1:9001" {
		t.Errorf("got %+v, %v", cfg, r.Err())
	}
	if cfg, r := config.Load(config.LoadOptions{}); cfg != nil || r.Err() == nil {
		t.Error("no file is no error")
	}
}

// TestDeepInclude bounds files that include each other without end.
func TestDeepInclude(t *testing.T) {
	t.Parallel()
	o := options("gw.yaml")
	n := 0
	o.ReadFile = func(string) ([]byte, error) {
		n++
		return []byte("include: " + strings.Repeat("x", n) + ".yaml\n"), nil
	}
	cfg, r := config.Load(o)
	if cfg != nil || n > 100 || !strings.Contains(r.Err().Error(), "files include each other too deeply") {
		t.Errorf("%d files: %v", n, r.Err())
	}
}

// TestUnreadable says why a file can't be read.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	o := options("gw.yaml")
	o.ReadFile = func(string) ([]byte, error) { return nil, errors.New("denied") }
	if _, r := config.Load(o); r.Err().Error() != "gw.yaml:1:1: can't read gw.yaml: denied" {
		t.Errorf("got %v", r.Err())
	}
}

// TestPluginsOnce says that options which routes share are checked once.
func TestPluginsOnce(t *testing.T) {
	t.Parallel()
	o := options("gw.yaml")
	o.ReadFile = func(string) ([]byte, error) {
		return []byte("defaults: {plugins: {access_log: {}, security_headers: {}}}\n" + strings.TrimSuffix(minimal, "}\n") +
			", b: {match: {path: /b}, service: a}, c: {match: {path: /c}, service: a, plugins: {access_log: {to: x}}}}\n"), nil
	}
	calls := map[string]int{}
	o.CheckPlugin = func(name string, n *setting.Node, _ *config.Config, r *setting.Report) {
		calls[name]++
		if r.Node() != n {
			t.Error("the report does not look beneath the options")
		}
	}
	if cfg, r := config.Load(o); cfg == nil || calls["access_log"] != 2 || calls["security_headers"] != 1 {
		t.Errorf("calls: %v, %v", calls, r.Err())
	}
	o.CheckPlugin = nil
	if cfg, r := config.Load(o); cfg == nil {
		t.Error(r.Err())
	}
}

// TestC11_MessagesMask wants no expanded value and no secret in any message or
// excerpt of the whole corpus.
func TestC11_MessagesMask(t *testing.T) {
	t.Parallel()
	for _, name := range corpus(t, "bad", 50) {
		_, r, _ := load(t, name)
		var b strings.Builder
		if err := r.Write(&b); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"s3cr3t", "10.1.2.3", "loud", "u:p@", "12345"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s shows %q:\n%s", name, secret, b.String())
			}
		}
	}
}

// TestC8_EndpointIsNotAdmin tries the ways to write this machine's addresses.
func TestC8_EndpointIsNotAdmin(t *testing.T) {
	t.Parallel()
	for url, refused := range map[string]bool{
		"http://127.0.0.1:9901": true, "http://127.9.9.9:9901": true, "http://localhost:9901": true, "http://LOCALHOST:9901": true,
		"http://[::1]:9901": true, "http://[::]:9901": true, "http://0.0.0.0:9901": true, "http://x.localhost:9901": true,
		"http://[::ffff:127.0.0.1]:9901": true, "http://127.0.0.1:9902": false, "http://10.0.0.1:9901": false, "http://host:9901": false,
	} {
		_, r := loadText(t, strings.Replace(minimal, "http://Host.example:9001", url, 1))
		if r.Failed() != refused {
			t.Errorf("%s: refused %v, want %v: %v", url, r.Failed(), refused, r.Err())
		}
	}
}

// TestC8_AdminIsLoopback wants no admin listener that others can reach.
func TestC8_AdminIsLoopback(t *testing.T) {
	t.Parallel()
	for address, refused := range map[string]bool{
		"127.0.0.1:9901": false, "localhost:9901": false, "[::1]:9901": false, "127.0.0.1:0": false,
		":9901": true, "0.0.0.0:9901": true, "10.0.0.1:9901": true, "[::]:9901": true, "gateway.internal:9901": true, "[fe80::1%eth0]:9901": true,
	} {
		_, r := loadText(t, minimal+"admin: {address: \""+address+"\"}\n")
		if r.Failed() != refused {
			t.Errorf("%s: refused %v, want %v: %v", address, r.Failed(), refused, r.Err())
		}
	}
}

// TestC7_RedirectHostsAreWritten wants no redirect whose host a client can choose.
func TestC7_RedirectHostsAreWritten(t *testing.T) {
	t.Parallel()
	for to, refused := range map[string]bool{
		"/b": false, "/{rest}": false, "/b/{rest}?x=1": false, "/b?{rest}": false, "https://a.example": false, "https://a.example/{rest}": false, "http://a.example:8080/x#y": false,
		"//{rest}": true, "//a.example": true, `/\\a.example`: true, "{rest}": true, "https://{rest}": true, "https://{rest}/": true, "https://a.{rest}/": true, "https://a.example{rest}": true,
		"https://a.example:{rest}/": true, "https:{rest}": true, "https:///{rest}": true, "https://a@b.example/": true, "{rest}://a.example/": true, `https://a.example\\.b/`: true, "/../{rest}": true, "HTTPS://a.example/": true,
	} {
		_, r := loadText(t, "routes: {a: {match: {path: \"/a/{rest...}\"}, redirect: {to: \""+to+"\"}}}\n")
		if r.Failed() != refused {
			t.Errorf("%s: refused %v, want %v: %v", to, r.Failed(), refused, r.Err())
		}
	}
}

// TestC3_TrailersOnAllowList wants no name in `trailers` that only the gateway sets.
func TestC3_TrailersOnAllowList(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]bool{
		"X-Checksum": false, "Grpc-Status": false, "X-User-ID": true, "x_user_id": true, "X.Scopes": true, "X-Gateway-Trace": true, "X-Forwarded-For": true,
		"Content-Length": true, "transfer-encoding": true, "Host": true, "If-Match": true, "Proxy-Authorization": true, "Cookie": true,
	} {
		_, r := loadText(t, strings.Replace(minimal, "service: a}", "service: a, trailers: ["+name+"]}", 1))
		if r.Failed() != refused {
			t.Errorf("%s: refused %v, want %v: %v", name, r.Failed(), refused, r.Err())
		}
	}
}

// TestReserved says which paths are the gateway's own.
func TestReserved(t *testing.T) {
	t.Parallel()
	for path, refused := range map[string]bool{
		"/health": true, "/health/": false, "/healthz": false, "/health/{rest...}": false, "/{x}": false, "/{rest...}": false, "/": false,
		"/auth": true, "/auth/": true, "/auth/x": true, "/auth/{x}": true, "/auth/{rest...}": true, "/authentic": false, "/{a}/login": false,
	} {
		_, r := loadText(t, "routes: {a: {match: {path: \""+path+"\"}, respond: {status: 200}}}\n")
		if r.Failed() != refused {
			t.Errorf("%s: refused %v, want %v: %v", path, r.Failed(), refused, r.Err())
		}
	}
}

// FuzzLoad wants no panic, a place for every problem, a Config exactly without
// one, and a printed Config that loads again.
func FuzzLoad(f *testing.F) {
	for _, folder := range []string{"good", "bad"} {
		for _, name := range corpus(f, folder, 8) {
			text, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text), false)
		}
	}
	f.Add(minimal, true)
	f.Add("services: {a: *nowhere, b: {endpoints: [*nowhere, off]}}\nroutes: {a: *nowhere, b: off}\nlisten: {a: *nowhere}\n", false)
	f.Fuzz(func(t *testing.T, text string, noEnv bool) {
		o := options("gw.yaml")
		o.NoEnv = noEnv
		o.ReadFile = func(name string) ([]byte, error) {
			if name == "gw.yaml" {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		}
		o.Glob = func(string) ([]string, error) { return []string{"other.yaml"}, nil }
		cfg, r := config.Load(o)
		for _, p := range append(r.Problems(), r.Warnings()...) {
			if p.At.Source != "gw.yaml" || p.At.Line < 1 || p.At.Column < 1 || p.Text == "" {
				t.Errorf("a problem has no place: %+v", p)
			}
			r.Excerpt(p.At)
		}
		if (cfg == nil) != r.Failed() {
			t.Fatalf("config %v, but problems %v", cfg, r.Err())
		}
		if cfg == nil || noEnv {
			return
		}
		printed := config.Effective(cfg, true)
		if strings.Contains(printed, setting.Masked) {
			return
		}
		if again, r := loadText(t, printed); again == nil {
			t.Errorf("what is printed does not load: %v\n%s", r.Err(), printed)
		} else if diff := cmp.Diff(cfg, again, sameConfig); diff != "" {
			t.Errorf("what is printed differs:\n%s", diff)
		}
	})
}
