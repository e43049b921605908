package setting

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// outcome is what Parse makes of text when long maps are cut after so many keys.
func outcome(text string, keys int) (n *Node, problems []Problem) {
	var r Report
	defer func() {
		if p := recover(); p != nil {
			n, problems = nil, []Problem{{Text: fmt.Sprint(p)}} // parseBytes makes an error of it
		}
	}()
	file, err := parseInPieces(text, keys)
	if err != nil {
		return nil, []Problem{syntaxProblem("f", err)}
	}
	c := converter{source: "f", r: &r, anchors: make(map[string]*Node)}
	n = c.file(file)
	return n, r.Problems()
}

// samePieces wants the same tree, with the same places and problems, however text is cut.
func samePieces(t *testing.T, text string) {
	t.Helper()
	want, problems := outcome(text, 1<<30)
	for keys := 1; keys <= 3; keys++ {
		got, gotProblems := outcome(text, keys)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Node{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q in pieces of %d keys (-whole +pieces):\n%s", text, keys, diff)
		}
		if diff := cmp.Diff(problems, gotProblems); diff != "" {
			t.Fatalf("problems of %q in pieces of %d keys (-whole +pieces):\n%s", text, keys, diff)
		}
	}
}

var pieceSeeds = []string{
	"", "a: 1", "a: 1\nb: 2\nc: 3\n", "a:\n  b: 1\n  c: 2\n  d: 3\ne: {f: 1,\ng: 2}\nh: [1,\n2]\n",
	"a:\n  b: 1\n  c:\n  d:\ne:\nf: 5\n", "a: &x\n  b: 1\n  c: *y\n  d: 2\ne: *x\nf:\n  <<: *x\n  g: 1\n",
	"- a: 1\n  b: 2\n  c: 3\n- d: 1\n  e: 2\n", "a:\n- b: 1\n  c: 2\n- d: 1\n  e: 2\nf: 1\ng: 2\n",
	"a: |\n  b: 1\n  c: 2\nd: >-\n  e\n\n  f\ng: 'x\n  y'\nh: x\n  y\ni: 1\n", "a:\n  b: 1\n c: 2\n d: 3\n", "a:\n    b: 1\n    c: 2\n  d: 3\n  e: 4\n",
	"a: 1\n# x\nb: 2 # y\n\nc: 3\n# z\n", "a: 1\nb: [\nc: 2\nd: 3\n", "a: 1\n? b\n: c\nd: 2\ne: 3\n", "a: 1\n---\nb: 1\nc: 2\n", "---\na: 1\nb: 2\n", "a: 1\nb: 1\na: 2\nc: 1\nc: 2\n",
	"a: !t\n  b: 1\n  c: 1\nd: !t\ne: 1\n", "a: 1\n'b': 2\n\"c\": 3\n4: 4\ntrue: 5\n~: 6\n", "a: b: c\nd: 1\ne: 2\n", "a: 1\nb\nc: 2\nd: 3\n", "a: 1\n b: 2\nc: 3\n", "a:\tb\nc: 1\nd: 2\n",
	"a: 1\nb: &x\nc: 2\nd: 3\n", "a: 1\n&x b: 2\nc: *x\n", "a: 1\r\nb: 2\r\nc: 3\r\n", "a:\n  b:\n    c: 1\n    d: 2\n    e: 3\n  f: 4\ng: 5\n", "{a: 1}\nb: 2\nc: 3\n", "a:\n-\nb: 0\na:", "a:\n  b: 0\n  c: 0\n  d: 0\n:{: !\na: 0\na: 00", "a: 1\nb: 2}\nc: 3\n",
}

// TestPieces cuts documents of every kind, and the corpora of whole files.
func TestPieces(t *testing.T) {
	t.Parallel()
	for _, text := range pieceSeeds {
		samePieces(t, text)
	}
	files, err := filepath.Glob("../config/testdata/*/*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) < 1<<16 && invalidUTF8(text) < 0 && tooDeep(text) == 0 {
			samePieces(t, string(text))
		}
	}
}

// FuzzPieces looks for a document that means something else when it is cut.
func FuzzPieces(f *testing.F) {
	for _, seed := range pieceSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if invalidUTF8([]byte(text)) < 0 && tooDeep([]byte(text)) == 0 {
			samePieces(t, text)
		}
	})
}

// TestPiecesAreCut says that long maps really are cut, in the middle of a document
// and beneath an anchor.
func TestPiecesAreCut(t *testing.T) {
	t.Parallel()
	text := "a: 1\nb: &x\n" + strings.Repeat("  c: {d: [1]}\n", 1000) + "e: 2\n"
	tokens := lexer.Tokenize(text)
	cuts := cutsOf(tokens, pieceKeys)
	if len(cuts) != 1000/pieceKeys+1 { // and before e
		t.Fatalf("cut %d times", len(cuts))
	}
	file := parseCut(tokens, cuts)
	if file == nil {
		t.Fatal("the pieces were not joined")
	}
	root := file.Docs[0].Body.(*ast.MappingNode)
	if n := len(root.Values[1].Value.(*ast.AnchorNode).Value.(*ast.MappingNode).Values); n != 1000 || len(root.Values) != 3 {
		t.Errorf("got %d keys of %d", n, len(root.Values))
	}
}
