package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/meter/stdlog"
	"github.com/suuupra/gateway/plugins"
)

func newServe() *cobra.Command {
	var from source
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Runs the gateway until SIGTERM or SIGINT, then drains: /readyz says 503, traffic is still accepted for\n" +
			"shutdown.delay, and requests under way have shutdown.drain to end. A second signal ends the waiting.",
		Example: "  gateway serve -c gateway.yaml\n  gateway serve -c base.yaml -c production.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			err = serve(c.Context(), cfg, c.ErrOrStderr())
			if errors.As(err, new(refused)) || err == nil {
				return err
			}
			if _, refusal := compileOrRefuse(c, cfg); refusal != nil {
				return refusal // check says the same, with the same code
			}
			return err
		},
	}
	from.flags(c)
	return c
}

// program is a running gateway with its admin listener.
type program struct {
	config  *config.Config
	log     zerolog.Logger
	gateway *gateway.Gateway
	admin   *admin.Server
}

// serve runs cfg until a signal ends it.
func serve(ctx context.Context, cfg *config.Config, stderr io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	log := newLog(cfg.Telemetry.Log, stderr)
	stdlog.Redirect(log.With().Str(zerolog.LevelFieldName, zerolog.LevelWarnValue).Logger())
	p, err := start(cfg, log)
	if err != nil {
		return err
	}
	select {
	case s := <-signals:
		p.log.Info().Str("signal", s.String()).Msg("stopping")
	case <-ctx.Done():
	}
	return p.stop(signals)
}

func newLog(o config.Log, w io.Writer) zerolog.Logger {
	if o.Format == "text" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.RFC3339, NoColor: true}
	}
	level, err := zerolog.ParseLevel(o.Level)
	if err != nil {
		level = zerolog.InfoLevel // config knows only levels that parse
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// start joins the parts and starts them, or leaves nothing behind.
func start(cfg *config.Config, log zerolog.Logger) (*program, error) {
	set := meter.NewSet(time.Now)
	probes := &admin.Probes{DegradedStatus: cfg.Probes.DegradedStatus, Now: time.Now}
	g, err := gateway.Start(cfg, gateway.Parts{
		Clock: clock.Real(), Meter: set, Log: log, Plugins: plugins.All(), BuiltIns: publicProbes(cfg, probes),
	})
	if err != nil {
		return nil, err
	}
	probes.Ready, probes.Checks = g.Ready, checks(g)
	a := admin.New(admin.Options{Address: cfg.Admin.Address, Hosts: cfg.Admin.Hosts, Meter: set, Probes: probes, Log: log})
	if err := a.Start(); err != nil {
		return nil, errors.Join(err, g.Shutdown(context.Background(), gateway.Drain{}))
	}
	for _, l := range cfg.Listeners {
		log.Info().Str("listener", l.Name).Stringer("address", g.Address(l.Name)).Msg("listening")
	}
	log.Info().Stringer("address", a.Addr()).Msg("listening for operators")
	log.Info().Str("version", version).Int("routes", len(cfg.Routes)).Int("services", len(cfg.Services)).
		Msg("ready; nothing is stored: counters and connections die with this process")
	return &program{config: cfg, log: log, gateway: g, admin: a}, nil
}

// stop drains; a further signal ends the waiting.
func (p *program) stop(signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained := make(chan struct{})
	watching := make(chan struct{})
	go func() { // ends with stop, which awaits it
		defer close(watching)
		select {
		case <-signals:
			p.log.Warn().Msg("a second signal: not waiting any longer")
			cancel()
		case <-drained:
		}
	}()
	s := p.config.Shutdown
	err := p.gateway.Shutdown(ctx, gateway.Drain{Delay: time.Duration(s.Delay), Timeout: time.Duration(s.Drain)})
	close(drained)
	<-watching
	err = errors.Join(err, p.admin.Close(ctx))
	if err != nil {
		p.log.Error().Err(err).Msg("stopped, not everything had ended")
		return refused{exitCutShort}
	}
	p.log.Info().Msg("stopped")
	return nil
}
