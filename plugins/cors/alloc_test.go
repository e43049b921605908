//go:build !race

package cors

import (
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

const (
	fromApp   = "Origin: https://app.suuupra.dev"
	askingPut = "Access-Control-Request-Method: PUT"
)

func TestAllocs(t *testing.T) {
	built := plugintest.Build(t, Plugin, web)
	for name, raw := range map[string]string{
		"a preflight":                 request("OPTIONS", fromApp, askingPut, "Access-Control-Request-Headers: authorization,content-type"),
		"a preflight that is refused": request("OPTIONS", "Origin: https://evil.example", askingPut),
		"a request":                   request("GET", fromApp),
		"a request of this origin":    request("GET"),
	} {
		x := plugintest.Exchange(t, raw)
		x.Preflight = x.AskedMethod() != nil
		x.FromService = !x.Preflight
		if n := testing.AllocsPerRun(1000, func() {
			x.Response.Header.Reset()
			x.Response.Header.Set("Access-Control-Allow-Methods", "PUT")
			x.Response.Header.Set("Vary", "Accept-Encoding")
			built.Run(pipeline.Guard, x)
			built.Run(pipeline.Response, x)
		}); n != 0 {
			t.Errorf("%s costs %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	built := plugintest.Build(b, Plugin, web)
	x := plugintest.Exchange(b, request("GET", fromApp))
	x.FromService = true
	b.ReportAllocs()
	for b.Loop() {
		x.Response.Header.Reset()
		built.Run(pipeline.Guard, x)
		built.Run(pipeline.Response, x)
	}
}

func BenchmarkPreflight(b *testing.B) {
	built := plugintest.Build(b, Plugin, web)
	x := plugintest.Exchange(b, request("OPTIONS", fromApp, askingPut, "Access-Control-Request-Headers: authorization,content-type"))
	x.Preflight = true
	b.ReportAllocs()
	for b.Loop() {
		x.Response.Header.Reset()
		built.Run(pipeline.Guard, x)
		built.Run(pipeline.Response, x)
	}
}
