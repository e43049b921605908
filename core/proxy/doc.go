// Package proxy is the transport: it takes an exchange whose request has passed
// every policy, gets the answer of its service, and hands back head and body.
//
// # One round trip
//
//  1. [Proxy.Sanitize] (headers.go) ran long before, ahead of every policy: hop-by-hop fields and
//     the names that only the gateway may set are gone, and it is known who calls.
//  2. [Proxy.RoundTrip] (transport.go) takes a pooled trip. A body of known length up to the
//     route's buffer is read whole first (body.go), so that a slow client holds neither an endpoint nor a
//     connection; anything else streams.
//     A route with a mirror has the request copied here (mirror.go).
//  3. An endpoint is picked, a connection taken from its pool (pool.go) or dialled (dial.go), the
//     head composed (compose.go).
//  4. One system call looks whether the pooled connection is still silent, one writes head and body,
//     and one reads the answer (conn.go). A streamed body is sent while an early answer is watched for (upload.go).
//  5. The raw answer head is judged by the strict scanner of core/wire before fasthttp parses the same
//     bytes (answer.go). Interim answers go to the client.
//  6. What failed is tried again only where retry.go says that it is safe.
//  7. A 101 to a WebSocket's handshake ends the trip here: gateway finishes the answer, and
//     [Proxy.Upgrade] (upgrade.go) hands both connections to package tunnel.
//  8. A short answer is read whole and the connection goes back; a long or endless one becomes the
//     body stream of the response (stream.go), and the exchange ends when that closes.
//
// An https endpoint's connection has TLS between reader and socket (secure.go), and its
// handshake is a part of dialling (handshake.go). Plain ones know nothing of it.
//
// One goroutine for each proxy (sweeper.go) notices clients that went away, early
// answers to stalled uploads, and connections that were idle for too long.
//
// # Why not fasthttp.HostClient
//
// It reuses connections on which stray bytes arrived, launders truncated bodies
// into clean ends, swallows interim answers, chooses between buffer and stream
// before it has seen the head, and retries by rules of its own. Its connection
// type is closed, so that a reader, a scanner and the armed deadlines would
// have to live in a second object beside each connection.
//
// # What a service is trusted with
//
// Nothing that the framing leaves open. A connection goes back to its pool only
// after an answer that was understood to its last byte, with nothing behind it,
// and is looked at again before its next request (SECURITY C1).
package proxy
