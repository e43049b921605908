package maintenance_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// A route under maintenance answers whole, its service hears nothing, and a reload
// opens it again.
func TestWalk(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	config := func(options string) string {
		return `
trusted_proxies: [127.0.0.0/8]
services: {a: {endpoints: [{url: "` + origin.URL() + `"}]}}
routes:
  a: {match: {path: /a}, service: a, plugins: {maintenance: ` + options + `}}
  b: {match: {path: /b}, service: a}
`
	}
	g := gatewaytest.Run(t, config(`{retry_after: 5m, allow_from: [198.51.100.0/24]}`))
	const request = "GET /a HTTP/1.1\r\nHost: h\r\nX-Correlation-ID: c-1\r\n"
	const closed = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 178\r\nRetry-After: 300\r\nX-Correlation-ID: c-1\r\n\r\n" +
		`{"type":"https://suuupra.dev/faults/maintenance","title":"Under maintenance","status":503,"code":"maintenance","error":"Under maintenance","retryAfter":300,"correlationId":"c-1"}`
	if diff := cmp.Diff(closed, gatewaytest.Scrub(g.Do(request+"\r\n"))); diff != "" {
		t.Error(diff)
	}
	if len(origin.Requests()) != 0 {
		t.Errorf("the service heard %q", origin.Requests())
	}
	if answer := g.Do(request + "X-Forwarded-For: 198.51.100.9\r\n\r\n"); !strings.HasSuffix(answer, "ok") {
		t.Errorf("a tester got\n%s", answer)
	}
	if answer := g.Do("GET /b HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasSuffix(answer, "ok") {
		t.Errorf("another route answered\n%s", answer)
	}
	const sign = `gateway_maintenance_enabled{route="a"} 1`
	if !strings.Contains(g.Metrics(), sign) {
		t.Error("the metrics do not show the route as closed")
	}
	g.Reconfigure(config(`{enabled: false, retry_after: 5m}`))
	if answer := g.Do(request + "\r\n"); !strings.HasSuffix(answer, "ok") {
		t.Errorf("after the reload\n%s", answer)
	}
	gatewaytest.Eventually(t, "the metrics show the route as open", func() bool { return !strings.Contains(g.Metrics(), sign) })
}
