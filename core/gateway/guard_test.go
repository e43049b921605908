package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/upstream"
)

const notWell = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

func get(g *gatewaytest.Gateway, path string) string {
	return g.Do("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

// TestBreakerOutlivesAReload: a service that is not called stays so while the rest of its
// declaration changes, and its fallback is that of the configuration in force.
func TestBreakerOutlivesAReload(t *testing.T) {
	t.Parallel()
	bad := gatewaytest.NewOrigin(t, func(string) string { return notWell })
	good := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	const config = `
services:
  bad: {endpoints: [{url: "%s"}], %s retry: off, breaker: {consecutive: 3, open: 1h, open_maximum: 1h, fallback: %s}}
  good: {endpoints: [{url: "%s"}]}
routes:
  bad: {match: {path: "/bad"}, service: bad}
  good: {match: {path: "/good"}, service: good}
`
	g := gatewaytest.Run(t, fmt.Sprintf(config, bad.URL(), "", "{status: 503, detail: come back later}", good.URL()))
	for range 3 {
		if got := get(g, "/bad"); !strings.HasPrefix(got, "HTTP/1.1 500 ") {
			t.Fatalf("not yet open:\n%s", got)
		}
	}
	if got := get(g, "/bad"); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "\r\nRetry-After: 3600\r\n") ||
		!strings.Contains(got, `"code":"circuit_open","error":"Circuit breaker open","detail":"come back later"`) {
		t.Errorf("open:\n%s", got)
	}
	if left := forNow(g); left > time.Hour || left < 59*time.Minute {
		t.Errorf("it says that it stays open for %v", left)
	}
	g.Reconfigure(fmt.Sprintf(config, bad.URL(), "timeouts: {total: 5s},", "{service: good}", good.URL()))
	if got := get(g, "/bad"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("with another service:\n%s", got)
	}
	g.Reconfigure(fmt.Sprintf(config, bad.URL(), "", `{body: "[]", content_type: application/json}`, good.URL()))
	if got := get(g, "/bad"); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "\r\n\r\n[]") || !strings.Contains(got, "Content-Type: application/json") {
		t.Errorf("with a body:\n%s", got)
	}
	if n := len(bad.Requests()); n != 3 {
		t.Errorf("the service was asked %d times", n)
	}
	for _, line := range []string{
		`gateway_circuit_breaker_state{service="bad"} 1`, `gateway_circuit_breaker_transitions_total{service="bad",to="open"} 1`,
		`gateway_circuit_breaker_refused_total{service="bad"} 3`, `gateway_faults_total{route="bad",service="bad",code="circuit_open"} 1`,
	} {
		if !strings.Contains(g.Metrics(), line+"\n") {
			t.Errorf("%s is not in the metrics", line)
		}
	}
}

// TestAForcedBreakerOutlivesItsDeclaration: a reload must not let requests through to a service
// that an operator has shut off, whatever else it changes of the breaker.
func TestAForcedBreakerOutlivesItsDeclaration(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	const config = `
services: {a: {endpoints: [{url: "%s"}], breaker: {open: %s}}}
routes: {a: {match: {path: "/a"}, service: a}}
`
	g := gatewaytest.Run(t, fmt.Sprintf(config, origin.URL(), "1s"))
	g.Current().Services[0].ForceBreaker(upstream.ForcedOpen)
	for _, open := range []string{"2s", "3s", "1s"} {
		g.Reconfigure(fmt.Sprintf(config, origin.URL(), open))
		if got := get(g, "/a"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Errorf("open: %s:\n%s", open, got)
		}
	}
	g.Current().Services[0].ForceBreaker(upstream.Unforced)
	if got := get(g, "/a"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("left to itself:\n%s", got)
	}
}

// TestATunnelHoldsNoPlace: a WebSocket may last for days, and has a bound of its own.
func TestATunnelHoldsNoPlace(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}], bulkhead: {maximum: 1, queue: 0}, breaker: {}}}
routes: {ws: {match: {path: "/ws/{rest...}"}, service: a, plugins: {websocket: {}}}}
`, origin.URL()))
	for range 3 {
		c, head := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
		if !strings.HasPrefix(head, "HTTP/1.1 101 ") {
			t.Fatalf("no place for a tunnel:\n%s", head)
		}
		wantEcho(t, c, text("here"))
	}
	if !strings.Contains(g.Metrics(), `gateway_bulkhead_in_flight{service="a"} 0`+"\n") {
		t.Error("tunnels hold places")
	}
}
