package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// calmRoutes is how many further routes the configuration has but in the middle.
const calmRoutes = 20

// carryOut runs the trial and prints what it saw.
func (o options) carryOut(ctx context.Context, out io.Writer) error {
	st, err := newStand(ctx, o, out)
	if err != nil {
		return err
	}
	return errors.Join(st.carryOut(ctx), st.close())
}

func (st *stand) carryOut(ctx context.Context) error {
	if err := st.configure(calmRoutes); err != nil {
		return err
	}
	first, err := st.launch(ctx, "first")
	if err != nil {
		return err
	}
	sockets, err := openSockets(st.address, st.sockets)
	if err != nil {
		return err
	}
	last, err := st.change(ctx, first, sockets)
	// They would come back to a gateway that stops.
	if err = errors.Join(err, sockets.end()); err != nil {
		return err
	}
	return last.stop()
}

// change does to the first gateway what operators do, and returns the one that runs
// in the end.
func (st *stand) change(ctx context.Context, first *instance, sockets *sockets) (*instance, error) {
	if err := st.measure(ctx, first); err != nil {
		return nil, err
	}
	if err := sockets.unharmed(0); err != nil {
		return nil, err
	}
	second, err := st.replace(ctx, first)
	if err != nil {
		return nil, err
	}
	return second, sockets.unharmed(st.sockets)
}

// say prints one line of the table.
func (st *stand) say(what string, r *loadReport, more string) {
	_, _ = fmt.Fprintf(st.out, "%-22s %8d sent %6d failed %6d reconnected   p50 %7.2f ms   p99 %7.2f ms   max %7.2f ms   %s\n",
		what, r.Sent, r.Failed, r.Reconnects, r.Latency.P50, r.Latency.P99, r.Latency.Max, more)
}

// measure runs rounds until the latencies of one are near enough; no run may have a
// failure, whatever its latencies.
func (st *stand) measure(ctx context.Context, g *instance) error {
	done := 0
	disturbed := func() (*loadReport, error) {
		return st.under(ctx, st.duration, func() error { return st.reloadAll(ctx, g, &done) })
	}
	if st.rounds == 0 {
		r, err := disturbed()
		if err != nil {
			return err
		}
		st.say("reloads", r, fmt.Sprintf("%d reloads", done))
		return r.flawless()
	}
	best := 0.0
	for round := range st.rounds {
		quiet, err := st.under(ctx, st.duration, nil)
		if err != nil {
			return err
		}
		r, err := disturbed()
		if err != nil {
			return err
		}
		ratio := r.Latency.P99 / quiet.Latency.P99
		st.say("quiet", quiet, "")
		st.say("reloads", r, fmt.Sprintf("%d reloads, p99 %.2f × quiet", done, ratio))
		if err := errors.Join(quiet.flawless(), r.flawless()); err != nil {
			return err
		}
		if round == 0 || ratio < best {
			best = ratio
		}
		if best <= st.ratio || r.Latency.P99 <= float64(st.noise.Milliseconds()) {
			return nil
		}
	}
	return fmt.Errorf("the p99 during reloads is %.2f times the quiet one, want at most %.2f (best of %d rounds)", best, st.ratio, st.rounds)
}

// reloadAll reloads evenly over a run, the one in the middle with many routes.
func (st *stand) reloadAll(ctx context.Context, g *instance, done *int) error {
	tick := time.NewTicker(st.duration / time.Duration(st.reloads+1))
	defer tick.Stop()
	for i := range st.reloads {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		routes := calmRoutes + i%2
		if i == st.reloads/2 {
			routes = st.routes
		}
		if err := st.configure(routes); err != nil {
			return err
		}
		if err := g.reload(ctx, *done+1); err != nil {
			return err
		}
		*done++
	}
	return nil
}

// replace starts a second gateway on the socket of the first, under load, and has the
// first drain; it returns the second.
func (st *stand) replace(ctx context.Context, first *instance) (*instance, error) {
	var second *instance
	var took time.Duration
	r, err := st.under(ctx, st.duration, func() (err error) {
		if second, err = st.launch(ctx, "second"); err != nil {
			return err
		}
		began := time.Now()
		err = first.stop()
		took = time.Since(began)
		return err
	})
	if err != nil {
		return nil, err
	}
	st.say("replaced", r, fmt.Sprintf("the first drained in %.1f s", took.Seconds()))
	if err := r.flawless(); err != nil {
		return nil, err
	}
	if r.Reconnects == 0 {
		return nil, errors.New("no connection was told to close: the drain was not under load")
	}
	return second, nil
}
