//go:build !race

package maintenance

import (
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

func TestAllocs(t *testing.T) {
	built := plugintest.Build(t, Plugin, `{retry_after: 5m, allow_from: [10.0.0.0/8]}`)
	x := plugintest.Exchange(t, get)
	if n := testing.AllocsPerRun(1000, func() {
		if built.Run(pipeline.Guard, x) != pipeline.Respond {
			t.Fatal("let in")
		}
	}); n != 0 {
		t.Errorf("an answer costs %v allocations, want 0", n)
	}
}
