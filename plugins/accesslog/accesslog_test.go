package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/upstream"
)

const request = "GET /a/b?user=jane&token=secret HTTP/1.1\r\nHost: api.example.com\r\nX-Correlation-ID: c-1\r\n\r\n"

// newTestLogger returns a logger whose lines end up in the memory, once its sink
// is closed by flush.
func newTestLogger(t testing.TB, o options) (l *logger, flush func() string) {
	t.Helper()
	out := &memory{}
	deps := plugintest.Deps(t)
	deps.Clock = clock.NewFake(epoch)
	s := newSink("test", opens(out), deps)
	return newLogger(o, s), func() string {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return out.String()
	}
}

// decoded returns the options that a YAML text stands for.
func decoded(t testing.TB, text string) options {
	t.Helper()
	if problems := plugintest.Problems(t, Plugin, text); problems != nil {
		t.Fatal(problems)
	}
	var o options
	setting.Decode(setting.Parse("", []byte(text), &setting.Report{}), &o, &setting.Report{})
	return o
}

func TestLine(t *testing.T) {
	t.Parallel()
	const start = `{"time":"2025-03-04T05:06:07.002089Z","correlation_id":"c-1","client":"192.0.2.1","listener":"public","method":"GET",` +
		`"host":"api.example.com","path":"/a/b",`
	for _, c := range []struct {
		name, options string
		prepare       func(*pipeline.Exchange)
		want          string
	}{
		{
			"a route that answers itself", `{}`, func(*pipeline.Exchange) {},
			start + `"route":"test","status":200,"answered_by":"gateway","bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
		{
			"a service", `{}`,
			func(x *pipeline.Exchange) {
				x.Service, x.Endpoint = &upstream.Service{Name: "payments"}, &upstream.Endpoint{Address: "127.0.0.1:9004"}
				x.FromService, x.Tries, x.BytesIn, x.BytesOut = true, 2, 10, 1<<40
				x.Timing.Upstream, x.Timing.Head = x.Timing.Start+100_000, x.Timing.Start+1_100_999
			},
			start + `"route":"test","service":"payments","endpoint":"127.0.0.1:9004","tries":2,"timings":{"before":0.000100,"head":0.001000,"body":0.000899},` +
				`"status":200,"answered_by":"service","bytes_in":10,"bytes_out":1099511627776,"duration":0.002000}`,
		},
		{
			"a fault", `{}`,
			func(x *pipeline.Exchange) {
				x.Service = &upstream.Service{Name: "payments"}
				x.Tries, x.Timing.Upstream = 1, x.Timing.Start+500_000
				x.FailBy(fault.BadGateway, errors.New("dial \"10.0.0.1:80\":\nrefused"))
				x.Status, x.BytesOut = 502, 0
			},
			start + `"route":"test","service":"payments","tries":1,"timings":{"before":0.000500},"status":502,"answered_by":"gateway",` +
				`"fault":"bad_gateway","cause":"dial \"10.0.0.1:80\":\u000arefused","bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
		{
			"a fault before the service", `{}`,
			func(x *pipeline.Exchange) {
				x.Service = &upstream.Service{Name: "payments"}
				x.Fail(fault.RateLimited)
				x.Status, x.BytesOut = 429, 0
			},
			start + `"route":"test","service":"payments","tries":0,"status":429,"answered_by":"gateway","fault":"rate_limited",` +
				`"bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
		{
			"query names", `{query: names}`, func(*pipeline.Exchange) {},
			start + `"query":["user","token"],"route":"test","status":200,"answered_by":"gateway","bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
		{
			"headers", `{headers: [user-agent, X-Partner-Secret, X-Absent, Referer], redact: x-partner-secret}`,
			func(x *pipeline.Exchange) {
				x.Request.Header.Set("User-Agent", "curl\"\n")
				x.Request.Header.Set("X-Partner-Secret", "hidden")
				x.Request.Header.Set("Referer", "https://a/")
			},
			start + `"route":"test","status":200,"answered_by":"gateway","bytes_in":0,"bytes_out":0,"duration":0.002000,` +
				`"headers":{"user-agent":"curl\" ","X-Partner-Secret":"[redacted]","Referer":"https://a/"}}`,
		},
		{
			"an address from a trusted proxy", `{}`, func(x *pipeline.Exchange) { x.Client = netip.MustParseAddr("2001:db8::1%\"x\"") },
			strings.Replace(start, "192.0.2.1", "2001:db8::1", 1) +
				`"route":"test","status":200,"answered_by":"gateway","bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
		{
			"a request that could not be read", `{query: names}`,
			func(x *pipeline.Exchange) {
				x.Client, x.Host, x.Path, x.Query = netip.Addr{}, nil, nil, nil
				x.Status = 499
			},
			start + `"query":[],"route":"test","status":499,"answered_by":"gateway","bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
		{
			"nothing known of the peer", `{}`,
			func(x *pipeline.Exchange) { x.Client, x.Peer.Address = netip.Addr{}, netip.AddrPort{} },
			strings.Replace(start, "192.0.2.1", "", 1) +
				`"route":"test","status":200,"answered_by":"gateway","bytes_in":0,"bytes_out":0,"duration":0.002000}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, flush := newTestLogger(t, decoded(t, c.options))
			x := plugintest.Exchange(t, request)
			x.Timing.Start = 1
			plugintest.End(x, 2*time.Millisecond)
			c.prepare(x)
			if v := l.log(x); v != pipeline.Continue {
				t.Errorf("verdict %v", v)
			}
			if diff := cmp.Diff(c.want+"\n", flush()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsLogged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options string
		status        int
		took          time.Duration
		want          bool
	}{
		{"all by default", `{}`, 200, 0, true},
		{"none of the good ones", `{sample: 0%}`, 200, 0, false},
		{"4xx is sampled too", `{sample: 0%}`, 499, 999 * time.Millisecond, false},
		{"500 always", `{sample: 0%}`, 500, 0, true},
		{"599 always", `{sample: 0%}`, 599, 0, true},
		{"slow by default", `{sample: 0%}`, 200, time.Second, true},
		{"slow as configured", `{sample: 0%, slow: 10ms}`, 200, 10 * time.Millisecond, true},
		{"not slow enough", `{sample: 0%, slow: 10ms}`, 200, 9 * time.Millisecond, false},
		{"nothing is slow", `{sample: 0%, slow: off}`, 200, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, flush := newTestLogger(t, decoded(t, c.options))
			x := plugintest.Exchange(t, request)
			plugintest.End(x, c.took)
			x.Status = c.status
			l.log(x)
			if got := flush() != ""; got != c.want {
				t.Errorf("logged %v, want %v", got, c.want)
			}
		})
	}
}

func TestSampleIsAShare(t *testing.T) {
	t.Parallel()
	l, flush := newTestLogger(t, decoded(t, `{sample: 25%}`))
	defer flush()
	x := plugintest.Exchange(t, request)
	plugintest.End(x, 0)
	const tries = 100_000
	n := 0
	for range tries {
		if l.wanted(x) {
			n++
		}
	}
	// Six standard deviations: wrong once in five hundred million runs.
	if n < tries/4-822 || n > tries/4+822 {
		t.Errorf("%d of %d were wanted, want a quarter", n, tries)
	}
}

// The plugin as a whole: options in, a line in a file out.
func TestPluginWritesAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	d := plugintest.Deps(t)
	n := setting.Parse(plugintest.Source, []byte("to: "+path), &setting.Report{})
	instance, err := Plugin.Build(n, d)
	if err != nil {
		t.Fatal(err)
	}
	x := plugintest.Exchange(t, request)
	plugintest.End(x, time.Millisecond)
	instance.Hooks[pipeline.Log](x)
	instance.Close()
	text := readFile(t, path)
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	logged, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["time"]))
	if err != nil || time.Since(logged).Abs() > time.Minute {
		t.Errorf("time %v, %v", line["time"], err)
	}
}

// TestC12_QueryValuesAndSecrets: nothing that may be secret reaches a line.
func TestC12_QueryValuesAndSecrets(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Authorization", "proxy-authorization", "COOKIE", "Set-Cookie", "X-Api-Key", "X-Client-Fingerprint"} {
		got := plugintest.Problems(t, Plugin, "headers: [Accept, "+name+"]")
		want := "options.yaml:1:19: headers[1]: " + name + " holds a secret and can't be logged; remove it"
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	l, flush := newTestLogger(t, decoded(t, `{query: names, headers: [X-Partner-Secret], redact: [X-PARTNER-SECRET]}`))
	x := plugintest.Exchange(t, "POST /a?k=s3cret&&=s3cret&k2=s3cret=s3cret HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\n"+
		"X-Api-Key: s3cret\r\nX-Partner-Secret: s3cret\r\nContent-Length: 6\r\n\r\ns3cret")
	plugintest.Answer(t, x, "HTTP/1.1 200 OK\r\nSet-Cookie: s3cret\r\nContent-Length: 6\r\n\r\ns3cret")
	plugintest.End(x, 0)
	l.log(x)
	line := flush()
	if strings.Contains(line, "s3cret") || !strings.Contains(line, `"query":["k","k2"]`) {
		t.Error(line)
	}
	// A request that was refused before its path was canonical is cut at its query too.
	x = plugintest.Exchange(t, "GET /a?s3cret HTTP/1.1\r\nHost: a\r\n\r\n")
	x.Path = nil
	if got := string(path(x)); got != "/a" {
		t.Errorf("path %q", got)
	}
}

// TestC12_CallerStrings: whatever a caller sends, a line stays one line of JSON,
// and no string of it is longer than 512 bytes.
func TestC12_CallerStrings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		hostile := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 900), func(b []byte) string { return string(b) })
		l, flush := newTestLogger(t, options{Sample: 1, Query: "names", Headers: setting.StringList{"X-One", "X-Two"}})
		x := plugintest.Exchange(t, request)
		plugintest.End(x, time.Duration(rapid.Int64().Draw(r, "took")))
		x.Host = []byte(hostile.Draw(r, "host"))
		x.Path = []byte(hostile.Draw(r, "path"))
		x.Query = []byte(hostile.Draw(r, "query"))
		x.Request.Header.SetMethod(hostile.Draw(r, "method"))
		x.Request.Header.Set("X-One", hostile.Draw(r, "header"))
		x.Request.Header.Set("X-Two", hostile.Draw(r, "other header"))
		x.Peer.Listener = hostile.Draw(r, "listener")
		x.Cause = errors.New(hostile.Draw(r, "cause"))
		x.Fault = fault.BadRequest
		x.Service = &upstream.Service{Name: hostile.Draw(r, "service")}
		x.Timing.Upstream, x.Timing.Head = 1, 2
		x.BytesIn, x.BytesOut, x.Tries = -1<<63, -1<<63, 1<<62
		l.log(x)
		line := flush()
		if len(line) > l.longest {
			r.Fatalf("a line of %d bytes; room is kept for %d", len(line), l.longest)
		}
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "}\n") {
			r.Fatalf("not one line: %q", line)
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			r.Fatalf("%v in %s", err, line)
		}
	})
}

func TestNamesAreCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, query, want string }{
		{"none", "", `[]`},
		{"empty ones", "&&=1&", `[]`},
		{"without a value", "a&b=&c=1", `["a","b","c"]`},
		{"one too long", strings.Repeat("a", 600) + "=1", `["…"]`},
		{"many", strings.Repeat("abcdefg=1&", 100), `["abcdefg"` + strings.Repeat(`,"abcdefg"`, 49) + `,"…"]`},
		{"as many as fit", strings.Repeat("abcdefg=1&", 50), `["abcdefg"` + strings.Repeat(`,"abcdefg"`, 49) + `]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := string(appendNames(nil, []byte(c.query)))
			if want := strings.ReplaceAll(c.want, "…", ellipsis); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
			if len(got) > longestText {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}

func TestAppendTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		ns := rapid.Int64Range(0, 1<<62).Draw(r, "ns")
		want := time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000Z")
		if got := string(appendTime(nil, ns)); got != want {
			r.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestAppendSeconds(t *testing.T) {
	t.Parallel()
	for ns, want := range map[int64]string{
		-5: "0.000000", 0: "0.000000", 999: "0.000000", 1000: "0.000001", 1_000_000_000: "1.000000", 3_661_000_250_999: "3661.000250",
	} {
		if got := string(appendSeconds(nil, ns)); got != want {
			t.Errorf("%d: got %s, want %s", ns, got, want)
		}
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	many := make([]string, maxHeaders+1)
	for i := range many {
		many[i] = fmt.Sprintf("X-%d", i)
	}
	for _, c := range []struct{ name, options, want string }{
		{"a word that is no place", `{to: stdot}`, `options.yaml:1:6: to: want stdout, stderr or the path of a file, got "stdot"; a file in the working directory begins with ./ (did you mean "./stdot"?)`},
		{"a folder", `{to: /var/log/}`, `options.yaml:1:6: to: want a file, got the folder "/var/log/" (did you mean "/var/log/access.log"?)`},
		{"no share", `{sample: 2}`, `options.yaml:1:10: sample: want a share from 0% to 100%`},
		{"no duration", `{slow: 5}`, `options.yaml:1:8: slow: want a duration`},
		{"query values", `{query: values}`, `options.yaml:1:9: query: want`},
		{"no field name", `{headers: ["a b"]}`, `options.yaml:1:12: headers[0]: want the name of a header field, got "a b"`},
		{"no field name to redact", `{redact: [""]}`, `options.yaml:1:11: redact[0]: `},
		{"a field twice", `{headers: [Accept, accept]}`, `options.yaml:1:20: headers[1]: accept is listed twice`},
		{"too many fields", `{headers: [` + strings.Join(many, ", ") + `]}`, `options.yaml:1:11: headers: want at most 32 fields, got 33`},
		{"too long a field name", `{redact: [` + strings.Repeat("a", maxName+1) + `]}`, `options.yaml:1:11: redact[0]: want the name of a header field`},
		{"an unknown key", `{smaple: 5%}`, `options.yaml:1:2: smaple: unknown key "smaple" (did you mean "sample"?)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := plugintest.Problems(t, Plugin, c.options)
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("got %q, want one that begins with %q", got, c.want)
			}
		})
	}
}
