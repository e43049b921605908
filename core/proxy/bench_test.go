//go:build !race

package proxy

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// present is a client that stays: all that RoundTrip asks of it.
type present struct{ pipeline.Downstream }

func (present) Interim(int, *fasthttp.ResponseHeader) error { return nil }
func (present) Gone() bool                                  { return false }
func (present) Truncated() bool                             { return false }
func (present) Abort()                                      {}

// sender sends one request over and over, without a listener before the transport.
type sender struct {
	b        *testing.B
	proxy    *Proxy
	route    *pipeline.Route
	trusted  *clientip.Trusted
	x        *pipeline.Exchange
	request  fasthttp.Request
	response fasthttp.Response
	head     wire.RequestHead
	raw      fasthttp.Request
	room     [32 << 10]byte // for a streamed body
}

// once is what a listener and the walk do around a round trip, as little as can be.
func (c *sender) once() {
	x := c.x
	c.response.Header.Reset() // the body's room is used again, as a server does
	c.raw.CopyTo(&c.request)
	x.Request, x.Response, x.Head, x.Down, x.Route = &c.request, &c.response, &c.head, present{}, c.route
	x.Peer.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 4711)
	x.Correlate(nil)
	c.proxy.Sanitize(x, c.trusted)
	if err := x.SetTarget(wire.PathOptions{}); err != nil {
		c.b.Fatal(err)
	}
	if verdict := c.proxy.RoundTrip(x); verdict != pipeline.Continue {
		c.b.Fatalf("verdict %v: %v", verdict, x.Cause)
	}
	if x.Streaming {
		for body, err := c.response.BodyStream(), error(nil); err != io.EOF; {
			if _, err = body.Read(c.room[:]); err != nil && err != io.EOF {
				c.b.Fatal(err)
			}
		}
		if err := c.response.CloseBodyStream(); err != nil {
			c.b.Fatal(err)
		}
	}
	x.Reset()
}

// BenchmarkRoundTrip is the transport alone: from a parsed request to an answer in
// memory, over loopback connections that are kept.
func BenchmarkRoundTrip(b *testing.B) {
	body := func(n int) string { return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, fill(n)) }
	for _, c := range []struct {
		name, answer string
		body         int
	}{
		{"GET", body(128), 0},
		{"POST of 1 KiB", body(128), 1024},
		{"GET of 64 KiB", body(64 << 10), 0},
		{"GET of 128 KiB, streamed", body(128 << 10), 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			o := newOrigin(b, fixed(c.answer))
			p := New(Options{Clock: clock.Real(), Meter: meter.NewSet(time.Now)})
			service, err := upstream.NewRegistry(p.Open).Acquire(upstream.ServiceSpec{
				Name: "svc", Endpoints: []upstream.EndpointSpec{{Address: o.address(), HostHeader: "origin.test", Weight: 1}},
				Connections: upstream.ConnectionSettings{Maximum: 256, Idle: 256, IdleTimeout: time.Minute, Keepalive: true},
			})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { service.Release(); p.Close() })
			route := &pipeline.Route{
				Name: "r", BodyLimit: 1 << 20, Buffer: 64 << 10,
				Destinations: []*pipeline.Destination{{
					Service:  service,
					Timeouts: upstream.Timeouts{Connect: 5 * time.Second, Response: 5 * time.Second, Idle: 5 * time.Second, Total: 10 * time.Second},
				}},
			}
			factory := pipeline.NewFactory(func(*pipeline.Exchange) {})
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				one := &sender{b: b, proxy: p, route: route, trusted: clientip.New(nil), x: factory.New(), head: wire.RequestHead{Minor: 1, ContentLength: -2}}
				one.raw.Header.SetMethod(fasthttp.MethodGet)
				one.raw.Header.SetRequestURI("/identity/users/42?fields=name")
				one.raw.Header.SetHost("api.example.com")
				one.raw.Header.Set("User-Agent", "bench")
				one.raw.Header.Set("Accept", "*/*")
				if c.body > 0 {
					one.raw.Header.SetMethod(fasthttp.MethodPost)
					one.raw.SetBody(make([]byte, c.body))
				}
				for pb.Next() {
					one.once()
				}
			})
		})
	}
}
