package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "origin:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and returns when every connection is closed.
func run(ctx context.Context, args []string, out io.Writer) error {
	set := flag.NewFlagSet("origin", flag.ContinueOnError)
	address := set.String("listen", "127.0.0.1:0", "`host:port` to listen on; port 0 takes a free one")
	status := set.Int("status", 0, "`code` from 400 to 599 that is given in place of answers; 0: none")
	share := set.Float64("share", 1, "of the requests that get -status, from 0 to 1, picked at random")
	if err := set.Parse(args); err != nil {
		return fmt.Errorf("read the flags: %w", err)
	}
	if *status != 0 && (*status < 400 || *status > 599) || !(*share >= 0 && *share <= 1) {
		return fmt.Errorf("-status %d -share %v: want a code from 400 to 599 and a share from 0 to 1", *status, *share)
	}
	ln, err := net.Listen("tcp", *address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	o := newOrigin(ln)
	if *status != 0 {
		o.broken, o.share = head(fmt.Sprintf("%d Broken", *status), "Content-Length: 0"), *share
	}
	ended := make(chan error, 1)
	go func() { ended <- o.serve() }() // owned by run: awaited on both ways out
	if _, err := fmt.Fprintf(out, "http://%s\n", ln.Addr()); err != nil {
		o.stop()
		<-ended
		return fmt.Errorf("print the address: %w", err)
	}
	select {
	case <-ctx.Done():
		o.stop()
		<-ended
		return nil
	case err := <-ended:
		o.stop()
		return err
	}
}
