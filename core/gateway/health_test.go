package gateway_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// One endpoint that is gone costs nothing, the last one degrades /health, and the way
// back is seen.
func TestHealthOfServices(t *testing.T) {
	t.Parallel()
	first := httptest.NewServer(http.NotFoundHandler())
	defer first.Close()
	second := httptest.NewServer(http.NotFoundHandler())
	g := gatewaytest.Run(t, `
services:
  a: {endpoints: [{url: "`+first.URL+`"}, {url: "`+second.URL+`"}], health: {path: /, status: [404], interval: 100ms, timeout: 100ms, backoff: 100ms, rise: 1, fall: 2}}
routes:
  a: {match: {path: /a}, service: a}
`)
	await := func(what, path, want string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			answer, err := http.Get("http://" + g.Admin() + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if strings.Contains(string(body), want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: no %s in\n%s", what, want, body)
			}
		}
	}
	gauge := func(s *httptest.Server) string {
		return `gateway_upstream_healthy{service="a",endpoint="` + s.Listener.Addr().String() + `"} `
	}
	address := second.Listener.Addr().String()
	second.Close()
	await("one is gone", "/metrics", gauge(second)+"0")
	await("one is gone", "/health", `"services":true`)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.NotFoundHandler()}}
	again.Start()
	await("it is back", "/metrics", gauge(second)+"1")
	again.Close()
	first.Close()
	await("all are gone", "/health", `"services":false`)
}
