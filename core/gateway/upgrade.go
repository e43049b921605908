package gateway

import (
	"context"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/tunnel"
)

// upgrade finishes the 101 of a service like any answer, and gives both
// connections away. What the gateway itself has put in its place is answered as
// usual, and the service's connection closes.
func (g *Gateway) upgrade(x *pipeline.Exchange) pipeline.Verdict {
	verdict := g.finish(x)
	if verdict == pipeline.Abort || x.Response.StatusCode() != fasthttp.StatusSwitchingProtocols {
		_ = x.Switched.Close() // nobody waits for what it has to say
		x.Switched = nil
		return verdict
	}
	return g.proxy.Upgrade(x)
}

// Tunnels are the WebSockets that pass through, for operators: they outlive the
// snapshots that their handshakes walked.
func (g *Gateway) Tunnels() *tunnel.Registry { return g.proxy.Tunnels() }

// drainTunnels says goodbye to all WebSockets while requests end, until ctx is done.
// The channel gets one error, or nil, when none is left.
func (g *Gateway) drainTunnels(ctx context.Context) <-chan error {
	gone := make(chan error, 1)
	go func() { gone <- g.Tunnels().Drain(ctx) }() // Shutdown waits for it
	return gone
}
