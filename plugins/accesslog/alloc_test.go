//go:build !race

package accesslog

import (
	"testing"
	"time"

	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/upstream"
)

func TestAllocs(t *testing.T) {
	s := newSink("test", opens(discarding{}), plugintest.Deps(t))
	defer func() { _ = s.Close() }()
	for name, o := range map[string]options{
		"a line, 0":                        {Sample: 1},
		"a sampled line, 0":                {Sample: 0.5},
		"a line with names and headers, 0": {Sample: 1, Query: "names", Headers: setting.StringList{"User-Agent", "X-A"}, Redact: setting.StringList{"X-A"}},
	} {
		l := newLogger(o, s)
		x := plugintest.Exchange(t, "GET /a?a=b&c=d HTTP/1.1\r\nHost: a\r\nUser-Agent: \"grün\"\r\nX-A: b\r\n\r\n")
		x.Service = &upstream.Service{Name: "payments"}
		plugintest.End(x, time.Millisecond)
		if n := testing.AllocsPerRun(2000, func() { l.log(x) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkLine(b *testing.B) {
	s := newSink("test", opens(discarding{}), plugintest.Deps(b))
	defer func() { _ = s.Close() }()
	l := newLogger(options{Sample: 1}, s)
	x := plugintest.Exchange(b, request)
	x.Service, x.Endpoint = &upstream.Service{Name: "payments"}, &upstream.Endpoint{Address: "127.0.0.1:9004"}
	plugintest.End(x, time.Millisecond)
	line := make([]byte, 0, l.longest)
	b.ReportAllocs()
	for b.Loop() {
		line = l.appendLine(line[:0], x, "")
	}
	b.SetBytes(int64(len(line)))
}
