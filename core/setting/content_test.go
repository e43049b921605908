package setting_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/setting"
)

type withContent struct {
	Schema setting.Content `yaml:"schema" doc:"A schema."`
	Key    setting.Secret  `yaml:"key" doc:"A key."`
}

func TestContent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.txt")
	for name, text := range map[string]string{"a.txt": "one\ntwo\n", "empty.txt": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "gw.yaml")
	tests := []struct{ in, text, file, problem string }{
		{"schema: |\n  one\n  two\n", "one\ntwo\n", "", ""},
		{"schema_file: a.txt", "one\ntwo", file, ""},
		{"schema_file: " + file, "one\ntwo", file, ""},
		{"{schema: off, schema_file: a.txt}", "one\ntwo", file, ""},
		{"schema_file: off", "", "", ""},
		{"{}", "", "", ""},
		{"{schema: x, schema_file: a.txt}", "", "", source + ":1:26: schema_file: want schema or schema_file, got both"},
		{"schema_file: empty.txt", "", "", source + ":1:14: schema_file: want a file that holds something, got an empty one"},
		{"schema_file: none.txt", "", "", source + `:1:14: schema_file: want a file that can be read, got "none.txt": no such file or directory`},
		{"schema: [x]", "", "", source + ":1:9: schema: want a text, got a list"},
		{"schema:", "", "", source + ":1:9: schema: want a text, got nothing: leave the key out or give it a value"},
	}
	for _, tt := range tests {
		r := setting.NewReport(setting.ReportOptions{})
		var v withContent
		setting.Decode(setting.Parse(source, []byte(tt.in), r), &v, r)
		problem := ""
		if err := r.Err(); err != nil {
			problem = err.Error()
		}
		if v.Schema.Text() != tt.text || v.Schema.File() != tt.file || v.Schema.IsZero() != (tt.text == "") || problem != tt.problem {
			t.Errorf("%s: got %q from %q, %s\nwant %q from %q, %s", tt.in, v.Schema.Text(), v.Schema.File(), problem, tt.text, tt.file, tt.problem)
		}
	}
}

// TestContentIsShown: what is no secret is not masked, and the file of a twin is.
func TestContentIsShown(t *testing.T) {
	t.Parallel()
	r := setting.NewReport(setting.ReportOptions{})
	for in, want := range map[string]string{
		"{schema: 'a b', key: s3cr3t}":              "schema: \"a b\"\nkey: \"***\"\n",
		"{schema_file: a.txt, key_file: b.txt}":     "schema_file: a.txt\nkey_file: b.txt\n",
		"{schema_file: off, schema: c, key: \"k\"}": "schema: c\nkey: \"***\"\n",
	} {
		got := setting.Show(setting.Parse("x", []byte(in), r), reflect.TypeFor[withContent](), setting.ShowOptions{})
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", in, got, want)
		}
	}
	properties := setting.Schema(reflect.TypeFor[withContent]())["properties"].(map[string]any)
	if _, ok := properties["schema_file"]; !ok {
		t.Errorf("the schema has no twin: %v", properties)
	}
}

// TestFileOfSecret: whoever looks after renewed files must know them.
func TestFileOfSecret(t *testing.T) {
	t.Parallel()
	r := setting.NewReport(setting.ReportOptions{ReadFile: func(name string) ([]byte, error) { return []byte(strings.ToUpper(name)), nil }})
	var v withContent
	setting.Decode(setting.Parse("conf/gw.yaml", []byte("{key_file: k, schema: x}"), r), &v, r)
	if v.Key.File() != filepath.Join("conf", "k") || v.Key.Reveal() != "CONF/K" || setting.NewContent("c").Text() != "c" || setting.NewSecret("s").File() != "" {
		t.Errorf("got %q from %q", v.Key.Reveal(), v.Key.File())
	}
}
