package setting_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/setting"
)

// dump writes a tree, one value a line, with its places.
func dump(n *setting.Node) string {
	var b strings.Builder
	var walk func(n *setting.Node, label string, depth int)
	walk = func(n *setting.Node, label string, depth int) {
		fmt.Fprintf(&b, "%s%s@%d:%d %s", strings.Repeat(" ", depth), label, n.At.Line, n.At.Column, n.Path)
		switch {
		case n.Kind == setting.Scalar && n.Quoted:
			fmt.Fprintf(&b, " %q", n.Text)
		case n.Kind == setting.Scalar:
			fmt.Fprintf(&b, " %s", n.Text)
		default:
			fmt.Fprintf(&b, " (%s)", n.Kind)
		}
		b.WriteByte('\n')
		for _, item := range n.Items {
			walk(item, "- ", depth+1)
		}
		for _, e := range n.Entries {
			walk(e.Value, fmt.Sprintf("%s[%d:%d] ", e.Key, e.At.Line, e.At.Column), depth+1)
		}
	}
	if n == nil {
		return "nothing\n"
	}
	walk(n, "", 0)
	return b.String()
}

func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"empty":    {"", "nothing\n"},
		"comment":  {"# a\n\n", "nothing\n"},
		"bom-less": {"a: 1", lines("@1:1  (a map)", " a[1:1] @1:4 a 1")},
		"kinds": {"a: x\nb: 'off'\nc: \"a\\tb\"\nd:\ne: ~\nf: []\ng: {}\n", lines("@1:1  (a map)",
			" a[1:1] @1:4 a x", ` b[2:1] @2:4 b "off"`, ` c[3:1] @3:4 c "a\tb"`, " d[4:1] @4:3 d (nothing)", " e[5:1] @5:4 e (nothing)",
			" f[6:1] @6:4 f (a list)", " g[7:1] @7:4 g (a map)")},
		"numbers stay text": {"a: 1.50\nb: 0x1F\nc: 1_0\nd: .inf\ne: TRUE\nf: 010\n", lines("@1:1  (a map)",
			" a[1:1] @1:4 a 1.50", " b[2:1] @2:4 b 0x1F", " c[3:1] @3:4 c 1_0", " d[4:1] @4:4 d .inf", " e[5:1] @5:4 e TRUE", " f[6:1] @6:4 f 010")},
		"blocks": {"a: |\n  x\n  y\nb: >-\n  x\n  y\n", lines("@1:1  (a map)", ` a[1:1] @1:4 a "x\ny\n"`, ` b[4:1] @4:4 b "x y"`)},
		"nested": {"a:\n  - b: 1\n    c: [x, y]\n  - d\n", lines("@1:1  (a map)", " a[1:1] @2:3 a (a list)",
			"  - @2:5 a[0] (a map)", "   b[2:5] @2:8 a[0].b 1", "   c[3:5] @3:8 a[0].c (a list)", "    - @3:9 a[0].c[0] x", "    - @3:12 a[0].c[1] y", "  - @4:5 a[1] d")},
		"characters are counted, not bytes": {"é: {ü: x, b: y}\n", lines("@1:1  (a map)", " é[1:1] @1:4 é (a map)", "  ü[1:5] @1:8 é.ü x", "  b[1:11] @1:14 é.b y")},
		"line ends":                         {"a: 1\r\nb:\r\n  c: 2\r\n", lines("@1:1  (a map)", " a[1:1] @1:4 a 1", " b[2:1] @3:3 b (a map)", "  c[3:3] @3:6 b.c 2")},
		"keys": {"1: a\ntrue: b\n/x: c\n'q r': d\na.b: e\n", lines("@1:1  (a map)", " 1[1:1] @1:4 1 a", " true[2:1] @2:7 true b", " /x[3:1] @3:5 /x c",
			` q r[4:1] @4:8 "q r" d`, ` a.b[5:1] @5:6 "a.b" e`)},
		"anchors keep their place": {"a: &x {b: 1}\nc: *x\nd: [*x]\n", lines("@1:1  (a map)", " a[1:1] @1:7 a (a map)", "  b[1:8] @1:11 a.b 1",
			" c[2:1] @1:7 a (a map)", "  b[1:8] @1:11 a.b 1", " d[3:1] @3:4 d (a list)", "  - @1:7 a (a map)", "   b[1:8] @1:11 a.b 1")},
		"merges": {"a: &x {b: 1, c: 2}\ne: &y {c: 3, f: 4}\nd:\n  <<: [*x, *y]\n  b: 9\n", lines("@1:1  (a map)",
			" a[1:1] @1:7 a (a map)", "  b[1:8] @1:11 a.b 1", "  c[1:14] @1:17 a.c 2",
			" e[2:1] @2:7 e (a map)", "  c[2:8] @2:11 e.c 3", "  f[2:14] @2:17 e.f 4",
			" d[3:1] @4:3 d (a map)", "  b[5:3] @5:6 d.b 9", "  c[1:14] @1:17 a.c 2", "  f[2:14] @2:17 e.f 4")},
		"colons within braces": {"a: {b: [content:read, urn:x:y, 'q':1, k: v, http://x:80/y]}\n", lines("@1:1  (a map)", " a[1:1] @1:4 a (a map)", "  b[1:5] @1:8 a.b (a list)",
			"   - @1:9 a.b[0] content:read", "   - @1:23 a.b[1] urn:x:y", "   - @1:32 a.b[2] (a map)", "    q[1:32] @1:36 a.b[2].q 1",
			"   - @1:39 a.b[3] (a map)", "    k[1:39] @1:42 a.b[3].k v", "   - @1:45 a.b[4] http://x:80/y")},
		"document marks": {"---\na: 1\n...\n", lines("@2:1  (a map)", " a[2:1] @2:4 a 1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r setting.Report
			n := setting.Parse("f", []byte(c.in), &r)
			if err := r.Err(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.want, dump(n)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseProblems(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		before := string(c - 1)
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+before+", ", 10), ", "))
	}
	for name, c := range map[string]struct{ in, want string }{
		"duplicate":       {"a: 1\nb: 2\na: 3\n", "f:3:1: a: duplicate key; it stands at f:1:1 already"},
		"duplicates":      {"x: {a: 1, a: 2, 'a': 3}\n", "f:1:11: x.a: duplicate key; it stands at f:1:5 already\nf:1:17: x.a: duplicate key; it stands at f:1:5 already"},
		"documents":       {"a: 1\n---\nb: 2\n---\nc: 3\n", "f:3:1: want one document, got another after ---"},
		"no anchor":       {"ab: &abc 1\nc: *abd\n", `f:2:4: c: want the name of an anchor that stands before, got "abd" (did you mean "abc"?)`},
		"cycle":           {"a: &a [*a]\n", `f:1:8: a[0]: want the name of an anchor that stands before, got "a"`},
		"merge":           {"a: {<<: 5}\n", "f:1:9: a: want a map to merge, got a value"},
		"merge in list":   {"b: &b {x: 1}\na: {<<: [*b, [], *c]}\n", "f:2:14: a[1]: want a map to merge, got a list\nf:2:18: a[2]: want the name of an anchor that stands before, got \"c\""},
		"tag":             {"a: !!str 5\n", "f:1:4: a: want a plain value, got one with a YAML tag"},
		"null key":        {"~: 1\n", "f:1:1: want a plain key"},
		"empty key":       {"'': 1\n", "f:1:1: want a key, got an empty one"},
		"directive":       {"%YAML 1.2\n---\na: 1\n", "f:1:1: want a value, got directive\nf:3:1: want one document, got another after ---"},
		"syntax":          {"a: [1\n", "f:1:4: not well-formed YAML: sequence end token ']' not found"},
		"touching":        {"a: {b:c}\n", "f:1:5: a.b: want a space after the colon, or quotes around all of it"},
		"bytes":           {"a: 1\nb: \xff\n", "f:2:1: want UTF-8, got other bytes in this line"},
		"NUL":             {"a: 1\x00\n", "f:1:1: want UTF-8, got other bytes in this line"},
		"deep":            {strings.Repeat("[", 70) + strings.Repeat("]", 70), "f:1:65: " + strings.Repeat("[0]", 64) + ": want at most 64 levels of lists and maps"},
		"open brackets":   {"a: 1\nb: " + strings.Repeat("[{", 5000), "f:2:1: want at most 64 levels of lists and maps"},
		"block lists":     {strings.Repeat("- ", 5000), "f:1:1: want at most 64 levels of lists and maps"},
		"anchors":         {"a: " + strings.Repeat("&a ", 5000), "f:1:1: want at most 64 levels of lists and maps"},
		"aliases explode": {bomb, "f:6:36: f[7]: want aliases that stand for at most 1000000 values in all"},
		"size":            {strings.Repeat("#", setting.MaxSource+1), "f:1:1: want at most 16MiB, got 16777217 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r setting.Report
			setting.Parse("f", []byte(c.in), &r)
			got := ""
			if err := r.Err(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "a: 1", "a: &x {b: [c, d]}\ne: *x\nf: {<<: *x, b: 2}\n", "- a\n- 'b'\n- \"c\\n\"\n- |\n  d\n", "a: {b: [c:d, e: f]}\n",
		"%YAML 1.2\n---\na\n...\n---\nb\n", "? a\n: b\n", "!!map {a: b}", "a: >\n  x\n\n  y\n", "a:\n\t- b\n", "a: 1\na: 2\n", "\ufeffa: 1\n", "a: [,]\n", "<<: {a: 1}\n", "&a *a : b\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var r setting.Report
		n := setting.Parse("f", []byte(in), &r)
		for _, p := range append(r.Problems(), r.Warnings()...) {
			if p.At.Source != "f" || p.At.Line < 1 || p.At.Column < 1 {
				t.Errorf("%q: problem without a place: %+v", in, p)
			}
			r.Excerpt(p.At)
		}
		var walk func(n *setting.Node)
		walk = func(n *setting.Node) {
			if n.At.Line < 1 || n.At.Column < 1 {
				t.Fatalf("%q: value without a place: %+v", in, n)
			}
			for _, item := range n.Items {
				walk(item)
			}
			for _, e := range n.Entries {
				if e.At.Line < 1 || e.At.Column < 1 || n.Get(e.Key) != e.Value {
					t.Fatalf("%q: key %q is lost: %+v", in, e.Key, e)
				}
				walk(e.Value)
			}
		}
		if n != nil {
			walk(n)
		}
	})
}
