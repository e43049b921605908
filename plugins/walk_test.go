package plugins_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// What a service answers and what the gateway answers itself pass every plugin
// of the list: fields are set, and one line is logged for each.
func TestPluginsInAWholeGateway(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	origin := gatewaytest.NewOrigin(t, func(string) string {
		return "HTTP/1.1 200 OK\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 2\r\n\r\nok"
	})
	g := gatewaytest.Run(t, `
services: {hello: {endpoints: [{url: "`+origin.URL()+`"}]}}
routes: {hello: {match: {path: "/hello/{rest...}"}, service: hello}}
defaults: {plugins: {security_headers: {}, access_log: {to: "`+path+`", query: names, headers: [X-A]}}}
`)
	client := gatewaytest.Dial(t, g.Address())
	for request, want := range map[string][]string{
		"GET /hello/a?token=secret HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-Correlation-ID: c1\r\n\r\n": {
			"HTTP/1.1 200 OK\r\n", "X-Frame-Options: SAMEORIGIN\r\n", "X-Content-Type-Options: nosniff\r\n",
		},
		"GET /nothing HTTP/1.1\r\nHost: a\r\nX-Correlation-ID: c2\r\n\r\n": {
			"HTTP/1.1 404 Not Found\r\n", "X-Frame-Options: DENY\r\n", "X-Content-Type-Options: nosniff\r\n",
		},
	} {
		client.Write(request)
		response := client.Read("GET")
		for _, part := range want {
			if !strings.Contains(response, part) {
				t.Errorf("%q is missing in\n%s", part, response)
			}
		}
	}
	var lines []map[string]any
	gatewaytest.Eventually(t, "two lines of the log", func() bool {
		lines = readLines(t, path)
		return len(lines) == 2
	})
	want := map[any]map[string]any{
		"c1": {
			"correlation_id": "c1", "client": "127.0.0.1", "listener": "public", "method": "GET", "host": "a", "path": "/hello/a",
			"query": []any{"token"}, "route": "hello", "service": "hello", "endpoint": origin.Address(), "tries": 1.0, "status": 200.0,
			"answered_by": "service", "bytes_in": 0.0, "bytes_out": 2.0, "headers": map[string]any{"X-A": "1"},
		},
		"c2": {
			"correlation_id": "c2", "client": "127.0.0.1", "listener": "public", "method": "GET", "host": "a", "path": "/nothing",
			"query": []any{}, "route": "none", "status": 404.0, "answered_by": "gateway", "fault": "no_route", "bytes_in": 0.0,
		},
	}
	for _, line := range lines {
		// What differs from run to run must be there, no more.
		for _, member := range []string{"time", "duration"} {
			if line[member] == nil {
				t.Errorf("%s is missing in %v", member, line)
			}
			delete(line, member)
		}
		delete(line, "timings")
		if line["route"] == "none" {
			delete(line, "bytes_out")
		}
		if diff := cmp.Diff(want[line["correlation_id"]], line); diff != "" {
			t.Error(diff)
		}
	}
}

// readLines returns the lines of a file that may not be there yet.
func readLines(t *testing.T, path string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var lines []map[string]any
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if !strings.HasSuffix(line, "\n") {
			continue
		}
		var members map[string]any
		if err := json.Unmarshal([]byte(line), &members); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		lines = append(lines, members)
	}
	return lines
}
