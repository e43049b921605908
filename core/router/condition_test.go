package router

import (
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		c       Condition
		query   bool
		request string // fields, or a raw query
		want    outcome
	}{
		{Condition{"X-A", Present, ""}, false, "", missing},
		{Condition{"x-a", Present, ""}, false, "X-A: 1", holds},
		{Condition{"X-A", Present, ""}, false, "X-A: ", holds},
		{Condition{"X-A", Present, ""}, false, "X-A: 1\nx-a: 2", holds},
		{Condition{"X-A", Exact, "1"}, false, "X-A: 1", holds},
		{Condition{"X-A", Exact, "a"}, false, "X-A: A", differs},
		{Condition{"X-A", Exact, ""}, false, "X-A: ", holds},
		{Condition{"X-A", Exact, "1"}, false, "X-A: 1\nX-A: 1", several},
		{Condition{"X-A", Regex, "b"}, false, "X-A: abc", holds},
		{Condition{"X-A", Regex, "^b"}, false, "X-A: abc", differs},
		{Condition{"X-A", Regex, "."}, false, "X-A: 1\nX-A: 2", several},
		{Condition{"X-A", Regex, "."}, false, "X-B: 1", missing},
		{Condition{"User-Agent", Regex, "^curl/"}, false, "User-Agent: curl/8", holds},
		{Condition{"Cookie", Regex, "(^|; )beta=1(;|$)"}, false, "Cookie: a=b; beta=1", holds},

		{Condition{"v", Present, ""}, true, "", missing},
		{Condition{"v", Present, ""}, true, "v", holds},
		{Condition{"v", Present, ""}, true, "a=b&v=&v=2", holds},
		{Condition{"v", Present, ""}, true, "V=1&vv=1", missing},
		{Condition{"v", Exact, "1"}, true, "v=1", holds},
		{Condition{"v", Exact, "1"}, true, "v=%31", holds},
		{Condition{"v", Exact, "1"}, true, "%76=1", holds},
		{Condition{"v", Exact, "1"}, true, "v=1&v=1", several},
		{Condition{"v", Exact, "1"}, true, "v=11", differs},
		{Condition{"v", Exact, "11"}, true, "v=1", differs},
		{Condition{"v", Exact, ""}, true, "v", holds},
		{Condition{"v", Exact, ""}, true, "v=", holds},
		{Condition{"v", Exact, "a b&c=d+é"}, true, "v=a+b%26c=d%2B%C3%a9", holds},
		{Condition{"v", Exact, "%2"}, true, "v=%2", holds},
		{Condition{"v", Exact, "%zz%"}, true, "v=%zz%", holds},
		{Condition{"v", Exact, "1;w=2"}, true, "v=1;w=2", holds},
		{Condition{"v", Exact, "1"}, true, "v=1#", differs},
		{Condition{"v", Regex, "^a b$"}, true, "v=a%20b", holds},
		{Condition{"v", Regex, "^a b$"}, true, "v=a+b", holds},
		{Condition{"v", Regex, "b"}, true, "v=abc", holds},
		{Condition{"v", Regex, "^b"}, true, "v=abc", differs},
		{Condition{"v", Regex, "^$"}, true, "v", holds},
	}
	for _, tt := range tests {
		c, reason := compileCondition(tt.c, tt.query)
		if reason != "" {
			t.Errorf("%v: %s", tt.c, reason)
			continue
		}
		m := message{decoded: &sync.Pool{New: func() any { return new([]byte) }}}
		if tt.query {
			m.query = []byte(tt.request)
		} else {
			m.header = &fasthttp.RequestHeader{}
			for line := range strings.Lines(tt.request) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
				m.header.Add(name, value)
			}
		}
		for range 2 { // a pooled buffer is used again
			if got := m.check(&c); got != tt.want {
				t.Errorf("%s in %q: got %d, want %d", tt.c, tt.request, got, tt.want)
			}
		}
	}
	c, _ := compileCondition(Condition{"X", Present, ""}, false)
	if (&message{}).check(&c) != missing {
		t.Error("a request without header has a field")
	}
}

func TestConditionErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		c      Condition
		query  bool
		reason string
	}{
		{Condition{"", Present, ""}, false, "empty name"},
		{Condition{"", Present, ""}, true, "empty name"},
		{Condition{"X A", Present, ""}, false, "token"},
		{Condition{"hOST", Exact, "a"}, false, "`hosts`"},
		{Condition{"X", Exact, " a"}, false, "no spaces"},
		{Condition{"X", Exact, "a\r\nb"}, false, "line breaks"},
		{Condition{"X", Regex, "("}, false, "missing closing )"},
		{Condition{"v", Regex, "("}, true, "missing closing )"},
		{Condition{"v", 9, ""}, true, "present, an exact value or a regex"},
	} {
		if _, reason := compileCondition(tt.c, tt.query); !strings.Contains(reason, tt.reason) {
			t.Errorf("%v: got %q, want %q", tt.c, reason, tt.reason)
		}
	}
	if c, reason := compileCondition(Condition{"a b", Exact, " x "}, true); reason != "" || c.Name != "a b" {
		t.Errorf("a query key: %v, %s", c, reason)
	}
}

func TestConditionString(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Condition{
		"X is present":  {"X", Present, ""},
		`X is "a b"`:    {"X", Exact, "a b"},
		"X matches ^2.": {"X", Regex, "^2."},
	} {
		if c.String() != want {
			t.Errorf("got %q, want %q", c, want)
		}
	}
}

// TestQueryDecoding: whatever the standard library encodes is found.
func TestQueryDecoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key, value := rapid.String().Draw(t, "key"), rapid.String().Draw(t, "value")
		raw := []byte(url.Values{key: {value}, key + "x": {"other"}}.Encode())
		m := message{query: raw}
		c := condition{Condition: Condition{key, Exact, value}, query: true}
		if m.check(&c) != holds {
			t.Fatalf("%q=%q is not found in %q", key, value, raw)
		}
		c.Value += "x"
		if m.check(&c) != differs {
			t.Fatalf("%q=%q is found in %q", key, c.Value, raw)
		}
	})
}
