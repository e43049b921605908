// Package certificate reads what operators hand over for TLS: chains, private
// keys and authorities in PEM form. It says what is wrong with them in words that
// tell what to change.
//
// What is read is immutable. The functions are safe for concurrent use.
package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pair is a certificate with the chain that leads to its authority, and its
// private key.
type Pair struct {
	// Leaf is the certificate itself.
	Leaf *x509.Certificate
	// TLS is what crypto/tls takes.
	TLS tls.Certificate

	chain []*x509.Certificate
}

// smallestRSA is the least modulus that is safe to rely on, in bits (NIST SP
// 800-131A).
const smallestRSA = 2048

// The blocks of a PEM file that mean something here.
const (
	blockCertificate = "CERTIFICATE"
	blockPKCS8       = "PRIVATE KEY"
	blockPKCS1       = "RSA PRIVATE KEY"
	blockEC          = "EC PRIVATE KEY"
)

// Chain reads certificates, the server's own first. Other blocks of the text,
// such as parameters of a curve, are passed over.
func Chain(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != blockCertificate {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("want certificates in PEM form, got one that can't be parsed: %s", strings.TrimPrefix(err.Error(), "x509: "))
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("want certificates in PEM form, got none")
	}
	return out, nil
}

// Key reads the one private key of a text. No error quotes any of it.
func Key(text string) (crypto.Signer, error) {
	var keys []*pem.Block
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			keys = append(keys, block)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("want a private key in PEM form, got none")
	case len(keys) > 1:
		return nil, errors.New("want one private key, got several")
	}
	return parseKey(keys[0])
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, errors.New("want a private key without a passphrase, got an encrypted one")
	}
	var key any
	var err error
	switch block.Type {
	case blockPKCS8:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case blockPKCS1:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case blockEC:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, errors.New("want an RSA, ECDSA or Ed25519 key, got one of another kind")
	}
	if err != nil {
		// The error is dropped: it may hold a part of the key.
		return nil, errors.New("want a private key in PEM form, got one that can't be parsed")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("want a key that can sign, got one that can't")
	}
	return signer, nil
}

// Join makes a pair of a chain and the key of its first certificate.
func Join(chain []*x509.Certificate, key crypto.Signer) (*Pair, error) {
	if len(chain) == 0 {
		return nil, errors.New("want at least one certificate")
	}
	leaf := chain[0]
	if err := strong(leaf.PublicKey); err != nil {
		return nil, err
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("want the private key of the certificate, got that of another one")
	}
	p := &Pair{Leaf: leaf, chain: chain, TLS: tls.Certificate{PrivateKey: key, Leaf: leaf}}
	for _, c := range chain {
		p.TLS.Certificate = append(p.TLS.Certificate, c.Raw)
	}
	return p, nil
}

// Parse is Chain, Key and Join in one, for texts that were checked before.
func Parse(certificate, key string) (*Pair, error) {
	chain, err := Chain(certificate)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	signer, err := Key(key)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return Join(chain, signer)
}

// strong refuses public keys that are too weak to rely on, or that TLS has no
// signature for.
func strong(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < smallestRSA {
			return fmt.Errorf("want an RSA key of at least %d bits, got one of %d", smallestRSA, bits)
		}
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return fmt.Errorf("want an ECDSA key on P-256, P-384 or P-521, got one on %s", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return errors.New("want an RSA, ECDSA or Ed25519 certificate, got one of another kind")
	}
	return nil
}

// Algorithm names the kind of the key: two certificates of one name with
// different ones serve different clients.
func (p *Pair) Algorithm() string { return p.Leaf.PublicKeyAlgorithm.String() }

// Names are the host names of the certificate in lower case, wildcards among
// them. The subject's common name is none: no client looks at it any more.
func (p *Pair) Names() []string {
	var out []string
	for _, name := range p.Leaf.DNSNames {
		if name = strings.ToLower(name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Valid says whether now lies in the time that the certificate is good for.
func (p *Pair) Valid(now time.Time) bool {
	return !now.Before(p.Leaf.NotBefore) && !now.After(p.Leaf.NotAfter)
}

// Same says whether two pairs are the same chain with the same key.
func (p *Pair) Same(q *Pair) bool {
	return slices.EqualFunc(p.TLS.Certificate, q.TLS.Certificate, bytes.Equal)
}

// soon is how long before its end a certificate should have been renewed.
const soon = 14 * 24 * time.Hour

// soonShare is the same as a part of its life: certificates of a few days are
// renewed late on purpose.
const soonShare = 5

// Warnings are what is doubtful about a pair that is shown to clients, though it
// works.
func (p *Pair) Warnings(now time.Time) []string {
	out := p.ageing(now, "clients refuse")
	if len(p.Leaf.DNSNames)+len(p.Leaf.IPAddresses) == 0 {
		out = append(out, "the certificate holds no name (subjectAltName): clients refuse it")
	}
	if !p.meant(x509.ExtKeyUsageServerAuth) {
		out = append(out, "the certificate is not meant for servers (extendedKeyUsage): clients refuse it")
	}
	return append(out, p.broken()...)
}

// ClientWarnings are what is doubtful about a pair that is shown to services, though
// it works.
func (p *Pair) ClientWarnings(now time.Time) []string {
	out := p.ageing(now, "services refuse")
	if !p.meant(x509.ExtKeyUsageClientAuth) {
		out = append(out, "the certificate is not meant for clients (extendedKeyUsage): services refuse it")
	}
	return append(out, p.broken()...)
}

// ageing tells of a certificate that is not good now, or not for long; refuse says
// who does.
func (p *Pair) ageing(now time.Time, refuse string) []string {
	life := p.Leaf.NotAfter.Sub(p.Leaf.NotBefore)
	switch left := p.Leaf.NotAfter.Sub(now); {
	case left < 0:
		return []string{"the certificate has expired on " + date(p.Leaf.NotAfter) + ": " + refuse + " it"}
	case now.Before(p.Leaf.NotBefore):
		return []string{"the certificate is not valid before " + date(p.Leaf.NotBefore) + ": " + refuse + " it until then"}
	case left < min(soon, life/soonShare):
		return []string{"the certificate expires on " + date(p.Leaf.NotAfter) + ": renew it"}
	}
	return nil
}

// meant says whether the certificate may be used so.
func (p *Pair) meant(usage x509.ExtKeyUsage) bool {
	all := p.Leaf.ExtKeyUsage
	return len(all) == 0 || slices.Contains(all, usage) || slices.Contains(all, x509.ExtKeyUsageAny)
}

// broken tells of certificates of the chain that don't lead on.
func (p *Pair) broken() (out []string) {
	for i, c := range p.chain[1:] {
		if p.chain[i].CheckSignatureFrom(c) != nil {
			out = append(out, fmt.Sprintf("certificate %d of the chain has not signed the one before it: some clients refuse such a chain", i+2))
		}
	}
	return out
}

// date is a day and hour as operators read it.
func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// Authorities are certificates of those who sign, to verify others with.
type Authorities struct {
	// Pool is what crypto/tls takes.
	Pool *x509.CertPool
	// Fingerprint tells two sets apart: it is the same for the same certificates
	// in any order.
	Fingerprint string

	all []*x509.Certificate
}

// ReadAuthorities reads the certificates of authorities.
func ReadAuthorities(text string) (*Authorities, error) {
	a, err := ReadTrusted(text)
	if err != nil {
		return nil, err
	}
	for i, c := range a.all {
		if c.BasicConstraintsValid && !c.IsCA {
			return nil, fmt.Errorf("want certificates of authorities, got one (number %d) that may not sign others", i+1)
		}
	}
	return a, nil
}

// ReadTrusted reads certificates that are trusted as they are, those of authorities
// and those of single servers: whoever shows one of these needs no authority.
func ReadTrusted(text string) (*Authorities, error) {
	all, err := Chain(text)
	if err != nil {
		return nil, err
	}
	a := &Authorities{Pool: x509.NewCertPool(), all: all}
	sums := make([]string, 0, len(all))
	for _, c := range all {
		a.Pool.AddCert(c)
		sum := sha256.Sum256(c.Raw)
		sums = append(sums, hex.EncodeToString(sum[:]))
	}
	slices.Sort(sums)
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(sums), "\n")))
	a.Fingerprint = hex.EncodeToString(sum[:])
	return a, nil
}

// Warnings are what is doubtful about the authorities, though they work.
func (a *Authorities) Warnings(now time.Time) []string {
	var out []string
	for i, c := range a.all {
		if now.After(c.NotAfter) {
			out = append(out, fmt.Sprintf("the authority's certificate (number %d) has expired on %s: nothing that it signed is accepted", i+1, date(c.NotAfter)))
		}
	}
	return out
}
