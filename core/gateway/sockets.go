package gateway

import (
	"net"
	"strconv"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/listen"
)

// ListenerNames are the names of all listeners that cfg declares, those that only
// redirect among them: what sockets that are passed in may be named.
func ListenerNames(cfg *config.Config) []string {
	var names []string
	for _, d := range cfg.Listeners {
		names = append(names, d.Name)
		if d.RedirectFrom != "" {
			names = append(names, redirectName(d.Name))
		}
	}
	return names
}

// listen makes a listener: of the socket that the program was given under its name,
// or of a new one on address.
func (g *Gateway) listen(address string, o listen.Options) (*listen.Listener, error) {
	socket, ok := g.sockets[o.Name]
	if !ok {
		return listen.Listen(address, o)
	}
	if _, port, err := net.SplitHostPort(address); err == nil && port != strconv.Itoa(socket.Addr().(*net.TCPAddr).Port) {
		g.log.Warn().Str("listener", o.Name).Stringer("address", socket.Addr()).Str("configured", address).
			Msg("the socket that was passed in is bound elsewhere than the configuration says; the socket is used")
	}
	return listen.On(socket, o)
}
