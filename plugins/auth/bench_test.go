//go:build !race

package auth_test

import (
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/plugins/auth"
)

// BenchmarkHooks is all hooks over a request of a caller who is known, with the real
// verifier and keys.
func BenchmarkHooks(b *testing.B) {
	id := gatewaytest.NewIdentity(b)
	deps := plugintest.Deps(b)
	deps.Identity = &id.Identity
	built := plugintest.BuildWith(b, auth.Plugin, `{scopes: {all: ["courses:read"]}}`, deps)
	for name, field := range map[string]string{
		"token": "Authorization: Bearer " + id.Token("ann", "courses") + "\r\n",
		"key":   "X-API-Key: " + id.Key("courses") + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			x := plugintest.Exchange(b, "GET /a HTTP/1.1\r\nHost: h\r\n"+field+"\r\n")
			b.ReportAllocs()
			for b.Loop() {
				for phase := pipeline.Guard; phase <= pipeline.Log; phase++ {
					if built.Run(phase, x) != pipeline.Continue {
						b.Fatal(x.Fault)
					}
				}
			}
		})
	}
}
