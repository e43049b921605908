package config_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"net"
	"sync"
	"time"
)

// today is when the corpus is read.
var today = time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)

// credential is a file of the folder tls/ that the corpus reads. The files are made
// once for the test binary: no private key stands in the repository.
func credential(name string) ([]byte, error) {
	if text, ok := credentials()[name]; ok {
		return text, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

var credentials = sync.OnceValue(makeCredentials)

func makeCredentials() map[string][]byte {
	m := maker{files: make(map[string][]byte), year: time.Date(2026, time.July, 1, 0, 0, 0, 0, time.UTC)}
	ca := m.authority("ca.pem", m.year)
	m.authority("ca-expired.pem", today.AddDate(0, 0, -1))
	m.server("a", ca, func(c *x509.Certificate) { c.DNSNames = []string{"a.example.com", "*.a.example.com"} })
	m.server("b", ca, func(c *x509.Certificate) { c.DNSNames = []string{"b.example.com"} })
	m.server("b-2", ca, func(c *x509.Certificate) { c.DNSNames = []string{"x.example.com", "B.example.com"} })
	m.server("expired", ca, func(c *x509.Certificate) { c.DNSNames, c.NotAfter = []string{"e.example.com"}, today.AddDate(0, 0, -1) })
	m.server("soon", ca, func(c *x509.Certificate) { c.DNSNames, c.NotAfter = []string{"s.example.com"}, today.AddDate(0, 0, 3) })
	m.server("early", ca, func(c *x509.Certificate) { c.DNSNames, c.NotBefore = []string{"f.example.com"}, today.AddDate(0, 0, 2) })
	m.server("nameless", ca, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "n.example.com"} })
	m.server("client", ca, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"c.example.com"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	weak, _ := rsa.GenerateKey(rand.Reader, 1024) // a failure shows in the corpus
	m.sign("weak", ca, weak, func(c *x509.Certificate) { c.DNSNames = []string{"w.example.com"} })
	strong, _ := rsa.GenerateKey(rand.Reader, 2048) // as above
	m.sign("b-rsa", ca, strong, func(c *x509.Certificate) { c.DNSNames = []string{"b.example.com"} })
	m.files["shuffled.pem"] = append(append([]byte(nil), m.files["a.pem"]...), m.files["b.pem"]...)
	m.files["chain.pem"] = append(append([]byte(nil), m.files["a.pem"]...), m.files["ca.pem"]...)
	m.files["open.key"] = m.files["a.key"]
	m.files["two.key"] = append(append([]byte(nil), m.files["a.key"]...), m.files["b.key"]...)
	m.files["encrypted.key"] = pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}})
	m.files["broken.key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("s3cr3t")})
	m.files["broken.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})
	m.files["text.pem"] = []byte("a certificate, I swear\n")
	return m.files
}

type maker struct {
	files map[string][]byte
	year  time.Time // when most certificates end
	next  int64
}

// signer is an authority with its key.
type signer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func (m *maker) authority(name string, end time.Time) signer {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // does not fail
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: today.AddDate(-1, 0, 0), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return signer{m.issue(name, t, signer{t, key}, key), key}
}

func (m *maker) server(name string, by signer, change func(*x509.Certificate)) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // does not fail
	m.sign(name, by, key, change)
}

func (m *maker) sign(name string, by signer, key crypto.Signer, change func(*x509.Certificate)) {
	t := &x509.Certificate{
		NotBefore: today.AddDate(-1, 0, 0), NotAfter: m.year, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP(nil),
	}
	change(t)
	m.issue(name+".pem", t, by, key)
	der, _ := x509.MarshalPKCS8PrivateKey(key) // does not fail for these kinds
	m.files[name+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (m *maker) issue(name string, t *x509.Certificate, by signer, key crypto.Signer) *x509.Certificate {
	m.next++
	t.SerialNumber = big.NewInt(m.next)
	der, err := x509.CreateCertificate(rand.Reader, t, by.certificate, key.Public(), by.key)
	if err != nil {
		panic(err)
	}
	m.files[name] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}
