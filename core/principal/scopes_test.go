package principal_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/principal"
)

func scopes(t interface{ Fatalf(string, ...any) }, list ...string) principal.Scopes {
	s, err := principal.NewScopes(list)
	if err != nil {
		t.Fatalf("NewScopes(%q): %v", list, err)
	}
	return s
}

func TestID9_ScopesAreATree(t *testing.T) {
	for _, c := range []struct {
		held, wanted string
		want         bool
	}{
		{"courses", "courses", true},
		{"courses", "courses:read", true},
		{"courses", "courses:read:own", true},
		{"courses:read", "courses", false},
		{"courses:read", "courses:write", false},
		{"course", "courses", false},
		{"courses", "coursesx:read", false},
		{"*", "payments:refund", true},
		{"", "courses", false},
		{"content payments", "payments:refund", true},
	} {
		if got := scopes(t, strings.Fields(c.held)...).Covers(c.wanted); got != c.want {
			t.Errorf("%q covers %q: %v, want %v", c.held, c.wanted, got, c.want)
		}
	}
}

func TestI16_ScopesIntersectAsTrees(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"courses", "courses:read", "courses:read"},
		{"courses:read", "courses", "courses:read"},
		{"courses payments", "courses:read vod", "courses:read"},
		{"*", "a:b c", "a:b c"},
		{"a b", "c d", ""},
		{"", "a", ""},
		{"a:x b", "a b:y", "a:x b:y"},
	} {
		got := scopes(t, strings.Fields(c.a)...).Intersect(scopes(t, strings.Fields(c.b)...))
		if got.String() != c.want || got.Empty() != (c.want == "") {
			t.Errorf("%q ∩ %q = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

func TestScopesAreReducedAndSorted(t *testing.T) {
	s := scopes(t, "vod", "courses:read", "courses", "vod", "courses:write:own")
	if want := []string{"courses", "vod"}; !slices.Equal(s.List(), want) || s.String() != "courses vod" {
		t.Fatalf("got %q, want %q", s.List(), want)
	}
	if !s.Equal(scopes(t, "courses", "vod")) || s.Equal(principal.Scopes{}) {
		t.Fatal("sets that allow the same are equal, others are not")
	}
}

func TestI3_WhatIsNoScope(t *testing.T) {
	for _, bad := range []string{"", "a b", "a\r\nX: y", "ä", "a\"", `a\`, ":a", "a:", "a::b", "\x00", strings.Repeat("a", 256)} {
		if _, err := principal.NewScopes([]string{"fine", bad}); err == nil {
			t.Errorf("%q was taken for a scope", bad)
		}
	}
	scopes(t, strings.Repeat("a", 255))
}

// What both sets allow is allowed by their intersection, and nothing else is.
func TestIntersectionAllowsWhatBothAllow(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "c"})
	scope := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(level, 1, 3).Draw(t, "levels"), ":")
	})
	rapid.Check(t, func(t *rapid.T) {
		a := scopes(t, rapid.SliceOfN(scope, 0, 4).Draw(t, "a")...)
		b := scopes(t, rapid.SliceOfN(scope, 0, 4).Draw(t, "b")...)
		wanted := scope.Draw(t, "wanted")
		if got, want := a.Intersect(b).Covers(wanted), a.Covers(wanted) && b.Covers(wanted); got != want {
			t.Fatalf("%q ∩ %q covers %q: %v, want %v", a, b, wanted, got, want)
		}
	})
}

func TestNobodyIsCoveredByNothing(t *testing.T) {
	var nobody *principal.Principal
	if nobody.Covers("a") {
		t.Fatal("without a principal nothing is covered")
	}
	p := &principal.Principal{Scopes: scopes(t, "a")}
	if !p.Covers("a:b") || p.Covers("b") {
		t.Fatal("a principal may do what its scopes cover")
	}
}
