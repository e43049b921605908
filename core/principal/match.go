package principal

import (
	"slices"
	"strings"
)

// Match is a condition on who calls. All that is set must hold; nobody meets a
// condition. It is immutable.
type Match struct {
	Users   []string // one of these; none: any
	Clients []string // likewise
	Scope   string   // held, by itself or by a wider one; empty: any
	Claims  []Claim  // all of them
}

// IsZero says that m asks for nothing.
func (m *Match) IsZero() bool {
	return len(m.Users)+len(m.Clients)+len(m.Claims) == 0 && m.Scope == ""
}

// Holds says whether p, which has shown claims, meets the condition.
func (m *Match) Holds(p *Principal, claims map[string]any) bool {
	switch {
	case p == nil:
		return false
	case len(m.Users) > 0 && !slices.Contains(m.Users, p.User):
		return false
	case len(m.Clients) > 0 && !slices.Contains(m.Clients, p.Client):
		return false
	case m.Scope != "" && !p.Scopes.Covers(m.Scope):
		return false
	}
	for i := range m.Claims {
		if !m.Claims[i].Holds(claims) {
			return false
		}
	}
	return true
}

// Strings are the conditions as an operator would say them.
func (m *Match) Strings() []string {
	var out []string
	if len(m.Users) > 0 {
		out = append(out, "user "+strings.Join(m.Users, " or "))
	}
	if m.Scope != "" {
		out = append(out, "scope "+m.Scope)
	}
	if len(m.Clients) > 0 {
		out = append(out, "client "+strings.Join(m.Clients, " or "))
	}
	for i := range m.Claims {
		out = append(out, "claim "+m.Claims[i].String())
	}
	return out
}
