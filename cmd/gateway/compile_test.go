package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestI20_RoutesOfLoginsAreNobodyElses has check refuse a route that would take a
// request of /auth/*, before anything starts.
func TestI20_RoutesOfLoginsAreNobodyElses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	const services = "services: {a: {endpoints: [{url: \"http://127.0.0.1:9001\"}]}}\n"
	const route = "routes: {a: {match: {path: /auth/login, methods: [POST]}, service: a, plugins: {auth: off}}}\n"
	for text, want := range map[string]string{
		services + route: "ok:",
		"identity: {audience: a}\n" + services + route: `can't be told apart from "auth login" (built in)`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, problems bytes.Buffer
		code := run([]string{"check", "-c", file}, &out, &problems)
		if said := out.String() + problems.String(); !strings.Contains(said, want) || (code == exitOK) != (want == "ok:") {
			t.Errorf("exit code %d and %q, want %q", code, said, want)
		}
	}
}
