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

// Exit codes of the command.
const (
	exitClean = 0 // stopped when asked, or printed its help
	exitFault = 1 // could not listen, or an endpoint ended by itself
	exitUsage = 2 // the command line is wrong
)

// stopGrace is how long a stop waits for the answers in flight.
const stopGrace = 5 * time.Second

const usage = `Run the demo services behind the gateway.

Usage:
  upstream [-listen SERVICE=HOST:PORT]...

Flags:
  -listen SERVICE=HOST:PORT   an endpoint; repeat it for more. Several endpoints may
                              share one service. Port 0 takes a free one. Without the
                              flag: %s
  -h, -help                   this text

Paths, below / and below /SERVICE/ alike:
  /anything           JSON that names service, endpoint and request, and counts the body
  /echo               request line, fields in order and body, exactly as received
  /bytes/N            N bytes, always the same; ?chunked=1 sends them in chunks
  /slow?ms=N          answers after N milliseconds
  /status/N           answers with status N (200 to 599)
  /sse?n=N&ms=M       N server-sent events (0: endless), M milliseconds apart
  /ws                 WebSocket that echoes; subprotocol "echo" if offered
  /health             200, or 503 once switched off by POST /health?up=false
  /drop?after=N       announces 100000 bytes and dies after N (-1: before the head);
                      &rst=1 resets the connection, &chunked=1 omits the last chunk
  /early              answers 413 before it reads the body, and closes

Example:
  upstream -listen identity=127.0.0.1:9001 -listen identity=127.0.0.1:9011
  curl -i http://127.0.0.1:9001/identity/echo

SIGTERM and SIGINT stop it: answers in flight are finished, for at most %s.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run is the whole life of the process: it reads the flags, serves until ctx
// ends or an endpoint fails, stops everything and returns the exit code. It
// prints one line "SERVICE http://HOST:PORT" for each endpoint to out as soon
// as it accepts connections, and what went wrong to errOut.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	listens, err := parseFlags(args, out, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitClean
	case err != nil:
		return exitUsage
	}
	ends, err := listenAll(listens)
	if err != nil {
		say(errOut, "upstream: %v\n", err)
		return exitFault
	}
	ended := make(chan error, len(ends))
	for _, e := range ends {
		go func() { ended <- e.serve() }() // owned by run: awaited below, once stopped
		say(out, "%s http://%s\n", e.service, e.address)
	}
	code, running := exitClean, len(ends)
	select {
	case <-ctx.Done():
	case err := <-ended:
		running--
		say(errOut, "upstream: %v\n", err)
		code = exitFault
	}
	if err := stopAll(ends); err != nil {
		say(errOut, "upstream: %v\n", err)
		code = exitFault
	}
	for range running {
		if err := <-ended; err != nil {
			say(errOut, "upstream: %v\n", err)
			code = exitFault
		}
	}
	return code
}

func parseFlags(args []string, out, errOut io.Writer) (listenList, error) {
	var listens listenList
	set := flag.NewFlagSet("upstream", flag.ContinueOnError)
	set.SetOutput(errOut)
	set.Var(&listens, "listen", "")
	set.Usage = func() {}
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		usual := defaultListens()
		say(out, usage, usual.String(), stopGrace)
		return nil, err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
		say(errOut, "%v\n", err)
	}
	if err != nil {
		say(errOut, "upstream -help tells what there is\n")
		return nil, err
	}
	if len(listens) == 0 {
		listens = defaultListens()
	}
	return listens, nil
}

// say prints for a person. An output that has gone away is no reason to stop
// serving, so its error is dropped.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
