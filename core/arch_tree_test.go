package core_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/suuupra/gateway"

// rule is one check over a whole tree.
type rule struct {
	name  string
	check func(*tree)
}

// tree is the parsed source of a module, or of a planted one.
type tree struct {
	fset     *token.FileSet
	files    []*sourceFile
	rule     string // that runs now
	findings []finding
}

// sourceFile is one parsed file with its place in the module.
type sourceFile struct {
	path   string // slashes, from the module's root
	dir    string
	isTest bool // _test.go
	lines  int
	ast    *ast.File
}

// finding is one violation: where, which rule, and what to do.
type finding struct {
	path string
	line int
	rule string
	text string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.path, f.line, f.rule, f.text)
}

// load parses every Go file below root but those of testdata.
func load(t *testing.T, root string) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	fsys := os.DirFS(root)
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && (name == "testdata" || name == "bin" || len(name) > 1 && name[0] == '.') {
			return fs.SkipDir
		}
		if _, err := fs.Stat(fsys, path.Join(p, "go.mod")); d.IsDir() && p != "." && err == nil {
			return fs.SkipDir // a module of its own: the go command refuses it to ours
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		return tr.add(fsys, p)
	})
	if err != nil {
		t.Fatalf("reading %s: %v", root, err)
	}
	return tr
}

func (tr *tree) add(fsys fs.FS, p string) error {
	source, err := fs.ReadFile(fsys, p)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(tr.fset, p, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	tr.files = append(tr.files, &sourceFile{
		path: p, dir: path.Dir(p), isTest: strings.HasSuffix(p, "_test.go"),
		lines: tr.fset.File(parsed.Pos()).LineCount() - 1, ast: parsed,
	})
	return nil
}

// production returns the files that are part of the product or of the test
// support, by folder.
func (tr *tree) production() map[string][]*sourceFile {
	dirs := make(map[string][]*sourceFile)
	for _, f := range tr.files {
		if !f.isTest {
			dirs[f.dir] = append(dirs[f.dir], f)
		}
	}
	return dirs
}

func (tr *tree) line(p token.Pos) int { return tr.fset.Position(p).Line }

// report adds a violation at pos.
func (tr *tree) report(pos token.Pos, format string, args ...any) {
	at := tr.fset.Position(pos)
	tr.findings = append(tr.findings, finding{at.Filename, at.Line, tr.rule, fmt.Sprintf(format, args...)})
}

// run returns the violations of all rules, in the order of the files.
func (tr *tree) run() []finding {
	for _, r := range rules {
		tr.rule = r.name
		r.check(tr)
	}
	slices.SortStableFunc(tr.findings, func(a, b finding) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		return a.line - b.line
	})
	return tr.findings
}

// imports calls visit with each import of the file: its path, and where it is.
func (f *sourceFile) imports(visit func(imported string, pos token.Pos)) {
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			visit(p, spec.Pos())
		}
	}
}

// TestArchitecture holds the tree to its rules.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	for _, f := range load(t, "..").run() {
		t.Error(f)
	}
}

// TestLayersExist keeps the table of layers honest: a row about a package that
// is gone guards nothing.
func TestLayersExist(t *testing.T) {
	t.Parallel()
	for _, row := range layers {
		for _, dir := range row {
			if entries, err := os.ReadDir("../" + dir); err != nil || len(entries) == 0 {
				t.Errorf("the table of layers lists %s, which does not exist: %v", dir, err)
			}
		}
	}
}

// want finds the expectations of a planted file: `// want rule "text"`, on the
// line of the violation or, with @N, on line N.
var want = regexp.MustCompile(`// want(?:@(\d+))? ([a-z-]+) "([^"]+)"`)

// TestPlantedViolations shows that each rule reports what it forbids, at its
// line, and nothing beside it.
func TestPlantedViolations(t *testing.T) {
	t.Parallel()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			root := "testdata/bad/" + r.name
			expected := expectations(t, root)
			if !slices.ContainsFunc(expected, func(f finding) bool { return f.rule == r.name }) {
				t.Fatalf("%s holds no violation of %s", root, r.name)
			}
			for _, got := range load(t, root).run() {
				i := slices.IndexFunc(expected, func(w finding) bool {
					return w.path == got.path && w.line == got.line && w.rule == got.rule && strings.Contains(got.text, w.text)
				})
				if i < 0 {
					t.Errorf("not expected: %s", got)
					continue
				}
				expected = slices.Delete(expected, i, i+1)
			}
			for _, missed := range expected {
				t.Errorf("not reported: %s", missed)
			}
		})
	}
}

// expectations reads the want comments below root.
func expectations(t *testing.T, root string) []finding {
	t.Helper()
	var all []finding
	fsys := os.DirFS(root)
	for _, f := range load(t, root).files {
		source, err := fs.ReadFile(fsys, f.path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(source), "\n") {
			for _, m := range want.FindAllStringSubmatch(line, -1) {
				at := i + 1
				if m[1] != "" {
					at, _ = strconv.Atoi(m[1])
				}
				all = append(all, finding{f.path, at, m[2], m[3]})
			}
		}
	}
	return all
}
