package login

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/clock"
)

func TestI20_JSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want []member
		top  kind
		err  error
	}{
		{"{}", nil, isObject, nil},
		{" \t\r\n{ } ", nil, isObject, nil},
		{`{"a":"b"}`, []member{{"a", isString, "b"}}, isObject, nil},
		{`{ "a" : "b" , "a" : "c" }`, []member{{"a", isString, "b"}, {"a", isString, "c"}}, isObject, nil},
		{`{"a":-0.5e+7,"b":0,"c":1E9,"d":[],"e":{"x":[{}]},"f":true,"g":false,"h":null}`, []member{{"a", isNumber, ""}, {"b", isNumber, ""}, {"c", isNumber, ""},
			{"d", isArray, ""}, {"e", isObject, ""}, {"f", isBool, ""}, {"g", isBool, ""}, {"h", isNull, ""}}, isObject, nil},
		{`{"":"\"\\\/\b\f\n\r\té\u00e9\ud83d\uDE00\u0000"}`, []member{{"", isString, "\"\\/\b\f\n\r\té\u00e9😀\x00"}}, isObject, nil},
		{"[1,[2],{\"a\":3}]", nil, isArray, nil},
		{`"x"`, nil, isString, nil},
		{"null", nil, isNull, nil},
		{"", nil, "", errSyntax}, {" ", nil, "", errSyntax}, {"{", nil, "", errSyntax}, {"}", nil, "", errSyntax}, {"{}{}", nil, "", errSyntax}, {"{},", nil, "", errSyntax},
		{`{"a"}`, nil, "", errSyntax}, {`{"a":}`, nil, "", errSyntax}, {`{"a":1,}`, nil, "", errSyntax}, {`{,"a":1}`, nil, "", errSyntax}, {`{a:1}`, nil, "", errSyntax},
		{`{'a':1}`, nil, "", errSyntax}, {`{"a":01}`, nil, "", errSyntax}, {`{"a":+1}`, nil, "", errSyntax}, {`{"a":.5}`, nil, "", errSyntax}, {`{"a":1.}`, nil, "", errSyntax},
		{`{"a":1e}`, nil, "", errSyntax}, {`{"a":-}`, nil, "", errSyntax}, {`{"a":NaN}`, nil, "", errSyntax}, {`{"a":tru}`, nil, "", errSyntax}, {`{"a":True}`, nil, "", errSyntax},
		{`{"a":[1,]}`, nil, "", errSyntax}, {`{"a":[1 2]}`, nil, "", errSyntax}, {`{"a":"b`, nil, "", errSyntax}, {`{"a":"\`, nil, "", errSyntax}, {`{"a":"\x"}`, nil, "", errSyntax},
		{`{"a":"\u12"}`, nil, "", errSyntax}, {`{"a":"\u12G4"}`, nil, "", errSyntax}, {"{\"a\":\"\n\"}", nil, "", errSyntax}, {"{\"a\":\"\x00\"}", nil, "", errSyntax},
		{`{"a":"\ud800"}`, nil, "", errSyntax}, {`{"a":"\udc00"}`, nil, "", errSyntax}, {`{"a":"\ud800\ud800"}`, nil, "", errSyntax}, {`{"a":"\ud800x"}`, nil, "", errSyntax},
		{`{"a":"\ud800\n"}`, nil, "", errSyntax}, {`{"a":"\ud800\u"}`, nil, "", errSyntax}, {"/* */{}", nil, "", errSyntax}, {"\ufeff{}", nil, "", errSyntax}, {"{}\x00", nil, "", errSyntax},
		{"{\"a\":\"\xff\"}", nil, "", errEncoding},
		{`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, []member{{"a", isArray, ""}}, isObject, nil},
		{`{"a":` + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1) + `}`, nil, "", errDepth},
		{strings.Repeat(`{"a":`, 1000), nil, "", errDepth},
		{"{" + strings.Repeat(`"a":1,`, maxMembers) + `"b":1}`, nil, "", errMembers},
	} {
		got, top, err := parse([]byte(c.text))
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(member{})); diff != "" && err == nil || top != c.top || !errors.Is(err, c.err) {
			t.Errorf("%.60q: %v %q %v", c.text, got, top, err)
		}
	}
}

// FuzzJSON: what is taken, the standard decoder takes as well and reads alike; what it
// takes is refused for nothing but what it is too lax about, and our bounds.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"email":"a@b","password":"c"}`, `{"a":{"b":[1,-2.5e-3,true,null]},"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, "[]", "{\"a\":\"\xff\"}", `{"":""}`, `{"a":"\u0000é"} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, top, err := parse(raw)
		var object map[string]any
		standard := json.Unmarshal(raw, &object)
		if err != nil {
			lax := errors.Is(err, errDepth) || errors.Is(err, errMembers) || errors.Is(err, errEncoding) || strings.Contains(string(raw), `\u`)
			if json.Valid(raw) && !lax {
				t.Fatalf("refused: %q: %v", raw, err)
			}
			return
		}
		if !json.Valid(raw) || !utf8.Valid(raw) {
			t.Fatalf("taken, and no JSON: %q", raw)
		}
		if top != isObject {
			return
		}
		if standard != nil { // a number that no float64 holds
			return
		}
		last := map[string]member{}
		for _, m := range got {
			last[m.name] = m
		}
		if len(last) != len(object) {
			t.Fatalf("%q: %v, want %v", raw, last, object)
		}
		for name, value := range object {
			m, there := last[name]
			text, isText := value.(string)
			if !there || isText != (m.kind == isString) || text != m.text {
				t.Fatalf("%q: member %q is %+v, want %v", raw, name, m, value)
			}
		}
	})
}

// FuzzForm: no body makes a form panic, nor pass with what its fields refuse.
func FuzzForm(f *testing.F) {
	for _, s := range []string{`{"email":"a@b","password":"Correct-horse1!"}`, `{"email":1}`, `{"~/":0}`, "[]", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, problems, err := form{email, password}.read(raw)
		if err != nil || len(problems) > 0 {
			return
		}
		if len(v) != 2 || email.check(v["email"]) != "" || password.check(v["password"]) != "" {
			t.Fatalf("%q passed as %q", raw, v)
		}
	})
}

func FuzzWaiting(f *testing.F) {
	w, err := newWaiting([]byte(strings.Repeat("k", 32)), clock.Real())
	if err != nil {
		f.Fatal(err)
	}
	good := w.issue("u1", binding{"a", "b"})
	f.Add("")
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, ticket string) {
		if user, _, err := w.redeem(ticket); err == nil {
			t.Fatalf("%q is the ticket of %q", ticket, user)
		}
	})
}
