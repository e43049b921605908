package auth

import (
	"encoding/json"
	"strconv"
)

// condition is one claim with the values that will do.
type condition struct {
	steps  []string
	values []string
}

// holds says whether the claims meet the condition: the claim is one of the values,
// or a list that has one of them. Numbers and booleans are compared as they are
// written.
func (c *condition) holds(claims map[string]any) bool {
	var at any = claims
	for _, step := range c.steps {
		switch v := at.(type) {
		case map[string]any:
			at = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) || strconv.Itoa(i) != step {
				return false
			}
			at = v[i]
		default:
			return false
		}
	}
	list, isList := at.([]any)
	if !isList {
		return c.has(at)
	}
	for _, item := range list {
		if c.has(item) {
			return true
		}
	}
	return false
}

// has says whether one value will do.
func (c *condition) has(v any) bool {
	for _, want := range c.values {
		var room [32]byte
		same := false
		switch v := v.(type) {
		case string:
			same = v == want
		case json.Number:
			same = string(v) == want
		case float64:
			same = string(strconv.AppendFloat(room[:0], v, 'f', -1, 64)) == want
		case int64:
			same = string(strconv.AppendInt(room[:0], v, 10)) == want
		case bool:
			same = strconv.FormatBool(v) == want
		}
		if same {
			return true
		}
	}
	return false
}
