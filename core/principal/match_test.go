package principal

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	scopes, err := NewScopes([]string{"courses"})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := ParseClaim("/plan", []string{"pro"})
	if err != nil {
		t.Fatal(err)
	}
	ann := &Principal{User: "ann", Client: "app", Scopes: scopes}
	claims := map[string]any{"plan": "pro"}
	for _, c := range []struct {
		what string
		m    Match
		p    *Principal
		want bool
	}{
		{"nobody", Match{}, nil, false},
		{"anybody", Match{}, ann, true},
		{"the user", Match{Users: []string{"bob", "ann"}}, ann, true},
		{"another user", Match{Users: []string{"bob"}}, ann, false},
		{"the client", Match{Clients: []string{"app"}}, ann, true},
		{"another client", Match{Clients: []string{"other"}}, ann, false},
		{"a scope within", Match{Scope: "courses:read"}, ann, true},
		{"another scope", Match{Scope: "payments"}, ann, false},
		{"a claim", Match{Claims: []Claim{plan}}, ann, true},
		{"all but one", Match{Users: []string{"ann"}, Clients: []string{"app"}, Scope: "payments", Claims: []Claim{plan}}, ann, false},
	} {
		if got := c.m.Holds(c.p, claims); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if (&Match{Claims: []Claim{plan}}).Holds(ann, nil) {
		t.Error("a claim that nobody made holds")
	}
	all := Match{Users: []string{"ann", "bob"}, Clients: []string{"app"}, Scope: "courses", Claims: []Claim{plan}}
	if got := strings.Join(all.Strings(), "; "); got != "user ann or bob; scope courses; client app; claim /plan = pro" || all.IsZero() || !(&Match{}).IsZero() {
		t.Errorf("it says %s", got)
	}
}
