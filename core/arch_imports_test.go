package core_test

import (
	"go/token"
	"slices"
	"strings"
)

// within says whether dir is the folder root or below it.
func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+"/")
}

// rowOf returns the row of the package in dir and the entry that says so; -1
// when no row lists it.
func rowOf(dir string) (row int, entry string) {
	row = -1
	for i, packages := range layers {
		for _, p := range packages {
			if within(dir, p) && len(p) > len(entry) {
				row, entry = i, p
			}
		}
	}
	return row, entry
}

// checkLayers holds imports within the module to the table of layers.
func checkLayers(tr *tree) {
	for dir, files := range tr.production() {
		if testSupport(dir) || within(dir, "cmd") {
			continue
		}
		row, _ := rowOf(dir)
		if row < 0 && dir != "core" && !within(dir, "plugins") && within(dir, "core") {
			tr.report(files[0].ast.Package, "%s stands in no row; add it to the table of layers in core/arch_test.go", dir)
			continue
		}
		for _, f := range files {
			f.imports(func(imported string, pos token.Pos) {
				if rest, ok := strings.CutPrefix(imported, module+"/"); ok && !testSupport(rest) {
					tr.checkImport(dir, rest, pos)
				}
			})
		}
	}
}

// checkImport judges one import between two folders of the module.
func (tr *tree) checkImport(importer, imported string, pos token.Pos) {
	if within(importer, "plugins") {
		tr.checkPluginImport(importer, imported, pos)
		return
	}
	row, from := rowOf(importer)
	other, to := rowOf(imported)
	for _, n := range narrowed {
		if n.importer == from && to != from && !slices.Contains(n.only, to) {
			tr.report(pos, "%s imports %s; it may only import %s, because %s", importer, imported, strings.Join(n.only, ", "), n.why)
			return
		}
	}
	wanted := slices.ContainsFunc(inRow, func(w struct{ importer, imported, why string }) bool {
		return w.importer == from && w.imported == to
	})
	switch {
	case wanted, from == to, other >= 0 && other < row:
	case within(importer, "bench") && other >= 0 && other <= benchRow:
	case other == row:
		tr.report(pos, "%s (row %d) imports %s of its own row; let the user of the need own a small interface, and cmd join them", importer, row, imported)
	default:
		tr.report(pos, "%s (row %d) imports %s (row %d); a package imports only lower rows: move the code down, or take what you need as a parameter", importer, row, imported, other)
	}
}

// checkPluginImport judges one import of a folder below plugins.
func (tr *tree) checkPluginImport(importer, imported string, pos token.Pos) {
	if row, _ := rowOf(imported); row >= 0 && row <= pluginsRow && !isDriver(imported) || importer == "plugins" {
		return
	}
	if within(imported, "plugins") {
		tr.report(pos, "%s imports %s; plugins never import each other: what two of them need lives in core", importer, imported)
		return
	}
	tr.report(pos, "%s imports %s; plugins import rows 0–%d of core alone: take what you need from plugin.Deps", importer, imported, pluginsRow)
}

// isDriver says whether dir speaks to a server of another kind for a domain.
func isDriver(dir string) bool { return within(dir, "core/store") || within(dir, "core/discovery") }

// checkReserved holds imports that only some packages may have to these.
func checkReserved(tr *tree) {
	for dir, files := range tr.production() {
		if testSupport(dir) {
			continue
		}
		for _, f := range files {
			f.imports(func(imported string, pos token.Pos) {
				for _, r := range reserved {
					allowed := slices.ContainsFunc(r.only, func(root string) bool { return within(dir, root) })
					if within(imported, r.imported) && !allowed {
						tr.report(pos, "%s imports %s; only %s may: %s", dir, imported, orNobody(r.only), r.why)
					}
				}
			})
		}
	}
}

func orNobody(dirs []string) string {
	if len(dirs) == 0 {
		return "tests"
	}
	return strings.Join(dirs, " and ")
}

// checkTestImports keeps test support out of the product.
func checkTestImports(tr *tree) {
	for dir, files := range tr.production() {
		if testSupport(dir) {
			continue
		}
		for _, f := range files {
			f.imports(func(imported string, pos token.Pos) {
				if rest, ok := strings.CutPrefix(imported, module+"/"); ok && testSupport(rest) {
					tr.report(pos, "%s imports %s, which serves tests alone; move what you need out of it", dir, imported)
				}
			})
		}
	}
}
