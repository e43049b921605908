package fault_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
)

// written is the whole answer of Write, as it goes out.
func written(t *testing.T, f fault.Fault, correlationID string) string {
	t.Helper()
	var resp fasthttp.Response
	fault.Write(&resp, f, []byte(correlationID))
	return rendered(t, &resp)
}

// dateLine is the one field that differs from run to run.
var dateLine = regexp.MustCompile(`(?m)^Date: .*\n`)

func rendered(t *testing.T, resp *fasthttp.Response) string {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	if err := resp.Write(w); err != nil {
		t.Fatalf("writing the response: %v", err)
	}
	if err := w.Flush(); err != nil {
		t.Fatalf("flushing the response: %v", err)
	}
	return dateLine.ReplaceAllString(strings.ReplaceAll(b.String(), "\r\n", "\n"), "")
}

// TestEveryFault compares the whole answer for every code of the table with
// testdata/faults.txt, where answers are set apart by a line of dashes.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	wants := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n----\n")
	all := fault.Table()
	if len(wants) != len(all) {
		t.Fatalf("testdata/faults.txt holds %d answers, the table %d", len(wants), len(all))
	}
	for i, f := range all {
		if diff := cmp.Diff(wants[i], written(t, f, "req-1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Code(), diff)
		}
	}
}

// TestAppendResponse: the raw answer differs from the one that fasthttp renders
// only in what ends the connection and in carrying the correlation id itself.
func TestAppendResponse(t *testing.T) {
	t.Parallel()
	for _, f := range fault.Table() {
		raw := fault.AppendResponse(nil, f, []byte("req-1"))
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
		if err != nil {
			t.Fatalf("%s: parsing %q: %v", f.Code(), raw, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s: reading the body: %v", f.Code(), err)
		}
		if want := string(fault.AppendBody(nil, f, []byte("req-1"))); string(body) != want {
			t.Errorf("%s: body %q, want %q", f.Code(), body, want)
		}
		if !resp.Close || resp.StatusCode != f.Status() || resp.Header.Get("X-Correlation-ID") != "req-1" {
			t.Errorf("%s: head of %q", f.Code(), raw)
		}
	}
	want := "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: 199\r\nRetry-After: 1\r\n" +
		"X-Correlation-ID: c1\r\nConnection: close\r\n\r\n" +
		`{"type":"https://suuupra.dev/faults/too_many_connections","title":"Too many connections","status":429,"code":"too_many_connections",` +
		`"error":"Too many connections","retryAfter":1,"correlationId":"c1"}`
	if got := string(fault.AppendResponse(nil, fault.TooManyConnections, []byte("c1"))); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	want = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nContent-Length: 135\r\n" +
		"WWW-Authenticate: Bearer error=\"invalid_token\"\r\nConnection: close\r\n\r\n" +
		`{"type":"https://suuupra.dev/faults/token_expired","title":"Token expired","status":401,"code":"token_expired","error":"Token expired"}`
	if got := string(fault.AppendResponse(nil, fault.TokenExpired, nil)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	const head = `{"type":"https://suuupra.dev/faults/rate_limited","title":"Rate limit exceeded","status":429,"code":"rate_limited","error":"Rate limit exceeded"`
	tests := []struct {
		name string
		f    fault.Fault
		id   string
		want string
	}{
		{"default wait", fault.RateLimited, "", head + `,"retryAfter":1}`},
		{"wait", fault.RateLimited.After(12 * time.Second), "a", head + `,"retryAfter":12,"correlationId":"a"}`},
		{"wait is rounded up", fault.RateLimited.After(11*time.Second + 1), "a", head + `,"retryAfter":12,"correlationId":"a"}`},
		{"negative wait is the default", fault.RateLimited.After(-time.Second), "", head + `,"retryAfter":1}`},
		{"detail", fault.RateLimited.Detail("slow down").After(time.Second), "a", head + `,"detail":"slow down","retryAfter":1,"correlationId":"a"}`},
		{"detail taken away", fault.RateLimited.Detail("x").Detail(""), "", head + `,"retryAfter":1}`},
		{"escapes", fault.RateLimited.Detail("a\"\\\n\r\t\b\f\x00\x1f<>&é\u2028\u2029\xff\xf0\x9f"), "",
			head + `,"detail":"a\"\\\n\r\t\b\f\u0000\u001f\u003c\u003e\u0026é\u2028\u2029\ufffd\ufffd\ufffd","retryAfter":1}`},
		{"escapes in the id", fault.RateLimited, "\"", head + `,"retryAfter":1,"correlationId":"\""}`},
		{"wait on a code without default", fault.NotFound.After(time.Minute), "",
			`{"type":"https://suuupra.dev/faults/not_found","title":"Not found","status":404,"code":"not_found","error":"Not found","retryAfter":60}`},
		{"problems", fault.RateLimited.Problems(fault.Problem{Pointer: "/a\"", Message: "is <bad>"}, fault.Problem{}).Detail("d"), "a",
			head + `,"detail":"d","retryAfter":1,"errors":[{"pointer":"/a\"","message":"is \u003cbad\u003e"},{"pointer":"","message":""}],"correlationId":"a"}`},
		{"no problems", fault.RateLimited.Problems(), "", head + `,"retryAfter":1,"errors":[]}`},
		{"further members", fault.RateLimited.With("ticket", "x\n").With("other", ""), "", head + `,"retryAfter":1,"ticket":"x\n","other":""}`},
		{"zero is internal", fault.Fault{}, "",
			`{"type":"https://suuupra.dev/faults/internal","title":"Internal error","status":500,"code":"internal","error":"Internal error"}`},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, string(fault.AppendBody(nil, tt.f, []byte(tt.id)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestWriteReplaces: what was in the response before is gone, but for the
// fields that belong to the answer.
func TestWriteReplaces(t *testing.T) {
	t.Parallel()
	closed := false
	var resp fasthttp.Response
	resp.SetBodyStream(closer{strings.NewReader("the upstream's"), &closed}, 14)
	resp.Header.Set("Retry-After", "999")
	resp.Header.Set("WWW-Authenticate", "Negotiate")
	resp.Header.Set("Content-Type", "text/html")
	resp.Header.Set("Allow", "GET")
	fault.Write(&resp, fault.TokenRevoked.After(time.Second), []byte("r"))
	if !closed {
		t.Error("the body stream of before was not closed")
	}
	got := rendered(t, &resp)
	want := "HTTP/1.1 401 Unauthorized\nContent-Type: application/problem+json\nContent-Length: 170\nRetry-After: 1\n" +
		"Www-Authenticate: Bearer error=\"invalid_token\"\nAllow: GET\n\n" +
		`{"type":"https://suuupra.dev/faults/token_revoked","title":"Token revoked","status":401,"code":"token_revoked","error":"Token revoked","retryAfter":1,"correlationId":"r"}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error {
	*c.closed = true
	return nil
}

// TestTable checks what is true of every code at once.
func TestTable(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[string]bool{}
	last := 0
	for _, f := range fault.Table() {
		if !name.MatchString(f.Code()) || f.Title() == "" || http.StatusText(f.Status()) == "" || f.IsZero() {
			t.Errorf("bad entry: %q %q %d", f.Code(), f.Title(), f.Status())
		}
		if seen[f.Code()] {
			t.Errorf("%s stands twice", f.Code())
		}
		seen[f.Code()] = true
		if f.Type() != "https://suuupra.dev/faults/"+f.Code() {
			t.Errorf("%s: type %s", f.Code(), f.Type())
		}
		if f.Status() < last {
			t.Errorf("%s: status %d after %d: the table is in the order of the statuses", f.Code(), f.Status(), last)
		}
		last = f.Status()
		if waits := f.Status() == 429 || f.Status() == 503; waits != (f.RetryAfter() > 0) {
			t.Errorf("%s: Retry-After %v with status %d", f.Code(), f.RetryAfter(), f.Status())
		}
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	var zero fault.Fault
	if !zero.IsZero() || zero.Status() != 0 || zero.Code() != "" || zero.Title() != "" || zero.Type() != "" || zero.RetryAfter() != 0 {
		t.Errorf("the zero value is not empty: %#v", zero)
	}
	if got := zero.Error(); got != "no fault" {
		t.Errorf("zero: %q", got)
	}
	if got := fault.CircuitOpen.Error(); got != "circuit_open: Circuit breaker open" {
		t.Errorf("error text %q", got)
	}
	f := fault.CircuitOpen.Detail("try again soon")
	if got := f.Error(); got != "circuit_open: Circuit breaker open: try again soon" {
		t.Errorf("error text %q", got)
	}
	if f == fault.CircuitOpen || f != fault.CircuitOpen.Detail("try again soon") {
		t.Error("values do not compare by what they hold")
	}
	err := fmt.Errorf("calling the service: %w", f)
	if !errors.Is(err, fault.CircuitOpen) || errors.Is(err, fault.Overloaded) || errors.Is(err, io.EOF) {
		t.Error("errors.Is does not compare by code")
	}
	var got fault.Fault
	if !errors.As(err, &got) || got != f {
		t.Errorf("errors.As found %#v", got)
	}
}

// FuzzDetail: any text at all makes the same JSON as the standard encoder.
func FuzzDetail(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\", "\x00\x1f\x7f", "<script>&", "é\u2028", "\xff\xc3\x28\xf0\x9f\x98", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		body := fault.AppendBody(nil, fault.BadRequest.Detail("x"+s), nil)
		_, got, _ := strings.Cut(string(body), `"detail":"x`)
		if got != string(want[1:])+"}" {
			t.Errorf("%q: got %s, want %s", s, got, want[1:])
		}
	})
}
