package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/upstream"
)

// A body of 9,000 bytes is not with its head: fasthttp hands the request on before it is there.
const (
	slowHead  = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\nConnection: close\r\n\r\n"
	slowStart = 8500
)

// begin sends the head of an upload and most of its body.
func begin(t *testing.T, g *gatewaytest.Gateway) *gatewaytest.Client {
	t.Helper()
	c := gatewaytest.Dial(t, g.Address())
	c.Write(slowHead + strings.Repeat("x", slowStart))
	return c
}

// breakerOf is the breaker of the first service.
func breakerOf(g *gatewaytest.Gateway) *upstream.Breaker { return g.Current().Services[0].Breaker }

// forNow is how long the breaker stays open.
func forNow(g *gatewaytest.Gateway) time.Duration {
	v, _ := g.Current().Services[0].BreakerView()
	return v.For
}

// TestSlowClientsAreNoFailuresOfTheirService: what clients take for their bodies is no time of the
// service's, neither of its timeouts nor of its breaker.
func TestSlowClientsAreNoFailuresOfTheirService(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}], timeouts: {total: 300ms}, retry: off, breaker: {consecutive: 5, minimum: 5, slow: {over: 200ms}, open: 1h, open_maximum: 1h}}}
routes: {a: {match: {path: "/a"}, service: a}}
`, origin.URL()))
	var all sync.WaitGroup
	for range 5 {
		c := begin(t, g)
		all.Go(func() {
			time.Sleep(400 * time.Millisecond) // is what is tested: a client's pause
			c.Write(strings.Repeat("y", 9000-slowStart))
			if got := c.Read("POST"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Errorf("a slow client got %q", got)
			}
		})
	}
	all.Wait()
	if n := len(origin.Requests()); n != 5 || breakerOf(g).State() != upstream.Closed {
		t.Errorf("the service got %d requests of 5, and its breaker is %v", n, breakerOf(g).State())
	}
}

// TestSlowClientsHoldNoPlaces: a client whose body does not come takes no place in a bulkhead, and is no
// probe of a breaker.
func TestSlowClientsHoldNoPlaces(t *testing.T) {
	t.Parallel()
	var well atomic.Bool
	origin := gatewaytest.NewOrigin(t, func(string) string {
		if well.Load() {
			return gatewaytest.OK
		}
		return notWell
	})
	g := gatewaytest.Run(t, fmt.Sprintf(`
services: {a: {endpoints: [{url: "%s"}], retry: off, bulkhead: {maximum: 3, queue: 0}, breaker: {consecutive: 3, open: 50ms, probes: 3}}}
routes: {a: {match: {path: "/a"}, service: a}}
`, origin.URL()))
	for range 3 {
		get(g, "/a")
	}
	if s := breakerOf(g).State(); s != upstream.Open {
		t.Fatalf("the breaker is %v", s)
	}
	well.Store(true)
	gatewaytest.Eventually(t, "the breaker's time is over", func() bool { return forNow(g) == 0 })
	for range 3 {
		begin(t, g)
	}
	gatewaytest.Eventually(t, "three clients are connected", func() bool { return strings.Contains(g.Metrics(), `gateway_connections{listener="public"} 3`) })
	for i := range 3 {
		if got := get(g, "/a"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("request %d beside three slow clients got %q", i, got)
		}
	}
	if s := breakerOf(g).State(); s != upstream.Closed {
		t.Errorf("the breaker is %v", s)
	}
}

// TestAForceDoesNotComeBack: what an operator has taken back stays so, however long requests hold the
// configuration for which it was said.
func TestAForceDoesNotComeBack(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	held := make(chan struct{})
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			r, err := c.ReadRequest()
			if err != nil {
				return
			}
			if strings.Contains(fmt.Sprint(r), "/slow") {
				close(held)
				<-hold
			}
			if _, err := c.Write([]byte(gatewaytest.OK)); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { close(hold) })
	const config = `
services: {a: {endpoints: [{url: "%s"}], timeouts: {response: off, total: off}, breaker: {open: %s}}}
routes: {a: {match: {path: "/{x...}"}, service: a}}
`
	g := gatewaytest.Run(t, fmt.Sprintf(config, origin.URL(), "1s"))
	c := gatewaytest.Dial(t, g.Address())
	c.Write("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	<-held
	g.Current().Services[0].ForceBreaker(upstream.ForcedOpen)
	g.Reconfigure(fmt.Sprintf(config, origin.URL(), "2s"))
	if got := get(g, "/a"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("forced open, behind a reload: %q", got)
	}
	g.Current().Services[0].ForceBreaker(upstream.Unforced)
	for _, open := range []string{"3s", "1s", "2s"} {
		g.Reconfigure(fmt.Sprintf(config, origin.URL(), open))
		if got := get(g, "/a"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("open: %s: what was taken back is so again: %q", open, got)
		}
	}
}

// TestAFallbackBalancesByItsOwnKey: requests of one key go to one endpoint of the service that stands in.
func TestAFallbackBalancesByItsOwnKey(t *testing.T) {
	t.Parallel()
	bad := gatewaytest.NewOrigin(t, func(string) string { return notWell })
	var urls []string
	var goods []*gatewaytest.Origin
	for range 4 {
		o := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
		goods = append(goods, o)
		urls = append(urls, fmt.Sprintf(`{url: "%s"}`, o.URL()))
	}
	g := gatewaytest.Run(t, fmt.Sprintf(`
services:
  a: {endpoints: [{url: "%s"}], retry: off, balance: {consistent_hash: {by: {header: X-Other}}}, breaker: {consecutive: 1, open: 1h, open_maximum: 1h, fallback: {service: b}}}
  b: {endpoints: [%s], balance: {consistent_hash: {by: {header: X-Key}}}}
routes: {a: {match: {path: "/{x...}"}, service: a}}
`, bad.URL(), strings.Join(urls, ", ")))
	get(g, "/a")
	for i := range 40 {
		g.Do(fmt.Sprintf("GET /a HTTP/1.1\r\nHost: h\r\nX-Key: one\r\nX-Other: %d\r\nConnection: close\r\n\r\n", i))
	}
	most := 0
	for _, o := range goods {
		most = max(most, len(o.Requests()))
	}
	if most != 40 {
		t.Errorf("of 40 requests with one key %d went to one endpoint", most)
	}
}
