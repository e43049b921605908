// Package admin is the operators' side: a listener of its own on a loopback
// address, with metrics, probes, and the API that shows and changes what runs.
//
// A browser on an operator's machine reaches loopback as well, so each request
// is judged before it is routed (SECURITY C8): a Host that is neither a loopback
// name nor configured is 421 (DNS rebinding), an Origin that is not this
// listener's own, or a cross-site fetch, is 403. Metrics and probes are open to
// whoever reaches the listener; the API wants a bearer token with a role, takes
// changes as application/json only, and writes each to the audit log.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/router"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
)

// Options are what the admin listener serves. Address, Meter and Probes are required.
type Options struct {
	Address string   // host:port; port 0 takes a free one
	Hosts   []string // names beyond the loopback ones that Host may hold
	Tokens  []Token  // who may use the API; none: nobody
	Meter   *meter.Set
	Probes  *Probes
	API     *API // nil: there are metrics, probes and keys alone
	// InternalKeys returns the key set (RFC 7517) that services verify internal tokens with
	// (SECURITY I7); nil where nobody signs any.
	InternalKeys func() []byte
	Log          zerolog.Logger
}

// Server is the admin listener. Start and Close are called once each.
type Server struct {
	options  Options
	live     atomic.Pointer[live]
	router   *router.Router
	server   *fasthttp.Server
	listener net.Listener
	serving  sync.WaitGroup
	closing  chan struct{} // closed by Close
}

// live is what a reload changes. Update writes it, each request loads it.
type live struct {
	hosts  map[string]bool
	tokens []Token
	probes *Probes
}

// The limits of the admin listener: it has few callers, and none is in a hurry.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 60 * time.Second
	idleTimeout  = 60 * time.Second
	largestBody  = 1 << 20
	connections  = 256
)

// New returns a server that listens nowhere yet.
func New(o Options) *Server {
	s := &Server{options: o, router: router.New(), closing: make(chan struct{})}
	s.Update(o.Hosts, o.Tokens, o.Probes)
	s.routes()
	s.server = &fasthttp.Server{
		Handler: s.guard(s.router.Handler), NoDefaultServerHeader: true, SecureErrorLogMessage: true,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxRequestBodySize: largestBody, Concurrency: connections, CloseOnShutdown: true,
		DisablePreParseMultipartForm: true, Logger: quiet{}, ErrorHandler: s.refuse,
	}
	return s
}

// Update changes, for all requests to come, what New was given.
func (s *Server) Update(hosts []string, tokens []Token, p *Probes) {
	next := &live{hosts: make(map[string]bool, len(hosts)), tokens: tokens, probes: p}
	for _, h := range hosts {
		next.hosts[strings.ToLower(h)] = true
	}
	s.live.Store(next)
}

// quiet drops fasthttp's own log lines, which quote bytes of the request.
type quiet struct{}

// Printf drops its line.
func (quiet) Printf(string, ...any) {}

// routes fills the router. Every path has one spelling, and what is not listed
// does not exist: no redirects, and no answers to OPTIONS.
func (s *Server) routes() {
	r := s.router
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.GET("/metrics", s.metrics)
	for _, path := range []string{PathLivez, PathReadyz, PathHealth} {
		r.GET(path, func(ctx *fasthttp.RequestCtx) { s.probe(ctx, path) })
	}
	r.GET(PathInternalKeys, s.internalKeys)
	r.NotFound = func(ctx *fasthttp.RequestCtx) { fail(ctx, fault.NotFound) }
	r.MethodNotAllowed = func(ctx *fasthttp.RequestCtx) { fail(ctx, fault.MethodNotAllowed) }
	if s.options.API == nil {
		return
	}
	for _, e := range endpoints() {
		r.Handle(e.method, e.path, s.protect(e))
	}
}

// guard stands before every route: panics, correlation id, Host and Origin.
func (s *Server) guard(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer func() {
			if p := recover(); p != nil {
				s.options.Log.Error().Str("panic", fmt.Sprint(p)).Msg("an admin request panicked")
				fail(ctx, fault.Internal)
			}
		}()
		correlate(ctx)
		host := string(ctx.Request.Header.Host())
		switch {
		case !s.knownHost(host):
			fail(ctx, fault.Misdirected.Detail("this host name is not served here; admin.hosts lists more"))
		case foreign(ctx, host):
			fail(ctx, fault.Forbidden.Detail("requests from other sites are refused"))
		default:
			next(ctx)
		}
	}
}

// knownHost says whether Host is a loopback name or address, or configured.
func (s *Server) knownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.Trim(name, "[]"))
	if name == "localhost" || s.live.Load().hosts[name] {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.Unmap().IsLoopback()
}

// foreign says whether a browser made the request for another site.
func foreign(ctx *fasthttp.RequestCtx, host string) bool {
	if string(ctx.Request.Header.Peek("Sec-Fetch-Site")) == "cross-site" {
		return true
	}
	origin := string(ctx.Request.Header.Peek(fasthttp.HeaderOrigin))
	return origin != "" && origin != "http://"+host && origin != "https://"+host
}

func correlate(ctx *fasthttp.RequestCtx) {
	id := pipeline.AppendCorrelationID(nil, ctx.Request.Header.Peek(pipeline.HeaderCorrelationID))
	ctx.Response.Header.SetCanonical([]byte(pipeline.HeaderCorrelationID), id)
}

// correlationID returns the id that correlate has set. Peek would look for it in
// another spelling.
func correlationID(ctx *fasthttp.RequestCtx) (id []byte) {
	for name, value := range ctx.Response.Header.All() {
		if string(name) == pipeline.HeaderCorrelationID {
			id = append(id, value...)
		}
	}
	return id
}

// fail answers with a fault.
func fail(ctx *fasthttp.RequestCtx, f fault.Fault) { fault.Write(&ctx.Response, f, correlationID(ctx)) }

// refuse answers what fasthttp could not read.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	correlate(ctx)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		fail(ctx, fault.RequestTimeout)
		return
	}
	fail(ctx, fault.BadRequest)
}

func (s *Server) metrics(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	s.options.Meter.WritePrometheus(ctx)
}

// PathInternalKeys is where services get the keys that verify internal tokens: here,
// and never on a public listener, for who looks at no typ would take internal tokens for
// access tokens. The keys are public ones, and services have no token of ours.
const PathInternalKeys = "/internal/jwks.json"

// keySetCaching is shorter than a key is published before it signs.
const keySetCaching = "max-age=300"

func (s *Server) internalKeys(ctx *fasthttp.RequestCtx) {
	if s.options.InternalKeys == nil {
		fail(ctx, fault.NotFound.Detail("this gateway has no identity, and signs no internal tokens"))
		return
	}
	ctx.SetContentType("application/jwk-set+json")
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, keySetCaching)
	ctx.SetBody(s.options.InternalKeys())
}

func (s *Server) probe(ctx *fasthttp.RequestCtx, path string) {
	if err := s.live.Load().probes.Answer(path, &ctx.Response); err != nil {
		s.options.Log.Error().Err(err).Str("path", path).Msg("a probe failed")
		fail(ctx, fault.Internal)
	}
}

// Start binds the address and serves it, until Close.
func (s *Server) Start() error {
	l, err := net.Listen("tcp", s.options.Address)
	if err != nil {
		return fmt.Errorf("admin.address: %w", err)
	}
	s.listener = l
	s.serving.Go(func() {
		if err := s.server.Serve(l); err != nil {
			s.options.Log.Error().Err(err).Msg("the admin listener stopped")
		}
	})
	return nil
}

// Addr is the bound address; call it after Start.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close stops serving; requests under way have until ctx is done.
func (s *Server) Close(ctx context.Context) error {
	close(s.closing)
	err := s.server.ShutdownWithContext(ctx)
	if closeErr := s.listener.Close(); err == nil && closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
		err = closeErr
	}
	s.serving.Wait()
	if err != nil {
		return fmt.Errorf("closing the admin listener: %w", err)
	}
	return nil
}
