// Package plugintest runs the hooks of one plugin over an exchange that is
// written as text, without a gateway around it.
//
//	built := plugintest.Build(t, securityheaders.Plugin, `{frame: off}`)
//	x := plugintest.Exchange(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
//	plugintest.Answer(t, x, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
//	built.Run(pipeline.Response, x)
//	got := plugintest.Text(x)
package plugintest

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/wire"
)

// Source is the name of the file that options are said to stand in.
const Source = "options.yaml"

// Built is a plugin built for the route "test".
type Built struct {
	pipeline.Instance
	Deps *plugin.Deps
}

// Deps returns dependencies of their own: the real clock, an empty meter set
// and keeper. The test fails if something is still kept when it has ended.
func Deps(t testing.TB) *plugin.Deps {
	t.Helper()
	keeper := plugin.NewKeeper(zerolog.New(zerolog.NewTestWriter(t)))
	t.Cleanup(func() {
		if n := keeper.Len(); n != 0 {
			t.Errorf("%d values are kept though all instances are closed", n)
		}
	})
	return &plugin.Deps{
		Meter: meter.NewSet(time.Now), Clock: clock.Real(), Log: zerolog.Nop(), Route: "test", Keeper: keeper,
	}
}

// Problems returns what Check says about options, a YAML text: each problem as
// "options.yaml:line:column: path: text". Warnings are left out.
func Problems(t testing.TB, p plugin.Plugin, options string) []string {
	t.Helper()
	return texts(report(p, options, plugin.Around{}).Problems())
}

// ProblemsAround is Problems for options that stand among others.
func ProblemsAround(t testing.TB, p plugin.Plugin, around plugin.Around, options string) []string {
	t.Helper()
	return texts(report(p, options, around).Problems())
}

// Warnings returns what Check warns of, in the same form.
func Warnings(t testing.TB, p plugin.Plugin, options string) []string {
	t.Helper()
	return texts(report(p, options, plugin.Around{}).Warnings())
}

func report(p plugin.Plugin, options string, around plugin.Around) *setting.Report {
	var r setting.Report
	if n := setting.Parse(Source, []byte(options), &r); !r.Failed() {
		p.Check(n, around, &r)
	}
	return &r
}

func texts(problems []setting.Problem) []string {
	var out []string
	for _, problem := range problems {
		out = append(out, problem.String())
	}
	return out
}

// Build builds p from options, a YAML text, and closes it when the test ends.
func Build(t testing.TB, p plugin.Plugin, options string) *Built {
	t.Helper()
	return BuildWith(t, p, options, Deps(t))
}

// BuildWith is Build with dependencies of the caller's.
func BuildWith(t testing.TB, p plugin.Plugin, options string, d *plugin.Deps) *Built {
	t.Helper()
	if problems := Problems(t, p, options); len(problems) > 0 {
		t.Fatalf("the options of %s have problems:\n%s", p.Name, strings.Join(problems, "\n"))
	}
	instance, err := p.Build(setting.Parse(Source, []byte(options), &setting.Report{}), d)
	if err != nil {
		t.Fatal(err)
	}
	if instance.Close != nil {
		t.Cleanup(instance.Close)
	}
	return &Built{Instance: instance, Deps: d}
}

// Run runs the hook of one phase; a plugin without one continues.
func (b *Built) Run(phase pipeline.Phase, x *pipeline.Exchange) pipeline.Verdict {
	if hook := b.Hooks[phase]; hook != nil {
		return hook(x)
	}
	return pipeline.Continue
}

// Metrics returns the metrics of the plugin as Prometheus text.
func (b *Built) Metrics() string {
	var text bytes.Buffer
	b.Deps.Meter.WritePrometheus(&text)
	return text.String()
}

// Exchange returns an exchange of the route "test" with the request, as received
// on the listener "public" from 192.0.2.1, with its target and host canonical.
func Exchange(t testing.TB, request string) *pipeline.Exchange {
	t.Helper()
	x := pipeline.NewFactory(func(*pipeline.Exchange) {}).New()
	x.Request, x.Response = &fasthttp.Request{}, &fasthttp.Response{}
	x.Response.Header.SetNoDefaultContentType(true) // as the server has it
	x.Route = &pipeline.Route{Name: "test"}
	x.Peer = pipeline.Peer{Address: netip.MustParseAddrPort("192.0.2.1:4000"), Listener: "public"}
	x.Client = x.Peer.Address.Addr()
	x.Scheme = "http"
	if err := x.Request.Read(bufio.NewReader(strings.NewReader(request))); err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	var scanner wire.RequestScanner
	scanner.Reset(&wire.Limits{URI: len(request), Header: len(request), Headers: 1000})
	if _, err := scanner.Scan([]byte(request)); err != nil {
		t.Fatalf("scanning the request: %v", err)
	}
	x.Head = scanner.Head()
	x.Correlate(x.Request.Header.Peek(pipeline.HeaderCorrelationID))
	if err := x.SetTarget(wire.PathOptions{}); err != nil {
		t.Fatalf("reading the target: %v", err)
	}
	if err := x.SetHost(x.Request.Header.Host()); err != nil {
		t.Fatalf("reading the host: %v", err)
	}
	x.BytesIn = int64(len(x.Request.Body()))
	x.Timing.Start = 1
	return x
}

// Answer sets the response of a service.
func Answer(t testing.TB, x *pipeline.Exchange, response string) {
	t.Helper()
	x.Response.Reset()
	x.Response.Header.SetNoDefaultContentType(true)
	if err := x.Response.Read(bufio.NewReader(strings.NewReader(response))); err != nil {
		t.Fatalf("reading the response: %v", err)
	}
	x.FromService, x.Fault, x.Cause = true, fault.Fault{}, nil
	x.BytesOut = int64(len(x.Response.Body()))
}

// End says that the exchange ended after it had taken d, and what its status was.
func End(x *pipeline.Exchange, d time.Duration) {
	x.Status = x.Response.StatusCode()
	x.Timing.End = x.Timing.Start + int64(d)
}

// Text returns the response: its status, its fields sorted, and its body.
func Text(x *pipeline.Exchange) string {
	var fields []string
	for name, value := range x.Response.Header.All() {
		fields = append(fields, fmt.Sprintf("%s: %s\n", name, value))
	}
	slices.Sort(fields)
	return fmt.Sprintf("%d\n%s\n%s", x.Response.StatusCode(), strings.Join(fields, ""), x.Response.Body())
}
