package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// services are the six services of the platform, in the order of their default
// ports.
var services = []string{"identity", "content", "commerce", "payments", "live-classes", "vod"}

// firstPort is the default port of the first service; the others follow it.
const firstPort = 9001

// listen says that one endpoint of a service listens on an address.
type listen struct {
	service string // one of services
	address string // host:port; port 0 takes a free one
}

// listenList collects the -listen flags; it is a [flag.Value].
type listenList []listen

// String writes the list as it would be given on a command line, with commas.
func (l *listenList) String() string {
	var words []string
	for _, one := range *l {
		words = append(words, one.service+"="+one.address)
	}
	return strings.Join(words, ",")
}

// Set adds one "service=host:port". It refuses unknown services, addresses that
// are not host:port, and an address that another endpoint has.
func (l *listenList) Set(s string) error {
	service, address, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("want SERVICE=HOST:PORT, like %s=127.0.0.1:%d", services[0], firstPort)
	}
	if !slices.Contains(services, service) {
		return fmt.Errorf("unknown service %q; there are %s", service, strings.Join(services, ", "))
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address of %s: %w", service, err)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("address of %s: %w", service, err)
	}
	free := port == "0"
	for _, other := range *l {
		if other.address == address && !free {
			return fmt.Errorf("%s is already the address of an endpoint of %s", address, other.service)
		}
	}
	*l = append(*l, listen{service, address})
	return nil
}

// defaultListens gives each service one endpoint on its usual loopback port.
func defaultListens() listenList {
	var l listenList
	for i, service := range services {
		l = append(l, listen{service, fmt.Sprintf("127.0.0.1:%d", firstPort+i)})
	}
	return l
}
