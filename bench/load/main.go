package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Exit codes of the command.
const (
	exitClean   = 0 // the run was clean, or the search found a rate
	exitUnclean = 1 // it was not, or could not be carried out
	exitUsage   = 2
)

const usage = `Send HTTP/1.1 requests at a constant rate; latencies count from when each was due.

Usage: load -url http://HOST:PORT/PATH [flags]

  load -url http://127.0.0.1:8080/small -rate 20000 -duration 30s -connections 256
  load -url http://127.0.0.1:8080/small -find | jq .highest_clean_rate

A table goes to standard error, JSON to standard output. Exit code 0: clean (no
failure, p99 below 150 ms); 1: not; 2: wrong flags.

`

// options are the flags.
type options struct {
	url, method, body string
	headers           fields
	find              bool
	plan              plan
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run reads the flags, carries out the run or the search, prints JSON to out and
// the table to errOut, and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	o, err := parseFlags(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return exitClean
	}
	if err != nil {
		return exitUsage
	}
	clean, err := o.carryOut(ctx, out, errOut)
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "load: %v\n", err)
		return exitUnclean
	}
	if !clean {
		return exitUnclean
	}
	return exitClean
}

func parseFlags(args []string, errOut io.Writer) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("load", flag.ContinueOnError)
	set.SetOutput(errOut)
	set.Usage = func() {
		_, _ = io.WriteString(errOut, usage)
		set.PrintDefaults()
	}
	set.StringVar(&o.url, "url", "", "`URL` to ask for; http:// only")
	set.Float64Var(&o.plan.rate, "rate", 1000, "requests a `second`; where -find begins")
	set.DurationVar(&o.plan.duration, "duration", 10*time.Second, "of the measurement, of each trial")
	set.DurationVar(&o.plan.warmup, "warmup", time.Second, "before it, at the same rate; failures in it count")
	set.DurationVar(&o.plan.timeout, "timeout", 5*time.Second, "of a connect and of an answer")
	set.IntVar(&o.plan.connections, "connections", 64, "`number` of connections")
	set.IntVar(&o.plan.threads, "threads", 1, "`number` of threads that send")
	set.StringVar(&o.method, "method", "GET", "request `method`")
	set.StringVar(&o.body, "body", "", "request body, or `@FILE`")
	set.IntVar(&o.plan.status, "status", 200, "expected `status`; any other answer is a failure")
	set.Var(&o.headers, "header", "`\"NAME: VALUE\"` to send; repeat it for more")
	set.BoolVar(&o.find, "find", false, "search the highest clean rate")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	err := o.prepare()
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if err != nil {
		_, _ = fmt.Fprintf(errOut, "load: %v\nload -help tells what there is\n", err)
	}
	return o, err
}

// prepare completes the plan from the flags; it talks to nobody.
func (o *options) prepare() error {
	d, err := parseURL(o.url)
	if err != nil {
		return err
	}
	body, err := readBody(o.body)
	if err != nil {
		return err
	}
	if o.method == "" || strings.ContainsAny(o.method, " \r\n") {
		return fmt.Errorf("method %q: want one word", o.method)
	}
	o.plan.request = buildRequest(o.method, d, o.headers, body)
	o.plan.noBody = o.method == "HEAD"
	return o.plan.check()
}

// carryOut reports whether the run was clean, or the search found a rate.
func (o *options) carryOut(ctx context.Context, out, errOut io.Writer) (bool, error) {
	d, err := parseURL(o.url)
	if err != nil {
		return false, err
	}
	if o.plan.address, err = resolve(d.address); err != nil {
		return false, err
	}
	if err := o.plan.reference(d.address); err != nil {
		return false, err
	}
	if !o.find {
		r, err := carryOut(ctx, &o.plan)
		if err != nil {
			return false, err
		}
		rep := newReport(&o.plan, r)
		_, _ = io.WriteString(errOut, header+rep.row()+rep.explain())
		return rep.Clean, printJSON(out, rep)
	}
	_, _ = io.WriteString(errOut, header)
	f, err := find(o.plan.rate, func(rate float64) (report, error) {
		p := o.plan
		p.rate = rate
		r, err := carryOut(ctx, &p)
		if err != nil {
			return report{}, err
		}
		rep := newReport(&p, r)
		_, _ = io.WriteString(errOut, rep.row()+rep.explain())
		return rep, nil
	})
	if err != nil {
		return false, err
	}
	_, _ = fmt.Fprintf(errOut, "highest clean rate: %.0f requests a second\n", f.Rate)
	return f.Rate > 0, printJSON(out, f)
}

func printJSON(out io.Writer, value any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(value); err != nil {
		return fmt.Errorf("print the JSON: %w", err)
	}
	return nil
}
