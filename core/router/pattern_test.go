package router

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParsePattern(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		text  string // if other than the input
		names []string
	}{
		"/":                                 {},
		"/a":                                {},
		"/a/":                               {},
		"/a/b.txt;v=1":                      {},
		"/a/{id}":                           {names: []string{"id"}},
		"/a/{id}/":                          {names: []string{"id"}},
		"/{a}/{b-c}/{_d1...}":               {names: []string{"a", "b-c", "_d1"}},
		"/{rest...}":                        {names: []string{"rest"}},
		"/a/{n:[0-9]+}":                     {names: []string{"n"}},
		"/a/{n:[0-9]{2,3}}/b":               {names: []string{"n"}},
		`/{n:[{}/]+\}}/{m:[]}]x}`:           {names: []string{"n", "m"}},
		`/{n:[^]}]+}/{m:[[:alpha:]}\]]*}`:   {names: []string{"n", "m"}},
		`/{n:a(?i)b|c}`:                     {names: []string{"n"}},
		"/café":                             {text: "/caf%C3%A9"},
		"/caf%c3%a9":                        {text: "/caf%C3%A9"},
		"/%41%7e%2d":                        {text: "/A~-"},
		"/a%2fb":                            {text: "/a%2Fb"},
		"/a%20b%3b":                         {text: "/a%20b%3B"},
		"/...":                              {},
		"/a*b:c":                            {},
		"/.well-known/openid-configuration": {},
	} {
		p, err := ParsePattern(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if want.text == "" {
			want.text = in
		}
		if p.String() != want.text {
			t.Errorf("%s became %s, want %s", in, p, want.text)
		}
		if diff := cmp.Diff(want.names, p.Names()); diff != "" {
			t.Errorf("%s: names (-want +got):\n%s", in, diff)
		}
	}
}

func TestParsePatternErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		offset int
		reason string
	}{
		"":                            {0, "begins with /"},
		"a/b":                         {0, "begins with /"},
		"//":                          {1, "empty segment"},
		"/a//b":                       {3, "empty segment"},
		"/a/{rest...}/b":              {3, "only stand at the end"},
		"/a/{rest...}/":               {3, "only stand at the end"},
		"/{x}/b/{x}":                  {7, "parameter {x} stands twice"},
		"/{x}/{x...}":                 {5, "stands twice"},
		"/a/{":                        {3, "needs a name"},
		"/a/{}":                       {3, "needs a name"},
		"/a/{1}":                      {3, "needs a name"},
		"/a/{-x}":                     {3, "needs a name"},
		"/a/{:x}":                     {3, "needs a name"},
		"/a/{é}":                      {3, "needs a name"},
		"/a/{id":                      {3, "without its }"},
		"/a/{id:[0-9]+":               {3, "without its }"},
		"/a/{id:[0-9}":                {3, "without its }"},
		"/a/{id:[[:alpha}":            {3, "without its }"},
		`/a/{id:x\}`:                  {3, "without its }"},
		"/a/{id..}":                   {6, "{name...}"},
		"/a/{id }":                    {6, "{name...}"},
		"/a/{id:}":                    {7, "empty regular expression"},
		"/a/{id:(}":                   {7, "missing closing )"},
		"/a/{id:a)(b}":                {7, "unexpected )"},
		"/a/{id:a{1001}}":             {7, "invalid repeat count"},
		"/a/{id:(?=x)}":               {7, "bad regular expression"},
		"/a/{id}.json":                {7, "whole segment"},
		"/a/v{n}":                     {4, "whole segment"},
		"/a/b}":                       {4, "whole segment"},
		"/a/%":                        {3, "two hexadecimal digits"},
		"/a/%4":                       {3, "two hexadecimal digits"},
		"/a/b%zz":                     {4, "two hexadecimal digits"},
		"/a/b%00":                     {4, "control character"},
		"/a/b\x7f":                    {4, "control character"},
		`/a/\b`:                       {3, `a \:`},
		"/a/%5c":                      {3, `a \:`},
		"/a?b=c":                      {2, "has no ?"},
		"/a#b":                        {2, "has no #"},
		"/a b":                        {2, "write %20"},
		"/a/<b>":                      {3, "write %3C"},
		"/a/.":                        {3, "dot segment"},
		"/../b":                       {1, "dot segment"},
		"/%2e%2E/b":                   {1, "dot segment"},
		"/..;x/b":                     {1, "dot segment with a ;"},
		"/.;/b":                       {1, "dot segment with a ;"},
		"/..%3bx":                     {1, "dot segment with a ;"},
		"/a/*":                        {3, "{name...} the rest"},
		"/a/:id":                      {3, "written {id}"},
		"/a/\xff":                     {3, "not UTF-8"},
		"/a/%c3%28":                   {3, "not UTF-8"},
		"/" + manyParams(MaxParams+1): {len(manyParams(MaxParams)) + 2, "more than 15 parameters"},
	} {
		_, err := ParsePattern(in)
		var p *PatternError
		if !errors.As(err, &p) {
			t.Errorf("%s: no error, want %q", in, want.reason)
			continue
		}
		if p.Offset != want.offset || !strings.Contains(p.Reason, want.reason) {
			t.Errorf("%s: got %d %q, want %d %q", in, p.Offset, p.Reason, want.offset, want.reason)
		}
		if !strings.Contains(p.Error(), p.Reason) {
			t.Errorf("%q lacks the reason", p.Error())
		}
	}
}

// manyParams returns n parameters, joined by slashes.
func manyParams(n int) string {
	var out []string
	for i := range n {
		out = append(out, "{p"+string(rune('a'+i))+"}")
	}
	return strings.Join(out, "/")
}

// TestPatternFitsItself: a pattern of literals fits its own text, and what was
// drawn is what is parsed.
func TestPatternFitsItself(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := drawPattern(t)
		p, err := ParsePattern(text)
		if err != nil || p.String() != text {
			t.Fatalf("%s became %s, %v", text, p, err)
		}
		if len(p.Names()) == 0 && p.mismatch([]byte(text)) != "" {
			t.Fatalf("%s does not fit itself: %s", text, p.mismatch([]byte(text)))
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/", "/a/{id}", "/a/{n:[0-9]{2}}/{rest...}", "/caf%c3%a9/ü", `/{x:[^]}]\}}`, "/{", "//", "/{a:(}", "/%2e/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			var e *PatternError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(s) || e.Reason == "" {
				t.Fatalf("%q: %#v", s, err)
			}
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again.String() != p.String() || !slices.Equal(again.Names(), p.Names()) {
			t.Fatalf("%q became %q, which became %q, %v", s, p, again, err)
		}
		table, problems := Compile([]Entry[bool]{{Match: Match{Paths: []string{s}}, Value: true}})
		if problems != nil {
			t.Fatalf("%q alone has problems: %v", s, problems)
		}
		var found Found[bool]
		if text := p.String(); len(p.Names()) == 0 && table.Lookup(&Query{Path: []byte(text)}, &found) != Matched {
			t.Fatalf("%q does not fit itself", text)
		}
	})
}
