package router

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestConditionsHoldTogether(t *testing.T) {
	t.Parallel()
	c, bad := NewConditions(Asked{
		Headers: []Condition{{Name: "x-canary", Kind: Exact, Value: "1"}},
		Query:   []Condition{{Name: "v", Kind: Regex, Value: "^2"}},
		Cookies: []Condition{{Name: "beta", Kind: Exact, Value: "yes"}, {Name: "seen", Kind: Present}, {Name: "n", Kind: Regex, Value: "^[0-9]+$"}},
	})
	if len(bad) > 0 || c.Len() != 5 {
		t.Fatalf("%v, %d", bad, c.Len())
	}
	if got := strings.Join(c.Strings(), "; "); got != "header X-Canary is \"1\"; query v matches ^2; cookie beta is \"yes\"; cookie seen is present; cookie n matches ^[0-9]+$" {
		t.Errorf("it says %s", got)
	}
	all := "X-Canary: 1\r\nCookie: beta=yes; seen=\r\nCookie: n=12\r\n"
	for _, one := range []struct {
		what, fields, query string
		want                bool
	}{
		{"all", all, "v=2.1", true},
		{"decoded", all, "v=%32", true},
		{"another query", all, "v=1", false},
		{"no query", all, "", false},
		{"another field", strings.Replace(all, "1", "2", 1), "v=2", false},
		{"a field twice", all + "X-Canary: 1\r\n", "v=2", false},
		{"another cookie", strings.Replace(all, "yes", "no", 1), "v=2", false},
		{"a cookie twice", all + "Cookie: beta=yes\r\n", "v=2", false},
		{"one that must only be there twice", all + "Cookie: seen=1\r\n", "v=2", true},
		{"a cookie missing", strings.Replace(all, "seen", "sin", 1), "v=2", false},
		{"one that does not match", strings.Replace(all, "n=12", "n=x", 1), "v=2", false},
	} {
		var h fasthttp.RequestHeader
		for line := range strings.SplitSeq(strings.TrimSuffix(one.fields, "\r\n"), "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			h.Add(name, value)
		}
		if got := c.Hold(&h, []byte(one.query)); got != one.want {
			t.Errorf("%s: %v", one.what, got)
		}
	}
}

func TestBadConditions(t *testing.T) {
	t.Parallel()
	_, bad := NewConditions(Asked{
		Headers: []Condition{{Name: "Host", Kind: Present}},
		Query:   []Condition{{Name: "v", Kind: Regex, Value: "("}},
		Cookies: []Condition{{Name: "a b", Kind: Present}, {Name: "b", Kind: Exact, Value: "x;y"}, {Name: "c", Kind: Regex, Value: "["}},
	})
	var got []string
	for _, b := range bad {
		got = append(got, b.Field+": "+b.Text)
	}
	want := "headers.Host: Host is matched by `hosts`|query.v: bad regular expression: missing closing ): `(`|" +
		"cookies.a b: a cookie's name is a token (RFC 6265 §4.1.1)|cookies.b: a cookie's value is of visible ASCII without \" , ; and \\ (RFC 6265 §4.1.1)|" +
		"cookies.c: bad regular expression: missing closing ]: `[`"
	if text := strings.Join(got, "|"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}
