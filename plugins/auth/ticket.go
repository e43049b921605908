package auth

import (
	"bytes"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/principal"
)

// ticketName is the query parameter of those who can't set a header (SPEC ID10).
var ticketName = []byte("ticket=")

// holdsTicket says whether a raw query holds a ticket.
func holdsTicket(query []byte) bool {
	for at := query; ; {
		i := bytes.Index(at, ticketName)
		switch {
		case i < 0:
			return false
		case len(at) == len(query) && i == 0, i > 0 && at[i-1] == '&':
			return true
		}
		at = at[i+len(ticketName):]
	}
}

// cutTicket returns the ticket of a raw query, how many it holds, and a copy without
// any; nil if nothing is left.
func cutTicket(query []byte) (ticket []byte, n int, rest []byte) {
	for more, kept := true, 0; more; {
		var pair []byte
		pair, query, more = bytes.Cut(query, []byte("&"))
		if value, found := bytes.CutPrefix(pair, ticketName); found {
			ticket = value
			n++
			continue
		}
		if kept++; kept == 1 {
			rest = make([]byte, 0, len(pair)+1+len(query))
		} else {
			rest = append(rest, '&')
		}
		rest = append(rest, pair...)
	}
	return ticket, n, rest
}

// readTicket reads the ticket of the query, which nobody sees after this.
func (a *auth) readTicket(x *pipeline.Exchange, c *caller) pipeline.Verdict {
	ticket, n, rest := cutTicket(x.Query)
	if n != 1 {
		return a.refuse(x, fault.Unauthenticated.Detail("want one ticket"), nil)
	}
	if a.Tickets == nil {
		return a.refuse(x, fault.TokenInvalid, errNobody)
	}
	t, err := a.Tickets.Redeem(ticket, x.Path)
	hide(x, rest)
	if err != nil {
		return a.refuseToken(x, err)
	}
	c.ticket, c.have = t, c.have|principal.Ticket
	// Its holder has shown the fingerprint when it was issued, and can't here.
	if !certifiedHere(x, t) {
		return a.refuse(x, fault.TokenUnbound, nil)
	}
	return a.standing(x, t)
}

// hide puts rest in the place of the query. The path before it keeps its bytes, of
// which others hold views.
func hide(x *pipeline.Exchange, rest []byte) {
	h := &x.Request.Header
	path, _, _ := bytes.Cut(h.RequestURI(), []byte("?"))
	target := append(make([]byte, 0, len(path)+1+len(rest)), path...)
	if rest != nil {
		target = append(append(target, '?'), rest...)
	}
	h.SetRequestURIBytes(target)
	x.Query = rest
}
