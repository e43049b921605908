//go:build !race

package ipfilter

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

// thousands is options with n networks in each list.
func thousands(n int) string {
	var allow, deny strings.Builder
	for i := range n {
		fmt.Fprintf(&allow, "10.%d.%d.0/24,", i>>8, i&0xff)
		fmt.Fprintf(&deny, "10.%d.%d.128/25,", i>>8, i&0xff)
	}
	return fmt.Sprintf("{allow: %q, deny: %q}", strings.TrimSuffix(allow.String(), ","), strings.TrimSuffix(deny.String(), ","))
}

func TestAllocs(t *testing.T) {
	built := plugintest.Build(t, Plugin, thousands(5000))
	for client, want := range map[string]pipeline.Verdict{
		"10.7.7.1": pipeline.Continue, "::ffff:10.7.7.1": pipeline.Continue, "10.7.7.200": pipeline.Respond, "192.0.2.1": pipeline.Respond,
	} {
		x := plugintest.Exchange(t, get)
		x.Client = netip.MustParseAddr(client)
		if n := testing.AllocsPerRun(1000, func() {
			if built.Run(pipeline.Guard, x) != want {
				t.Fatal("decided wrong")
			}
		}); n != 0 {
			t.Errorf("%s costs %v allocations, want 0", client, n)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	for _, n := range []int{1, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			built := plugintest.Build(b, Plugin, thousands(n))
			x := plugintest.Exchange(b, get)
			x.Client = netip.AddrFrom4([4]byte{10, byte(n / 2 >> 8), byte(n / 2), 1})
			b.ReportAllocs()
			for b.Loop() {
				built.Run(pipeline.Guard, x)
			}
		})
	}
}
