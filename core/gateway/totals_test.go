package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// refusedConnection is the whole answer to a connection that may not stay: nothing
// of it is read, so it carries no id.
func refusedConnection(status, code, title string, number int) string {
	body := fmt.Sprintf(`{"type":"https://suuupra.dev/faults/%s","title":%q,"status":%d,"code":%q,"error":%q,"retryAfter":1,"correlationId":"<id>"}`, code, title, number, code, title)
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nRetry-After: 1\r\nX-Correlation-ID: <id>\r\nConnection: close\r\n\r\n%s",
		status, len(body)-len("<id>")+32, body)
}

// TestC13_Connections: what stands is served on, what is too many is answered and
// closed, over all listeners together; a place that becomes free is taken.
func TestC13_Connections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, limits, reason, want string }{
		{"in all", "{connections: 3}", "total", refusedConnection("503 Service Unavailable", "overloaded", "Overloaded", 503)},
		{"for an address", "{connections_per_ip: 3}", "per_ip", refusedConnection("429 Too Many Requests", "too_many_connections", "Too many connections", 429)},
		{"both", "{connections: 100, connections_per_ip: 3}", "per_ip", refusedConnection("429 Too Many Requests", "too_many_connections", "Too many connections", 429)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
			g := gatewaytest.Run(t, oneService(origin)+"limits: "+c.limits+"\nlisten: {second: {address: \"127.0.0.1:0\"}}\n")
			second := g.Gateway.Address("second").String()
			clients := []*gatewaytest.Client{gatewaytest.Dial(t, g.Address()), gatewaytest.Dial(t, second), gatewaytest.Dial(t, g.Address())}
			served := func(when string) {
				t.Helper()
				for _, client := range clients {
					client.Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
					same(t, when, client.Read("GET"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok")
				}
			}
			served("the answer of a full gateway")
			for range 5 {
				for _, address := range []string{g.Address(), second} {
					many := gatewaytest.Dial(t, address)
					same(t, "the answer to one too many", many.Read("GET"), c.want)
					many.Closed()
				}
			}
			served("the answer after refusals")
			for _, listener := range []string{"public", "second"} {
				counted(t, g, fmt.Sprintf(`gateway_connections_refused_total{reason=%q,listener=%q}`, c.reason, listener), "5")
			}
			_ = clients[0].Conn.Close()
			counted(t, g, `gateway_connections{listener="public"}`, "1")
			clients[0] = gatewaytest.Dial(t, second)
			served("the answer in a place that became free")
			if len(origin.Requests()) != 9 {
				t.Errorf("the endpoint saw %d requests", len(origin.Requests()))
			}
		})
	}
}

// A request that waits for its body ends under the configuration that let it in.
func TestExpectContinueAcrossAReload(t *testing.T) {
	t.Parallel()
	one, two := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK }), gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, oneService(one))
	client := gatewaytest.Dial(t, g.Address())
	client.Write("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	same(t, "the interim answer", client.Read("POST"), "HTTP/1.1 100 Continue\r\n\r\n")
	g.Reconfigure(oneService(two))
	if services, _, _ := g.Held(); services != 2 {
		t.Errorf("%d services are held while the request waits", services)
	}
	for _, o := range []*gatewaytest.Origin{one, two} { // the second goes by the new one
		client.Write("abc")
		same(t, "the answer", client.Read("POST"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok")
		if seen := o.Requests(); len(seen) != 1 || !strings.HasSuffix(seen[0], "\r\n\r\nabc") {
			t.Errorf("the endpoint saw %q", seen)
		}
		client.Write("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
	}
	gatewaytest.Eventually(t, "the replaced snapshot is closed", func() bool {
		services, _, _ := g.Held()
		return services == 1
	})
}

// A panic while it is decided whether the body may come is the answer: no 100.
func TestPanicBeforeContinue(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	log := &record{}
	bug := hook("bug", pipeline.Authorize, func(*pipeline.Exchange) pipeline.Verdict { panic("a bug") })
	g := gatewaytest.RunOptions(t, oneService(origin)+"defaults: {plugins: {bug: {}}}\n", gatewaytest.Options{Log: log, Plugins: []plugin.Plugin{bug}})
	client := gatewaytest.Dial(t, g.Address())
	client.Write("POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	want := strings.Replace(internalError, "X-Correlation-ID: <id>\r\n", "X-Correlation-ID: <id>\r\nConnection: close\r\n", 1)
	same(t, "the answer", client.Read("POST"), want)
	client.Closed()
	counted(t, g, "gateway_in_flight", "0")
	if n := log.count(`"panic":"a bug"`); n != 1 || len(origin.Requests()) != 0 {
		t.Errorf("logged %d times; the endpoint saw %q", n, origin.Requests())
	}
}
