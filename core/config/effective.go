package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/suuupra/gateway/core/setting"
)

// Effective prints the configuration in force as YAML: merged, with every
// default, and with what routes take from defaults, profiles and services. Secrets
// and scalars that hold environment variables read "***" (SECURITY C11). With
// origin, comments say where each value was written. What is not masked loads to
// the same Config.
func Effective(cfg *Config, origin bool) string {
	return setting.Show(cfg.tree, reflect.TypeFor[Config](), setting.ShowOptions{Origin: origin, IsSecret: cfg.secrets})
}

// Hash tells configurations apart by what Effective prints, in 64 hexadecimal digits. A
// changed secret does not change it.
func Hash(cfg *Config) string {
	hash := sha256.New()
	// A hash takes everything.
	setting.ShowTo(cfg.tree, reflect.TypeFor[Config](), setting.ShowOptions{IsSecret: cfg.secrets}, func(text []byte) { _, _ = hash.Write(text) })
	return hex.EncodeToString(hash.Sum(nil))
}

// Schema returns the JSON Schema 2020-12 of a file, indented. plugins holds the
// schema of each plugin's options by name, as setting.Schema returns it.
func Schema(plugins map[string]map[string]any) ([]byte, error) {
	schema := setting.Schema(reflect.TypeFor[document]())
	schema["title"] = "Suuupra Gateway"
	schema["patternProperties"] = map[string]any{"^x-": map[string]any{"description": "Ignored: a home for anchors."}}
	properties := make(map[string]any, len(plugins))
	for name, options := range plugins {
		fragment := make(map[string]any, len(options))
		for key, value := range options {
			if key != "$schema" && key != "$defs" {
				fragment[key] = value
			}
		}
		properties[name] = map[string]any{"anyOf": []any{fragment, map[string]any{"$ref": "#/$defs/off"}}}
	}
	definitions, ok := schema["$defs"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("writing the schema: it has no $defs")
	}
	definitions["plugins"] = map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	setPlugins(schema)
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// setPlugins makes every property named plugins refer to the plugins' own schemas.
func setPlugins(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			setPlugins(item)
		}
	case map[string]any:
		for key, value := range v {
			if properties, ok := value.(map[string]any); ok && key == "properties" && properties["plugins"] != nil {
				properties["plugins"] = map[string]any{
					"description": "Plugins by name, with their options; off takes one out.",
					"anyOf":       []any{map[string]any{"$ref": "#/$defs/plugins"}, map[string]any{"$ref": "#/$defs/off"}},
				}
			}
			if key != "$defs" {
				setPlugins(value)
			}
		}
	}
}
