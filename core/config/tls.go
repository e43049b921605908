package config

import (
	"crypto/tls"
	"errors"
	"net/netip"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/setting"
)

// TLS is what a listener shows to its clients, and asks of them.
type TLS struct {
	At           setting.Position `yaml:"@at"`
	Node         *setting.Node    `yaml:"@node"`
	Certificates []*Certificate   `yaml:"certificates" doc:"Certificates with their keys. A client gets the one for the host that it names: an exact name, then a wildcard, then the first of the list."`
	Minimum      string           `yaml:"minimum" default:"1.2" enum:"1.2|1.3" doc:"The oldest version of TLS that is spoken."`
	ClientAuth   `yaml:",inline"`
}

// Certificate is one certificate with its key. What it says of clients takes the
// place of what TLS says, for the hosts that it names.
type Certificate struct {
	At          setting.Position `yaml:"@at"`
	Node        *setting.Node    `yaml:"@node"`
	Certificate setting.Content  `yaml:"certificate" doc:"The certificate and the chain behind it, in PEM form."`
	Key         setting.Secret   `yaml:"key" doc:"The private key of the certificate, in PEM form."`
	ClientAuth  `yaml:",inline"`

	// Pair is the certificate with its key, read and checked.
	Pair *certificate.Pair `yaml:"-"`
}

// ClientAuth is what clients must show.
type ClientAuth struct {
	ClientCA setting.Content `yaml:"client_ca" doc:"Authorities, in PEM form, that sign the certificates of clients; no client is asked for one by default."`
	Mode     string          `yaml:"client_auth" off:"true" enum:"required|optional" doc:"Whether a client must have a certificate, or may; off: none is asked. Required by default where client_ca stands."`

	// Authorities are read from ClientCA; nil: no client is asked.
	Authorities *certificate.Authorities `yaml:"-"`
}

// clientOptional is a word of client_auth; the other is the default.
const clientOptional = "optional"

// Type is the rule in the words of crypto/tls. What a client shows is always
// verified.
func (a *ClientAuth) Type() tls.ClientAuthType {
	switch {
	case a.Authorities == nil:
		return tls.NoClientCert
	case a.Mode == clientOptional:
		return tls.VerifyClientCertIfGiven
	default:
		return tls.RequireAndVerifyClientCert
	}
}

// ProxyProtocol says who announces clients.
type ProxyProtocol struct {
	Node *setting.Node  `yaml:"@node"`
	From []setting.CIDR `yaml:"from" doc:"Networks of the balancers that send the header; connections from elsewhere are refused."`
}

// secure checks what a listener says of TLS, and reads its certificates.
func (c *checker) secure(l *Listener) {
	t := l.TLS
	if t == nil || t.Node.Kind != setting.Map {
		return
	}
	if missing(t.Node, "certificates") || emptyList(t.Node.Get("certificates")) {
		c.r.AddNode(t.Node, "want at least one certificate with its key", "")
	}
	c.clients(t.Node, &t.ClientAuth)
	c.pointless(t.Node, &t.ClientAuth)
	owners := make(map[string]*Certificate)
	for _, own := range t.Certificates {
		if own.Node.Kind != setting.Map {
			continue
		}
		c.clients(own.Node, &own.ClientAuth)
		c.inherit(own, &t.ClientAuth)
		c.pointless(own.Node, &own.ClientAuth)
		own.Pair = c.pair(credential{own.Node, own.Certificate, own.Key})
		if own.Pair == nil {
			continue
		}
		for _, text := range own.Pair.Warnings(c.o.Now()) {
			c.r.WarnNode(written(own.Node, "certificate"), text, "")
		}
		c.names(own, owners)
	}
}

// pointless reports a rule about certificates of clients that nobody could follow.
func (c *checker) pointless(n *setting.Node, a *ClientAuth) {
	if mode := given(n, "client_auth"); mode != nil && a.Authorities == nil && a.ClientCA.IsZero() && missing(n, "client_ca") && missing(n, "client_ca_file") {
		c.r.AddNode(mode, "want client_ca_file or client_ca beside it: who signs the certificates of clients?", "")
	}
}

// inherit gives a certificate what TLS says of clients, where it says nothing.
func (c *checker) inherit(own *Certificate, t *ClientAuth) {
	mode := own.Node.Get("client_auth")
	if own.ClientCA.IsZero() && missing(own.Node, "client_ca") && missing(own.Node, "client_ca_file") && !mode.IsOff() {
		own.Authorities = t.Authorities
	}
	if mode == nil {
		own.Mode = t.Mode
	}
}

// clients reads the authorities that sign clients.
func (c *checker) clients(n *setting.Node, a *ClientAuth) {
	if a.ClientCA.IsZero() || n.Get("client_auth").IsOff() {
		return
	}
	at := written(n, "client_ca")
	authorities, err := certificate.ReadAuthorities(a.ClientCA.Text())
	if err != nil {
		c.r.AddNode(at, err.Error(), "")
		return
	}
	for _, text := range authorities.Warnings(c.o.Now()) {
		c.r.WarnNode(at, text, "")
	}
	a.Authorities = authorities
}

// written is the node of key or of its twin, n itself if neither stands there.
func written(n *setting.Node, key string) *setting.Node {
	for _, k := range []string{key + "_file", key} {
		if at := given(n, k); at != nil {
			return at
		}
	}
	return n
}

// credential is a certificate with its key, as it was written beside n.
type credential struct {
	node        *setting.Node
	certificate setting.Content
	key         setting.Secret
}

// pair reads a certificate and its key; nil if that can't be done, for which the
// reason is reported.
func (c *checker) pair(w credential) *certificate.Pair {
	for _, key := range []string{"certificate", "key"} {
		if missing(w.node, key) && missing(w.node, key+"_file") {
			c.r.AddNode(w.node, "want "+key+"_file or "+key+", got neither", "")
		}
	}
	if w.certificate.IsZero() || w.key.IsZero() {
		return nil
	}
	c.private(w)
	chain, err := certificate.Chain(w.certificate.Text())
	if err != nil {
		c.r.AddNode(written(w.node, "certificate"), err.Error(), "")
	}
	key, keyErr := certificate.Key(w.key.Reveal())
	if keyErr != nil {
		c.r.AddNode(written(w.node, "key"), keyErr.Error(), "")
	}
	if errors.Join(err, keyErr) != nil {
		return nil
	}
	pair, err := certificate.Join(chain, key)
	if err != nil {
		c.r.AddNode(written(w.node, "key"), err.Error(), "")
		return nil
	}
	return pair
}

// othersMay are the permissions of a file by which others than its owner get at it.
const othersMay = 0o077

// private warns of a key that others can read.
func (c *checker) private(w credential) {
	if w.key.File() == "" {
		return
	}
	// Where the mode can't be told there is nothing to warn of: the file was read.
	if mode, err := c.o.FileMode(w.key.File()); err == nil && mode.Perm()&othersMay != 0 {
		c.r.WarnNode(written(w.node, "key"), "other users can get at this file (its mode is "+mode.Perm().String()+"): chmod 600 it", "")
	}
}

// names reports host names for which two certificates stand. Two of different
// algorithms may: a client gets the one that it understands.
func (c *checker) names(own *Certificate, owners map[string]*Certificate) {
	for _, name := range own.Pair.Names() {
		key := name + " " + own.Pair.Algorithm()
		if other := owners[key]; other != nil {
			c.r.AddNode(written(own.Node, "certificate"), "the certificate at "+other.At.String()+" is for "+name+" as well: a client can get only one of them", "")
			return
		}
		if other := owners[name]; other != nil && !sameClients(own, other) {
			c.r.AddNode(own.Node, "the certificate at "+other.At.String()+" is for "+name+" as well: both must say the same of clients", "")
			return
		}
		owners[key], owners[name] = own, own
	}
}

// sameClients says that two certificates ask the same of clients.
func sameClients(a, b *Certificate) bool {
	return a.Type() == b.Type() && (a.Authorities == nil || a.Authorities.Fingerprint == b.Authorities.Fingerprint)
}

// redirectFrom checks the plain listener that sends its clients to l.
func (c *checker) redirectFrom(l *Listener, seen map[address]*Listener) {
	if given(l.Node, "redirect_port") != nil && missing(l.Node, "redirect_from") {
		c.r.AddNode(l.Node.Get("redirect_port"), "want redirect_from beside it: without it nothing is redirected", "")
	}
	n := given(l.Node, "redirect_from")
	if n == nil || l.RedirectFrom == "" {
		return
	}
	if missing(l.Node, "tls") {
		c.r.AddNode(n, "want tls beside it: it sends clients to https", "")
	}
	a, ok := parseAddress(l.RedirectFrom)
	if !ok {
		c.r.AddNode(n, wantAddress+n.Describe(), suggestAddress(n))
		return
	}
	if other := seen[a]; other != nil && a.port != 0 {
		c.r.AddNode(n, "listener "+other.Name+" has the same address", "")
	}
	seen[a] = l
	if admin, ok := parseAddress(c.cfg.Admin.Address); ok && admin.meets(a) {
		c.r.AddNode(n, "want an address beside the admin listener's, "+c.cfg.Admin.Address, "")
	}
}

// proxyProtocol wants to know who is believed.
func (c *checker) proxyProtocol(l *Listener) {
	p := l.ProxyProtocol
	if p == nil || p.Node.Kind != setting.Map {
		return
	}
	if missing(p.Node, "from") || emptyList(p.Node.Get("from")) {
		c.r.AddNode(p.Node, "want the networks of the balancers, such as from: [10.0.0.0/8]: nobody else may name a client", "")
	}
	for i, network := range p.From {
		if network.IsValid() && network.Bits() == 0 {
			c.r.WarnNode(p.Node.Get("from").Values()[i], network.String()+" trusts everybody: any client can then name any address as its own", "")
		}
	}
}

// Announcers are the networks of proxy_protocol.
func (p *ProxyProtocol) Announcers() []netip.Prefix { return setting.Prefixes(p.From) }
