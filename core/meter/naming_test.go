package meter

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// kinds are the methods that make a metric, by what they make.
var kinds = map[string]string{
	"Counter": kindCounter, "CounterFunc": kindCounter, "Gauge": kindGauge, "Histogram": kindHistogram,
}

// misnamed reports the metrics of one file that break the rules of names: what Set
// checks, and beyond it the prefix, and a help that is a sentence.
func misnamed(files *token.FileSet, file *ast.File) (problems []string, met int) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		name, help := text(call.Args[0]), text(call.Args[1])
		if name == "" {
			return true
		}
		kind := ""
		if method, ok := call.Fun.(*ast.SelectorExpr); ok {
			kind = kinds[method.Sel.Name]
		}
		if kind == "" && (!strings.HasPrefix(name, "gateway_") || !strings.Contains(help, " ")) {
			return true // not a metric; a call through a function of its own is known by both
		}
		if kind == "" {
			kind = kindGauge
			if strings.HasSuffix(name, "_total") {
				kind = kindCounter
			}
		}
		met++
		report := func(what string) {
			problems = append(problems, fmt.Sprintf("%s: %s %s", files.Position(call.Pos()), name, what))
		}
		if wrong := wrongName(name, kind); wrong != "" {
			report(wrong)
		}
		if !strings.HasPrefix(name, "gateway_") {
			report("does not start with gateway_")
		}
		if _, literal := call.Args[1].(*ast.BasicLit); literal && (!strings.HasSuffix(help, ".") || strings.Contains(help, "\n")) {
			report("has a help that is no sentence")
		}
		return true
	})
	return problems, met
}

// text returns the value of a string literal, "" for anything else.
func text(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil {
		return ""
	}
	return s
}

// TestMetricNames holds every metric that this module makes to the rules.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	met, files := 0, token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || (strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2)) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		problems, n := misnamed(files, file)
		for _, p := range problems {
			t.Error(p)
		}
		met += n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if met < 10 {
		t.Errorf("%d metrics were found; the search is broken", met)
	}
}

// The check above reports what it must, and lets the rest pass.
func TestMisnamedReports(t *testing.T) {
	t.Parallel()
	const source = `package bad
func f() {
	s.Counter("gateway_good_total", "Good.")
	s.Counter("gateway_tries", "Tries.")
	s.Gauge("heat", "Heat.", nil)
	s.Histogram("gateway_wait", "Waits.", nil)
	s.Gauge("gateway_cold", "cold", nil)
	s.Counter("gateway_help_total", help)
	count("gateway_Own", "Of a function.", nil)
	strings.Cut("gateway_good", ",")
	f("a", "b c")
	f(1, 2)
}`
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "bad.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, met := misnamed(files, file)
	want := []string{
		"bad.go:4:2: gateway_tries ends in _total and is no counter, or the reverse",
		"bad.go:5:2: heat does not start with gateway_",
		"bad.go:6:2: gateway_wait is a histogram of durations, and does not end in _seconds",
		"bad.go:7:2: gateway_cold has a help that is no sentence",
		"bad.go:9:2: gateway_Own is not lower-case words joined by _",
	}
	if !slices.Equal(got, want) || met != 7 {
		t.Errorf("%d metrics,\n%s\nwant\n%s", met, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every registered status has a label of its own, and the table has no twins.
func TestStatusNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i, name := range statusNames {
		if seen[name] {
			t.Errorf("%s stands twice", name)
		}
		seen[name] = true
		if status, err := strconv.Atoi(name); err == nil && int(statusIndex(status)) != i {
			t.Errorf("%d is at %d, want %d", status, statusIndex(status), i)
		}
	}
	for status, want := range map[int]string{
		-1: "other", 0: "other", 99: "other", 100: "100", 199: "1xx", 200: "200", 299: "2xx", 350: "3xx", 430: "4xx",
		499: "499", 599: "5xx", 600: "other", 1 << 40: "other",
	} {
		if got := statusNames[statusIndex(status)]; got != want {
			t.Errorf("%d is %q, want %q", status, got, want)
		}
	}
}
