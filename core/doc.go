// Package core is the gateway. This page tells the story of one request; each
// step names the function to read next.
//
// # The way in
//
//  1. A socket is accepted by [github.com/suuupra/gateway/core/listen.Listener], which
//     survives EMFILE, counts connections in all and per address, and wraps the socket in
//     a listen.Conn.
//  2. Every byte that fasthttp reads passes [github.com/suuupra/gateway/core/wire.RequestScanner]
//     in that connection first. It refuses what RFC 9112 makes ambiguous, hands on one message at
//     a time, and remembers which known fields it met. What it refuses never becomes a request:
//     gateway.refuse answers it and the connection closes.
//  3. fasthttp parses the same bytes and calls gateway.serve, or gateway.expect when the client
//     waits for "100 Continue".
//
// # The walk (core/gateway/serve.go)
//
//  4. acquire takes a pooled [github.com/suuupra/gateway/core/pipeline.Exchange]; enter counts it into
//     the [github.com/suuupra/gateway/core/snapshot.Snapshot] in force, which stays the same to its end.
//  5. decide: receive gives the request its correlation id, removes hop-by-hop fields and the
//     names that only the gateway may set, finds the client's address, and makes host and path
//     canonical. Snapshot.Match finds the route, or leaves route "none"; a CORS preflight meets the
//     route of the request that it asks about. The route's chain runs Guard, Authenticate, Authorize
//     and Limit, where the request is charged to all its rate limits at once, or to none.
//  6. forward: Exchange.Choose says which destination of the route it is, by pins and shares
//     (core/pipeline/split.go). The chain runs Request and Lookup; then proxy.RoundTrip picks an endpoint of the
//     service, sends the request, retries where that is safe, and returns at the response head. A
//     small answer is buffered, a large or endless one becomes a body stream.
//  7. answer: the chain runs Store and Response, and the correlation id is set. A fault of our own
//     (package fault, the only writer of one) passes here as well.
//
// # The way out
//
//  8. fasthttp writes the response after the walk has returned. The exchange ends once: at the end
//     of the walk if the answer was buffered, else when its stream closes. gateway.done runs the
//     Log hooks, observes the metrics, lets the snapshot go and returns the exchange to its pool.
//  9. A client that leaves before its answer is found by the sweeper of package proxy, which
//     peeks the sockets of exchanges that have waited for a while.
//
// # Out of HTTP
//
// On a route with plugin websocket a handshake walks like any request. If the service answers 101,
// and to this handshake (proxy.checkSwitch), the verdict is Switch: gateway.upgrade finishes
// the answer, proxy.Upgrade takes both connections out of HTTP, and the exchange ends. What is left is
// a [github.com/suuupra/gateway/core/tunnel.Tunnel], which holds nothing of the snapshot and outlives it.
//
// # What ends before its time
//
// What lasts on behalf of a principal, answers that stream and tunnels, is entered into
// [github.com/suuupra/gateway/core/revocation.Stays]. It ends when its session or user is
// revoked, by whichever instance, or when the token that opened it expires: a stream by a
// reset, so that nobody takes it for whole, a WebSocket by a Close frame with status 1008.
//
// # Configuration
//
// Package config reads YAML into typed settings and reports every problem with its place.
// snapshot.Compile turns them into a Snapshot: plugins are built route by route, services are
// taken from the [github.com/suuupra/gateway/core/upstream.Registry], which outlives snapshots and keeps
// connections, counters and balancers. gateway.Reload puts a snapshot in force; the replaced one closes
// after its last exchange. Signals, watched files and operators all come to it through
// program.Reload in cmd/gateway; package admin is the listener for the last of them.
//
// # The end
//
// gateway.Shutdown drains in steps, so that no request of a client that heeds "Connection: close"
// is lost: not ready but still serving, then no longer accepting, then a last grace for
// idle connections, then time for what is under way, then the cut.
//
// # Who calls
//
// plugins/auth stands on every route that does not say off. It asks
// [github.com/suuupra/gateway/core/token.Verifier] for tokens, which knows them again for nothing,
// [github.com/suuupra/gateway/core/apikey.Keys] for API keys, and of both
// [github.com/suuupra/gateway/core/revocation.Mirror] whether they were revoked since. Tokens are
// given by [github.com/suuupra/gateway/core/login.Login], whose routes stand in the same table:
// [github.com/suuupra/gateway/core/account.Accounts] knows the users, and
// [github.com/suuupra/gateway/core/session.Sessions] who is logged in where. Which store holds what
// is joined in cmd/gateway/identity.go, and nowhere else.
//
// # How often
//
// plugins/ratelimit says which counters a request is charged to: it asks one
// [github.com/suuupra/gateway/core/limit.Store] for all of them in phase Limit. What the store has
// denied is remembered in [github.com/suuupra/gateway/core/limit.Denied], which Guard asks before any
// credential is looked at. The numbers are [github.com/suuupra/gateway/core/limit.Policies]: they
// outlive snapshots, and change under those that stand. Which store counts is joined in
// cmd/gateway/limits.go.
//
// # Layers
//
// A package imports only rows below its own (core/arch_test.go holds them to it):
//
//	0  fault principal clock setting meter clientip wire socket certificate
//	1  router upstream pipeline tunnel token revocation apikey account session ticket limit
//	2  plugin proxy listen login store/redis store/postgres
//	3  config
//	4  snapshot
//	5  admin gateway
//
// # Words
//
// A route is a match plus what happens to the requests that match. A service is a named group of
// endpoints, an endpoint one address with a weight. A plugin is a folder that adds behaviour to
// routes; a hook is the function it runs in one phase. An exchange is one request with its response
// and what is known of both. A snapshot is the compiled configuration in force. A fault is an error
// that the gateway answers itself.
package core
