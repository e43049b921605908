package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"
)

// named makes entries of matches, in order of their names' appearance: name, match.
func named(pairs ...any) []Entry[string] {
	var out []Entry[string]
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		out = append(out, Entry[string]{Name: name, At: "gw.yaml:" + name, Match: pairs[i+1].(Match), Value: name})
	}
	return out
}

// request parses "METHOD host/path?query" with an optional "@listener" before and
// "Field: value" lines after it.
func request(t testing.TB, s string) *Query {
	t.Helper()
	lines := strings.Split(s, "\n")
	q := &Query{Header: &fasthttp.RequestHeader{}}
	words := strings.Fields(lines[0])
	if l, ok := strings.CutPrefix(words[0], "@"); ok {
		q.Listener, words = l, words[1:]
	}
	if len(words) != 2 {
		t.Fatalf("no request: %q", s)
	}
	target, query, _ := strings.Cut(words[1], "?")
	host, path, _ := strings.Cut(target, "/")
	q.Method, q.Host, q.Path, q.RawQuery = []byte(words[0]), []byte(host), []byte("/"+path), []byte(query)
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		q.Header.Add(name, value)
	}
	return q
}

// lookup looks a request up, and says "name k=v k=v" or the result.
func lookup(t testing.TB, table *Table[string], s string) string {
	t.Helper()
	var f Found[string]
	if r := table.Lookup(request(t, s), &f); r != Matched {
		return r.String()
	}
	var b strings.Builder
	b.WriteString(f.Value)
	for i := range f.Params.Len() {
		name, value := f.Params.At(i)
		b.WriteString(" " + name + "=" + string(value))
	}
	return b.String()
}

// TestLookup holds one table for each line of SPEC RT1.
func TestLookup(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		entries []Entry[string]
		want    map[string]string
	}{
		"path shapes": {
			named(
				"root", Match{Paths: []string{"/"}},
				"literal", Match{Paths: []string{"/a"}},
				"slash", Match{Paths: []string{"/b/"}},
				"param", Match{Paths: []string{"/c/{id}"}},
				"rest", Match{Paths: []string{"/d/{rest...}"}},
				"regex", Match{Paths: []string{"/e/{n:[0-9]+|x}"}},
				"encoded", Match{Paths: []string{"/f/%2F/é"}},
			),
			map[string]string{
				"GET h/":             "root",
				"GET h/a":            "literal",
				"GET h/a/":           "no route",
				"GET h/A":            "no route",
				"GET h/b/":           "slash",
				"GET h/b":            "no route",
				"GET h/c/1":          "param id=1",
				"GET h/c/":           "no route",
				"GET h/c":            "no route",
				"GET h/c/1/":         "no route",
				"GET h/c/a%20b":      "param id=a%20b",
				"GET h/d":            "rest rest=",
				"GET h/d/":           "rest rest=",
				"GET h/d/1":          "rest rest=1",
				"GET h/d/1/2/":       "rest rest=1/2/",
				"GET h/d//1":         "rest rest=/1",
				"GET h/dd":           "no route",
				"GET h/e/12":         "regex n=12",
				"GET h/e/x":          "regex n=x",
				"GET h/e/12x":        "no route",
				"GET h/e/1x":         "no route",
				"GET h/e/":           "no route",
				"GET h/f/%2F/%C3%A9": "encoded",
			},
		},
		"rest of everything": {
			named("all", Match{Paths: []string{"/{rest...}"}}),
			map[string]string{"GET h/": "all rest=", "GET h/a": "all rest=a", "BREW /a/b/": "all rest=a/b/"},
		},
		"literal, regex, param, rest": {
			named(
				"literal", Match{Paths: []string{"/a/b"}},
				"regex", Match{Paths: []string{"/a/{n:[a-z]+}"}},
				"param", Match{Paths: []string{"/a/{x}"}},
				"rest", Match{Paths: []string{"/a/{rest...}"}},
				"end", Match{Paths: []string{"/a"}},
				"slash", Match{Paths: []string{"/a/"}},
			),
			map[string]string{
				"GET h/a/b": "literal", "GET h/a/c": "regex n=c", "GET h/a/1": "param x=1",
				"GET h/a/b/c": "rest rest=b/c", "GET h/a": "end", "GET h/a/": "slash",
			},
		},
		"left before right": {
			named(
				"left", Match{Paths: []string{"/a/{x}/{y}/{z}"}},
				"right", Match{Paths: []string{"/{x}/b/c/d"}},
			),
			map[string]string{"GET h/a/b/c/d": "left x=b y=c z=d", "GET h/x/b/c/d": "right x=x"},
		},
		"a branch that fails is left again": {
			named(
				"deep", Match{Paths: []string{"/a/b/c/d"}, Methods: []string{"POST"}},
				"middle", Match{Paths: []string{"/a/{x}/c/{y}"}, Headers: []Condition{{"X-Y", Present, ""}}},
				"host", Match{Paths: []string{"/a/b/{rest...}"}, Hosts: []string{"h"}, Query: []Condition{{"q", Exact, "1"}}},
				"any", Match{Paths: []string{"/{rest...}"}},
			),
			map[string]string{
				"POST h/a/b/c/d":            "deep",
				"GET h/a/b/c/d?q=1":         "host rest=c/d",
				"GET h/a/b/c/d\nX-Y: 1":     "middle x=b y=d",
				"GET h/a/b/c/d?q=1\nX-Y: 1": "host rest=c/d",
				"GET h/a/b/c/d":             "any rest=a/b/c/d",
			},
		},
		"regexes of one place": {
			named(
				"digits, then anything", Match{Paths: []string{"/{n:[0-9]+}/{x}"}},
				"hex, then b", Match{Paths: []string{"/{h:[0-9a-f]+}/b"}},
				"letters", Match{Paths: []string{"/{l:[g-z]+}/{x}"}},
			),
			map[string]string{
				"GET h/12/b": "hex, then b h=12", "GET h/12/c": "digits, then anything n=12 x=c",
				"GET h/zz/b": "letters l=zz x=b", "GET h/ff/c": "no route", "GET h/ff/b": "hex, then b h=ff",
			},
		},
		"hosts": {
			named(
				"exact", Match{Paths: []string{"/a"}, Hosts: []string{"www.a.example", "[::1]"}},
				"label", Match{Paths: []string{"/a"}, Hosts: []string{"{tenant}.a.example"}},
				"many", Match{Paths: []string{"/a"}, Hosts: []string{"*.a.example"}},
				"longer", Match{Paths: []string{"/a"}, Hosts: []string{"*.b.a.example"}},
				"none", Match{Paths: []string{"/a"}},
			),
			map[string]string{
				"GET www.a.example/a":       "exact",
				"GET www.a.example./a":      "exact",
				"GET [::1]/a":               "exact",
				"GET [::2]/a":               "none",
				"GET x.a.example/a":         "label host.tenant=x",
				"GET x.y.a.example/a":       "many",
				"GET b.a.example/a":         "label host.tenant=b",
				"GET x.b.a.example/a":       "longer",
				"GET x.y.b.a.example/a":     "longer",
				"GET a.example/a":           "none",
				"GET .a.example/a":          "none",
				"GET xa.example/a":          "none",
				"GET x.example/a":           "none",
				"GET /a":                    "none",
				"GET x.a.example/b":         "no route",
				"GET [::ffff:1.a.example/a": "none",
			},
		},
		"host before path": {
			named(
				"by host", Match{Paths: []string{"/{rest...}"}, Hosts: []string{"{t}.example"}},
				"by path", Match{Paths: []string{"/a/{id}"}},
			),
			map[string]string{"GET x.example/a/1": "by host rest=a/1 host.t=x", "GET x/a/1": "by path id=1"},
		},
		"no host given": {
			named("hosted", Match{Paths: []string{"/a"}, Hosts: []string{"a.example", "*.a.example"}}),
			map[string]string{"GET /a": "no route", "GET a.example/a": "hosted"},
		},
		"priority before all": {
			named(
				"low", Match{Paths: []string{"/a/b"}, Hosts: []string{"h"}, Methods: []string{"GET"}},
				"high", Match{Paths: []string{"/{rest...}"}, Priority: 1, Query: []Condition{{"debug", Present, ""}}},
				"below", Match{Paths: []string{"/a/b"}, Priority: -1},
				"lowest", Match{Paths: []string{"/a/c"}, Hosts: []string{"h"}, Priority: -2},
			),
			map[string]string{
				"GET h/a/b": "low", "GET h/a/b?debug": "high rest=a/b", "POST h/a/b": "below",
				"GET h/a/c": "lowest", "GET x/a/c?debug=": "high rest=a/c",
			},
		},
		"methods before none": {
			named(
				"get", Match{Paths: []string{"/a"}, Methods: []string{"GET"}},
				"put", Match{Paths: []string{"/a"}, Methods: []string{"PUT", "PURGE"}},
				"any", Match{Paths: []string{"/a"}, Headers: []Condition{{"X", Present, ""}, {"Y", Present, ""}}},
			),
			map[string]string{
				"GET h/a\nX: 1\nY: 1": "get", "PURGE h/a": "put", "POST h/a\nX: 1\nY: 1": "any", "POST h/a": "no route",
			},
		},
		"HEAD": {
			named(
				"get", Match{Paths: []string{"/a"}, Methods: []string{"GET"}},
				"head", Match{Paths: []string{"/b"}, Methods: []string{"HEAD"}},
				"get b", Match{Paths: []string{"/b"}, Methods: []string{"GET"}, Headers: []Condition{{"X", Present, ""}}},
				"any", Match{Paths: []string{"/a"}},
				"post", Match{Paths: []string{"/c"}, Methods: []string{"POST"}},
				"get d", Match{Paths: []string{"/d"}, Methods: []string{"GET"}, Priority: 1},
				"head d", Match{Paths: []string{"/d"}, Methods: []string{"HEAD"}},
				"rest", Match{Paths: []string{"/{rest...}"}, Hosts: []string{"catch-all"}},
				"get e", Match{Paths: []string{"/e"}, Hosts: []string{"catch-all"}, Methods: []string{"GET"}},
			),
			map[string]string{
				"HEAD h/a":         "get",
				"HEAD h/b":         "head",
				"HEAD h/b\nX: 1":   "head",
				"HEAD h/c":         "method not allowed",
				"HEAD h/d":         "get d",
				"HEAD catch-all/e": "get e",
				"POST catch-all/e": "rest rest=e",
			},
		},
		"more conditions first": {
			named(
				"none", Match{Paths: []string{"/a"}},
				"one", Match{Paths: []string{"/a"}, Query: []Condition{{"v", Present, ""}}},
				"two", Match{Paths: []string{"/a"}, Query: []Condition{{"v", Present, ""}}, Headers: []Condition{{"x-v", Exact, "2"}}},
			),
			map[string]string{
				"GET h/a": "none", "GET h/a?v": "one", "GET h/a?v\nX-V: 2": "two", "GET h/a\nX-V: 2": "none",
				"GET h/a?v\nX-V: 3": "one",
			},
		},
		"listeners": {
			named(
				"public", Match{Paths: []string{"/a"}, Listeners: []string{"public", "secure"}},
				"private", Match{Paths: []string{"/a"}, Listeners: []string{"private"}, Methods: nil},
				"only private", Match{Paths: []string{"/b"}, Listeners: []string{"private"}, Methods: []string{"GET"}},
			),
			map[string]string{
				"@public GET h/a": "public", "@secure GET h/a": "public", "@private GET h/a": "private",
				"@other GET h/a": "no route", "GET h/a": "no route", "@public POST h/b": "no route",
				"@private POST h/b": "method not allowed",
			},
		},
		"several hosts and paths": {
			named(
				"many", Match{Paths: []string{"/x/{a}", "/y/{b}/{c}"}, Hosts: []string{"h", "{t}.example"}},
			),
			map[string]string{
				"GET h/x/1": "many a=1", "GET q.example/y/1/2": "many b=1 c=2 host.t=q", "GET i/x/1": "no route",
			},
		},
		"nothing": {named(), map[string]string{"GET h/": "no route"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := mustCompile(t, tt.entries)
			for in, want := range tt.want {
				if got := lookup(t, table, in); got != want {
					t.Errorf("%q: got %q, want %q", in, got, want)
				}
			}
		})
	}
}

func TestLookupOddPaths(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named("all", Match{Paths: []string{"/{rest...}"}}))
	for _, path := range []string{"", "*", "a/b"} {
		found := Found[string]{Value: "old", Entry: 7}
		if r := table.Lookup(&Query{Path: []byte(path)}, &found); r != NoRoute || found.Entry != -1 || found.Value != "" {
			t.Errorf("%q: %v, %+v", path, r, found)
		}
	}
}

func TestAllow(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named(
		"get", Match{Paths: []string{"/a"}, Methods: []string{"GET"}, Headers: []Condition{{"X", Present, ""}}},
		"put", Match{Paths: []string{"/a"}, Methods: []string{"PUT", "PURGE", "LINK"}},
		"delete", Match{Paths: []string{"/{x}"}, Methods: []string{"DELETE"}},
		"elsewhere", Match{Paths: []string{"/a"}, Methods: []string{"PATCH"}, Hosts: []string{"other"}},
		"private", Match{Paths: []string{"/a"}, Methods: []string{"POST"}, Listeners: []string{"private"}},
		"any", Match{Paths: []string{"/any"}, Query: []Condition{{"q", Present, ""}}},
	))
	for in, want := range map[string]string{
		"POST h/a":          "GET, HEAD, PUT, DELETE, OPTIONS, LINK, PURGE",
		"OPTIONS h/a":       "GET, HEAD, PUT, DELETE, OPTIONS, LINK, PURGE",
		"POST other/a":      "GET, HEAD, PUT, PATCH, DELETE, OPTIONS, LINK, PURGE",
		"@private GET h/a":  "GET, HEAD, POST, PUT, DELETE, OPTIONS, LINK, PURGE",
		"POST h/b":          "DELETE, OPTIONS",
		"POST h/any":        "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
		"POST h/none/there": "OPTIONS",
	} {
		if got := string(table.Allow([]byte("Allow: "), request(t, in))); got != "Allow: "+want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"POST h/a":     "method not allowed",
		"OPTIONS h/a":  "method not allowed",
		"BREW h/a":     "method not allowed",
		"GET h/b":      "method not allowed",
		"POST h/a/b":   "no route",
		"LINK h/a":     "put",
		"GET h/any":    "no route", // the method is taken, the condition fails
		"BREW h/any?q": "any",
	} {
		if got := lookup(t, table, in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestResultString(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(NoRoute, Matched, MethodNotAllowed); got != "no route matched method not allowed" {
		t.Error(got)
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named(
		"rest", Match{Paths: []string{"/{rest...}"}},
		"b", Match{Paths: []string{"/b"}},
		"a", Match{Paths: []string{"/a"}},
		"a get", Match{Paths: []string{"/a"}, Methods: []string{"GET"}},
		"a one", Match{Paths: []string{"/a"}, Query: []Condition{{"q", Present, ""}}},
		"any label", Match{Paths: []string{"/"}, Hosts: []string{"*.example"}},
		"label", Match{Paths: []string{"/"}, Hosts: []string{"{t}.example"}},
		"longer", Match{Paths: []string{"/"}, Hosts: []string{"*.a.example"}},
		"other", Match{Paths: []string{"/"}, Hosts: []string{"*.b.example"}},
		"host", Match{Paths: []string{"/"}, Hosts: []string{"a"}},
		"high", Match{Paths: []string{"/z/{x}"}, Priority: 5},
		"regex", Match{Paths: []string{"/{x:[0-9]+}"}},
		"param", Match{Paths: []string{"/{x}"}},
		"best of two", Match{Paths: []string{"/{x}/{rest...}", "/aa"}},
		"a v1", Match{Paths: []string{"/a"}, Query: []Condition{{"v", Exact, "1"}, {"w", Present, ""}}},
		"a listener", Match{Paths: []string{"/l"}, Listeners: []string{"one"}},
		"a other listener", Match{Paths: []string{"/l"}, Listeners: []string{"two"}},
	))
	var got []string
	order := table.Entries()
	for _, i := range order {
		got = append(got, table.values[i])
	}
	want := []string{
		"high", "host", "longer", "other", "label", "any label",
		"a get", "a v1", "a one", "a", "best of two", "b", "a listener", "a other listener", "regex", "param", "rest",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("match order (-want +got):\n%s", diff)
	}
	order[0] = 99
	if table.Entries()[0] == 99 {
		t.Error("the slice is shared")
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named("a", Match{Paths: []string{"/{x}/{rest...}"}, Hosts: []string{"{t}.example"}}))
	var f Found[string]
	if table.Lookup(request(t, "GET q.example/1"), &f) != Matched {
		t.Fatal("no match")
	}
	copied := f.Params
	if v := copied.Get("rest"); v == nil || len(v) != 0 {
		t.Errorf("empty rest is %v", v)
	}
	if v := copied.Get("nothing"); v != nil {
		t.Errorf("no parameter is %q", v)
	}
	if v := copied.Get("host.t"); string(v) != "q" || cap(v) != 1 {
		t.Errorf("host parameter is %q, cap %d", v, cap(v))
	}
	f.Params.Reset()
	if f.Params.Len() != 0 || f.Params.Get("x") != nil {
		t.Errorf("after Reset: %v", f.Params)
	}
	if string(copied.Get("x")) != "1" {
		t.Error("a copy changed with its original")
	}
	var zero Params
	if zero.Len() != 0 || zero.Get("") != nil {
		t.Error("the zero value is not empty")
	}
}

// TestMostParams: as many parameters as a pattern may have, with one of the host.
func TestMostParams(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named("a", Match{Paths: []string{"/" + manyParams(MaxParams)}, Hosts: []string{"{t}.example"}}))
	path := "/1" + strings.Repeat("/x", MaxParams-2) + "/2"
	want := map[string]string{"host.t": "q", "pa": "1", "po": "2"}
	var f Found[string]
	if table.Lookup(request(t, "GET q.example"+path), &f) != Matched || f.Params.Len() != MaxParams+1 {
		t.Fatalf("no match: %v", f)
	}
	for name, v := range want {
		if got := string(f.Params.Get(name)); got != v {
			t.Errorf("%s is %q, want %q", name, got, v)
		}
	}
	if got := lookup(t, table, "GET q.example"+path+"/3"); got != "no route" {
		t.Error(got)
	}
}

// TestBacktrackingIsBounded: a trie that forks at each of its 12 levels, and a path
// that takes every way in vain. Each node is visited once, so that it takes about
// 0.2 ms; were ways tried again from each fork, it would be thousands of times that.
func TestBacktrackingIsBounded(t *testing.T) {
	t.Parallel()
	const levels = 12
	var entries []Entry[string]
	for i := range 1 << levels {
		var path strings.Builder
		for level := range levels {
			if i>>level&1 == 0 {
				path.WriteString("/a")
			} else {
				fmt.Fprintf(&path, "/{p%d}", level)
			}
		}
		entries = append(entries, named(fmt.Sprint(i), Match{Paths: []string{path.String() + "/end"}})...)
	}
	table := mustCompile(t, entries)
	q := request(t, "GET h"+strings.Repeat("/a", 5000))
	var f Found[string]
	best := time.Hour // of several: the machine does other things too
	for range 5 {
		start := time.Now()
		if table.Lookup(q, &f) != NoRoute {
			t.Fatal("matched")
		}
		best = min(best, time.Since(start))
	}
	if best > 100*time.Millisecond {
		t.Errorf("a failing lookup takes %v", best)
	}
	if got := lookup(t, table, "GET h"+strings.Repeat("/b", levels)+"/end"); !strings.HasPrefix(got, "4095 p0=b") {
		t.Error(got)
	}
}
