package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// tag is a plugin that marks the request and the answer with its option, and
// counts how many of its instances are open.
func tag(open *atomic.Int64) plugin.Plugin {
	type options struct {
		Name string `yaml:"name" doc:"What to say."`
	}
	return plugin.Of("tag", nil, func(o options, _ *plugin.Deps) (pipeline.Instance, error) {
		if o.Name == "refused" {
			return pipeline.Instance{}, errors.New("no such name")
		}
		open.Add(1)
		i := pipeline.Instance{Close: func() { open.Add(-1) }}
		i.Hooks[pipeline.Request] = func(x *pipeline.Exchange) pipeline.Verdict {
			x.Request.Header.Set("X-Tag", o.Name)
			return pipeline.Continue
		}
		i.Hooks[pipeline.Response] = func(x *pipeline.Exchange) pipeline.Verdict {
			x.Response.Header.Set("X-Tag", o.Name)
			return pipeline.Continue
		}
		return i, nil
	})
}

// named answers with its name, and with the tag that the request carries.
func named(t *testing.T, name string) *gatewaytest.Origin {
	return gatewaytest.NewOrigin(t, func(request string) string {
		_, tag, _ := strings.Cut(request, "\r\nX-Tag: ")
		tag, _, _ = strings.Cut(tag, "\r\n")
		body := name + " by " + tag
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
}

func tagged(o *gatewaytest.Origin, name string) string {
	return oneService(o) + "defaults: {plugins: {tag: {name: " + name + "}}}\n"
}

// Reloads lose no request, and none sees halves of two configurations: service,
// request hook and response hook are always of one.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	origins := map[string]*gatewaytest.Origin{"one": named(t, "one"), "two": named(t, "two")}
	g := gatewaytest.RunWith(t, tagged(origins["one"], "one"), tag(&open))
	services, endpoints, kept := g.Held()
	perSnapshot := open.Load()

	var clients sync.WaitGroup
	var answers atomic.Int64
	stop := make(chan struct{})
	for range 6 {
		client := gatewaytest.Dial(t, g.Address())
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := client.TryWrite("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
					t.Errorf("writing: %v", err)
					return
				}
				got, err := client.TryRead(fasthttp.MethodGet)
				got = gatewaytest.Scrub(got)
				if err != nil || got != answerOf("one") && got != answerOf("two") {
					t.Errorf("%v: %q", err, got)
					return
				}
				answers.Add(1)
			}
		})
	}
	for i := range 40 {
		name := []string{"two", "one"}[i%2]
		seen := answers.Load()
		g.Reconfigure(tagged(origins[name], name))
		gatewaytest.Eventually(t, "answers under the new configuration", func() bool { return t.Failed() || answers.Load() > seen+5 })
	}
	close(stop)
	clients.Wait()
	gatewaytest.Eventually(t, "the replaced snapshots are closed", func() bool {
		s, e, k := g.Held()
		return s == services && e == endpoints && k == kept && open.Load() == perSnapshot
	})
	// The series of the endpoint in force are there, those of the other have left.
	text := g.Metrics()
	for name, o := range origins {
		series := fmt.Sprintf("gateway_upstream_requests_total{service=\"a\",endpoint=%q} ", o.Address())
		if got, want := strings.Contains(text, series), name == "one"; got != want {
			t.Errorf("%s is shown: %v", series, got)
		}
	}
	if !strings.Contains(text, fmt.Sprintf("gateway_upstream_in_flight{service=\"a\",endpoint=%q} 0\n", origins["one"].Address())) {
		t.Error("requests are still under way at the endpoint")
	}
}

func answerOf(name string) string {
	body := name + " by " + name
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Tag: %s\r\nX-Correlation-ID: <id>\r\n\r\n%s", len(body), name, body)
}

// An answer that streams ends under the configuration it began with, which stays
// until then.
func TestReloadWhileAnAnswerStreams(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	next := make(chan string)
	streaming := gatewaytest.NewRawOrigin(t, func(o *gatewaytest.OriginConn) {
		if _, err := o.ReadRequest(); err != nil {
			return
		}
		_, _ = io.WriteString(o, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for piece := range next {
			_, _ = io.WriteString(o, piece)
		}
	})
	g := gatewaytest.RunWith(t, tagged(streaming, "one"), tag(&open))
	perSnapshot := open.Load()
	client := gatewaytest.Dial(t, g.Address())
	client.Write("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
	next <- "1\r\na\r\n"
	for client.TakeLine() != "\r\n" {
	}
	client.Take(len("1\r\na\r\n"))
	g.Reconfigure(tagged(named(t, "two"), "two"))
	if got := gatewaytest.Scrub(g.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")); got != answerOf("two") {
		t.Errorf("a new request got %q", got)
	}
	if services, _, _ := g.Held(); services != 2 || open.Load() != 2*perSnapshot {
		t.Errorf("%d services, %d instances while the old answer streams", services, open.Load())
	}
	next <- "1\r\nb\r\n"
	next <- "0\r\n\r\n"
	close(next)
	if got := client.Take(len("1\r\nb\r\n0\r\n\r\n")); got != "1\r\nb\r\n0\r\n\r\n" {
		t.Errorf("the stream ended with %q", got)
	}
	gatewaytest.Eventually(t, "the replaced snapshot is closed", func() bool {
		services, _, _ := g.Held()
		return services == 1 && open.Load() == perSnapshot
	})
}

// A configuration that can't be compiled changes nothing and leaves nothing.
func TestRefusedReloadsLeaveNoTrace(t *testing.T) { // alone, for it counts goroutines
	var open atomic.Int64
	origin := named(t, "one")
	g := gatewaytest.RunWith(t, tagged(origin, "one"), tag(&open))
	services, endpoints, kept := g.Held()
	instances, snapshot := open.Load(), g.Current()
	bad := `
services: {a: {endpoints: [{url: "` + origin.URL() + `"}]}, more: {endpoints: [{url: "http://127.0.0.1:9"}]}}
routes:
  a: {match: {path: "/{rest...}"}, service: a}
  b: {match: {path: /b}, service: more}
  c: {match: {path: /c}, service: more, plugins: {tag: {name: refused}}}
defaults: {plugins: {tag: {name: other}}}
`
	before := runtime.NumGoroutine()
	for range 300 {
		if err := g.TryReconfigure(bad); err == nil || !strings.Contains(err.Error(), "no such name") {
			t.Fatalf("got %v", err)
		}
	}
	s, e, k := g.Held()
	if s != services || e != endpoints || k != kept || open.Load() != instances || g.Current() != snapshot {
		t.Errorf("%d services, %d endpoints, %d kept values, %d instances are held, want %d, %d, %d, %d", s, e, k, open.Load(), services, endpoints, kept, instances)
	}
	// fasthttp starts some of its own with the first use of this and that.
	gatewaytest.Eventually(t, "no goroutine is left behind", func() bool { return runtime.NumGoroutine() <= before+10 })
	if got := gatewaytest.Scrub(g.Do("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")); got != answerOf("one") {
		t.Errorf("got %q", got)
	}
}
