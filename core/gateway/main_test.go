package gateway_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(originAddress); address != "" {
		beOrigin(address)
		return
	}
	goleak.VerifyTestMain(m,
		// fasthttp starts these once for the process, or stops them a while after
		// its server was shut down.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
	)
}

// same compares whole messages.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got = gatewaytest.Scrub(got); got != want {
		t.Errorf("%s differs (- want, + got):\n%s", what, cmp.Diff(lines(want), lines(got)))
	}
}

// lines are the lines of a message, long ones cut short.
func lines(message string) []string {
	all := strings.Split(message, "\r\n")
	for i, line := range all {
		if len(line) > 1000 {
			all[i] = fmt.Sprintf("%s... %d bytes, %x", line[:100], len(line), sha256.Sum256([]byte(line)))
		}
	}
	return all
}

// hook is a plugin that runs one function in one phase, on the routes that name it.
func hook(name string, phase pipeline.Phase, f pipeline.Hook) plugin.Plugin {
	return plugin.Of(name, nil, func(struct{}, *plugin.Deps) (pipeline.Instance, error) {
		var i pipeline.Instance
		i.Hooks[phase] = f
		return i, nil
	})
}

// faultBody is the body of a fault under a fresh correlation id.
func faultBody(code, title, status, detail string) string {
	if detail != "" {
		detail = `"detail":"` + detail + `",`
	}
	return `{"type":"https://suuupra.dev/faults/` + code + `","title":"` + title + `","status":` + status + `,"code":"` + code +
		`","error":"` + title + `",` + detail + `"correlationId":"<id>"}`
}
