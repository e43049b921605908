package limit_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
)

func TestRL7_PoliciesChangeWhereTheyWereFound(t *testing.T) {
	t.Parallel()
	of := func(name string, n int64) *limit.Policy {
		return &limit.Policy{Name: name, Algorithm: limit.TokenBucket, Count: n, Per: 100 * time.Hour, Burst: n}
	}
	ps := limit.NewPolicies()
	if _, ok := ps.Find("a"); ok || len(ps.Names()) != 0 {
		t.Error("there is a policy from the start")
	}
	replace := func(policies ...*limit.Policy) {
		t.Helper()
		if err := ps.Replace(policies); err != nil {
			t.Fatal(err)
		}
	}
	replace(of("a", 10), of("b", 5))
	a, ok := ps.Find("a")
	if !ok || a.Name() != "a" || a.Policy().Count != 10 || !slices.Equal(ps.Names(), []string{"a", "b"}) {
		t.Fatalf("found %+v among %v", a, ps.Names())
	}
	m, _ := memory(t, limit.MemoryOptions{})
	charge := func() int64 {
		cs := one(a.Policy(), "k")
		admits(t, m, cs)
		return cs[0].Remaining
	}
	for range 4 {
		charge()
	}
	same := a.Policy()
	replace(of("a", 10))
	if a.Policy() != same {
		t.Error("the same numbers are another policy")
	}
	if _, ok := ps.Find("b"); ok {
		t.Error("b is still there")
	}
	replace(of("c", 1), of("a", 20))
	if left := charge(); left != 15 {
		t.Errorf("5 of 20 are used, and %d left", left)
	}
	for what, bad := range map[string][]*limit.Policy{
		"two named d":      {of("d", 1), of("d", 2)},
		"d: a policy's":    {of("a", 1), of("d", 0)},
		"one has no name":  {of("", 1)},
		"d: a policy need": {{Name: "d"}},
	} {
		if err := ps.Replace(bad); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want an error of %q, got %v", what, err)
		}
	}
	if a.Policy().Count != 20 || !slices.Equal(ps.Names(), []string{"a", "c"}) {
		t.Error("what was refused is in force")
	}
	replace()
	if a.Policy().Count != 20 {
		t.Error("who found a policy has lost it")
	}
}

func TestRL7_PoliciesChangeWhileRequestsRun(t *testing.T) {
	t.Parallel()
	ps := limit.NewPolicies()
	of := func(n int64) []*limit.Policy {
		return []*limit.Policy{{Name: "a", Algorithm: limit.TokenBucket, Count: 7 + n, Per: 100 * time.Hour, Burst: 100}}
	}
	if err := ps.Replace(of(0)); err != nil {
		t.Fatal(err)
	}
	m, _ := memory(t, limit.MemoryOptions{})
	var all sync.WaitGroup
	var mu sync.Mutex
	admitted := 0
	for range 4 {
		all.Go(func() {
			for range 2000 {
				a, ok := ps.Find("a")
				if !ok {
					t.Error("lost")
					return
				}
				if denied, err := m.Take(one(a.Policy(), "k")); err == nil && denied == limit.Admitted {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			}
		})
	}
	for i := range int64(500) {
		if err := ps.Replace(of(i % 20)); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if admitted != 100 {
		t.Errorf("%d are admitted of 100", admitted)
	}
}
