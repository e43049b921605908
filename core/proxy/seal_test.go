package proxy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/upstream"
)

// sealer writes records of TLS 1.3 by hand, so that tests can send at any time what
// servers send when they like: session tickets, new keys, halves of records.
type sealer struct {
	t      testing.TB
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

// Types of records and messages (RFC 8446 §4, §5.1).
const (
	typeHandshake = 22
	typeData      = 23
	messageTicket = 4
	messageKeys   = 24
)

func newSealer(t testing.TB, secret []byte) *sealer {
	s := &sealer{t: t}
	s.use(secret)
	return s
}

// use takes the keys that a traffic secret stands for (RFC 8446 §7.3).
func (s *sealer) use(secret []byte) {
	block, err := aes.NewCipher(s.expand(secret, "key", 16))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.aead, err = cipher.NewGCM(block); err != nil {
		s.t.Fatal(err)
	}
	s.secret, s.iv, s.seq = secret, s.expand(secret, "iv", 12), 0
}

func (s *sealer) expand(secret []byte, label string, length int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), length)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// record seals one record.
func (s *sealer) record(kind byte, content string) string {
	nonce := append([]byte(nil), s.iv...)
	for i := range 8 {
		nonce[4+i] ^= byte(s.seq >> (56 - 8*i))
	}
	s.seq++
	inner := append([]byte(content), kind)
	head := []byte{typeData, 3, 3}
	head = binary.BigEndian.AppendUint16(head, uint16(len(inner)+s.aead.Overhead()))
	return string(s.aead.Seal(head, nonce, inner, head))
}

func (s *sealer) data(text string) string { return s.record(typeData, text) }

// ticket is a NewSessionTicket (RFC 8446 §4.6.1).
func (s *sealer) ticket() string {
	body := "\x00\x00\x0e\x10" + "\x01\x02\x03\x04" + "\x01n" + "\x00\x06ticket" + "\x00\x00"
	return s.record(typeHandshake, string([]byte{messageTicket, 0, 0, byte(len(body))})+body)
}

// keys is a KeyUpdate that asks for the other side's (RFC 8446 §4.6.3). What follows
// is sealed with the next keys.
func (s *sealer) keys() string {
	out := s.record(typeHandshake, string([]byte{messageKeys, 0, 0, 1, 1}))
	s.use(s.expand(s.secret, "traffic upd", sha256.Size))
	return out
}

// secrets keeps what a server logs of its keys, by the random value of the client.
type secrets struct {
	mu   sync.Mutex
	text strings.Builder
}

func (k *secrets) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(p)
}

// last is the server's traffic secret of the last handshake.
func (k *secrets) last(t testing.TB) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	lines := strings.Split(k.text.String(), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if fields := strings.Fields(lines[i]); len(fields) == 3 && fields[0] == "SERVER_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
	}
	t.Fatal("no secret was logged")
	return nil
}

// newSealedOrigin is an origin whose answers serve seals by hand, one connection
// after the other. It reads requests as ever.
func newSealedOrigin(t testing.TB, serve func(*link, *sealer)) *origin {
	t.Helper()
	authority := certificatetest.NewAuthority(t)
	leaf := authority.Issue(t, "origin.test")
	var log secrets
	config := &tls.Config{Certificates: []tls.Certificate{leaf.Pair.TLS}, SessionTicketsDisabled: true, KeyLogWriter: &log, MinVersion: tls.VersionTLS13}
	spec := upstream.TLS{ServerName: "origin.test", Minimum: tls.VersionTLS13, Authorities: authority.PEM}
	return newSecureOrigin(t, config, spec, func(l *link) {
		secure := l.Conn.(*tls.Conn)
		if err := secure.Handshake(); err != nil {
			return
		}
		if suite := secure.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
			t.Errorf("the suite is %s", tls.CipherSuiteName(suite))
			return
		}
		serve(l, newSealer(t, log.last(t)))
	})
}

// sendRaw sends bytes below TLS.
func (l *link) sendRaw(s string) { _, _ = l.raw.Write([]byte(s)) }
