// Package gatewaytest boots a whole gateway from a configuration's text, and
// offers the two sides that tests need: raw clients and recording endpoints.
package gatewaytest

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/plugins"
)

// Gateway is a running gateway that the test stops.
type Gateway struct {
	*gateway.Gateway
	t     testing.TB
	admin *admin.Server
	extra []plugin.Plugin
	ended bool // Drain was called
}

// Options are what a test may choose beside the configuration.
type Options struct {
	Plugins  []plugin.Plugin // further ones, behind the gateway's own
	BuiltIns []snapshot.BuiltIn
	Sockets  map[string]*net.TCPListener // passed in, by the listener's name
	Stays    *revocation.Stays           // of a mirror that the test has made; nil: nobody is revoked
	Log      io.Writer                   // gets all of the gateway's log; nil: the test shows its errors
	Identity *plugin.Identity            // nil: nobody can be authenticated
	Limits   *plugin.Limits              // nil: requests are counted in memory
}

// base is laid under every configuration: free ports.
const base = `
listen: {public: {address: "127.0.0.1:0"}}
admin: {address: "127.0.0.1:0"}
directory: /nonexistent
`

// open is laid under configurations that say nothing of auth, for most tests are
// about something else.
const open = "defaults: {plugins: {auth: off}}\n"

// Run starts a gateway with yaml laid over free ports, and stops it when the test
// ends; the test fails if it does not stop cleanly. Routes take everybody unless
// yaml says something of auth.
func Run(t testing.TB, yaml string) *Gateway { return RunWith(t, yaml) }

// RunWith is Run with further plugins.
func RunWith(t testing.TB, yaml string, extra ...plugin.Plugin) *Gateway {
	t.Helper()
	return RunOptions(t, yaml, Options{Plugins: extra})
}

// RunOptions is Run with options.
func RunOptions(t testing.TB, yaml string, o Options) *Gateway {
	t.Helper()
	g := &Gateway{t: t, extra: o.Plugins}
	cfg := g.load(yaml)
	set := meter.NewSet(time.Now)
	log := zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)
	if o.Log != nil {
		log = zerolog.New(zerolog.SyncWriter(o.Log))
	}
	if o.Limits == nil {
		o.Limits = NewLimits(t, clock.Real())
	}
	running, err := gateway.Start(cfg, gateway.Parts{
		Clock: clock.Real(), Meter: set, Log: log, Plugins: g.plugins(), BuiltIns: func(*config.Config) []snapshot.BuiltIn { return o.BuiltIns },
		Sockets: o.Sockets, Stays: o.Stays, Identity: o.Identity, Limits: o.Limits,
	})
	if err != nil {
		t.Fatalf("starting the gateway: %v", err)
	}
	g.Gateway = running
	g.admin = admin.New(admin.Options{Address: cfg.Admin.Address, Hosts: cfg.Admin.Hosts, Meter: set, Log: log, Probes: &admin.Probes{
		Ready: running.Ready, Now: time.Now, DegradedStatus: cfg.Probes.DegradedStatus,
		Checks: func() admin.Checks {
			return admin.Checks{Redis: true, Database: true, Services: running.ServicesWell(), Certificates: running.CertificatesWell(), Discovery: true}
		},
	}})
	if err := g.admin.Start(); err != nil {
		t.Fatalf("starting the admin listener: %v", err)
	}
	t.Cleanup(g.stop)
	return g
}

// NewLimits returns what counts requests in memory until the test ends.
func NewLimits(t testing.TB, c clock.Clock) *plugin.Limits {
	t.Helper()
	store := limit.NewMemory(c, limit.MemoryOptions{})
	t.Cleanup(func() { _ = store.Close() }) // it never fails
	return &plugin.Limits{Store: store, Policies: limit.NewPolicies(), Denied: limit.NewDenied(1<<10, 10*time.Second)}
}

func (g *Gateway) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !g.ended {
		err := g.Shutdown(ctx, gateway.Drain{Timeout: 100 * time.Millisecond})
		if err != nil && !strings.Contains(err.Error(), "cut") {
			g.t.Errorf("stopping the gateway: %v", err)
		}
	}
	if err := g.admin.Close(ctx); err != nil {
		g.t.Errorf("stopping the admin listener: %v", err)
	}
}

// Drain begins to stop the gateway, and returns what will tell how that went. It is
// called once; the test must wait for the outcome. The admin listener stays.
func (g *Gateway) Drain(ctx context.Context, d gateway.Drain) <-chan error {
	g.ended = true
	outcome := make(chan error, 1)
	go func() { outcome <- g.Shutdown(ctx, d) }() // ends with Shutdown, for which the test waits
	return outcome
}

func (g *Gateway) plugins() []plugin.Plugin { return append(plugins.All(), g.extra...) }

// load reads yaml over the base; problems fail the test.
func (g *Gateway) load(yaml string) *config.Config {
	g.t.Helper()
	files := map[string]string{"base.yaml": base, "gateway.yaml": yaml}
	if !strings.Contains(yaml, "auth:") {
		files["base.yaml"] += open
	}
	o := config.LoadOptions{
		Files: []string{"base.yaml", "gateway.yaml"},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return os.ReadFile(name)
		},
		CheckPlugin: func(name string, n *setting.Node, cfg *config.Config, r *setting.Report) {
			for _, p := range g.plugins() {
				if p.Name == name {
					p.Check(n, plugin.Around{Policies: cfg.LimitPolicies()}, r)
				}
			}
		},
	}
	for _, p := range g.plugins() {
		o.Plugins = append(o.Plugins, p.Name)
	}
	cfg, report := config.Load(o)
	if report.Failed() {
		g.t.Fatalf("the configuration is refused:\n%v", report.Err())
	}
	return cfg
}

// Reconfigure puts another configuration in force.
func (g *Gateway) Reconfigure(yaml string) {
	g.t.Helper()
	if err := g.Reload(g.load(yaml)); err != nil {
		g.t.Fatalf("reloading: %v", err)
	}
}

// TryReconfigure is Reconfigure for what must be refused when it is compiled.
func (g *Gateway) TryReconfigure(yaml string) error {
	g.t.Helper()
	return g.Reload(g.load(yaml))
}

// Address is host:port of the listener named public.
func (g *Gateway) Address() string { return g.Gateway.Address("public").String() }

// Admin is host:port of the admin listener.
func (g *Gateway) Admin() string { return g.admin.Addr().String() }

// Metrics is the text of /metrics.
func (g *Gateway) Metrics() string {
	g.t.Helper()
	return Do(g.t, g.Admin(), "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

// Do sends one request on a connection of its own and returns the whole response.
func (g *Gateway) Do(raw string) string {
	g.t.Helper()
	return Do(g.t, g.Address(), raw)
}

// Do sends one request to address and returns the whole response.
func Do(t testing.TB, address, raw string) string {
	t.Helper()
	c := Dial(t, address)
	c.Write(raw)
	method, _, _ := strings.Cut(raw, " ")
	return c.Read(method)
}
