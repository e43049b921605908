package websocket

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
)

const handshake = "GET / HTTP/1.1\r\nHost: a:8080\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func TestOptions(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]pipeline.Upgrade{
		`{}`:                            {Maximum: 10_000, Idle: 5 * time.Minute},
		`{connections: off, idle: off}`: {},
		`{connections: 1, idle: 1s}`:    {Maximum: 1, Idle: time.Second},
	} {
		x := plugintest.Exchange(t, handshake+"\r\n")
		x.WebSocket = true
		if v := plugintest.Build(t, Plugin, options).Run(pipeline.Guard, x); v != pipeline.Continue || x.Upgrade == nil || *x.Upgrade != want {
			t.Errorf("%s: verdict %v, %+v", options, v, x.Upgrade)
		}
	}
}

// What is no handshake goes on untouched, whatever its fields say.
func TestOtherRequests(t *testing.T) {
	t.Parallel()
	x := plugintest.Exchange(t, "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\nSec-WebSocket-Version: 8\r\n\r\n")
	if v := plugintest.Build(t, Plugin, `{}`).Run(pipeline.Guard, x); v != pipeline.Continue || x.Upgrade != nil || !x.Fault.IsZero() {
		t.Errorf("verdict %v, upgrade %v, fault %v", v, x.Upgrade, x.Fault)
	}
}

func TestC5_Origins(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, Plugin, `{origins: ["https://app.example", "http://[2001:db8::1]:3000"]}`)
	for origin, admitted := range map[string]bool{
		"":                                  true,
		"Origin: https://app.example":       true,
		"Origin: HTTPS://app.example":       false,
		"Origin: https://app.example/":      false,
		"Origin: https://app.example:443":   false,
		"Origin: http://[2001:db8::1]:3000": true,
		"Origin: http://a:8080":             true,
		"Origin: https://A:8080":            true,
		"Origin: http://a":                  false,
		"Origin: http://a:80":               false,
		"Origin: a:8080":                    false,
		"Origin: ://a:8080":                 false,
		"Origin: ws://a:8080":               false,
		"Origin: http://":                   false,
		"Origin: null":                      false,
	} {
		fields := ""
		if origin != "" {
			fields = origin + "\r\n"
		}
		x := plugintest.Exchange(t, handshake+fields+"\r\n")
		x.WebSocket = true
		v := built.Run(pipeline.Guard, x)
		if admitted != (v == pipeline.Continue) || admitted != (x.Upgrade != nil) {
			t.Errorf("%q: verdict %v", origin, v)
		}
		if text := plugintest.Text(x); !admitted && !strings.HasPrefix(text, "403\n") {
			t.Errorf("%q: %s", origin, text)
		}
	}
}

// The route's CORS policy has judged the origin already, and vouches for it.
func TestC5_OriginOfCORS(t *testing.T) {
	t.Parallel()
	x := plugintest.Exchange(t, handshake+"Origin: https://listed.example\r\n\r\n")
	x.WebSocket, x.TrustedOrigin = true, true
	if v := plugintest.Build(t, Plugin, `{}`).Run(pipeline.Guard, x); v != pipeline.Continue || x.Upgrade == nil {
		t.Errorf("verdict %v", v)
	}
}

func TestC5_Version(t *testing.T) {
	t.Parallel()
	x := plugintest.Exchange(t, strings.Replace(handshake, "13", "7", 1)+"\r\n")
	x.WebSocket = true
	if v := plugintest.Build(t, Plugin, `{}`).Run(pipeline.Guard, x); v != pipeline.Respond {
		t.Errorf("verdict %v", v)
	}
	text := plugintest.Text(x)
	head, _, _ := strings.Cut(text, "\n\n")
	want := "426\nConnection: Upgrade\nContent-Type: application/problem+json\nSec-WebSocket-Version: 13\nUpgrade: websocket"
	if diff := cmp.Diff(want, head); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ options, want string }{
		{`{mode: managed}`, "options.yaml:1:2: mode: unknown key"},
		{`{connections: 0}`, "options.yaml:1:15: connections: want"},
		{`{idle: 0s}`, "options.yaml:1:8: idle: want"},
		{`{origins: app.example}`, "options.yaml:1:11: origins: want an origin such as https://app.example or http://localhost:3000, got \"app.example\""},
		{`{origins: ["*"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["null"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["ws://a"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["http://"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["http://u@a"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["http://a b"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["http://a_%zz"]}`, "options.yaml:1:12: origins[0]: want an origin such as"},
		{`{origins: ["http://a", "https://b/"]}`, `options.yaml:1:24: origins[1]: want an origin such as https://app.example or http://localhost:3000, got "https://b/" (did you mean "https://b"?)`},
		{`{origins: ["https://B"]}`, `options.yaml:1:12: origins[0]: want the origin as browsers write it, got "https://B" (did you mean "https://b"?)`},
		{`{origins: ["https://b:443"]}`, `options.yaml:1:12: origins[0]: want the origin as browsers write it, got "https://b:443" (did you mean "https://b"?)`},
		{`{origins: ["HTTP://b"]}`, `options.yaml:1:12: origins[0]: want an origin such as https://app.example or http://localhost:3000, got "HTTP://b" (did you mean "http://b"?)`},
	} {
		got := plugintest.Problems(t, Plugin, c.options)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s: got %q, want one that begins with %q", c.options, got, c.want)
		}
	}
}
