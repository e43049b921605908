// Package listen owns the client side of the gateway's sockets: it accepts,
// counts, limits, times and closes connections, and stands between each socket
// and the HTTP parser.
//
// # Accepting
//
// [Listener.Accept] never gives up: errors such as EMFILE or ECONNABORTED are
// counted, reported and retried with back-off until the listener is closed.
// Connections beyond the totals ([Totals], shared by all listeners) are answered
// 503 or 429 aside of the accept loop (SECURITY C13, SPEC PX7).
//
// [Listener.Stop] ends that without losing anybody: while the queue runs empty, the
// kernel drops what would begin a connection. A socket that others hold too
// ([On]) is simply let go.
//
// # Before the first request
//
// What comes first is waited for by the goroutine that serves the connection, with
// the deadline of a first head, and never in the accept loop: a PROXY header where
// the listener has Announcers (from others nobody may connect, SECURITY C10), then
// the handshake where it has [Credentials]. [ConnOf] finds the Conn behind the types
// that see to this.
//
// TLS is below the scanner: crypto/tls reads and writes the socket through the
// connection's own deadlines, and the scanner sees what was decrypted. So a
// connection over TLS keeps every promise of a plain one. [Listener.SetCredentials]
// swaps certificates by one pointer. Sessions are resumed over that, but never under
// another rule about client certificates.
//
// HTTP/2 will plug in here: protocols offers it to ALPN, and what agreed on it
// leaves SecureConn.Handshake for an adapter behind pipeline.Downstream, which
// fasthttp calls by its NextProto, instead of the scanner.
//
// # One message at a time
//
// A [Conn] lets only those bytes through that [wire.RequestScanner] passed, and
// never more than one message: what the client pipelined behind it is held back
// until the parser asks for the next one. So an answer is flushed before the next
// request begins, and a request that breaks RFC 9112 is refused before the parser
// sees the end of its head; a violation in what was received together with the
// head counts as one of the head. After a violation nothing more is read from the
// connection: what follows a refused request is never executed (SECURITY C2).
//
// # Deadlines
//
// The server on top sets no deadlines of its own; the connection keeps them:
//
//   - head: absolute, from accept (or the end of the handshake) for the first
//     request, from the first byte for later ones;
//   - body: rolling, from one read to the next;
//   - idle: from the end of a request to the first byte of the next;
//   - write: rolling, from one piece of progress to the next.
//
// They are armed lazily. The deadline on the socket stays as long as it is not
// later than the one that is due; when it fires early it is armed anew and the
// call goes on. A keep-alive request costs no call for its deadlines.
//
// These times are those of the runtime's network poller, which alone can end a
// blocked read; that is why they don't come from core/clock.
//
// # Closing
//
// Close sends what was written, and if the client may have sent bytes that nobody
// read, goes on reading for a bounded while: closing at once would reset the
// connection, and the client might lose the answer (RFC 9112 §9.6). Abort resets
// on purpose, so that an answer cut short can't be taken for a whole one.
//
// # Leaving HTTP
//
// [Conn.Upgrade] gives a connection away: to a tunnel, after a 101. The parser's side
// is closed from then on, while the socket lives and counts until its taker closes it.
package listen
