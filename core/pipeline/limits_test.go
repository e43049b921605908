package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/principal"
)

func TestLimitsChargeACounterOnce(t *testing.T) {
	t.Parallel()
	p := &limit.Policy{Name: "p", Algorithm: limit.TokenBucket, Count: 1, Per: time.Second, Burst: 1}
	var l Limits
	add := func(level, by, value string, c limit.Charge) {
		c.Policy = p
		l.Add(level, &limit.Counter{Level: by, Value: value, Policy: p}, c)
	}
	text := func() string {
		var out []string
		for i := range l.Charges {
			out = append(out, l.Levels[i]+"="+string(l.Charges[i].Key)+" "+string(l.Mark(i)))
		}
		return strings.Join(out, "\n")
	}
	wants := func(want string) {
		t.Helper()
		if got := text(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	add("user", "ip", "a", limit.Charge{Cost: 1, Bypass: true})
	add("ip", "ip", "a", limit.Charge{Cost: 1})
	add("dear", "ip", "b", limit.Charge{Cost: 5})
	add("global", "global", "", limit.Charge{Cost: 1})
	wants("user=rate_limit:ip:a:p rate_limit:ip:a:p\ndear=rate_limit:ip:b:p rate_limit:ip:b:p#5\nglobal=rate_limit:global:p rate_limit:global:p")
	if l.Charges[0].Bypass {
		t.Error("a level that denies is bypassed by another's upgrade")
	}
	l.Keep(1)
	wants("dear=rate_limit:ip:b:p rate_limit:ip:b:p#5")
	l.Reset()
	wants("")
	if held := l.Charges[:1][0]; held.Policy != nil || held.Key != nil || l.Levels[:1][0] != "" {
		t.Errorf("Reset holds on to %+v", held)
	}
	add("again", "ip", "c", limit.Charge{Cost: 1})
	wants("again=rate_limit:ip:c:p rate_limit:ip:c:p")
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	x := NewFactory(func(*Exchange) {}).New()
	x.Request = &fasthttp.Request{}
	x.Request.Header.Set("X-Team", "red")
	x.Request.Header.Set("X-Empty", "")
	x.Host = []byte("a.example")
	somebody := &principal.Principal{User: "u", Client: "c", Session: "s", Key: "k"}
	for _, c := range []struct {
		text, want    string
		nobody, whole bool
	}{
		{"{host}", "a.example", true, true},
		{"{host}/{header.x-team}!", "a.example/red!", true, true},
		{"{principal.user}.{principal.client}.{principal.session}.{principal.key}", "u.c.s.k", false, true},
		{"{principal.user}", "", true, false},
		{"x{header.X-Empty}", "", true, false},
		{"{header.X-Nothing}", "", true, false},
		{"{host.tenant}", "", true, false},
		{"{path.id}", "", true, false},
		{"plain", "plain", true, true},
	} {
		tmpl, err := ParseTemplate(c.text)
		if err != nil {
			t.Fatal(err)
		}
		x.Principal = somebody
		if c.nobody {
			x.Principal = nil
		}
		got, whole := tmpl.Append([]byte(">"), x)
		if whole != c.whole || whole && string(got) != ">"+c.want || tmpl.String() != c.text {
			t.Errorf("%s: %q, %v", c.text, got, whole)
		}
		if needs := strings.Contains(c.text, "principal"); tmpl.NeedsPrincipal() != needs {
			t.Errorf("%s needs a principal: %v", c.text, !needs)
		}
	}
	p := ready(t, &Route{}, "/a/{id}", "/a/%2525")
	tmpl, err := ParseTemplate("{path.id}")
	if err != nil {
		t.Fatal(err)
	}
	if got, whole := tmpl.Append(nil, p); !whole || string(got) != "%2525" {
		t.Errorf("a parameter of the path is %q", got)
	}
	for _, bad := range []string{"{", "}", "{host", "{a{b}}", "host}", "{}", "{x}", "{host.}", "{host.a b}", "{path}", "{header}", "{header.a_b}", "{header.COOKIE}", "{header.X-API-Key}", "{principal}", "{principal.scopes}", "{query.a}"} {
		if _, err := ParseTemplate(bad); err == nil {
			t.Errorf("%q is a template", bad)
		}
	}
}
