package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/upstream"
)

// probed is one endpoint under check.
type probed struct {
	proxy *Proxy
	probe upstream.Probe
	how   upstream.HealthCheck
}

// probing returns what checks an endpoint; edit, if not nil, changes its service.
func probing(t testing.TB, address string, how upstream.HealthCheck, edit func(*upstream.ServiceSpec)) *probed {
	t.Helper()
	p := New(Options{Clock: clock.Real(), Meter: meter.NewSet(time.Now)})
	t.Cleanup(p.Close)
	if how.Path == "" {
		how.Path = "/health?deep=1"
	}
	if how.Statuses == (upstream.Statuses{}) {
		how.Statuses = upstream.StatusesOf(200)
	}
	if how.Timeout == 0 {
		how.Timeout = waitAtMost
	}
	spec := upstream.ServiceSpec{
		Name: "s", Endpoints: []upstream.EndpointSpec{{Address: address, HostHeader: "health.test", Weight: 1}},
		Connections: upstream.ConnectionSettings{Maximum: 1, Idle: 1, IdleTimeout: time.Minute, Keepalive: true},
	}
	if edit != nil {
		edit(&spec)
	}
	s, err := upstream.NewRegistry(p.Open).Acquire(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	out := &probed{proxy: p, how: how}
	out.probe = p.Probe(s.Members()[0].Endpoint, &out.how)
	t.Cleanup(out.probe.Close)
	return out
}

func (p *probed) check() (upstream.Outcome, error) {
	return p.probe.Check(p.proxy.clock.Mono() + int64(p.how.Timeout))
}

// chunkedAnswer is text as one chunk.
func chunkedAnswer(text string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
}

// TestProbeOutcomes gives a check every answer that an endpoint may have, and asks how
// it is judged, and whether the connection is used again.
func TestProbeOutcomes(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Length: "
	long := strings.Repeat("x", upstream.BodyPrefix)
	for name, c := range map[string]struct {
		answer string
		body   string
		closes bool // the endpoint closes behind its answer
		want   upstream.Outcome
		reason string
		again  bool // the connection is used again
	}{
		"well":                    {answer: okAnswer, again: true},
		"no body":                 {answer: head + "0\r\n\r\n", again: true},
		"interim answers":         {answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer, again: true},
		"chunked":                 {answer: chunkedAnswer("ok"), again: true},
		"until it closes":         {answer: "HTTP/1.1 200 OK\r\n\r\nok", closes: true},
		"HTTP/1.0":                {answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", closes: true},
		"says close":              {answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"},
		"more than its length":    {answer: okAnswer + "stray"},
		"a long body":             {answer: head + "100000000\r\n\r\n" + long},
		"endless chunks":          {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"},
		"text":                    {answer: okAnswer, body: "ok", again: true},
		"text in chunks":          {answer: chunkedAnswer(`{"status":"ok"}`), body: `"ok"`, again: true},
		"text in cut chunks":      {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n-he\r\n3\r\nlth\r\n0\r\n\r\n", body: "helth", again: true},
		"text until it closes":    {answer: "HTTP/1.1 200 OK\r\n\r\nall is well", body: "well", closes: true},
		"text and then no end":    {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n", body: "well"},
		"text ahead of 100 MB":    {answer: head + "100000000\r\n\r\nwell" + long, body: "well"},
		"another text":            {answer: okAnswer, body: "fine", want: upstream.WrongBody, reason: `its body does not hold "fine" within the first 16 KiB`, again: true},
		"another text in chunks":  {answer: chunkedAnswer("ok"), body: "fine", want: upstream.WrongBody, reason: "fine", again: true},
		"text beyond the prefix":  {answer: head + "20000\r\n\r\n" + long + "well" + long, body: "well", want: upstream.WrongBody, reason: "does not hold"},
		"no body for a text":      {answer: head + "0\r\n\r\n", body: "ok", want: upstream.WrongBody, reason: "does not hold", again: true},
		"text that breaks off":    {answer: head + "20\r\n\r\nhalf", body: "well", closes: true, want: upstream.Broken, reason: "reading the answer's body: unexpected EOF"},
		"503":                     {answer: "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", want: upstream.WrongStatus, reason: "it answered 503; want 200", again: true},
		"a redirect":              {answer: "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", want: upstream.WrongStatus, reason: "it answered 302; want 200", again: true},
		"503 that breaks off":     {answer: "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nno", closes: true, want: upstream.WrongStatus, reason: "503"},
		"204 with a body":         {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", want: upstream.WrongStatus, reason: "204"},
		"breaks off":              {answer: head + "9\r\n\r\nhalf", closes: true, want: upstream.Broken, reason: "unexpected EOF"},
		"half a head":             {answer: "HTTP/1.1 200 OK\r\nContent-", closes: true, want: upstream.Broken, reason: "EOF"},
		"nothing":                 {closes: true, want: upstream.Broken, reason: "EOF"},
		"garbage":                 {answer: "220 mail.test ESMTP\r\n", want: upstream.Malformed, reason: "the status line is not"},
		"bare LF":                 {answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", want: upstream.Malformed, reason: "LF without CR"},
		"two framings":            {answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: upstream.Malformed, reason: "both"},
		"bad chunks":              {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", body: "ok", want: upstream.Malformed, reason: "chunk size"},
		"an endless head":         {answer: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20_000), want: upstream.Malformed, reason: "more field lines"},
		"an endless field":        {answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 100_000), want: upstream.Malformed, reason: "too large"},
		"endless interim answers": {answer: strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 200), want: upstream.Malformed, reason: "too many interim answers"},
		"another protocol":        {answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", want: upstream.Malformed, reason: "switched protocols"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, func(l *link) {
				for {
					if _, _, err := l.request(); err != nil {
						return
					}
					if l.send(c.answer); c.closes {
						return
					}
				}
			})
			p := probing(t, o.address(), upstream.HealthCheck{Body: c.body}, func(s *upstream.ServiceSpec) { s.Endpoints[0].TLS = o.spec })
			for i := range 2 {
				outcome, err := p.check()
				if outcome != c.want || (err == nil) != (c.want == upstream.Passed) {
					t.Fatalf("check %d: %s, %v; want %s", i, outcome, err, c.want)
				}
				if err != nil && !strings.Contains(err.Error(), c.reason) {
					t.Errorf("check %d: %q; want %q in it", i, err, c.reason)
				}
			}
			if again := o.accepts() == 1; again != c.again {
				t.Errorf("two checks took %d connections", o.accepts())
			}
			want := "GET /health?deep=1 HTTP/1.1\r\nHost: health.test\r\nUser-Agent: gateway-health-check\r\nAccept: */*\r\n\r\n"
			if got := o.received(0); !strings.HasPrefix(got, want) {
				t.Errorf("the request is\n%s", got)
			}
		})
	}
}

// Whatever an endpoint does, a check ends at its time, and holds no more than its reader.
func TestProbesEndInTime(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(*link){
		"accepts and is silent": func(l *link) { l.hold() },
		"reads and is silent":   func(l *link) { _, _, _ = l.request(); l.hold() },
		"half a head":           func(l *link) { _, _, _ = l.request(); l.send("HTTP/1.1 200 OK\r\nX"); l.hold() },
		"half a body": func(l *link) {
			_, _, _ = l.request()
			l.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
			l.hold()
		},
		"drips": func(l *link) {
			_, _, _ = l.request()
			for {
				if _, err := l.Write([]byte("HTTP/1.1 102 Processing\r\n\r\n")); err != nil {
					return
				}
				select {
				case <-l.over:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, serve)
			p := probing(t, o.address(), upstream.HealthCheck{Timeout: 100 * time.Millisecond}, func(s *upstream.ServiceSpec) { s.Endpoints[0].TLS = o.spec })
			begun := time.Now()
			outcome, err := p.check()
			if outcome != upstream.TimedOut || err == nil {
				t.Errorf("%s, %v", outcome, err)
			}
			if took := time.Since(begun); took < 90*time.Millisecond || took > waitAtMost/2 {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestOverTLSProbes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){"outcomes": TestProbeOutcomes, "time": TestProbesEndInTime, "closed": TestClosingEndsAProbe} {
		t.Run(name, test)
	}
}

// The client's certificate is shown to those who ask, and none is refused with a reason.
func TestProbesShowTheCertificateOfTheService(t *testing.T) {
	t.Parallel()
	authority := certificatetest.NewAuthority(t)
	server, client := authority.Issue(t, "origin.test"), authority.Issue(t, "gateway.test")
	o := newSecureOrigin(t, &tls.Config{Certificates: []tls.Certificate{server.Pair.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool},
		upstream.TLS{ServerName: "origin.test", Minimum: tls.VersionTLS12, Authorities: authority.PEM}, answering(okAnswer))
	with := o.spec
	with.Certificate, with.Key = client.Certificate, setting.NewSecret(client.Key)
	other := o.spec
	other.ServerName = "other.test"
	for name, c := range map[string]struct {
		tls    upstream.TLS
		want   upstream.Outcome
		reason string
	}{
		"shown":        {tls: with},
		"not shown":    {tls: o.spec, want: upstream.NotSecured, reason: "no tls.certificate is configured"},
		"another name": {tls: other, want: upstream.NotSecured, reason: "want a certificate for other.test"},
	} {
		p := probing(t, o.address(), upstream.HealthCheck{}, func(s *upstream.ServiceSpec) { s.Endpoints[0].TLS = c.tls })
		for range 2 {
			if outcome, err := p.check(); outcome != c.want || err != nil && !strings.Contains(err.Error(), c.reason) || c.want != upstream.Passed && err == nil {
				t.Errorf("%s: %s, %v", name, outcome, err)
			}
		}
	}
	if plain, _ := probing(t, o.address(), upstream.HealthCheck{}, nil).check(); plain == upstream.Passed {
		t.Error("plain HTTP passed on an endpoint that speaks TLS")
	}
}

func TestProbesOfConnections(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(l *link) { l.hold() })
	p := probing(t, o.address(), upstream.HealthCheck{TCP: true}, nil)
	for i := range 3 {
		if outcome, err := p.check(); outcome != upstream.Passed || err != nil {
			t.Fatalf("check %d: %s, %v", i, outcome, err)
		}
	}
	if got := o.received(0); got != "" {
		t.Errorf("it was sent %q", got)
	}
	o.close()
	for _, how := range []upstream.HealthCheck{{TCP: true}, {}} {
		outcome, err := probing(t, o.address(), how, nil).check()
		if outcome != upstream.NotConnected || err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a closed port: %s, %v", outcome, err)
		}
	}
	late := probing(t, o.address(), upstream.HealthCheck{TCP: true, Timeout: -1}, nil)
	if outcome, err := late.check(); outcome != upstream.TimedOut || err == nil {
		t.Errorf("no time at all: %s, %v", outcome, err)
	}
	late.proxy.barred = func(netip.AddrPort) bool { return true }
	late.how.Timeout = waitAtMost
	if outcome, err := late.check(); outcome != upstream.NotConnected || err == nil || !strings.Contains(err.Error(), errBarred.Error()) {
		t.Errorf("a barred address: %s, %v", outcome, err)
	}
}

// A connection that stood says nothing of whether new ones are accepted: after some
// checks there is a new one. What was closed, or has spoken unasked, costs no failure.
func TestProbeConnectionsAreRenewed(t *testing.T) {
	t.Parallel()
	t.Run("after some checks", func(t *testing.T) {
		t.Parallel()
		o := newOrigin(t, answering(okAnswer))
		p := probing(t, o.address(), upstream.HealthCheck{}, nil)
		for range 2 * checksPerConnection {
			if outcome, err := p.check(); outcome != upstream.Passed {
				t.Fatal(outcome, err)
			}
		}
		if o.accepts() != 2 {
			t.Errorf("%d connections", o.accepts())
		}
	})
	for name, c := range map[string]struct {
		keepalive bool
		behind    func(*link)
	}{
		"keepalive off":  {false, func(l *link) {}},
		"closed":         {true, func(l *link) { l.raw.Close() }},
		"reset":          {true, func(l *link) { _ = l.raw.(*net.TCPConn).SetLinger(0); l.raw.Close() }},
		"unasked answer": {true, func(l *link) { l.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{}, 1)
			behind := make(chan struct{})
			o := newOrigin(t, func(l *link) {
				if _, _, err := l.request(); err != nil {
					return
				}
				l.send(okAnswer)
				if l.index == 0 {
					<-behind
					c.behind(l)
					done <- struct{}{}
				}
				l.hold()
			})
			p := probing(t, o.address(), upstream.HealthCheck{}, func(s *upstream.ServiceSpec) { s.Connections.Keepalive = c.keepalive })
			for i := range 2 {
				if outcome, err := p.check(); outcome != upstream.Passed {
					t.Fatalf("check %d: %s, %v", i, outcome, err)
				}
				if i == 0 {
					close(behind)
					<-done
				}
			}
			if o.accepts() != 2 {
				t.Errorf("%d connections", o.accepts())
			}
		})
	}
}

func TestClosingEndsAProbe(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	o := newOrigin(t, func(l *link) { _, _, _ = l.request(); begun <- struct{}{}; l.hold() })
	p := probing(t, o.address(), upstream.HealthCheck{}, func(s *upstream.ServiceSpec) { s.Endpoints[0].TLS = o.spec })
	ended := make(chan upstream.Outcome)
	go func() {
		outcome, _ := p.check()
		ended <- outcome
	}()
	<-begun
	p.probe.Close()
	select {
	case outcome := <-ended:
		if outcome == upstream.Passed {
			t.Error("it passed")
		}
	case <-time.After(waitAtMost / 2):
		t.Fatal("the check goes on")
	}
	if outcome, err := p.check(); outcome == upstream.Passed || err == nil {
		t.Error("a probe that was closed checks")
	}
}

// A thousand kept connections hold no buffers.
func TestKeptProbesAreSmall(t *testing.T) {
	o := newOrigin(t, answering(okAnswer))
	const n = 500
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := probing(t, o.address(), upstream.HealthCheck{}, nil)
	all := make([]*probe, n)
	for i := range all {
		first := p.probe.(*probe)
		b := &probe{pool: first.pool, how: first.how, request: first.request, ctx: first.ctx, cancel: func() {}}
		t.Cleanup(b.Close)
		if outcome, err := b.Check(p.proxy.clock.Mono() + int64(waitAtMost)); outcome != upstream.Passed {
			t.Fatal(outcome, err)
		}
		all[i] = b
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	// The origin's side, a goroutine and a reader each, is in the same process.
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; per > 14<<10 {
		t.Errorf("%d bytes for each, the origin's side included", per)
	}
	runtime.KeepAlive(all)
}
