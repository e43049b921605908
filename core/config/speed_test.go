package config_test

import (
	"fmt"
	"runtime"
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

// loadBytes is what a load of n routes allocates.
func loadBytes(t *testing.T, n int) uint64 {
	text := manyRoutes(n)
	o := options("gw.yaml")
	o.ReadFile = func(string) ([]byte, error) { return text, nil }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if cfg, r := config.Load(o); cfg == nil || len(cfg.Routes) != n+2 {
		t.Fatal(r.Err())
	}
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestLoadGrowsWithTheFile: a file ten times as long costs ten times as much, for what a
// load allocates it takes from the requests. When the parser copied all routes for each
// it was 29 times. Not parallel: others would be counted.
func TestLoadGrowsWithTheFile(t *testing.T) {
	loadBytes(t, 10) // what is made once
	few, many := loadBytes(t, 1000), loadBytes(t, 10_000)
	t.Logf("1,000 routes: %d KiB; 10,000: %d KiB", few>>10, many>>10)
	if many > 12*few {
		t.Errorf("ten times as many routes allocate %.1f times as much", float64(many)/float64(few))
	}
}

// BenchmarkLoad10000 is what a reload of 10,000 routes costs before it is compiled:
// the load and the hash that its version is told by.
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
	b.Run("hash", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			config.Hash(cfg)
		}
	})
}
