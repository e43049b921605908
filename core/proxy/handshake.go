package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/upstream"
)

// sealing is the TLS of an endpoint: what its connections have in common, and what
// is counted of them.
type sealing struct {
	config   *tls.Config
	broken   error // why there is no config
	wants    string
	failures [reasons]*meter.Counter
	full     *meter.Counter
	resumed  *meter.Counter
}

// aead are the suites of TLS 1.2 that are spoken: those with forward secrecy and
// authenticated encryption (RFC 9325 §4.2). TLS 1.3 has no others.
var aead = [...]uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// mostSessions is how many sessions are kept for an endpoint. They are kept by name,
// and it has one.
const mostSessions = 1

// newSealing makes the TLS of an endpoint; nil for one of plain HTTP.
func newSealing(k upstream.Key, s *meter.Set) *sealing {
	if !k.TLS.On() {
		return nil
	}
	by := "the system's authorities"
	if k.TLS.Authorities != "" {
		by = "the authorities of tls.ca"
	}
	out := &sealing{wants: fmt.Sprintf("want a certificate for %s signed by %s", k.TLS.ServerName, by)}
	out.config, out.broken = clientConfig(k.TLS)
	service := meter.Label{Name: "service", Value: k.Service}
	for r := range reasons {
		out.failures[r] = s.Counter("gateway_upstream_tls_errors_total", "Handshakes with endpoints that failed.",
			service, meter.Label{Name: "reason", Value: reasonNames[r]})
	}
	const handshakes, help = "gateway_upstream_tls_handshakes_total", "Handshakes with endpoints that succeeded."
	out.full = s.Counter(handshakes, help, service, meter.Label{Name: "resumed", Value: "false"})
	out.resumed = s.Counter(handshakes, help, service, meter.Label{Name: "resumed", Value: "true"})
	return out
}

// clientConfig is t as crypto/tls has it. Nothing here can turn off verification.
func clientConfig(t upstream.TLS) (*tls.Config, error) {
	c := &tls.Config{
		ServerName: t.ServerName, MinVersion: t.Minimum, CipherSuites: aead[:],
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(mostSessions),
		// Uploads go out in pieces: small records would only cost more seals.
		DynamicRecordSizingDisabled: true,
	}
	if t.Authorities != "" {
		trusted, err := certificate.ReadTrusted(t.Authorities)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = trusted.Pool
	}
	if t.Certificate != "" {
		pair, err := certificate.Parse(t.Certificate, t.Key.Reveal())
		if err != nil {
			return nil, err
		}
		// Whether the endpoint's list of authorities has ours is for the endpoint to say:
		// left out, the refusal would read as if there were no certificate.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair.TLS, nil }
	}
	return c, nil
}

// shake makes a new connection's handshake until due (monotonic ns).
func (l *sealing) shake(c *conn, due int64) error {
	if l.broken != nil {
		return fmt.Errorf("TLS with %s: %w", c.pool.address, l.broken)
	}
	c.speakTLS(l.config)
	if err := c.secure.handshake(due); err != nil {
		return l.refused(c, err)
	}
	if c.secure.conn.ConnectionState().DidResume {
		l.resumed.Add(0, 1)
	} else {
		l.full.Add(0, 1)
	}
	return nil
}

// refused counts a handshake that came to nothing, and says what was wanted.
func (l *sealing) refused(c *conn, err error) error {
	r := reasonOf(err)
	l.failures[r].Add(0, 1)
	hint := l.wants + ": "
	switch r {
	case reasonAuthority, reasonName, reasonExpired, reasonCertificate:
	case reasonNotTLS:
		hint = "does it speak plain HTTP? "
	case reasonClosed:
		hint = "the endpoint closed the connection: "
	case reasonRefused:
		hint = "the endpoint refused: "
		if l.config.GetClientCertificate == nil {
			hint = "the endpoint refused (no tls.certificate is configured): "
		}
	default:
		hint = ""
	}
	return fmt.Errorf("TLS handshake with %s: %s%w", c.pool.address, hint, err)
}

// reason is why a handshake came to nothing.
type reason int

const (
	reasonOther       reason = iota
	reasonTimeout            // the endpoint was too slow
	reasonClosed             // it closed the connection
	reasonNotTLS             // it speaks something else
	reasonAuthority          // nobody whom we trust signed its certificate
	reasonName               // its certificate is for another name
	reasonExpired            // its certificate is not valid now
	reasonCertificate        // its certificate is bad otherwise
	reasonRefused            // it refused us: most often our certificate
	reasonShared             // no common version, suite or protocol
	reasons
)

// reasonNames are the reasons as metrics name them.
var reasonNames = [reasons]string{
	reasonOther: "other", reasonTimeout: "timeout", reasonClosed: "closed", reasonNotTLS: "not_tls", reasonAuthority: "unknown_authority",
	reasonName: "name", reasonExpired: "expired", reasonCertificate: "certificate", reasonRefused: "refused_by_endpoint", reasonShared: "nothing_shared",
}

// reasonOf tells why a handshake failed.
func reasonOf(err error) reason {
	var (
		header    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		bad       *tls.CertificateVerificationError
		timeout   net.Error
	)
	switch {
	case errors.Is(err, errTimeout):
		return reasonTimeout
	case errors.As(err, &authority):
		return reasonAuthority
	case errors.As(err, &name):
		return reasonName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return reasonExpired
	case errors.As(err, &bad):
		return reasonCertificate
	case errors.As(err, &header):
		return reasonNotTLS
	case alert(err) != "":
		if slices.Contains([]string{"protocol version not supported", "insufficient security level", "no application protocol"}, alert(err)) {
			return reasonShared
		}
		return reasonRefused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return reasonClosed
	case errors.As(err, &timeout) && timeout.Timeout():
		return reasonTimeout
	case strings.Contains(err.Error(), "server selected unsupported"), strings.Contains(err.Error(), "server chose an unconfigured"):
		return reasonShared
	}
	return reasonOther
}

// alert is the alert that the endpoint sent, in crypto/tls's words; "" if err is none.
func alert(err error) string {
	var operation *net.OpError
	if !errors.As(err, &operation) || operation.Op != "remote error" {
		return ""
	}
	return strings.TrimPrefix(operation.Err.Error(), "tls: ")
}

// ofClients are the alerts by which a certificate of ours is refused, or the lack of
// one.
var ofClients = [...]string{
	"bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate",
	"unknown certificate authority", "access denied", "certificate required",
}

// late says whether err is a handshake that the endpoint has refused when it was over
// on this side. TLS 1.3 has the certificate of a client looked at after it, by a server
// that reads no request before (RFC 8446 §4.4.2.4): nothing has happened yet.
func (c *conn) late(err error) bool {
	return c.secure != nil && !c.reused && slices.Contains(ofClients[:], alert(err))
}
