package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// refusedRequest is a request that must never reach an endpoint, with the answer's
// status and code.
type refusedRequest struct {
	name, raw string
	status    int
	code      string
}

const long = 20_000 // bytes: beyond every limit of a head

// refusedRequests holds what SPEC PX3, SECURITY C2–C4, C6, C7 and the parser table name.
var refusedRequests = []refusedRequest{
	{"TestC2 CL before TE", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 TE before CL", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 TE identity with CL", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 400, "bad_request"},
	{"C2 TE gzip, chunked", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 TE chunked, identity", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 TE twice", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 TE in 1.0", "POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 TE with vertical tab", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 two CL, different", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "bad_request"},
	{"C2 two CL, equal", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, "bad_request"},
	{"C2 CL list", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", 400, "bad_request"},
	{"C2 CL plus", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400, "bad_request"},
	{"C2 CL minus", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc", 400, "bad_request"},
	{"C2 CL hex", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", 400, "bad_request"},
	{"C2 CL empty", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400, "bad_request"},
	{"C2 CL leading zero", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 03\r\n\r\nabc", 400, "bad_request"},
	{"C2 CL huge", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, "bad_request"},
	{"C2 obs-fold", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: b\r\n c\r\n\r\n", 400, "bad_request"},
	{"C2 obs-fold in TE", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"},
	{"C2 bare LF in head", "GET /a HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n", 400, "bad_request"},
	{"C2 LF only", "GET /a HTTP/1.1\nHost: h\n\n", 400, "bad_request"},
	{"C2 bare CR in value", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: b\rc\r\n\r\n", 400, "bad_request"},
	{"C2 NUL in value", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: b\x00c\r\n\r\n", 400, "bad_request"},
	{"C2 control in value", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: b\x01c\r\n\r\n", 400, "bad_request"},
	{"C2 DEL in value", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: b\x7fc\r\n\r\n", 400, "bad_request"},
	{"C2 space before colon", "GET /a HTTP/1.1\r\nHost: h\r\nX-A : b\r\n\r\n", 400, "bad_request"},
	{"C2 tab before colon", "GET /a HTTP/1.1\r\nHost: h\r\nX-A\t: b\r\n\r\n", 400, "bad_request"},
	{"C2 space inside a name", "GET /a HTTP/1.1\r\nHost: h\r\nContent Length: 3\r\n\r\n", 400, "bad_request"},
	{"C2 empty name", "GET /a HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", 400, "bad_request"},
	{"C2 no colon", "GET /a HTTP/1.1\r\nHost: h\r\nX-A\r\n\r\n", 400, "bad_request"},
	{"C2 parenthesis in name", "GET /a HTTP/1.1\r\nHost: h\r\nX(A: b\r\n\r\n", 400, "bad_request"},
	{"C2 byte above 0x7f in name", "GET /a HTTP/1.1\r\nHost: h\r\nX\x80A: b\r\n\r\n", 400, "bad_request"},
	{"C2 Content_Length", "POST /a HTTP/1.1\r\nHost: h\r\nContent_Length: 3\r\n\r\n", 400, "bad_request"},
	{"C2 Transfer_Encoding", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer_Encoding: chunked\r\n\r\n", 400, "bad_request"},
	{"C2 two Content-Type", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n", 400, "bad_request"},
	{"C2 version 1.9", "GET /a HTTP/1.9\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C2 version 2.0", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C2 version lower case", "GET /a http/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C2 version 0.9", "GET /a\r\n\r\n", 400, "bad_request"},
	{"C2 method lower case", "get /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C2 method no token", "G@T /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C2 two spaces", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C2 PRI preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"},
	{"no Host", "GET /a HTTP/1.1\r\n\r\n", 400, "bad_request"},
	{"empty Host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_request"},
	{"two Host", "GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"Host with slash", "GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n", 400, "bad_request"},
	{"Host with space", "GET /a HTTP/1.1\r\nHost: h x\r\n\r\n", 400, "bad_request"},
	{"Host with bad port", "GET /a HTTP/1.1\r\nHost: h:8x\r\n\r\n", 400, "bad_request"},
	{"C2 Host list", "GET /a HTTP/1.1\r\nHost: h,x\r\n\r\n", 400, "bad_request"},
	{"C7 userinfo in Host", "GET /a HTTP/1.1\r\nHost: u:p@h\r\n\r\n", 400, "bad_request"},
	{"C7 absolute-form of another host", "GET http://evil/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C7 absolute-form with userinfo", "GET http://u:p@h/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C7 absolute-form of another scheme", "GET ftp://h/a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C4 Connection names Host", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close, Host\r\n\r\n", 400, "bad_request"},
	{"C4 Connection names Authorization", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: authorization\r\n\r\n", 400, "bad_request"},
	{"C4 Connection names Content-Length on a second line", "POST /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: Content-Length\r\nContent-Length: 0\r\n\r\n", 400, "bad_request"},
	{"C4 Connection names X-API-Key", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: X-API-Key\r\n\r\n", 400, "bad_request"},
	{"relative target", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"asterisk for GET", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"control in target", "GET /a\x01b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"NUL in target", "GET /a\x00b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"tab in target", "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"raw byte above 0x7f in target", "GET /a\x80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 backslash", "GET /a\\b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 encoded slash", "GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 encoded backslash", "GET /a%5Cb HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 encoded NUL", "GET /a%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 encoded CRLF", "GET /a%0d%0aX:%20y HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 encoded DEL", "GET /a%7f HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 bad escape", "GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 half an escape", "GET /a%2 HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 overlong UTF-8", "GET /a%c0%ae HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 invalid UTF-8", "GET /a%ff HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 dot-dot with parameter", "GET /a/..;/b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 dot with parameter", "GET /a/.;x/b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"C6 fragment", "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "bad_request"},
	{"long target", "GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: h\r\n\r\n", 414, "uri_too_long"},
	{"long head", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", long) + "\r\n\r\n", 431, "headers_too_large"},
	{"1 MB head", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431, "headers_too_large"},
	{"1,000 lines", "GET /a HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: y\r\n", 1000) + "\r\n", 431, "headers_too_large"},
	{"another expectation", "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\na", 417, "expectation_failed"},
	{"C13 CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 405, "method_not_allowed"},
	{"C13 TRACE", "TRACE /a HTTP/1.1\r\nHost: h\r\n\r\n", 405, "method_not_allowed"},
}

func TestRefusedRequestsNeverReachAnEndpoint(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.Run(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
defaults: {plugins: {security_headers: {}}}
`)
	for _, c := range refusedRequests {
		t.Run(c.name, func(t *testing.T) {
			client := gatewaytest.Dial(t, g.Address())
			// A pipelined request behind the refused one must die with it.
			err := client.TryWrite(c.raw + "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
			got, readErr := client.TryRead("GET")
			if readErr != nil {
				t.Fatalf("no whole answer: %v (writing: %v), got %q", readErr, err, got)
			}
			wantRefusal(t, got, c.status, c.code)
			if c.status != 405 { // framed well: what follows is another request
				client.Closed()
			}
			for _, request := range origin.Requests() {
				if c.status != 405 || !strings.HasPrefix(request, "GET /smuggled HTTP/1.1\r\n") {
					t.Fatalf("the endpoint saw %.200q", request)
				}
			}
		})
	}
}

// wantRefusal checks the parts of a refusal that all have in common.
func wantRefusal(t *testing.T, got string, status int, code string) {
	t.Helper()
	for _, want := range []string{
		fmt.Sprintf("HTTP/1.1 %d ", status),
		"\r\nContent-Type: application/problem+json\r\n",
		"\r\nX-Correlation-ID: ",
		"\r\nX-Content-Type-Options: nosniff\r\n",
		fmt.Sprintf(`"status":%d,"code":"%s"`, status, code),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in %q", want, got)
		}
	}
}
