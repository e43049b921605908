package discovery_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/upstream"
)

// TestAsk asks once: what is known already is told, and nothing of it changes.
func TestAsk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, dir)
		asked := func(d upstream.Discovery, want string) {
			t.Helper()
			a := b.Ask(t.Context(), d)
			if got := fmt.Sprintf("%d known %d %v", a.Endpoints, a.Known, a.Err); !strings.HasPrefix(got, want) || (a.Known > 0) == a.Since.IsZero() {
				t.Errorf("got %q since %v, want %q", got, a.Since, want)
			}
		}
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.2:80")})
		asked(shop, "2 known 0 <nil>")
		b.source.fails(discovery.Denied)
		asked(shop, "0 known 0 no")
		var h told
		stop := b.Watch(shop, h.apply)
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80")})
		h.want(t, "10.0.0.1:80=1")
		stop()
		b.source.fails(discovery.Unreachable)
		asked(shop, "0 known 1 no")
		b.source.says(discovery.Answer{Endpoints: at("10.0.0.1:80", "10.0.0.3:9901")})
		asked(shop, `1 known 1 refused "10.0.0.3:9901"`)
		asked(upstream.Discovery{Source: "nobody"}, "0 known 0 discovery does not say where")
	})
}
