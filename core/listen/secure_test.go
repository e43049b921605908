package listen

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/socket"
)

// credentials are those of certificates without clients' ones.
func credentials(t testing.TB, leaves ...*certificatetest.Leaf) *Credentials {
	t.Helper()
	var all []Certificate
	for _, leaf := range leaves {
		all = append(all, Certificate{Pair: leaf.Pair})
	}
	return compiled(t, tls.VersionTLS12, all...)
}

func compiled(t testing.TB, minimum uint16, all ...Certificate) *Credentials {
	t.Helper()
	c, err := NewCredentials(minimum, all)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asking is a certificate that asks clients for one of an authority.
func asking(t testing.TB, leaf *certificatetest.Leaf, of *certificatetest.Authority, how tls.ClientAuthType) Certificate {
	t.Helper()
	authorities, err := certificate.ReadAuthorities(of.PEM)
	if err != nil {
		t.Fatal(err)
	}
	return Certificate{Pair: leaf.Pair, ClientAuth: how, Authorities: authorities}
}

// secureDial makes a handshake.
func (s *server) secureDial(t testing.TB, config *tls.Config) *client {
	t.Helper()
	c, err := s.tryDial(t, config)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return c
}

func (s *server) tryDial(t testing.TB, config *tls.Config) (*client, error) {
	t.Helper()
	c := s.dial(t)
	c.wire = &recording{TCPConn: c.TCPConn}
	c.secure = tls.Client(c.wire, config)
	if err := c.secure.Handshake(); err != nil {
		return c, err
	}
	c.w, c.r = c.secure, bufio.NewReader(c.secure)
	return c, nil
}

// overTLS is a server with one certificate, and how clients reach it.
func overTLS(t testing.TB, o Options, h func(*fasthttp.RequestCtx, *Conn)) (*server, *tls.Config) {
	t.Helper()
	ca := certificatetest.NewAuthority(t)
	o.Credentials = credentials(t, ca.Issue(t, "a.example.com"))
	return serve(t, o, h), &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com"}
}

// TestOP2_Exchange: versions, kept-alive connections, pipelining, bodies of all
// sizes in records of all sizes.
func TestOP2_Exchange(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{HeaderTimeout: waitAtMost, BodyTimeout: waitAtMost, IdleTimeout: waitAtMost, WriteTimeout: waitAtMost}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		if !ctx.IsTLS() || ctx.TLSConnectionState() == nil || c.TLS() == nil {
			t.Error("the connection does not show that it is one of TLS")
		}
		body, err := io.ReadAll(io.MultiReader(bytes.NewReader(nil), streamOf(ctx)))
		if err != nil || c.Truncated() {
			t.Errorf("reading a body: %v", err)
		}
		ctx.SetBodyString(fmt.Sprintf("%s %d", ctx.Path(), len(body)))
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := config.Clone()
		config.MinVersion, config.MaxVersion = version, version
		c := s.secureDial(t, config)
		if state := c.secure.ConnectionState(); state.Version != version || state.NegotiatedProtocol != "" {
			t.Errorf("got version %x and protocol %q", state.Version, state.NegotiatedProtocol)
		}
		for _, size := range []int{0, 1, 1000, 20_000, 300_000} {
			c.send(post("/a", strings.Repeat("x", size)), get("/b"), get("/c"))
			want := fmt.Sprintf("200 /a %d,200 /b 0,200 /c 0", size)
			if got := c.answer() + "," + c.answer() + "," + c.answer(); got != want {
				t.Errorf("%x: got %s, want %s", version, got, want)
			}
		}
		for _, b := range []byte(post("/slow", "123")) { // each in a record of its own
			c.send(string(b))
		}
		if got := c.answer(); got != "200 /slow 3" {
			t.Errorf("byte by byte: got %q", got)
		}
		_ = c.secure.Close()
	}
	eventually(t, "the connections end", func() bool { return s.Open() == 0 })
	if s.FullHandshakes() != 2 || s.ResumedHandshakes() != 0 || s.NonConforming() != 0 {
		t.Errorf("counted %d %d %d", s.FullHandshakes(), s.ResumedHandshakes(), s.NonConforming())
	}
}

func streamOf(ctx *fasthttp.RequestCtx) io.Reader {
	if r := ctx.RequestBodyStream(); r != nil {
		return r
	}
	return bytes.NewReader(nil)
}

// TestOP2_OldAndWeak: what is too old or too weak is refused, and counted.
func TestOP2_OldAndWeak(t *testing.T) {
	t.Parallel()
	ca := certificatetest.NewAuthority(t)
	s := serve(t, Options{Credentials: compiled(t, tls.VersionTLS13, Certificate{Pair: ca.Issue(t, "a.example.com").Pair})}, echo)
	old := serve(t, Options{Credentials: credentials(t, ca.Issue(t, "a.example.com"))}, echo)
	tests := []struct {
		name, reason string
		server       *server
		change       func(*tls.Config)
	}{
		{"1.2 where 1.3 is the least", "version", s, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }},
		{"1.1", "version", old, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
		{"no forward secrecy, CBC", "nothing_shared", old, func(c *tls.Config) {
			c.MaxVersion = tls.VersionTLS12
			c.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}},
		{"another protocol", "nothing_shared", old, func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }},
		{"a client that does not know our authority", "refused_by_client", old, func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }},
	}
	for _, tt := range tests {
		config := &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com"}
		tt.change(config)
		before := tt.server.failed(tt.reason)
		if _, err := tt.server.tryDial(t, config); err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
		eventually(t, tt.name+" is counted", func() bool { return tt.server.failed(tt.reason) == before+1 })
	}
	for _, suite := range suites() {
		if name := tls.CipherSuiteName(suite); !strings.Contains(name, "ECDHE") || !strings.Contains(name, "GCM") && !strings.Contains(name, "POLY1305") {
			t.Errorf("%s is offered", name)
		}
	}
}

// failed is how many handshakes failed for a reason.
func (s *server) failed(reason string) uint64 {
	for _, f := range s.HandshakeFailures() {
		if f.Reason == reason {
			return f.Count()
		}
	}
	return 0
}

// TestOP2_SNI: the exact name, then the wildcard of one label, then the first.
func TestOP2_SNI(t *testing.T) {
	t.Parallel()
	ca := certificatetest.NewAuthority(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	both := func(c *x509.Certificate) { c.DNSNames = []string{"both.example.com"} }
	s := serve(t, Options{Credentials: credentials(t, ca.Issue(t, "First.example.com", "127.0.0.1", "2001:db8::1"), ca.Issue(t, "*.example.com"), ca.Issue(t, "x.example.com", "*.x.example.com"),
		ca.IssueWith(t, key, both), ca.Issue(t, "both.example.com"))}, echo)
	tests := []struct{ ask, want string }{
		{"first.example.com", "First.example.com"},
		{"FIRST.example.com", "First.example.com"},
		{"x.example.com", "x.example.com"},
		{"y.example.com", "*.example.com"},
		{"y.x.example.com", "x.example.com"},
		{"y.y.example.com", "First.example.com"},
		{"example.com", "First.example.com"},
		{"example.org", "First.example.com"},
		{"", "First.example.com"},
	}
	for _, tt := range tests {
		c := s.secureDial(t, &tls.Config{InsecureSkipVerify: true, ServerName: tt.ask})
		leaf := c.secure.ConnectionState().PeerCertificates[0]
		if leaf.DNSNames[0] != tt.want {
			t.Errorf("%q: got the certificate of %v, want %s", tt.ask, leaf.DNSNames, tt.want)
		}
	}
	for suite, want := range map[uint16]x509.PublicKeyAlgorithm{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: x509.RSA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: x509.ECDSA,
	} {
		c := s.secureDial(t, &tls.Config{RootCAs: ca.Pool, ServerName: "both.example.com", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if got := c.secure.ConnectionState().PeerCertificates[0].PublicKeyAlgorithm; got != want {
			t.Errorf("got a certificate of %v, want one of %v", got, want)
		}
	}
	shown := s.Credentials()
	for host, want := range map[string]bool{
		"first.example.com": true, "y.example.com": true, "127.0.0.1": true, "[2001:db8::1]": true,
		"y.y.example.com": false, "evil.com": false, "": false, ".example.com": false, "127.0.0.2": false, "2001:db8::1": false,
	} {
		if shown.Covers([]byte(host)) != want {
			t.Errorf("covers %q: want %v", host, want)
		}
	}
	if len(shown.Certificates()) != 5 || shown.Minimum() != tls.VersionTLS12 {
		t.Errorf("got %d certificates", len(shown.Certificates()))
	}
}

func TestNewCredentials(t *testing.T) {
	t.Parallel()
	if _, err := NewCredentials(tls.VersionTLS12, nil); err == nil {
		t.Error("credentials of nothing")
	}
	ca := certificatetest.NewAuthority(t)
	nameless := Certificate{Pair: ca.Issue(t).Pair}
	if _, err := NewCredentials(tls.VersionTLS11, []Certificate{nameless}); err == nil {
		t.Error("TLS 1.1")
	}
	wild := Certificate{Pair: ca.Issue(t, "*.example.com").Pair}
	for _, one := range []Certificate{nameless, wild} {
		c := compiled(t, tls.VersionTLS12, one)
		if got := c.identify(nil); got == nil || got.certificates[0].Pair != one.Pair {
			t.Errorf("nobody's name finds %v", got)
		}
	}
}

// TestOP2_ALPN: HTTP/1.1 is agreed on where a client offers it.
func TestOP2_ALPN(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{}, echo)
	config.NextProtos = []string{"h2", "http/1.1"}
	c := s.secureDial(t, config)
	if got := c.secure.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("got %q", got)
	}
}

// TestOP2_Reload: certificates are replaced under open connections, and a session
// goes on.
func TestOP2_Reload(t *testing.T) {
	t.Parallel()
	ca := certificatetest.NewAuthority(t)
	before, after := ca.Issue(t, "a.example.com"), ca.Issue(t, "a.example.com")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := serve(t, Options{Credentials: credentials(t, before)}, echo)
		config := &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		c := s.secureDial(t, config)
		c.send(get("/"))
		if got := c.code(); got != "200" {
			t.Errorf("got %q", got)
		}
		s.SetCredentials(credentials(t, after))
		c.send(get("/"))
		if got := c.code(); got != "200" {
			t.Errorf("the connection of before: %q", got)
		}
		again := s.secureDial(t, config)
		again.send(get("/"))
		if got := again.code(); got != "200" || !again.secure.ConnectionState().DidResume || s.ResumedHandshakes() != 1 {
			t.Errorf("%x: got %q; resumed: %v", version, got, again.secure.ConnectionState().DidResume)
		}
		config.ClientSessionCache = nil
		fresh := s.secureDial(t, config)
		if got := fresh.secure.ConnectionState().PeerCertificates[0]; !got.Equal(after.Pair.Leaf) {
			t.Errorf("%x: a new connection gets the old certificate", version)
		}
	}
}

// TestOP2_ClientCertificates: required, optional, of whom; and sessions are no way
// around a rule.
func TestOP2_ClientCertificates(t *testing.T) {
	t.Parallel()
	ca, partners, others := certificatetest.NewAuthority(t), certificatetest.NewAuthority(t), certificatetest.NewAuthority(t)
	leaf := ca.Issue(t, "a.example.com")
	partner, other := partners.Issue(t, "partner"), others.Issue(t, "other")
	handler := func(ctx *fasthttp.RequestCtx, c *Conn) {
		who := "nobody"
		if chain := c.TLS().VerifiedChains; len(chain) > 0 {
			who = chain[0][0].DNSNames[0]
		}
		ctx.SetBodyString(who)
	}
	tests := []struct {
		name string
		how  tls.ClientAuthType
		show *certificatetest.Leaf
		want string
	}{
		{"required, shown", tls.RequireAndVerifyClientCert, partner, "200 partner"},
		{"required, none", tls.RequireAndVerifyClientCert, nil, ""},
		{"required, of another authority", tls.RequireAndVerifyClientCert, other, ""},
		{"optional, shown", tls.VerifyClientCertIfGiven, partner, "200 partner"},
		{"optional, none", tls.VerifyClientCertIfGiven, nil, "200 nobody"},
		{"optional, of another authority", tls.VerifyClientCertIfGiven, other, ""},
	}
	for _, tt := range tests {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := serve(t, Options{Credentials: compiled(t, tls.VersionTLS12, asking(t, leaf, partners, tt.how))}, handler)
			config := &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			if tt.show != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					shown := tt.show.TLS()
					return &shown, nil
				}
			}
			if tt.want == "" {
				refusedLate(t, tt.name, s, config)
				continue
			}
			for i := range 2 {
				c := s.secureDial(t, config)
				c.send(get("/"))
				if got := c.answer(); got != tt.want || c.secure.ConnectionState().DidResume != (i == 1) {
					t.Errorf("%s: got %q, resumed: %v", tt.name, got, c.secure.ConnectionState().DidResume)
				}
			}
			// The same session under another rule makes a whole handshake, or none.
			s.SetCredentials(compiled(t, tls.VersionTLS12, asking(t, leaf, others, tls.VerifyClientCertIfGiven)))
			config.GetClientCertificate = nil
			c := s.secureDial(t, config)
			c.send(get("/"))
			if got := c.answer(); got != "200 nobody" || c.secure.ConnectionState().DidResume {
				t.Errorf("%s: under another rule: got %q, resumed: %v", tt.name, got, c.secure.ConnectionState().DidResume)
			}
		}
	}
}

// refusedLate wants no answer: with TLS 1.3 a client knows only when it reads.
func refusedLate(t *testing.T, name string, s *server, config *tls.Config) {
	t.Helper()
	c, err := s.tryDial(t, config)
	if err == nil {
		_, _ = io.WriteString(c.secure, get("/")) // may be refused already
		_, err = c.r.ReadByte()
	}
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" {
		t.Errorf("%s: got %v", name, err)
	}
	eventually(t, name+" is counted", func() bool { return s.failed("client_certificate") == 1 })
	if s.handled.Load() != 0 {
		t.Errorf("%s: the handler ran", name)
	}
}

// TestL_Serves: a connection may not be asked for a host that asks for other
// certificates of clients than the one it named; also where that is new.
func TestL_Serves(t *testing.T) {
	t.Parallel()
	ca, partners := certificatetest.NewAuthority(t), certificatetest.NewAuthority(t)
	open, closed := ca.Issue(t, "open.example.com"), ca.Issue(t, "*.partner.example.com")
	partner := partners.Issue(t, "partner").TLS()
	conns := make(chan *Conn, 1)
	s := serve(t, Options{Credentials: compiled(t, tls.VersionTLS12, Certificate{Pair: open.Pair}, asking(t, closed, partners, tls.RequireAndVerifyClientCert))},
		func(_ *fasthttp.RequestCtx, c *Conn) { conns <- c })
	dial := func(name string) *Conn {
		c := s.secureDial(t, &tls.Config{RootCAs: ca.Pool, ServerName: name, Certificates: []tls.Certificate{partner}})
		c.send(get("/"))
		c.code()
		return <-conns
	}
	asOpen, asPartner := dial("open.example.com"), dial("a.partner.example.com")
	check := func(when string, want map[string][2]bool) {
		t.Helper()
		for host, w := range want {
			if got := [2]bool{asOpen.Serves([]byte(host)), asPartner.Serves([]byte(host))}; got != w {
				t.Errorf("%s, %s: got %v, want %v", when, host, got, w)
			}
		}
	}
	check("two rules", map[string][2]bool{
		"open.example.com": {true, false}, "a.partner.example.com": {false, true}, "b.partner.example.com": {false, true}, "127.0.0.1": {true, false}, "": {true, false},
	})
	s.SetCredentials(credentials(t, open, closed))
	check("one rule, not the partner's", map[string][2]bool{"open.example.com": {true, false}, "a.partner.example.com": {true, false}})
	plain := serve(t, Options{}, func(_ *fasthttp.RequestCtx, c *Conn) { conns <- c })
	c := plain.dial(t)
	c.send(get("/"))
	c.code()
	if held := <-conns; !held.Serves([]byte("anything")) || held.TLS() != nil {
		t.Error("a plain connection has rules")
	}
}

// TestPlainOnTLS: who speaks HTTP to a port of TLS is told so; who speaks anything
// else gets nothing that can be mistaken for an answer.
func TestPlainOnTLS(t *testing.T) {
	t.Parallel()
	s, _ := overTLS(t, Options{}, echo)
	c := s.dial(t)
	c.send(post("/", strings.Repeat("x", 100_000)))
	if got := c.code(); got != "400 this port speaks TLS: use https://" {
		t.Errorf("got %q", got)
	}
	c.ends()
	for in, reason := range map[string]string{"GET / HTTP/1.1\r\n\r\n": "plain_http", "SSH-2.0-x\r\n": "not_tls", "\x80\x2e\x01\x00\x02": "version", "\x16\x03\x01\x00": "closed", "": "closed"} {
		before := s.failed(reason)
		c := s.dial(t)
		c.send(in)
		_ = c.CloseWrite()
		rest, err := io.ReadAll(c.r)
		if err != nil || reason != "plain_http" && bytes.Contains(rest, []byte("HTTP")) {
			t.Errorf("%q: got %q, %v", in, rest, err)
		}
		eventually(t, in+" is counted", func() bool { return s.failed(reason) == before+1 })
	}
	if s.handled.Load()+s.refused.Load() != 0 {
		t.Errorf("the handlers ran %d and %d times", s.handled.Load(), s.refused.Load())
	}
}

// TestHandshakeDeadline: a handshake that stalls ends in time, and keeps nobody
// from connecting.
func TestHandshakeDeadline(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{HeaderTimeout: bearable}, echo)
	var stalled []*client
	for _, first := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		c := s.dial(t)
		c.send(first)
		stalled = append(stalled, c)
	}
	c := s.secureDial(t, config)
	c.send(get("/"))
	if got := c.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	for _, c := range stalled {
		if _, err := io.ReadAll(c.r); err != nil {
			t.Errorf("a stalled handshake ends with %v", err)
		}
	}
	eventually(t, "they are counted", func() bool { return s.failed("timeout") == 2 })
}

// TestHeadAfterHandshake: the first head has its own time, and is answered 408.
func TestHeadAfterHandshake(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{HeaderTimeout: bearable}, echo)
	c := s.secureDial(t, config)
	c.send("GET / HT")
	if got := c.code(); got != "408" {
		t.Errorf("got %q", got)
	}
	c.ends()
}

// TestSecureTruncation: an end of the connection inside a message is none, with
// the client's farewell and without.
func TestSecureTruncation(t *testing.T) {
	t.Parallel()
	results := make(chan string, 1)
	s, config := overTLS(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		body, err := io.ReadAll(streamOf(ctx))
		results <- fmt.Sprintf("%d bytes, %v, truncated: %v", len(body), err, c.Truncated())
	})
	chunked := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	for name, end := range map[string]func(*client){
		"farewell":         func(c *client) { _ = c.secure.CloseWrite() },
		"FIN alone":        func(c *client) { _ = c.CloseWrite() },
		"farewell and FIN": func(c *client) { _ = c.secure.CloseWrite(); _ = c.CloseWrite() },
		"inside a record":  func(c *client) { _, _ = c.TCPConn.Write([]byte{23, 3, 3, 1, 0, 7}); _ = c.CloseWrite() },
	} {
		c := s.secureDial(t, config)
		c.send(chunked)
		end(c)
		if got := <-results; !strings.HasSuffix(got, "truncated: true") || !strings.HasPrefix(got, "5 bytes") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestSecureFarewell: what ends by the end of the connection ends with an alert;
// what is aborted does not.
func TestSecureFarewell(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{}, func(ctx *fasthttp.RequestCtx, c *Conn) {
		switch string(ctx.Path()) {
		case "/abort":
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
			c.Abort()
			if !c.Gone() {
				t.Error("an aborted connection is not gone")
			}
		case "/last":
			ctx.SetConnectionClose()
		}
	})
	c := s.secureDial(t, config)
	c.send(get("/last"))
	if got := c.code(); got != "200" {
		t.Errorf("got %q", got)
	}
	if !c.saysFarewell() {
		t.Error("closing says no farewell")
	}
	c = s.secureDial(t, config)
	c.send(get("/abort"))
	if _, err := io.ReadAll(c.r); !errors.Is(err, syscall.ECONNRESET) || c.saysFarewell() {
		t.Errorf("aborted: %v", err)
	}
	idle := s.secureDial(t, config)
	idle.send(get("/"))
	idle.code()
	eventually(t, "the connection is idle", func() bool { return s.CloseIdle(0) == 1 })
	if !idle.saysFarewell() {
		t.Error("closing an idle connection says no farewell")
	}
}

// recording remembers all that came over a socket.
type recording struct {
	*net.TCPConn
	came bytes.Buffer
}

func (r *recording) Read(p []byte) (int, error) {
	n, err := r.TCPConn.Read(p)
	r.came.Write(p[:n])
	return n, err
}

// saysFarewell reads to the end, and looks whether the last record is a farewell.
func (c *client) saysFarewell() bool {
	_, _ = io.ReadAll(c.r) // the end may be a reset
	last := c.wire.came.Bytes()
	for len(last) >= recordHead && len(last) > recordHead+recordLength(last) {
		last = last[recordHead+recordLength(last):]
	}
	return isFarewell(last)
}

// TestPX5_SecureGone: a client that closes says farewell first, which is not taken
// for a request; one that sent more is not taken for gone.
func TestPX5_SecureGone(t *testing.T) {
	t.Parallel()
	conns := make(chan *Conn)
	proceed := make(chan struct{})
	s, config := overTLS(t, Options{}, func(_ *fasthttp.RequestCtx, c *Conn) {
		conns <- c
		<-proceed
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := config.Clone()
		config.MaxVersion = version
		begin := func(sent ...string) (*client, *Conn) {
			c := s.secureDial(t, config)
			c.send(sent...)
			got := <-conns
			if got.Gone() {
				t.Error("gone at once")
			}
			return c, got
		}
		c, held := begin(get("/"))
		if err := c.secure.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the farewell arrives", func() bool { return held.lookNow() == socket.Bytes })
		if held.Gone() {
			t.Error("gone though it waits for its answer")
		}
		_ = c.CloseWrite()
		eventually(t, "the end of the connection is seen", held.Gone)
		proceed <- struct{}{}

		c, held = begin(get("/"))
		_ = c.secure.Close()
		eventually(t, "a close is seen", held.Gone)
		proceed <- struct{}{}

		c, held = begin(get("/"))
		if err := c.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = c.TCPConn.Close()
		eventually(t, "a reset is seen", held.Gone)
		proceed <- struct{}{}

		c, held = begin(get("/"))
		c.send(get("/more"))
		_ = c.secure.CloseWrite()
		_ = c.CloseWrite()
		eventually(t, "the bytes arrive", func() bool { return held.lookNow() == socket.Bytes })
		if held.Gone() {
			t.Error("gone though a request waits in the socket")
		}
		proceed <- struct{}{}
		if held = <-conns; !held.Gone() {
			t.Error("not gone though nothing waits any more")
		}
		proceed <- struct{}{}

		// Both requests in one write, in one record: the second is held back.
		c, held = begin(get("/") + get("/more"))
		_ = c.CloseWrite()
		eventually(t, "the half-close arrives", func() bool { return held.lookNow() == socket.Ended })
		if held.Gone() {
			t.Error("gone though a request is held back")
		}
		proceed <- struct{}{}
		<-conns
		proceed <- struct{}{}
	}
}

// TestRecordsAhead: what crypto/tls has taken off the socket ahead of its time is
// as good as what is held back.
func TestRecordsAhead(t *testing.T) {
	t.Parallel()
	conns := make(chan *Conn)
	proceed := make(chan struct{})
	s, config := overTLS(t, Options{}, func(_ *fasthttp.RequestCtx, c *Conn) {
		conns <- c
		<-proceed
	})
	raw := s.dial(t)
	gate := &gathering{TCPConn: raw.TCPConn}
	secured := tls.Client(gate, config)
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	gate.hold = true
	for _, request := range []string{get("/a"), get("/b")} { // two records, one segment
		if _, err := io.WriteString(secured, request); err != nil {
			t.Fatal(err)
		}
	}
	gate.release(t)
	held := <-conns
	_ = raw.CloseWrite()
	eventually(t, "the half-close arrives", func() bool { return held.lookNow() == socket.Ended })
	if !held.ahead() || held.Gone() {
		t.Errorf("ahead: %v, gone: %v", held.ahead(), held.Gone())
	}
	if s.CloseIdle(0) != 0 {
		t.Error("closed as idle though a request has arrived")
	}
	proceed <- struct{}{}
	held = <-conns
	if held.ahead() || !held.Gone() {
		t.Errorf("behind the last request: ahead: %v, gone: %v", held.ahead(), held.Gone())
	}
	proceed <- struct{}{}
}

// gathering sends several writes as one.
type gathering struct {
	*net.TCPConn
	hold   bool
	gather bytes.Buffer
}

func (g *gathering) Write(p []byte) (int, error) {
	if g.hold {
		return g.gather.Write(p)
	}
	return g.TCPConn.Write(p)
}

func (g *gathering) release(t *testing.T) {
	t.Helper()
	if _, err := g.TCPConn.Write(g.gather.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// TestOneRecord: a small answer is one record.
func TestOneRecord(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{}, func(ctx *fasthttp.RequestCtx, _ *Conn) { ctx.SetBodyString(strings.Repeat("x", 900)) })
	c := s.secureDial(t, config)
	for range 8 { // held back for the next read, and not
		c.send(get("/"))
		c.answer()
		c.wire.came.Reset()
		c.send(get("/"))
		c.answer()
		var r records
		if begun := r.pass(c.wire.came.Bytes()); begun != 1 || r.inside() {
			t.Errorf("%d records for an answer", begun)
		}
	}
}

// TestRecords follows records however they are cut.
func TestRecords(t *testing.T) {
	t.Parallel()
	stream := []byte{22, 3, 1, 0, 2, 1, 2, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 0, 23, 3, 3, 1, 44}
	stream = append(stream, make([]byte, 300)...)
	for size := 1; size <= len(stream); size++ {
		var r records
		begun := 0
		for b := stream; len(b) > 0; {
			n := min(size, len(b))
			begun += r.pass(b[:n])
			b = b[n:]
			at := len(stream) - len(b)
			if want := at != 7 && at != 13 && at != 18 && at != len(stream); r.inside() != want {
				t.Fatalf("cut by %d, after %d bytes: inside is %v", size, at, r.inside())
			}
		}
		if begun != 4 {
			t.Errorf("cut by %d: %d records", size, begun)
		}
	}
}

// TestSecureDrain: connections that have asked nothing, or are shaking hands, are
// idle; a listener that closes all leaves nobody.
func TestSecureDrain(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{}, echo)
	silent, fresh, half := s.dial(t), s.secureDial(t, config), s.secureDial(t, config)
	half.send(get("/"))
	half.code()
	begun := func(want int) func() bool {
		return func() bool {
			n := 0
			for _, c := range s.connections() {
				if c.state.Load() != waiting {
					n++
				}
			}
			return s.FullHandshakes() == 2 && s.Open() == 3 && n == want
		}
	}
	eventually(t, "all three are idle", begun(0))
	half.send("GET / HT")
	eventually(t, "one has begun a request", begun(1))
	if n := s.CloseIdle(0); n != 2 {
		t.Errorf("%d are closed as idle", n)
	}
	half.send("TP/1.1\r\nHost: a\r\n\r\n")
	if got := half.code(); got != "200" {
		t.Errorf("what was begun is answered %q", got)
	}
	for _, c := range []*client{silent, fresh} {
		if _, err := io.ReadAll(c.r); err != nil {
			t.Errorf("an idle connection ends with %v", err)
		}
	}
	if s.CloseAll() > 1 {
		t.Error("more connections than there are")
	}
	if rest, _ := io.ReadAll(half.r); len(rest) > 0 { // in whatever way it ends
		t.Errorf("got %q", rest)
	}
}

// TestC13_SecureTotals: there is no answer before a handshake; the connection ends.
func TestC13_SecureTotals(t *testing.T) {
	t.Parallel()
	s, config := overTLS(t, Options{Totals: NewTotals(1, 0)}, echo)
	c := s.secureDial(t, config)
	if _, err := s.tryDial(t, config); err == nil {
		t.Error("one too many is accepted")
	}
	c.send(get("/"))
	if got := c.code(); got != "200" || s.RefusedFull() != 1 {
		t.Errorf("got %q, refused %d", got, s.RefusedFull())
	}
}

// TestSecureFlood: many clients at once, resuming or not, under changing
// certificates.
func TestSecureFlood(t *testing.T) {
	t.Parallel()
	ca := certificatetest.NewAuthority(t)
	s := serve(t, Options{Credentials: credentials(t, ca.Issue(t, "a.example.com"))}, echo)
	var clients sync.WaitGroup
	for i := range 8 {
		config := &tls.Config{RootCAs: ca.Pool, ServerName: "a.example.com"}
		if i%2 == 0 {
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		clients.Go(func() {
			for range 10 {
				c := s.secureDial(t, config)
				c.send(get("/"))
				if got := c.code(); got != "200" {
					t.Errorf("got %q", got)
				}
				_ = c.secure.Close()
			}
		})
	}
	for range 10 {
		s.SetCredentials(credentials(t, ca.Issue(t, "a.example.com")))
	}
	clients.Wait()
	if s.ResumedHandshakes() == 0 {
		t.Error("no session was resumed")
	}
}
