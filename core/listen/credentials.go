package listen

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/certificate"
)

// Certificate is one certificate that a listener shows, and what it asks of the
// clients that it is shown to.
type Certificate struct {
	Pair *certificate.Pair
	// ClientAuth says whether a client must show a certificate.
	ClientAuth tls.ClientAuthType
	// Authorities sign the certificates of clients; nil with tls.NoClientCert only.
	Authorities *certificate.Authorities
}

// rule tells what is asked of clients from what is asked elsewhere. Two names with
// one rule may share a connection and a session.
func (c *Certificate) rule() string {
	if c.Authorities == nil {
		return strconv.Itoa(int(c.ClientAuth))
	}
	return strconv.Itoa(int(c.ClientAuth)) + c.Authorities.Fingerprint
}

// Credentials are the certificates of a TLS listener. They are immutable.
type Credentials struct {
	minimum      uint16
	certificates []Certificate
	exact        map[string]*identity
	wildcard     map[string]*identity // by what follows the "*"
	addresses    map[string]bool      // as hosts are written, IPv6 in brackets
	first        *identity            // for those who name no host, or one of nobody's
	rule         string               // of all names; "" where they differ
}

// identity is what is shown for a name: certificates with keys of different kinds,
// of which a client gets the first that it understands.
type identity struct {
	certificates []Certificate
	rule         string
	config       *tls.Config // made by the listener that shows it
}

// NewCredentials makes credentials of at least one certificate; minimum is the
// oldest version, tls.VersionTLS12 or later. A client gets the certificate for the
// name that it asks for (RFC 6066 §3): the exact name wins over a wildcard, which
// stands for one label; else the first certificate.
func NewCredentials(minimum uint16, certificates []Certificate) (*Credentials, error) {
	if len(certificates) == 0 {
		return nil, errors.New("TLS needs at least one certificate")
	}
	if minimum < tls.VersionTLS12 {
		return nil, errors.New("TLS before version 1.2 is not spoken")
	}
	c := &Credentials{minimum: minimum, certificates: certificates, exact: map[string]*identity{}, wildcard: map[string]*identity{}, addresses: map[string]bool{}}
	for i := range certificates {
		for _, name := range certificates[i].Pair.Names() {
			if suffix, ok := strings.CutPrefix(name, "*"); ok {
				show(c.wildcard, suffix, certificates[i])
			} else {
				show(c.exact, name, certificates[i])
			}
		}
		for _, ip := range certificates[i].Pair.Leaf.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok {
				c.addresses[asHost(a.Unmap())] = true
			}
		}
	}
	c.first = c.fallback()
	c.rule = c.first.rule
	for i := range certificates {
		if certificates[i].rule() != c.rule {
			c.rule = ""
		}
	}
	return c, nil
}

// fallback is the first certificate, beside those of other kinds for its name.
func (c *Credentials) fallback() *identity {
	names := c.certificates[0].Pair.Names()
	if len(names) == 0 {
		return &identity{certificates: c.certificates[:1:1], rule: c.certificates[0].rule()}
	}
	if suffix, ok := strings.CutPrefix(names[0], "*"); ok {
		return c.wildcard[suffix]
	}
	return c.exact[names[0]]
}

// show adds a certificate to what is shown for a name.
func show(names map[string]*identity, name string, c Certificate) {
	if names[name] == nil {
		names[name] = &identity{rule: c.rule()}
	}
	names[name].certificates = append(names[name].certificates, c)
}

// Certificates are those that the credentials were made of, in their order.
func (c *Credentials) Certificates() []Certificate { return slices.Clone(c.certificates) }

// Minimum is the oldest version of TLS that is spoken.
func (c *Credentials) Minimum() uint16 { return c.minimum }

// asHost is an address as the host of a URL (RFC 3986 §3.2.2).
func asHost(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// Covers says whether one of the certificates is good for host, which is canonical.
func (c *Credentials) Covers(host []byte) bool {
	return c.named(host) != nil || c.addresses[string(host)]
}

// identify finds what is shown to those who ask for name, which is in lower case.
func (c *Credentials) identify(name []byte) *identity {
	if found := c.named(name); found != nil {
		return found
	}
	return c.first
}

// named finds what is shown for a name; nil if no certificate has it.
func (c *Credentials) named(name []byte) *identity {
	if found := c.exact[string(name)]; found != nil {
		return found
	}
	if dot := bytes.IndexByte(name, '.'); dot > 0 {
		return c.wildcard[string(name[dot:])]
	}
	return nil
}

// each calls f with every identity.
func (c *Credentials) each(f func(*identity)) {
	f(c.first)
	for _, names := range []map[string]*identity{c.exact, c.wildcard} {
		for _, one := range names {
			f(one)
		}
	}
}

// suites are those of TLS 1.2 that encrypt and authenticate in one, under keys that
// are forgotten afterwards. TLS 1.3 has no others.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// protocols are what ALPN offers (RFC 7301).
func protocols() []string { return []string{"http/1.1"} }

// keyring is what makes the TLS of one listener.
type keyring struct {
	// tickets holds the keys under which sessions are sealed. They are changed every
	// day and forgotten after a week by crypto/tls, and outlive credentials: a
	// session is resumed after a reload too.
	tickets *tls.Config
	// outer is what every handshake begins with.
	outer *tls.Config
}

// configure completes the identities of c for a listener. Nobody may have c yet.
func (k *keyring) configure(c *Credentials) {
	c.each(func(i *identity) {
		i.config = &tls.Config{
			MinVersion: c.minimum, CipherSuites: suites(), NextProtos: protocols(),
			ClientAuth:  i.certificates[0].ClientAuth,
			WrapSession: i.seal(k.tickets), UnwrapSession: i.open(k.tickets),
		}
		for _, one := range i.certificates {
			i.config.Certificates = append(i.config.Certificates, one.Pair.TLS)
		}
		if a := i.certificates[0].Authorities; a != nil {
			i.config.ClientCAs = a.Pool
		}
	})
}

// seal writes the rule about clients into each session: one that was made under
// another rule must not be a way around this one.
func (i *identity) seal(tickets *tls.Config) func(tls.ConnectionState, *tls.SessionState) ([]byte, error) {
	return func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		s.Extra = append(s.Extra, []byte(i.rule))
		return tickets.EncryptTicket(cs, s)
	}
}

// open takes the sessions of the same rule. Any other makes a whole handshake.
func (i *identity) open(tickets *tls.Config) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := tickets.DecryptTicket(ticket, cs)
		if err != nil || s == nil || !slices.ContainsFunc(s.Extra, func(e []byte) bool { return string(e) == i.rule }) {
			return nil, err
		}
		return s, nil
	}
}
