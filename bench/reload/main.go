package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the flags: how hard the trial is.
type options struct {
	gateway     string        // the binary; built if empty
	rate        float64       // requests a second
	connections int           // of the load
	sockets     int           // WebSockets beside it
	duration    time.Duration // of each run
	reloads     int           // within one run
	routes      int           // of the reload in the middle
	rounds      int           // at most; 0 measures no latencies
	ratio       float64       // that the p99 may grow by
	noise       time.Duration // a p99 up to which it does not matter by how much
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "reload:", err)
		os.Exit(1)
	}
}

// run reads the flags and carries the trial out; the error says what was not reached.
func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	set := flag.NewFlagSet("reload", flag.ContinueOnError)
	set.StringVar(&o.gateway, "gateway", "", "`FILE` of the gateway's binary; built if none is named")
	set.Float64Var(&o.rate, "rate", 2000, "requests a `second`")
	set.IntVar(&o.connections, "connections", 500, "`number` of kept-alive connections")
	set.IntVar(&o.sockets, "sockets", 100, "`number` of WebSockets that talk meanwhile")
	set.DurationVar(&o.duration, "duration", 10*time.Second, "of each run")
	set.IntVar(&o.reloads, "reloads", 50, "`number` of reloads within one run")
	set.IntVar(&o.routes, "routes", 10_000, "`number` of routes of the reload in the middle")
	set.IntVar(&o.rounds, "rounds", 5, "at most so many `rounds`, of which the best counts; 0 reloads once and compares no latencies")
	set.Float64Var(&o.ratio, "ratio", 3, "how many `times` the quiet p99 that with reloads may be")
	set.DurationVar(&o.noise, "noise", 0, "a p99 that is good enough whatever the quiet one is, for machines that are busy")
	if err := set.Parse(args); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	return o.carryOut(ctx, out)
}
