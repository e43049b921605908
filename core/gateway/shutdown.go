package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Drain says how Shutdown treats those who are still there.
type Drain struct {
	// Delay is how long connections are still accepted while /readyz says 503,
	// so that balancers notice before anything is refused.
	Delay time.Duration
	// Timeout is how long exchanges may take to end after that.
	Timeout time.Duration
}

// The phases of a drain, as gateway_draining shows them.
const (
	serving        uint32 = iota
	drainAccepting        // not ready any more, but everybody is still served
	drainIdle             // listeners are closed; idle connections have their last grace
	drainBusy             // what is left has an exchange under way
	drainCutting          // time is up
)

const (
	// idleGrace is how long an idle connection may take for a last request.
	idleGrace = 5 * time.Second
	// drainPoll is how often a drain looks at its connections: closing one must not
	// pay for telling.
	drainPoll = 20 * time.Millisecond
	// progressInterval is how often a drain tells the log what it waits for.
	progressInterval = 5 * time.Second
	// cutPatience is how long exchanges may take to notice that they were cut.
	cutPatience = 5 * time.Second
)

// draining says whether the end has begun. Nobody writes what it reads while
// the gateway serves, so that it costs a load from the core's own cache.
func (g *Gateway) draining() bool { return g.phase.Load() != serving }

// Shutdown stops serving, in steps that lose no request of a client that heeds
// "Connection: close" (RFC 9112 §9.6), which every answer says from now on:
//
//  1. /readyz says 503, and everybody is still served for d.Delay: balancers find out.
//  2. Those that wait to be accepted are accepted, then the listeners close.
//  3. An idle connection has not been told yet: it may send one more request, and
//     is closed if none comes for 5 s, or half of d.Timeout if that is less.
//  4. Exchanges under way may end, until d.Timeout after step 2. WebSockets are told to
//     go away meanwhile, one after the other.
//  5. What is left is cut.
//
// A done ctx ends the waiting of every step. The error says that something had to
// be cut. The gateway can't be used afterwards.
func (g *Gateway) Shutdown(ctx context.Context, d Drain) error {
	began := time.Now()
	g.phase.Store(drainAccepting)
	g.log.Info().Stringer("delay", d.Delay).Stringer("drain", d.Timeout).Int("connections", g.connections()).Int64("exchanges", g.inFlight()).
		Msg("draining: /readyz says 503, everybody is still served for the delay, and told to close")
	wait(ctx, d.Delay)

	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	err := g.stopAccepting(ctx)
	tunnels := g.drainTunnels(ctx)
	g.phase.Store(drainIdle)
	grace := min(idleGrace, d.Timeout/2)
	g.log.Info().Int("connections", g.connections()).Stringer("grace", grace).
		Msg("draining: no longer accepting; idle connections have the grace to send a last request")
	g.await(ctx, grace)

	g.phase.Store(drainCutting)
	err = errors.Join(err, <-tunnels, g.cut(d.Timeout), g.release())
	g.log.Info().Stringer("took", time.Since(began).Round(time.Millisecond)).Msg("drained")
	return err
}

// Close stops at once and says nothing of it, for a program whose other parts could
// not start. The gateway can't be used afterwards.
func (g *Gateway) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g.phase.Store(drainCutting)
	return errors.Join(g.stopAccepting(ctx), g.cut(0), g.release())
}

// connections is how many are open, on all listeners.
func (g *Gateway) connections() int {
	n := 0
	for _, l := range g.listeners {
		n += l.Open()
	}
	return n
}

// inFlight is how many exchanges are under way in the snapshot in force, about.
func (g *Gateway) inFlight() int64 { return g.Current().InFlight() }

// stopAccepting takes those that wait to be accepted and closes the listeners.
func (g *Gateway) stopAccepting(ctx context.Context) error {
	for _, l := range g.listeners {
		l.Stop()
	}
	ended := make(chan struct{})
	go func() { // ends with the accept loops, which stopAccepting awaits
		g.serving.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		err := g.closeListeners()
		<-ended
		return err
	}
}

// await waits until every connection has ended, or ctx is done. Idle ones are
// closed once they were seen idle for grace.
func (g *Gateway) await(ctx context.Context, grace time.Duration) {
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	began, idle := time.Now(), 0
	told := began
	for g.connections() > 0 && ctx.Err() == nil {
		for _, l := range g.listeners {
			idle += l.CloseIdle(grace)
		}
		now := time.Now()
		if g.phase.Load() == drainIdle && now.Sub(began) > grace {
			g.phase.Store(drainBusy)
			told = now
			g.log.Info().Int("closed", idle).Int("connections", g.connections()).Msg("draining: idle connections are closed; waiting for what is under way")
		}
		if now.Sub(told) >= progressInterval {
			told = now
			g.log.Info().Int("connections", g.connections()).Int64("exchanges", g.inFlight()).Msg("draining: still waiting")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// cut closes what is left; the error says that somebody was in the middle of
// something.
func (g *Gateway) cut(timeout time.Duration) error {
	err := g.closeListeners()
	n := 0
	for _, l := range g.listeners {
		l.CloseIdle(0)
		n += l.CloseAll()
	}
	g.serving.Wait()
	if n > 0 {
		err = errors.Join(err, fmt.Errorf("%d connections were cut in the middle of an exchange: they did not end within %s (shutdown.drain), or a second signal ended the waiting", n, timeout))
	}
	return err
}

// release gives back what the snapshot in force, those before it and services hold, once the
// last exchange has ended. One that hangs though it was cut is a bug, which must not keep the process
// from ending.
func (g *Gateway) release() error {
	close(g.stopRenewing)
	g.renewing.Wait()
	s := g.Current() // the look after certificates may have replaced another just now
	ended := make(chan struct{})
	go func() { // left behind only where an exchange hangs, when the process is about to end
		g.retire(s)
		g.retiring.Wait()
		close(ended)
	}()
	timer := time.NewTimer(cutPatience)
	defer timer.Stop()
	select {
	case <-ended:
		g.stopTransport()
		return nil
	case <-timer.C:
		return fmt.Errorf("%d exchanges did not end within %s though they were cut", g.inFlight(), cutPatience)
	}
}

// stopTransport stops what the proxy and the services do by themselves.
func (g *Gateway) stopTransport() {
	g.services.Close()
	g.proxy.Close()
}

// wait waits for d, or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Turns proves that the accept loops turn and that nothing holds the locks that
// everybody needs, until ctx is done; for the watchdog of a supervisor.
func (g *Gateway) Turns(ctx context.Context) error {
	for _, l := range g.listeners {
		if err := l.Turn(ctx); err != nil {
			return err
		}
		l.Open()
	}
	g.services.Len()
	return nil
}
