package dns

import (
	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/upstream"
)

// OpenAtPort is Open where the servers of a resolv.conf listen on another port than 53.
func OpenAtPort(file, port string, d upstream.Discovery) discovery.Query {
	s := New(Options{ResolvConf: file})
	s.resolver.port = port
	return s.Open(d)
}
