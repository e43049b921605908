package gateway_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// record is a log that tests read. Writes are serialised by the gateway's side.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) count(part string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.text.String(), part)
}

// accessLog returns the path of a file for access_log, and a function that
// returns the lines which hold part once there are n.
func accessLog(t *testing.T) (path string, wait func(part string, n int) []string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "access.log")
	return path, func(part string, n int) (found []string) {
		t.Helper()
		gatewaytest.Eventually(t, "lines of the access log with "+part, func() bool {
			text, _ := os.ReadFile(path) // none yet: no lines
			found = nil
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, part) {
					found = append(found, line)
				}
			}
			return len(found) >= n
		})
		if len(found) != n {
			t.Errorf("%d lines with %s, want %d: %q", len(found), part, n, found)
		}
		return found
	}
}

// counted waits until requests of route and status were counted n times in all.
func counted(t *testing.T, g *gatewaytest.Gateway, series string, n string) {
	t.Helper()
	gatewaytest.Eventually(t, series+" "+n, func() bool { return strings.Contains(g.Metrics(), "\n"+series+" "+n+"\n") })
}

// A panic in a hook of any phase is one fault, and costs nobody else anything.
func TestPanicsAreFaults(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		if strings.Contains(request, "/stream ") {
			return "HTTP/1.1 200 OK\r\nX-Theirs: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(70_000) + "0\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nX-Theirs: 1\r\nContent-Length: 2\r\n\r\nok"
	})
	for phase := pipeline.Receive; phase < pipeline.Log; phase++ {
		if phase == pipeline.Lookup || phase == pipeline.Store {
			continue // the same parts of the walk as Request and Response
		}
		for _, path := range []string{"/a/small", "/a/stream"} {
			t.Run(phase.String()+path, func(t *testing.T) {
				t.Parallel()
				log := &record{}
				file, wait := accessLog(t)
				bug := hook("bug", phase, func(x *pipeline.Exchange) pipeline.Verdict {
					if x.Request.Header.Peek("X-Bug") != nil && x.Fault.IsZero() {
						panic("a bug")
					}
					return pipeline.Continue
				})
				g := gatewaytest.RunOptions(t, oneService(origin)+`
defaults: {plugins: {bug: {}, access_log: {to: "`+file+`"}}}
`, gatewaytest.Options{Log: log, Plugins: []plugin.Plugin{bug}})
				client := gatewaytest.Dial(t, g.Address())
				client.Write("GET " + path + " HTTP/1.1\r\nHost: h\r\nX-Bug: 1\r\n\r\n")
				same(t, "the answer", client.Read("GET"), internalError)
				client.Write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
				if got := client.Read("GET"); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") {
					t.Errorf("the next request got %q", got)
				}
				wait(`"fault":"internal"`, 1)
				wait(`"status":`, 2)
				if n := log.count(`"panic":"a bug"`); n != 1 {
					t.Errorf("the panic was logged %d times", n)
				}
			})
		}
	}
}

// A Log hook runs when the answer is out: its panic costs its line alone.
func TestPanicOfALogHook(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	log := &record{}
	bug := hook("bug", pipeline.Log, func(*pipeline.Exchange) pipeline.Verdict { panic("a bug") })
	g := gatewaytest.RunOptions(t, oneService(origin)+`
defaults: {plugins: {bug: {}}}
`, gatewaytest.Options{Log: log, Plugins: []plugin.Plugin{bug}})
	client := gatewaytest.Dial(t, g.Address())
	for range 3 {
		client.Write("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		same(t, "the answer", client.Read("GET"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok")
	}
	counted(t, g, `gateway_requests_total{method="GET",route="a",status_code="200",service="a"}`, "3")
	if n := log.count("a log hook panicked"); n != 3 {
		t.Errorf("logged %d times", n)
	}
}

// What a hook answers itself is final, in whatever phase; the exchange of an
// answer that was streaming ends once all the same.
func TestHooksAnswer(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		if strings.Contains(request, "/stream ") {
			return "HTTP/1.1 200 OK\r\nX-Theirs: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(70_000) + "0\r\n\r\n"
		}
		return "HTTP/1.1 200 OK\r\nX-Theirs: 1\r\nContent-Length: 2\r\n\r\nok"
	})
	forbidden := "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nContent-Length: 191\r\nX-Correlation-ID: <id>\r\n\r\n" +
		faultBody("forbidden", "Forbidden", "403", "no reason")
	for _, phase := range []pipeline.Phase{pipeline.Receive, pipeline.Guard, pipeline.Authenticate, pipeline.Authorize, pipeline.Limit, pipeline.Request, pipeline.Lookup, pipeline.Store, pipeline.Response} {
		for _, path := range []string{"/a/small", "/a/stream"} {
			t.Run(phase.String()+path, func(t *testing.T) {
				t.Parallel()
				file, wait := accessLog(t)
				deny := hook("deny", phase, func(x *pipeline.Exchange) pipeline.Verdict {
					return x.FailBy(fault.Forbidden.Detail("no reason"), errors.New("the cause"))
				})
				g := gatewaytest.RunWith(t, oneService(origin)+`
defaults: {plugins: {deny: {}, access_log: {to: "`+file+`"}}}
`, deny)
				client := gatewaytest.Dial(t, g.Address())
				for range 2 {
					client.Write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
					same(t, "the answer", client.Read("GET"), forbidden)
				}
				for _, line := range wait(`"fault":"forbidden"`, 2) {
					if !strings.Contains(line, `"status":403`) || !strings.Contains(line, "the cause") || !strings.Contains(line, `"answered_by":"gateway"`) {
						t.Errorf("logged %s", line)
					}
				}
				counted(t, g, "gateway_in_flight", "0")
				client.Write("GET " + path + " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
				if got := client.Read("GET"); phase <= pipeline.Limit && !strings.HasPrefix(got, "HTTP/1.1 403 ") || phase > pipeline.Limit && got != "HTTP/1.1 100 Continue\r\n\r\n" {
					t.Errorf("with Expect: %q", got)
				}
			})
		}
	}
}

// Abort closes without an answer.
func TestHooksAbort(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(request string) string {
		if strings.Contains(request, "/stream ") {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(70_000) + "0\r\n\r\n"
		}
		return gatewaytest.OK
	})
	for _, phase := range []pipeline.Phase{pipeline.Guard, pipeline.Request, pipeline.Response} {
		for _, path := range []string{"/a/small", "/a/stream"} {
			t.Run(phase.String()+path, func(t *testing.T) {
				t.Parallel()
				abort := hook("abort", phase, func(*pipeline.Exchange) pipeline.Verdict { return pipeline.Abort })
				file, wait := accessLog(t)
				g := gatewaytest.RunWith(t, oneService(origin)+`
defaults: {plugins: {abort: {}, access_log: {to: "`+file+`"}}}
`, abort)
				client := gatewaytest.Dial(t, g.Address())
				client.Write("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
				client.Closed()
				wait(`"status":`, 1)
				counted(t, g, "gateway_in_flight", "0")
			})
		}
	}
}

// The chain of route "none" guards what can't even be read.
func TestRefusedRequestsAreGuarded(t *testing.T) {
	t.Parallel()
	deny := hook("deny", pipeline.Guard, func(x *pipeline.Exchange) pipeline.Verdict {
		return x.Fail(fault.RateLimited)
	})
	g := gatewaytest.RunWith(t, `
routes: {a: {match: {path: /a}, respond: {}}}
defaults: {plugins: {deny: {}}}
`, deny)
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\nbad line\r\n\r\n", // the scanner refuses it
		"GET /n HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", // the walk refuses it
		"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		if got := g.Do(raw); !strings.HasPrefix(got, "HTTP/1.1 429 ") {
			t.Errorf("%q got %q", raw, got)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	file, wait := accessLog(t)
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}], retry: off}}
routes: {a: {match: {path: "/a/{rest...}"}, service: a, limits: {body: 10B}}}
defaults: {plugins: {access_log: {to: "`+file+`", headers: [X-Case]}}}
`)
	const head = "POST /a/b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-ID: <id>\r\n\r\nok"
	tooLarge := "HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: application/problem+json\r\nContent-Length: 206\r\nX-Correlation-ID: <id>\r\nConnection: close\r\n\r\n" +
		faultBody("body_too_large", "Request body too large", "413", "")
	t.Run("accepted", func(t *testing.T) {
		client := gatewaytest.Dial(t, g.Address())
		for _, body := range []string{"Content-Length: 3\r\n\r\n|abc", "Transfer-Encoding: chunked\r\n\r\n|3\r\nabc\r\n0\r\n\r\n"} {
			fields, content, _ := strings.Cut(body, "|")
			client.Write(head + fields)
			same(t, "the interim answer", client.Read("POST"), goOn)
			client.Write(content)
			same(t, "the answer", client.Read("POST"), ok)
			seen := origin.Requests()
			if last := seen[len(seen)-1]; strings.Contains(last, "Expect") || !strings.Contains(last, "abc") {
				t.Errorf("the endpoint saw %q", last)
			}
		}
	})
	t.Run("without a body", func(t *testing.T) {
		client := gatewaytest.Dial(t, g.Address())
		client.Write(head + "Content-Length: 0\r\n\r\n")
		same(t, "the interim answer", client.Read("POST"), goOn)
		same(t, "the answer", client.Read("POST"), ok)
	})
	before := len(origin.Requests())
	t.Run("refused, 413", func(t *testing.T) {
		client := gatewaytest.Dial(t, g.Address())
		client.Write(head + "Content-Length: 11\r\n\r\n")
		same(t, "the answer", client.Read("POST"), tooLarge)
		client.Closed()
	})
	t.Run("refused, 404", func(t *testing.T) {
		client := gatewaytest.Dial(t, g.Address())
		client.Write("POST /n HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		same(t, "the answer", client.Read("POST"), "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 176\r\nX-Correlation-ID: <id>\r\nConnection: close\r\n\r\n"+
			faultBody("no_route", "No such route", "404", ""))
		client.Closed()
	})
	t.Run("the client leaves after 100", func(t *testing.T) {
		for i, fields := range []string{"Content-Length: 3\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"} {
			id := []string{"left-known", "left-chunked"}[i]
			client := gatewaytest.Dial(t, g.Address())
			client.Write(head + "X-Case: " + id + "\r\n" + fields)
			same(t, "the interim answer", client.Read("POST"), goOn)
			_ = client.Conn.Close()
			for _, line := range wait(id, 1) {
				if !strings.Contains(line, `"status":400`) && !strings.Contains(line, `"status":499`) {
					t.Errorf("logged %s", line)
				}
			}
		}
		counted(t, g, "gateway_in_flight", "0")
	})
	t.Run("the body breaks the rules after 100", func(t *testing.T) {
		client := gatewaytest.Dial(t, g.Address())
		client.Write(head + "X-Case: broken\r\nTransfer-Encoding: chunked\r\n\r\n")
		same(t, "the interim answer", client.Read("POST"), goOn)
		client.Write("zz\r\n")
		if got := client.Read("POST"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("got %q", got)
		}
		client.Closed()
		wait("broken", 1)
	})
	for _, request := range origin.Requests()[before:] {
		if strings.Contains(request, "\r\n0\r\n") || strings.Contains(request, "Content-Length") {
			t.Errorf("the endpoint got a whole request: %q", request)
		}
	}
}
