package router

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestScanSegment: a segment ends where it should, and its hash does not depend on
// what stands around it.
func TestScanSegment(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SliceOfN(rapid.SampledFrom([]byte("a./0\x00\x80\xaf\xae\x2e\x30\xff")), 0, 40)
		before, after := piece.Draw(t, "before"), piece.Draw(t, "after")
		segment := bytes.ReplaceAll(piece.Draw(t, "segment"), []byte("/"), nil)
		if len(after) > 0 {
			after[0] = '/'
		}
		path := append(append(append([]byte{}, before...), segment...), after...)
		_, want := scanSegment(segment, 0)
		end, hash := scanSegment(path, len(before))
		if end != len(before)+len(segment) || hash != want {
			t.Fatalf("%q in %q: ends at %d with hash %x, want %d and %x", segment, path, end, hash, len(before)+len(segment), want)
		}
	})
}

// TestLiterals: the table finds what is in it and nothing else.
func TestLiterals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab0")), 0, 20, -1)
		texts := rapid.SliceOfDistinct(text, rapid.ID).Draw(t, "texts")
		ix := &index{nodes: make([]node, 1)}
		branches := map[string]*branch{}
		for i, s := range texts {
			branches[s] = &branch{end: []*rule{{entry: i}}}
		}
		table := ix.addLiterals(branches, 0)
		for _, s := range append(texts, rapid.SliceOf(text).Draw(t, "others")...) {
			_, hash := scanSegment([]byte(s), 0)
			n := ix.child(table, []byte(s), hash)
			b := branches[s]
			if (b != nil) != (n != 0) {
				t.Fatalf("%q of %q: node %d", s, texts, n)
			}
			if b != nil && ix.candidates[ix.nodes[n].end.first].entry != uint32(b.end[0].entry) {
				t.Fatalf("%q of %q leads elsewhere", s, texts)
			}
		}
	})
}
