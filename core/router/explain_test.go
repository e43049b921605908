package router

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named(
		"high", Match{Paths: []string{"/{rest...}"}, Priority: 1, Query: []Condition{{"debug", Exact, "yes"}}},
		"exact", Match{Paths: []string{"/a/{id}"}, Hosts: []string{"a.example"}, Methods: []string{"POST", "PUT"}},
		"label", Match{Paths: []string{"/a/{id}", "/a/{id}/x"}, Hosts: []string{"{t}.example", "*.org"}},
		"literal", Match{Paths: []string{"/a/b"}},
		"slash", Match{Paths: []string{"/a/b/"}},
		"short", Match{Paths: []string{"/a"}},
		"long", Match{Paths: []string{"/a/b/c/{d}"}},
		"regex", Match{Paths: []string{"/a/{n:[0-9]+}"}},
		"get", Match{Paths: []string{"/a/{x}"}, Methods: []string{"GET"}},
		"head", Match{Paths: []string{"/a/{x}"}, Methods: []string{"HEAD"}},
		"private", Match{Paths: []string{"/a/{x}"}, Listeners: []string{"private", "other"}},
		"two", Match{Paths: []string{"/a/{x}"}, Listeners: []string{"public"}, Headers: []Condition{{"X-V", Regex, "^2"}, {"X-W", Present, ""}}},
		"one", Match{Paths: []string{"/a/{x}"}, Listeners: []string{"public"}, Headers: []Condition{{"X-V", Exact, "1"}}},
		"none", Match{Paths: []string{"/a/{x}"}, Listeners: []string{"public"}},
	))
	for in, want := range map[string]map[string]string{
		"@public GET a.example/a/b\nX-V: 3": {
			"high":    "query debug is missing",
			"exact":   `method "GET" is not POST, PUT`,
			"label":   "+takes the request by /a/{id} on {t}.example",
			"literal": `matches too, but "label" comes first by its host`,
			"slash":   "the path has no trailing slash",
			"short":   `the path goes on with "/b"`,
			"long":    "the path ends before /c",
			"regex":   `segment 2 of the path, "b", does not match [0-9]+`,
			"get":     `matches too, but "label" comes first by its host`,
			"head":    `method "GET" is not HEAD`,
			"private": `listener "public" is not private, other`,
			"two":     "header X-V does not match ^2",
			"one":     `header X-V is not "1"`,
			"none":    `matches too, but "label" comes first by its host`,
		},
		"@public HEAD b/a/1/?debug=yes&debug=no": {
			"high":    "query debug stands more than once, so it has no one value",
			"exact":   `host "b" is not a.example`,
			"label":   `host "b" is not {t}.example, *.org`,
			"literal": `segment 2 of the path, "1", is not "b"`,
			"slash":   `segment 2 of the path, "1", is not "b"`,
			"short":   `the path goes on with "/1/"`,
			"long":    `segment 2 of the path, "1", is not "b"`,
			"regex":   "the path has a trailing slash",
			"get":     "the path has a trailing slash",
			"head":    "the path has a trailing slash",
			"private": `listener "public" is not private, other`,
			"two":     "the path has a trailing slash",
			"one":     "the path has a trailing slash",
			"none":    "the path has a trailing slash",
		},
		"@public HEAD b/a/c\nX-V: 2\nX-W: 1": {
			"head":    "+takes the request by /a/{x} on any host",
			"get":     `matches too, but "head" comes first by its methods`,
			"two":     `matches too, but "head" comes first by its methods`,
			"none":    `matches too, but "head" comes first by its methods`,
			"literal": `segment 2 of the path, "c", is not "b"`,
		},
		"@public POST b/a/c\nX-V: 2\nX-W: 1": {
			"two":  "+takes the request by /a/{x} on any host",
			"none": `matches too, but "two" comes first by its number of header and query conditions`,
			"get":  `method "POST" is not GET`,
			"one":  `header X-V is not "1"`,
		},
		"@public GET b/a/7?debug=yes": {
			"high":  "+takes the request by /{rest...} on any host",
			"regex": `matches too, but "high" comes first by its priority`,
			"get":   `matches too, but "high" comes first by its priority`,
		},
		"@public GET b/a/7": {
			"regex": "+takes the request by /a/{n:[0-9]+} on any host",
			"get":   `matches too, but "regex" comes first by its path`,
			"high":  "query debug is missing",
		},
		"@public GET x.org/a/b/y": {
			"label": `path "/a/b/y" fits none of /a/{id}, /a/{id}/x`,
			"slash": `segment 3 of the path, "y", stands where the pattern ends`,
			"long":  `segment 3 of the path, "y", is not "c"`,
		},
		"@public GET b/a/": {
			"get":   "segment 2 of the path, \"\", is empty",
			"regex": "segment 2 of the path, \"\", is empty",
			"short": "the path has a trailing slash",
		},
	} {
		steps := table.Explain(request(t, in))
		if len(steps) != 14 {
			t.Fatalf("%d steps", len(steps))
		}
		for _, s := range steps {
			got := s.Why
			if s.Matched {
				got = "+" + got
			}
			if s.Name != table.values[s.Entry] || s.At != "gw.yaml:"+s.Name {
				t.Errorf("step %+v", s)
			}
			if w, asked := want[s.Name]; asked && got != w || !asked && s.Matched {
				t.Errorf("%q: %s says %q, want %q", in, s.Name, got, w)
			}
		}
	}
}

// TestExplainOrder: the steps come in match order.
func TestExplainOrder(t *testing.T) {
	t.Parallel()
	entries, queries := mixedRoutes(200)
	table := mustCompile(t, entries)
	var got []int
	for _, s := range table.Explain(&queries[0]) {
		got = append(got, s.Entry)
	}
	if diff := cmp.Diff(table.Entries(), got); diff != "" {
		t.Error(diff)
	}
}

// TestExplainShowsNoValues: values of fields may be secret.
func TestExplainShowsNoValues(t *testing.T) {
	t.Parallel()
	table := mustCompile(t, named("a", Match{Paths: []string{"/a"}, Headers: []Condition{{"Authorization", Regex, "^Basic"}}}))
	steps := table.Explain(request(t, "GET h/a\nAuthorization: Bearer secret"))
	if got := fmt.Sprint(steps); got != "[{0 a gw.yaml:a false header Authorization does not match ^Basic}]" {
		t.Error(got)
	}
	if got := fmt.Sprint(table.Explain(&Query{Path: []byte("*")})); got != "[{0 a gw.yaml:a false the path does not begin with /}]" {
		t.Error(got)
	}
}
