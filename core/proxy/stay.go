package proxy

import (
	"errors"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/revocation"
	"github.com/suuupra/gateway/core/tunnel"
)

// Why an answer or a tunnel was cut short for its caller's sake (SECURITY I21).
var (
	errRevoked = errors.New("the caller was revoked meanwhile")
	errExpired = errors.New("what the caller had shown has expired meanwhile")
)

// stayOf is a stay on behalf of x's principal.
func stayOf(x *pipeline.Exchange) revocation.Stay {
	return revocation.Stay{
		Session: x.Principal.Session, User: x.Principal.User, Keys: x.PrincipalKeys, APIKey: x.Principal.Key,
		Issued: x.PrincipalIssued, Expires: x.PrincipalExpires, Stripe: x.Stripe,
	}
}

// keepsStays says whether what lasts on x's behalf is to be known: somebody calls who can be
// revoked, or whose token expires.
func (p *Proxy) keepsStays(x *pipeline.Exchange) bool { return p.stays != nil && x.Principal != nil }

// streamGuest is an answer that streams to a known caller. It is pooled, and no part
// of the trip: answers that are whole at once shall not carry it along.
type streamGuest struct {
	stay revocation.Stay
	conn *conn
	down pipeline.Downstream
	// why is written by Cut, and read once the stay has been left.
	why error
}

// Cut breaks the answer off at both ends; the exchange's goroutine finds out by that.
func (g *streamGuest) Cut(why revocation.Why) {
	g.why = errRevoked
	if why == revocation.Expired {
		g.why = errExpired
	}
	g.conn.close()
	g.down.Abort()
}

// enter makes the answer known to revocations until leave.
func (s *stream) enter() {
	t := s.trip
	g := t.proxy.guests.Get().(*streamGuest)
	*g = streamGuest{stay: stayOf(t.x), conn: t.conn, down: t.x.Down}
	g.stay.Guest = g
	s.guest = g
	t.proxy.stays.Enter(&g.stay)
}

// leave is called before anything of the trip is given back. It returns true if the answer
// was cut, and then notes why.
func (s *stream) leave() (cut bool) {
	g := s.guest
	if g == nil {
		return false
	}
	s.guest = nil
	p, x := s.trip.proxy, s.trip.x
	p.stays.Leave(&g.stay)
	if g.why != nil {
		cut = true
		x.Status, x.Cause = 0, g.why // not the client left, but we
	}
	*g = streamGuest{}
	p.guests.Put(g)
	return cut
}

// tunnelGuest is a tunnel of a known caller.
type tunnelGuest struct {
	stay   revocation.Stay
	tunnel *tunnel.Tunnel
}

// Cut says 1008 to both ends.
func (g *tunnelGuest) Cut(revocation.Why) { g.tunnel.Dismiss() }

// openTunnel starts a tunnel for x, which ends with what allowed it.
func (p *Proxy) openTunnel(x *pipeline.Exchange, seat *tunnel.Seat, spec tunnel.Spec) {
	if !p.keepsStays(x) {
		seat.Open(spec)
		return
	}
	g := &tunnelGuest{stay: stayOf(x)}
	g.stay.Guest = g
	done := spec.Done
	spec.Done = func() {
		p.stays.Leave(&g.stay)
		done()
	}
	g.tunnel = seat.Open(spec)
	p.stays.Enter(&g.stay) // a tunnel that is over has left already, and does not enter
}
