package cors_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// text shows an answer with its fields sorted, without what differs from run to run
// and what says no more than the body.
func text(answer string) string {
	head, body, _ := strings.Cut(gatewaytest.Scrub(answer), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	fields := slices.DeleteFunc(lines[1:], func(line string) bool {
		return strings.HasPrefix(line, "X-Correlation-ID: ") || strings.HasPrefix(line, "Content-Length: ") || strings.HasPrefix(line, "Content-Type: ")
	})
	slices.Sort(fields)
	if strings.HasPrefix(body, "{") {
		_, body, _ = strings.Cut(body, `"code":"`)
		body, _, _ = strings.Cut(body, `"`)
	}
	return strings.TrimPrefix(lines[0], "HTTP/1.1 ") + "\n" + strings.Join(append(fields, body), "\n")
}

// guarded refuses every request in Authenticate, as auth would one without credential.
func guarded() plugin.Plugin {
	return plugin.Of("guarded", nil, func(struct{}, *plugin.Deps) (pipeline.Instance, error) {
		var i pipeline.Instance
		i.Hooks[pipeline.Authenticate] = func(x *pipeline.Exchange) pipeline.Verdict { return x.Fail(fault.Unauthenticated) }
		return i, nil
	})
}

// broken panics just before the service is called.
func broken() plugin.Plugin {
	return plugin.Of("broken", nil, func(struct{}, *plugin.Deps) (pipeline.Instance, error) {
		var i pipeline.Instance
		i.Hooks[pipeline.Request] = func(*pipeline.Exchange) pipeline.Verdict { panic("broken") }
		return i, nil
	})
}

const (
	app         = "Origin: https://app.suuupra.dev\r\n"
	evil        = "Origin: https://app.suuupra.dev.evil.com\r\n"
	granted     = "Access-Control-Allow-Credentials: true\nAccess-Control-Allow-Origin: https://app.suuupra.dev\nAccess-Control-Expose-Headers: ETag\n"
	byPreflight = "204 No Content\nAccess-Control-Allow-Credentials: true\nAccess-Control-Allow-Headers: Authorization\nAccess-Control-Allow-Methods: GET, PUT\n" +
		"Access-Control-Allow-Origin: https://app.suuupra.dev\nAccess-Control-Max-Age: 600\n" + preflightVary
	preflightVary = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\n"
	vary          = "Vary: Origin\n"
)

func asking(path, origin, method string, fields ...string) string {
	return "OPTIONS " + path + " HTTP/1.1\r\nHost: h\r\n" + origin + "Access-Control-Request-Method: " + method + "\r\n" + strings.Join(fields, "") + "\r\n"
}

// TestC14_Walk goes through a whole gateway: preflights meet the route of the asked-for
// request ahead of its authentication, and every answer says who may read it.
func TestC14_Walk(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		switch line, _, _ := strings.Cut(request, "\r\n"); {
		case strings.Contains(line, "/stream"):
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVary: Accept\r\nAccess-Control-Allow-Origin: *\r\n\r\n" +
				"20000\r\n" + strings.Repeat("x", 0x20000) + "\r\n0\r\n\r\n"
		case strings.Contains(line, "/not-modified"):
			return "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"
		case strings.Contains(line, "/fails"):
			return "HTTP/1.1 500 Internal Server Error\r\nAccess-Control-Allow-Origin: null\r\nContent-Length: 0\r\n\r\n"
		case strings.Contains(line, "/dies"):
			return ""
		}
		return "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://app.suuupra.dev.evil.com\r\nAccess-Control-Allow-Methods: DELETE\r\nVary: Accept\r\nContent-Length: 2\r\n\r\nok"
	})
	g := gatewaytest.RunOptions(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}, gone: {endpoints: [{url: "http://127.0.0.1:1"}], retry: {retries: 0}}}
x-web: &web {origins: [https://app.suuupra.dev], methods: [GET, PUT], headers: [Authorization], expose: [ETag], credentials: true}
defaults: {plugins: {cors: *web}}
routes:
  read: {match: {path: "/a/{rest...}", methods: [GET]}, service: a, plugins: {guarded: off}}
  write: {match: {path: "/a/{rest...}", methods: [PUT]}, service: a, plugins: {guarded: {}}}
  patch: {match: {path: "/a/{rest...}", methods: [PATCH]}, service: a, plugins: {cors: off}}
  any: {match: {path: "/any/{rest...}"}, service: a}
  closed: {match: {path: "/any/closed", methods: [PUT]}, service: a, plugins: {cors: off}}
  own: {match: {path: /own, methods: [GET, OPTIONS]}, service: a, plugins: {cors: off}}
  gone: {match: {path: /gone}, service: gone}
  panic: {match: {path: /panic}, service: a, plugins: {broken: {}}}
  moved: {match: {path: /moved}, redirect: {to: /a/new, status: 308}}
  fixed: {match: {path: /fixed}, respond: {status: 200, body: fixed}}
  maintained: {match: {path: /maintained}, service: a, plugins: {maintenance: {retry_after: 5m}}}
  filtered: {match: {path: /filtered}, service: a, plugins: {ip_filter: {deny: [127.0.0.0/8]}}}
`, gatewaytest.Options{Log: io.Discard, Plugins: []plugin.Plugin{guarded(), broken()}})
	for _, c := range []struct{ name, request, want string }{
		{"preflight of a route that takes no OPTIONS", asking("/a/b", app, "GET"), byPreflight},
		{"preflight ahead of auth", asking("/a/b", app, "PUT", "Access-Control-Request-Headers: authorization\r\n"), byPreflight},
		{"preflight of HEAD", asking("/a/b", app, "HEAD"), byPreflight},
		{"preflight of a route of any method", asking("/any/b", app, "PUT"), byPreflight},
		{"preflight of what no route takes", asking("/nothing", app, "PUT"), byPreflight},
		{"preflight of a method that no route takes", asking("/a/b", app, "DELETE"), "403 Forbidden\n" + preflightVary + "forbidden"},
		{"preflight of another origin", asking("/a/b", evil, "GET"), "403 Forbidden\n" + preflightVary + "forbidden"},
		{"preflight of another field", asking("/a/b", app, "GET", "Access-Control-Request-Headers: x-a\r\n"), "403 Forbidden\n" + preflightVary + "forbidden"},
		{"preflight of a closed route is not its neighbour's", asking("/any/closed", app, "PUT"), "200 OK\nVary: Accept, Origin, Access-Control-Request-Method, Access-Control-Request-Headers\nok"},
		{"preflight of a route without a policy is not the defaults'", asking("/a/b", app, "PATCH"), "204 No Content\nAllow: GET, HEAD, PUT, PATCH, OPTIONS\n" + preflightVary},
		{"preflight that the route's service answers", asking("/own", app, "GET"), "200 OK\nAccess-Control-Allow-Methods: DELETE\nAccess-Control-Allow-Origin: https://app.suuupra.dev.evil.com\nVary: Accept\nok"},
		{"preflight under maintenance", asking("/maintained", app, "GET"), byPreflight},
		{"preflight of a client that may not come in", asking("/filtered", app, "GET"), byPreflight},
		{"no preflight", "OPTIONS /a/b HTTP/1.1\r\nHost: h\r\n\r\n", "204 No Content\nAllow: GET, HEAD, PUT, PATCH, OPTIONS\n" + preflightVary},
		{"preflight of nothing", "OPTIONS * HTTP/1.1\r\nHost: h\r\n" + app + "Access-Control-Request-Method: GET\r\n\r\n",
			"204 No Content\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\n" + preflightVary},
		{"preflight of a bad path", asking("/a/%zz", app, "GET"), "400 Bad Request\nConnection: close\n" + preflightVary + "bad_request"},

		{"a service", "GET /a/b HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "200 OK\n" + granted + "Vary: Accept, Origin\nok"},
		{"a service, another origin", "GET /a/b HTTP/1.1\r\nHost: h\r\n" + evil + "\r\n", "200 OK\nVary: Accept, Origin\nok"},
		{"a service, two origins", "GET /a/b HTTP/1.1\r\nHost: h\r\n" + app + evil + "\r\n", "200 OK\nVary: Accept, Origin\nok"},
		{"a service, no origin", "GET /a/b HTTP/1.1\r\nHost: h\r\n\r\n", "200 OK\nVary: Accept, Origin\nok"},
		{"HEAD", "HEAD /a/b HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "200 OK\n" + granted + "Vary: Accept, Origin\n"},
		{"not modified", "GET /a/not-modified HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "304 Not Modified\n" + granted + "Etag: \"1\"\n" + vary},
		{"a service's 500", "GET /a/fails HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "500 Internal Server Error\n" + granted + vary},
		{"401", "PUT /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + app + "\r\n", "401 Unauthorized\n" + granted + vary + "Www-Authenticate: Bearer\nunauthenticated"},
		{"401 without its body", "PUT /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n" + app + "\r\n",
			"401 Unauthorized\n" + granted + "Connection: close\n" + vary + "Www-Authenticate: Bearer\nunauthenticated"},
		{"404", "GET /nothing HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "404 Not Found\n" + granted + vary + "no_route"},
		{"405", "DELETE /a/b HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "405 Method Not Allowed\n" + granted + "Allow: GET, HEAD, PUT, PATCH, OPTIONS\n" + vary + "method_not_allowed"},
		{"400", "GET /a/%zz HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "400 Bad Request\n" + granted + "Connection: close\n" + vary + "bad_request"},
		{"403", "GET /filtered HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "403 Forbidden\n" + granted + vary + "forbidden"},
		{"500", "GET /panic HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "500 Internal Server Error\n" + granted + vary + "internal"},
		{"502", "GET /a/dies HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "502 Bad Gateway\n" + granted + vary + "bad_gateway"},
		{"502, nobody there", "GET /gone HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "502 Bad Gateway\n" + granted + vary + "bad_gateway"},
		{"503", "GET /maintained HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "503 Service Unavailable\n" + granted + "Retry-After: 300\n" + vary + "maintenance"},
		{"redirect", "GET /moved HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "308 Permanent Redirect\n" + granted + "Location: /a/new\n" + vary},
		{"respond", "GET /fixed HTTP/1.1\r\nHost: h\r\n" + app + "\r\n", "200 OK\n" + granted + vary + "fixed"},
		{"a route without a policy", "PATCH /a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n" + app + "\r\n",
			"200 OK\nAccess-Control-Allow-Methods: DELETE\nAccess-Control-Allow-Origin: https://app.suuupra.dev.evil.com\nVary: Accept\nok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, text(g.Do(c.request))); diff != "" {
				t.Error(diff)
			}
		})
	}
	streamed := text(g.Do("GET /a/stream HTTP/1.1\r\nHost: h\r\n" + app + "\r\n"))
	if want := "200 OK\n" + granted + "Transfer-Encoding: chunked\nVary: Accept, Origin\n"; !strings.HasPrefix(streamed, want) || strings.Count(streamed, "x") < 0x20000 {
		t.Errorf("a stream: %.400s", streamed)
	}
	for _, request := range origin.Requests() {
		if strings.HasPrefix(request, "OPTIONS /a/") {
			t.Errorf("a preflight reached the service:\n%s", request)
		}
	}
	metrics := g.Metrics()
	for _, series := range []string{
		`gateway_requests_total{method="OPTIONS",route="write",status_code="204",service="a"} 1`,
		`gateway_requests_total{method="OPTIONS",route="none",status_code="403",service="none"} 1`,
		`gateway_cors_preflights_total{result="origin"} 1`,
		`gateway_maintenance_enabled{route="maintained"} 1`,
		`gateway_ip_filter_refused_total{reason="denied"} 1`,
	} {
		if !strings.Contains(metrics, series+"\n") {
			t.Errorf("%s is missing in\n%s", series, metrics)
		}
	}
}

// TestC14_InterimAnswers: what a service says of CORS stops here in interim answers too,
// of a request that waits for its answer and of one that uploads.
func TestC14_InterimAnswers(t *testing.T) {
	t.Parallel()
	const policy = "access-control-allow-origin: *\r\nAccess-Control-Allow-Credentials: true\r\n"
	hints := "HTTP/1.1 103 Early Hints\r\nLink: </app.css>\r\n" + policy + "\r\n"
	origin := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			line, err := c.R.ReadString('\n')
			if err != nil {
				return
			}
			if line != "\r\n" {
				continue
			}
			_, _ = io.WriteString(c, hints+"HTTP/1.1 102 Processing\r\n"+policy+"\r\n"+gatewaytest.OK)
			return // with what is left of an upload unread
		}
	})
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
defaults: {plugins: {auth: off, cors: {origins: [https://app.suuupra.dev]}}}
routes:
  a: {match: {path: /a}, service: a}
  open: {match: {path: /open}, service: a, plugins: {cors: off}}
`)
	for _, c := range []struct{ name, request, want string }{
		{"a page", "GET /a HTTP/1.1\r\nHost: h\r\n" + app + "Connection: close\r\n\r\n", ""},
		{"no page", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", ""},
		{"an upload", "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + app + "Connection: close\r\n\r\n1\r\na\r\n", ""},
		{"a route without a policy", "GET /open HTTP/1.1\r\nHost: h\r\n" + app + "Connection: close\r\n\r\n", policy},
	} {
		client := gatewaytest.Dial(t, g.Address())
		client.Write(c.request)
		got, _ := client.Rest() // an upload may end with a reset behind its answer
		head, final, _ := strings.Cut(got, "HTTP/1.1 200 OK\r\n")
		if !strings.EqualFold(head, "HTTP/1.1 103 Early Hints\r\nLink: </app.css>\r\n"+c.want+"\r\nHTTP/1.1 102 Processing\r\n"+c.want+"\r\n") || !strings.HasSuffix(final, "\r\n\r\nok") {
			t.Errorf("%s got\n%s", c.name, got)
		}
	}
}
