package setting_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/setting"
)

// plain is a tree as Go values: maps, and texts for all else.
func plain(n *setting.Node) any {
	if n.Kind != setting.Map {
		return n.Text
	}
	out := make(map[string]any, len(n.Entries))
	for _, e := range n.Entries {
		out[e.Key] = plain(e.Value)
	}
	return out
}

// model is what Merge says of plain values.
func model(base, over any) any {
	b, baseIsMap := base.(map[string]any)
	o, overIsMap := over.(map[string]any)
	if !baseIsMap || !overIsMap {
		return over
	}
	out := make(map[string]any)
	for key, value := range b {
		out[key] = value
	}
	for key, value := range o {
		if below, ok := b[key]; ok {
			value = model(below, value)
		}
		out[key] = value
	}
	return out
}

// TestMerge compares Merge with a model, and says what it leaves alone.
func TestMerge(t *testing.T) {
	t.Parallel()
	key := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	var tree func(depth int) *rapid.Generator[*setting.Node]
	tree = func(depth int) *rapid.Generator[*setting.Node] {
		return rapid.Custom(func(t *rapid.T) *setting.Node {
			if depth == 0 || rapid.IntRange(0, 2).Draw(t, "scalar") == 0 {
				return &setting.Node{Kind: setting.Scalar, Text: rapid.SampledFrom([]string{"off", "1", "2"}).Draw(t, "text")}
			}
			n := &setting.Node{Kind: setting.Map}
			for _, k := range rapid.SliceOfNDistinct(key, 0, 4, rapid.ID).Draw(t, "keys") {
				n.Append(setting.Entry{Key: k, Value: tree(depth-1).Draw(t, "value")})
			}
			return n
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		base, over := tree(3).Draw(t, "base"), tree(3).Draw(t, "over")
		before, beforeOver := plain(base), plain(over)
		got := setting.Merge(base, over)
		if diff := cmp.Diff(model(before, beforeOver), plain(got)); diff != "" {
			t.Fatalf("merged (-want +got):\n%s", diff)
		}
		if !cmp.Equal(before, plain(base)) || !cmp.Equal(beforeOver, plain(over)) {
			t.Fatal("Merge changed its arguments")
		}
		if diff := cmp.Diff(plain(got), plain(setting.Merge(got, over))); diff != "" {
			t.Fatalf("laying the same over it twice changes it:\n%s", diff)
		}
		if got.Kind == setting.Scalar && got.IsOff() != (got.Removes && got.Text == "off") {
			t.Fatal("an off that takes another's place is not marked")
		}
	})
}
