package proxy

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/wire"
)

// Field names as fasthttp spells them after normalising.
var (
	connectionName       = []byte("Connection")
	keepAliveName        = []byte("Keep-Alive")
	proxyConnection      = []byte("Proxy-Connection")
	proxyAuthenticate    = []byte("Proxy-Authenticate")
	proxyAuthorization   = []byte("Proxy-Authorization")
	proxyAuthInfo        = []byte("Proxy-Authentication-Info")
	teName               = []byte("Te")
	upgradeName          = []byte("Upgrade")
	expectName           = []byte("Expect")
	correlationName      = []byte("X-Correlation-Id")
	forwardedName        = []byte("Forwarded")
	forwardedForName     = []byte("X-Forwarded-For")
	forwardedProtoName   = []byte("X-Forwarded-Proto")
	forwardedHostName    = []byte("X-Forwarded-Host")
	realIPName           = []byte("X-Real-Ip")
	transferEncodingName = []byte("Transfer-Encoding")
	contentLengthName    = []byte("Content-Length")
	trailersToken        = []byte("trailers")
	comma                = []byte(",")
)

// The sets of names that a request or an answer may hold and that mean work
// here. Most hold none of them: then a field costs no look.
const (
	hopByHop = wire.NameConnection | wire.NameKeepAlive | wire.NameProxyConnection | wire.NameProxyAuth |
		wire.NameTE | wire.NameUpgrade | wire.NameExpect | wire.NameTrailer
	foreign = wire.NameReserved | wire.NameSpoofed | wire.NameOdd
)

// Sanitize takes from a request what no caller may send, ahead of any policy:
// hop-by-hop fields with all that Connection names (RFC 9110 §7.6.1, SPEC PX2),
// names that only the gateway sets in whatever spelling (SECURITY C3), and
// forwarded fields unless trusted believes the peer (C10). It sets x.Client and
// x.Scheme. trusted may be nil.
//
// Whether the client wants its connection closed stays readable for the server
// in the request's ConnectionClose.
func (p *Proxy) Sanitize(x *pipeline.Exchange, trusted *clientip.Trusted) {
	names := x.Head.Names
	h := &x.Request.Header
	x.Client, x.Scheme = x.Peer.Address.Addr().Unmap().WithZone(""), schemeOf(x.Peer)
	if names.Has(hopByHop) {
		x.WebSocket = names.Has(wire.NameUpgrade) && isHandshake(h, x.Head)
		stripRequest(h, names)
	}
	if names.Has(wire.NameXCorrelationID) {
		h.DelBytes(correlationName)
	}
	if !names.Has(foreign | wire.Forwarded) {
		return
	}
	believed := trusted.Contains(x.Client)
	if names.Has(foreign) || !believed {
		p.dropForeign(x, believed)
	}
	switch {
	case !names.Has(wire.Forwarded):
	case believed:
		p.readForwarded(x, trusted)
	default:
		p.stranger(x.Client, x.Stripe)
	}
}

func schemeOf(peer pipeline.Peer) string {
	if peer.TLS != nil {
		return "https"
	}
	return "http"
}

// stripRequest removes hop-by-hop fields, guided by the names that were met.
func stripRequest(h *fasthttp.RequestHeader, names wire.Names) {
	if names.Has(wire.NameConnection) {
		closing := h.ConnectionClose()
		if names.Has(wire.NameConnectionOther) {
			stripNamed(h, h.PeekAll(fasthttp.HeaderConnection))
		}
		h.DelBytes(connectionName)
		if closing {
			h.SetConnectionClose()
		}
	}
	if names.Has(wire.NameTE) {
		stripTE(h)
	}
	if names.Has(wire.NameTrailer) {
		// What a client announces would turn fields that are set later into
		// trailers. Those that may pass are announced by compose.
		_ = h.SetTrailerBytes(nil) // the empty list holds no forbidden name
	}
	for _, f := range hopFields {
		if names.Has(f.bit) {
			for _, name := range f.names {
				h.DelBytes(name)
			}
		}
	}
}

// hopFields are the hop-by-hop fields that are removed by their name alone.
var hopFields = [...]struct {
	bit   wire.Names
	names [][]byte
}{
	{wire.NameKeepAlive, [][]byte{keepAliveName}},
	{wire.NameProxyConnection, [][]byte{proxyConnection}},
	{wire.NameProxyAuth, [][]byte{proxyAuthenticate, proxyAuthorization, proxyAuthInfo}},
	{wire.NameUpgrade, [][]byte{upgradeName}},
	{wire.NameExpect, [][]byte{expectName}},
}

// fields is what can lose fields: a request's header or a response's.
type fields interface{ DelBytes(name []byte) }

// stripNamed deletes the fields that Connection's lines name. Deleting moves
// entries about but leaves the bytes of the lines where they are.
func stripNamed(h fields, lines [][]byte) {
	for _, line := range lines {
		for more := true; more; {
			var token []byte
			token, line, more = bytes.Cut(line, comma)
			if token = bytes.TrimSpace(token); !keptAnyway(token) {
				h.DelBytes(token)
			}
		}
	}
}

// keptAnyway says whether a connection option names no field, or one that is
// looked at elsewhere: TE for what may pass of it, and the framing, which is the
// gateway's to write. (A request that names the framing was refused: SECURITY C4.)
func keptAnyway(token []byte) bool {
	for _, name := range [...][]byte{teName, connectionName, contentLengthName, transferEncodingName} {
		if bytes.EqualFold(token, name) {
			return true
		}
	}
	return len(token) == 0
}

// stripTE leaves of TE what may pass: that trailers are welcome. No coding is
// offered to the service that the gateway would not undo.
func stripTE(h *fasthttp.RequestHeader) {
	welcome := false
	for _, line := range h.PeekAll(fasthttp.HeaderTE) {
		for more := true; more; {
			var coding []byte
			coding, line, more = bytes.Cut(line, comma)
			welcome = welcome || bytes.EqualFold(bytes.TrimSpace(coding), trailersToken)
		}
	}
	h.DelBytes(teName)
	if welcome {
		h.SetCanonical(teName, trailersToken)
	}
}

// dropForeign deletes fields whose names only the gateway may set, in whatever
// spelling, and those with odd names where they are to be dropped. What tells of
// the way here stays if the peer is believed and spells it as it should.
func (p *Proxy) dropForeign(x *pipeline.Exchange, believed bool) {
	h := &x.Request.Header
	dropOdd := x.Head.Names.Has(wire.NameOdd)
	s := p.scratch.Get().(*scratch)
	defer p.scratch.Put(s)
	s.bytes = s.bytes[:0]
	for name := range h.All() {
		switch {
		case odd(name) && dropOdd, wire.Reserved(name) && !(believed && tellsOfTheWay(name)):
			s.bytes = append(append(s.bytes, name...), 0)
		}
	}
	// Not in the loop above: deleting moves what it walks over.
	for rest := s.bytes; len(rest) > 0; {
		end := bytes.IndexByte(rest, 0)
		h.DelBytes(rest[:end])
		rest = rest[end+1:]
	}
}

// odd says whether a name holds other characters than letters, digits and "-".
func odd(name []byte) bool {
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
		default:
			return true
		}
	}
	return false
}

// readForwarded reads from the fields of a trusted proxy who calls (SECURITY C10),
// and completes them at once: the set of proxies is known here only.
func (p *Proxy) readForwarded(x *pipeline.Exchange, trusted *clientip.Trusted) {
	h := &x.Request.Header
	var room [4][]byte
	lines := append(room[:0], h.PeekAll(fasthttp.HeaderXForwardedFor)...)
	w := trusted.Read(x.Client, lines)
	w.Scheme, w.Host = []byte(x.Scheme), h.Host()
	w.TakeProto(h.PeekAll(fasthttp.HeaderXForwardedProto))
	if own := w.Host; w.TakeHost(h.PeekAll(fasthttp.HeaderXForwardedHost)) {
		if _, _, err := wire.CanonicalHost(nil, w.Host); err != nil {
			w.Host = own
		}
	}
	x.Client = w.Client
	if string(w.Scheme) == "https" {
		x.Scheme = "https"
	} else {
		x.Scheme = "http"
	}
	s := p.scratch.Get().(*scratch)
	defer p.scratch.Put(s)
	s.bytes = w.AppendForwarded(s.bytes[:0], lines)
	h.DelBytes(forwardedName)
	h.SetCanonical(forwardedName, s.bytes)
	s.bytes = append(s.bytes[:0], w.Host...)
	h.DelBytes(forwardedHostName)
	h.SetCanonical(forwardedHostName, s.bytes)
	s.bytes = w.AppendFor(s.bytes[:0], lines)
	h.DelBytes(forwardedForName)
	h.SetCanonical(forwardedForName, s.bytes)
	s.bytes = w.AppendRealIP(s.bytes[:0])
	h.DelBytes(realIPName)
	h.SetCanonical(realIPName, s.bytes)
	h.DelBytes(forwardedProtoName)
	h.SetCanonical(forwardedProtoName, w.Scheme)
}

// wayNames are the fields by which proxies tell of a client, in their one spelling.
var wayNames = [...][]byte{
	forwardedForName, forwardedProtoName, forwardedHostName, forwardedName, realIPName,
	[]byte("X-Forwarded-Port"), []byte("X-Forwarded-Prefix"), []byte("X-Forwarded-Server"), []byte("X-Forwarded-Ssl"),
	[]byte("X-Forwarded-Scheme"), []byte("X-Original-Url"), []byte("X-Rewrite-Url"), []byte("True-Client-Ip"),
	[]byte("Cf-Connecting-Ip"), []byte("X-Client-Ip"), []byte("X-Client-Cert"),
}

func tellsOfTheWay(name []byte) bool {
	for _, n := range wayNames {
		if bytes.EqualFold(n, name) {
			return true
		}
	}
	return false
}
