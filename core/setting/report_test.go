package setting_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/setting"
)

func TestReport(t *testing.T) {
	t.Parallel()
	var r setting.Report
	if r.Failed() || r.Err() != nil || len(r.Problems()) != 0 {
		t.Error("the zero report is not empty")
	}
	at := func(source string, line, column int) setting.Position {
		return setting.Position{Source: source, Line: line, Column: column}
	}
	r.Add(at("b", 1, 1), "x", "third", "")
	r.Add(at("a", 2, 1), "x", "second", "y")
	r.Sub("outer").Sub("mid").Add(at("a", 1, 9), "inner", "first", "")
	r.Add(at("a", 2, 1), "x", "second", "y") // said before
	r.Warn(at("a", 1, 1), "w", "careful", "")
	r.Add(at("b", 1, 1), "a", "third, by path", "")
	r.Add(setting.Position{}, "", "nowhere", "")
	want := lines("nowhere", "a:1:9: outer.mid.inner: first", `a:2:1: x: second (did you mean "y"?)`, "b:1:1: a: third, by path", "b:1:1: x: third")
	if diff := cmp.Diff(strings.TrimSuffix(want, "\n"), r.Err().Error()); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if w := r.Warnings(); len(w) != 1 || w[0].String() != "a:1:1: warning: w: careful" || !r.Failed() {
		t.Errorf("warnings: %v", w)
	}
}

func TestReportFields(t *testing.T) {
	t.Parallel()
	var r setting.Report
	n := setting.Parse("f", []byte("o:\n  accept: [jwt, api_key]\n  levels:\n    ip: {policy: x}\n"), &r).Get("o")
	in := r.In(n)
	if in.Node() != n || r.Node() != nil {
		t.Error("In does not keep its node")
	}
	in.AddField("accept[1]", "item", "")
	in.AddField("accept[7].x", "past the end", "")
	in.AddField("levels.ip.policy", "nested", "")
	in.AddField("levels.user.policy", "not there", "")
	in.AddField("missing", "not written", "")
	in.AddField("", "all of it", "")
	in.WarnField("accept", "list", "")
	r.AddField("somewhere", "no node", "")
	r.AddNode(n.Get("levels"), "node", "s")
	r.WarnNode(n.Get("levels"), "node warning", "")
	root := r.In(setting.Parse("g", []byte("a: 1"), &r))
	root.AddField("b.c", "beneath the root", "")
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := lines("somewhere: no node",
		"f:2:3: o: all of it", "    2 |   accept: [jwt, api_key]", "      |   ^",
		"f:2:3: o.missing: not written", "    2 |   accept: [jwt, api_key]", "      |   ^",
		"f:2:11: warning: o.accept: list", "    2 |   accept: [jwt, api_key]", "      |           ^",
		"f:2:11: o.accept[7].x: past the end", "    2 |   accept: [jwt, api_key]", "      |           ^",
		"f:2:17: o.accept[1]: item", "    2 |   accept: [jwt, api_key]", "      |                 ^",
		`f:4:5: o.levels: node (did you mean "s"?)`, "    4 |     ip: {policy: x}", "      |     ^",
		"f:4:5: warning: o.levels: node warning", "    4 |     ip: {policy: x}", "      |     ^",
		"f:4:5: o.levels.user.policy: not there", "    4 |     ip: {policy: x}", "      |     ^",
		"f:4:18: o.levels.ip.policy: nested", "    4 |     ip: {policy: x}", "      |                  ^",
		"g:1:1: b.c: beneath the root", "    1 | a: 1", "      | ^")
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if err := r.Write(brokenWriter{}); err == nil || !strings.Contains(err.Error(), "the pipe is gone") {
		t.Errorf("a failing writer: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("the pipe is gone") }

// TestC11_ExcerptsMask wants no secret in an excerpt, wherever its problem stands.
func TestC11_ExcerptsMask(t *testing.T) {
	t.Parallel()
	lookup := func(name string) (string, bool) { return "s3cr3t", name == "SET" }
	for name, c := range map[string]struct{ in, want string }{
		"typed":           {"{number: 0, secret: s3cr3t, flag: 5}\n", "{number: 0, secret: ***, flag: 5}"},
		"quoted":          {"{secret: 's3cr3t', number: 0}\n", "{secret: ***, number: 0}"},
		"of a wrong form": {"{secret: [s3cr3t, {a: s3cr3t}], number: 0}\n", "{secret: [***, {a: ***}], number: 0}"},
		"misspelt key":    {"{secrte: s3cr3t, number: 5}\n", "{secrte: ***, number: 5}"},
		"unknown map":     {"{vault: {a: [s3cr3t], b: \"s3cr3t\"}, number: 0}\n", "{vault: {a: [***], b: ***}, number: 0}"},
		"duplicate":       {"{secret: a, secret: s3cr3t}\n", "{secret: ***, secret: ***}"},
		"expanded":        {"{number: \"${SET}\", text: \"${UNSET:-s3cr3t}\", flag: 5}\n", "{number: ***, text: ***, flag: 5}"},
		"number":          {"{secret: 31337, number: 0}\n", "{secret: ***, number: 0}"},
		"not well-formed": {"secret: \"s3cr3t\n", "secret: ***"},
		"unclosed":        {"{number: 5, password: s3cr3t\n", "{number: 5, password: ***"},
		"never decoded":   {"{raw: {a: {api_token: s3cr3t, b: 1}}, number: 0}\n", "{raw: {a: {api_token: ***, b: 1}}, number: 0}"},
		"bytes":           {"token: s3cr3t\xff\n", "token: ***"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r setting.Report
			n := setting.Parse("f", []byte(c.in), &r)
			setting.Expand(n, setting.Variables{Lookup: lookup}, &r)
			var v everything
			setting.Decode(n, &v, &r)
			if !r.Failed() {
				t.Fatal("no problem, so no excerpt")
			}
			var b strings.Builder
			if err := r.Write(&b); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), "s3cr3t") || strings.Contains(b.String(), "31337") || !strings.Contains(b.String(), "| "+c.want+"\n") {
				t.Errorf("want %q in:\n%s", c.want, b.String())
			}
		})
	}
}

// TestC11_MessagesConceal wants no text of a secret or of an environment variable
// in a message, whoever wrote it.
func TestC11_MessagesConceal(t *testing.T) {
	t.Parallel()
	var r setting.Report
	n := setting.Parse("f", []byte("text: ${A}\nsecret: hunter2\nwords: 'x, y'\nblank: plain\ncolor: ${B}\n"), &r)
	setting.Expand(n, setting.Variables{Lookup: func(name string) (string, bool) { return map[string]string{"A": "s3cr3t/", "B": "a"}[name], true }}, &r)
	var v everything
	setting.Decode(n, &v, &setting.Report{})
	setting.Decode(n.With("color", nil).With("words", nil), &v, &r)
	in := r.In(n)
	in.AddField("text", `want no /, got "s3cr3t/" (s3cr3t/)`, "s3cr3t")
	in.WarnField("secret", `short: hunter2, "hunter2"`, "hunter22")
	in.AddField("words[1]", `want z, got "y"`, "z")
	in.AddField("blank", `want z, got "plain"`, "plane")
	in.AddField("color", `want any other, got "a"`, "")
	r.WarnNode(n.Get("text"), "s3cr3t/", "")
	var got []string
	for _, p := range append(r.Problems(), r.Warnings()...) {
		got = append(got, p.String())
	}
	want := []string{
		`f:1:7: text: want no /, got what ${A} stands for (what ${A} stands for)`, `f:3:12: words[1]: want z, got "y" (did you mean "z"?)`,
		`f:4:8: blank: want z, got "plain" (did you mean "plane"?)`, `f:5:8: color: want any other, got what ${B} stands for`,
		`f:1:7: warning: text: what ${A} stands for`, `f:2:9: warning: secret: short: ***, ***`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	var r setting.Report
	r.AddSource("f", []byte("short\r\n\ttab\x1b[31m\n"+strings.Repeat("x", 300)+"\n"))
	for _, c := range []struct {
		line, column int
		want         string
	}{
		{1, 1, "    1 | short\n      | ^\n"},
		{1, 3, "    1 | short\n      |   ^\n"},
		{1, 99, "    1 | short\n      |      ^\n"},
		{2, 2, "    2 |  tab [31m\n      |  ^\n"},
		{3, 200, "    3 | " + strings.Repeat("x", 120) + "\n      | " + strings.Repeat(" ", 59) + "^\n"},
		{0, 1, ""},
		{9, 1, ""},
	} {
		if diff := cmp.Diff(c.want, r.Excerpt(setting.Position{Source: "f", Line: c.line, Column: c.column})); diff != "" {
			t.Errorf("%d:%d (-want +got):\n%s", c.line, c.column, diff)
		}
	}
	if got := r.Excerpt(setting.Position{Source: "other", Line: 1, Column: 1}); got != "" {
		t.Errorf("an unknown source: %q", got)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "alpha", "EMPTY": "", "OFF": "off", "N": "5", "B_2": "b"}[name]
		return v, ok
	}
	for in, want := range map[string]string{ // what text decodes to, or "! problem"
		"${A}":           "alpha",
		"x${A}y${B_2}z":  "xalphaybz",
		"${NO:-d e}":     "d e",
		"${EMPTY:-d}":    "d",
		"${A:-d}":        "alpha",
		"${NO:-}x":       "x",
		"$${A}":          "${A}",
		"$$${A}":         "$${A}",
		"$${A}${A}":      "${A}alpha",
		"$A $ $$ {A}":    "$A $ $$ {A}",
		"${N}":           "5",
		"'${OFF}'":       "off",
		"${NO}":          "! text: variable NO is not set, and has no default: set it, or write ${NO:-default}",
		"${EMPTY}":       "! text: want a string, got an empty string from ${EMPTY}: leave the key out instead",
		"${EMPTY}${N:-}": "5",
		"${A":            "! text: want ${NAME} or ${NAME:-default}, got a ${ without its }; a literal ${ is written $${",
		"${}":            `! text: want ${NAME} or ${NAME:-default} with a name of letters, digits and _, got "${}"; a literal ${ is written $${`,
		"${9}":           `! text: want ${NAME} or ${NAME:-default} with a name of letters, digits and _, got "${9}"; a literal ${ is written $${`,
		"${A-b}":         `! text: want ${NAME} or ${NAME:-default} with a name of letters, digits and _, got "${A-b}"; a literal ${ is written $${`,
	} {
		var r setting.Report
		n := setting.Parse("f", []byte("text: "+in+"\n"), &r)
		setting.Expand(n, setting.Variables{Lookup: lookup}, &r)
		var v everything
		setting.Decode(n, &v, &r)
		got := v.Text
		if p := r.Problems(); len(p) > 0 {
			p[0].At = setting.Position{}
			got = "! " + p[0].String()
			if len(p) > 1 {
				t.Errorf("%s: more than one problem: %v", in, p)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestExpandKeepsKeysAndTypes(t *testing.T) {
	t.Parallel()
	var r setting.Report
	lookup := func(string) (string, bool) { return "off", true }
	n := setting.Parse("f", []byte("x: &x ['${A}', 5]\n${A}: 1\ny: *x\nwait: ${A}\nflag: '${A}'\nnumber: \"${N:-7}\"\n"), &r)
	setting.Expand(n, setting.Variables{Lookup: lookup}, &r)
	setting.Expand(nil, setting.Variables{}, &r)
	if n.Get("${A}") == nil || n.Get("y").Items[0].Text != "off" || n.Get("y").Items[0].IsOff() || !n.Get("wait").IsOff() {
		t.Errorf("tree: %s", dump(n))
	}
	if got := n.Get("wait").Describe() + n.Get("x").Describe() + n.Get("x").Items[1].Describe(); got != `what ${A} stands fora list"5"` {
		t.Errorf("described as %s", got)
	}
	if r.Failed() {
		t.Error(r.Err())
	}
}

// TestExpandTolerant says that a field with an unknown value is not judged.
func TestExpandTolerant(t *testing.T) {
	t.Parallel()
	var r setting.Report
	n := setting.Parse("f", []byte("text: ${A}\nnumber: \"${A}0\"\nwords: ${A}\nsecret: ${A}\ninner: ${A}\nsecret_file: ${A}\nnode: ${A}\nretry: ${A}\n"), &r)
	setting.Expand(n, setting.Variables{Tolerant: true}, &r)
	var v everything
	setting.Decode(n.With("secret", nil), &v, &r)
	setting.Decode(n.With("secret_file", nil), &v, &r)
	if r.Failed() {
		t.Error(r.Err())
	}
	if v.Number != 5 || v.Inner.Level != "low" || v.Retry.Times != 3 {
		t.Errorf("fields did not keep their defaults: %+v", v)
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	var none *setting.Node
	var r setting.Report
	if none.Get("a") != nil || !none.KeyAt("a").IsZero() || none.IsOff() || none.Values() != nil || setting.Merge(nil, nil) != nil {
		t.Error("a nil node has keys")
	}
	if n, found := none.Find("a[0]"); n != nil || found {
		t.Error("found something in nothing")
	}
	n := setting.Parse("f", []byte("a: 1\nb: {c: [x, {d: 2}]}\n"), &r)
	if got, found := n.Find("b.c[1].d"); !found || got.Text != "2" {
		t.Errorf("b.c[1].d: %v", got)
	}
	if got, found := n.Find("b.c[x]"); found || got != n.Get("b").Get("c") {
		t.Errorf("b.c[x]: %v", got)
	}
	if n.KeyAt("b").String() != "f:2:1" || n.KeyAt("z").String() != "f:1:1" {
		t.Errorf("keys: %v, %v", n.KeyAt("b"), n.KeyAt("z"))
	}
	without := n.With("a", nil)
	replaced := n.With("a", n.Get("b")).With("z", n.Get("a"))
	if without.Get("a") != nil || n.Get("a") == nil || replaced.Get("a") != n.Get("b") || replaced.Get("z") != n.Get("a") || len(replaced.Entries) != 3 {
		t.Error("With does not replace, or changes its node")
	}
	if none.With("a", n).Get("a") != n {
		t.Error("nothing is no empty map")
	}
}

// TestMergeMany merges maps large enough to have an index.
func TestMergeMany(t *testing.T) {
	t.Parallel()
	build := func(from, to int, value string) *setting.Node {
		n := &setting.Node{Kind: setting.Map}
		for i := from; i < to; i++ {
			n.Append(setting.Entry{Key: strings.Repeat("k", i+1), Value: &setting.Node{Kind: setting.Scalar, Text: value}})
		}
		return n
	}
	merged := setting.Merge(build(0, 60, "base"), build(40, 100, "over"))
	if len(merged.Entries) != 100 {
		t.Fatalf("%d keys", len(merged.Entries))
	}
	for i := range 100 {
		want := "base"
		if i >= 40 {
			want = "over"
		}
		if got := merged.Get(strings.Repeat("k", i+1)); got == nil || got.Text != want || merged.Entries[i].Value != got {
			t.Errorf("key %d: %v", i, got)
		}
	}
	if merged.Get("other") != nil {
		t.Error("found a key that is not there")
	}
}

func TestValuesOf(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a: x, y ,z":                  "1:4 x|1:7 y|1:10 z",
		"a: 'x,  é,y'":                "1:5 x|1:9 é|1:11 y",
		"a: '/{n:[0-9]{1,3}},[,],/b'": "1:5 /{n:[0-9]{1,3}}|1:21 [,]|1:25 /b",
		"a: x":                        "1:4 x",
		"a: [x, 'y,z']":               "1:5 x|1:8 y,z",
		"a: {b: c}":                   "",
	} {
		var r setting.Report
		var got []string
		for _, v := range setting.Parse("f", []byte(in), &r).Get("a").Values() {
			got = append(got, strings.TrimPrefix(v.At.String(), "f:")+" "+v.Text)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: got %s, want %s", in, strings.Join(got, "|"), want)
		}
	}
}
