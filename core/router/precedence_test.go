package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"
)

// Few names, so that what is drawn overlaps.
var (
	drawLiteral = rapid.SampledFrom([]string{"a", "b", "1", "a1", "segment-of-some-length", "12345678"})
	drawRegex   = rapid.SampledFrom([]string{"[0-9]+", "[a-z]+", "a.*", ".*1", "a|b", "[a-z0-9]{1,2}"})
	drawHost    = rapid.SampledFrom([]string{"a.x", "b.a.x", "x", "*.x", "*.a.x", "{t}.x", "{t}.a.x", "{u}.b.a.x", "[::1]"})
	drawMethod  = rapid.SampledFrom([]string{"GET", "HEAD", "POST", "OPTIONS", "PURGE"})
	drawName    = rapid.SampledFrom([]string{"X-A", "X-B"})
	drawKey     = rapid.SampledFrom([]string{"v", "w w"})
	drawValue   = rapid.SampledFrom([]string{"1", "2", "1 2"})
)

func drawPattern(t *rapid.T) string {
	var b strings.Builder
	for i := range rapid.IntRange(0, 4).Draw(t, "segments") {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0, 1:
			b.WriteString("/" + drawLiteral.Draw(t, "literal"))
		case 2:
			fmt.Fprintf(&b, "/{p%d:%s}", i, drawRegex.Draw(t, "regex"))
		default:
			fmt.Fprintf(&b, "/{p%d}", i)
		}
	}
	switch end := rapid.IntRange(0, 3).Draw(t, "end"); {
	case end == 0:
		b.WriteString("/{rest...}")
	case end == 1 || b.Len() == 0:
		b.WriteString("/")
	}
	return b.String()
}

func drawCondition(name *rapid.Generator[string]) func(*rapid.T) Condition {
	return func(t *rapid.T) Condition {
		c := Condition{Name: name.Draw(t, "name"), Kind: rapid.SampledFrom([]ConditionKind{Present, Exact, Exact, Regex}).Draw(t, "kind")}
		switch c.Kind {
		case Exact:
			c.Value = drawValue.Draw(t, "value")
		case Regex:
			c.Value = rapid.SampledFrom([]string{"^1", "2$", "^2", ""}).Draw(t, "value")
		}
		return c
	}
}

func drawMatch(t *rapid.T) Match {
	byName := func(c Condition) string { return c.Name }
	return Match{
		Listeners: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"public", "secure"}), 0, 1, rapid.ID).Draw(t, "listeners"),
		Hosts:     rapid.SliceOfNDistinct(drawHost, 0, 2, rapid.ID).Draw(t, "hosts"),
		Paths:     rapid.SliceOfNDistinct(rapid.Custom(drawPattern), 1, 3, rapid.ID).Draw(t, "paths"),
		Methods:   rapid.SliceOfNDistinct(drawMethod, 0, 2, rapid.ID).Draw(t, "methods"),
		Headers:   rapid.SliceOfNDistinct(rapid.Custom(drawCondition(drawName)), 0, 1, byName).Draw(t, "headers"),
		Query:     rapid.SliceOfNDistinct(rapid.Custom(drawCondition(drawKey)), 0, 1, byName).Draw(t, "query"),
		Priority:  rapid.SampledFrom([]int{0, 0, 0, 0, 1, -1}).Draw(t, "priority"),
	}
}

// drawEntries draws routes, and drops the later of those that tie until none do.
func drawEntries(t *rapid.T) ([]Entry[int], *Table[int]) {
	var entries []Entry[int]
	for i, m := range rapid.SliceOfN(rapid.Custom(drawMatch), 1, 12).Draw(t, "matches") {
		entries = append(entries, Entry[int]{Name: fmt.Sprint("route-", i), At: fmt.Sprintf("gw.yaml:%d:3", i), Match: m})
	}
	for {
		for i := range entries {
			entries[i].Value = i + 1000
		}
		table, problems := Compile(entries)
		if table != nil {
			return entries, table
		}
		p := problems[0]
		if p.Entry < 0 || p.Entry >= len(entries) || p.Other >= p.Entry || p.Text == "" {
			t.Fatalf("a problem that makes no sense: %+v", p)
		}
		if !strings.Contains(p.Text, entries[p.Entry].At) || p.Other >= 0 && !strings.Contains(p.Text, entries[p.Other].At) {
			t.Fatalf("problem %q does not say where", p.Text)
		}
		entries = slices.Delete(entries, p.Entry, p.Entry+1)
	}
}

func drawRequest(t *rapid.T) naiveRequest {
	var path strings.Builder
	for range rapid.IntRange(0, 5).Draw(t, "segments") {
		path.WriteString("/" + rapid.OneOf(drawLiteral, rapid.SampledFrom([]string{"zz", ""})).Draw(t, "segment"))
	}
	if path.Len() == 0 || rapid.Bool().Draw(t, "slash") {
		path.WriteString("/")
	}
	q := naiveRequest{
		listener: rapid.SampledFrom([]string{"public", "secure", "other"}).Draw(t, "listener"),
		host:     rapid.SampledFrom([]string{"", "a.x", "a.x.", "b.a.x", "c.b.a.x", "d.c.b.a.x", "x", "y.x", "zx", ".x", "[::1]"}).Draw(t, "host"),
		path:     path.String(),
		method:   rapid.OneOf(drawMethod, rapid.SampledFrom([]string{"PUT", "BREW"})).Draw(t, "method"),
		query:    rapid.SampledFrom([]string{"", "v", "v=1", "v=%31&x=y", "v=2&v=1", "w+w=1+2", "w%20w=2&v=1", "&&v=%3", "v=1%202"}).Draw(t, "query"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		q.fields = append(q.fields, [2]string{drawName.Draw(t, "name"), drawValue.Draw(t, "value")})
	}
	return q
}

// asQuery returns the request as a lookup wants it.
func (r naiveRequest) asQuery() *Query {
	h := &fasthttp.RequestHeader{}
	for _, f := range r.fields {
		h.Add(f[0], f[1])
	}
	return &Query{
		Listener: r.listener, Host: []byte(r.host), Path: []byte(r.path), Method: []byte(r.method),
		RawQuery: []byte(r.query), Header: h,
	}
}

// checkAgainstNaive looks a request up in both ways.
func checkAgainstNaive(t rapid.TB, entries []Entry[int], table *Table[int], r naiveRequest) {
	t.Helper()
	want, q := naive{entries}.lookup(r), r.asQuery()
	if want.tie {
		t.Fatalf("a tie was not reported for %+v", r)
	}
	found := Found[int]{Entry: 99, Value: 99}
	got := table.Lookup(q, &found)
	if got != want.result || found.Entry != want.entry {
		t.Fatalf("%+v: got %v by %d, want %v by %d", r, got, found.Entry, want.result, want.entry)
	}
	if got == Matched {
		if found.Value != entries[found.Entry].Value {
			t.Fatalf("value %d is not that of entry %d", found.Value, found.Entry)
		}
		if diff := cmp.Diff(want.params, toMap(&found.Params)); diff != "" {
			t.Fatalf("%+v: parameters (-want +got):\n%s", r, diff)
		}
	} else if found.Value != 0 || found.Params.Len() != 0 {
		t.Fatalf("%v left %+v", got, found)
	}
	if allow := string(table.Allow(nil, q)); allow != strings.Join(want.allow, ", ") {
		t.Fatalf("%+v: Allow is %q, want %q", r, allow, want.allow)
	}
	chosen := -1
	for _, s := range table.Explain(q) {
		if s.Why == "" || s.Name != entries[s.Entry].Name || s.At != entries[s.Entry].At {
			t.Fatalf("step %+v", s)
		}
		if s.Matched {
			chosen = s.Entry
		}
	}
	if chosen != want.entry {
		t.Fatalf("%+v: explain says %d, lookup %d", r, chosen, want.entry)
	}
}

func TestLookupEqualsNaive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entries, table := drawEntries(t)
		order := table.Entries()
		slices.Sort(order)
		for i, o := range order {
			if i != o {
				t.Fatalf("match order %v is no permutation", order)
			}
		}
		for _, r := range rapid.SliceOfN(rapid.Custom(drawRequest), 20, 20).Draw(t, "requests") {
			checkAgainstNaive(t, entries, table, r)
		}
	})
}

// TestMatchOrderIsPrecedence: where all routes have one host and path, the route
// that takes a request is the first in match order that could.
func TestMatchOrderIsPrecedence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		entries, table := drawEntries(t)
		for _, e := range entries {
			if len(e.Match.Paths) > 1 || len(e.Match.Hosts) > 1 {
				return
			}
		}
		r := rapid.Custom(drawRequest).Draw(t, "request")
		if r.method == "HEAD" {
			return // by its own rule, HEAD prefers routes that list it
		}
		want := -1
		for _, i := range table.Entries() {
			if (naive{entries[i : i+1]}).lookup(r).result == Matched {
				want = i
				break
			}
		}
		var found Found[int]
		table.Lookup(r.asQuery(), &found)
		if found.Entry != want {
			t.Fatalf("%+v: got %d, the first in match order is %d", r, found.Entry, want)
		}
	})
}

func FuzzLookup(f *testing.F) {
	entries := []Entry[int]{
		{Match: Match{Paths: []string{"/", "/a/{id}", "/a/{n:[0-9]+}/b"}}},
		{Match: Match{Paths: []string{"/a/{n:[0-9a-f]+}/{x}", "/{rest...}"}, Methods: []string{"GET"}}},
		{Match: Match{Paths: []string{"/a/b/", "/a/{rest...}"}, Hosts: []string{"*.x", "{t}.x"}}},
		{Match: Match{Paths: []string{"/a/{id}"}, Priority: 1, Query: []Condition{{"v", Exact, "a b"}}}},
		{Match: Match{Paths: []string{"/a/{id}"}, Priority: 1, Query: []Condition{{"v", Regex, "^c+$"}}}},
		{Match: Match{Paths: []string{"/b/{p}"}, Hosts: []string{"x"}, Headers: []Condition{{"X-A", Present, ""}}}},
	}
	for i := range entries {
		entries[i].Name, entries[i].Value = fmt.Sprint(i), i
	}
	table := mustCompile(f, entries)
	f.Add("/a/12/b", "GET", "a.x", "v=a+b")
	f.Add("/a/ff/b", "HEAD", "b.a.x.", "v=%63c&&=&%")
	f.Add("/", "POST", "x", "")
	f.Add("", "", "", "")
	f.Add("/a//b/", "OPTIONS", "[::1]", "v")
	f.Fuzz(func(t *testing.T, path, method, host, query string) {
		if strings.ContainsAny(host, "/[") || host == "." || strings.HasSuffix(host, "..") {
			return // never a canonical host
		}
		if len(query) > 200 {
			return // naive decoding is slow
		}
		checkAgainstNaive(t, entries, table, naiveRequest{host: host, path: path, method: method, query: query})
	})
}
