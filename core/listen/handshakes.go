package listen

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// reason is why a handshake came to nothing.
type reason int

const (
	reasonOther         reason = iota
	reasonTimeout              // the client was too slow
	reasonClosed               // the client left
	reasonPlainHTTP            // it spoke HTTP without TLS
	reasonNotTLS               // it spoke something else
	reasonVersion              // it knows no version of TLS that we speak
	reasonNothingShared        // no common cipher suite, curve, signature or protocol
	reasonClientCert           // its certificate is missing or not good
	reasonByClient             // it refused us: most often our certificate
	reasons
)

// HandshakeFailure is why handshakes failed, as metrics name it, and how many.
type HandshakeFailure struct {
	Reason string
	Count  func() uint64
}

// HandshakeFailures lists all reasons for which handshakes fail.
func (l *Listener) HandshakeFailures() []HandshakeFailure {
	names := [reasons]string{
		reasonOther: "other", reasonTimeout: "timeout", reasonClosed: "closed", reasonPlainHTTP: "plain_http", reasonNotTLS: "not_tls",
		reasonVersion: "version", reasonNothingShared: "nothing_shared", reasonClientCert: "client_certificate", reasonByClient: "refused_by_client",
	}
	all := make([]HandshakeFailure, 0, reasons)
	for r, name := range names {
		all = append(all, HandshakeFailure{Reason: name, Count: l.failures[r].Load})
	}
	return all
}

// FullHandshakes is how many handshakes succeeded that resumed no session.
func (l *Listener) FullHandshakes() uint64 { return l.handshakes[0].Load() }

// ResumedHandshakes is how many handshakes resumed a session.
func (l *Listener) ResumedHandshakes() uint64 { return l.handshakes[1].Load() }

// Announced says whether connections begin with a PROXY header.
func (l *Listener) Announced() bool { return l.announcers != nil }

// Strangers is how many connections were refused because they came from none of
// the Announcers.
func (l *Listener) Strangers() uint64 { return l.strangers.Load() }

// BadHeaders is how many connections were closed because their PROXY header was
// missing, malformed or late.
func (l *Listener) BadHeaders() uint64 { return l.badHeaders.Load() }

// shook counts a handshake.
func (l *Listener) shook(resumed bool) {
	if resumed {
		l.handshakes[1].Add(1)
	} else {
		l.handshakes[0].Add(1)
	}
}

// told are what crypto/tls says in words only.
var told = []struct {
	words  string
	reason reason
}{
	{"offered only unsupported versions", reasonVersion},
	{"unsupported SSLv2", reasonVersion},
	{"no cipher suite supported by both", reasonNothingShared},
	{"no key exchanges supported by both", reasonNothingShared},
	{"no ECDHE curve supported by both", reasonNothingShared},
	{"peer doesn't support any of the certificate's signature algorithms", reasonNothingShared},
	{"requested unsupported application protocols", reasonNothingShared},
	{"client didn't provide a certificate", reasonClientCert},
	{"failed to verify certificate", reasonClientCert},
	{"client certificate", reasonClientCert},
}

// reasonOf tells why a handshake failed.
func reasonOf(err error) reason {
	var header tls.RecordHeaderError
	var timeout net.Error
	var operation *net.OpError
	switch {
	case errors.As(err, &header) && header.Conn != nil:
		if looksLikeHTTP(header.RecordHeader) {
			return reasonPlainHTTP
		}
		return reasonNotTLS
	case errors.As(err, &timeout) && timeout.Timeout():
		return reasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return reasonClosed
	case errors.As(err, &operation) && operation.Op == "remote error":
		return reasonByClient
	}
	for _, t := range told {
		if strings.Contains(err.Error(), t.words) {
			return t.reason
		}
	}
	return reasonOther
}

// looksLikeHTTP says whether a request begins like this.
func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO", "TRACE", "CONNE":
		return true
	default:
		return false
	}
}
