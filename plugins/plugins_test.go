package plugins_test

import (
	"os"
	"strings"
	"testing"

	"github.com/suuupra/gateway/plugins"
)

// A name in the list twice would let one plugin hide another.
func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range plugins.All() {
		if seen[p.Name] {
			t.Errorf("two plugins are called %s", p.Name)
		}
		seen[p.Name] = true
	}
}

// folderOf returns the folder of a plugin: its name without underscores.
func folderOf(name string) string { return strings.ReplaceAll(name, "_", "") }

// Every folder is in the list, and every plugin of the list in its folder.
func TestEveryFolderIsListed(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, p := range plugins.All() {
		listed[folderOf(p.Name)] = true
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !listed[e.Name()] {
			t.Errorf("folder %s is not in plugins.go", e.Name())
		}
		delete(listed, e.Name())
	}
	for folder := range listed {
		t.Errorf("plugin of folder %s has no such folder", folder)
	}
}

// Options of a plugin are described well enough to be written by the schema alone.
func TestEveryOptionIsDescribed(t *testing.T) {
	t.Parallel()
	for _, p := range plugins.All() {
		properties, _ := p.Schema()["properties"].(map[string]any)
		if len(properties) == 0 {
			t.Errorf("%s has no options", p.Name)
		}
		for key, fragment := range properties {
			if text, _ := fragment.(map[string]any)["description"].(string); text == "" {
				t.Errorf("%s.%s has no description", p.Name, key)
			}
		}
	}
}
