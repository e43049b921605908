package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkReload10000 is all that a reload of 10,000 routes does beside starting and
// stopping what it declares: read, check, compile, tell the version, and close.
func BenchmarkReload10000(b *testing.B) {
	var text strings.Builder
	text.WriteString("services: {origin: {endpoints: [{url: \"http://127.0.0.1:9001\"}]}}\nroutes:\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "  r%d: {match: {path: \"/r%d/{id}/{rest...}\"}, service: origin}\n", i, i)
	}
	name := filepath.Join(b.TempDir(), "gateway.yaml")
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	from := source{files: []string{name}}
	b.ReportAllocs()
	for b.Loop() {
		cfg, seen, err := from.load(os.Stderr)
		if err != nil {
			b.Fatal(err)
		}
		if err := tryCompile(cfg); err != nil {
			b.Fatal(err)
		}
		putInForce(cfg, seen, 1)
	}
}
