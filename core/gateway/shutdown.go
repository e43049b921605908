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

// Shutdown stops serving: readiness goes, traffic is still accepted for the
// delay, then listeners close, exchanges get their time to end, and what is left
// is cut. A done ctx ends the waiting. It returns an error when something had to be
// cut. The gateway can't be used afterwards.
func (g *Gateway) Shutdown(ctx context.Context, d Drain) error {
	g.draining.Store(true)
	wait(ctx, d.Delay)
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	tunnels := g.drainTunnels(ctx)
	err := g.server.ShutdownWithContext(ctx)
	if err != nil {
		err = fmt.Errorf("some requests were cut: they did not end within %s: %w", d.Timeout, err)
	}
	// fasthttp goes on serving what is left once its context expired, so the
	// connections are closed from our own list.
	err = errors.Join(err, <-tunnels, g.closeListeners())
	for _, l := range g.listeners {
		l.CloseAll()
	}
	g.serving.Wait()
	close(g.stopRenewing)
	g.renewing.Wait()
	g.retire(g.Current())
	g.retiring.Wait()
	g.proxy.Close()
	return err
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
