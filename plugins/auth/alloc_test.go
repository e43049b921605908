//go:build !race

package auth_test

import (
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/plugins/auth"
)

// TestAllocs: who is known, and who shows nothing, costs nothing.
func TestAllocs(t *testing.T) {
	w := newWorld()
	deps := plugintest.Deps(t)
	deps.Identity = w.identity()
	built := plugintest.BuildWith(t, auth.Plugin, `{required: false, scopes: {all: ["courses:read"], any: [vod, courses]}, claims: {/plan: pro}, issuers: [own], strict: true}`, deps)
	keys := plugintest.BuildWith(t, auth.Plugin, `{scopes: {all: ["courses:read"]}}`, deps)
	signed := plugintest.BuildWith(t, auth.Plugin, `{internal_token: true}`, deps)
	for _, c := range []struct {
		name, fields string
		built        *plugintest.Built
		most         float64
	}{
		{"nobody", "", built, 0},
		{"a token", authorizeAnn, built, 0},
		{"a bound token", "Authorization: Bearer bound\r\nX-Client-Fingerprint: " + fingerprint + "\r\n", built, 0},
		{"a key", keyOfClient, keys, 0},
		{"a token that is passed on signed", authorizeAnn, signed, 0},
		{"a token and a key", authorizeAnn + "X-API-Key: gk_ann\r\n", keys, 1},
		{"a token and a key, whose scopes are new", authorizeAnn + keyOfClient, keys, 3},
	} {
		x := plugintest.Exchange(t, "GET /a HTTP/1.1\r\nHost: h\r\n"+c.fields+"\r\n")
		if n := testing.AllocsPerRun(1000, func() {
			x.Principal, x.Shown, x.Voucher = nil, nil, ""
			for phase := pipeline.Guard; phase <= pipeline.Request; phase++ {
				if c.built.Run(phase, x) != pipeline.Continue {
					t.Fatalf("%s: refused with %s", c.name, x.Fault)
				}
			}
			if (x.Principal == nil) != (c.fields == "") {
				t.Fatalf("%s: nobody", c.name)
			}
		}); n > c.most {
			t.Errorf("%s costs %v allocations, want %v", c.name, n, c.most)
		}
	}
}
