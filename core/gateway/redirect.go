package gateway

import (
	"math"
	"net"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/wire"
)

// redirectName is the name of the plain listener that sends its clients to the
// listener of that name. No configuration can use it: it holds a blank.
func redirectName(listener string) string { return listener + " redirect" }

// redirects are the routes of the plain listeners that redirect_from declares. They
// come before every other on their listener: nothing is served there.
func (g *Gateway) redirects(cfg *config.Config) []snapshot.BuiltIn {
	var out []snapshot.BuiltIn
	for _, d := range cfg.Listeners {
		if d.RedirectFrom == "" || d.TLS == nil {
			continue
		}
		out = append(out, snapshot.BuiltIn{
			Name:  "redirect to " + d.Name,
			Match: router.Match{Listeners: []string{redirectName(d.Name)}, Paths: []string{"/{rest...}"}, Priority: math.MaxInt},
			// What may stand in a path is for the route behind TLS to say.
			Path:   wire.PathOptions{EncodedSlashes: true, DoubleSlashes: true},
			Answer: func(x *pipeline.Exchange) pipeline.Verdict { return g.toTLS(x, d) },
		})
	}
	return out
}

// toTLS sends a client to the same host and target over TLS. Only hosts that the
// listener has a certificate for are sent there: a redirect never leads to a host that
// the configuration does not know (SECURITY C7).
func (g *Gateway) toTLS(x *pipeline.Exchange, d *config.Listener) pipeline.Verdict {
	l := g.listener(d.Name)
	switch {
	case len(x.Host) == 0:
		return x.Fail(fault.BadRequest.Detail("a Host field is needed to be sent to https"))
	case l == nil || l.Credentials() == nil || !l.Credentials().Covers(x.Host):
		return x.Fail(fault.Misdirected.Detail("this host name is not served here"))
	}
	target, err := x.Target()
	if err != nil {
		return x.FailBy(fault.Internal, err)
	}
	location := append([]byte("https://"), x.Host...)
	location = append(location, portOf(d, l.Addr())...)
	location = append(location, target...)
	x.Response.SetStatusCode(fasthttp.StatusPermanentRedirect)
	x.Response.Header.SetBytesV(fasthttp.HeaderLocation, location)
	return pipeline.Respond
}

// portOf is the port as a URL has it: none where it is the usual one of https.
func portOf(d *config.Listener, address net.Addr) string {
	port := d.RedirectPort
	if tcp, ok := address.(*net.TCPAddr); ok && port == 0 {
		port = tcp.Port
	}
	if port == 443 {
		return ""
	}
	return ":" + strconv.Itoa(port)
}
