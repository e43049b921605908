//go:build !race

package router

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// TestAllocsLookup: a lookup allocates nothing, whatever it has to look at.
func TestAllocsLookup(t *testing.T) {
	table := mustCompile(t, named(
		"literal", Match{Paths: []string{"/a/b"}},
		"param", Match{Paths: []string{"/c/{x}/{y}"}, Hosts: []string{"{t}.example"}},
		"regex", Match{Paths: []string{"/d/{n:[0-9]+}/{m:a+|b+}"}},
		"other regex", Match{Paths: []string{"/d/{n:[a-z]+}/{m:(a|b)*c}"}},
		"rest", Match{Paths: []string{"/e/{rest...}"}, Methods: []string{"GET"}},
		"header", Match{Paths: []string{"/f"}, Headers: []Condition{{"X-A", Regex, "(a|b)*c$"}, {"X-B", Exact, "1"}}},
		"query", Match{Paths: []string{"/g"}, Query: []Condition{{"v", Regex, "^(a| )*b$"}, {"w", Exact, "1 2"}}},
		"listener", Match{Paths: []string{"/h"}, Listeners: []string{"public"}},
	))
	for name, in := range map[string]string{
		"literal":            "GET h/a/b",
		"param":              "GET q.example/c/1/2",
		"regex":              "GET h/d/12/bb",
		"other regex":        "GET h/d/ab/abc",
		"rest":               "HEAD h/e/1/2/3",
		"header":             "GET h/f\nX-A: ababc\nX-B: 1",
		"query":              "GET h/g?v=a+a%20b&w=1%202",
		"listener":           "@public GET h/h",
		"no route":           "GET h/nothing/here",
		"method not allowed": "DELETE h/e/1",
	} {
		q := request(t, in)
		var f Found[string]
		result := table.Lookup(q, &f)
		if f.Value != name && result.String() != name {
			t.Errorf("%s: got %v by %q", name, result, f.Value)
		}
		if n := testing.AllocsPerRun(200, func() { table.Lookup(q, &f) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	q, dst := request(t, "DELETE h/e/1"), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(200, func() { dst = table.Allow(dst[:0], q) }); n != 0 {
		t.Errorf("Allow: %v allocations", n)
	}
}

// TestAllocsLookupMany: the same among 10,000 routes, with a query on the stack.
func TestAllocsLookupMany(t *testing.T) {
	entries, queries := mixedRoutes(10_000)
	table := mustCompile(t, entries)
	var header fasthttp.RequestHeader
	i := 0
	if n := testing.AllocsPerRun(len(queries)-1, func() {
		q := Query{Host: queries[i].Host, Path: queries[i].Path, Method: queries[i].Method, Header: &header}
		var f Found[int]
		if table.Lookup(&q, &f) != Matched || f.Entry != i {
			t.Errorf("request %d got route %d", i, f.Entry)
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
