package setting_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/setting"
)

type shown struct {
	Text   string                   `yaml:"text" default:"a b" doc:"A text."`
	Number int                      `yaml:"number" min:"1" max:"9" default:"5"`
	Ratio  float64                  `yaml:"ratio" min:"0.5" default:"0.5"`
	Flag   bool                     `yaml:"flag" default:"true"`
	Wait   setting.Duration         `yaml:"wait" default:"off" off:"true"`
	Size   setting.Size             `yaml:"size" unlimited:"true"`
	Secret setting.Secret           `yaml:"secret" doc:"Never shown."`
	Words  setting.StringList       `yaml:"words" default:"a,b" enum:"a|b|c"`
	Codes  []int                    `yaml:"codes" default:"1,2"`
	Color  color                    `yaml:"color"`
	Form   eitherForm               `yaml:"form"`
	Retry  retry                    `yaml:"retry"`
	Inner  *inner                   `yaml:"inner"`
	Part   inner                    `yaml:"part" sparse:"true"`
	Items  []*item                  `yaml:"items,named"`
	List   []item                   `yaml:"list"`
	Lists  [][]string               `yaml:"lists"`
	Map    map[string]string        `yaml:"map"`
	Raw    map[string]*setting.Node `yaml:"raw"`
	Off    bool                     `yaml:"off"`
	Blank  string                   `yaml:"blank" empty:"true"`
	Enum   int                      `yaml:"enum" enum:"1|2" default:"2"`
}

func TestShow(t *testing.T) {
	t.Parallel()
	const in = `
text: "x: ${A} # \"q\"\tz"
number: 7
flag: off
wait: 5s
size: unlimited
secret: s3cr3t
words: [c, 'off', "x, y", 5]
form: [x, [y], {z: 1}]
retry: off
inner: {}
items: {b: {size: 5B}, "c d": off}
list: [{size: 1B}, {}, 'x']
lists: [[a, b], [], [[c]]]
map: {k: "v", "1": '2', 'off': ~, "a:b": /c}
raw: {p: {token: t0ken, deep: [1, {a: b}], none: {}}, q: off}
blank: ''
unknown: not shown
`
	const want = `text: "x: $${A} # \"q\"\tz"  # f:2
number: 7  # f:3
ratio: 0.5  # default
flag: off  # f:4
wait: 5s  # f:5
size: unlimited  # f:6
secret: "***"  # f:7
words: [c, "off", "x, y", 5]  # f:8
codes: [1, 2]  # default
form:
  - x  # f:9
  - - y  # f:9
  - z: 1  # f:9
retry: off  # f:10
inner:
  level: low  # default
items:
  b:
    size: 5B  # f:12
  "c d": off  # f:12
list:
  - size: 1B  # f:13
  - size: 1KiB  # default
  - "x"  # f:13
lists:
  - - a  # f:14
    - b  # f:14
  - []  # f:14
  - - - c  # f:14
map:
  k: "v"  # f:15
  "1": "2"  # f:15
  "off": null  # f:15
  a:b: /c  # f:15
raw:
  p:
    token: "***"  # f:16
    deep:
      - 1  # f:16
      - a: b  # f:16
    none: {}  # f:16
  q: off  # f:16
blank: ""  # f:17
enum: 2  # default
`
	var r setting.Report
	n := setting.Parse("f", []byte(strings.TrimSuffix(in, "\n")), &r)
	secret := n.Get("raw").Get("p").Get("token").At
	got := setting.Show(n, reflect.TypeFor[*shown](), setting.ShowOptions{Origin: true, IsSecret: func(p setting.Position) bool { return p == secret }})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	var again setting.Report
	if setting.Parse("g", []byte(got), &again); again.Failed() {
		t.Errorf("what is shown can't be parsed: %v", again.Err())
	}
	if got := setting.Show(nil, reflect.TypeFor[inner](), setting.ShowOptions{}); got != "level: low\n" {
		t.Errorf("nothing is shown as %q", got)
	}
}

// same says that two trees hold the same.
func same(a, b *setting.Node) bool {
	if a == nil || b == nil || a.Kind != b.Kind || a.Text != b.Text || len(a.Items) != len(b.Items) || len(a.Entries) != len(b.Entries) || a.IsOff() != b.IsOff() {
		return false
	}
	for i := range a.Items {
		if !same(a.Items[i], b.Items[i]) {
			return false
		}
	}
	for i := range a.Entries {
		if a.Entries[i].Key != b.Entries[i].Key || !same(a.Entries[i].Value, b.Entries[i].Value) {
			return false
		}
	}
	return true
}

// TestShowIsYAML prints arbitrary trees and reads them again.
func TestShowIsYAML(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		"", "off", "null", "~", "true", "5", "1e3", "- a", "a: b", "#", "a #b", "[", "{", "*a", "&a", "!a", "|", ">", "%", "@", "`", "'", `"`, `\`, "\n", "a\nb\n", "\u0085", "\u2028", "\ufeff", "?", "<<", "---", "${A}", "$${", " a ", "é", "\x7f",
	})).Filter(func(s string) bool { return !strings.Contains(s, "\x00") })
	var tree func(depth int) *rapid.Generator[*setting.Node]
	tree = func(depth int) *rapid.Generator[*setting.Node] {
		return rapid.Custom(func(t *rapid.T) *setting.Node {
			kind := setting.Kind(rapid.IntRange(1, 3).Draw(t, "kind"))
			if depth == 0 {
				kind = setting.Scalar
			}
			n := &setting.Node{Kind: kind}
			switch kind {
			case setting.Scalar:
				n.Text, n.Quoted = text.Draw(t, "text"), true
			case setting.List:
				n.Items = rapid.SliceOfN(tree(depth-1), 0, 3).Draw(t, "items")
			case setting.Map:
				for _, key := range rapid.SliceOfNDistinct(text, 0, 3, rapid.ID).Draw(t, "keys") {
					if key != "" {
						n.Append(setting.Entry{Key: key, Value: tree(depth-1).Draw(t, "value")})
					}
				}
			}
			return n
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		n := (&setting.Node{Kind: setting.Map}).With("root", tree(3).Draw(t, "tree"))
		printed := setting.Show(n, reflect.TypeFor[*setting.Node](), setting.ShowOptions{})
		var r setting.Report
		got := setting.Parse("f", []byte(printed), &r)
		setting.Expand(got, setting.Variables{}, &r)
		if r.Failed() || !same(n, got) {
			t.Fatalf("%v\nprinted:\n%s\nread:\n%s", r.Err(), printed, dump(got))
		}
	})
}

func TestSchema(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(setting.Schema(reflect.TypeFor[shown]()))
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(got, &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$schema"] != setting.SchemaDialect || schema["additionalProperties"] != false || schema["type"] != "object" {
		t.Errorf("schema is %s", got)
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		t.Fatal("no properties")
	}
	const off = `{"$ref":"#/$defs/off"}`
	const expression = `{"$ref":"#/$defs/expression"}`
	for key, want := range map[string]string{
		"text":        `{"anyOf":[{"minLength":1,"type":"string"},` + off + `],"default":"a b","description":"A text."}`,
		"number":      `{"anyOf":[{"anyOf":[{"maximum":9,"minimum":1,"type":"integer"},` + expression + `]},` + off + `],"default":5,"description":"Range: 1 to 9."}`,
		"ratio":       `{"anyOf":[{"anyOf":[{"minimum":0.5,"type":"number"},` + expression + `]},` + off + `],"default":0.5,"description":"Range: at least 0.5."}`,
		"flag":        `{"anyOf":[{"anyOf":[{"enum":[true,false,"on","off"]},` + expression + `]},` + off + `],"default":true}`,
		"wait":        `{"anyOf":[{"pattern":"^([0-9]+(\\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|\\$\\{","type":"string"},` + off + `],"default":"off"}`,
		"size":        `{"anyOf":[{"anyOf":[{"pattern":"^[0-9]+(B|KiB|MiB|GiB|TiB)$|\\$\\{","type":"string"},{"enum":["unlimited"]}]},` + off + `]}`,
		"secret":      `{"anyOf":[{"minLength":1,"type":"string","writeOnly":true},` + off + `],"description":"Never shown."}`,
		"secret_file": `{"description":"File that holds secret; read again on reload.","minLength":1,"type":"string"}`,
		"words":       `{"anyOf":[{"anyOf":[{"items":{"anyOf":[{"enum":["a","b","c"]},` + expression + `]},"type":"array"},{"description":"The same list, separated by commas.","minLength":1,"type":"string"}]},` + off + `],"default":["a","b"]}`,
		"codes":       `{"anyOf":[{"anyOf":[{"items":{"anyOf":[{"type":"integer"},` + expression + `]},"type":"array"},{"description":"The same list, separated by commas.","minLength":1,"type":"string"}]},` + off + `],"default":[1,2]}`,
		"color":       `{"anyOf":[{"type":["string","number"]},` + off + `]}`,
		"form":        `{"anyOf":[{"type":["string","array"]},` + off + `]}`,
		"inner":       `{"anyOf":[{"additionalProperties":false,"properties":{"level":{"anyOf":[{"anyOf":[{"enum":["low","high"]},` + expression + `]},` + off + `],"default":"low"}},"type":"object"},` + off + `]}`,
		"list":        `{"anyOf":[{"items":{"additionalProperties":false,"properties":{"size":{"anyOf":[{"pattern":"^[0-9]+(B|KiB|MiB|GiB|TiB)$|\\$\\{","type":"string"},` + off + `],"default":"1KiB"}},"type":"object"},"type":"array"},` + off + `]}`,
		"map":         `{"anyOf":[{"additionalProperties":{"anyOf":[{"minLength":1,"type":"string"},` + off + `]},"type":"object"},` + off + `]}`,
		"raw":         `{"anyOf":[{"additionalProperties":{"anyOf":[{"type":["object","array","string","number","boolean"]},` + off + `]},"type":"object"},` + off + `]}`,
		"off":         `{"anyOf":[{"anyOf":[{"enum":[true,false,"on","off"]},` + expression + `]},` + off + `]}`,
		"blank":       `{"anyOf":[{"type":"string"},` + off + `]}`,
		"enum":        `{"anyOf":[{"anyOf":[{"enum":[1,2]},` + expression + `]},` + off + `],"default":2}`,
	} {
		fragment, err := json.Marshal(properties[key])
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(fragment, &a) != nil || json.Unmarshal([]byte(want), &b) != nil {
			t.Fatalf("%s: not JSON: %s", key, want)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	if fragment := setting.SchemaOf[inner](); fragment["$defs"] != nil || fragment["type"] != "object" {
		t.Errorf("a fragment is no part: %v", fragment)
	}
	defer func() {
		if recover() == nil {
			t.Error("a type without a schema does not panic")
		}
	}()
	setting.Schema(reflect.TypeFor[[3]int]())
}
