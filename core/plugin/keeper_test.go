package plugin_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/setting"
)

// lamp is a kept value that knows whether it is closed.
type lamp struct {
	closed int
	fail   error
}

func (l *lamp) Close() error {
	l.closed++
	return l.fail
}

func keepLamp(t *testing.T, k *plugin.Keeper, key string, options any) (*lamp, func()) {
	t.Helper()
	l, release, err := plugin.Keep(k, key, options, func() (*lamp, error) { return &lamp{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	return l, release
}

func TestKeepSharesAndCounts(t *testing.T) {
	t.Parallel()
	k := plugin.NewKeeper(zerolog.Nop())
	a, releaseA := keepLamp(t, k, "lamp", "red")
	b, releaseB := keepLamp(t, k, "lamp", "red")
	c, releaseC := keepLamp(t, k, "lamp", "blue")
	d, releaseD := keepLamp(t, k, "other", "red")
	if a != b || a == c || a == d || k.Len() != 3 {
		t.Fatalf("shared wrongly: %p %p %p %p, %d kept", a, b, c, d, k.Len())
	}
	releaseA()
	releaseA()
	if a.closed != 0 {
		t.Fatal("closed while somebody holds it")
	}
	releaseB()
	releaseC()
	releaseD()
	if a.closed != 1 || c.closed != 1 || d.closed != 1 || k.Len() != 0 {
		t.Fatalf("closed %d %d %d times, %d kept", a.closed, c.closed, d.closed, k.Len())
	}
	again, release := keepLamp(t, k, "lamp", "red")
	defer release()
	if again == a {
		t.Fatal("a closed value came back")
	}
}

func TestKeepTellsTypesApart(t *testing.T) {
	t.Parallel()
	k := plugin.NewKeeper(zerolog.Nop())
	_, release := keepLamp(t, k, "x", 1)
	defer release()
	other, releaseOther, err := plugin.Keep(k, "x", 1, func() (*switched, error) { return &switched{}, nil })
	if err != nil || other == nil {
		t.Fatalf("got %v, %v", other, err)
	}
	releaseOther()
}

type switched struct{ lamp }

func TestKeepFails(t *testing.T) {
	t.Parallel()
	k := plugin.NewKeeper(zerolog.Nop())
	dark := errors.New("dark")
	if _, _, err := plugin.Keep(k, "lamp", nil, func() (*lamp, error) { return nil, dark }); !errors.Is(err, dark) {
		t.Errorf("got %v", err)
	}
	_, _, err := plugin.Keep(k, "lamp", func() {}, func() (*lamp, error) { return &lamp{}, nil })
	if want := "keeping lamp: options hold a func(), which can't be compared"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if k.Len() != 0 {
		t.Errorf("%d kept", k.Len())
	}
}

func TestKeepSurvivesAPanickingBuild(t *testing.T) {
	t.Parallel()
	k := plugin.NewKeeper(zerolog.Nop())
	build := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = errors.New("panicked")
			}
		}()
		_, _, err = plugin.Keep(k, "lamp", nil, func() (*lamp, error) { panic("spark") })
		return err
	}
	if err := build(); err == nil || k.Len() != 0 {
		t.Errorf("got %v, %d kept", err, k.Len())
	}
	_, release := keepLamp(t, k, "lamp", nil)
	release()
}

func TestCloseErrorsAreLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	k := plugin.NewKeeper(zerolog.New(&log))
	_, release, err := plugin.Keep(k, "lamp", nil, func() (*lamp, error) { return &lamp{fail: errors.New("stuck")}, nil })
	if err != nil {
		t.Fatal(err)
	}
	release()
	if !strings.Contains(log.String(), `"error":"stuck","key":"lamp"`) {
		t.Errorf("logged %q", log.String())
	}
}

// options has one of everything that options hold.
type keptOptions struct {
	Name   string
	On     bool
	Count  int8
	Size   uint64
	Share  float64
	List   []string
	Map    map[string]int
	Inner  *keptOptions
	Any    any
	Fixed  [2]int
	Secret setting.Secret
	hidden string
}

func TestIdentityLooksAtTheData(t *testing.T) {
	t.Parallel()
	base := func() *keptOptions {
		return &keptOptions{
			Name: "a", List: []string{"b", "c"}, Map: map[string]int{"x": 1, "y": 2, "z": 3},
			Inner: &keptOptions{Name: "d"}, Any: 1, Secret: setting.NewSecret("s1"), hidden: "h",
		}
	}
	k := plugin.NewKeeper(zerolog.Nop())
	first, release := keepLamp(t, k, "lamp", base())
	defer release()
	same, releaseSame := keepLamp(t, k, "lamp", base())
	defer releaseSame()
	if first != same {
		t.Fatal("equal options behind other pointers are not shared")
	}
	for name, change := range map[string]func(*keptOptions){
		"string":      func(o *keptOptions) { o.Name = "b" },
		"bool":        func(o *keptOptions) { o.On = true },
		"int":         func(o *keptOptions) { o.Count = -1 },
		"uint":        func(o *keptOptions) { o.Size = 1 << 63 },
		"float":       func(o *keptOptions) { o.Share = 0.1 },
		"list":        func(o *keptOptions) { o.List = []string{"bc", ""} },
		"list length": func(o *keptOptions) { o.List = append(o.List, "") },
		"map":         func(o *keptOptions) { o.Map["z"] = 4 },
		"pointer":     func(o *keptOptions) { o.Inner = nil },
		"behind it":   func(o *keptOptions) { o.Inner.Name = "e" },
		"interface":   func(o *keptOptions) { o.Any = nil },
		"its type":    func(o *keptOptions) { o.Any = int8(1) },
		"array":       func(o *keptOptions) { o.Fixed[1] = 1 },
		"secret":      func(o *keptOptions) { o.Secret = setting.NewSecret("s2") },
		"unexported":  func(o *keptOptions) { o.hidden = "i" },
	} {
		o := base()
		change(o)
		other, release := keepLamp(t, k, "lamp", o)
		if other == first {
			t.Errorf("a change of the %s goes unseen", name)
		}
		release()
	}
	cycle := &keptOptions{}
	cycle.Inner = cycle
	if _, _, err := plugin.Keep(k, "lamp", cycle, func() (*lamp, error) { return &lamp{}, nil }); err == nil {
		t.Error("a cycle has an identity")
	}
}

// Many snapshots come and go at once; what they hold is never closed under them.
func TestKeepIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	k := plugin.NewKeeper(zerolog.Nop())
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				l, release := keepLamp(t, k, "lamp", i%2)
				if l.closed != 0 {
					t.Error("closed while held")
				}
				release()
			}
		})
	}
	group.Wait()
	if k.Len() != 0 {
		t.Errorf("%d kept", k.Len())
	}
}

// Any order of keeping and releasing keeps exactly what has holders.
func TestKeepCountsRight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		k := plugin.NewKeeper(zerolog.Nop())
		holders := map[int][]func(){}
		live := map[int]*lamp{}
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			key := rapid.IntRange(0, 3).Draw(r, "key")
			if rapid.Bool().Draw(r, "keep") || len(holders[key]) == 0 {
				l, release := keepLamp(t, k, "lamp", key)
				if live[key] != nil && live[key] != l {
					r.Fatalf("key %d is kept twice", key)
				}
				live[key] = l
				holders[key] = append(holders[key], release)
				continue
			}
			last := len(holders[key]) - 1
			holders[key][last]()
			holders[key] = holders[key][:last]
			if last == 0 {
				if live[key].closed != 1 {
					r.Fatalf("key %d was not closed", key)
				}
				delete(live, key)
			}
		}
		if k.Len() != len(live) {
			r.Fatalf("%d kept, want %d", k.Len(), len(live))
		}
	})
}
