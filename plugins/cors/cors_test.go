package cors

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

// web is a policy with everything in it.
const web = `{origins: ["https://app.suuupra.dev", "http://localhost:3000"], methods: [GET, PUT], headers: [Authorization, Content-Type, X-A],
	expose: [ETag, X-B], credentials: true, maximum_age: 90s}`

// request writes a request with fields "Name: value".
func request(method string, fields ...string) string {
	lines := []string{method + " /x HTTP/1.1", "Host: api.suuupra.dev", "X-Correlation-ID: c-1"}
	return strings.Join(append(lines, fields...), "\r\n") + "\r\n\r\n"
}

// run runs both hooks over a request, as the walk would.
func run(t testing.TB, built *plugintest.Built, raw, answer string) *pipeline.Exchange {
	t.Helper()
	x := plugintest.Exchange(t, raw)
	x.Preflight = x.AskedMethod() != nil
	if built.Run(pipeline.Guard, x) == pipeline.Continue && answer != "" {
		plugintest.Answer(t, x, answer)
	}
	if v := built.Run(pipeline.Response, x); v != pipeline.Continue {
		t.Errorf("verdict %v", v)
	}
	return x
}

const (
	varyOfPreflights = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\n"
	forWeb           = "204\nAccess-Control-Allow-Credentials: true\nAccess-Control-Allow-Headers: Authorization, Content-Type, X-A\n" +
		"Access-Control-Allow-Methods: GET, PUT\nAccess-Control-Allow-Origin: https://app.suuupra.dev\nAccess-Control-Max-Age: 90\n" + varyOfPreflights + "\n"
	forEverybody = "204\nAccess-Control-Allow-Methods: GET, HEAD, POST\nAccess-Control-Allow-Origin: *\nAccess-Control-Max-Age: 600\n" + varyOfPreflights + "\n"
)

// refused is the answer to a preflight that is not granted: no field of the protocol.
func refused(what string) string {
	return "403\nContent-Type: application/problem+json\n" + varyOfPreflights +
		"\n" + `{"type":"https://suuupra.dev/faults/forbidden","title":"Forbidden","status":403,"code":"forbidden","error":"Forbidden","detail":"CORS: ` +
		what + ` not allowed","correlationId":"c-1"}`
}

func TestC14_Preflights(t *testing.T) {
	t.Parallel()
	const app, localhost = "Origin: https://app.suuupra.dev", "Origin: http://localhost:3000"
	const put, any = "Access-Control-Request-Method: PUT", `{origins: "*"}`
	wrongOrigin, wrongMethod, wrongField := refused("the origin is"), refused("the method is"), refused("a request header field is")
	for _, c := range []struct {
		name, options string
		fields        []string
		want          string
	}{
		{"granted", web, []string{app, put}, forWeb},
		{"another origin of the list", web, []string{localhost, put}, strings.Replace(forWeb, "https://app.suuupra.dev", "http://localhost:3000", 1)},
		{"HEAD comes with GET", web, []string{app, "Access-Control-Request-Method: HEAD"}, forWeb},
		{"with fields", web, []string{app, put, "Access-Control-Request-Headers: authorization,content-type,x-a"}, forWeb},
		{"with fields in any case and with blanks", web, []string{app, put, "Access-Control-Request-Headers: Authorization , \tX-A,,"}, forWeb},
		{"with fields on two lines", web, []string{app, put, "Access-Control-Request-Headers: authorization", "Access-Control-Request-Headers: x-a"}, forWeb},
		{"with no field", web, []string{app, put, "Access-Control-Request-Headers:"}, forWeb},
		{"the private network is not granted", web, []string{app, put, "Access-Control-Request-Private-Network: true"}, forWeb},
		{"every origin", any, []string{"Origin: https://evil.example", "Access-Control-Request-Method: POST"}, forEverybody},
		{"every origin, null", any, []string{"Origin: null", "Access-Control-Request-Method: GET"}, forEverybody},
		{"null of the list", `{origins: ["null"], maximum_age: 0s}`, []string{"Origin: null", "Access-Control-Request-Method: GET"},
			"204\nAccess-Control-Allow-Methods: GET, HEAD, POST\nAccess-Control-Allow-Origin: null\nAccess-Control-Max-Age: 0\n" + varyOfPreflights + "\n"},

		{"another origin", web, []string{"Origin: https://evil.example", put}, wrongOrigin},
		{"an origin that begins like one of the list", web, []string{"Origin: https://app.suuupra.dev.evil.com", put}, wrongOrigin},
		{"an origin that ends like one of the list", web, []string{"Origin: https://evil-app.suuupra.dev", put}, wrongOrigin},
		{"the origin in upper case", web, []string{"Origin: https://APP.suuupra.dev", put}, wrongOrigin},
		{"the origin with its default port", web, []string{"Origin: https://app.suuupra.dev:443", put}, wrongOrigin},
		{"the origin with a slash", web, []string{"Origin: https://app.suuupra.dev/", put}, wrongOrigin},
		{"the origin with a dot", web, []string{"Origin: https://app.suuupra.dev.", put}, wrongOrigin},
		{"the origin in another scheme", web, []string{"Origin: http://app.suuupra.dev", put}, wrongOrigin},
		{"the origin without its port", web, []string{"Origin: http://localhost", put}, wrongOrigin},
		{"the origin in a list", web, []string{"Origin: https://app.suuupra.dev, https://evil.example", put}, wrongOrigin},
		{"null", web, []string{"Origin: null", put}, wrongOrigin},
		{"the list's wildcard is no origin", web, []string{"Origin: *", put}, wrongOrigin},
		{"another method", web, []string{app, "Access-Control-Request-Method: POST"}, wrongMethod},
		{"a method in lower case", web, []string{app, "Access-Control-Request-Method: put"}, wrongMethod},
		{"a list of methods", web, []string{app, "Access-Control-Request-Method: GET, PUT"}, wrongMethod},
		{"another field", web, []string{app, put, "Access-Control-Request-Headers: authorization,x-c"}, wrongField},
		{"another field on the second line", web, []string{app, put, "Access-Control-Request-Headers: x-a", "Access-Control-Request-Headers: x-c"}, wrongField},
		{"a wildcard for fields", web, []string{app, put, "Access-Control-Request-Headers: *"}, wrongField},
		{"a very long field", web, []string{app, put, "Access-Control-Request-Headers: " + strings.Repeat("a", longestToken+1)}, wrongField},
		{"fields with a blank between", web, []string{app, put, "Access-Control-Request-Headers: x-a x-a"}, wrongField},

		// These are OPTIONS requests like any other, and nothing is granted.
		{"two origins", web, []string{app, localhost, put}, "200\n" + varyOfPreflights + "\n"},
		{"two methods", web, []string{app, put, "Access-Control-Request-Method: GET"}, "200\n" + varyOfPreflights + "\n"},
		{"no origin", web, []string{put}, "200\n" + varyOfPreflights + "\n"},
		{"an OPTIONS request of a page", web, []string{app}, "200\nAccess-Control-Allow-Credentials: true\nAccess-Control-Allow-Origin: https://app.suuupra.dev\n" +
			"Access-Control-Expose-Headers: ETag, X-B\n" + varyOfPreflights + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := run(t, plugintest.Build(t, Plugin, c.options), request("OPTIONS", c.fields...), "")
			if diff := cmp.Diff(c.want, plugintest.Text(x)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestC14_APreflightOfAnotherRouteIsNotAnswered: that its OPTIONS request came to
// this route says nothing about the request that it asks for.
func TestC14_APreflightOfAnotherRouteIsNotAnswered(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, web)
	x := plugintest.Exchange(t, request("OPTIONS", "Origin: https://app.suuupra.dev", "Access-Control-Request-Method: PUT"))
	if v := built.Run(pipeline.Guard, x); v != pipeline.Continue {
		t.Fatalf("verdict %v", v)
	}
	plugintest.Answer(t, x, "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: PUT\r\n\r\n")
	built.Run(pipeline.Response, x)
	if diff := cmp.Diff("204\n"+varyOfPreflights+"\n", plugintest.Text(x)); diff != "" {
		t.Error(diff)
	}
}

func TestC14_Answers(t *testing.T) {
	t.Parallel()
	const app = "Origin: https://app.suuupra.dev"
	const granted = "Access-Control-Allow-Credentials: true\nAccess-Control-Allow-Origin: https://app.suuupra.dev\nAccess-Control-Expose-Headers: ETag, X-B\n"
	answer := func(fields string) string {
		return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + fields + "\r\nok"
	}
	text := func(first, last string) string { return "200\n" + first + "Content-Length: 2\n" + last + "\nok" }
	for _, c := range []struct {
		name, options string
		fields        []string
		answer, want  string
	}{
		{"granted", web, []string{app}, answer(""), text(granted, "Vary: Origin\n")},
		{"another origin", web, []string{"Origin: https://evil.example"}, answer(""), text("", "Vary: Origin\n")},
		{"an origin that begins like one of the list", web, []string{"Origin: https://app.suuupra.dev.evil.com"}, answer(""), text("", "Vary: Origin\n")},
		{"two origins", web, []string{app, "Origin: https://evil.example"}, answer(""), text("", "Vary: Origin\n")},
		{"the same origin twice", web, []string{app, app}, answer(""), text("", "Vary: Origin\n")},
		{"null", web, []string{"Origin: null"}, answer(""), text("", "Vary: Origin\n")},
		{"no origin", web, nil, answer(""), text("", "Vary: Origin\n")},
		{"a method of preflights means nothing elsewhere", web, []string{app, "Access-Control-Request-Method: PUT"}, answer(""), text(granted, "Vary: Origin\n")},
		{"every origin", `{origins: "*", expose: ETag}`, []string{"Origin: null"}, answer(""), text("Access-Control-Allow-Origin: *\nAccess-Control-Expose-Headers: ETag\n", "Vary: Origin\n")},
		{"every origin, without one", `{origins: "*"}`, nil, answer(""), text("Access-Control-Allow-Origin: *\n", "Vary: Origin\n")},
		{
			"the service's policy goes", web, []string{"Origin: https://evil.example"},
			answer("Access-Control-Allow-Origin: https://evil.example\r\nACCESS-CONTROL-ALLOW-CREDENTIALS: true\r\naccess-control-expose-headers: X-Secret\r\n" +
				"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Private-Network: true\r\nAccess-Control-Of-Tomorrow: 1\r\nAccess: 1\r\nAccess-Controls: 1\r\n"),
			text("Access-Controls: 1\nAccess: 1\n", "Vary: Origin\n"),
		},
		{"the service's policy is replaced", web, []string{app}, answer("Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: DELETE\r\n"), text(granted, "Vary: Origin\n")},

		{"Vary is merged", web, nil, answer("Vary: Accept-Encoding\r\n"), text("", "Vary: Accept-Encoding, Origin\n")},
		{"Vary on two lines is one", web, nil, answer("Vary: Accept-Encoding,\r\nvary: Cookie\r\n"), text("", "Vary: Accept-Encoding, Cookie, Origin\n")},
		{"Vary that says so", web, nil, answer("Vary: accept, ORIGIN\r\n"), text("", "Vary: accept, ORIGIN\n")},
		{"Vary that says more", web, nil, answer("Vary: *\r\n"), text("", "Vary: *\n")},
		{"Vary that says nothing", web, nil, answer("Vary:\r\n"), text("", "Vary: Origin\n")},
		{"Vary on something like it", web, nil, answer("Vary: X-Origin\r\n"), text("", "Vary: X-Origin, Origin\n")},
		{"a very long Vary", web, nil, answer("Vary: " + strings.Repeat("A", 400) + "\r\n"), text("", "Vary: "+strings.Repeat("A", 400)+", Origin\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x := run(t, plugintest.Build(t, Plugin, c.options), request("GET", c.fields...), c.answer)
			if diff := cmp.Diff(c.want, plugintest.Text(x)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestC14_Faults: a page can only tell its user what went wrong if it may read it.
func TestC14_Faults(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, web)
	for _, f := range fault.Table() {
		x := plugintest.Exchange(t, request("GET", "Origin: https://app.suuupra.dev"))
		x.Fail(f)
		built.Run(pipeline.Response, x)
		text := plugintest.Text(x)
		for _, line := range []string{"Access-Control-Allow-Origin: https://app.suuupra.dev\n", "Access-Control-Allow-Credentials: true\n", "Vary: Origin\n"} {
			if !strings.Contains(text, line) {
				t.Errorf("%q is missing in\n%s", line, text)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, web)
	const app, evil = "Origin: https://app.suuupra.dev", "Origin: https://evil.example"
	const put = "Access-Control-Request-Method: PUT"
	for _, raw := range []string{
		request("OPTIONS", app, put), request("OPTIONS", app, put), request("OPTIONS", evil, put), request("OPTIONS", app, "Access-Control-Request-Method: POST"),
		request("OPTIONS", app, put, "Access-Control-Request-Headers: x-c"), request("GET", app), request("GET", evil), request("GET", evil), request("GET"),
	} {
		run(t, built, raw, "")
	}
	for line, n := range map[string]int{
		`preflights_total{result="allowed"}`: 2, `preflights_total{result="origin"}`: 1, `preflights_total{result="method"}`: 1,
		`preflights_total{result="headers"}`: 1, `requests_total{result="allowed"}`: 1, `requests_total{result="refused"}`: 2,
	} {
		if want := fmt.Sprintf("gateway_cors_%s %d\n", line, n); !strings.Contains(built.Metrics(), want) {
			t.Errorf("%s is missing in\n%s", want, built.Metrics())
		}
	}
}

// TestC14_NobodyElseIsGranted: whatever a caller writes into Origin, what comes back
// is that very origin of the list or nothing.
func TestC14_NobodyElseIsGranted(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, web)
	piece := rapid.SampledFrom([]string{"https://", "http://", "app", ".suuupra", ".dev", "localhost", ":3000", ":443", ".evil.com", "/", "@", "null", "*", " ", ",", "A"})
	rapid.Check(t, func(rt *rapid.T) {
		sent := strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(rt, "pieces"), "")
		x := run(t, built, request("GET", "Origin: "+sent), "")
		want := ""
		if seen := string(x.Request.Header.Peek("Origin")); seen == "https://app.suuupra.dev" || seen == "http://localhost:3000" {
			want = seen
		}
		if got := string(x.Response.Header.Peek("Access-Control-Allow-Origin")); got != want {
			rt.Fatalf("Origin %q is granted %q, want %q", sent, got, want)
		}
	})
}
