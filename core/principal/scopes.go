package principal

import (
	"fmt"
	"slices"
	"strings"
)

// Every is the scope that covers all others. Nobody but this gateway grants it (SECURITY I1).
const Every = "*"

// separator parts the levels of a scope: "courses" covers "courses:read".
const separator = ':'

// MaxScope is the longest scope, in bytes (SECURITY I3).
const MaxScope = 255

// Scopes is an immutable set of scopes, kept sorted and without those that
// another one covers, so that two sets that allow the same are equal. The zero
// value allows nothing. It may be used concurrently.
type Scopes struct {
	list   []string
	joined string
}

// NewScopes makes a set of list. It fails for what is no scope: RFC 6749 §3.3
// allows visible ASCII but `"` and `\`; empty levels are refused as well, for
// "courses:" is a typing error and never a scope.
func NewScopes(list []string) (Scopes, error) {
	for _, s := range list {
		if err := CheckScope(s); err != nil {
			return Scopes{}, err
		}
	}
	return reduced(slices.Clone(list)), nil
}

// CheckScope says why s is no scope, or nil.
func CheckScope(s string) error {
	if s == "" || len(s) > MaxScope {
		return fmt.Errorf("a scope has 1 to %d bytes, this one has %d", MaxScope, len(s))
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return fmt.Errorf("scope %q holds a character that RFC 6749 allows in no scope", s)
		}
	}
	if s[0] == separator || s[len(s)-1] == separator || strings.Contains(s, "::") {
		return fmt.Errorf("scope %q has an empty level", s)
	}
	return nil
}

// reduced sorts list, which it owns, and drops what is covered by another one.
func reduced(list []string) Scopes {
	slices.Sort(list)
	list = slices.Compact(list)
	kept := make([]string, 0, len(list))
	for _, s := range list {
		others := slices.ContainsFunc(list, func(o string) bool { return o != s && covers(o, s) })
		if !others {
			kept = append(kept, s)
		}
	}
	return Scopes{list: kept, joined: strings.Join(kept, " ")}
}

// covers says whether who holds scope held may do what needs scope wanted.
func covers(held, wanted string) bool {
	return held == wanted || held == Every ||
		len(wanted) > len(held) && wanted[len(held)] == separator && wanted[:len(held)] == held
}

// Covers says whether one of the scopes is wanted or stands above it in the tree.
// It does not allocate.
func (s Scopes) Covers(wanted string) bool {
	for _, held := range s.list {
		if covers(held, wanted) {
			return true
		}
	}
	return false
}

// Intersect returns what both sets allow: of two scopes where one covers the
// other, the narrower one (SECURITY I16). It allocates only when the result
// equals neither set.
func (s Scopes) Intersect(o Scopes) Scopes {
	switch {
	case s.joined == o.joined, o.coversAll(s):
		return s
	case s.coversAll(o):
		return o
	}
	var both []string
	for _, mine := range s.list {
		if o.Covers(mine) {
			both = append(both, mine)
		}
	}
	for _, theirs := range o.list {
		if s.Covers(theirs) {
			both = append(both, theirs)
		}
	}
	return reduced(both)
}

func (s Scopes) coversAll(o Scopes) bool {
	for _, wanted := range o.list {
		if !s.Covers(wanted) {
			return false
		}
	}
	return true
}

// Empty says whether the set allows nothing.
func (s Scopes) Empty() bool { return len(s.list) == 0 }

// List returns the scopes, sorted. The caller must not change it.
func (s Scopes) List() []string { return s.list }

// String returns the scopes sorted, with a space between them, as in RFC 6749 §3.3.
func (s Scopes) String() string { return s.joined }

// Equal says whether both sets allow the same.
func (s Scopes) Equal(o Scopes) bool { return s.joined == o.joined }
