//go:build !race

package ratelimit_test

import (
	"testing"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

// TestAllocs: to count a request costs nothing, to deny one neither.
func TestAllocs(t *testing.T) {
	w := build(t, `
levels:
  user: {policy: huge, upgrade: [{scope: premium, claim: {/plan: pro}, policy: huge}]}
  team: {by: "{host}:{header.X-Team}:a text of more than thirty-two bytes", policy: huge}
  ip: {policy: huge}
  service: {policy: huge}
  global: {policy: huge-window}
`)
	tight := rebuilt(w, `{levels: {user: {policy: one}, ip: {policy: huge}, global: {policy: huge}}}`)
	dear := rebuilt(w, `{cost: 2, levels: {ip: {policy: one}, global: {policy: huge}}}`)
	ann := user("ann", "premium")
	claims := func(x *pipeline.Exchange) { x.Claims = map[string]any{"plan": "pro"} }
	for _, c := range []struct {
		name  string
		w     *world
		given []func(*pipeline.Exchange)
		want  pipeline.Verdict
	}{
		{"nobody", w, nil, pipeline.Continue},
		{"somebody", w, []func(*pipeline.Exchange){ann}, pipeline.Continue},
		{"somebody upgraded, over IPv6", w, []func(*pipeline.Exchange){ann, claims, from("2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff")}, pipeline.Continue},
		{"denied, as is remembered", tight, []func(*pipeline.Exchange){ann}, pipeline.Respond},
		{"denied by the store", dear, nil, pipeline.Respond},
	} {
		x := w.exchange(c.given...)
		p := x.Principal
		run := func() pipeline.Verdict {
			x.Principal, x.Presents = nil, p != nil
			verdict := c.w.Run(pipeline.Guard, x)
			x.Principal = p
			if verdict == pipeline.Continue {
				verdict = c.w.Run(pipeline.Limit, x)
			}
			c.w.Run(pipeline.Response, x)
			return verdict
		}
		run()
		if n := testing.AllocsPerRun(1000, func() {
			if got := run(); got != c.want {
				t.Fatalf("%s: verdict %v, %s", c.name, got, x.Fault)
			}
		}); n != 0 {
			t.Errorf("%s costs %v allocations, want none", c.name, n)
		}
	}
	x := w.exchange()
	w.Run(pipeline.Limit, x)
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-RateLimit-Limit: 1\r\nRateLimit: a\r\n\r\n"
	plugintest.Answer(t, x, answer)
	if n := testing.AllocsPerRun(1000, func() {
		x.Response.Header.Set("X-RateLimit-Limit", "5")
		w.Run(pipeline.Response, x)
	}); n != 0 {
		t.Errorf("a service's own fields cost %v allocations, want none", n)
	}
}

func BenchmarkLevels(b *testing.B) {
	w := build(b, `{levels: {user: {policy: huge}, ip: {policy: huge}, global: {policy: huge}}}`)
	x := w.exchange(user("ann"))
	x.Presents = true
	for name, phases := range map[string][]pipeline.Phase{
		"guard": {pipeline.Guard}, "limit": {pipeline.Limit}, "response": {pipeline.Response}, "all": {pipeline.Guard, pipeline.Limit, pipeline.Response},
	} {
		b.Run(name, func(b *testing.B) {
			w.Run(pipeline.Limit, x)
			b.ReportAllocs()
			for b.Loop() {
				for _, p := range phases {
					w.Run(p, x)
				}
			}
		})
	}
}
