package gateway_test

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/setting"
)

// A gateway that can't start says why, with the place, and leaves no listener, no
// plugin and (the package's leak check) no goroutine behind.
func TestStartLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	probe, err := net.Listen("tcp", "127.0.0.77:0") // an address that no other test uses
	if err != nil {
		t.Fatal(err)
	}
	free := probe.Addr().String()
	_ = probe.Close()
	var open atomic.Int64
	marker := tag(&open)
	for _, c := range []struct{ name, yaml, want string }{
		{"a listener's address is taken", `
listen: {first: {address: "` + free + `"}, second: {address: "` + taken.Addr().String() + `"}}
routes: {a: {match: {path: /a}, respond: {}}}
defaults: {plugins: {tag: {name: one}}}
`, "gw.yaml:2:48: listener second: listen tcp " + taken.Addr().String() + ": bind: address already in use"},
		{"a plugin can't be built", `
listen: {first: {address: "` + free + `"}}
routes: {a: {match: {path: /a}, respond: {}, plugins: {tag: {name: refused}}}}
defaults: {plugins: {tag: {name: one}}}
`, "gw.yaml:3:61: route a: building tag: no such name"},
	} {
		cfg, report := config.Load(config.LoadOptions{
			Files: []string{"gw.yaml"}, ReadFile: func(string) ([]byte, error) { return []byte(c.yaml), nil },
			Plugins: []string{"tag"}, CheckPlugin: func(_ string, n *setting.Node, _ *config.Config, r *setting.Report) {
				marker.Check(n, plugin.Around{}, r)
			},
		})
		if report.Failed() {
			t.Fatal(report.Err())
		}
		_, err := gateway.Start(cfg, gateway.Parts{
			Clock: clock.Real(), Meter: meter.NewSet(time.Now), Log: zerolog.Nop(), Plugins: []plugin.Plugin{marker},
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
		if open.Load() != 0 {
			t.Errorf("%s: %d plugin instances are left", c.name, open.Load())
		}
		if l, err := net.Listen("tcp", free); err != nil {
			t.Errorf("%s: the first listener is left: %v", c.name, err)
		} else {
			_ = l.Close()
		}
	}
}

// What one route allows in a path is refused on all others.
func TestC6_EncodedSlashesAreTheRoutes(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes:
  open: {match: {path: "/open/{rest...}"}, service: a, path: {encoded_slashes: allow}}
  shut: {match: {path: "/shut/{rest...}"}, service: a}
`)
	same(t, "the open route", g.Do("GET /open/a%2fb HTTP/1.1\r\nHost: h\r\n\r\n"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok")
	same(t, "another", g.Do("GET /shut/a%2fb HTTP/1.1\r\nHost: h\r\n\r\n"),
		"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: 224\r\nX-Correlation-ID: <id>\r\n\r\n"+
			faultBody("bad_request", "Bad request", "400", "the route takes no encoded slashes"))
	if seen := origin.Requests(); len(seen) != 1 {
		t.Errorf("the endpoint saw %q", seen)
	}
}
