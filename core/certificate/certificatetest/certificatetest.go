// Package certificatetest makes authorities and certificates for tests, so that no
// private key stands in the repository.
package certificatetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate"
)

// Authority signs certificates.
type Authority struct {
	// PEM is its own certificate.
	PEM string
	// Pool holds it alone.
	Pool *x509.CertPool

	own *x509.Certificate
	key crypto.Signer
}

// Leaf is a certificate with its key.
type Leaf struct {
	Certificate, Key string // in PEM form
	Pair             *certificate.Pair
}

// NewAuthority makes an authority that is valid now.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key := newKey(t)
	own := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &Authority{own: own, key: key, Pool: x509.NewCertPool()}
	der := a.sign(t, own, key)
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("reading an authority: %v", err)
	}
	a.own = parsed
	a.Pool.AddCert(parsed)
	a.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a key: %v", err)
	}
	return key
}

// Issue makes a certificate for names, which may be addresses, valid now.
func (a *Authority) Issue(t testing.TB, names ...string) *Leaf {
	t.Helper()
	return a.IssueWith(t, newKey(t), func(c *x509.Certificate) {
		for _, name := range names {
			if ip := net.ParseIP(name); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, name)
			}
		}
	})
}

// IssueWith is Issue with a key, and a last say about the certificate.
func (a *Authority) IssueWith(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *Leaf {
	t.Helper()
	c := &x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(c)
	leaf := &Leaf{Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.sign(t, c, key)}))}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("writing a key: %v", err)
	}
	leaf.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if leaf.Pair, err = certificate.Parse(leaf.Certificate, leaf.Key); err != nil {
		t.Fatalf("reading a certificate: %v", err)
	}
	return leaf
}

func (a *Authority) sign(t testing.TB, c *x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatalf("making a serial number: %v", err)
	}
	c.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, c, a.own, key.Public(), a.key)
	if err != nil {
		t.Fatalf("signing a certificate: %v", err)
	}
	return der
}

// TLS is what crypto/tls takes, for clients as well.
func (l *Leaf) TLS() tls.Certificate { return l.Pair.TLS }

// Write writes name.pem and name.key into dir, and replaces what stands there as
// those who renew certificates do.
func (l *Leaf) Write(t testing.TB, dir, name string) (certificateFile, keyFile string) {
	t.Helper()
	certificateFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, text := range map[string]string{certificateFile: l.Certificate, keyFile: l.Key} {
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatalf("writing a certificate: %v", err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatalf("writing a certificate: %v", err)
		}
	}
	return certificateFile, keyFile
}
