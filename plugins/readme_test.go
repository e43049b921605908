package plugins_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/plugins"
)

// sections are those of every README, in this order.
var sections = []string{"Name", "Description", "Syntax", "Examples", "Metrics", "Errors"}

var (
	heading = regexp.MustCompile(`(?m)^## (.+)$`)
	example = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
)

func readme(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(folderOf(name) + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadmeSections(t *testing.T) {
	t.Parallel()
	for _, p := range plugins.All() {
		text := readme(t, p.Name)
		var got []string
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		if !strings.HasPrefix(text, "# "+p.Name+"\n") || !slices.Equal(got, sections) {
			t.Errorf("%s: the README has sections %q under its name, want %q", p.Name, got, sections)
		}
		properties, _ := p.Schema()["properties"].(map[string]any)
		for key := range properties {
			if !strings.Contains(text, key+":") {
				t.Errorf("%s: the README does not show the option %s", p.Name, key)
			}
		}
	}
}

// Every example of a README runs as it stands, but for the address it listens on.
func TestReadmeExamples(t *testing.T) {
	t.Parallel()
	for _, p := range plugins.All() {
		examples := example.FindAllStringSubmatch(readme(t, p.Name), -1)
		if len(examples) == 0 {
			t.Errorf("%s: the README has no example", p.Name)
		}
		for i, m := range examples {
			t.Run(p.Name+"/"+string(rune('1'+i)), func(t *testing.T) {
				t.Parallel()
				if !strings.Contains(m[1], p.Name+":") {
					t.Errorf("the example does not use %s:\n%s", p.Name, m[1])
				}
				gatewaytest.Run(t, m[1])
			})
		}
	}
}
