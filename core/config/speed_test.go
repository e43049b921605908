package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/config"
)

// manyRoutes is a file like that of bench/reload, with n routes beside the two that
// matter there.
func manyRoutes(n int) []byte {
	var b strings.Builder
	b.WriteString("admin: {address: \"${ADMIN:-127.0.0.1:9901}\"}\ndirectory: /tmp/state\nshutdown: {delay: 300ms, drain: 20s}\n" +
		"services: {origin: {endpoints: [{url: \"http://127.0.0.1:9001\"}]}, echo: {endpoints: [{url: \"http://127.0.0.1:9002\"}]}}\nroutes:\n" +
		"  small: {match: {path: /small}, service: origin}\n  ws: {match: {path: /ws}, service: echo, plugins: {access_log: {}}}\n")
	for i := range n {
		fmt.Fprintf(&b, "  r%d: {match: {path: \"/r%d/{id}/{rest...}\"}, service: origin}\n", i, i)
	}
	return []byte(b.String())
}

// BenchmarkLoad10000 is what a reload of 10,000 routes costs before it is compiled:
// the load and the text that its version is told by.
func BenchmarkLoad10000(b *testing.B) {
	text := manyRoutes(10_000)
	o := options("gw.yaml")
	o.ReadFile = func(string) ([]byte, error) { return text, nil }
	b.Run("load", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if cfg, r := config.Load(o); cfg == nil {
				b.Fatal(r.Err())
			}
		}
	})
	cfg, _ := config.Load(o)
	b.Run("effective", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			config.Effective(cfg, false)
		}
	})
}
