package plugin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/plugin"
)

func TestRL7_PoliciesOfATableLieOverThoseOfTheFile(t *testing.T) {
	t.Parallel()
	l := &plugin.Limits{Policies: limit.NewPolicies(), Denied: limit.NewDenied(10, 0)}
	of := func(name string, count int64) map[string]*limit.Policy {
		return map[string]*limit.Policy{name: {Name: name, Algorithm: limit.SlidingWindow, Count: count, Per: time.Minute}}
	}
	denied := []byte("k")
	wants := func(what string, forgets bool, want ...any) {
		t.Helper()
		var names []string
		for i := 0; i < len(want); i += 2 {
			name := want[i].(string)
			names = append(names, name)
			if p, found := l.Policies.Find(name); !found || p.Policy().Count != int64(want[i+1].(int)) {
				t.Errorf("%s: %s is %v, want %d", what, name, p, want[i+1])
			}
		}
		if got := strings.Join(l.Policies.Names(), " "); got != strings.Join(names, " ") {
			t.Errorf("%s: there are %q, want %q", what, got, names)
		}
		if forgot := l.Denied.Until(denied, 1) == 0; forgot != forgets {
			t.Errorf("%s: forgets who is denied: %v, want %v", what, forgot, forgets)
		}
		l.Denied.Note(denied, 0, 100)
	}
	l.Denied.Note(denied, 0, 100)
	l.Replace(of("a", 1))
	wants("the file's", true, "a", 1)
	l.Replace(of("a", 1))
	wants("the same again", false, "a", 1)
	l.Override(of("a", 2))
	wants("the table's", true, "a", 2)
	withdraw := l.Announce(of("b", 3))
	wants("a new one", true, "a", 2, "b", 3)
	withdraw()
	wants("refused", true, "a", 2)
	l.Announce(of("a", 4))
	wants("numbers wait until the configuration is in force", false, "a", 2)
	l.Replace(of("a", 4))
	wants("below the table's", false, "a", 2)
	l.Override(nil)
	wants("without the table", true, "a", 4)
	l.Override(of("c", 5))
	wants("one of the table alone", true, "a", 4, "c", 5)
	l.Replace(nil)
	wants("no file", true, "c", 5)
}
