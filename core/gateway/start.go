package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/listen"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/wire"
)

// Start compiles cfg, binds its listeners and serves. It leaves nothing behind
// when it fails; Shutdown ends what it started.
func Start(cfg *config.Config, p Parts) (*Gateway, error) {
	g := newGateway(p)
	g.server = g.newServer(int(cfg.Limits.Header))
	presented, err := presentedBy(cfg)
	if err != nil {
		g.stopTransport()
		return nil, err
	}
	g.limits.Announce(cfg.LimitPolicies())
	s, err := g.compile(cfg)
	if err != nil {
		g.stopTransport()
		return nil, err
	}
	g.awaitEndpoints()
	g.snap.Store(s)
	g.count(cfg)
	if err := g.bind(cfg); err != nil {
		err = errors.Join(err, s.Close())
		g.stopTransport()
		return nil, err
	}
	g.publish()
	g.presented.commit(presented)
	for _, l := range g.listeners {
		g.serving.Go(func() { g.accept(l) })
	}
	g.renewing.Go(g.renew)
	return g, nil
}

// findWithin is how long a configuration waits for endpoints that nobody has found
// before, until it is put in force without them.
const findWithin = 2 * time.Second

// awaitEndpoints waits until what was just compiled can be served.
func (g *Gateway) awaitEndpoints() {
	ctx, cancel := context.WithTimeout(context.Background(), findWithin)
	defer cancel()
	g.services.Await(ctx)
}

// compile makes a snapshot of cfg.
func (g *Gateway) compile(cfg *config.Config) (*snapshot.Snapshot, error) {
	var builtIns []snapshot.BuiltIn
	if g.builtIns != nil {
		builtIns = g.builtIns(cfg)
	}
	return snapshot.Compile(cfg, snapshot.Parts{
		Plugins:  g.plugins,
		Deps:     plugin.Deps{Meter: g.meter, Clock: g.clock, Log: g.log, Keeper: g.keeper, Identity: g.identity, Limits: g.limits},
		Services: g.services,
		Meter:    g.meter,
		Copier:   g.proxy.NewCopier,
		BuiltIns: append(g.redirects(cfg), builtIns...),
	})
}

// count puts in force what cfg says of counting.
func (g *Gateway) count(cfg *config.Config) {
	g.limits.Replace(cfg.LimitPolicies())
	g.meter.SetIdentities(cfg.Telemetry.Metrics.Identities)
}

// bind opens every listener of cfg, or none.
func (g *Gateway) bind(cfg *config.Config) error {
	g.totals = listen.NewTotals(mostConnections(cfg), cfg.Limits.ConnectionsPerIP)
	for _, d := range cfg.Listeners {
		if err := g.bindOne(cfg, d); err != nil {
			return errors.Join(err, g.closeListeners())
		}
	}
	return nil
}

// bindOne opens the listener that d declares, and the one that sends its clients there.
func (g *Gateway) bindOne(cfg *config.Config, d *config.Listener) error {
	shown, err := credentialsOf(d)
	if err != nil {
		return err
	}
	o := g.listenOptions(cfg, d.Name)
	o.Totals = g.totals
	if d.ProxyProtocol != nil {
		o.Announcers = d.ProxyProtocol.Announcers()
	}
	if d.RedirectFrom != "" {
		plain := o
		plain.Name = redirectName(d.Name)
		if _, err := g.open(d.RedirectFrom, plain, d); err != nil {
			return err
		}
	}
	o.Credentials = shown
	l, err := g.open(d.Address, o, d)
	if err != nil {
		return err
	}
	g.secure(l, d)
	return nil
}

// open opens one listener for d.
func (g *Gateway) open(address string, o listen.Options, d *config.Listener) (*listen.Listener, error) {
	l, err := g.listen(address, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.At, err)
	}
	g.listeners = append(g.listeners, l)
	return l, nil
}

// mostConnections is how many clients' connections cfg allows.
func mostConnections(cfg *config.Config) int {
	if cfg.Limits.Connections == 0 {
		return listen.DefaultConnections()
	}
	return cfg.Limits.Connections
}

// oddNames maps the words of the configuration to the scanner's.
var oddNames = map[string]wire.OddNames{"drop": wire.OddDrop, "refuse": wire.OddRefuse, "allow": wire.OddAllow}

// HeadLimits says what a request's head may be under cfg.
func HeadLimits(cfg *config.Config) wire.Limits {
	l := cfg.Limits
	return wire.Limits{URI: int(l.URI), Header: int(l.Header), Headers: l.Headers, OddNames: oddNames[cfg.OddHeaderNames]}
}

// listenOptions says what the connections of one listener keep to.
func (g *Gateway) listenOptions(cfg *config.Config, name string) listen.Options {
	l := cfg.Limits
	return listen.Options{
		Name:          name,
		OnRefused:     g.onRefused(name),
		Limits:        HeadLimits(cfg),
		HeaderTimeout: time.Duration(l.HeaderTimeout),
		BodyTimeout:   time.Duration(l.BodyTimeout),
		IdleTimeout:   time.Duration(l.IdleTimeout),
		WriteTimeout:  time.Duration(l.BodyTimeout),
		OnAcceptError: func(err error, wait time.Duration) {
			g.log.Error().Err(err).Str("listener", name).Dur("wait", wait).
				Msg("accepting failed; it is tried again. Raise the limit of open files or lower limits.connections")
		},
	}
}

// onRefused tells the log of connections that ended before their first request. Each
// is a line for those who look for one; but a stranger on a listener of the PROXY
// protocol is most likely a balancer that the configuration forgot.
func (g *Gateway) onRefused(name string) func(netip.AddrPort, error) {
	var once sync.Once
	return func(peer netip.AddrPort, err error) {
		if errors.Is(err, listen.ErrStranger) {
			once.Do(func() {
				g.log.Warn().Str("listener", name).Stringer("peer", peer.Addr()).
					Msg("a connection was refused because the peer may not announce clients; if it is a balancer of yours, add it to proxy_protocol.from")
			})
		}
		g.log.Debug().Str("listener", name).Stringer("peer", peer).Err(err).Msg("a connection ended before its first request")
	}
}

// listener returns the listener of that name, or nil.
func (g *Gateway) listener(name string) *listen.Listener {
	for _, l := range g.listeners {
		if l.Name() == name {
			return l
		}
	}
	return nil
}

// Address is what the listener of that name is bound to, or nil.
func (g *Gateway) Address(name string) net.Addr {
	if l := g.listener(name); l != nil {
		return l.Addr()
	}
	return nil
}

// Listeners are the public listeners, for the views of operators, and what bounds
// them together. The slice must not be written.
func (g *Gateway) Listeners() ([]*listen.Listener, *listen.Totals) { return g.listeners, g.totals }

func (g *Gateway) closeListeners() error {
	var errs []error
	for _, l := range g.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// accept serves one listener until it closes.
func (g *Gateway) accept(l *listen.Listener) {
	if err := g.server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		g.log.Error().Err(err).Str("listener", l.Name()).Msg("the listener stopped")
	}
}
