package proxy

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/tunnel"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// Field names as fasthttp spells them after normalising.
const (
	webSocketKey      = "Sec-Websocket-Key"
	webSocketAccept   = "Sec-Websocket-Accept"
	webSocketProtocol = "Sec-Websocket-Protocol"
)

var (
	upgradeToken   = []byte("upgrade")
	webSocketToken = []byte("websocket")
	// upgradeLines are what a handshake says to the service.
	upgradeLines = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
)

const (
	// handshakeTimeout bounds a handshake on a route that bounds no answer: a
	// client that waits for its 101 sends nothing by which it could be noticed.
	handshakeTimeout = 10 * time.Second
	// switchTimeout is how long a client may take for its 101.
	switchTimeout = 10 * time.Second
)

// isHandshake says whether a request is a WebSocket's handshake by all but its
// Sec-WebSocket fields (RFC 6455 §4.1, SECURITY C5). Any other Upgrade is removed and
// the request served without it (RFC 9110 §7.8).
func isHandshake(h *fasthttp.RequestHeader, head *wire.RequestHead) bool {
	if !h.IsGet() || head.Minor != 1 || head.ContentLength > 0 || head.ContentLength == chunked {
		return false
	}
	protocols := h.PeekAll(fasthttp.HeaderUpgrade)
	return len(protocols) == 1 && bytes.EqualFold(protocols[0], webSocketToken) &&
		listed(h.PeekAll(fasthttp.HeaderConnection), upgradeToken, bytes.EqualFold)
}

// listed says whether one of the comma-separated lists holds token.
func listed(lines [][]byte, token []byte, same func(a, b []byte) bool) bool {
	for _, line := range lines {
		for more := true; more; {
			var element []byte
			element, line, more = bytes.Cut(line, comma)
			if same(bytes.TrimSpace(element), token) {
				return true
			}
		}
	}
	return false
}

// respell writes the names of a head's WebSocket fields as RFC 6455 does: fasthttp
// normalises them, and there are peers that compare them letter by letter.
func respell(head []byte) {
	const ours, at = "\r\nSec-Websocket-", len("\r\nSec-Web")
	for rest := head; ; {
		i := bytes.Index(rest, []byte(ours))
		if i < 0 {
			return
		}
		rest[i+at] = 'S'
		rest = rest[i+len(ours):]
	}
}

// shakeHands gets the answer to a handshake. The place for the tunnel is taken
// before the service is asked, and given back if no tunnel comes of it.
func (t *trip) shakeHands() pipeline.Verdict {
	x := t.x
	if _, ok := x.Down.(pipeline.Upgrader); !ok {
		x.Upgrade = nil // a protocol whose connections can't be given away
		return t.ask()
	}
	seat, err := t.proxy.tunnels.Take(x.Route.Name, x.Service.Name, x.Upgrade.Maximum)
	switch {
	case errors.Is(err, tunnel.ErrDraining):
		return x.FailBy(fault.Draining, err)
	case err != nil:
		return x.FailBy(fault.Overloaded, err)
	}
	verdict := t.ask()
	if s, ok := x.Switched.(*switched); ok && verdict == pipeline.Switch {
		s.seat = seat
		return verdict
	}
	seat.Leave()
	return verdict
}

// readSwitch reads a 101 and judges it: what is no answer to this handshake opens
// no tunnel, for its bytes would be anybody's (SECURITY C5).
func (t *trip) readSwitch(c *conn) failure {
	x := t.x
	if x.Upgrade == nil {
		return badAnswer(errUpgrade)
	}
	x.FromService = true
	if err := x.Response.Header.Read(c.br); err != nil {
		return badAnswer(fmt.Errorf("parsing the answer's head: %w", err))
	}
	if err := checkSwitch(&x.Request.Header, &x.Response.Header, c.answer.Head()); err != nil {
		return badAnswer(fmt.Errorf("switching protocols: %w", err))
	}
	t.headRead = true
	return failure{}
}

// What a 101 can be refused for.
var (
	errSwitchFraming  = errors.New("the answer is no HTTP/1.1 without a body")
	errSwitchUpgrade  = errors.New("the answer does not switch to WebSocket")
	errSwitchAccept   = errors.New("the answer is to another key")
	errSwitchProtocol = errors.New("the answer chooses a subprotocol that was not offered")
)

// checkSwitch judges a 101 by RFC 6455 §4.1. Extensions are for the client to judge.
func checkSwitch(request *fasthttp.RequestHeader, answer *fasthttp.ResponseHeader, head *wire.ResponseHead) error {
	if head.Minor != 1 || head.ContentLength != noLength {
		return errSwitchFraming
	}
	protocols := answer.PeekAll(fasthttp.HeaderUpgrade)
	if len(protocols) != 1 || !bytes.EqualFold(protocols[0], webSocketToken) ||
		!listed(answer.PeekAll(fasthttp.HeaderConnection), upgradeToken, bytes.EqualFold) {
		return errSwitchUpgrade
	}
	accepts := answer.PeekAll(webSocketAccept)
	if len(accepts) != 1 || !bytes.Equal(accepts[0], acceptFor(request.Peek(webSocketKey))) {
		return errSwitchAccept
	}
	switch chosen := answer.PeekAll(webSocketProtocol); {
	case len(chosen) == 0:
	case len(chosen) > 1 || len(chosen[0]) == 0 || !listed(request.PeekAll(webSocketProtocol), chosen[0], bytes.Equal):
		return errSwitchProtocol
	}
	return nil
}

// noLength is the content length of an answer that says nothing about it.
const noLength = -2

// acceptFor is the answer to a key (RFC 6455 §4.2.2).
func acceptFor(key []byte) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	sum := sha1.Sum(append(bytes.Clone(key), guid...))
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

// switched is a service's connection on its way from HTTP into a tunnel.
type switched struct {
	conn     net.Conn
	early    []byte // what the service sent behind its 101
	endpoint *upstream.Endpoint
	seat     *tunnel.Seat
}

// Close gives up the tunnel.
func (s *switched) Close() error {
	s.endpoint.End()
	s.seat.Leave()
	return s.conn.Close()
}

// switchOver takes the connection out of HTTP. The endpoint stays busy with it.
func (t *trip) switchOver() pipeline.Verdict {
	x, c := t.x, t.conn
	stripAnswer(&x.Response.Header, c.answer.Head().Names)
	t.conn = nil
	c.watch.end(t.now)
	c.pool.surrender(c)
	conn, early := c.detach()
	x.Switched = &switched{conn: conn, early: early, endpoint: t.endpoint}
	t.endpoint = nil
	return pipeline.Switch
}

// Upgrade makes a tunnel of an exchange whose service has switched protocols: it
// sends the 101 that stands in x.Response and lets go of both connections. It
// returns Switch: nothing of this side reaches the client any more; or Abort if the
// connection could not be had. The exchange ends as any other, and holds nothing of
// the tunnel.
func (p *Proxy) Upgrade(x *pipeline.Exchange) pipeline.Verdict {
	s := x.Switched.(*switched)
	x.Switched = nil
	head := p.scratch.Get().(*scratch)
	defer p.scratch.Put(head)
	h := &x.Response.Header
	h.SetCanonical(connectionName, []byte("Upgrade"))
	h.SetCanonical(upgradeName, webSocketToken)
	head.bytes = h.AppendBytes(head.bytes[:0])
	respell(head.bytes)
	err := x.Down.(pipeline.Upgrader).Upgrade(func(client net.Conn, early []byte) {
		if err := sendSwitch(client, head.bytes); err != nil {
			p.clientGone(x, err)
			_, _ = client.Close(), s.Close()
			return
		}
		p.openTunnel(x, s.seat, tunnel.Spec{
			CorrelationID: string(x.CorrelationID()), Endpoint: s.endpoint.Address, Client: x.Client,
			Idle: x.Upgrade.Idle, Done: s.endpoint.End,
			ClientEnd:  tunnel.End{Conn: client, Early: bytes.Clone(early)},
			ServiceEnd: tunnel.End{Conn: s.conn, Early: s.early},
		})
	})
	if err != nil {
		p.clientGone(x, fmt.Errorf("taking the client's connection: %w", err))
		_ = s.Close()
		return pipeline.Abort // never leave the server to send the 101
	}
	return pipeline.Switch
}

// sendSwitch sends the 101. Nothing of the service's goes ahead of it.
func sendSwitch(client net.Conn, head []byte) error {
	err := client.SetWriteDeadline(time.Now().Add(switchTimeout))
	if err == nil {
		_, err = client.Write(head)
	}
	if err == nil {
		err = client.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		return fmt.Errorf("sending the 101: %w", err)
	}
	return nil
}
