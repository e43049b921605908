package gateway

import (
	"errors"
	"fmt"
	"net"
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
	s, err := g.compile(cfg)
	if err != nil {
		g.proxy.Close()
		return nil, err
	}
	g.snap.Store(s)
	if err := g.bind(cfg); err != nil {
		err = errors.Join(err, s.Close())
		g.proxy.Close()
		return nil, err
	}
	g.publish()
	for _, l := range g.listeners {
		g.serving.Go(func() { g.accept(l) })
	}
	return g, nil
}

// compile makes a snapshot of cfg.
func (g *Gateway) compile(cfg *config.Config) (*snapshot.Snapshot, error) {
	return snapshot.Compile(cfg, snapshot.Parts{
		Plugins:  g.plugins,
		Deps:     plugin.Deps{Meter: g.meter, Clock: g.clock, Log: g.log, Keeper: g.keeper},
		Services: g.services,
		Meter:    g.meter,
		BuiltIns: g.builtIns,
	})
}

// bind opens every listener of cfg, or none.
func (g *Gateway) bind(cfg *config.Config) error {
	maximum := cfg.Limits.Connections
	if maximum == 0 {
		maximum = listen.DefaultConnections()
	}
	totals := listen.NewTotals(maximum, cfg.Limits.ConnectionsPerIP)
	for _, d := range cfg.Listeners {
		o := g.listenOptions(cfg, d.Name)
		o.Totals = totals
		l, err := listen.Listen(d.Address, o)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", d.At, err), g.closeListeners())
		}
		g.listeners = append(g.listeners, l)
	}
	return nil
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

// Address is what the listener of that name is bound to, or nil.
func (g *Gateway) Address(name string) net.Addr {
	for _, l := range g.listeners {
		if l.Name() == name {
			return l.Addr()
		}
	}
	return nil
}

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
