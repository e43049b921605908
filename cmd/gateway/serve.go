package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/meter/stdlog"
)

func newServe() *cobra.Command {
	var from source
	o := serveOptions{every: watchEvery}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Runs the gateway until SIGTERM or SIGINT, then drains: /readyz says 503, traffic is still accepted for\n" +
			"shutdown.delay, and requests under way have shutdown.drain to end. A second signal ends the waiting.\n\n" +
			"SIGHUP and `gateway reload` read the configuration again, and --watch does so whenever one of its files has\n" +
			"changed. A configuration that `gateway check` would refuse never replaces the one in force.",
		Example: "  gateway serve -c gateway.yaml\n  gateway serve -c base.yaml -c production.yaml\n  gateway serve --watch -c gateway.yaml",
		Args:    noWords,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), &from, o, c.ErrOrStderr())
		},
	}
	from.flags(c)
	c.Flags().BoolVar(&o.watch, "watch", false, "reload when a file of the configuration has changed, includes and files of secrets among them")
	return c
}

// serve runs the configuration until a signal ends it.
func serve(ctx context.Context, from *source, o serveOptions, stderr io.Writer) error {
	ends, hangups := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(ends)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	o.hangups = hangups
	p, err := start(from, o, stderr)
	if err != nil {
		return err
	}
	stdlog.Redirect(p.log.With().Str(zerolog.LevelFieldName, zerolog.LevelWarnValue).Logger())
	select {
	case s := <-ends:
		p.log.Info().Str("signal", s.String()).Msg("stopping")
	case <-ctx.Done():
	}
	return p.stop(ends)
}
