package config

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/setting"
)

// ServiceTLS is how the https endpoints of a service are verified, and what the
// gateway shows to them. There is no way to leave out the verification: a service
// whose certificate nobody signed names that certificate as its ca.
type ServiceTLS struct {
	At          setting.Position `yaml:"@at"`
	Node        *setting.Node    `yaml:"@node"`
	CA          setting.Content  `yaml:"ca" doc:"Authorities, in PEM form, that sign the certificates of the endpoints, in place of those that the system trusts."`
	Certificate setting.Content  `yaml:"certificate" doc:"The certificate that is shown to endpoints which ask for one, with the chain behind it, in PEM form."`
	Key         setting.Secret   `yaml:"key" doc:"The private key of the certificate, in PEM form."`
	ServerName  string           `yaml:"server_name" doc:"Name that the certificates of the endpoints must have, and that is asked for by SNI; the host of each URL by default."`
	Minimum     string           `yaml:"minimum" default:"1.2" enum:"1.2|1.3" doc:"The oldest version of TLS that is spoken."`
}

// minimums maps the words of minimum to those of crypto/tls.
var minimums = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Version is Minimum in the words of crypto/tls; also of a nil ServiceTLS.
func (t *ServiceTLS) Version() uint16 {
	if t == nil {
		return tls.VersionTLS12
	}
	return minimums[t.Minimum]
}

// NameFor is the name that the endpoint at address, a host:port, must have.
func (t *ServiceTLS) NameFor(address string) string {
	if t != nil && t.ServerName != "" {
		return t.ServerName
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address // config has checked it
	}
	return host
}

// Shows says whether the gateway shows a certificate to endpoints of s.
func (s *Service) Shows() bool {
	return s.TLS != nil && !s.TLS.Certificate.IsZero() && (s.Discovered() || slices.ContainsFunc(s.Endpoints, func(e *Endpoint) bool { return e.Secure }))
}

// Renewal is what the files of a service's certificate hold by now, in PEM form.
type Renewal struct{ Certificate, Key string }

// Renew is c with other certificates for the services that renewals names. c itself
// stays what it is; what the two have in common is shared.
func (c *Config) Renew(renewals map[string]Renewal) *Config {
	out := *c
	out.Services = slices.Clone(c.Services)
	for i, s := range c.Services {
		if r, ok := renewals[s.Name]; ok {
			service, tls := *s, *s.TLS
			tls.Certificate, tls.Key = tls.Certificate.Renewed(r.Certificate), tls.Key.Renewed(r.Key)
			service.TLS = &tls
			out.Services[i] = &service
		}
	}
	return &out
}

// serviceTLS checks what a service says of TLS.
func (c *checker) serviceTLS(s *Service) {
	t := s.TLS
	if t == nil || t.Node.Kind != setting.Map {
		return
	}
	if !secured(s) {
		c.r.AddNode(t.Node, "want an endpoint whose url begins with https:// beside it: without one nothing of this is used", "")
	}
	c.outboundTLS(t)
}

// outboundTLS checks how a server is verified, and what is shown to it.
func (c *checker) outboundTLS(t *ServiceTLS) {
	if !t.CA.IsZero() {
		c.endpointAuthorities(t)
	}
	if given(t.Node, "certificate") != nil || given(t.Node, "certificate_file") != nil || given(t.Node, "key") != nil || given(t.Node, "key_file") != nil {
		if pair := c.pair(credential{t.Node, t.Certificate, t.Key}); pair != nil {
			for _, text := range pair.ClientWarnings(c.o.Now()) {
				c.r.WarnNode(written(t.Node, "certificate"), text, "")
			}
		}
	}
	if n := given(t.Node, "server_name"); n != nil && t.ServerName != "" {
		if _, err := netip.ParseAddr(t.ServerName); err != nil && !isHostName(t.ServerName) {
			c.r.AddNode(n, "want a host name or an IP address without a port, got "+n.Describe(), "")
		}
	}
}

// secured says whether something can use what the service says of TLS. A service
// without such endpoints takes nothing of it from the defaults.
func secured(s *Service) bool {
	for _, e := range s.Endpoints {
		if e.Secure || e.Node.Kind != setting.Map || given(e.Node, "url") == nil {
			return true // the others have been reported, or their address is not known
		}
	}
	return len(s.Endpoints) == 0 // as above
}

// endpointAuthorities reads the authorities that sign endpoints.
func (c *checker) endpointAuthorities(t *ServiceTLS) {
	at := written(t.Node, "ca")
	authorities, err := certificate.ReadTrusted(t.CA.Text())
	if err != nil {
		c.r.AddNode(at, err.Error(), "")
		return
	}
	for _, text := range authorities.Warnings(c.o.Now()) {
		c.r.WarnNode(at, text, "")
	}
}
