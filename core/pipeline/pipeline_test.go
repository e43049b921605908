package pipeline

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/wire"
)

// ready is an exchange for a request, on a route that matches path as pattern.
func ready(t testing.TB, r *Route, pattern, target string) *Exchange {
	t.Helper()
	x := NewFactory(func(*Exchange) {}).New()
	x.Request, x.Response, x.Head, x.Route = &fasthttp.Request{}, &fasthttp.Response{}, &wire.RequestHead{}, r
	x.Request.Header.SetRequestURI(target)
	if err := x.SetTarget(wire.PathOptions{}); err != nil {
		t.Fatal(err)
	}
	table, problems := router.Compile([]router.Entry[*Route]{{Name: "r", Match: router.Match{Paths: []string{pattern}}, Value: r}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var found router.Found[*Route]
	if table.Lookup(&router.Query{Path: x.Path, Method: []byte("GET")}, &found) != router.Matched {
		t.Fatalf("%s does not match %s", x.Path, pattern)
	}
	x.Params = found.Params
	return x
}

// TestResetForgetsEverything fails when a field is added that Reset leaves behind:
// one request's data would show in another's.
func TestResetForgetsEverything(t *testing.T) {
	t.Parallel()
	f := NewFactory(func(*Exchange) {})
	x, fresh := f.New(), f.New()
	v := reflect.ValueOf(x).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() && v.Field(i).CanSet() {
			fill(v.Field(i))
		}
	}
	x.Done, x.Stripe = fresh.Done, fresh.Stripe
	x.ended, x.walking, x.endAsked = true, true, true
	x.Correlate([]byte("mine"))
	x.Reset()
	got := v
	for i := range got.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "Done", "Stripe", "correlation", "pathBuffer", "hostBuffer", "target":
		case "Params":
			if x.Params.Len() != 0 {
				t.Error("Params survived Reset")
			}
		case "Limits":
			if len(x.Limits.Charges)+len(x.Limits.Levels)+len(x.Limits.keys) != 0 {
				t.Error("Limits survived Reset")
			}
		default:
			if !got.Field(i).IsZero() {
				t.Errorf("%s survived Reset: %v", name, got.Field(i))
			}
		}
	}
	if x.Stripe != fresh.Stripe || x.Done == nil || len(x.CorrelationID()) != 0 {
		t.Error("what should stay is gone, or the id stayed")
	}
}

// fill sets v to something that is not its zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	}
}

func TestAnExchangeEndsOnce(t *testing.T) {
	t.Parallel()
	ends := 0
	f := NewFactory(func(*Exchange) { ends++ })
	for name, c := range map[string]struct {
		walk func(x *Exchange)
		want int
	}{
		"buffered":                           {func(x *Exchange) { x.Enter(); x.Leave() }, 1},
		"buffered, then closed":              {func(x *Exchange) { x.Enter(); x.Leave(); _ = x.Close() }, 1},
		"streaming":                          {func(x *Exchange) { x.Enter(); x.Streaming = true; x.Leave() }, 0},
		"streaming to its end":               {func(x *Exchange) { x.Enter(); x.Streaming = true; x.Leave(); x.End(); x.End() }, 1},
		"a stream that closes in the walk":   {func(x *Exchange) { x.Enter(); x.Streaming = true; x.End(); x.Leave() }, 1},
		"suspended, and the body never came": {func(x *Exchange) { x.Enter(); x.Suspend(); _ = x.Close() }, 1},
		"suspended and resumed":              {func(x *Exchange) { x.Enter(); x.Suspend(); x.Enter(); x.Leave() }, 1},
	} {
		ends = 0
		x := f.New()
		c.walk(x)
		if ends != c.want || x.Ended() != (c.want == 1) {
			t.Errorf("%s: ended %d times, want %d", name, ends, c.want)
		}
	}
}

func TestStripesDiffer(t *testing.T) {
	t.Parallel()
	f := NewFactory(nil)
	if a, b := f.New(), f.New(); a.Stripe == b.Stripe {
		t.Error("two exchanges share a stripe")
	}
}

func TestCorrelationIDs(t *testing.T) {
	t.Parallel()
	var x Exchange
	for _, kept := range []string{"a", "A.b_c-9", strings.Repeat("x", 128)} {
		if x.Correlate([]byte(kept)); string(x.CorrelationID()) != kept {
			t.Errorf("%q became %q", kept, x.CorrelationID())
		}
	}
	seen := map[string]bool{}
	for _, replaced := range []string{"", "a b", "a\n", "ä", strings.Repeat("x", 129), "a/b"} {
		x.Correlate([]byte(replaced))
		id := string(x.CorrelationID())
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Errorf("%q became %q", replaced, id)
		}
		seen[id] = true
	}
}

func TestFailReplacesWhatAServiceAnswered(t *testing.T) {
	t.Parallel()
	x := NewFactory(func(*Exchange) {}).New()
	x.Response = &fasthttp.Response{}
	x.Response.Header.Set("X-From-Service", "1")
	x.Response.SetBodyString("of the service")
	x.FromService = true
	cause := errors.New("why")
	if verdict := x.FailBy(fault.BadGateway, cause); verdict != Respond {
		t.Errorf("verdict %v", verdict)
	}
	if x.Response.StatusCode() != 502 || len(x.Response.Header.Peek("X-From-Service")) > 0 || x.FromService ||
		x.Fault != fault.BadGateway || x.Cause != cause || x.BytesOut != int64(len(x.Response.Body())) || x.BytesOut == 0 {
		t.Errorf("%s %+v", x.Response.String(), x)
	}
	x.Response.Header.Set("Allow", "GET")
	if x.Fail(fault.MethodNotAllowed); string(x.Response.Header.Peek("Allow")) != "GET" || x.Cause != nil {
		t.Error("a fault after a fault lost a field, or kept the cause")
	}
}

func TestChainsRunByPhaseThenByList(t *testing.T) {
	t.Parallel()
	var ran []string
	instance := func(name string, phases ...Phase) Named {
		n := Named{Plugin: name}
		for _, p := range phases {
			n.Hooks[p] = func(*Exchange) Verdict {
				ran = append(ran, name+" "+p.String())
				if name == "stop" {
					return Respond
				}
				return Continue
			}
		}
		return n
	}
	c := NewChain([]Named{
		instance("a", Log, Response, Limit, Receive), instance("b", Guard, Limit, Request, Store),
		instance("stop", Authenticate), instance("c", Authorize, Lookup, Log),
	})
	for want, run := range map[string]func() Verdict{
		"a receive":                 func() Verdict { return c.Receive(nil) },
		"b guard,stop authenticate": func() Verdict { return c.Decide(nil) },
		"b request,c lookup":        func() Verdict { return c.Request(nil) },
		"b store,a response":        func() Verdict { return c.Answer(nil, true) },
		"a response":                func() Verdict { return c.Answer(nil, false) },
		"a log,c log":               func() Verdict { c.Log(nil); return Continue },
	} {
		ran = nil
		verdict := run()
		if got := strings.Join(ran, ","); got != want || (verdict == Respond) != strings.Contains(want, "stop") {
			t.Errorf("ran %q, want %q (%v)", got, want, verdict)
		}
	}
	if len(c.Named()) != 4 || Phases.String() != "?" {
		t.Errorf("%d instances; phase %s", len(c.Named()), Phases)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	rewrite := func(text string, names ...string) *Route {
		p, err := ParsePathTemplate(text, names)
		if err != nil {
			t.Fatal(err)
		}
		return &Route{Rewrite: p}
	}
	for _, c := range []struct {
		r                     *Route
		pattern, target, want string
	}{
		{&Route{}, "/a/{rest...}", "/a/b//c?x=%2f", "/a/b/c?x=%2f"},
		{&Route{}, "/a", "/a?", "/a?"},
		{&Route{StripPrefix: "/a"}, "/a/{rest...}", "/a/b?x", "/b?x"},
		{&Route{StripPrefix: "/a"}, "/a/{rest...}", "/a", "/"},
		{&Route{StripPrefix: "/a/"}, "/a/{rest...}", "/a/b", "/b"},
		{&Route{StripPrefix: "/z"}, "/a", "/a", "error"},
		{rewrite("/b/{rest}", "rest"), "/a/{rest...}", "/a/c/d?q", "/b/c/d?q"},
		{rewrite("/b/{rest}", "rest"), "/a/{rest...}", "/a", "/b"},
		{rewrite("/b/{rest}", "rest"), "/a/{rest...}", "/a/", "/b"},
		{rewrite("/{rest}", "rest"), "/a/{rest...}", "/a", "/"},
		{rewrite("/{x}-{y}/z", "x", "y"), "/{x}/{y}", "/1/2", "/1-2/z"},
		{rewrite("/b"), "/a", "/a?q", "/b?q"},
		{rewrite("/b/{x}/..", "x"), "/{x}", "/1", "error"},
	} {
		x := ready(t, c.r, c.pattern, c.target)
		got, err := x.Target()
		if (err != nil) != (c.want == "error") || err == nil && string(got) != c.want {
			t.Errorf("%s by %s: got %q, %v; want %q", c.target, c.pattern, got, err, c.want)
		}
	}
}

func TestAbsoluteFormsAreReadAsPaths(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"http://h/a?b": "/a ? b", "http://h": "/ ? ", "http://h?b=/c": "/ ? b=/c", "https://h:1/": "/ ? ",
	} {
		x := NewFactory(nil).New()
		x.Request, x.Head = &fasthttp.Request{}, &wire.RequestHead{AbsoluteForm: true}
		x.Request.Header.SetRequestURI(target)
		if err := x.SetTarget(wire.PathOptions{}); err != nil || string(x.Path)+" ? "+string(x.Query) != want {
			t.Errorf("%s: %q ? %q, %v", target, x.Path, x.Query, err)
		}
	}
	x := NewFactory(nil).New()
	x.Request, x.Head = &fasthttp.Request{}, nil
	x.Request.Header.SetRequestURI("/a%2fb")
	if err := x.SetTarget(wire.PathOptions{}); err == nil || x.Path != nil {
		t.Errorf("an encoded slash: %q, %v", x.Path, err)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	x := NewFactory(nil).New()
	if err := x.SetHost([]byte("API.Example.com:80")); err != nil || string(x.Host) != "api.example.com" {
		t.Errorf("%q, %v", x.Host, err)
	}
	if err := x.SetHost([]byte("a,b")); err == nil {
		t.Error("two hosts passed")
	}
}

func TestC7_RedirectsStayOnThisHost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		to, target, want string
		keep             bool
	}{
		{"/b/{rest}", "/a/c?q", "/b/c?q", true},
		{"/b/{rest}?x=y", "/a/c?q", "/b/c?x=y", false},
		{"https://h/{rest}", "/a/c", "https://h/c", true},
		{"/{rest}", "/a/%5Bx", "/%5Bx", true},
		{"/{rest}", "/a/", "/", true},
	} {
		location, err := ParsePathTemplate(c.to, []string{"rest"})
		if err != nil {
			t.Fatal(err)
		}
		x := ready(t, &Route{Redirect: &Redirect{Status: 302, Location: location, KeepQuery: c.keep}}, "/a/{rest...}", c.target)
		if got, err := x.Locate(nil); err != nil || string(got) != c.want {
			t.Errorf("%s to %s: %q, %v", c.target, c.to, got, err)
		}
	}
	for _, rest := range []string{"/evil", "\\evil"} {
		location, _ := ParsePathTemplate("/{rest}", []string{"rest"})
		x := ready(t, &Route{Redirect: &Redirect{Location: location}}, "/{rest...}", "/x")
		table, _ := router.Compile([]router.Entry[int]{{Match: router.Match{Paths: []string{"/a/{rest...}"}}}})
		var found router.Found[int]
		table.Lookup(&router.Query{Path: []byte("/a/" + rest)}, &found)
		x.Params = found.Params
		if got, err := x.Locate(nil); err == nil {
			t.Errorf("a redirect leads to %q", got)
		}
	}
}

func TestTemplatesAreChecked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/a/{b":   "without its }",
		"/a/{c}":  "{c} is no parameter of the route; it has {b}",
		"/a/}{b}": "",
	} {
		_, err := ParsePathTemplate(text, []string{"b"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParsePathTemplate("/{b}", nil); err == nil || !strings.Contains(err.Error(), "it has none") {
		t.Errorf("got %v", err)
	}
	if p, _ := ParsePathTemplate("/x/{b}", []string{"b"}); p.String() != "/x/{b}" {
		t.Error("a template is not shown as written")
	}
}

func TestNamesForLabels(t *testing.T) {
	t.Parallel()
	if got := (&Route{}).ServiceName(); got != NoService {
		t.Errorf("got %q", got)
	}
	x := Exchange{Timing: Timing{Start: 1, End: 1 + int64(time.Second)}}
	if x.Duration() != time.Second {
		t.Errorf("got %s", x.Duration())
	}
}

func TestBuffersAreUsedAgain(t *testing.T) {
	x := ready(t, &Route{}, "/{rest...}", "/a//b")
	buffer := &x.Path[0]
	x.Request.Header.SetRequestURI("/c//d")
	request, head := x.Request, x.Head
	x.Reset()
	x.Request, x.Head = request, head
	if err := x.SetTarget(wire.PathOptions{}); err != nil || &x.Path[0] != buffer || !bytes.Equal(x.Path, []byte("/c/d")) {
		t.Errorf("the buffer was not used again: %q, %v", x.Path, err)
	}
}
