package config_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/setting"
)

// TestEffective holds the effective configuration of good files, with origins,
// to the letter. UPDATE_TESTDATA=1 writes it anew.
func TestEffective(t *testing.T) {
	t.Parallel()
	for _, name := range corpus(t, "effective", 5) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			cfg, r, _ := load(t, filepath.Join("good", filepath.Base(name)))
			if cfg == nil {
				t.Fatal(r.Err())
			}
			got := config.Effective(cfg, true)
			if os.Getenv("UPDATE_TESTDATA") != "" {
				write(t, name, got)
				return
			}
			want, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("effective configuration (-want +got):\n%s", diff)
			}
		})
	}
}

// sameConfig compares two configurations without their places.
var sameConfig = cmp.Options{
	cmpopts.IgnoreTypes(setting.Position{}),
	cmpopts.IgnoreUnexported(config.Config{}),
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(config.Profile{}, "Node"),
	cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Node" }, cmp.Ignore()),
	cmpopts.EquateComparable(setting.CIDR{}, setting.Content{}, setting.Secret{}),
	cmp.Comparer(func(a, b *certificate.Pair) bool { return a == b || a != nil && b != nil && a.Same(b) }),
	cmp.Comparer(func(a, b *certificate.Authorities) bool {
		return a == b || a != nil && b != nil && a.Fingerprint == b.Fingerprint
	}),
	cmp.Comparer(func(a, b *setting.Node) bool { return printed(a) == printed(b) }),
}

func printed(n *setting.Node) string {
	return setting.Show(n, reflect.TypeFor[*setting.Node](), setting.ShowOptions{})
}

// TestEffectiveLoads says that what Effective prints is the configuration: it
// loads to the same, unless something had to be masked.
func TestEffectiveLoads(t *testing.T) {
	t.Parallel()
	for _, name := range corpus(t, "good", 8) {
		cfg, r, _ := load(t, name)
		if cfg == nil {
			t.Fatal(r.Err())
		}
		text := config.Effective(cfg, true)
		if strings.Contains(text, `"***"`) {
			continue
		}
		o := options(filepath.Join("good", "printed.yaml"))
		read := o.ReadFile
		o.ReadFile = func(file string) ([]byte, error) {
			if file == o.Files[0] {
				return []byte(text), nil
			}
			return read(file)
		}
		again, r := config.Load(o)
		if again == nil {
			t.Errorf("%s: printed configuration does not load: %v\n%s", name, r.Err(), text)
			continue
		}
		if diff := cmp.Diff(cfg, again, sameConfig); diff != "" {
			t.Errorf("%s: printed configuration differs (-was +is):\n%s", name, diff)
		}
	}
}

// TestC11_EffectiveMasks wants no secret and no expanded scalar in what is printed.
func TestC11_EffectiveMasks(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"good/full.yaml", "good/environment.yaml"} {
		cfg, r, _ := load(t, name)
		if cfg == nil {
			t.Fatal(r.Err())
		}
		for _, origin := range []bool{true, false} {
			text := config.Effective(cfg, origin)
			if strings.Contains(text, "s3cr3t") || strings.Contains(text, "10.1.2.3") || strings.Contains(text, "9001\"") && strings.Contains(name, "environment") {
				t.Errorf("%s: a secret is shown:\n%s", name, text)
			}
			if !strings.Contains(text, `"***"`) {
				t.Errorf("%s: nothing is masked:\n%s", name, text)
			}
		}
	}
}

// TestHash says what a version of the configuration is told by: the text in force without
// its places, so that a comment or another order of keys changes nothing.
func TestHash(t *testing.T) {
	t.Parallel()
	hash := func(text string) string {
		cfg, r := loadText(t, text)
		if cfg == nil {
			t.Fatal(r.Err())
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte(config.Effective(cfg, false)))); config.Hash(cfg) != want {
			t.Errorf("got %s, want %s", config.Hash(cfg), want)
		}
		return config.Hash(cfg)
	}
	if hash(minimal) != hash("# a comment\n\n"+minimal) {
		t.Error("a comment changes the hash")
	}
	if hash(minimal) == hash(minimal+"directory: /x\n") {
		t.Error("another directory does not change the hash")
	}
}
