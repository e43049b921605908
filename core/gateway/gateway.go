// Package gateway is the data path: it joins listeners, the snapshot in force
// and the transport, and walks each request through them. Read serve.go first.
//
// A [Gateway] is made once and lives as long as the process; configurations come
// and go through [Gateway.Reload], and never touch a connection.
package gateway

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/proxy"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/upstream"
)

// Gateway serves requests. Its methods may be called concurrently.
type Gateway struct {
	clock    clock.Clock
	meter    *meter.Set
	log      zerolog.Logger
	plugins  []plugin.Plugin
	builtIns func(*config.Config) []snapshot.BuiltIn
	sockets  map[string]*net.TCPListener
	identity *plugin.Identity
	limits   *plugin.Limits

	// What outlives snapshots.
	proxy    *proxy.Proxy
	services *upstream.Registry
	keeper   *plugin.Keeper

	// snap is what new exchanges walk. Reloads write it, rarely; each request
	// loads it in enter only, so that no request sees halves of two.
	snap      atomic.Pointer[snapshot.Snapshot]
	exchanges sync.Pool
	server    *fasthttp.Server

	listeners []*listen.Listener // written by Start only
	secured   []*secured         // those of them that speak TLS; likewise
	presented presented          // the certificates that services are shown
	totals    *listen.Totals     // of all listeners; set by Start
	serving   sync.WaitGroup     // their accept loops
	phase     atomic.Uint32      // a phase of the drain; written by Shutdown only, read by each answer
	// reloading is held by whoever puts a snapshot in force after the first; no request
	// takes it.
	reloading sync.Mutex
	// stopRenewing ends the look after renewed certificates.
	stopRenewing chan struct{}
	renewing     sync.WaitGroup // the look after renewed certificates
	retiring     sync.WaitGroup // replaced snapshots that wait for their last exchange
}

// Parts are what the program chooses and a gateway is joined from.
type Parts struct {
	Clock   clock.Clock
	Meter   *meter.Set
	Log     zerolog.Logger
	Plugins []plugin.Plugin // in the order in which hooks of one phase run
	// Identity says whose credentials are good; nil: nobody's.
	Identity *plugin.Identity
	// Limits counts requests. Its policies are replaced by those of each configuration
	// that is put in force. nil: no route may count.
	Limits *plugin.Limits
	// Barred says of an address that no endpoint may be there; nil: none is barred.
	Barred func(netip.AddrPort) bool
	// Finder finds endpoints that are not declared; nil: nobody does.
	Finder upstream.Finder
	// BuiltIns returns the routes that the program brings along under a
	// configuration; nil: none. It is called for each one that is compiled.
	BuiltIns func(*config.Config) []snapshot.BuiltIn
	// Stays, if not nil, end what lasts on behalf of callers who are revoked.
	Stays *revocation.Stays
	// Breakers is where instances tell each other of services that fail; nil: each is on
	// its own.
	Breakers upstream.BreakerStore
	// Recorder, if not nil, is told when the health of an endpoint changes.
	Recorder upstream.Recorder
	// Sockets are listening sockets that the program was started with, by the name
	// of their listener. Start takes those that the configuration names.
	Sockets map[string]*net.TCPListener
}

// newGateway joins the parts; it has no snapshot and serves nothing.
func newGateway(p Parts) *Gateway {
	if p.Identity == nil {
		p.Identity = &plugin.Identity{} // nil is for programs that serve nothing
	}
	if p.Limits == nil {
		p.Limits = &plugin.Limits{Policies: limit.NewPolicies(), Denied: limit.NewDenied(1, 0)} // nothing is counted
	}
	g := &Gateway{clock: p.Clock, meter: p.Meter, log: p.Log, plugins: p.Plugins, builtIns: p.BuiltIns, sockets: p.Sockets, identity: p.Identity, limits: p.Limits, stopRenewing: make(chan struct{})}
	g.proxy = proxy.New(proxy.Options{Clock: p.Clock, Meter: p.Meter, Untrusted: g.untrusted, Barred: p.Barred, Stays: p.Stays})
	g.services = upstream.NewRegistry(g.proxy.Open)
	g.services.Publish(p.Meter)
	g.services.Check(upstream.Checking{Clock: p.Clock, Prober: g.proxy, Log: p.Log, Recorder: p.Recorder})
	if p.Finder != nil {
		g.services.Find(p.Finder)
	}
	g.services.Tend(p.Clock, g.moved)
	g.services.Guard(upstream.Guarding{Clock: p.Clock, Log: p.Log, Store: p.Breakers})
	g.keeper = plugin.NewKeeper(p.Log)
	g.presented.now, g.presented.meter = p.Clock.Now, p.Meter
	factory := pipeline.NewFactory(g.done)
	g.exchanges.New = func() any { return factory.New() }
	return g
}

// moved logs that an endpoint came into service, or left it.
func (g *Gateway) moved(n upstream.Notice) {
	event := g.log.Info()
	if !n.In {
		event = g.log.Warn()
	}
	event = event.Str("service", n.Service).Bool("in_service", n.In).Str("reason", n.Reason)
	if n.For > 0 {
		event = event.Stringer("for", n.For)
	}
	switch {
	case n.Endpoint == "" && n.In:
		event.Msg("a service is asked only where its endpoints are in service")
	case n.Endpoint == "":
		event.Msg("a service is asked at all its endpoints: panic")
	case n.In:
		event.Str("endpoint", n.Endpoint).Msg("endpoint is in service")
	default:
		event.Str("endpoint", n.Endpoint).Msg("endpoint left service")
	}
}

// untrusted is told once of each peer whose forwarded fields are not believed
// (SECURITY C10): most likely a proxy that the configuration forgot.
func (g *Gateway) untrusted(peer netip.Addr) {
	g.log.Warn().Stringer("peer", peer).Msg("X-Forwarded-* and the like from this peer are dropped; if it is a proxy of yours, add it to trusted_proxies")
}

// headRoom is what fasthttp's reader needs beyond the largest head: the scanner
// refuses a larger one first, with the fault that fits.
const headRoom = 1024

// largestPooledBody is the largest body buffer that fasthttp keeps for reuse, in
// bytes: one large answer must not stay in memory for good.
const largestPooledBody = 256 << 10

// newServer sets up fasthttp as FASTHTTP facts demand. All its timeouts stay
// zero: they are absolute over head and body, and cut streams; listen.Conn
// keeps deadlines of its own.
func (g *Gateway) newServer(headerBytes int) *fasthttp.Server {
	fasthttp.SetBodySizePoolLimit(largestPooledBody, largestPooledBody)
	return &fasthttp.Server{
		Handler:                      g.serve,
		ExpectHandler:                g.expect,
		ErrorHandler:                 g.refuse,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		LazyRequestTime:              true,
		ReadBufferSize:               headerBytes + headRoom,
		MaxRequestBodySize:           math.MaxInt,
		Concurrency:                  math.MaxInt32,
		Logger:                       quiet{},
	}
}

// quiet drops fasthttp's own log lines: they quote bytes of the request, and
// what they report reaches refuse as an error.
type quiet struct{}

// Printf drops its line.
func (quiet) Printf(string, ...any) {}
