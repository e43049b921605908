package endtoend

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// refusal is the whole answer to a request that is refused before any service is
// asked, as a client sees it.
func refusal(status int, code, title, detail string) string {
	phrases := map[int]string{
		400: "Bad Request", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Request Entity Too Large", 414: "Request URI Too Long",
		417: "Expectation Failed", 431: "Request Header Fields Too Large",
	}
	if detail != "" {
		detail = fmt.Sprintf(`"detail":%q,`, detail)
	}
	body := fmt.Sprintf(`{"type":"https://suuupra.dev/faults/%s","title":%q,"status":%d,"code":%q,"error":%q,%s"correlationId":"<id>"}`, code, title, status, code, title, detail)
	allow, closes := "", "Connection: close\r\n"
	switch status {
	case 405:
		allow, closes = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n", ""
	case 413:
		closes = ""
	}
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n%sX-Correlation-ID: <id>\r\n%s\r\n%s",
		status, phrases[status], len(body)-len("<id>")+32, allow, closes, body)
}

func malformed(detail string) string { return refusal(400, "bad_request", "Bad request", detail) }

// A sample of what must never reach a service, against the binary as it is
// shipped: whole answers, and an endpoint that saw nothing. Package core/gateway
// tests the whole list.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	s := serveFile(t, `
services: {a: {endpoints: [{url: "`+origin.URL()+`"}]}}
defaults: {plugins: {auth: off}}
routes: {a: {match: {path: "/{rest...}"}, service: a}}
limits: {header_timeout: 1s, body_timeout: 1s, body: 1KiB}
`)
	const h = " HTTP/1.1\r\nHost: h\r\n"
	for _, c := range []struct{ name, raw, want string }{
		{"CL and TE", "POST /a" + h + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", malformed("there are both Content-Length and Transfer-Encoding")},
		{"two CL", "POST /a" + h + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", malformed("there is more than one Content-Length")},
		{"TE identity", "POST /a" + h + "Transfer-Encoding: identity\r\n\r\nabc", malformed("Transfer-Encoding is not a single chunked")},
		{"TE gzip, chunked", "POST /a" + h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", malformed("Transfer-Encoding is not a single chunked")},
		{"obs-fold", "GET /a" + h + "X-A: b\r\n c\r\n\r\n", malformed("a field line begins with white space (obsolete folding)")},
		{"bare LF", "GET /a HTTP/1.1\nHost: h\n\n", malformed("a line ends in LF without CR")},
		{"NUL", "GET /a" + h + "X-A: b\x00c\r\n\r\n", malformed("a field value holds a control character")},
		{"space before the colon", "GET /a" + h + "X-A : b\r\n\r\n", malformed("there is white space before the colon or inside a field name")},
		{"no Host", "GET /a HTTP/1.1\r\n\r\n", malformed("there is no Host")},
		{"two Hosts", "GET /a" + h + "Host: h\r\n\r\n", malformed("there is more than one Host")},
		{"another version", "GET /a HTTP/1.9\r\nHost: h\r\n\r\n", malformed("the version is neither HTTP/1.0 nor HTTP/1.1")},
		{"a lower-case method", "get /a" + h + "\r\n", malformed("the method is not 1 to 24 upper-case token characters")},
		{"C4 Connection names Authorization", "GET /a" + h + "Connection: authorization\r\n\r\n", malformed("Connection names a field that is not its own to name")},
		{"C7 absolute-form of another host", "GET http://evil/a" + h + "\r\n", malformed("the request target is neither a path nor an http URL of this host")},
		{"C6 encoded slash", "GET /a/..%2fadmin" + h + "\r\n", malformed("the path holds an encoded slash or backslash")},
		{"C6 encoded dot segment with a parameter", "GET /a/%2e%2e;/b" + h + "\r\n", malformed("the path holds a dot segment with a parameter")},
		{"C6 overlong UTF-8", "GET /a%c0%ae" + h + "\r\n", malformed("the path holds escapes that are no valid UTF-8")},
		{"C6 backslash", "GET /a\\b" + h + "\r\n", malformed("the path holds a character that no path may hold")},
		{"C6 encoded NUL", "GET /a%00" + h + "\r\n", malformed("the path holds an encoded control character")},
		{"a bad chunk size", "POST /a" + h + "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", malformed("a chunk size is not a hexadecimal number")},
		{"a long target", "GET /" + strings.Repeat("a", 9000) + h + "\r\n", refusal(414, "uri_too_long", "Request target too long", "the request target is longer than limits.uri")},
		{"1 MB of head", "GET /a" + h + "X-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", refusal(431, "headers_too_large", "Request header fields too large", "the head is longer than limits.header")},
		{"1,000 lines", "GET /a" + h + strings.Repeat("X: y\r\n", 1000) + "\r\n", refusal(431, "headers_too_large", "Request header fields too large", "the head has more field lines than limits.headers")},
		{"a large body", "POST /a" + h + "Content-Length: 1025\r\n\r\n" + strings.Repeat("b", 1025), refusal(413, "body_too_large", "Request body too large", "")},
		{"another expectation", "POST /a" + h + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\na", refusal(417, "expectation_failed", "Expectation failed", "Expect is not 100-continue")},
		{"C13 CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", refusal(405, "method_not_allowed", "Method not allowed", "")},
		{"C13 TRACE", "TRACE /a" + h + "\r\n", refusal(405, "method_not_allowed", "Method not allowed", "")},
		{"a head that never ends", "GET /a" + h + "X-A: b", refusal(408, "request_timeout", "Request timeout", "")},
		{"a body shorter than announced", "POST /a" + h + "Content-Length: 5\r\n\r\nab", refusal(408, "request_timeout", "Request timeout", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := gatewaytest.Dial(t, s.public)
			raw := c.raw
			closes := strings.Contains(c.want, "\r\nConnection: close\r\n")
			if closes && !strings.HasPrefix(c.want, "HTTP/1.1 408 ") {
				raw += "GET /smuggled" + h + "\r\n" // must die with what stands before it
			}
			_ = client.TryWrite(raw) // the answer may come before the last byte is out
			got, err := client.TryRead("POST")
			if got = gatewaytest.Scrub(got); got != c.want {
				t.Errorf("%v\n got %q\nwant %q", err, got, c.want)
			}
			if closes {
				client.Closed()
			}
		})
	}
	if seen := origin.Requests(); len(seen) != 0 {
		t.Errorf("the endpoint saw %.500q", seen)
	}
	if got := gatewaytest.Scrub(gatewaytest.Do(t, s.public, get)); got != ok {
		t.Errorf("and then nobody else is served: %q", got)
	}
}
