package gateway_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/revocation"
)

// caller stands for the plugin that finds out who calls: it believes every word.
var caller = plugin.Of("caller", nil, func(struct{}, *plugin.Deps) (pipeline.Instance, error) {
	var instance pipeline.Instance
	instance.Hooks[pipeline.Authenticate] = func(x *pipeline.Exchange) pipeline.Verdict {
		field := func(name string) string { return string(x.Request.Header.Peek(name)) }
		number := func(name string) int64 {
			n, _ := strconv.ParseInt(field(name), 10, 64) // none is 0
			return n
		}
		x.Principal = &principal.Principal{User: field("X-User"), Session: field("X-Session")}
		x.PrincipalIssued, x.PrincipalExpires = number("X-Issued"), number("X-Expires")
		if id := field("X-Foreign"); id != "" {
			x.PrincipalKeys = []string{revocation.ForeignKey("idp", "sid", id)}
		}
		return pipeline.Continue
	}
	return instance, nil
})

// mirror is one that runs until the test ends.
func mirror(t *testing.T, set *meter.Set) *revocation.Mirror {
	t.Helper()
	m, err := revocation.New(revocation.Options{Clock: clock.Real(), Meter: set, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return m
}

// endless answers with a piece of a body that goes on, framed as the path says, and
// notes when the connection is closed.
func endless(t *testing.T, closed chan<- string) *gatewaytest.Origin {
	return gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			request, err := c.ReadRequest()
			if err != nil {
				return
			}
			path := strings.Fields(request)[1]
			answer := map[string]string{
				"/chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
				"/length":  "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nhello",
				"/close":   "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
				"/flood":   "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nhello",
				"/whole":   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
			}[path]
			_, err = io.WriteString(c, answer)
			for piece := strings.Repeat("x", 1<<20); err == nil && path == "/flood"; {
				_, err = io.WriteString(c, piece)
			}
			if path != "/whole" {
				_, _ = io.Copy(io.Discard, c) // until it is closed
				closed <- path
				return
			}
		}
	})
}

const streams = `
services: {a: {endpoints: [{url: "ORIGIN"}], retry: off}}
defaults: {plugins: {access_log: {to: "LOG"}}}
routes:
  ws: {match: {path: "/ws"}, service: a, plugins: {websocket: {}, caller: {}}}
  a: {match: {path: "/{rest...}"}, service: a, plugins: {caller: {}}}
`

// callers runs a gateway before origin whose callers say who they are.
func callers(t *testing.T, origin *gatewaytest.Origin) (*gatewaytest.Gateway, *revocation.Mirror, func(string, int) []string) {
	m := mirror(t, meter.NewSet(time.Now))
	path, logged := accessLog(t)
	yaml := strings.NewReplacer("ORIGIN", origin.URL(), "LOG", path).Replace(streams)
	return gatewaytest.RunOptions(t, yaml, gatewaytest.Options{Plugins: []plugin.Plugin{caller}, Stays: m.Stays()}), m, logged
}

// wantCut fails the test unless the connection is reset, within a second.
func wantCut(t *testing.T, c *gatewaytest.Client) {
	t.Helper()
	start := time.Now()
	rest, err := c.Rest()
	if err == nil || strings.HasSuffix(rest, "0\r\n\r\n") {
		t.Errorf("got %.60q and %v: a client can take that for a whole answer", rest, err)
	}
	if waited := time.Since(start); waited > time.Second {
		t.Errorf("it took %s", waited)
	}
}

func stay(t *testing.T, m *revocation.Mirror, n int) {
	t.Helper()
	gatewaytest.Eventually(t, strconv.Itoa(n)+" stays", func() bool { return m.Stays().Len() == n })
}

func refuse(t *testing.T, m *revocation.Mirror, key string, notBefore int64) {
	t.Helper()
	if err := m.Revoke(t.Context(), revocation.Entry{Key: key, NotBefore: notBefore, Expires: time.Now().Unix() + 3600}); err != nil {
		t.Fatal(err)
	}
}

func TestI21_RevocationEndsStreams(t *testing.T) {
	t.Parallel()
	closed := make(chan string, 10)
	g, m, logged := callers(t, endless(t, closed))
	open := func(path, version, fields string) *gatewaytest.Client {
		c := gatewaytest.Dial(t, g.Address())
		c.Write("GET " + path + " HTTP/" + version + "\r\nHost: h\r\n" + fields + "\r\n")
		if _, err := c.Until("hello"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i, c := range []struct {
		path, version, key string
		notBefore          int64
	}{
		{"/chunked", "1.1", "s", 0},
		{"/length", "1.1", "s", 0},
		{"/close", "1.1", "s", 0},
		{"/chunked", "1.0", "s", 0},
		{"/flood", "1.1", "s", 0}, // to a client that does not read on
		{"/chunked", "1.1", revocation.UserKey("u"), 11},
		{"/chunked", "1.1", revocation.ForeignKey("idp", "sid", "f"), 0},
	} {
		// Every case has a session, user and foreign session of its own.
		n := strconv.Itoa(i)
		fields := "X-Session: s" + n + "\r\nX-User: u" + n + "\r\nX-Foreign: f" + n + "\r\nX-Issued: 10\r\n"
		key := c.key + n
		if strings.HasPrefix(c.key, "ext:") {
			key = revocation.ForeignKey("idp", "sid", "f"+n)
		}
		cut := open(c.path, c.version, fields)
		other := open(c.path, c.version, "X-Session: t\r\nX-User: v\r\n")
		later := open(c.path, c.version, "X-Session: t\r\nX-User: u"+n+"\r\nX-Issued: 11\r\n")
		stay(t, m, 3)
		refuse(t, m, key, c.notBefore)
		wantCut(t, cut)
		if got := <-closed; got != c.path {
			t.Errorf("the service's connection of %s was closed, want %s", got, c.path)
		}
		stay(t, m, 2)
		for _, c := range []*gatewaytest.Client{other, later} {
			_ = c.Conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if _, err := io.Copy(io.Discard, io.LimitReader(c.Conn, 1<<20)); err != nil && !isTimeout(err) {
				t.Errorf("%s: another caller's stream ended: %v", c.Conn.LocalAddr(), err)
			}
			_ = c.Conn.Close()
		}
		<-closed
		<-closed
		stay(t, m, 0)
	}
	for _, line := range logged("the caller was revoked meanwhile", 7) {
		if !strings.Contains(line, `"status":200`) {
			t.Errorf("logged %s", line)
		}
	}
}

func isTimeout(err error) bool {
	network, ok := err.(net.Error)
	return ok && network.Timeout()
}

func TestI21_ExpiryEndsStreams(t *testing.T) {
	t.Parallel()
	closed := make(chan string, 10)
	g, m, logged := callers(t, endless(t, closed))
	c := gatewaytest.Dial(t, g.Address())
	ends := time.Now().Unix() + 2
	c.Write("GET /chunked HTTP/1.1\r\nHost: h\r\nX-Session: s\r\nX-Expires: " + strconv.FormatInt(ends, 10) + "\r\n\r\n")
	if _, err := c.Until("hello"); err != nil {
		t.Fatal(err)
	}
	stay(t, m, 1)
	if _, err := c.Rest(); err == nil {
		t.Error("it ended as if it were whole")
	}
	if now := time.Now(); now.Unix() < ends || now.Unix() > ends+2 {
		t.Errorf("it ended at %s, and expired at %d", now, ends)
	}
	stay(t, m, 0)
	logged("has expired meanwhile", 1)
}

// Revoked between the look at the token and the answer's head.
func TestI21_WhoIsRevokedBeforeTheAnswerBeginsGetsNone(t *testing.T) {
	t.Parallel()
	closed := make(chan string, 10)
	g, m, _ := callers(t, endless(t, closed))
	refuse(t, m, "s", 0)
	c := gatewaytest.Dial(t, g.Address())
	c.Write("GET /chunked HTTP/1.1\r\nHost: h\r\nX-Session: s\r\n\r\n")
	wantCut(t, c)
	if got := <-closed; got != "/chunked" {
		t.Errorf("%s was closed", got)
	}
	stay(t, m, 0)
}

// What is whole when it leaves is nobody's stay, and its connection stays.
func TestI21_WholeAnswersAreNoStays(t *testing.T) {
	t.Parallel()
	g, m, _ := callers(t, endless(t, make(chan string, 10)))
	c := gatewaytest.Dial(t, g.Address())
	request := "GET /whole HTTP/1.1\r\nHost: h\r\nX-Session: s\r\nX-Expires: 1\r\n\r\n"
	for range 2 {
		c.Write(request)
		same(t, "the answer", c.Read("GET"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Correlation-ID: <id>\r\n\r\nhello")
		refuse(t, m, "s", 0)
	}
	stay(t, m, 0)
}

func TestI21_RevocationAndExpiryEndWebSockets(t *testing.T) {
	t.Parallel()
	g, m, _ := callers(t, gatewaytest.NewEcho(t))
	policy := gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xf0"}
	open := func(fields string) *gatewaytest.Client {
		c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws", fields)
		return c
	}
	wantClosed := func(what string, c *gatewaytest.Client) {
		t.Helper()
		if got := c.Frame(); got != policy {
			t.Errorf("%s: got %v, want a Close frame with 1008", what, got)
		}
		if rest, _ := c.Rest(); rest != "" { // how it ends is the kernel's affair
			t.Errorf("%s: got %q behind it", what, rest)
		}
	}
	bySession := open("X-Session: s1\r\nX-User: u\r\nX-Issued: 20\r\n")
	byUser := open("X-Session: s2\r\nX-User: u\r\nX-Issued: 10\r\n")
	byForeign := open("X-User: idp:x\r\nX-Foreign: f\r\n")
	byTime := open("X-Session: s3\r\nX-Expires: " + strconv.FormatInt(time.Now().Unix()+3, 10) + "\r\n")
	stays := open("X-Session: s4\r\nX-User: u\r\nX-Issued: 20\r\n")
	for _, c := range []*gatewaytest.Client{bySession, byUser, byForeign, byTime, stays} {
		wantEcho(t, c, text("hello"))
	}
	stay(t, m, 5)
	refuse(t, m, "s1", 0)
	wantClosed("by session", bySession)
	refuse(t, m, revocation.UserKey("u"), 15)
	wantClosed("by user", byUser)
	refuse(t, m, revocation.ForeignKey("idp", "sid", "f"), 0)
	wantClosed("by foreign session", byForeign)
	wantClosed("by time", byTime)
	wantEcho(t, stays, text("still here"))
	refuse(t, m, "s5", 0)
	late := open("X-Session: s5\r\n")
	wantClosed("who was revoked during the handshake", late)
	gone := open("X-Session: s6\r\n")
	stay(t, m, 2)
	_ = gone.Conn.Close()
	stay(t, m, 1)
	gatewaytest.Eventually(t, "ends by policy", func() bool {
		return strings.Contains(g.Metrics(), `gateway_websocket_closed_total{route="ws",service="a",reason="policy"} 5`)
	})
}

// The stream and the WebSocket of an API key end when it is revoked; those of another one stay.
func TestI21_RevokedAPIKeysEndWhatTheyOpened(t *testing.T) {
	t.Parallel()
	id := gatewaytest.NewIdentity(t)
	id.Run()
	g := gatewaytest.RunOptions(t, strings.NewReplacer("ORIGIN", endless(t, make(chan string, 10)).URL(), "ECHO", gatewaytest.NewEcho(t).URL()).Replace(`
services: {a: {endpoints: [{url: "ORIGIN"}], retry: off}, echo: {endpoints: [{url: "ECHO"}]}}
defaults: {plugins: {auth: {accept: [api_key]}}}
routes:
  ws: {match: {path: "/ws"}, service: echo, plugins: {websocket: {}}}
  a: {match: {path: "/{rest...}"}, service: a}
`), gatewaytest.Options{Identity: &id.Identity, Stays: id.Mirror.Stays()})
	open := func(key string) (stream, socket *gatewaytest.Client) {
		stream = gatewaytest.Dial(t, g.Address())
		stream.Write("GET /chunked HTTP/1.1\r\nHost: h\r\nX-API-Key: " + key + "\r\n\r\n")
		if _, err := stream.Until("hello"); err != nil {
			t.Fatal(err)
		}
		socket, _ = gatewaytest.OpenWebSocket(t, g.Address(), "/ws", "X-API-Key: "+key+"\r\n")
		wantEcho(t, socket, text("hello"))
		return stream, socket
	}
	good, bad := id.Key("*"), id.Key("*")
	_, stays := open(good)
	stream, socket := open(bad)
	stay(t, id.Mirror, 4)
	if err := id.Keys.Revoke(t.Context(), bad[3:19]); err != nil {
		t.Fatal(err)
	}
	wantCut(t, stream)
	if got, want := socket.Frame(), (gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xf0"}); got != want {
		t.Errorf("got %v, want a Close frame with 1008", got)
	}
	stay(t, id.Mirror, 2)
	wantEcho(t, stays, text("still here"))
}
