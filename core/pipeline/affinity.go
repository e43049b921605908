package pipeline

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/hashing"
	"github.com/suuupra/gateway/core/wire"
)

// AffinityKind is what ties requests to each other.
type AffinityKind uint8

// The kinds.
const (
	// ByNothing: every request for itself.
	ByNothing AffinityKind = iota
	// ByUser: who calls: the user, or the client that acts for itself.
	ByUser
	// ByIP: where the call comes from; of an IPv6 address, its /64.
	ByIP
	// ByVisitor: a cookie of the gateway's own, which it gives to whom shows none.
	ByVisitor
	// ByHeader: the value of a request field.
	ByHeader
	// ByCookie: the value of a cookie that somebody else gives.
	ByCookie
)

// Affinity says which requests belong together: those of one user, of one browser.
// It is immutable.
//
// What it looks at is turned into 64 bits, by arithmetic that is the same in every
// process and every release: several gateways, and one that was started again, agree
// on where a caller belongs, and share nothing for it. So there is no secret in it, and
// who chooses his own id or field can choose where he goes. For a split that is no harm:
// it is no access control, and the service behind it has the route's plugins before it.
// Of a balancer that hashes, who aims at one endpoint gets no more than its bound of what is
// under way.
type Affinity struct {
	Kind AffinityKind
	Name string // of the field or the cookie
}

// String is the affinity as an operator would say it.
func (a Affinity) String() string {
	switch a.Kind {
	case ByUser:
		return "user"
	case ByIP:
		return "ip"
	case ByVisitor:
		return "cookie"
	case ByHeader:
		return "header " + a.Name
	case ByCookie:
		return "cookie " + a.Name
	default:
		return "nothing"
	}
}

// Hash stands for what x has of the affinity; where it has nothing of it, for where
// it comes from. Without an affinity it is 0.
func (a *Affinity) Hash(x *Exchange) uint64 {
	h := hashing.New().Add(byte(a.Kind))
	switch a.Kind {
	case ByNothing:
		return 0
	case ByUser:
		if p := x.Principal; p != nil && p.User != "" {
			return h.AddString(p.User).Sum()
		} else if p != nil && p.Client != "" {
			return h.Add(0).AddString(p.Client).Sum() // no user's id begins like this
		}
	case ByVisitor:
		return h.AddBytes(x.visitorID()).Sum()
	case ByHeader:
		if value := x.Request.Header.Peek(a.Name); len(value) > 0 {
			return h.AddBytes(value).Sum()
		}
	case ByCookie:
		if value := x.cookie(a.Name); len(value) > 0 {
			return h.AddBytes(value).Sum()
		}
	}
	var room [64]byte
	return hashing.New().Add(byte(ByIP)).AddBytes(x.AppendAddress(room[:0])).Sum()
}

// cookie returns the value of the first cookie of that name; borrowed.
func (x *Exchange) cookie(name string) []byte {
	for _, line := range x.Request.Header.PeekAll(fasthttp.HeaderCookie) {
		if value, times := wire.Cookie(line, name); times > 0 {
			return value
		}
	}
	return nil
}

// AppendAddress appends where x comes from: an IPv4 address, or the first of an IPv6
// network of 64 bits, within which a caller has as many as it likes. Of a request that
// could not be read nothing is believed but its peer.
func (x *Exchange) AppendAddress(dst []byte) []byte {
	client := x.Client
	if !client.IsValid() {
		client = x.Peer.Address.Addr()
	}
	if client = client.Unmap(); client.Is6() {
		client = netip.PrefixFrom(client.WithZone(""), 64).Masked().Addr()
	}
	return client.AppendTo(dst)
}

// VisitorCookie is the gateway's own cookie: a random number that tells browsers apart,
// and says nothing else. It has no prefix that browsers reserve, for those are taken over
// TLS alone.
const VisitorCookie = "gateway_visitor"

// visitorLength is the length of its value, in hexadecimal digits.
const visitorLength = 16

// visitorID returns what the visitor's cookie says or, where there is none that could be
// ours, what it will say. Borrowed from the exchange.
func (x *Exchange) visitorID() []byte {
	if x.visitorState == visitorUnknown {
		x.visitorState = visitorNew
		if shown := x.cookie(VisitorCookie); isVisitor(shown) {
			copy(x.visitor[:], shown)
			x.visitorState = visitorKnown
		} else {
			var raw [visitorLength / 2]byte
			for i, random := 0, rand.Uint64(); i < len(raw); i++ {
				raw[i] = byte(random >> (8 * i))
			}
			hex.Encode(x.visitor[:], raw[:])
		}
	}
	return x.visitor[:]
}

func isVisitor(value []byte) bool {
	if len(value) != visitorLength {
		return false
	}
	for _, c := range value {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// visitorState is what is known of the visitor's cookie.
type visitorState uint8

const (
	visitorUnknown visitorState = iota // nobody has asked
	visitorKnown                       // the request brought it
	visitorNew                         // the answer takes it along
)

// GreetVisitor gives the visitor's cookie to whom was told apart by it and had none:
// until the browser is closed, for no script, and to no other site's form.
func (x *Exchange) GreetVisitor() {
	if x.visitorState != visitorNew {
		return
	}
	var room [128]byte
	value := append(append(room[:0], VisitorCookie+"="...), x.visitor[:]...)
	value = append(value, "; Path=/; HttpOnly; SameSite=Lax"...)
	if x.Scheme == "https" {
		value = append(value, "; Secure"...)
	}
	x.Response.Header.AddBytesV(fasthttp.HeaderSetCookie, value)
}
