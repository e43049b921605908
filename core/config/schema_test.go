package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/setting"
)

// schema returns the parsed schema of the language with the corpus's plugins.
func schema(t testing.TB) map[string]any {
	t.Helper()
	plugins := make(map[string]map[string]any)
	for name, options := range pluginTypes {
		plugins[name] = setting.Schema(options)
	}
	text, err := config.Schema(plugins)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// validator checks values against the keywords of JSON Schema 2020-12 that our
// schema uses, and refuses any other keyword.
type validator struct{ root map[string]any }

// validate returns what is wrong with v, or nil.
func (c validator) validate(s map[string]any, v any, path string) error {
	for keyword, want := range s {
		if err := c.keyword(keyword, want, s, v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		return c.object(s, v, path)
	case []any:
		items, ok := s["items"].(map[string]any)
		for i, item := range v {
			if !ok {
				break
			}
			if err := c.validate(items, item, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c validator) keyword(keyword string, want any, s map[string]any, v any) error {
	text, isText := v.(string)
	number, isNumber := v.(float64)
	switch keyword {
	case "$schema", "$defs", "title", "description", "default", "writeOnly", "properties", "patternProperties", "additionalProperties", "items":
	case "$ref":
		definition, ok := c.root["$defs"].(map[string]any)[strings.TrimPrefix(want.(string), "#/$defs/")].(map[string]any)
		if !ok {
			return fmt.Errorf("unknown reference %v", want)
		}
		return c.validate(definition, v, want.(string))
	case "anyOf":
		var errs []string
		for _, form := range want.([]any) {
			err := c.validate(form.(map[string]any), v, "")
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fmt.Errorf("no form fits: %s", strings.Join(errs, "; "))
	case "type":
		if !slices.ContainsFunc(list(want), func(t any) bool { return hasType(t.(string), v) }) {
			return fmt.Errorf("%v is no %v", v, want)
		}
	case "enum":
		if !slices.Contains(list(want), v) {
			return fmt.Errorf("%v is none of %v", v, want)
		}
	case "pattern":
		if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
			return fmt.Errorf("%q does not match %s", text, want)
		}
	case "minLength":
		if isText && len(text) < int(want.(float64)) {
			return fmt.Errorf("%q is too short", text)
		}
	case "minimum":
		if isNumber && number < want.(float64) {
			return fmt.Errorf("%v is below %v", v, want)
		}
	case "maximum":
		if isNumber && number > want.(float64) {
			return fmt.Errorf("%v is above %v", v, want)
		}
	default:
		return fmt.Errorf("unknown keyword %s in %v", keyword, s)
	}
	return nil
}

func (c validator) object(s map[string]any, v map[string]any, path string) error {
	properties, _ := s["properties"].(map[string]any)
	patterns, _ := s["patternProperties"].(map[string]any)
	for key, value := range v {
		var known []map[string]any
		if p, ok := properties[key].(map[string]any); ok {
			known = append(known, p)
		}
		for pattern, p := range patterns {
			if regexp.MustCompile(pattern).MatchString(key) {
				known = append(known, p.(map[string]any))
			}
		}
		if len(known) == 0 {
			switch rest := s["additionalProperties"].(type) {
			case bool:
				return fmt.Errorf("%s: unknown key %s", path, key)
			case map[string]any:
				known = append(known, rest)
			}
		}
		for _, p := range known {
			if err := c.validate(p, value, path+"."+key); err != nil {
				return err
			}
		}
	}
	return nil
}

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func hasType(name string, v any) bool {
	switch name {
	case "integer":
		f, ok := v.(float64)
		return ok && f == float64(int64(f))
	case "number":
		return reflect.TypeOf(v) == reflect.TypeFor[float64]()
	case "string":
		return reflect.TypeOf(v) == reflect.TypeFor[string]()
	case "boolean":
		return reflect.TypeOf(v) == reflect.TypeFor[bool]()
	case "array":
		return reflect.TypeOf(v) == reflect.TypeFor[[]any]()
	case "object":
		return reflect.TypeOf(v) == reflect.TypeFor[map[string]any]()
	default:
		return false
	}
}

// asJSON reads YAML as editors do that check it against a schema.
func asJSON(t testing.TB, text string) any {
	t.Helper()
	encoded, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var v any
	if err := json.Unmarshal(encoded, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSchemaTakesGood checks all good files, and what Effective prints of them.
func TestSchemaTakesGood(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for _, name := range corpus(t, "good", 8) {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := (validator{s}).validate(s, asJSON(t, string(text)), name); err != nil {
			t.Error(err)
		}
		cfg, r, _ := load(t, name)
		if cfg == nil {
			t.Fatal(r.Err())
		}
		if printed := config.Effective(cfg, false); !strings.Contains(printed, setting.Masked) {
			if err := (validator{s}).validate(s, asJSON(t, printed), "printed "+name); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSchemaRefuses checks that the schema sees what needs no second file.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	s := schema(t)
	for _, text := range []string{
		"limts: {}", "limits: {uri: 8}", "limits: {headers: 0}", "limits: {headers: 1.5}", "limits: {body: lots}", "limits: {connections: '5'}",
		"services: {a: {balance: best}}", "services: {a: {endpoints: [{url: x, wieght: 1}]}}", "services: {a: {endpoints: x}}",
		"routes: {a: {priority: high}}", "routes: {a: {redirect: {to: /a, status: 304}}}", "routes: {a: {plugins: {auth: {}}}}",
		"routes: {a: {plugins: {access_log: {slow: 1}}}}", "routes: {a: {plugins: {security_headers: {frame: none}}}}",
		"profiles: {p: {use: [a]}}", "defaults: {plugins: {access_log: {to: 5}}}", "telemetry: {log: {level: loud}}", "directory: ''",
		"routes: {a: {match: {headers: {X-A: {regx: a}}}}}", "trusted_proxies: [everybody]", "shutdown: {delay: 5}",
	} {
		if err := (validator{s}).validate(s, asJSON(t, text), ""); err == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}

// TestSchemaDescribes wants a description of every key.
func TestSchemaDescribes(t *testing.T) {
	t.Parallel()
	text, err := config.Schema(nil)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item, path)
			}
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for key, p := range properties {
					if d, ok := p.(map[string]any)["description"].(string); !ok || len(d) < 10 {
						t.Errorf("%s.%s has no description", path, key)
					}
					walk(p, path+"."+key)
				}
			}
			for key, value := range v {
				if key != "properties" {
					walk(value, path)
				}
			}
		}
	}
	var s map[string]any
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	walk(s, "")
}
