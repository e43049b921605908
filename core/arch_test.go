package core_test

import (
	"slices"
	"strings"
)

// What may import what, as data. A package imports only packages of rows above
// its own in this table (lower in the design's counting), never of its own row.
// A package in a folder below one that is listed belongs to that one's row.
var layers = [][]string{
	0: {"core/fault", "core/clock", "core/setting", "core/meter", "core/clientip", "core/wire", "core/socket", "core/certificate", "core/principal", "core/background", "core/hashing", "migrations"},
	1: {"core/router", "core/upstream", "core/pipeline", "core/tunnel", "core/token", "core/revocation", "core/apikey", "core/account", "core/session", "core/ticket", "core/limit"},
	2: {"core/plugin", "core/proxy", "core/listen", "core/login", "core/store", "core/discovery"},
	3: {"core/config"},
	4: {"core/snapshot"},
	5: {"core/admin", "core/gateway"},
}

// pluginsRow is the last row that plugins may import.
const pluginsRow = 2

// benchRow is the last row that programs below bench may import: they make the
// tokens and keys that they show, and measure the gateway from outside.
const benchRow = 1

// inRow are the imports within one row that are wanted.
var inRow = []struct{ importer, imported, why string }{
	{"core/pipeline", "core/router", "an exchange carries the parameters of its match"},
	{"core/pipeline", "core/upstream", "a route names its service, an exchange its endpoint"},
	{"core/pipeline", "core/limit", "an exchange carries what its rate limits said"},
	{"core/session", "core/token", "a session is a family of tokens"},
	{"core/session", "core/revocation", "a session that ends has its tokens refused"},
	{"core/ticket", "core/token", "a ticket stands for a token"},
}

// narrowed are packages that may import less than their row would let them.
var narrowed = []struct {
	importer string
	only     []string // of this module
	why      string
}{
	{"core/config", append(slices.Clone(layers[0]), "core/router", "core/limit"), "the YAML language knows patterns and the numbers of policies, and nothing of what runs them"},
}

// reserved are imports that only some packages may have.
var reserved = []struct {
	imported string   // an import path, or its beginning up to a slash
	only     []string // folders
	why      string
}{
	{module + "/core/store", []string{"cmd", "core/store"}, "drivers are joined in cmd; own the small interface you need"},
	{module + "/core/discovery", []string{"cmd", "core/discovery"}, "drivers are joined in cmd; own the small interface you need"},
	{"github.com/fasthttp/router", []string{"core/admin", "cmd"}, "its wildcards allocate and it knows no hosts; core/router decides on the data path"},
	{"github.com/VictoriaMetrics/metrics", []string{"core/meter"}, "it locks on every update; use the striped metrics of core/meter"},
	{"github.com/goccy/go-yaml", []string{"core/setting", "core/config"}, "options are decoded strictly, with positions, by core/setting"},
	{"github.com/Shopify/toxiproxy", nil, "it breaks connections on purpose; no program holds it"},
	{"log", []string{"cmd/upstream", "core/meter/stdlog"}, "the log is structured; take a zerolog.Logger"},
	{"testing", nil, "production code does not carry the test framework; put it into a package named …test"},
}

// testSupport says whether the package in dir serves tests alone. Such a package
// may import anything, and only tests import it.
func testSupport(dir string) bool {
	base := dir[strings.LastIndexByte(dir, '/')+1:]
	return base == "testenv" || strings.HasSuffix(base, "test")
}

// Sizes that keep a reader's head clear. Tests, test support and tables may be longer.
const (
	maxFileLines  = 500
	maxFuncLines  = 60
	maxParameters = 4
	maxMethods    = 4
)

// bannedWords say nothing about what a package or type does.
var bannedWords = []string{"util", "common", "helper", "manager", "middleware", "interceptor"}

// rules are all checks. Each has a tree in testdata/bad named like it, with
// violations that it must report.
var rules = []rule{
	{"layers", checkLayers},
	{"reserved-imports", checkReserved},
	{"test-imports", checkTestImports},
	{"package-doc", checkPackageDoc},
	{"docstrings", checkDocstrings},
	{"sizes", checkSizes},
	{"names", checkNames},
	{"init", checkInit},
	{"globals", checkGlobals},
	{"snapshot-load", checkSnapshotLoad},
	{"statuses", checkStatuses},
	{"unfinished", checkUnfinished},
	{"skips", checkSkips},
}
