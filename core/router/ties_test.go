package router

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestProblems(t *testing.T) {
	t.Parallel()
	type problem struct {
		entry, other int
		field, text  string
	}
	tests := map[string]struct {
		entries []Entry[string]
		want    []problem
	}{
		"every problem of every route": {
			named(
				"one", Match{
					Paths: []string{"/a//b", "/ok", "/{x}/{x}"}, Hosts: []string{"a.example:80", "A.example", "a.example", "{t}.b", "{u}.b"},
					Methods: []string{"get", "GET", "CONNECT", "TRACE", "A B", "", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
					Headers: []Condition{{"Host", Present, ""}, {"X-A", Present, ""}, {"x-a", Exact, "1"}},
					Query:   []Condition{{"v", Regex, "("}, {"w", Present, ""}, {"w", Exact, "1"}}, Listeners: []string{"a", ""},
				},
				"two", Match{},
			),
			[]problem{
				{0, -1, "headers.Host", "`hosts`"},
				{0, -1, "headers.x-a", "stands twice"},
				{0, -1, "hosts[0]", `host "a.example:80": a host is written without its port (at byte 10)`},
				{0, -1, "hosts[2]", `host "a.example" says the same as "a.example"`},
				{0, -1, "hosts[4]", `host "{u}.b" says the same as "{t}.b"`},
				{0, -1, "listeners[1]", "empty listener"},
				{0, -1, "methods[0]", `method "get": methods are written in upper case`},
				{0, -1, "methods[2]", "405"},
				{0, -1, "methods[3]", "405"},
				{0, -1, "methods[4]", "token"},
				{0, -1, "methods[5]", "1 to 24"},
				{0, -1, "methods[6]", "1 to 24"},
				{0, -1, "paths[0]", `path "/a//b": an empty segment`},
				{0, -1, "paths[2]", `path "/{x}/{x}": parameter {x} stands twice (at byte 6)`},
				{0, -1, "query.v", "missing closing )"},
				{0, -1, "query.w", "stands twice"},
				{1, -1, "paths", `"/{rest...}" matches every one`},
			},
		},
		"ties name both places": {
			named(
				"a", Match{Paths: []string{"/x/{id}", "/y"}, Hosts: []string{"{t}.example"}, Methods: []string{"GET", "PUT"}, Query: []Condition{{"v", Exact, "1"}}},
				"b", Match{Paths: []string{"/y", "/x/{name}"}, Hosts: []string{"{tenant}.example"}, Methods: []string{"PUT", "POST"}, Query: []Condition{{"w", Present, ""}}, Listeners: []string{"l"}},
			),
			[]problem{{1, 0, "", `route "b" (gw.yaml:b) can't be told apart from "a" (gw.yaml:a): both match POST, PUT /`}},
		},
		"more than two": {
			named("a", Match{Paths: []string{"/"}}, "b", Match{Paths: []string{"/"}}, "c", Match{Paths: []string{"/"}}),
			[]problem{
				{1, 0, "", `route "b" (gw.yaml:b) can't be told apart from "a" (gw.yaml:a): both match / on any host; give`},
				{2, 0, "", `from "a"`}, {2, 1, "", `from "b"`},
			},
		},
		"two paths of one route": {
			named("a", Match{Paths: []string{"/{x}/{r:[0-9]+}", "/{y}/{s:[0-5]+}"}}),
			[]problem{{0, -1, "paths", `two paths of route "a" (gw.yaml:a) can't be told apart: /{`}},
		},
		"spelling makes no difference": {
			named("a", Match{Paths: []string{"/caf%c3%a9/{a...}"}, Hosts: []string{"EXAMPLE.org"}}, "b", Match{Paths: []string{"/café/{b...}"}, Hosts: []string{"example.org"}}),
			[]problem{{1, 0, "", "can't be told apart"}},
		},
		"header names in any case": {
			named(
				"a", Match{Paths: []string{"/"}, Headers: []Condition{{"X-Team", Exact, "1"}}},
				"b", Match{Paths: []string{"/"}, Headers: []Condition{{"x-team", Exact, "1"}}},
			),
			[]problem{{1, 0, "", `with header X-Team is "1"`}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, got := Compile(tt.entries)
			if table != nil {
				t.Error("there is a table")
			}
			for i := range max(len(got), len(tt.want)) {
				switch {
				case i >= len(got):
					t.Errorf("missing: %v", tt.want[i])
				case i >= len(tt.want):
					t.Errorf("not wanted: %v", got[i])
				default:
					g, w := got[i], tt.want[i]
					if g.Entry != w.entry || g.Other != w.other || g.Field != w.field || !strings.Contains(g.Text, w.text) {
						t.Errorf("got %v, want %v", g, w)
					}
				}
			}
		})
	}
}

// TestTies: pairs of routes, and whether a request could match both with equal
// rank.
func TestTies(t *testing.T) {
	t.Parallel()
	header := func(kind ConditionKind, value string) Match {
		return Match{Paths: []string{"/"}, Headers: []Condition{{"X", kind, value}}}
	}
	path := func(p string) Match { return Match{Paths: []string{p}} }
	for _, tt := range []struct {
		a, b Match
		tie  bool
	}{
		{path("/a"), path("/a"), true},
		{path("/a"), path("/a/"), false},
		{path("/a/{x}"), path("/a/{y}"), true},
		{path("/a/{x}"), path("/a/{x...}"), false},
		{path("/{x}/a"), path("/{y}/b"), false},
		{path("/{x:[0-9]+}"), path("/{y:[0-9]+}"), true},
		{path("/{x:[0-9]+}"), path("/{y:[a-z]+}"), false},
		{path("/{x:[0-9]+}"), path("/{y:[0-9a-f]+}"), true},
		{path("/{x:a+}/{y:b}"), path("/{x:.*}/{y:c}"), false},
		{path("/{x:(?i)abc}"), path("/{y:ABC}"), true},
		{path("/{x:k}"), path("/{y:(?i)K}"), true},
		{path("/{x:a.c}"), path("/{y:a[^b]c}"), true},
		{path("/{x:ab|cd}"), path("/{y:ac|bd}"), false},
		{path("/{x:a$b}"), path("/{y:.*}"), false}, // never matches
		{path("/{x:^ab$}"), path("/{y:ab}"), true},
		{path(`/{x:\bab\b}`), path("/{y:ab}"), true},
		{Match{Paths: []string{"/"}, Priority: 1}, path("/"), false},
		{Match{Paths: []string{"/"}, Hosts: []string{"*.a"}}, Match{Paths: []string{"/"}, Hosts: []string{"{t}.a"}}, false},
		{Match{Paths: []string{"/"}, Methods: []string{"GET"}}, path("/"), false},
		{Match{Paths: []string{"/"}, Methods: []string{"GET"}}, Match{Paths: []string{"/"}, Methods: []string{"POST"}}, false},
		{Match{Paths: []string{"/"}, Methods: []string{"GET"}}, Match{Paths: []string{"/"}, Methods: []string{"HEAD"}}, false},
		{Match{Paths: []string{"/"}, Methods: []string{"GET", "PUT"}}, Match{Paths: []string{"/"}, Methods: []string{"PUT", "POST"}}, true},
		{Match{Paths: []string{"/"}, Listeners: []string{"a"}}, Match{Paths: []string{"/"}, Listeners: []string{"b"}}, false},
		{Match{Paths: []string{"/"}, Listeners: []string{"a"}}, path("/"), true},
		{header(Present, ""), path("/"), false},
		{header(Exact, "1"), header(Exact, "2"), false},
		{header(Exact, "1"), header(Exact, "1"), true},
		{header(Exact, "1"), header(Present, ""), true},
		{header(Exact, "10"), header(Regex, "^1"), true},
		{header(Regex, "^2"), header(Exact, "10"), false},
		{header(Exact, "10"), header(Regex, "^2"), false},
		{header(Regex, `^1\.`), header(Regex, `^2\.`), false},
		{header(Regex, "^1"), header(Regex, "2$"), true},
		{header(Regex, "1"), header(Regex, "2"), true},
		{header(Regex, "^1$"), header(Regex, "^1.$"), false},
		{header(Regex, "^$"), header(Regex, "."), false},
		{header(Regex, "^(a|b)+$"), header(Regex, "^[cd]*b[cd]*$"), true},
		{
			Match{Paths: []string{"/"}, Headers: []Condition{{"v", Exact, "1"}}},
			Match{Paths: []string{"/"}, Query: []Condition{{"V", Exact, "2"}}}, true,
		},
		{
			Match{Paths: []string{"/"}, Query: []Condition{{"v", Exact, "1"}, {"w", Exact, "1"}}},
			Match{Paths: []string{"/"}, Query: []Condition{{"w", Exact, "2"}, {"x", Present, ""}}}, false,
		},
	} {
		table, problems := Compile(named("a", tt.a, "b", tt.b))
		if (table == nil) != tt.tie {
			t.Errorf("%v and %v: %v", tt.a, tt.b, problems)
		}
	}
}

// TestTiesAmongMany: rules of one leaf are divided before they are compared; ties
// are found all the same, wherever they are.
func TestTiesAmongMany(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(fewRules+1, 90).Draw(t, "routes")
		var entries []Entry[string]
		for i := range n {
			m := Match{Paths: []string{"/"}}
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				m.Query = []Condition{{"v", Exact, fmt.Sprint(i)}, {"w", Present, ""}}
			case 1:
				m.Headers = []Condition{{"X", Exact, fmt.Sprint(i % 40)}, {"Y", Exact, fmt.Sprint(i)}}
			default:
				m.Query = []Condition{{"v", Exact, fmt.Sprint(i)}, {"x", Exact, fmt.Sprint(rapid.IntRange(0, n).Draw(t, "x"))}}
			}
			m.Methods = []string{rapid.SampledFrom([]string{"GET", "PUT", "POST"}).Draw(t, "method")}
			if rapid.IntRange(0, 30).Draw(t, "listener") > 0 {
				m.Listeners = []string{fmt.Sprint("l", rapid.IntRange(0, 60).Draw(t, "l"))}
			}
			entries = append(entries, named(fmt.Sprint(i), m)...)
		}
		want := map[[2]int]bool{}
		for i := range entries {
			for j := range i {
				if naiveTie(entries[j].Match, entries[i].Match) {
					want[[2]int{j, i}] = true
				}
			}
		}
		_, problems := Compile(entries)
		if len(want) >= maxTies {
			last := problems[len(problems)-1]
			if len(problems) != maxTies+1 || !strings.Contains(last.Text, "perhaps more") {
				t.Fatalf("%d problems of %d, the last is %v", len(problems), len(want), last)
			}
			return
		}
		for _, p := range problems {
			if key := [2]int{p.Other, p.Entry}; !want[key] {
				t.Fatalf("no tie, or told twice: %v", p)
			} else {
				delete(want, key)
			}
		}
		if len(want) > 0 {
			t.Fatalf("not found: %v", want)
		}
	})
}

// naiveTie says whether two matches of TestTiesAmongMany, which are all of equal
// rank, share a request.
func naiveTie(a, b Match) bool {
	if a.Methods[0] != b.Methods[0] || len(a.Listeners)+len(b.Listeners) == 2 && a.Listeners[0] != b.Listeners[0] {
		return false
	}
	for _, pair := range [][2][]Condition{{a.Headers, b.Headers}, {a.Query, b.Query}} {
		for _, c := range pair[0] {
			for _, d := range pair[1] {
				if c.Name == d.Name && c.Kind == Exact && d.Kind == Exact && c.Value != d.Value {
					return false
				}
			}
		}
	}
	return true
}

func TestTooManyNames(t *testing.T) {
	t.Parallel()
	var entries []Entry[string]
	for i := range 70 {
		suffix := string(rune('A'+i/26)) + string(rune('A'+i%26))
		entries = append(entries, named(suffix, Match{Paths: []string{"/" + suffix}, Methods: []string{"M" + suffix}, Listeners: []string{"l" + suffix}})...)
	}
	_, problems := Compile(entries)
	if len(problems) != 2 || !strings.Contains(problems[0].Text, "more than 64 listeners") || !strings.Contains(problems[1].Text, "more than 56 methods") {
		t.Errorf("%v", problems)
	}
	mustCompile(t, entries[:56])
}

// TestDisjointPrograms: what is called disjoint shares no text, found by trying
// all short ones; and what shares none is called so, for without assertions of
// words and lines the answer is exact.
func TestDisjointPrograms(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, n := range []int{0, 1, 2, 3, 4, 5} {
		texts = appendTexts(texts, "", n)
	}
	atom := rapid.SampledFrom([]string{"a", "b", "[ab]", "[^a]", ".", "(?i)A", "^", "$", "a*", "b+", "(ab|b)", "(a|b)?", "b{2}", "(?s:.)", ""})
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(atom, 1, 3).Draw(t, "atoms"), "") })
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		reA, reB := regexp.MustCompile(`\A(?:`+a+`)\z`), regexp.MustCompile(`\A(?:`+b+`)\z`)
		shared := ""
		found := false
		for _, s := range texts {
			if reA.MatchString(s) && reB.MatchString(s) {
				shared, found = s, true
				break
			}
		}
		states := maxStates
		if got := disjointPrograms(prog(t, a), prog(t, b), &states); got == found {
			t.Fatalf("%q and %q: disjoint %v, but shared text %v %q", a, b, got, found, shared)
		}
	})
}

// appendTexts appends all texts of n of a few letters.
func appendTexts(dst []string, prefix string, n int) []string {
	if n == 0 {
		return append(dst, prefix)
	}
	for _, c := range []string{"a", "b", "A", "c"} {
		dst = appendTexts(dst, prefix+c, n-1)
	}
	return dst
}

func prog(t rapid.TB, source string) *syntax.Prog {
	t.Helper()
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	p, err := syntax.Compile(re.Simplify())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestUndecidedIsATie: comparing regular expressions ends when its work is used up.
func TestUndecidedIsATie(t *testing.T) {
	t.Parallel()
	states := 100
	if disjointPrograms(prog(t, "(a|b){100}c"), prog(t, "(a|b){100}d"), &states) || states >= 0 {
		t.Error("decided without the work")
	}
	states = maxStates
	if !disjointPrograms(prog(t, "(a|b){100}c"), prog(t, "(a|b){100}d"), &states) {
		t.Error("undecided with all the work")
	}
}

// TestTooDeepToCompare: a regular expression as deep as may be gets too deep when
// it is wrapped; a pattern then says so, and conditions count as a tie.
func TestTooDeepToCompare(t *testing.T) {
	t.Parallel()
	deep := "a"
	for {
		next := "(" + deep + ")"
		if _, err := regexp.Compile(next); err != nil {
			break
		}
		deep = next
	}
	if _, err := ParsePattern("/{x:" + deep + "}"); err == nil || !strings.Contains(err.Error(), "nests too deeply") {
		t.Errorf("as a segment: %v", err)
	}
	_, problems := Compile(named(
		"a", Match{Paths: []string{"/"}, Headers: []Condition{{"X", Regex, deep}}},
		"b", Match{Paths: []string{"/"}, Headers: []Condition{{"X", Regex, "^b$"}}},
	))
	if len(problems) != 1 || problems[0].Other != 0 {
		t.Errorf("as conditions: %v", problems)
	}
}
