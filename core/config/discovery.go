package config

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// Discovery says who knows the endpoints of services that don't declare them.
type Discovery struct {
	// Consul is nil where nobody asks it.
	Consul *Consul      `yaml:"consul" doc:"An agent or a server of Consul."`
	DNS    DNSDiscovery `yaml:"dns" doc:"How name servers are asked."`
}

// Consul says where Consul is.
type Consul struct {
	At         setting.Position `yaml:"@at"`
	Node       *setting.Node    `yaml:"@node"`
	Address    string           `yaml:"address" default:"http://127.0.0.1:8500" doc:"http://host:port or https://host:port"`
	Token      setting.Secret   `yaml:"token" doc:"Token of the ACL, with service:read and node:read; better in token_file, which is read again on reload."`
	Datacenter string           `yaml:"datacenter" doc:"Whose services are asked for; the agent's own by default."`
	// TLS is nil where https trusts what the system trusts.
	TLS *ServiceTLS `yaml:"tls" doc:"How an https address is verified, and what is shown to it."`
}

// DNSDiscovery says how name servers are asked.
type DNSDiscovery struct {
	Node       *setting.Node      `yaml:"@node"`
	Resolver   setting.StringList `yaml:"resolver" default:"system" doc:"system for the name servers and search domains of /etc/resolv.conf, or IP addresses of name servers, with a port if it is not 53."`
	MinimumTTL setting.Duration   `yaml:"minimum_ttl" default:"1s" min:"100ms" max:"5m" doc:"A shorter TTL is taken for this; the longest is 5m."`
}

// ResolverSystem is the word for the name servers of the system.
const ResolverSystem = "system"

// Servers are host:port of the name servers; nil for those of the system.
func (d *DNSDiscovery) Servers() []string {
	var out []string
	for _, text := range d.Resolver {
		if at, ok := nameServer(text); ok {
			out = append(out, at.String())
		}
	}
	return out
}

// nameServer reads an IP address with or without a port.
func nameServer(text string) (netip.AddrPort, bool) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" && !ip.IsUnspecified() {
		return netip.AddrPortFrom(ip, 53), true
	}
	at, err := netip.ParseAddrPort(text)
	return at, err == nil && at.Port() != 0 && at.Addr().Zone() == "" && !at.Addr().IsUnspecified()
}

// ServiceConsul is a service that Consul knows.
type ServiceConsul struct {
	Node    *setting.Node `yaml:"@node"`
	Service string        `yaml:"service" doc:"Name of the service in Consul."`
	Tag     string        `yaml:"tag" doc:"Only instances that carry this tag; all by default."`
}

// ServiceDNS is a service that name servers know: by SRV records, or by the addresses of
// a host.
type ServiceDNS struct {
	Node *setting.Node `yaml:"@node"`
	SRV  string        `yaml:"srv" doc:"Name of SRV records, such as _http._tcp.shop.internal, which know hosts, ports and weights."`
	Host string        `yaml:"host" doc:"A host, all of whose addresses are endpoints."`
	Port int           `yaml:"port" min:"1" max:"65535" doc:"Port of the host."`
}

// Discovered says whether the endpoints of s are found, not declared.
func (s *Service) Discovered() bool { return s.Consul != nil || s.DNS != nil }

// withoutToken is d with what waits for the next start.
func (d Discovery) withoutToken() Discovery {
	if d.Consul != nil {
		consul := *d.Consul
		consul.Token = setting.Secret{}
		d.Consul = &consul
	}
	return d
}

// discovery checks who knows endpoints.
func (c *checker) discovery() {
	d := &c.cfg.Discovery
	if n := d.DNS.Node; n != nil {
		for i, text := range d.DNS.Resolver {
			if _, ok := nameServer(text); !ok && (text != ResolverSystem || len(d.DNS.Resolver) > 1) {
				at := n.Get("resolver").Values()[i]
				c.r.AddNode(at, "want system alone, or IP addresses such as 10.0.0.2 and 10.0.0.2:5353; got "+at.Describe(), "")
			}
		}
	}
	if d.Consul != nil && d.Consul.Node.Kind == setting.Map {
		c.consul(d.Consul)
	}
}

// consul checks where Consul is.
func (c *checker) consul(d *Consul) {
	if n := given(d.Node, "address"); n != nil && d.Address != "" {
		if strings.Contains(d.Address, "@") {
			c.r.Mask(n)
			c.r.AddNode(n, wantURL+"one with a user or a password", "")
			return
		}
		if _, ok := parseEndpoint(d.Address); !ok {
			c.r.AddNode(n, wantURL+n.Describe(), suggestURL(n))
			return
		}
	}
	at, err := url.Parse(d.Address)
	if err != nil {
		return // the address is unknown, or was reported by its type
	}
	secure := at.Scheme == "https"
	switch {
	case d.TLS != nil && d.TLS.Node.Kind == setting.Map && !secure && d.Address != "":
		c.r.AddNode(d.TLS.Node, "want an address that begins with https:// beside it: without one nothing of this is used", "")
	case !secure && !d.Token.IsZero() && !loopbackName(at.Hostname()):
		c.r.WarnNode(d.Node, "Consul is beyond this machine and no TLS is spoken with it: whoever listens on the way learns the token; use https", "")
	}
	if d.TLS != nil && d.TLS.Node.Kind == setting.Map {
		c.outboundTLS(d.TLS)
	}
}

// found checks where the endpoints of a service come from. It says whether they are found.
func (c *checker) found(s *Service) bool {
	var ways []string
	for _, key := range []string{"endpoints", "consul", "dns"} {
		if !missing(s.Node, key) {
			ways = append(ways, key)
		}
	}
	if len(ways) > 1 {
		c.r.Add(s.At, s.Node.Path, "want one way to know the endpoints, got "+strings.Join(ways, " and "), "")
		return true
	}
	if s.Consul != nil && s.Consul.Node.Kind == setting.Map {
		c.foundByConsul(s)
	}
	if s.DNS != nil && s.DNS.Node.Kind == setting.Map {
		c.foundByDNS(s)
	}
	return s.Discovered()
}

func (c *checker) foundByConsul(s *Service) {
	d := s.Consul
	if c.cfg.Discovery.Consul == nil {
		c.r.AddNode(d.Node, "want discovery.consul as well: it says where Consul is", "")
	}
	if missing(d.Node, "service") {
		c.r.AddNode(d.Node, "want the name of the service in Consul, such as service: "+s.Name, "")
	}
	if n := given(d.Node, "service"); n != nil && d.Service != "" && !isConsulName(d.Service) {
		c.r.AddNode(n, "want letters, digits and - . _ beginning with a letter or digit, 128 at most; got "+n.Describe(), "")
	}
	if n := given(d.Node, "tag"); n != nil && strings.ContainsFunc(d.Tag, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		c.r.AddNode(n, "want a tag without blanks, got "+n.Describe(), "")
	}
	c.oneName(s, "Consul tells addresses, not names")
}

func (c *checker) foundByDNS(s *Service) {
	d := s.DNS
	srv, host, port := !missing(d.Node, "srv"), !missing(d.Node, "host"), !missing(d.Node, "port")
	if srv == host || srv && port || host && !port {
		c.r.AddNode(d.Node, "want srv alone, or host and port", "")
		return
	}
	for _, key := range []string{"srv", "host"} {
		n, text := given(d.Node, key), map[string]string{"srv": d.SRV, "host": d.Host}[key]
		if n == nil || text == "" {
			continue
		}
		if _, err := netip.ParseAddr(text); err == nil {
			c.r.AddNode(n, "want a name; an address belongs into endpoints", "")
		} else if !isHostName(strings.TrimSuffix(text, ".")) {
			c.r.AddNode(n, "want a name without a port, got "+n.Describe(), "")
		}
	}
	if srv {
		c.oneName(s, "SRV records name many hosts")
	}
}

// oneName wants the name that the certificates of all endpoints have, if TLS is spoken.
func (c *checker) oneName(s *Service, why string) {
	if t := s.TLS; t != nil && t.Node.Kind == setting.Map && missing(t.Node, "server_name") {
		c.r.AddNode(t.Node, "want a server_name, which the certificates of all endpoints must have: "+why, "")
	}
}

// isConsulName says that s can name a service in Consul's paths and DNS.
func isConsulName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '.' && c != '_') {
			return false
		}
	}
	return len(s) <= 128
}
