//go:build !race

package gatewaytest_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// TestAHangingServiceStarvesNobody: one of six services hangs with all that it is allowed,
// under callers that ask again and again. The others answer as quickly as beside a service
// that answers the same callers, and what waits for the one that hangs is bounded
// (SPEC UP5).
func TestAHangingServiceStarvesNobody(t *testing.T) {
	over := make(chan struct{})
	var hangs atomic.Bool
	sick := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			if _, err := c.ReadRequest(); err != nil {
				return
			}
			if hangs.Load() {
				<-over
				return
			}
			time.Sleep(20 * time.Millisecond) // what a call takes that is well
			if _, err := c.Write([]byte(gatewaytest.OK)); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { close(over) }) // before the origin's own, which waits for it
	var config strings.Builder
	fmt.Fprintf(&config, "services:\n  s0: {endpoints: [{url: %q}], timeouts: {response: off, total: off}, bulkhead: {maximum: 20, queue: 20, queue_timeout: 50ms}}\n", sick.URL())
	routes := "routes:\n  s0: {match: {path: /s0}, service: s0}\n"
	for i := 1; i < 6; i++ {
		well := steady(t, []byte(gatewaytest.OK))
		fmt.Fprintf(&config, "  s%d: {endpoints: [{url: %q}], bulkhead: {maximum: 20}}\n", i, well.URL())
		routes += fmt.Sprintf("  s%d: {match: {path: /s%d}, service: s%d}\n", i, i, i)
	}
	g := gatewaytest.Run(t, config.String()+routes)
	var crowd sync.WaitGroup
	var shed atomic.Int64
	var callers []*gatewaytest.Client
	for range 60 {
		c := gatewaytest.Dial(t, g.Address())
		callers = append(callers, c)
		crowd.Go(func() {
			for c.TryWrite("GET /s0 HTTP/1.1\r\nHost: h\r\n\r\n") == nil {
				answer, err := c.TryRead("GET")
				if err != nil {
					return
				}
				if strings.Contains(answer, `"code":"overloaded"`) {
					shed.Add(1)
					time.Sleep(10 * time.Millisecond) // or the callers alone would take a core
				}
			}
		})
	}
	defer crowd.Wait()
	defer func() {
		for _, c := range callers {
			_ = c.Conn.Close()
		}
	}()
	before := othersP99(t, g)
	hangs.Store(true)
	for deadline := time.Now().Add(30 * time.Second); shed.Load() < 100; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the service that hangs is never full")
		}
	}
	heap := liveHeap()
	during := othersP99(t, g)
	t.Logf("p99 of the others %v, and %v while one hangs; %d were shed", before, during, shed.Load())
	if during > before*3/2 && during > 20*time.Millisecond {
		t.Errorf("p99 of the others %v, and %v while one hangs", before, during)
	}
	if grown := int64(liveHeap()) - int64(heap); grown > 1<<20 {
		t.Errorf("%d bytes more are held after %d requests more", grown, shed.Load())
	}
	if view := g.Metrics(); !strings.Contains(view, `gateway_bulkhead_in_flight{service="s0"} 20`+"\n") {
		t.Error("the places of the service that hangs are not all taken")
	}
}

// othersP99 is the 99th percentile of a request to the services that are well; the best of
// five. A machine is busy with other things too: what starves waits for 50 ms and more.
func othersP99(t *testing.T, g *gatewaytest.Gateway) time.Duration {
	t.Helper()
	best := time.Hour
	c := gatewaytest.Dial(t, g.Address())
	for range 5 {
		var took []time.Duration
		for n := range 500 {
			start := time.Now()
			c.Write(fmt.Sprintf("GET /s%d HTTP/1.1\r\nHost: h\r\n\r\n", 1+n%5))
			if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Fatalf("a service that is well:\n%s", got)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		best = min(best, took[len(took)*99/100])
	}
	return best
}
