package maintenance

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/setting"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\nX-Correlation-ID: c-1\r\n\r\n"

func TestAnswers(t *testing.T) {
	t.Parallel()
	answer := func(seconds string) string {
		return `503
Content-Type: application/problem+json
Retry-After: ` + seconds + `

{"type":"https://suuupra.dev/faults/maintenance","title":"Under maintenance","status":503,"code":"maintenance","error":"Under maintenance",` +
			`"retryAfter":` + seconds + `,"correlationId":"c-1"}`
	}
	for _, c := range []struct{ name, options, client, want string }{
		{"by default", `{}`, "192.0.2.1", answer("60")},
		{"its own time", `{enabled: true, retry_after: 90s}`, "192.0.2.1", answer("90")},
		{"rounded up", `{retry_after: 10500ms}`, "192.0.2.1", answer("11")},
		{"others than the testers", `{allow_from: [192.0.2.0/24]}`, "192.0.3.1", answer("60")},
		{"nobody in particular", `{allow_from: ["0.0.0.0/0", "::/0"]}`, "", answer("60")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			built := plugintest.Build(t, Plugin, c.options)
			x := plugintest.Exchange(t, get)
			x.Client, _ = netip.ParseAddr(c.client)
			if v := built.Run(pipeline.Guard, x); v != pipeline.Respond {
				t.Errorf("verdict %v", v)
			}
			if diff := cmp.Diff(c.want, plugintest.Text(x)); diff != "" {
				t.Error(diff)
			}
			if line := "gateway_maintenance_refused_total 1\n"; !strings.Contains(built.Metrics(), line) {
				t.Errorf("%q is missing in\n%s", line, built.Metrics())
			}
		})
	}
}

func TestTestersComeIn(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{allow_from: "192.0.2.0/24, fd00::/8"}`)
	for _, client := range []string{"192.0.2.9", "::ffff:192.0.2.9", "fd00::1"} {
		x := plugintest.Exchange(t, get)
		x.Client = netip.MustParseAddr(client)
		if built.Run(pipeline.Guard, x) != pipeline.Continue {
			t.Errorf("%s may not come in", client)
		}
	}
}

// What is switched off is no hook, no metric, and nothing to close.
func TestDisabledCostsNothing(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{enabled: false, retry_after: 5m, allow_from: [10.0.0.0/8]}`)
	for phase, hook := range built.Hooks {
		if hook != nil {
			t.Errorf("a hook in %v", pipeline.Phase(phase))
		}
	}
	if built.Close != nil || strings.Contains(built.Metrics(), "maintenance") {
		t.Error("there is something to close or to count")
	}
}

// The sign is up as long as some snapshot closes the route, in whatever order they
// come and go: a reload that is refused must not take it down.
func TestTheSignOutlivesReloads(t *testing.T) {
	t.Parallel()
	deps := plugintest.Deps(t)
	text := func() string {
		var b strings.Builder
		deps.Meter.WritePrometheus(&b)
		return b.String()
	}
	build := func(options string) func() {
		i, err := Plugin.Build(setting.Parse("", []byte(options), &setting.Report{}), deps)
		if err != nil {
			t.Fatal(err)
		}
		return i.Close
	}
	const sign = `gateway_maintenance_enabled{route="test"} 1` + "\n"
	first := build(`{}`)
	second := build(`{retry_after: 5m}`)
	if !strings.Contains(text(), sign) {
		t.Errorf("no sign:\n%s", text())
	}
	second()
	if !strings.Contains(text(), sign) {
		t.Errorf("the refused snapshot took the sign down:\n%s", text())
	}
	third := build(`{}`)
	first()
	if !strings.Contains(text(), sign) {
		t.Errorf("the replaced snapshot took the sign down:\n%s", text())
	}
	third()
	if strings.Contains(text(), sign) {
		t.Errorf("the sign stays:\n%s", text())
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, options, want string }{
		{"no boolean", `{enabled: "yes"}`, `options.yaml:1:11: enabled: want true or false, got the string "yes"`},
		{"no unit", `{retry_after: 300}`, `options.yaml:1:15: retry_after: want a duration such as 250ms, 30s or 15m, got "300" (did you mean "300s"?)`},
		{"at once", `{retry_after: 0s}`, `options.yaml:1:15: retry_after: want from 1s to 720h, got "0s"`},
		{"a lifetime", `{retry_after: 9000h}`, `options.yaml:1:15: retry_after: want from 1s to 720h, got "9000h"`},
		{"an address", `{allow_from: 10.0.0.1}`, `options.yaml:1:14: allow_from: want a network such as 10.0.0.0/8 or fd00::/8, got "10.0.0.1" (did you mean "10.0.0.1/32"?)`},
		{"an unknown key", `{enable: true}`, `options.yaml:1:2: enable: unknown key "enable" (did you mean "enabled"?)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{c.want}, plugintest.Problems(t, Plugin, c.options)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
