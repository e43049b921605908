package gateway_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// forwarded is what every request to an endpoint ends with, from a client on this
// machine that called the host h.
const forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n" +
	"Forwarded: for=127.0.0.1;host=h;proto=http\r\nX-Correlation-ID: <id>\r\nVia: 1.1 suuupra\r\n\r\n"

// Both views of an exchange are compared as a whole: the endpoint's and the client's.
func TestForwarding(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		switch {
		case strings.Contains(request, "/stream "):
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + chunk(70_000) + "0\r\n\r\n"
		case strings.Contains(request, "/long "):
			return "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("l", 70_000)
		case strings.Contains(request, "/fields "):
			return "HTTP/1.0 404 Nope\r\nServer: s\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: a\r\nX-Correlation-ID: theirs\r\n" +
				"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Type: x/y\r\nETag: e\r\nContent-Length: 1\r\n\r\nz"
		case strings.HasPrefix(request, "HEAD "):
			return "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"
		default:
			return gatewaytest.OK
		}
	})
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}], connections: {keepalive: off}}}
routes:
  a: {match: {path: "/a/{rest...}"}, service: a}
  strip: {match: {path: "/strip/{rest...}"}, service: a, strip_prefix: /strip}
  rewrite: {match: {path: "/rw/{x}/{rest...}"}, service: a, rewrite: "/v2/{x}/{rest}"}
  preserve: {match: {path: /preserve}, service: a, host: preserve}
  fixed: {match: {path: /fixed}, service: a, host: fixed.example}
  slashes: {match: {path: "/slashes/{rest...}"}, service: a, path: {encoded_slashes: allow}}
`)
	const (
		ok     = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok"
		okHead = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n"
	)
	for _, c := range []struct{ name, request, seen, want string }{
		{"GET", "GET /a/b?c=%2f&d HTTP/1.1\r\nHost: h\r\nUser-Agent: t\r\nAccept: */*\r\n\r\n",
			"GET /a/b?c=%2f&d HTTP/1.1\r\nHost: <origin>\r\nUser-Agent: t\r\nAccept: */*\r\n" + forwarded, ok},
		{"HEAD", "HEAD /a/b HTTP/1.1\r\nHost: h\r\n\r\n", "HEAD /a/b HTTP/1.1\r\nHost: <origin>\r\n" + forwarded,
			"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"a canonical path", "GET /a//x/../%7eb/%c3%a9 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/~b/%C3%A9 HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"absolute-form", "GET http://H/a/b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/b HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"an empty query", "GET /a/b? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/b? HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"POST, small", "POST /a/b HTTP/1.1\r\nHost: h\r\nContent-Type: x/y\r\nContent-Length: 3\r\n\r\nabc",
			"POST /a/b HTTP/1.1\r\nHost: <origin>\r\nContent-Type: x/y\r\nContent-Length: 3\r\n" + forwarded + "abc", ok},
		{"POST, nothing", "POST /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST /a/b HTTP/1.1\r\nHost: <origin>\r\nContent-Length: 0\r\n" + forwarded, ok},
		{"POST, larger than the buffer", "POST /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("p", 70_000),
			"POST /a/b HTTP/1.1\r\nHost: <origin>\r\nContent-Length: 70000\r\n" + forwarded + strings.Repeat("p", 70_000), ok},
		{"POST, chunked", "POST /a/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: z\r\n\r\n",
			"POST /a/b HTTP/1.1\r\nHost: <origin>\r\nTransfer-Encoding: chunked\r\n" + forwarded + "3\r\nabc\r\n0\r\n\r\n", ok},
		{"GET with a body", "GET /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", "GET /a/b HTTP/1.1\r\nHost: <origin>\r\nContent-Length: 1\r\n" + forwarded + "x", ok},
		{"an unknown method", "BREW /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "BREW /a/b HTTP/1.1\r\nHost: <origin>\r\nContent-Length: 0\r\n" + forwarded, ok},
		{"a chunked answer", "GET /a/stream HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/stream HTTP/1.1\r\nHost: <origin>\r\n" + forwarded,
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Correlation-ID: <id>\r\n\r\n<chunks of 70003>"},
		{"a long answer", "GET /a/long HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/long HTTP/1.1\r\nHost: <origin>\r\n" + forwarded,
			"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\nX-Correlation-ID: <id>\r\n\r\n" + strings.Repeat("l", 70_000)},
		{"the fields of an answer", "GET /a/fields HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/fields HTTP/1.1\r\nHost: <origin>\r\n" + forwarded,
			"HTTP/1.1 404 Nope\r\nServer: s\r\nContent-Type: x/y\r\nContent-Length: 1\r\nEtag: e\r\nX-Correlation-ID: <id>\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nz"},
		{"a client of 1.0", "GET /a/b HTTP/1.0\r\nHost: h\r\n\r\n", "GET /a/b HTTP/1.1\r\nHost: <origin>\r\n" + strings.Replace(forwarded, "1.1 s", "1.0 s", 1), okHead + "Connection: close\r\n\r\nok"},
		{"a client of 1.0 that stays", "GET /a/b HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", "GET /a/b HTTP/1.1\r\nHost: <origin>\r\n" + strings.Replace(forwarded, "1.1 s", "1.0 s", 1),
			okHead + "Connection: keep-alive\r\n\r\nok"},
		{"a client of 1.0, chunked answer", "GET /a/stream HTTP/1.0\r\nHost: h\r\n\r\n", "GET /a/stream HTTP/1.1\r\nHost: <origin>\r\n" + strings.Replace(forwarded, "1.1 s", "1.0 s", 1),
			"HTTP/1.1 200 OK\r\nX-Correlation-ID: <id>\r\nConnection: close\r\n\r\nabc" + strings.Repeat("z", 70_000)},
		{"Connection: close", "GET /a/b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET /a/b HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, okHead + "Connection: close\r\n\r\nok"},
		{"strip_prefix", "GET /strip/a/b?c HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/b?c HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"strip_prefix of all", "GET /strip HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"rewrite", "GET /rw/1/a/b?c HTTP/1.1\r\nHost: h\r\n\r\n", "GET /v2/1/a/b?c HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"rewrite with an empty rest", "GET /rw/1 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /v2/1 HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"host: preserve", "GET /preserve HTTP/1.1\r\nHost: Api.Example:81\r\n\r\n", "GET /preserve HTTP/1.1\r\nHost: Api.Example:81\r\n" +
			strings.NewReplacer("Host: h", "Host: Api.Example:81", "host=h", `host="Api.Example:81"`).Replace(forwarded), ok},
		{"host: a fixed one", "GET /fixed HTTP/1.1\r\nHost: h\r\n\r\n", "GET /fixed HTTP/1.1\r\nHost: fixed.example\r\n" + forwarded, ok},
		{"an encoded slash where it is allowed", "GET /slashes/a%2fb HTTP/1.1\r\nHost: h\r\n\r\n", "GET /slashes/a%2Fb HTTP/1.1\r\nHost: <origin>\r\n" + forwarded, ok},
		{"a correlation id", "GET /a/b HTTP/1.1\r\nHost: h\r\nX-Correlation-ID: mine\r\n\r\n", "GET /a/b HTTP/1.1\r\nHost: <origin>\r\n" + strings.Replace(forwarded, "<id>", "mine", 1),
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: mine\r\n\r\nok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(origin.Requests())
			got := joinChunks(g.Do(c.request))
			seen := origin.Requests()[before:]
			if len(seen) != 1 {
				t.Fatalf("the endpoint saw %d requests: %q", len(seen), seen)
			}
			request := strings.Replace(seen[0], "Host: "+origin.Address(), "Host: <origin>", 1)
			request = strings.Replace(request, "Connection: close\r\n", "", 1) // of keepalive: off
			same(t, "the endpoint's view", request, c.seen)
			same(t, "the answer", got, c.want)
		})
	}
}

func chunk(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("z", n)) }

// joinChunks replaces a chunked body, whose pieces depend on timing, by its length.
func joinChunks(response string) string {
	head, body, _ := strings.Cut(response, "\r\n\r\n")
	if !strings.Contains(head, "Transfer-Encoding: chunked") {
		return response
	}
	total := 0
	for body != "0\r\n\r\n" {
		size, rest, found := strings.Cut(body, "\r\n")
		var n int
		if _, err := fmt.Sscanf(size, "%x", &n); err != nil || !found || len(rest) < n+2 {
			return response + "<not chunked>"
		}
		total += n
		body = rest[n+2:]
	}
	return fmt.Sprintf("%s\r\n\r\n<chunks of %d>", head, total)
}

// An answer without an end flows as it comes: each piece is here before the next is made.
func TestAnswersFlow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, head, piece, seen string }{
		{"chunked", "Transfer-Encoding: chunked", "1\r\na\r\n", "1\r\na\r\n"},
		{"of known length", "Content-Length: 100000", "a", "a"},
		{"until the end of the connection", "Connection: close", "a", "1\r\na\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			origin := gatewaytest.NewRawOrigin(t, func(o *gatewaytest.OriginConn) {
				if _, err := o.ReadRequest(); err != nil {
					return
				}
				_, _ = io.WriteString(o, "HTTP/1.1 200 OK\r\n"+c.head+"\r\n\r\n")
				for range next {
					_, _ = io.WriteString(o, c.piece)
				}
			})
			g := gatewaytest.Run(t, oneService(origin))
			client := gatewaytest.Dial(t, g.Address())
			client.Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			for line := ""; line != "\r\n"; line = client.TakeLine() {
			}
			for range 5 {
				next <- struct{}{}
				if got := client.Take(len(c.seen)); got != c.seen {
					t.Errorf("got %q", got)
				}
			}
			close(next) // the service goes: only the last of the three ends well
			if c.head == "Connection: close" {
				if got := client.Take(5); got != "0\r\n\r\n" {
					t.Errorf("at the end came %q", got)
				}
				return
			}
			client.Closed()
		})
	}
}

// The head of an answer waits for no more of its body than has come with it, and
// an HTTP/1.0 client gets one head, however late the body is.
func TestHeadsDontWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, head, first, rest, request, body string }{
		{"a part of a chunk's size", "Transfer-Encoding: chunked", "1", "0;x\r\n" + strings.Repeat("a", 16) + "\r\n0\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "10\r\n" + strings.Repeat("a", 16) + "\r\n0\r\n\r\n"},
		{"an extension", "Transfer-Encoding: chunked", "2;e", "xt\r\nab\r\n0\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "2\r\nab\r\n0\r\n\r\n"},
		{"nothing, to a client of 1.0", "Transfer-Encoding: chunked", "", "2\r\nab\r\n0\r\n\r\n", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "ab"},
		{"a part, to a client of 1.0", "Transfer-Encoding: chunked", "2\r\na", "b\r\n0\r\n\r\n", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "ab"},
		{"nothing of a known length", "Content-Length: 70000", "", strings.Repeat("x", 70000), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", strings.Repeat("x", 70000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			goOn := sync.OnceFunc(func() { close(next) })
			defer goOn()
			origin := gatewaytest.NewRawOrigin(t, func(o *gatewaytest.OriginConn) {
				if _, err := o.ReadRequest(); err != nil {
					return
				}
				_, _ = io.WriteString(o, "HTTP/1.1 200 OK\r\n"+c.head+"\r\n\r\n"+c.first)
				<-next
				_, _ = io.WriteString(o, c.rest)
			})
			client := gatewaytest.Dial(t, gatewaytest.Run(t, oneService(origin)).Address())
			client.Write(c.request)
			for line := ""; line != "\r\n"; line = client.TakeLine() {
			}
			goOn()
			if got := client.Take(len(c.body)); got != c.body {
				t.Errorf("the body is %.100q, want %.100q", got, c.body)
			}
			if strings.Contains(c.request, "1.0") {
				client.Closed()
			}
		})
	}
}

// A body is sent on as it comes, and one that breaks off reaches the service as broken.
func TestUploadsFlow(t *testing.T) {
	t.Parallel()
	got := make(chan string)
	origin := gatewaytest.NewRawOrigin(t, func(o *gatewaytest.OriginConn) {
		defer close(got)
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = o.R.ReadString('\n'); err != nil {
				return
			}
		}
		for {
			line, err := o.R.ReadString('\n')
			if err != nil {
				return
			}
			got <- line
		}
	})
	g := gatewaytest.Run(t, oneService(origin))
	client := gatewaytest.Dial(t, g.Address())
	client.Write("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	for _, piece := range []string{"a", "b", "c"} {
		client.Write("1\r\n" + piece + "\r\n")
		if size, data := <-got, <-got; size+data != "1\r\n"+piece+"\r\n" {
			t.Errorf("got %q", size+data)
		}
	}
	_ = client.Conn.Close()
	if end, more := <-got; more {
		t.Errorf("behind a body that broke off came %q", end)
	}
}

func oneService(o *gatewaytest.Origin) string {
	return `
services: {a: {endpoints: [{url: "` + o.URL() + `"}], retry: off}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
`
}

// Requests that were pipelined are answered in order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		_, path, _ := strings.Cut(request, " ")
		path, _, _ = strings.Cut(path, " ")
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
	})
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes: {a: {match: {path: "/a/{rest...}"}, service: a}}
`)
	client := gatewaytest.Dial(t, g.Address())
	client.Write("GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /a/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /n HTTP/1.1\r\nHost: h\r\n\r\nGET /a/3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	for _, want := range []string{"/a/1", "/a/2", "no_route", "/a/3"} {
		if got := client.Read("GET"); !strings.Contains(got, want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	client.Closed()
}
