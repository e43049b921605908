//go:build !race

package securityheaders

import (
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

func TestAllocs(t *testing.T) {
	built := plugintest.Build(t, Plugin, `{}`)
	x := plugintest.Exchange(t, get)
	x.Scheme = "https"
	plugintest.Answer(t, x, answer)
	if n := testing.AllocsPerRun(1000, func() {
		x.Response.Header.Reset()
		built.Run(pipeline.Response, x)
	}); n != 0 {
		t.Errorf("a response costs %v allocations, want 0", n)
	}
}

func BenchmarkSet(b *testing.B) {
	built := plugintest.Build(b, Plugin, `{}`)
	x := plugintest.Exchange(b, get)
	x.Scheme = "https"
	b.ReportAllocs()
	for b.Loop() {
		x.Response.Header.Reset()
		built.Run(pipeline.Response, x)
	}
}
