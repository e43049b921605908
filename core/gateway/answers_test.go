package gateway_test

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/snapshot"
)

// What the gateway answers itself, compared as a whole.
func TestOwnAnswers(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.RunOptions(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes:
  read: {match: {path: "/a/{rest...}", methods: [GET, POST]}, service: a}
  delete: {match: {path: "/a/{rest...}", methods: [DELETE]}, service: a}
  elsewhere: {match: {path: "/a/{rest...}", methods: [PUT], hosts: [other.example]}, service: a}
  options: {match: {path: /o, methods: [OPTIONS]}, service: a}
  moved: {match: {path: "/r/{rest...}"}, redirect: {to: "/new/{rest}", status: 308}}
  bare: {match: {path: "/bare/{rest...}"}, redirect: {to: "/{rest}"}}
  abroad: {match: {path: /q}, redirect: {to: "https://example.com/x?y=1", status: 302}}
  teapot: {match: {path: /s}, respond: {status: 418, body: short, content_type: text/plain}}
  empty: {match: {path: /e}, respond: {status: 204}}
`, gatewaytest.Options{BuiltIns: []snapshot.BuiltIn{{
		Name: "probe", Match: router.Match{Paths: []string{"/up"}, Methods: []string{"GET"}},
		Answer: func(x *pipeline.Exchange) pipeline.Verdict {
			x.Response.SetBodyString("up\n")
			x.Response.Header.SetContentType("text/plain")
			return pipeline.Respond
		},
	}}})
	noRoute := "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 176\r\nX-Correlation-ID: <id>\r\n"
	notAllowed := func(allow string) string {
		return "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/problem+json\r\nContent-Length: 206\r\nAllow: " + allow +
			"\r\nX-Correlation-ID: <id>\r\n\r\n" + faultBody("method_not_allowed", "Method not allowed", "405", "")
	}
	const every = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	for _, c := range []struct{ name, request, want string }{
		{"no route", "GET /n HTTP/1.1\r\nHost: h\r\n\r\n", noRoute + "\r\n" + faultBody("no_route", "No such route", "404", "")},
		{"no route, HEAD", "HEAD /n HTTP/1.1\r\nHost: h\r\n\r\n", noRoute + "\r\n"},
		{"no route, 1.0", "GET /n HTTP/1.0\r\n\r\n", noRoute + "Connection: close\r\n\r\n" + faultBody("no_route", "No such route", "404", "")},
		{"OPTIONS", "OPTIONS /a/b HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, DELETE, OPTIONS\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"OPTIONS of another host", "OPTIONS /a/b HTTP/1.1\r\nHost: other.example\r\n\r\n", "HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"OPTIONS that a route takes", "OPTIONS /o HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 204 No Content\r\nAllow: " + every + "\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"OPTIONS of nothing", "OPTIONS /n HTTP/1.1\r\nHost: h\r\n\r\n", noRoute + "\r\n" + faultBody("no_route", "No such route", "404", "")},
		{"405, Allow is the union", "PATCH /a/b HTTP/1.1\r\nHost: h\r\n\r\n", notAllowed("GET, HEAD, POST, DELETE, OPTIONS")},
		{"405, unknown method", "FOO /a/b HTTP/1.1\r\nHost: h\r\n\r\n", notAllowed("GET, HEAD, POST, DELETE, OPTIONS")},
		{"405, a built-in route", "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", notAllowed("GET, HEAD, OPTIONS")},
		{"C13 CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", notAllowed(every)},
		{"C13 TRACE", "TRACE /a/b HTTP/1.1\r\nHost: h\r\n\r\n", notAllowed(every)},
		{"redirect", "GET /r/a/b HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: /new/a/b\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"redirect keeps the query", "GET /r/a?b=%2f HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: /new/a?b=%2f\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"redirect of an empty rest", "GET /r HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 308 Permanent Redirect\r\nContent-Length: 0\r\nLocation: /new\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"redirect to a query of its own", "GET /q?a HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://example.com/x?y=1\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"C7 redirect to another host's path", "GET /bare//evil.example HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /evil.example\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"respond", "GET /s HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nX-Correlation-ID: <id>\r\n\r\nshort"},
		{"respond, HEAD", "HEAD /s HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 418 I'm a teapot\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"respond, 204", "GET /e HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"built in", "GET /up HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nX-Correlation-ID: <id>\r\n\r\nup\n"},
		{"built in, HEAD", "HEAD /up HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"correlation id kept", "GET /e HTTP/1.1\r\nHost: h\r\nx-correlation-id: a.B_9-\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-Correlation-ID: a.B_9-\r\n\r\n"},
		{"correlation id of 128", "GET /e HTTP/1.1\r\nHost: h\r\nX-Correlation-ID: " + strings.Repeat("z", 128) + "\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-Correlation-ID: " + strings.Repeat("z", 128) + "\r\n\r\n"},
		{"correlation id too long", "GET /e HTTP/1.1\r\nHost: h\r\nX-Correlation-ID: " + strings.Repeat("z", 129) + "\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"correlation id with a space", "GET /e HTTP/1.1\r\nHost: h\r\nX-Correlation-ID: a b\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-Correlation-ID: <id>\r\n\r\n"},
		{"correlation id empty", "GET /e HTTP/1.1\r\nHost: h\r\nX-Correlation-ID:\r\n\r\n", "HTTP/1.1 204 No Content\r\nX-Correlation-ID: <id>\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) { same(t, "the answer", g.Do(c.request), c.want) })
	}
	if got := len(origin.Requests()); got != 1 {
		t.Errorf("the endpoint got %d requests, want the OPTIONS alone", got)
	}
}

// A panic in what the program brought along is a fault like any other.
func TestBuiltInMayFail(t *testing.T) {
	t.Parallel()
	g := gatewaytest.RunOptions(t, `routes: {a: {match: {path: /a}, respond: {}}}`, gatewaytest.Options{Log: discard{}, BuiltIns: []snapshot.BuiltIn{{
		Name: "broken", Match: router.Match{Paths: []string{"/broken"}},
		Answer: func(*pipeline.Exchange) pipeline.Verdict { panic("broken") },
	}}})
	client := gatewaytest.Dial(t, g.Address())
	for range 2 {
		client.Write("GET /broken HTTP/1.1\r\nHost: h\r\n\r\n")
		same(t, "the answer", client.Read(fasthttp.MethodGet), internalError)
	}
}

const internalError = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/problem+json\r\nContent-Length: 178\r\nX-Correlation-ID: <id>\r\n\r\n" +
	`{"type":"https://suuupra.dev/faults/internal","title":"Internal error","status":500,"code":"internal","error":"Internal error","correlationId":"<id>"}`

// discard is a log that nobody reads.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
