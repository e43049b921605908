package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"
)

const (
	// headLimit is the largest request head in bytes; a gateway may add to
	// what its own client was allowed to send.
	headLimit = 64 << 10
	// idleTimeout outlives the idle time of any sensible connection pool, so
	// that the pool closes first and no request meets a closing connection.
	idleTimeout = 5 * time.Minute
)

// endpoint is one listening address of a service. Its methods may be called by
// any number of connections at once.
type endpoint struct {
	service  string
	address  string // host:port it really listens on
	listener net.Listener
	server   *fasthttp.Server
	up       atomic.Bool   // what /health says; written by POST /health
	stopping chan struct{} // closed once, when the endpoint begins to stop
	sockets  sockets       // its WebSockets: the server forgets what it hands over
}

// listenAll opens every listener, or none: what was opened is closed again when
// one of them fails. Nothing is served before serve is called.
func listenAll(listens []listen) ([]*endpoint, error) {
	var ends []*endpoint
	for _, l := range listens {
		ln, err := net.Listen("tcp", l.address)
		if err != nil {
			for _, e := range ends {
				_ = e.listener.Close()
			}
			return nil, fmt.Errorf("listen for %s: %w", l.service, err)
		}
		ends = append(ends, newEndpoint(l.service, ln))
	}
	return ends, nil
}

func newEndpoint(service string, ln net.Listener) *endpoint {
	e := &endpoint{
		service:  service,
		address:  ln.Addr().String(),
		listener: ln,
		stopping: make(chan struct{}),
	}
	e.up.Store(true)
	e.server = &fasthttp.Server{
		Handler:                      e.answer(),
		HeaderReceived:               e.headReceived,
		ExpectHandler:                e.expect,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               headLimit,
		IdleTimeout:                  idleTimeout,
		NoDefaultServerHeader:        true,
		CloseOnShutdown:              true,
		// A dropped connection is what /drop is for, not worth a line each.
		Logger: log.New(io.Discard, "", 0),
	}
	return e
}

// answer joins the paths to what answers them, bare and below the service's
// name. Whatever no path takes is described in JSON.
func (e *endpoint) answer() fasthttp.RequestHandler {
	r := router.New()
	r.RedirectTrailingSlash, r.RedirectFixedPath = false, false
	r.HandleMethodNotAllowed, r.HandleOPTIONS = false, false
	for _, prefix := range []string{"", "/" + e.service} {
		r.ANY(prefix+"/echo", e.echo)
		r.ANY(prefix+"/bytes/{n}", e.bytes)
		r.ANY(prefix+"/slow", e.slow)
		r.ANY(prefix+"/status/{n}", e.status)
		r.ANY(prefix+"/sse", e.sse)
		r.ANY(prefix+"/ws", e.websocket)
		r.ANY(prefix+"/health", e.health)
		r.ANY(prefix+"/drop", e.drop)
		r.ANY(prefix+"/early", e.early)
	}
	r.NotFound = e.describe
	return func(ctx *fasthttp.RequestCtx) {
		e.sign(ctx)
		r.Handler(ctx)
	}
}

// sign marks an answer as this endpoint's, whatever its body is.
func (e *endpoint) sign(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set("X-Service", e.service)
	ctx.Response.Header.Set("X-Endpoint", e.address)
}

// serve accepts connections until stop is called. It returns nil then, and
// otherwise why the listener failed.
func (e *endpoint) serve() error {
	err := e.server.Serve(e.listener)
	if err == nil && e.wait(0) {
		err = net.ErrClosed // by nobody who said so: the server takes that for a clean end
	}
	if err != nil {
		return fmt.Errorf("serve %s on %s: %w", e.service, e.address, err)
	}
	return nil
}

// stop ends the endpoint: waiting answers return, streams end, WebSockets are
// told to go, and it returns when nothing is in flight or ctx ends.
func (e *endpoint) stop(ctx context.Context) error {
	close(e.stopping)
	socketsErr := e.sockets.stop(ctx)
	err := errors.Join(e.server.ShutdownWithContext(ctx), socketsErr)
	if err != nil {
		return fmt.Errorf("stop %s on %s: %w", e.service, e.address, err)
	}
	return nil
}

// stopAll stops the endpoints at the same time, within stopGrace.
func stopAll(ends []*endpoint) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	errs := make([]error, len(ends))
	var stopped sync.WaitGroup
	for i, e := range ends {
		stopped.Go(func() { errs[i] = e.stop(ctx) })
	}
	stopped.Wait()
	return errors.Join(errs...)
}

// wait lets d pass, and reports false if the endpoint stops before or has stopped.
func (e *endpoint) wait(d time.Duration) bool {
	if d <= 0 {
		select {
		case <-e.stopping:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.stopping:
		return false
	}
}
