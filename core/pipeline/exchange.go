package pipeline

import (
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// Downstream is what only the protocol of the client's connection can do.
type Downstream interface {
	// Interim sends a 1xx answer now. h is borrowed. It fails when the client is gone.
	Interim(status int, h *fasthttp.ResponseHeader) error
	// Gone peeks the socket: true once the client has closed or reset it.
	// It may be called by another goroutine than the exchange's.
	Gone() bool
	// Truncated says that the client ended its request body before its end.
	Truncated() bool
	// Abort makes the connection fail at the client, so that an answer cut
	// short can't be taken for a whole one.
	Abort()
}

// Upgrader is a Downstream whose connection can leave HTTP.
type Upgrader interface {
	// Upgrade takes the connection away from HTTP for good and gives it to take, with
	// what the client sent behind its request, borrowed. Whoever gets it closes it.
	// When it fails, take was not called.
	Upgrade(take func(conn net.Conn, early []byte)) error
}

// Upgrade lets a request leave HTTP. It belongs to its route, and is immutable.
type Upgrade struct {
	Maximum int           // such connections of the route at once; 0 is no bound
	Idle    time.Duration // how long neither side may send anything; 0 is for ever
}

// Holder is what an exchange keeps alive until it ends: the snapshot it walks.
type Holder interface {
	// Release is called once for each exchange that entered, with its stripe.
	Release(stripe uint32)
}

// Peer says where a request came from.
type Peer struct {
	Address  netip.AddrPort // the other end of the connection, or who a PROXY header announced
	Listener string         // name of the listener
	// TLS is what the handshake agreed on, verified certificates of the client
	// included; nil on a plain connection. It is the connection's, and never written.
	TLS *tls.ConnectionState
	// Hosts says which hosts the connection may be asked for; nil: any.
	Hosts HostRule
}

// HostRule tells hosts apart for which different client certificates are asked.
type HostRule interface {
	// Serves says whether the connection may be asked for host, which is canonical.
	Serves(host []byte) bool
}

// ShownKey is an API key, to those who need not know what one is.
type ShownKey interface {
	// KeyID is what the key is called; it is no secret.
	KeyID() string
}

// Timing holds monotonic nanoseconds of core/clock; zero means not reached.
type Timing struct {
	Start    int64 // the head was parsed
	Upstream int64 // the first attempt began
	Head     int64 // the final answer's head came from the service
	End      int64
}

// Exchange is one request with its response, and what is known of both. It is
// pooled: Reset returns every field to its zero but the buffers and Stripe.
type Exchange struct {
	Request  *fasthttp.Request // edited in place and sent to the service
	Response *fasthttp.Response
	Peer     Peer
	Down     Downstream
	Head     *wire.RequestHead // what the scanner found; borrowed from the connection
	Route    *Route            // never nil after routing: what matched nothing runs route "none"

	Host      []byte         // canonical, without port
	Path      []byte         // canonical (SECURITY C6), before any rewrite
	PathFlags wire.PathFlags // what the raw path held
	Query     []byte         // raw, without '?'; nil: there was none
	Params    router.Params
	// Preflight says that the request is a CORS preflight, and Route the one that the
	// request it asks about would meet (SECURITY C14).
	Preflight bool
	Client    netip.Addr // where the call comes from, by SECURITY C10
	Scheme    string     // "http" or "https", as the client sees it

	// Principal is who calls; nil: nobody said, or nothing asked yet. Immutable.
	Principal *principal.Principal
	// PrincipalIssued and PrincipalExpires, in unix seconds, are of what was shown: what lasts
	// longer than its request ends at PrincipalExpires, 0 is never, and when a
	// user's tokens from before some second after PrincipalIssued are revoked.
	// PrincipalKeys are those under which a foreign token can be (SECURITY I5, I21).
	PrincipalIssued, PrincipalExpires int64
	PrincipalKeys                     []string
	// Claims are those of the token that was shown. Never written.
	Claims map[string]any
	// Shown is the API key that was shown, for whoever counts its use; nil: none.
	Shown ShownKey
	// KeepCredentials lets the service see the fields that the caller was known by. It
	// never concerns copies of the request (SECURITY I15).
	KeepCredentials bool
	// Voucher, if not empty, is a signed token that tells the service who calls, in
	// place of the fields that say so (SECURITY I7).
	Voucher string

	// Presents says that a credential of a kind that its route looks at was shown, good
	// or bad. It is known from Guard on, to what runs behind plugin auth.
	Presents bool
	// Limits are what the request was charged to, and what came of it.
	Limits Limits

	// WebSocket says that the request is a WebSocket's handshake by its method, version,
	// Connection and Upgrade, and has no body (SECURITY C5). Its Sec-WebSocket fields
	// have not been looked at.
	WebSocket bool
	// TrustedOrigin says, of a handshake, that pages of its Origin may act for their
	// visitors on this route: its CORS policy says so, with credentials.
	TrustedOrigin bool
	// Upgrade, if not nil, lets the handshake pass: the route's plugin sets it.
	Upgrade *Upgrade
	// Switched is the service's connection between its 101 and the tunnel's start.
	Switched io.Closer

	// Destination is what Choose has decided; nil: nothing yet.
	Destination *Destination
	// Hash is what the balancer of Destination goes by, if it hashes.
	Hash uint64

	Service  *upstream.Service  // of Destination, once it was asked
	Endpoint *upstream.Endpoint // of the last attempt
	Tries    int                // attempts that were sent

	Fault fault.Fault // zero: the answer is not a fault of ours
	Cause error       // why, for the log only; never sent

	// Status is the status to log: the response's, or 499 when the client left.
	Status int
	// BytesIn and BytesOut count body bytes from and to the client.
	BytesIn, BytesOut int64
	// Streaming says that End comes when the response's body stream closes.
	Streaming bool
	// FromService says that the answer came from a service, not from us.
	FromService bool

	Timing Timing
	// Stripe is this exchange's own index into striped metrics.
	Stripe uint32

	// Done is set by the gateway once, and called by End.
	Done func(*Exchange)
	// Holder is the snapshot in force when the exchange began; released by Done.
	Holder Holder

	visitor      [visitorLength]byte
	visitorState visitorState

	ended       bool
	walking     bool // the walk still needs the exchange: End waits for Leave
	endAsked    bool
	correlation [128]byte
	idLength    int
	pathBuffer  []byte
	hostBuffer  []byte
	target      []byte
}

// stripes spreads exchanges over the stripes of metrics. Written once for each
// exchange that the pool has to make, never per request.
type stripes struct{ next atomic.Uint32 }

// Factory makes exchanges for a pool.
type Factory struct {
	stripes stripes
	done    func(*Exchange)
}

// NewFactory returns a factory whose exchanges call done when they end.
func NewFactory(done func(*Exchange)) *Factory { return &Factory{done: done} }

// New returns an empty exchange.
func (f *Factory) New() *Exchange {
	return &Exchange{Done: f.done, Stripe: f.stripes.next.Add(1)}
}

// Fail sets the answer to a fault of the gateway's own and returns Respond.
// What a service has answered before is dropped.
func (x *Exchange) Fail(f fault.Fault) Verdict { return x.FailBy(f, nil) }

// FailBy is Fail with the cause, which is logged and never sent.
func (x *Exchange) FailBy(f fault.Fault, cause error) Verdict {
	if x.FromService {
		x.Response.Header.Reset()
	}
	x.Fault, x.Cause, x.FromService = f, cause, false
	fault.Write(x.Response, f, x.CorrelationID())
	x.BytesOut = int64(len(x.Response.Body()))
	return Respond
}

// Enter marks that the walk works on the exchange, so that a body stream which
// closes meanwhile (a fault replacing a half-made answer) does not end it.
func (x *Exchange) Enter() { x.walking = true }

// Leave is called when the walk has made the answer; the exchange ends here,
// unless its answer still streams. It must not be touched afterwards.
func (x *Exchange) Leave() {
	x.walking = false
	if x.endAsked || !x.Streaming {
		x.End()
	}
}

// Suspend lets End close the exchange while it waits for its body.
func (x *Exchange) Suspend() { x.walking = false }

// Duration is the time from the parsed head to the end.
func (x *Exchange) Duration() time.Duration { return time.Duration(x.Timing.End - x.Timing.Start) }

// End says that the last byte of the answer is out, or that nobody waits for it
// any more. Only the first call counts.
func (x *Exchange) End() {
	if x.walking {
		x.endAsked = true
		return
	}
	if x.ended {
		return
	}
	x.ended = true
	x.Done(x)
}

// Ended says whether End was called.
func (x *Exchange) Ended() bool { return x.ended }

// Close makes an exchange an io.Closer user value of fasthttp: between the
// ExpectHandler and the handler fasthttp closes it if the body never comes.
func (x *Exchange) Close() error {
	x.End()
	return nil
}

// CorrelationID returns the id of this exchange; borrowed.
func (x *Exchange) CorrelationID() []byte { return x.correlation[:x.idLength] }

// Reset makes the exchange as good as new, but for its buffers and stripe.
func (x *Exchange) Reset() {
	x.Params.Reset()
	x.Limits.Reset()
	*x = Exchange{
		Params: x.Params, Limits: x.Limits, Stripe: x.Stripe, Done: x.Done,
		correlation: x.correlation,
		pathBuffer:  x.pathBuffer[:0], hostBuffer: x.hostBuffer[:0], target: x.target[:0],
	}
}
