package core_test

import (
	"go/ast"
	"go/token"
	"go/types"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// checkPackageDoc wants one package comment for each package.
func checkPackageDoc(tr *tree) {
	for dir, files := range tr.production() {
		var documented []*sourceFile
		for _, f := range files {
			if f.ast.Doc != nil {
				documented = append(documented, f)
			}
		}
		if len(documented) == 0 {
			tr.report(files[0].ast.Package, "package %s has no package comment; say in doc.go what it is for", dir)
		}
		for _, f := range documented[min(1, len(documented)):] {
			tr.report(f.ast.Package, "package %s has a second package comment (the first is in %s); join them", dir, documented[0].path)
		}
	}
}

// checkDocstrings wants a comment on everything exported.
func checkDocstrings(tr *tree) {
	for _, f := range tr.files {
		if f.isTest || f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
					tr.report(d.Pos(), "%s is exported and has no comment; say purpose, units, errors and concurrency", d.Name.Name)
				}
			case *ast.GenDecl:
				tr.checkSpecs(d)
			}
		}
	}
}

// checkSpecs looks at the types, constants and variables of one declaration; a
// comment on the declaration counts for all of it but types.
func (tr *tree) checkSpecs(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && (d.Doc == nil || len(d.Specs) > 1) {
				tr.report(spec.Pos(), "%s is exported and has no comment; say what it stands for and who may use it at once", spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
					tr.report(name.Pos(), "%s is exported and has no comment; say its meaning and unit", name.Name)
				}
			}
		}
	}
}

// receiver returns the type name of a method's receiver.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch u := t.(type) {
		case *ast.StarExpr:
			t = u.X
		case *ast.IndexExpr:
			t = u.X
		case *ast.IndexListExpr:
			t = u.X
		case *ast.Ident:
			return u.Name
		default:
			return ""
		}
	}
}

// checkSizes keeps files, functions, parameter lists and interfaces small.
func checkSizes(tr *tree) {
	for _, f := range tr.files {
		if f.isTest || testSupport(f.dir) || isTable(f) {
			continue
		}
		if f.lines > maxFileLines {
			tr.report(f.ast.Package, "%s has %d lines; at most %d: split it by what changes together", f.path, f.lines, maxFileLines)
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if lines := tr.line(n.End()) - tr.line(n.Pos()) + 1; lines > maxFuncLines && !returnsTable(n) {
					tr.report(n.Pos(), "%s has %d lines; at most %d: name its steps", n.Name.Name, lines, maxFuncLines)
				}
			case *ast.FuncType:
				if n.Params.NumFields() > maxParameters {
					tr.report(n.Pos(), "a function takes %d parameters; at most %d: group what belongs together", n.Params.NumFields(), maxParameters)
				}
			case *ast.InterfaceType:
				if n.Methods.NumFields() > maxMethods {
					tr.report(n.Pos(), "an interface has %d methods; at most %d: ask only for what this user needs", n.Methods.NumFields(), maxMethods)
				}
			}
			return true
		})
	}
}

// isTable says whether a file holds data: by its name, or because it declares
// no function.
func isTable(f *sourceFile) bool {
	base := f.path[strings.LastIndexByte(f.path, '/')+1:]
	if strings.Contains(base, "table") {
		return true
	}
	literals := 0
	for _, d := range f.ast.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok == token.TYPE {
			return false
		}
		for _, spec := range g.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				literals += len(v.Values)
			}
		}
	}
	return literals > 0
}

// returnsTable says whether a function does nothing but return a literal.
func returnsTable(d *ast.FuncDecl) bool {
	if d.Body == nil || len(d.Body.List) != 1 {
		return false
	}
	r, ok := d.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(r.Results) != 1 {
		return false
	}
	_, ok = r.Results[0].(*ast.CompositeLit)
	return ok
}

// checkNames refuses packages and types whose name says nothing.
func checkNames(tr *tree) {
	for _, f := range tr.files {
		if word := bannedIn(f.ast.Name.Name); word != "" {
			tr.report(f.ast.Name.Pos(), "package %s is named after %q, which says nothing; name it after what it holds", f.ast.Name.Name, word)
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if word := bannedIn(spec.Name.Name); word != "" {
					tr.report(spec.Pos(), "type %s is named after %q, which says nothing; name it after what it does", spec.Name.Name, word)
				}
			}
			return true
		})
	}
}

// bannedIn returns the banned word in an identifier, looked for word by word.
func bannedIn(name string) string {
	for _, word := range camelWords(name) {
		word = strings.ToLower(word)
		if slices.Contains(bannedWords, word) || slices.Contains(bannedWords, strings.TrimSuffix(word, "s")) {
			return word
		}
	}
	return ""
}

// camelWords splits "connHelper" and "conn_helper" into conn and helper.
func camelWords(name string) []string {
	var words []string
	start := 0
	for i, c := range name {
		if i > start && (c == '_' || unicode.IsUpper(c)) {
			words = append(words, strings.Trim(name[start:i], "_"))
			start = i
		}
	}
	return append(words, strings.Trim(name[start:], "_"))
}

// checkInit refuses init functions: what runs, and when, stands in plain calls.
func checkInit(tr *tree) {
	for _, f := range tr.files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				tr.report(fn.Pos(), "init runs behind the reader's back; call it where its result is needed")
			}
		}
	}
}

// loader is a function that loads the snapshot in force.
type loader struct {
	function string
	callers  []string // that may call it within core/gateway; nil: the walk itself
}

// loaders are the functions that may load the snapshot in force: a
// request that loads twice could see two configurations.
var loaders = []loader{
	{"enter", nil},
	{"Current", []string{"inFlight", "release", "renewPresented", "ServicesWell"}}, // and the views of operators
}

// checkSnapshotLoad keeps one load of the snapshot for each request.
func checkSnapshotLoad(tr *tree) {
	for _, f := range tr.files {
		if f.isTest {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				tr.checkLoader(f.dir, fn)
			}
		}
	}
}

func (tr *tree) checkLoader(dir string, fn *ast.FuncDecl) {
	ast.Inspect(fn, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		field, nested := s.X.(*ast.SelectorExpr)
		for _, l := range loaders {
			if dir == "core/gateway" && l.callers != nil && s.Sel.Name == l.function && !slices.Contains(l.callers, fn.Name.Name) {
				tr.report(s.Pos(), "%s calls %s, which is not for requests; take the snapshot that enter loaded", fn.Name.Name, l.function)
			}
		}
		if !nested || s.Sel.Name != "Load" || field.Sel.Name != "snap" {
			return true
		}
		mayLoad := slices.ContainsFunc(loaders, func(l loader) bool { return l.function == fn.Name.Name })
		switch {
		case dir != "core/gateway":
			tr.report(s.Pos(), "%s loads the snapshot; only core/gateway does: take it from the exchange", fn.Name.Name)
		case !mayLoad:
			tr.report(s.Pos(), "%s loads the snapshot; only enter does, once for each request: hand it down", fn.Name.Name)
		}
		return true
	})
}

// checkStatuses keeps every answer of the gateway's own in one shape: the one
// writer in core/fault sets statuses of 400 and above.
func checkStatuses(tr *tree) {
	for _, f := range tr.files {
		product := within(f.dir, "core") || within(f.dir, "plugins")
		if f.isTest || testSupport(f.dir) || f.dir == "core/fault" || !product {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			for _, arg := range call.Args {
				switch name := method.Sel.Name; name {
				case "SetStatusCode", "Error", "WriteHeader":
					if status := statusOf(arg); status >= 400 {
						tr.report(call.Pos(), "%s(%d): only core/fault answers 400 and above; return x.Fail(fault…)", name, status)
					}
				}
			}
			return true
		})
	}
}

// statusOf returns the status an expression spells, by number or by name; 0 if
// it is none.
func statusOf(e ast.Expr) int {
	switch e := e.(type) {
	case *ast.BasicLit:
		n, err := strconv.Atoi(e.Value)
		if err == nil && n < 600 {
			return n
		}
	case *ast.SelectorExpr:
		for status := 400; status < 600; status++ {
			letters := strings.Map(func(c rune) rune {
				if unicode.IsLetter(c) {
					return c
				}
				return -1
			}, http.StatusText(status))
			if letters != "" && e.Sel.Name == "Status"+letters {
				return status
			}
		}
	}
	return 0
}

// checkUnfinished refuses marks of work left over.
func checkUnfinished(tr *tree) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}
	for _, f := range tr.files {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				words := strings.FieldsFunc(c.Text, func(r rune) bool { return !unicode.IsLetter(r) })
				for _, mark := range marks {
					if slices.Contains(words, mark) {
						tr.report(c.Pos(), "%s marks work left over; finish it or open an issue", mark)
					}
				}
			}
		}
	}
}

// checkSkips refuses tests that may not run: what is missing is a failure.
func checkSkips(tr *tree) {
	for _, f := range tr.files {
		if !f.isTest && !testSupport(f.dir) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"Skip", "Skipf", "SkipNow", "Short"}, s.Sel.Name) {
					if x, ok := s.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "f", "tb", "testing"}, x.Name) {
						tr.report(call.Pos(), "%s.%s: a test that may skip guards nothing; make it run, or delete it", x.Name, s.Sel.Name)
					}
				}
			}
			return true
		})
	}
}

// mutableTypes change without an assignment.
var mutableTypes = []string{"sync", "atomic", "bytes.Buffer", "strings.Builder"}

// checkGlobals refuses variables of packages that change.
func checkGlobals(tr *tree) {
	for _, files := range tr.production() {
		for _, f := range files {
			for _, d := range f.ast.Decls {
				if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
					tr.checkGlobalTypes(g)
				}
			}
		}
		tr.checkAssignments(files)
	}
}

// checkGlobalTypes looks at what the variables are declared to be.
func (tr *tree) checkGlobalTypes(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		kinds := append([]ast.Expr{v.Type}, v.Values...)
		for _, kind := range kinds {
			if name := mutableKind(kind); name != "" && v.Names[0].Name != "_" {
				tr.report(v.Pos(), "%s is a %s for the whole program; put it into the value that uses it", v.Names[0].Name, name)
				break
			}
		}
	}
}

// mutableKind returns the name of a type, or of the type of a literal, that
// exists to be changed.
func mutableKind(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.CompositeLit:
		return mutableKind(e.Type)
	case *ast.UnaryExpr:
		return mutableKind(e.X)
	case *ast.StarExpr:
		return mutableKind(e.X)
	case *ast.IndexExpr:
		return mutableKind(e.X)
	case *ast.ArrayType:
		return mutableKind(e.Elt)
	case *ast.ChanType:
		return "channel"
	case *ast.CallExpr:
		name, ok := e.Fun.(*ast.Ident)
		if ok && (name.Name == "make" || name.Name == "new") && len(e.Args) > 0 {
			if _, isMap := e.Args[0].(*ast.MapType); isMap {
				return "map to be filled"
			}
			return mutableKind(e.Args[0])
		}
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			if slices.Contains(mutableTypes, x.Name) || slices.Contains(mutableTypes, x.Name+"."+e.Sel.Name) {
				return x.Name + "." + e.Sel.Name
			}
		}
	}
	return ""
}

// checkAssignments looks for writes to the variables of this or another package.
func (tr *tree) checkAssignments(files []*sourceFile) {
	info := resolve(tr.fset, files)
	written := func(target ast.Expr) {
		if name := globalIn(target, info); name != "" {
			tr.report(target.Pos(), "%s is written; a variable of a package never changes: put it into the value that uses it", name)
		}
	}
	for _, f := range files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, target := range n.Lhs {
					written(target)
				}
			case *ast.IncDecStmt:
				written(n.X)
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					written(n.Key)
					if n.Value != nil {
						written(n.Value)
					}
				}
			case *ast.CallExpr:
				if name, ok := n.Fun.(*ast.Ident); ok && slices.Contains([]string{"delete", "clear", "copy"}, name.Name) && len(n.Args) > 0 {
					written(n.Args[0])
				}
			}
			return true
		})
	}
}

// globalIn returns the variable of a package that target is, or is a part of.
func globalIn(target ast.Expr, info *types.Info) string {
	for {
		switch e := target.(type) {
		case *ast.ParenExpr:
			target = e.X
		case *ast.IndexExpr:
			target = e.X
		case *ast.SliceExpr:
			target = e.X
		case *ast.StarExpr:
			target = e.X
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok {
				if _, imported := info.Uses[x].(*types.PkgName); imported {
					return x.Name + "." + e.Sel.Name
				}
			}
			target = e.X
		case *ast.Ident:
			v, ok := info.Uses[e].(*types.Var)
			if ok && v.Parent() != nil && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return e.Name
			}
			return ""
		default:
			return ""
		}
	}
}

// resolve tells local names from those of the package. Types of imported
// packages are not needed for that, so imports are left unresolved and the
// errors that follow from it are of no interest.
func resolve(fset *token.FileSet, files []*sourceFile) *types.Info {
	parsed := make([]*ast.File, len(files))
	for i, f := range files {
		parsed[i] = f.ast
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	conf := types.Config{Importer: noImporter{}, Error: func(error) {}, FakeImportC: true}
	_, _ = conf.Check(files[0].dir, fset, parsed, info)
	return info
}

// noImporter finds no package.
type noImporter struct{}

func (noImporter) Import(path string) (*types.Package, error) {
	return nil, &unresolved{path}
}

type unresolved struct{ path string }

func (u *unresolved) Error() string { return "left unresolved: " + u.path }
