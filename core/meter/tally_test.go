package meter

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTallyCountsByValuesThatAreKnownLate(t *testing.T) {
	t.Parallel()
	s := NewSet(time.Now)
	tally := s.Tally("gateway_things_total", "Things.", "colour", "size")
	if s.Tally("gateway_things_total", "Things.", "colour", "size") != tally {
		t.Error("a second tally of the same name")
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 300 {
				tally.Add(uint32(i), 1, [3]string{"red", fmt.Sprint(n % 3)})
			}
		})
	}
	all.Wait()
	tally.Add(0, 7, [3]string{`"`, ""})
	var text strings.Builder
	s.WritePrometheus(&text)
	for _, want := range []string{
		"# TYPE gateway_things_total counter\n", `gateway_things_total{colour="red",size="0"} 800` + "\n", `gateway_things_total{colour="red",size="2"} 800` + "\n",
		`gateway_things_total{colour="\"",size=""} 7` + "\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in\n%s", want, text.String())
		}
	}
	for name, bad := range map[string]func(){
		"no label":    func() { s.Tally("gateway_a_total", "A.") },
		"four labels": func() { s.Tally("gateway_a_total", "A.", "a", "b", "c", "d") },
		"a bad name":  func() { s.Tally("gateway_a", "A.", "a") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", name)
				}
			}()
			bad()
		}()
	}
}

// TestOB1_IdentitiesAreBounded: no caller grows a label by making up ids.
func TestOB1_IdentitiesAreBounded(t *testing.T) {
	t.Parallel()
	s := NewSet(time.Now)
	if user, client := s.Identity("u", "c"); user != Other || client != Other {
		t.Errorf("none may be named, got %s and %s", user, client)
	}
	if user, client := s.Identity("", ""); user != "" || client != "" {
		t.Errorf("nobody is called %q and %q", user, client)
	}
	s.SetIdentities(10)
	named := make([]map[string]bool, 4)
	var all sync.WaitGroup
	for i := range named {
		named[i] = map[string]bool{}
		all.Go(func() {
			for n := range 1000 {
				if user, client := s.Identity(fmt.Sprint(n%50), "c"); user != Other {
					named[i][user+client] = true
				}
			}
		})
	}
	all.Wait()
	for i := range named {
		if len(named[i]) != 10 {
			t.Errorf("%d are named, want 10", len(named[i]))
		}
	}
	s.SetIdentities(0)
	for name := range named[0] {
		if user, _ := s.Identity(strings.TrimSuffix(name, "c"), "c"); user == Other {
			t.Errorf("%s has lost its name", name)
		}
	}
}
