package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// enoughRounds is how many rounds a result that is kept must have.
const enoughRounds = 12

// options are the flags.
type options struct {
	only         string // subjects, with commas
	scenarioList string
	rounds       int
	duration     time.Duration
	connections  int
	threads      int // of wrk
	workers      int // of each proxy
	gateway      string
	out          string
	seed         uint64
	openLoopRate float64
	webSockets   int      // idle ones
	subjects     []string // that only lists
}

// wants says whether a subject takes part.
func (o *options) wants(subject string) bool { return slices.Contains(o.subjects, subject) }

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, errOut io.Writer) (*options, []scenario, error) {
	o := &options{}
	set := flag.NewFlagSet("compare", flag.ContinueOnError)
	set.SetOutput(errOut)
	set.StringVar(&o.only, "only", "", "`subjects` to compare: ours,plain,nginx,haproxy,direct (default all; with -open-loop: ours)")
	set.StringVar(&o.scenarioList, "scenarios", "", "`names` of scenarios: small,64k,stream,chunked,post,log,tls,handshake,token,key,guarded,policy-memory,policy-leased,policy-exact (default all)")
	set.IntVar(&o.rounds, "rounds", enoughRounds, "`number` of rounds a subject and scenario")
	set.DurationVar(&o.duration, "duration", 0, "of a round, in whole seconds (default 2s; with -open-loop: 20s)")
	set.IntVar(&o.connections, "connections", 64, "`number` of client connections")
	set.IntVar(&o.threads, "threads", 1, "`number` of threads of wrk")
	set.IntVar(&o.workers, "workers", 2, "`number` of workers of each proxy; GOMAXPROCS of the gateway")
	set.StringVar(&o.gateway, "gateway", "", "`binary` of the gateway (default: built from ./cmd/gateway)")
	set.StringVar(&o.out, "out", "", "`file` for the report (default bench/RESULTS.md, bench/OPENLOOP.md or bench/WEBSOCKET.md for a full run, else none)")
	set.Uint64Var(&o.seed, "seed", 0, "`number` that the order of rounds is drawn from (default: another each time)")
	set.Float64Var(&o.openLoopRate, "open-loop", 0, "measure latencies at this constant `rate` and at half of it instead")
	set.IntVar(&o.webSockets, "websockets", 0, "measure so many idle WebSockets, and the echo of -connections busy ones, instead")
	if err := set.Parse(args); err != nil {
		return nil, nil, err
	}
	chosen, err := o.complete(set.Args())
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "%v\n", err)
		set.Usage()
	}
	return o, chosen, err
}

// complete checks the flags and fills in what depends on others.
func (o *options) complete(rest []string) ([]scenario, error) {
	usual, report := 2*time.Second, "bench/RESULTS.md"
	full := o.only == "" && o.scenarioList == "" && o.rounds >= enoughRounds
	if o.openLoopRate > 0 {
		usual, report = 20*time.Second, "bench/OPENLOOP.md"
		full = o.scenarioList == "" && o.duration == 0
		o.scenarioList = cmp.Or(o.scenarioList, "small")
		o.only = cmp.Or(o.only, ours)
	}
	if o.webSockets > 0 {
		report = "bench/WEBSOCKET.md"
		full = o.only == "" && o.webSockets >= enoughSockets && o.rounds >= enoughRounds
		o.only = cmp.Or(o.only, ours+","+nginx)
	}
	o.duration = cmp.Or(o.duration, usual)
	if full {
		o.out = cmp.Or(o.out, report)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	switch {
	case len(rest) > 0:
		return nil, fmt.Errorf("unexpected argument %q", rest[0])
	case o.rounds < 1 || o.connections < 1 || o.threads < 1 || o.workers < 1 || o.openLoopRate < 0 || o.webSockets < 0:
		return nil, errors.New("numbers must be positive")
	case o.webSockets > 0 && (o.openLoopRate > 0 || o.scenarioList != ""):
		return nil, errors.New("-websockets goes with neither -open-loop nor -scenarios")
	case o.duration < time.Second || o.duration%time.Second != 0:
		return nil, fmt.Errorf("duration %v: wrk takes whole seconds", o.duration)
	}
	subjects, err := choose([]string{ours, plain, nginx, haproxy, direct}, o.only, func(s string) string { return s })
	if err != nil {
		return nil, fmt.Errorf("subjects: %w", err)
	}
	o.subjects = subjects
	chosen, err := choose(scenarios(), o.scenarioList, func(s scenario) string { return s.name })
	if err != nil {
		return nil, fmt.Errorf("scenarios: %w", err)
	}
	return chosen, nil
}

// run is the whole command. The report goes to out, and to the file of -out;
// progress to errOut. An error means that the run does not count.
func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, chosen, err := parseFlags(args, errOut)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gateway-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	st := &stand{
		options: *o, dir: dir, draw: rand.New(rand.NewPCG(o.seed, 0)),
		say: func(format string, args ...any) { _, _ = fmt.Fprintf(errOut, format, args...) },
	}
	if err := install(ctx, o.tools(chosen)...); err != nil {
		return err
	}
	if err := st.build(ctx); err != nil {
		return err
	}
	if st.identity, err = newIdentity(dir); err != nil {
		return err
	}
	if st.known, err = newKnown(ctx, dir); err != nil {
		return err
	}
	for i := range chosen {
		chosen[i].field = st.known.fields[chosen[i].shows]
	}
	begin := st.startOrigin
	if o.webSockets > 0 {
		begin = st.startEcho
	}
	if err := begin(ctx); err != nil {
		return err
	}
	defer st.origin.process.stop()
	if o.countsInRedis(chosen) {
		if err := st.startRedis(ctx); err != nil {
			return err
		}
		defer st.redis.process.stop()
	}
	report, err := st.report(ctx, chosen)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := os.WriteFile(o.out, []byte(report), 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	_, err = io.WriteString(out, report)
	return err
}

// tools are the commands that the run needs.
func (o *options) tools(chosen []scenario) []string {
	var tools []string
	if o.openLoopRate == 0 && o.webSockets == 0 {
		tools = append(tools, "wrk")
	}
	for _, proxy := range []string{nginx, haproxy} {
		if o.wants(proxy) {
			tools = append(tools, proxy)
		}
	}
	if o.countsInRedis(chosen) {
		tools = append(tools, "redis-server")
	}
	return tools
}

// countsInRedis says whether some scenario's limits are counted in Redis.
func (o *options) countsInRedis(chosen []scenario) bool {
	return o.wants(ours) && o.webSockets == 0 && o.openLoopRate == 0 && slices.ContainsFunc(chosen, func(sc scenario) bool { return sc.inRedis() })
}

// report measures what was asked for.
func (st *stand) report(ctx context.Context, chosen []scenario) (string, error) {
	if st.openLoopRate > 0 {
		runs, err := st.openLoop(ctx, &chosen[0])
		if err != nil {
			return "", err
		}
		return openLoopMarkdown(&st.options, st.environmentOf(ctx), runs), nil
	}
	if st.webSockets > 0 {
		result, err := st.webSocketRun(ctx)
		if err != nil {
			return "", err
		}
		return result.markdown(&st.options, st.environmentOf(ctx)), nil
	}
	result := &outcome{environment: st.environmentOf(ctx), scenarios: chosen}
	var err error
	if result.loopback, err = measureLoopback(time.Second); err != nil {
		return "", err
	}
	for i := range chosen {
		rows, err := st.measure(ctx, &chosen[i])
		if err != nil {
			return "", fmt.Errorf("scenario %s: %w", chosen[i].name, err)
		}
		result.tables = append(result.tables, rows)
	}
	return result.markdown(&st.options), nil
}
