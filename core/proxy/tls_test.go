package proxy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/upstream"
)

// TestOverTLS runs the tests of the transport once more, with origins that speak TLS.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"GetComesBackWhole":                   TestGetComesBackWhole,
		"TheServiceSeesTheComposedHead":       TestTheServiceSeesTheComposedHead,
		"HostFollowsTheRoute":                 TestHostFollowsTheRoute,
		"ConnectionsAreReused":                TestConnectionsAreReused,
		"KeepaliveOffUsesEachConnectionOnce":  TestKeepaliveOffUsesEachConnectionOnce,
		"AnswersWithoutBody":                  TestAnswersWithoutBody,
		"BodiesOfEveryFraming":                TestBodiesOfEveryFraming,
		"EventsFlowAsTheyCome":                TestEventsFlowAsTheyCome,
		"RequestBodies":                       TestRequestBodies,
		"BodyLimits":                          TestBodyLimits,
		"TruncatedBodiesNeverLookWhole":       TestTruncatedBodiesNeverLookWhole,
		"BrokenAndSlowBodies":                 TestBrokenAndSlowBodies,
		"HooksMayReplaceTheBody":              TestHooksMayReplaceTheBody,
		"WaitersAreServedInOrder":             TestWaitersAreServedInOrder,
		"InterimAnswers":                      TestInterimAnswers,
		"TrailersPassByName":                  TestTrailersPassByName,
		"Timeouts":                            TestTimeouts,
		"AnArmedDeadlineThatFiresEarly":       TestAnArmedDeadlineThatFiresEarlyIsArmedAgain,
		"IdleConnectionsExpire":               TestIdleConnectionsExpire,
		"NoMoreIdleConnectionsThanAllowed":    TestNoMoreIdleConnectionsThanAllowed,
		"AnHTTP10ServiceIsUnderstood":         TestAnHTTP10ServiceIsUnderstood,
		"AFaultInPlaceOfAStreamedAnswer":      TestAFaultInPlaceOfAStreamedAnswer,
		"C9_WhatIsTriedAgain":                 TestC9_WhatIsTriedAgain,
		"ConnectErrorsAreTriedElsewhere":      TestConnectErrorsAreTriedElsewhere,
		"RetryAfterIsHonoured":                TestRetryAfterIsHonoured,
		"NoTryForAClientThatLeft":             TestNoTryForAClientThatLeft,
		"C2_AnswersThatAreRefused":            TestC2_AnswersThatAreRefused,
		"C1_BytesBehindAnAnswerAreNobodys":    TestC1_BytesBehindAnAnswerCloseTheConnection,
		"C1_StrayOnAnIdleConnection":          TestC1_StrayOnAnIdleConnection,
		"C1_StrayBeforeAStreamedUpload":       TestC1_StrayBeforeAStreamedUpload,
		"IdleConnectionsThatTheServiceCloses": TestIdleConnectionsThatTheServiceCloses,
		"AnswersThatBreakOff":                 TestAnswersThatBreakOff,
		"EarlyAnswers":                        TestEarlyAnswers,
		"InterimAnswersDuringAnUpload":        TestInterimAnswersDuringAnUpload,
		"InterimAnswersDuringASlowUpload":     TestInterimAnswersDuringASlowUpload,
		"AnEarlyAnswerToABufferedBody":        TestAnEarlyAnswerToABufferedBody,
		"ClientsThatLeave":                    TestClientsThatLeave,
		"AClientThatStopsReading":             TestAClientThatStopsReading,
	} {
		t.Run(name, test)
	}
}

// What servers send on idle connections besides answers is understood, and the
// connection used again: tickets, new keys, empty records.
func TestC1_WhatIsNoAnswerOnAnIdleConnection(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sends func(*sealer) string
		fresh bool // another connection is taken
	}{
		"a ticket":               {func(s *sealer) string { return s.ticket() }, false},
		"two tickets":            {func(s *sealer) string { return s.ticket() + s.ticket() }, false},
		"new keys":               {func(s *sealer) string { return s.keys() }, false},
		"new keys and a ticket":  {func(s *sealer) string { return s.keys() + s.ticket() }, false},
		"an empty record":        {func(s *sealer) string { return s.data("") }, false},
		"a byte":                 {func(s *sealer) string { return s.data("x") }, true},
		"a ticket and an answer": {func(s *sealer) string { return s.ticket() + s.data(strings.Replace(okAnswer, "ok", "no", 1)) }, true},
		"half an answer":         {func(s *sealer) string { return s.data(strings.Replace(okAnswer, "ok", "no", 1))[:20] }, true},
		"half a record's head":   {func(s *sealer) string { return s.data("x")[:3] }, true},
		"half a ticket":          {func(s *sealer) string { return s.ticket()[:20] }, true},
		"garbage":                {func(s *sealer) string { return "\x17\x03\x03\x00\x20garbage garbage garbage garbage " }, true},
		"plain HTTP":             {func(s *sealer) string { return okAnswer }, true},
	} {
		for _, how := range []struct{ name, request string }{
			{"buffered", "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc"},
			{"streamed", "POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		} {
			t.Run(name+", "+how.name, func(t *testing.T) {
				t.Parallel()
				sent := make(chan struct{})
				o := newSealedOrigin(t, func(l *link, s *sealer) {
					for i := 0; ; i++ {
						if _, _, err := l.request(); err != nil {
							return
						}
						l.sendRaw(s.data(okAnswer))
						if l.index == 0 && i == 0 {
							<-sent
							l.sendRaw(c.sends(s))
							sent <- struct{}{}
						}
					}
				})
				f := newFront(t, o)
				client := f.dial()
				for i := range 3 {
					client.send(how.request)
					if r := client.read("POST"); r.status != 200 || r.body != "ok" {
						t.Fatalf("request %d got %+v, exchange %+v", i, r, f.over())
					}
					if e := f.over(); e.tries != 1 {
						t.Errorf("%d tries", e.tries)
					}
					if i == 0 {
						sent <- struct{}{}
						<-sent
					}
				}
				connections, requests := 1, 3
				if c.fresh {
					connections, requests = 2, 1
				}
				if o.accepts() != connections || strings.Count(o.received(0), " / HTTP/1.1") != requests {
					t.Errorf("%d connections; the first got\n%s", o.accepts(), o.received(0))
				}
			})
		}
	}
}

// Servers of TLS 1.3 send tickets when they like, also while a body is on its way:
// that is no early answer.
func TestTicketsDuringAnUpload(t *testing.T) {
	t.Parallel()
	for name, sends := range map[string]func(*sealer) string{
		"a ticket": func(s *sealer) string { return s.ticket() },
		"new keys": func(s *sealer) string { return s.keys() },
	} {
		for stalled, size := range map[string]int{"client": 200_000, "service": 2 << 20} { // the latter more than the sockets hold
			t.Run(name+" while the "+stalled+" pauses", func(t *testing.T) {
				t.Parallel()
				now, resume := make(chan struct{}), make(chan struct{})
				o := newSealedOrigin(t, func(l *link, s *sealer) {
					_ = l.raw.(*net.TCPConn).SetReadBuffer(64 << 10)
					_, _ = l.r.Peek(1)
					<-now
					l.sendRaw(sends(s))
					if stalled == "service" {
						<-resume
					}
					r, body, err := l.request()
					if err != nil || len(body) != size {
						t.Errorf("%d bytes came, %v", len(body), err)
						return
					}
					if r.ContentLength != int64(size) {
						t.Errorf("the length is %d", r.ContentLength)
					}
					l.sendRaw(s.data(okAnswer))
					l.hold()
				})
				f := newFront(t, o, func(o *options) { o.route.BodyLimit = -1 })
				c := f.dial()
				body := fill(size)
				c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: %d\r\n\r\n", size) + body[:20_000])
				narrow(t, f)
				// By then everybody waits; the sweeper comes by three times at least.
				time.AfterFunc(300*time.Millisecond, func() { close(now) })
				time.AfterFunc(700*time.Millisecond, func() { close(resume) })
				if stalled == "client" {
					<-resume
				}
				c.send(body[20_000:])
				if r := c.read("POST"); r.status != 200 || r.body != "ok" {
					t.Fatalf("got %+v, exchange %+v", r, f.over())
				}
				if e := f.over(); e.bytesIn != int64(size) {
					t.Errorf("exchange %+v", e)
				}
				eventually(t, "the connection is kept", func() bool { return f.idle() == 1 })
			})
		}
	}
}

// narrow lets the one connection of f hold little that was written.
func narrow(t *testing.T, f *front) {
	t.Helper()
	s := f.proxy.sweeper
	eventually(t, "a connection stands", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.conns) == 1 && s.conns[0].nc.SetWriteBuffer(32<<10) == nil
	})
}

// An answer that comes in the same packet as an interim one, behind it, is seen
// though nothing is left on the socket.
func TestAnAnswerBehindAnInterimOneOverTLS(t *testing.T) {
	t.Parallel()
	o := newSealedOrigin(t, func(l *link, s *sealer) {
		_, _ = l.r.Peek(1)
		l.sendRaw(s.data("HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n") + s.data("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong"))
		l.hold()
	})
	f := newFront(t, o)
	c := f.dial()
	c.send("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 100000\r\n\r\n" + fill(20_000))
	eventually(t, "the answer is on the way", func() bool { return o.accepts() == 1 && strings.HasSuffix(o.received(0), "\r\n\r\n") })
	c.send(fill(500))
	if r := c.read("POST"); r.status != 103 {
		t.Fatalf("got %+v", r)
	}
	if r := c.read("POST"); r.status != 413 || r.body != "long" {
		t.Fatalf("got %+v", r)
	}
}

// Whoever cuts a connection must not be able to shorten an answer that ends with it.
func TestAnAnswerThatEndsByCloseNeedsAFarewell(t *testing.T) {
	t.Parallel()
	for _, minor := range []string{"0", "1"} {
		for name, cut := range map[string]bool{"closed": false, "cut": true} {
			t.Run(name+" to 1."+minor, func(t *testing.T) {
				t.Parallel()
				body := fill(100_000)
				o := secureOrigin(t, func(l *link) {
					if _, _, err := l.request(); err != nil {
						return
					}
					l.send("HTTP/1.1 200 OK\r\n\r\n" + body)
					if cut {
						l.raw.Close()
					}
				})
				f := newFront(t, o)
				client := f.dial()
				client.send("GET / HTTP/1." + minor + "\r\nHost: f\r\n\r\n")
				r := client.read("GET")
				e := f.over()
				if cut && (r.err == nil || !errors.Is(e.cause, io.ErrUnexpectedEOF)) {
					t.Fatalf("the transfer ended well with %d bytes: %+v", len(r.body), e)
				}
				if !cut && (r.err != nil || r.body != body || e.cause != nil) {
					t.Fatalf("%d bytes, %v; %+v", len(r.body), r.err, e)
				}
			})
		}
	}
}

// secureOrigin is an origin that speaks TLS in whatever test.
func secureOrigin(t testing.TB, serve func(*link)) *origin {
	t.Helper()
	authority := certificatetest.NewAuthority(t)
	leaf := authority.Issue(t, "origin.test")
	return newSecureOrigin(t, &tls.Config{Certificates: []tls.Certificate{leaf.Pair.TLS}},
		upstream.TLS{ServerName: "origin.test", Minimum: tls.VersionTLS12, Authorities: authority.PEM}, serve)
}

// A connection that is given up is closed as TLS has it, and the next one resumes its
// session.
func TestSessionsAreResumedAndClosed(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ends := make(chan error, 10)
			o := secureOrigin(t, func(l *link) {
				if _, _, err := l.request(); err != nil {
					return
				}
				l.send(okAnswer)
				_, err := io.Copy(io.Discard, l.r)
				ends <- err
			})
			o.tls.MinVersion, o.tls.MaxVersion = version, version
			f := newFront(t, o, func(o *options) { o.spec.Connections.Keepalive = false })
			for range 4 {
				if r := f.get(); r.status != 200 || r.body != "ok" {
					t.Fatalf("got %+v, exchange %+v", r, f.over())
				}
				if err := <-ends; err != nil { // a cut would be io.ErrUnexpectedEOF
					t.Errorf("the connection ended with %v", err)
				}
			}
			full, resumed := handshakes(f)
			if full != 1 || resumed != 3 {
				t.Errorf("%d full handshakes and %d resumed, want 1 and 3", full, resumed)
			}
		})
	}
}

// handshakes is how many of either kind were made.
func handshakes(f *front) (full, resumed uint64) {
	l := f.service.Members()[0].Connections().(*pool).sealing
	return l.full.Value(), l.resumed.Value()
}

// A certificate that is not good, or a service that wants one of ours, is a 502 whose
// cause says what to change, is counted by its reason, and tried elsewhere.
func TestHandshakesThatFail(t *testing.T) {
	t.Parallel()
	authority, stranger := certificatetest.NewAuthority(t), certificatetest.NewAuthority(t)
	good := authority.Issue(t, "origin.test")
	spec := upstream.TLS{ServerName: "origin.test", Minimum: tls.VersionTLS12, Authorities: authority.PEM}
	with := func(change func(*upstream.TLS)) upstream.TLS {
		s := spec
		change(&s)
		return s
	}
	serving := func(leaf *certificatetest.Leaf) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{leaf.Pair.TLS}}
	}
	strict := func(version uint16) *tls.Config {
		c := serving(good)
		c.MinVersion, c.MaxVersion, c.ClientAuth, c.ClientCAs = version, version, tls.RequireAndVerifyClientCert, authority.Pool
		return c
	}
	old := authority.IssueWith(t, newKey(t), func(c *x509.Certificate) {
		c.DNSNames, c.NotAfter = []string{"origin.test"}, time.Now().Add(-time.Minute)
	})
	client := authority.IssueWith(t, newKey(t), func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"origin.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	foreign := stranger.Issue(t, "gateway")
	for _, c := range []struct {
		name   string
		config *tls.Config // nil: no TLS
		spec   upstream.TLS
		reason reason
		cause  string
	}{
		{"unknown authority", serving(stranger.Issue(t, "origin.test")), spec, reasonAuthority, "want a certificate for origin.test signed by the authorities of tls.ca: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"the system's authorities", serving(good), with(func(s *upstream.TLS) { s.Authorities = "" }), reasonAuthority, "want a certificate for origin.test signed by the system's authorities: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{"another name", serving(authority.Issue(t, "other.test")), spec, reasonName, "want a certificate for origin.test signed by the authorities of tls.ca: tls: failed to verify certificate: x509: certificate is valid for other.test, not origin.test"},
		{"an address", serving(good), with(func(s *upstream.TLS) { s.ServerName = "127.0.0.1" }), reasonName, "x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"},
		{"expired", serving(old), spec, reasonExpired, "x509: certificate has expired or is not yet valid"},
		{"a client's certificate", serving(client), spec, reasonCertificate, "x509: certificate specifies an incompatible key usage"},
		{"plain HTTP", nil, spec, reasonNotTLS, "does it speak plain HTTP? tls: first record does not look like a TLS handshake"},
		{"an old version", func() *tls.Config { c := serving(good); c.MaxVersion = tls.VersionTLS12; return c }(), with(func(s *upstream.TLS) { s.Minimum = tls.VersionTLS13 }), reasonShared, "protocol version not supported"},
		{"no AEAD", func() *tls.Config {
			c := serving(good)
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
			return c
		}(), spec, reasonRefused, "handshake failure"},
		{"another protocol", func() *tls.Config { c := serving(good); c.NextProtos = []string{"other"}; return c }(), spec, reasonShared, "no application protocol"},
		{"no certificate of ours, 1.2", strict(tls.VersionTLS12), spec, reasonRefused, "the endpoint refused (no tls.certificate is configured): remote error: tls: "},
		{"no certificate of ours, 1.3", strict(tls.VersionTLS13), spec, reasonRefused, "the endpoint refused (no tls.certificate is configured): remote error: tls: certificate required"},
		{"a foreign one of ours, 1.2", strict(tls.VersionTLS12), with(func(s *upstream.TLS) { s.Certificate, s.Key = foreign.Certificate, setting.NewSecret(foreign.Key) }), reasonRefused, "the endpoint refused: remote error: tls: "},
		{"a foreign one of ours, 1.3", strict(tls.VersionTLS13), with(func(s *upstream.TLS) { s.Certificate, s.Key = foreign.Certificate, setting.NewSecret(foreign.Key) }), reasonRefused, "the endpoint refused: remote error: tls: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newSecureOrigin(t, c.config, c.spec, refusing(c.config))
			alone := newFront(t, o)
			if r := alone.get(); r.status != 502 {
				t.Fatalf("got %+v", r)
			}
			e := alone.over()
			if e.fault != "bad_gateway" || e.cause == nil || !strings.Contains(e.cause.Error(), c.cause) || !strings.HasPrefix(e.cause.Error(), "TLS handshake with "+o.address()) {
				t.Errorf("exchange %+v", e)
			}
			for r, counter := range alone.service.Members()[0].Connections().(*pool).sealing.failures {
				if got, want := counter.Value(), uint64(map[bool]int{true: 1}[reason(r) == c.reason]); got != want {
					t.Errorf("%d failures by %s, want %d", got, reasonNames[r], want)
				}
			}
			eventually(t, "nothing is held", func() bool { return alone.busy() == 0 && alone.idle() == 0 })

			other := newOrigin(t, answering(okAnswer))
			both := newFront(t, o, func(s *options) {
				retrying(1)(s)
				s.spec.Endpoints = append(s.spec.Endpoints, upstream.EndpointSpec{Address: other.address(), HostHeader: "other.test", Weight: 1})
			})
			for range 2 {
				client := both.dial()
				client.send("POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\nabc") // not idempotent: nothing was sent
				if r := client.read("POST"); r.status != 200 {
					t.Errorf("got %+v, exchange %+v", r, both.over())
				}
			}
		})
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// refusing is an origin whose handshakes fail. One of plain HTTP answers as servers
// do to what is no request.
func refusing(config *tls.Config) func(*link) {
	return func(l *link) {
		if config == nil {
			l.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			l.hold()
			return
		}
		if l.Conn.(*tls.Conn).Handshake() == nil {
			l.hold()
		}
	}
}

// A handshake may take as long as connecting may.
func TestAHandshakeThatStalls(t *testing.T) {
	t.Parallel()
	o := secureOrigin(t, (*link).hold)
	f := newFront(t, o, func(o *options) { o.to.Timeouts.Connect = 100 * time.Millisecond })
	start := time.Now()
	if r := f.get(); r.status != 504 {
		t.Fatalf("got %+v", r)
	}
	if took := time.Since(start); took > within(3*time.Second) { // long, for busy machines: other timeouts are 5 s
		t.Errorf("it took %s", took)
	}
	if e := f.over(); e.fault != "upstream_timeout" || !errors.Is(e.cause, errTimeout) {
		t.Errorf("exchange %+v", e)
	}
	if n := f.service.Members()[0].Connections().(*pool).sealing.failures[reasonTimeout].Value(); n != 1 {
		t.Errorf("%d timeouts counted", n)
	}
}

// An endpoint that leaves during the handshake has refused the connection.
func TestAHandshakeThatBreaksOff(t *testing.T) {
	t.Parallel()
	o := secureOrigin(t, func(l *link) {
		_, _ = l.raw.Read(make([]byte, 4096))
		l.raw.Close()
	})
	f := newFront(t, o)
	if r := f.get(); r.status != 502 {
		t.Fatalf("got %+v", r)
	}
	if e := f.over(); !strings.Contains(e.cause.Error(), "the endpoint closed the connection: ") {
		t.Errorf("exchange %+v", e)
	}
}

// A service that asks for a certificate gets ours, whatever authorities it names.
func TestTheClientCertificateIsShown(t *testing.T) {
	t.Parallel()
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			authority := certificatetest.NewAuthority(t)
			leaf, own := authority.Issue(t, "origin.test", "127.0.0.1"), authority.Issue(t, "gateway.test")
			config := &tls.Config{
				Certificates: []tls.Certificate{leaf.Pair.TLS}, MinVersion: version, MaxVersion: version,
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool,
			}
			spec := upstream.TLS{ServerName: "127.0.0.1", Minimum: tls.VersionTLS12, Authorities: authority.PEM, Certificate: own.Certificate, Key: setting.NewSecret(own.Key)}
			shown := make(chan string, 1)
			o := newSecureOrigin(t, config, spec, func(l *link) {
				if _, _, err := l.request(); err != nil {
					return
				}
				state := l.Conn.(*tls.Conn).ConnectionState()
				shown <- state.PeerCertificates[0].DNSNames[0] + " " + state.NegotiatedProtocol
				l.send(okAnswer)
			})
			f := newFront(t, o)
			if r := f.get(); r.status != 200 {
				t.Fatalf("got %+v, exchange %+v", r, f.over())
			}
			if got := <-shown; got != "gateway.test " {
				t.Errorf("the service saw %q", got)
			}
		})
	}
}

// A connection that leaves HTTP goes on over TLS, and loses none of the bytes that
// came early.
func TestDetachedConnections(t *testing.T) {
	t.Parallel()
	for name, origin := range map[string]func(testing.TB, func(*link)) *origin{"plain": newOrigin, "TLS": secureOrigin} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := origin(t, func(l *link) {
				if _, _, err := l.request(); err != nil {
					return
				}
				l.send(okAnswer + "early")
				_, _ = io.Copy(l, l.r)
			})
			f := newFront(t, o)
			p := f.service.Members()[0].Connections().(*pool)
			c, err := p.dial(f.proxy.clock.Mono() + int64(5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			c.readDue, c.writeDue = f.proxy.clock.Mono()+int64(5*time.Second), f.proxy.clock.Mono()+int64(5*time.Second)
			c.request([]byte("GET / HTTP/1.1\r\nHost: f\r\n\r\n"))
			if _, err := io.ReadFull(c.br, make([]byte, len(okAnswer))); err != nil {
				t.Fatal(err)
			}
			p.proxy.sweeper.remove(c)
			conn, early := c.detach()
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			got := string(early)
			got += read(t, conn, len("early")-len(early))
			for _, word := range []string{"one", "two"} {
				if _, err := io.WriteString(conn, word); err != nil {
					t.Fatal(err)
				}
				got += read(t, conn, len(word))
			}
			if got != "earlyonetwo" {
				t.Errorf("got %q", got)
			}
			_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a deadline that is past gives %v", err)
			}
		})
	}
}

func read(t testing.TB, r io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// Wherever the pieces are cut, it is known whether a record was begun.
func TestRecordsAreFollowed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var stream []byte
		ends := map[int]bool{0: true}
		for _, size := range rapid.SliceOfN(rapid.IntRange(0, 600), 0, 6).Draw(rt, "records") {
			stream = append(stream, typeData, 3, 3, byte(size>>8), byte(size))
			stream = append(stream, make([]byte, size)...)
			ends[len(stream)] = true
		}
		var r records
		for at := 0; at < len(stream); {
			n := rapid.IntRange(1, len(stream)-at).Draw(rt, "piece")
			r.pass(stream[at : at+n])
			if at += n; r.inside() == ends[at] {
				rt.Fatalf("inside at %d of %d: %v", at, len(stream), r.inside())
			}
		}
	})
}

// A configuration that went past every check and can't be used fails each request.
func TestASealingThatIsBroken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec upstream.TLS
		want string
	}{
		"ca":          {upstream.TLS{ServerName: "a", Authorities: "x"}, "ca: want certificates in PEM form, got none"},
		"certificate": {upstream.TLS{ServerName: "a", Certificate: "x"}, "certificate: want certificates in PEM form, got none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, newSecureOrigin(t, nil, c.spec, (*link).hold))
			if r := f.get(); r.status != 502 {
				t.Fatalf("got %+v", r)
			}
			if e := f.over(); !strings.HasSuffix(e.cause.Error(), c.want) {
				t.Errorf("exchange %+v", e)
			}
		})
	}
}
