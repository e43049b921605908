package principal

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// Claim is one claim with the values that will do. It is immutable.
type Claim struct {
	pointer string
	steps   []string
	values  []string
}

// ParseClaim returns the condition that the claim which pointer, a JSON pointer
// (RFC 6901) to something below the root, leads to has one of values. The error says
// what is wrong with the pointer.
func ParseClaim(pointer string, values []string) (Claim, error) {
	if !strings.HasPrefix(pointer, "/") {
		return Claim{}, errors.New("it begins with no /")
	}
	steps := strings.Split(pointer[1:], "/")
	for i, step := range steps {
		for rest := step; ; {
			_, after, found := strings.Cut(rest, "~")
			if !found {
				break
			}
			if !strings.HasPrefix(after, "0") && !strings.HasPrefix(after, "1") {
				return Claim{}, errors.New("~ is written ~0, and / within a name ~1")
			}
			rest = after
		}
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
	}
	return Claim{pointer, steps, values}, nil
}

// String is the pointer with the values that will do.
func (c *Claim) String() string { return c.pointer + " = " + strings.Join(c.values, " or ") }

// Holds says whether the claims meet the condition: the claim is one of the values,
// or a list that has one of them. Numbers and booleans are compared as they are
// written.
func (c *Claim) Holds(claims map[string]any) bool {
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
func (c *Claim) has(v any) bool {
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
