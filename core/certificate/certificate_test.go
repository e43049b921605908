package certificate_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate"
)

var now = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// selfSigned is a certificate of its own making.
func selfSigned(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) string {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(1, 0, 0), DNSNames: []string{"a.example.com"},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ec(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(curve, rand.Reader))
}

func pkcs8(t testing.TB, key any) string {
	return block("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
}

// TestForms: every form in which keys are handed over is read, and serves TLS.
func TestForms(t *testing.T) {
	t.Parallel()
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := ec(t, elliptic.P384())
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parameters := block("EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34})
	tests := []struct {
		name, text string
		key        crypto.Signer
		algorithm  string
	}{
		{"PKCS #8 RSA", pkcs8(t, rsaKey), rsaKey, "RSA"},
		{"PKCS #1", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), rsaKey, "RSA"},
		{"PKCS #8 ECDSA", pkcs8(t, ecKey), ecKey, "ECDSA"},
		{"SEC 1 behind parameters", parameters + block("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(ecKey))), ecKey, "ECDSA"},
		{"Ed25519 with notes", "a note\n" + pkcs8(t, edKey), edKey, "Ed25519"},
	}
	for _, tt := range tests {
		p, err := certificate.Parse("a note\n"+selfSigned(t, tt.key, nil), tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if p.Algorithm() != tt.algorithm || !slices.Equal(p.Names(), []string{"a.example.com"}) || p.TLS.Leaf != p.Leaf {
			t.Errorf("%s: got %s for %v", tt.name, p.Algorithm(), p.Names())
		}
		handshake(t, tt.name, p)
	}
}

// handshake serves one with the pair.
func handshake(t *testing.T, name string, p *certificate.Pair) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(p.Leaf)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, &tls.Config{Certificates: []tls.Certificate{p.TLS}}).Handshake() }()
	client := tls.Client(b, &tls.Config{ServerName: "a.example.com", RootCAs: roots, Time: func() time.Time { return now }})
	if err := client.Handshake(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if err := <-done; err != nil {
		t.Errorf("%s: the server: %v", name, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	key, other := ec(t, elliptic.P256()), ec(t, elliptic.P256())
	good := selfSigned(t, key, nil)
	weak := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	odd := ec(t, elliptic.P224())
	x := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	tests := []struct{ name, certificate, key, want string }{
		{"nothing", "", "", "certificate: want certificates in PEM form, got none"},
		{"no key", good, good, "key: want a private key in PEM form, got none"},
		{"broken certificate", block("CERTIFICATE", []byte{1}), pkcs8(t, key), "certificate: want certificates in PEM form, got one that can't be parsed: malformed certificate"},
		{"broken chain", good + block("CERTIFICATE", nil), pkcs8(t, key), "certificate: want certificates in PEM form, got one that can't be parsed: malformed certificate"},
		{"broken key", good, block("PRIVATE KEY", []byte("s3cr3t")), "key: want a private key in PEM form, got one that can't be parsed"},
		{"two keys", good, pkcs8(t, key) + pkcs8(t, other), "key: want one private key, got several"},
		{"encrypted", good, block("ENCRYPTED PRIVATE KEY", []byte("s3cr3t")), "key: want a private key without a passphrase, got an encrypted one"},
		{"encrypted as of old", good, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}})),
			"key: want a private key without a passphrase, got an encrypted one"},
		{"foreign kind", good, block("DSA PRIVATE KEY", []byte("s3cr3t")), "key: want an RSA, ECDSA or Ed25519 key, got one of another kind"},
		{"can't sign", good, pkcs8(t, x), "key: want a key that can sign, got one that can't"},
		{"mismatch", good, pkcs8(t, other), "want the private key of the certificate, got that of another one"},
		{"mismatch of kinds", good, pkcs8(t, weak), "want the private key of the certificate, got that of another one"},
		{"weak RSA", selfSigned(t, weak, nil), pkcs8(t, weak), "want an RSA key of at least 2048 bits, got one of 1024"},
		{"odd curve", selfSigned(t, odd, nil), pkcs8(t, odd), "want an ECDSA key on P-256, P-384 or P-521, got one on P-224"},
	}
	for _, tt := range tests {
		if _, err := certificate.Parse(tt.certificate, tt.key); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := certificate.Join(nil, key); err == nil {
		t.Error("a pair without a certificate")
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	key := ec(t, elliptic.P256())
	tests := []struct {
		name, want string
		change     func(*x509.Certificate)
	}{
		{"fine", "", nil},
		{"expired", "the certificate has expired on 2026-02-28 23:59 UTC: clients refuse it", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }},
		{"not yet valid", "the certificate is not valid before 2026-03-01 01:00 UTC: clients refuse it until then", func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }},
		{"13 days left", "the certificate expires on 2026-03-14 00:00 UTC: renew it", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(-1, 0, 0), now.AddDate(0, 0, 13) }},
		{"15 days left", "", func(c *x509.Certificate) { c.NotAfter = now.AddDate(0, 0, 15) }},
		{"2 of 6 days left", "", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(0, 0, -4), now.AddDate(0, 0, 2) }},
		{"1 of 6 days left", "the certificate expires on 2026-03-02 00:00 UTC: renew it", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(0, 0, -5), now.AddDate(0, 0, 1) }},
		{"no name", "the certificate holds no name (subjectAltName): clients refuse it", func(c *x509.Certificate) { c.DNSNames = nil }},
		{"an address is a name", "", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)} }},
		{"for clients", "the certificate is not meant for servers (extendedKeyUsage): clients refuse it", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }},
		{"for anything", "", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }},
	}
	for _, tt := range tests {
		p := must[*certificate.Pair](t)(certificate.Parse(selfSigned(t, key, tt.change), pkcs8(t, key)))
		if got := strings.Join(p.Warnings(now), "|"); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		wrongTime := tt.name == "expired" || tt.name == "not yet valid"
		if p.Valid(now) == wrongTime {
			t.Errorf("%s: valid is %v", tt.name, !wrongTime)
		}
	}
	stranger := ec(t, elliptic.P256())
	p := must[*certificate.Pair](t)(certificate.Parse(selfSigned(t, key, nil)+selfSigned(t, stranger, nil), pkcs8(t, key)))
	if got := strings.Join(p.Warnings(now), "|"); got != "certificate 2 of the chain has not signed the one before it: some clients refuse such a chain" {
		t.Errorf("got %q", got)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	key := ec(t, elliptic.P256())
	p := must[*certificate.Pair](t)(certificate.Parse(selfSigned(t, key, func(c *x509.Certificate) {
		c.DNSNames = []string{"A.example.com", "a.example.com", "*.b.example.com"}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP("2001:db8::1")}
	}), pkcs8(t, key)))
	if want := []string{"a.example.com", "*.b.example.com"}; !slices.Equal(p.Names(), want) {
		t.Errorf("got %v, want %v", p.Names(), want)
	}
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	ca := func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }
	a, b := selfSigned(t, ec(t, elliptic.P256()), ca), selfSigned(t, ec(t, elliptic.P256()), func(c *x509.Certificate) { ca(c); c.NotAfter = now.Add(-time.Hour) })
	ab := must[*certificate.Authorities](t)(certificate.ReadAuthorities(a + b))
	ba := must[*certificate.Authorities](t)(certificate.ReadAuthorities(b + "note\n" + a + a))
	only := must[*certificate.Authorities](t)(certificate.ReadAuthorities(a))
	if ab.Fingerprint != ba.Fingerprint || ab.Fingerprint == only.Fingerprint {
		t.Error("fingerprints tell the same apart, or not what differs")
	}
	if got := strings.Join(ab.Warnings(now), "|"); got != "the authority's certificate (number 2) has expired on 2026-02-28 23:00 UTC: nothing that it signed is accepted" {
		t.Errorf("got %q", got)
	}
	if got := only.Warnings(now); got != nil {
		t.Errorf("got %q", got)
	}
	leaf := selfSigned(t, ec(t, elliptic.P256()), func(c *x509.Certificate) { c.BasicConstraintsValid = true })
	for text, want := range map[string]string{
		a + leaf: "want certificates of authorities, got one (number 2) that may not sign others",
		"":       "want certificates in PEM form, got none",
	} {
		if _, err := certificate.ReadAuthorities(text); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// FuzzParse: no text makes it panic, and no message quotes a key.
func FuzzParse(f *testing.F) {
	key := ec(f, elliptic.P256())
	good := selfSigned(f, key, nil)
	f.Add(good, pkcs8(f, key))
	f.Add(good+good, "s3cr3t")
	f.Add("-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, chain, key string) {
		if p, err := certificate.Parse(chain, key); err == nil {
			p.Warnings(now)
			p.Names()
		}
		if a, err := certificate.ReadAuthorities(chain); err == nil {
			a.Warnings(now)
		}
	})
}
