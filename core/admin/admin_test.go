package admin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/meter"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

var well = admin.Checks{Redis: true, Database: true, Services: true, Certificates: true, Discovery: true}

func probes() *admin.Probes {
	return &admin.Probes{
		Ready: func() error { return nil }, Checks: func() admin.Checks { return well }, DegradedStatus: 503,
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
	}
}

// start runs an admin listener and returns its address.
func start(t *testing.T, o admin.Options) string {
	t.Helper()
	o.Address, o.Log = "127.0.0.1:0", zerolog.Nop()
	o.Meter = meter.NewSet(time.Now)
	o.Meter.Route("a", "b").Observe(0, meter.MethodOf([]byte("GET")), 200, time.Millisecond)
	if o.Probes == nil {
		o.Probes = probes()
	}
	s := admin.New(o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String()
}

var variable = regexp.MustCompile(`Date: [^\r]*\r\n|[0-9a-f]{32}`)

// ask sends a raw request and returns the whole answer, without what changes.
func ask(t *testing.T, address, raw string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return variable.ReplaceAllString(string(answer), "")
}

func get(path, host, more string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + more + "\r\n"
}

func TestProbesAnswer(t *testing.T) {
	t.Parallel()
	sick := probes()
	sick.Ready = func() error { return errors.New("draining") }
	sick.Checks = func() admin.Checks {
		return admin.Checks{Database: true, Services: true, Certificates: true, Discovery: true}
	}
	tolerant := *sick
	tolerant.DegradedStatus = 200
	addresses := map[string]string{
		"well": start(t, admin.Options{}), "sick": start(t, admin.Options{Probes: sick}), "tolerant": start(t, admin.Options{Probes: &tolerant}),
	}
	for _, c := range []struct{ who, path, want string }{
		{"well", "/livez", "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\nConnection: close\r\n\r\nalive\n"},
		{"well", "/readyz", "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\nConnection: close\r\n\r\nready\n"},
		{"sick", "/readyz", "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 20\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\n\r\nnot ready: draining\n"},
		{"well", "/health", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 144\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\nConnection: close\r\n\r\n" +
			`{"status":"healthy","timestamp":"2026-01-02T03:04:05Z","ready":true,"checks":{"redis":true,"database":true,"services":true,"certificates":true,"discovery":true}}` + "\n"},
		{"sick", "/health", "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 147\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\nConnection: close\r\n\r\n" +
			`{"status":"degraded","timestamp":"2026-01-02T03:04:05Z","ready":false,"checks":{"redis":false,"database":true,"services":true,"certificates":true,"discovery":true}}` + "\n"},
		{"tolerant", "/health", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 147\r\nX-Correlation-ID: \r\nCache-Control: no-store\r\nConnection: close\r\n\r\n" +
			`{"status":"degraded","timestamp":"2026-01-02T03:04:05Z","ready":false,"checks":{"redis":false,"database":true,"services":true,"certificates":true,"discovery":true}}` + "\n"},
	} {
		got := ask(t, addresses[c.who], get(c.path, "localhost", ""))
		if lengthless(got) != lengthless(c.want) {
			t.Errorf("%s %s:\n got %q\nwant %q", c.who, c.path, got, c.want)
		}
	}
}

var contentLength = regexp.MustCompile(`Content-Length: \d+\r\n`)

// lengthless leaves the length out: the body is compared itself.
func lengthless(s string) string { return contentLength.ReplaceAllString(s, "") }

func TestMetricsAreShown(t *testing.T) {
	t.Parallel()
	got := ask(t, start(t, admin.Options{}), get("/metrics", "localhost", ""))
	for _, want := range []string{"HTTP/1.1 200 OK\r\n", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", "# TYPE gateway_requests_total counter\n", `gateway_requests_total{method="GET",route="a",status_code="200",service="b"} 1`, "\nprocess_"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in %.300q", want, got)
		}
	}
}

func TestFaultsHaveOneShape(t *testing.T) {
	t.Parallel()
	address := start(t, admin.Options{})
	for raw, want := range map[string]string{
		get("/nothing", "localhost", "X-Correlation-ID: mine\r\n"):                                  `HTTP/1.1 404 Not Found|"code":"not_found"|"correlationId":"mine"|X-Correlation-ID: mine`,
		"POST /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n": `HTTP/1.1 405 Method Not Allowed|"code":"method_not_allowed"|Allow: GET`,
		"GET /livez HTTP/1.1\r\nHost: localhost\r\nX Y\r\n\r\n":                                     `HTTP/1.1 400 Bad Request|"code":"bad_request"|X-Correlation-ID: `,
	} {
		got := ask(t, address, raw)
		for _, part := range strings.Split(want, "|") {
			if !strings.Contains(got, part) {
				t.Errorf("%.40q: want %q in %q", raw, part, got)
			}
		}
	}
}

func TestC8_HostAndOrigin(t *testing.T) {
	t.Parallel()
	address := start(t, admin.Options{Hosts: []string{"Admin.example.com"}})
	_, port, _ := net.SplitHostPort(address)
	for _, c := range []struct {
		host, more string
		status     int
	}{
		{"localhost", "", 200},
		{"LOCALHOST:" + port, "", 200},
		{"127.0.0.1:" + port, "", 200},
		{"127.9.9.9", "", 200},
		{"[::1]:" + port, "", 200},
		{"[::1]", "", 200},
		{"[::ffff:127.0.0.1]", "", 200},
		{"admin.example.com:1", "", 200},
		{"evil.example.com", "", 421},
		{"localhost.evil.example.com", "", 421},
		{"127.0.0.1.evil.example.com", "", 421},
		{"10.0.0.1", "", 421},
		{"0.0.0.0", "", 421},
		{"localhost", "Origin: http://localhost\r\n", 200},
		{"localhost", "Origin: https://localhost\r\n", 200},
		{"localhost", "Origin: http://localhost:1\r\n", 403},
		{"localhost", "Origin: http://evil.example.com\r\n", 403},
		{"localhost", "Origin: null\r\n", 403},
		{"localhost", "Sec-Fetch-Site: cross-site\r\n", 403},
		{"localhost", "Sec-Fetch-Site: same-origin\r\n", 200},
		{"localhost", "Sec-Fetch-Site: none\r\n", 200},
	} {
		for _, path := range []string{"/livez", "/metrics", "/nothing"} {
			want := c.status
			if path == "/nothing" && want == 200 {
				want = 404
			}
			got := ask(t, address, get(path, c.host, c.more))
			if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", want)) {
				t.Errorf("%s %s %q: want %d, got %.60q", path, c.host, c.more, want, got)
			}
		}
	}
}

func TestAPanicIsOneFault(t *testing.T) {
	t.Parallel()
	p := probes()
	p.Ready = func() error { panic("planted") }
	address := start(t, admin.Options{Probes: p})
	if got := ask(t, address, get("/readyz", "localhost", "")); !strings.HasPrefix(got, "HTTP/1.1 500 ") || strings.Contains(got, "planted") {
		t.Errorf("got %q", got)
	}
	if got := ask(t, address, get("/livez", "localhost", "")); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("afterwards: %q", got)
	}
}

func TestATakenAddressIsAnError(t *testing.T) {
	t.Parallel()
	address := start(t, admin.Options{})
	s := admin.New(admin.Options{Address: address, Meter: meter.NewSet(time.Now), Probes: probes(), Log: zerolog.Nop()})
	err := s.Start()
	if err == nil || !strings.Contains(err.Error(), "admin.address: listen tcp "+address+": bind: address already in use") {
		t.Errorf("got %v", err)
	}
}

func TestAnUnknownProbeIsAnError(t *testing.T) {
	t.Parallel()
	if err := probes().Answer("/nothing", &fasthttp.Response{}); err == nil || !strings.Contains(err.Error(), "/livez, /readyz and /health") {
		t.Errorf("got %v", err)
	}
}

func TestASlowHeadIsToldSo(t *testing.T) {
	t.Parallel()
	address := start(t, admin.Options{})
	got := ask(t, address, "GET /livez HTTP/1.1\r\nHost: local")
	if !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("got %q", got)
	}
}
