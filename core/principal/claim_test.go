package principal_test

import (
	"encoding/json"
	"testing"

	"github.com/suuupra/gateway/core/principal"
)

func TestClaimsAreComparedAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	claims := map[string]any{
		"plan": "pro", "on": true, "off": false, "n": json.Number("7"), "f": 2.5, "whole": 3.0, "i": int64(9), "none": nil,
		"list": []any{"a", 1.0, map[string]any{"x": "y"}}, "deep": map[string]any{"a/b": map[string]any{"c~d": "e"}}, "": "root",
		"empty": []any{}, "map": map[string]any{"pro": "pro"},
	}
	for _, c := range []struct {
		pointer string
		values  []string
		want    bool
	}{
		{"/plan", []string{"pro"}, true},
		{"/plan", []string{"free", "pro"}, true},
		{"/plan", []string{"Pro"}, false},
		{"/plan", []string{"pr"}, false},
		{"/missing", []string{"", "null", "nil"}, false},
		{"/none", []string{"", "null", "nil"}, false},
		{"/on", []string{"true"}, true},
		{"/off", []string{"true"}, false},
		{"/off", []string{"false"}, true},
		{"/n", []string{"7"}, true},
		{"/n", []string{"7.0"}, false},
		{"/f", []string{"2.5"}, true},
		{"/whole", []string{"3"}, true},
		{"/i", []string{"9"}, true},
		{"/list", []string{"a"}, true},
		{"/list", []string{"1"}, true},
		{"/list", []string{"y"}, false},
		{"/list/0", []string{"a"}, true},
		{"/list/2/x", []string{"y"}, true},
		{"/list/00", []string{"a"}, false},
		{"/list/-1", []string{"a"}, false},
		{"/list/9", []string{"a"}, false},
		{"/list/x", []string{"a"}, false},
		{"/deep/a~1b/c~0d", []string{"e"}, true},
		{"/plan/x", []string{"pro"}, false},
		{"/", []string{"root"}, true},
		{"/empty", []string{""}, false},
		{"/map", []string{"pro"}, false},
	} {
		claim, err := principal.ParseClaim(c.pointer, c.values)
		if err != nil {
			t.Fatal(err)
		}
		if got := claim.Holds(claims); got != c.want {
			t.Errorf("%s in %q: %v, want %v", c.pointer, c.values, got, c.want)
		}
	}
	claim, err := principal.ParseClaim("/a", []string{"b"})
	if err != nil || claim.Holds(nil) {
		t.Errorf("no claims at all hold, or %v", err)
	}
	for _, bad := range []string{"", "plan", "/a~", "/a~2", "/~1~x"} {
		if _, err := principal.ParseClaim(bad, nil); err == nil {
			t.Errorf("%q is a pointer", bad)
		}
	}
}
