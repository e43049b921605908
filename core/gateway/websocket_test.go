package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// sockets is a route with WebSockets and one without, to one service.
func sockets(origin *gatewaytest.Origin, options string) string {
	return `
services: {a: {endpoints: [{url: "` + origin.URL() + `"}], retry: off}}
routes:
  ws: {match: {path: "/ws/{rest...}"}, service: a, plugins: {websocket: {` + options + `}}}
  plain: {match: {path: "/{rest...}"}, service: a}
`
}

// answering is an endpoint that answers every request with the same bytes, and
// echoes behind a 101.
func answering(t *testing.T, answer string) *gatewaytest.Origin {
	return gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			if _, err := c.ReadRequest(); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
			if strings.HasPrefix(answer, "HTTP/1.1 101 ") {
				gatewaytest.Echo(c)
				return
			}
		}
	})
}

func text(payload string) gatewaytest.Frame {
	return gatewaytest.Frame{Opcode: gatewaytest.Text, Final: true, Payload: payload}
}

// wantEcho sends a frame and fails the test unless it comes back.
func wantEcho(t *testing.T, c *gatewaytest.Client, f gatewaytest.Frame) {
	t.Helper()
	c.Write(f.Bytes(true))
	if f.Opcode == gatewaytest.Ping {
		f.Opcode = gatewaytest.Pong
	}
	if got := c.Frame(); got != f {
		t.Fatalf("sent %v, got %v", f, got)
	}
}

// The handshake reaches the service as any request does, and its 101 the client as
// any answer; what is between client and service passes as it was written.
func TestC5_Handshake(t *testing.T) {
	t.Parallel()
	offered := "Sec-WebSocket-Protocol: chat, v2.echo\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n"
	origin := answering(t, strings.Replace(gatewaytest.Switching, "\r\n\r\n",
		"\r\nSec-WebSocket-Protocol: v2.echo\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nX-Own: 1\r\nKeep-Alive: x\r\n\r\n", 1))
	g := gatewaytest.Run(t, sockets(origin, "")+"defaults: {plugins: {security_headers: {csp: off, permissions: off, referrer: off, frame: off}}}\n")
	c, head := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a?x=1",
		offered+"Cookie: a=b\r\nX-User-ID: spoofed\r\nX_User_ID: spoofed\r\nSec_WebSocket_Key: x\r\nX-Forwarded-For: 6.6.6.6\r\n")
	same(t, "the answer", head, "HTTP/1.1 101 Switching Protocols\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\nX-Own: 1\r\n"+
		"Sec-WebSocket-Accept: "+gatewaytest.AcceptKey+"\r\nSec-WebSocket-Protocol: v2.echo\r\n"+
		"X-Content-Type-Options: nosniff\r\nX-Correlation-ID: <id>\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	same(t, "the request", origin.Requests()[0], "GET /ws/a?x=1 HTTP/1.1\r\nHost: "+origin.Address()+"\r\n"+
		offered+"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+gatewaytest.Key+"\r\nCookie: a=b\r\n"+
		"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"+
		"Forwarded: for=127.0.0.1;host=h;proto=http\r\nX-Correlation-ID: <id>\r\nVia: 1.1 suuupra\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	wantEcho(t, c, text("hello"))
}

// Every spelling that RFC 6455 allows is a handshake.
func TestC5_Spellings(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	g := gatewaytest.Run(t, sockets(origin, ""))
	for _, lines := range []string{
		"connection: upgrade\r\nupgrade: websocket\r\n",
		"CONNECTION: UPGRADE\r\nUPGRADE: WEBSOCKET\r\n",
		"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n",
		"Connection: keep-alive\r\nConnection: ,\tupgrade ,\r\nUpgrade: websocket\r\n",
		"Connection: close, Upgrade\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
	} {
		c := gatewaytest.Dial(t, g.Address())
		c.Write(strings.Replace(gatewaytest.Handshake("/ws/a", ""), "Connection: Upgrade\r\nUpgrade: websocket\r\n", lines, 1))
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Errorf("%q got %q", lines, got)
			continue
		}
		wantEcho(t, c, text("hello"))
	}
}

// Any other Upgrade is removed, and the request served without it, on whatever route.
func TestC5_OtherUpgradesAreRemoved(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, sockets(origin, ""))
	const key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + gatewaytest.Key + "\r\n"
	for name, request := range map[string]string{
		"a route without":        gatewaytest.Handshake("/other", ""),
		"h2c":                    "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"h2c too":                "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n" + key + "\r\n",
		"h2c on a second line":   "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n" + key + "\r\n",
		"websocket twice":        "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n" + key + "\r\n",
		"a version of it":        "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket/13\r\n" + key + "\r\n",
		"not in Connection":      "GET /ws/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n" + key + "\r\n",
		"close in Connection":    "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nUpgrade: websocket\r\n" + key + "\r\n",
		"upgraded in Connection": "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: upgraded\r\nUpgrade: websocket\r\n" + key + "\r\n",
		"HTTP/1.0":               "GET /ws/a HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key + "\r\n",
		"POST":                   "POST /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key + "Content-Length: 0\r\n\r\n",
		"HEAD":                   "HEAD /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key + "\r\n",
		"a body":                 "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key + "Content-Length: 2\r\n\r\nhi",
		"a chunked body":         "GET /ws/a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
	} {
		got := g.Do(request)
		if name == "HEAD" || name == "HTTP/1.0" {
			got += "ok"
		}
		if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%s: got %q", name, got)
		}
		seen := origin.Requests()[len(origin.Requests())-1]
		if strings.Contains(strings.ToLower(seen), "upgrade") || strings.Contains(seen, "HTTP2-Settings") {
			t.Errorf("%s: the endpoint saw %q", name, seen)
		}
	}
}

// The origins of the route's cors count, where their pages may act for visitors.
func TestC5_OriginsOfCORS(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	for cors, admitted := range map[string]bool{
		`{origins: ["https://app.example"], credentials: true}`:   true,
		`{origins: ["https://app.example"]}`:                      false,
		`{origins: ["https://other.example"], credentials: true}`: false,
		`{origins: ["*"]}`: false,
	} {
		g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes: {ws: {match: {path: "/ws/{rest...}"}, service: a, plugins: {websocket: {}, cors: `+cors+`}}}
`)
		got := g.Do(gatewaytest.Handshake("/ws/a", "Origin: https://app.example\r\n"))
		if admitted != strings.HasPrefix(got, "HTTP/1.1 101 ") || !admitted && !strings.HasPrefix(got, "HTTP/1.1 403 ") {
			t.Errorf("cors %s: got %q", cors, got)
		}
	}
}

const refusedKey = "a WebSocket's handshake has one Sec-WebSocket-Key of 16 bytes in base64"

// A handshake that no service should see is answered by the gateway.
func TestC5_RefusedHandshakes(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	g := gatewaytest.Run(t, sockets(origin, `origins: ["https://app.example", "http://localhost:3000"]`))
	whole := gatewaytest.Handshake("/ws/a", "")
	line := "Sec-WebSocket-Key: " + gatewaytest.Key + "\r\n"
	origins := func(lines string) string { return gatewaytest.Handshake("/ws/a", lines) }
	for _, c := range []struct{ name, request, want string }{
		{"no version", strings.Replace(whole, "Sec-WebSocket-Version: 13\r\n", "", 1), "426"},
		{"an old version", strings.Replace(whole, "Version: 13", "Version: 8", 1), "426"},
		{"two in one line", strings.Replace(whole, "Version: 13", "Version: 13, 8", 1), "426"},
		{"two versions", strings.Replace(whole, line, line+"Sec-WebSocket-Version: 13\r\n", 1), "426"},
		{"no key", strings.Replace(whole, line, "", 1), "400"},
		{"two keys", strings.Replace(whole, line, line+line, 1), "400"},
		{"two different keys", strings.Replace(whole, line, line+"sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n", 1), "400"},
		{"an empty key", strings.Replace(whole, gatewaytest.Key, "", 1), "400"},
		{"15 bytes", strings.Replace(whole, gatewaytest.Key, "AAAAAAAAAAAAAAAAAAAA", 1), "400"},
		{"17 bytes", strings.Replace(whole, gatewaytest.Key, "AAAAAAAAAAAAAAAAAAAAAAA=", 1), "400"},
		{"18 bytes", strings.Replace(whole, gatewaytest.Key, "AAAAAAAAAAAAAAAAAAAAAAAA", 1), "400"},
		{"no base64", strings.Replace(whole, gatewaytest.Key, "dGhlIHNhbXBsZSBub25j*Q==", 1), "400"},
		{"base64 of URLs", strings.Replace(whole, gatewaytest.Key, "-_-_-_-_-_-_-_-_-_-_-w==", 1), "400"},
		{"the key in Connection", strings.Replace(whole, "Connection: Upgrade", "Connection: Upgrade, Sec-WebSocket-Key", 1), "400"},
		{"another origin", origins("Origin: https://evil.example\r\n"), "403"},
		{"another scheme", origins("Origin: http://app.example\r\n"), "403"},
		{"another port", origins("Origin: https://app.example:8443\r\n"), "403"},
		{"our host with another port", origins("Origin: http://h:81\r\n"), "403"},
		{"a longer host", origins("Origin: http://h.evil.example\r\n"), "403"},
		{"our host as user", origins("Origin: http://h@evil.example\r\n"), "403"},
		{"no origin of a page", origins("Origin: null\r\n"), "403"},
		{"an empty origin", origins("Origin:\r\n"), "403"},
		{"two origins", origins("Origin: https://app.example\r\nOrigin: https://evil.example\r\n"), "403"},
		{"two origins in one line", origins("Origin: https://app.example, https://evil.example\r\n"), "403"},
		{"a file", origins("Origin: file://h\r\n"), "403"},
		{"our host", origins("Origin: http://h\r\n"), "101"},
		{"our host by TLS", origins("Origin: https://H\r\n"), "101"},
		{"our host with its port", origins("Origin: http://h:80\r\n"), "101"},
		{"a listed origin", origins("Origin: https://app.example\r\n"), "101"},
		{"a listed origin with a port", origins("Origin: http://localhost:3000\r\n"), "101"},
		{"the RFC's own key", strings.Replace(whole, gatewaytest.Key, "AQIDBAUGBwgJCgsMDQ4PEC==", 1), "101"},
	} {
		before := len(origin.Requests())
		got := g.Do(c.request)
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.want+" ") {
			t.Errorf("%s: want %s, got %q", c.name, c.want, got)
		}
		if asked := len(origin.Requests()) > before; asked != (c.want == "101") {
			t.Errorf("%s: whether the service was asked: %t", c.name, asked)
		}
	}
	body := faultBody("upgrade_required", "Upgrade required", "426", "the WebSocket version is 13")
	same(t, "426", g.Do(strings.Replace(whole, "Version: 13", "Version: 8", 1)), "HTTP/1.1 426 Upgrade Required\r\n"+
		"Content-Type: application/problem+json\r\nContent-Length: 237\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nX-Correlation-ID: <id>\r\n\r\n"+body)
	if got := g.Do(strings.Replace(whole, line, "", 1)); !strings.Contains(got, refusedKey) {
		t.Errorf("without a key: %q", got)
	}
}

// A 101 that is no answer to this handshake opens nothing, and its connection closes.
func TestC5_AnswersThatSwitchWrongly(t *testing.T) {
	t.Parallel()
	accept := "Sec-WebSocket-Accept: " + gatewaytest.AcceptKey + "\r\n"
	good := gatewaytest.Switching
	for name, answer := range map[string]string{
		"another accept":          strings.Replace(good, gatewaytest.AcceptKey, gatewaytest.Accept("AQIDBAUGBwgJCgsMDQ4PEC=="), 1),
		"in another case":         strings.Replace(good, gatewaytest.AcceptKey, strings.ToUpper(gatewaytest.AcceptKey), 1),
		"no accept":               strings.Replace(good, accept, "", 1),
		"two accepts":             strings.Replace(good, accept, accept+accept, 1),
		"the key itself":          strings.Replace(good, gatewaytest.AcceptKey, gatewaytest.Key, 1),
		"accept in Connection":    strings.Replace(good, "Connection: Upgrade", "Connection: Sec-WebSocket-Accept", 1),
		"no Upgrade":              strings.Replace(good, "Upgrade: websocket\r\n", "", 1),
		"to h2c":                  strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1),
		"to both":                 strings.Replace(good, "Upgrade: websocket", "Upgrade: websocket, h2c", 1),
		"no Connection":           strings.Replace(good, "Connection: Upgrade\r\n", "", 1),
		"closing":                 strings.Replace(good, "Connection: Upgrade", "Connection: close", 1),
		"HTTP/1.0":                strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1),
		"with a length":           strings.Replace(good, accept, accept+"Content-Length: 0\r\n", 1),
		"with chunks":             strings.Replace(good, accept, accept+"Transfer-Encoding: chunked\r\n", 1),
		"a subprotocol unasked":   strings.Replace(good, accept, accept+"Sec-WebSocket-Protocol: other\r\n", 1),
		"in other case":           strings.Replace(good, accept, accept+"Sec-WebSocket-Protocol: CHAT\r\n", 1),
		"two subprotocols":        strings.Replace(good, accept, accept+"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: v2\r\n", 1),
		"both in one":             strings.Replace(good, accept, accept+"Sec-WebSocket-Protocol: chat, v2\r\n", 1),
		"an empty subprotocol":    strings.Replace(good, accept, accept+"Sec-WebSocket-Protocol:\r\n", 1),
		"a head that breaks off":  good[:40],
		"a head against RFC 9112": strings.Replace(good, accept, accept+"X : 1\r\n", 1),
		"another 101 in between":  strings.Replace(good, accept, "", 1) + good,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan struct{})
			origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
				request, err := c.ReadRequest()
				if err != nil {
					return
				}
				if !strings.Contains(request, "Upgrade") {
					_, _ = io.WriteString(c, gatewaytest.OK)
					return
				}
				_, _ = io.WriteString(c, answer)
				if name == "a head that breaks off" {
					return
				}
				_, _ = c.R.ReadByte() // nothing comes but the end
				close(gone)
			})
			g := gatewaytest.Run(t, sockets(origin, ""))
			c := gatewaytest.Dial(t, g.Address())
			c.Write(gatewaytest.Handshake("/ws/a", "Sec-WebSocket-Protocol: chat, v2\r\n"))
			if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 502 ") || strings.Contains(got, "Sec-") {
				t.Fatalf("got %q", got)
			}
			c.Write("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
			if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Errorf("the next request got %q", got)
			}
			if name != "a head that breaks off" {
				<-gone
			}
			if n := g.Tunnels().Len(); n != 0 {
				t.Errorf("there are %d tunnels", n)
			}
		})
	}
}

// A service that answers something else answers as to any request, on connections
// that are used again.
func TestC5_AnotherStatusStaysHTTP(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300_000)
	for _, c := range []struct{ answer, want string }{
		{gatewaytest.OK, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok"},
		{"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
			"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\nSec-Websocket-Version: 13\r\nX-Correlation-ID: <id>\r\n\r\nno"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + long,
			"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\nX-Correlation-ID: <id>\r\n\r\n" + long},
		{"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + gatewaytest.OK, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"},
	} {
		origin := answering(t, c.answer)
		g := gatewaytest.Run(t, sockets(origin, ""))
		client := gatewaytest.Dial(t, g.Address())
		for range 3 {
			client.Write(gatewaytest.Handshake("/ws/a", ""))
			got := gatewaytest.Scrub(client.Read("GET"))
			got = strings.Replace(got, "Www-Authenticate", "WWW-Authenticate", 1)
			same(t, "the answer", got, c.want)
			if strings.Contains(c.answer, " 103 ") {
				same(t, "the answer behind it", client.Read("GET"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok")
			}
		}
		if n := origin.Accepts(); n != 1 {
			t.Errorf("%.30q: %d connections to the endpoint", c.answer, n)
		}
	}
}

// What the client sends ahead of the 101 is held: it is a request if the service
// answers anything else, and passes the route table like any other.
func TestC5_ASecondRequestBehindTheHandshake(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		if strings.Contains(request, "/ws/refuse") {
			return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
		}
		return gatewaytest.OK
	})
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}], retry: off}}
routes:
  ws: {match: {path: "/ws/{rest...}"}, service: a, plugins: {websocket: {}}}
  admin: {match: {path: /admin}, respond: {status: 200, body: guarded}}
`)
	c := gatewaytest.Dial(t, g.Address())
	c.Write(gatewaytest.Handshake("/ws/refuse", "") + "GET /admin HTTP/1.1\r\nHost: h\r\n\r\n")
	if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("the handshake got %q", got)
	}
	if got := c.Read("GET"); !strings.HasSuffix(got, "\r\n\r\nguarded") {
		t.Errorf("what stands behind it got %q", got)
	}
	if n := len(origin.Requests()); n != 1 {
		t.Errorf("the endpoint saw %d requests: %q", n, origin.Requests())
	}
}

// Early bytes of both sides are kept, and the client's reach nobody ahead of the 101.
func TestC5_EarlyBytesAreHeld(t *testing.T) {
	t.Parallel()
	first, second := text("first"), text(strings.Repeat("second", 5000))
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err != nil {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if b, err := c.R.Peek(1); err == nil {
			t.Errorf("%q came ahead of the 101", b)
		}
		_ = c.SetReadDeadline(time.Time{})
		_, _ = io.WriteString(c, gatewaytest.Switching+first.Bytes(false)+second.Bytes(false))
		gatewaytest.Echo(c)
	})
	g := gatewaytest.Run(t, sockets(origin, ""))
	c := gatewaytest.Dial(t, g.Address())
	c.Write(gatewaytest.Handshake("/ws/a", "") + first.Bytes(true) + second.Bytes(true)[:100])
	if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
		t.Fatalf("got %q", got)
	}
	c.Write(second.Bytes(true)[100:])
	for i, want := range []gatewaytest.Frame{first, second, first, second} {
		if got := c.Frame(); got != want {
			t.Fatalf("frame %d: got %v, want %v", i, got, want)
		}
	}
}

// Frames of every kind pass as they are, both ways.
func TestFramesPass(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	g := gatewaytest.Run(t, sockets(origin, ""))
	c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	for _, size := range []int{0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20} {
		wantEcho(t, c, gatewaytest.Frame{Opcode: gatewaytest.Binary, Final: true, Payload: strings.Repeat("\x00\xff", size)[:size]})
		wantEcho(t, c, text(strings.Repeat("é", size)))
	}
	for i := range 10 {
		opcode := byte(gatewaytest.Continuation)
		if i == 0 {
			opcode = gatewaytest.Text
		}
		wantEcho(t, c, gatewaytest.Frame{Opcode: opcode, Final: i == 9, Payload: "part"})
		wantEcho(t, c, gatewaytest.Frame{Opcode: gatewaytest.Ping, Final: true, Payload: "p"})
	}
	wantEcho(t, c, gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xe8bye"})
	c.Closed()
	gatewaytest.Eventually(t, "the end", func() bool { return g.Tunnels().Len() == 0 })
}

// Close codes of the service's own, and a half-close, reach the client.
func TestTheServiceEnds(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err != nil {
			return
		}
		end := gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x0f\xa1own"}
		_, _ = io.WriteString(c, gatewaytest.Switching+end.Bytes(false))
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		if f, err := gatewaytest.ReadFrame(c.R); err != nil || f.Payload != "\x0f\xa1" {
			t.Errorf("the client's answer: %v %v", f, err)
		}
	})
	g := gatewaytest.Run(t, sockets(origin, ""))
	c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	if got := c.Frame(); got.Payload != "\x0f\xa1own" {
		t.Errorf("got %v", got)
	}
	c.Closed()
	c.Write(gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x0f\xa1"}.Bytes(true))
	counted(t, g, `gateway_websocket_closed_total{route="ws",service="a",reason="service"}`, "1")
}

// A route has so many WebSockets at once and no more; a place is free again when one
// ends, and when a handshake comes to nothing.
func TestConnections(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	yaml := sockets(origin, "connections: 2")
	g := gatewaytest.Run(t, yaml)
	first, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	full := func() {
		t.Helper()
		got := g.Do(gatewaytest.Handshake("/ws/a", ""))
		if !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, `"code":"overloaded"`) || !strings.Contains(got, "\r\nRetry-After: 1\r\n") {
			t.Errorf("a third got %q", got)
		}
	}
	full()
	g.Reconfigure(yaml)
	full()
	_ = first.Conn.Close()
	counted(t, g, `gateway_websocket_closed_total{route="ws",service="a",reason="client"}`, "1")
	gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	full()

	nothing := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g = gatewaytest.Run(t, sockets(nothing, "connections: 1"))
	for range 5 {
		if got := g.Do(gatewaytest.Handshake("/ws/a", "")); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
	}
}

// WebSockets take no place of the service's requests, and keep their endpoint busy
// as long as they live.
func TestWebSocketsAndTheService(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			request, err := c.ReadRequest()
			if err != nil {
				return
			}
			if strings.Contains(request, "Upgrade") {
				_, _ = io.WriteString(c, gatewaytest.Switching)
				gatewaytest.Echo(c)
				return
			}
			_, _ = io.WriteString(c, gatewaytest.OK)
		}
	})
	g := gatewaytest.Run(t, strings.Replace(sockets(origin, ""), "retry: off", "retry: off, connections: {maximum: 1, idle: 1}, timeouts: {connect: 2s}", 1))
	var open []*gatewaytest.Client
	for range 3 {
		c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
		wantEcho(t, c, text("hello"))
		open = append(open, c)
	}
	if got := g.Do("GET /other HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a request beside them got %q", got)
	}
	endpoint := g.Current().Routes["ws"].Destinations[0].Service.Members()[0]
	if n := endpoint.InFlight(); n != 3 {
		t.Errorf("the endpoint is busy with %d", n)
	}
	for _, c := range open {
		_ = c.Conn.Close()
	}
	gatewaytest.Eventually(t, "the endpoint's rest", func() bool { return endpoint.InFlight() == 0 })
}

// A connection that can't be made is tried at another endpoint, as for any request;
// a service that is silent costs its time.
func TestHandshakesFail(t *testing.T) {
	t.Parallel()
	const nobody = "127.0.0.1:1" // a port of the machine's own that no test gets
	origin := gatewaytest.NewEcho(t)
	silent := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) { _, _ = io.Copy(io.Discard, c) })
	g := gatewaytest.Run(t, `
services:
  a: {endpoints: [{url: "http://`+nobody+`"}, {url: "`+origin.URL()+`"}], retry: {retries: 1, when: [connect]}}
  silent: {endpoints: [{url: "`+silent.URL()+`"}], timeouts: {response: 200ms}, retry: off}
  nobody: {endpoints: [{url: "http://`+nobody+`"}], retry: off}
defaults: {plugins: {websocket: {connections: 4}}}
routes:
  a: {match: {path: /a}, service: a}
  silent: {match: {path: /silent}, service: silent}
  nobody: {match: {path: /nobody}, service: nobody}
`)
	for range 4 {
		c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/a", "")
		wantEcho(t, c, text("hello"))
	}
	for range 5 {
		for path, want := range map[string]string{"/silent": "HTTP/1.1 504 ", "/nobody": "HTTP/1.1 502 "} {
			if got := g.Do(gatewaytest.Handshake(path, "")); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %q", path, got)
			}
		}
	}
}

// A client that leaves ahead of the answer frees the service's connection.
func TestClientLeavesDuringTheHandshake(t *testing.T) {
	t.Parallel()
	asked, gone := make(chan struct{}), make(chan struct{})
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err != nil {
			return
		}
		close(asked)
		_, _ = c.R.ReadByte()
		close(gone)
	})
	file, wait := accessLog(t)
	g := gatewaytest.Run(t, sockets(origin, "connections: 1")+`defaults: {plugins: {access_log: {to: "`+file+`"}}}`+"\n")
	c := gatewaytest.Dial(t, g.Address())
	c.Write(gatewaytest.Handshake("/ws/a", ""))
	<-asked
	_ = c.Conn.Close()
	<-gone
	wait(`"status":499`, 1)
}

// The exchange ends with the 101: log, metrics and snapshot have it behind them.
func TestTheExchangeEndsWithThe101(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	file, wait := accessLog(t)
	g := gatewaytest.Run(t, sockets(origin, "")+`defaults: {plugins: {access_log: {to: "`+file+`"}}}`+"\n")
	c, head := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "X-Correlation-ID: mine\r\n")
	wantEcho(t, c, text("hello"))
	line := wait(`"status":101`, 1)[0]
	for _, want := range []string{`"correlation_id":"mine"`, `"route":"ws"`, `"service":"a"`, `"answered_by":"service"`, `"tries":1`, `"bytes_out":0`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is missing in %s", want, line)
		}
	}
	if !strings.Contains(head, "X-Correlation-ID: mine\r\n") {
		t.Errorf("the answer is %q", head)
	}
	counted(t, g, `gateway_requests_total{method="GET",route="ws",status_code="101",service="a"}`, "1")
	counted(t, g, `gateway_in_flight`, "0")
	counted(t, g, `gateway_connections{listener="public"}`, "1")
	counted(t, g, `gateway_websocket_connections{route="ws",service="a"}`, "1")
	counted(t, g, `gateway_websocket_opened_total{route="ws",service="a"}`, "1")
	counted(t, g, `gateway_websocket_bytes_total{route="ws",service="a",direction="in"}`, "11")
	counted(t, g, `gateway_websocket_bytes_total{route="ws",service="a",direction="out"}`, "7")
	list := g.Tunnels().List()
	if len(list) != 1 || list[0].CorrelationID != "mine" || list[0].Route != "ws" || list[0].Endpoint != origin.Address() ||
		list[0].Client.String() != "127.0.0.1" || list[0].BytesIn != 11 || list[0].BytesOut != 7 {
		t.Errorf("listed is %+v", list)
	}
	if !g.Tunnels().CloseTunnel(list[0].ID) {
		t.Error("it could not be closed")
	}
	if got := c.Frame(); got.Opcode != gatewaytest.CloseFrame || got.Payload != "\x03\xe9" {
		t.Errorf("got %v", got)
	}
	c.Write(gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xe9"}.Bytes(true))
	c.Closed()
	counted(t, g, `gateway_websocket_closed_total{route="ws",service="a",reason="operator"}`, "1")
	counted(t, g, `gateway_websocket_connections{route="ws",service="a"}`, "0")
	counted(t, g, `gateway_connections{listener="public"}`, "0")
}

// A WebSocket outlives the configuration that it was opened under, its route and
// its service, and holds none of them.
func TestWS3_ReloadsPass(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	var built, closed atomic.Int32
	counter := plugin.Of("counter", nil, func(struct{}, *plugin.Deps) (pipeline.Instance, error) {
		built.Add(1)
		return pipeline.Instance{Close: func() { closed.Add(1) }}, nil
	})
	with := sockets(origin, "") + "defaults: {plugins: {counter: {}}}\n"
	without := `
services: {b: {endpoints: [{url: "http://127.0.0.1:1"}]}}
routes: {b: {match: {path: /b}, service: b}}
defaults: {plugins: {counter: {}}}
`
	g := gatewaytest.RunWith(t, with, counter)
	c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
	for range 20 {
		g.Reconfigure(without)
		wantEcho(t, c, text("without"))
		g.Reconfigure(with)
		wantEcho(t, c, text("with"))
	}
	g.Reconfigure(without)
	inForce := int32(2) // route b, and none
	gatewaytest.Eventually(t, "the end of all that was replaced", func() bool { return built.Load()-closed.Load() == inForce })
	wantEcho(t, c, text("still there"))
}

// On drain every client gets a Close frame, and none is cut.
func TestWS3_Drain(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	g := gatewaytest.Run(t, sockets(origin, ""))
	var clients []*gatewaytest.Client
	for range 20 {
		c, _ := gatewaytest.OpenWebSocket(t, g.Address(), "/ws/a", "")
		clients = append(clients, c)
	}
	stopped := g.Drain(context.Background(), gateway.Drain{Timeout: 10 * time.Second})
	for _, c := range clients {
		if got := c.Frame(); got.Opcode != gatewaytest.CloseFrame || got.Payload != "\x03\xe9" {
			t.Errorf("got %v", got)
		}
		c.Write(gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xe9"}.Bytes(true))
		c.Closed()
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
	if n := g.Tunnels().Len(); n != 0 {
		t.Errorf("%d tunnels are left", n)
	}
}

// A hook that breaks the answer leaves a fault, and no connection behind.
func TestPanicBehindThe101(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		if _, err := c.ReadRequest(); err == nil {
			_, _ = io.WriteString(c, gatewaytest.Switching)
			_, _ = c.R.ReadByte()
			gone <- struct{}{}
		}
	})
	bug := hook("bug", pipeline.Response, func(x *pipeline.Exchange) pipeline.Verdict {
		switch {
		case !x.Fault.IsZero():
		case x.Request.Header.Peek("X-Abort") != nil:
			return pipeline.Abort
		default:
			panic("a bug")
		}
		return pipeline.Continue
	})
	g := gatewaytest.RunOptions(t, sockets(origin, "connections: 1")+"defaults: {plugins: {bug: {}}}\n",
		gatewaytest.Options{Log: io.Discard, Plugins: []plugin.Plugin{bug}})
	c := gatewaytest.Dial(t, g.Address())
	for range 3 {
		c.Write(gatewaytest.Handshake("/ws/a", ""))
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 500 ") || strings.Contains(got, "Sec-WebSocket") {
			t.Errorf("got %q", got)
		}
		<-gone
	}
	c.Write(gatewaytest.Handshake("/ws/a", "X-Abort: 1\r\n"))
	c.Closed()
	<-gone
}

// noUpgrader is a Downstream whose connection can't leave HTTP.
type noUpgrader struct{ pipeline.Downstream }

// refuser is one that does not give its connection away.
type refuser struct{ pipeline.Downstream }

func (refuser) Upgrade(func(net.Conn, []byte)) error { return net.ErrClosed }

// breaker is one whose client leaves in the moment of the 101.
type breaker struct{ pipeline.Downstream }

func (b breaker) Upgrade(take func(net.Conn, []byte)) error {
	return b.Downstream.(pipeline.Upgrader).Upgrade(func(conn net.Conn, early []byte) {
		_ = conn.Close()
		take(conn, early)
	})
}

// opaque is one whose connection is no plain socket, as with TLS.
type opaque struct{ pipeline.Downstream }

func (o opaque) Upgrade(take func(net.Conn, []byte)) error {
	return o.Downstream.(pipeline.Upgrader).Upgrade(func(conn net.Conn, early []byte) {
		take(struct{ net.Conn }{conn}, early)
	})
}

// What is no plain socket is carried all the same.
func TestNoPlainSocket(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewEcho(t)
	swap := hook("swap", pipeline.Request, func(x *pipeline.Exchange) pipeline.Verdict {
		x.Down = opaque{x.Down}
		return pipeline.Continue
	})
	g := gatewaytest.RunWith(t, sockets(origin, "")+"defaults: {plugins: {swap: {}}}\n", swap)
	for range 10 {
		c := gatewaytest.Dial(t, g.Address())
		c.Write("GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 502 ") { // the origin switches unasked
			t.Errorf("got %q", got)
		}
		c.Write(gatewaytest.Handshake("/ws/a", "") + text("early").Bytes(true))
		if got := c.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
			t.Fatalf("got %q", got)
		}
		if got := c.Frame(); got != text("early") {
			t.Errorf("got %v", got)
		}
		wantEcho(t, c, text(strings.Repeat("hello", 20_000)))
		wantEcho(t, c, gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xe8"})
		c.Closed()
	}
	gatewaytest.Eventually(t, "the end", func() bool { return g.Tunnels().Len() == 0 })
}

// Where the client's side comes to nothing, the service's is not left behind.
func TestTheClientsSideFails(t *testing.T) {
	t.Parallel()
	gone := make(chan bool, 1)
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		request, err := c.ReadRequest()
		if err != nil {
			return
		}
		if !strings.Contains(request, "Upgrade") {
			_, _ = io.WriteString(c, gatewaytest.OK)
			return
		}
		_, _ = io.WriteString(c, gatewaytest.Switching)
		_, _ = c.R.ReadByte()
		gone <- true
	})
	swap := hook("swap", pipeline.Request, func(x *pipeline.Exchange) pipeline.Verdict {
		switch string(x.Request.Header.Peek("X-Down")) {
		case "none":
			x.Down = noUpgrader{x.Down}
		case "refuses":
			x.Down = refuser{x.Down}
		case "breaks":
			x.Down = breaker{x.Down}
		}
		return pipeline.Continue
	})
	file, wait := accessLog(t)
	g := gatewaytest.RunWith(t, sockets(origin, "connections: 1")+`defaults: {plugins: {swap: {}, access_log: {to: "`+file+`"}}}`+"\n", swap)
	if got := g.Do(gatewaytest.Handshake("/ws/a", "X-Down: none\r\n")); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a connection that can't leave HTTP got %q", got)
	}
	for i, down := range []string{"refuses", "breaks"} {
		c := gatewaytest.Dial(t, g.Address())
		c.Write(gatewaytest.Handshake("/ws/a", "X-Down: "+down+"\r\n"))
		<-gone
		wait(`"status":499`, i+1)
		_ = c.Conn.Close()
	}
	gatewaytest.Eventually(t, "the endpoint's rest", func() bool {
		return g.Current().Routes["ws"].Destinations[0].Service.Members()[0].InFlight() == 0
	})
	if n := g.Tunnels().Len(); n != 0 {
		t.Errorf("%d tunnels are left", n)
	}
}

// A WebSocket of a client that speaks TLS is carried like any other, what the
// client sent behind its handshake included, and ends with a farewell.
func TestWebSocketOverTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	origin := gatewaytest.NewEcho(t)
	g := gatewaytest.Run(t, fmt.Sprintf(`
listen: {secure: {address: "127.0.0.1:0", tls: {certificates: [%s]}}}
limits: {idle_timeout: 200ms, body_timeout: 200ms}
`, s.issue(t, "a", "h"))+sockets(origin, ""))
	c := gatewaytest.DialTLS(t, g.Gateway.Address("secure").String(), s.client("h"))
	early := gatewaytest.Frame{Opcode: gatewaytest.Text, Final: true, Payload: "early"}
	c.Write(gatewaytest.Handshake("/ws/a", "") + early.Bytes(true))
	if head := c.Read("GET"); !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n") {
		t.Fatalf("the handshake got %q", head)
	}
	if got := c.Frame(); got.Payload != "early" {
		t.Errorf("behind the handshake came %v", got)
	}
	wantEcho(t, c, text(strings.Repeat("long ", 100_000)))
	// It may be silent for longer than HTTP would wait for a request, or for a body.
	_ = c.Conn.SetReadDeadline(time.Now().Add(600 * time.Millisecond))
	var timeout net.Error
	if n, err := c.Conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("while both were silent came %d bytes and %v", n, err)
	}
	wantEcho(t, c, text("still there"))
	c.Write(gatewaytest.Frame{Opcode: gatewaytest.CloseFrame, Final: true, Payload: "\x03\xe8"}.Bytes(true))
	if got := c.Frame(); got.Opcode != gatewaytest.CloseFrame {
		t.Errorf("got %v", got)
	}
	c.Closed()
	gatewaytest.Eventually(t, "the end of the tunnel", func() bool { return g.Tunnels().Len() == 0 })
}
