// Package k6 holds the scripts to what they promise, as far as that can be seen
// without k6: `make k6` runs them.
package k6

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/meter"
)

// tests are the scripts that `make k6 TEST=…` takes.
var tests = []string{"load", "ramp", "smoke", "soak", "spike", "websocket"}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestScripts(t *testing.T) {
	names, err := filepath.Glob("*.js")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		if name != "lib.js" {
			found = append(found, strings.TrimSuffix(name, ".js"))
		}
	}
	if diff := cmp.Diff(tests, found); diff != "" {
		t.Errorf("the scripts are others (- want, + got):\n%s", diff)
	}
	lib := exported(read(t, "lib.js"))
	for _, name := range names {
		for _, problem := range problems(strings.TrimSuffix(name, ".js"), read(t, name), lib) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

var (
	imports  = regexp.MustCompile(`(?m)^import (.*) from '([^']*)';$`)
	anImport = regexp.MustCompile(`(?m)^\s*(?:import|export \*)\b|\b(?:require|import|open)\(`)
	exports  = regexp.MustCompile(`(?m)^export (?:const|function|let) (\w+)`)
	urls     = regexp.MustCompile(`\b(?:https?|wss?)://[^'"` + "`" + `\s]*`)
)

func exported(script string) (names []string) {
	for _, m := range exports.FindAllStringSubmatch(script, -1) {
		names = append(names, m[1])
	}
	return names
}

// problems are the reasons why a script can't be what it should: it must run where
// there is no network, be judged by thresholds, and leave a summary.
func problems(test, script string, lib []string) (out []string) {
	all := imports.FindAllStringSubmatch(script, -1)
	if len(all) != len(anImport.FindAllString(script, -1)) {
		out = append(out, "loads something by other means than import … from")
	}
	for _, m := range all {
		what, from := m[1], m[2]
		switch {
		case from == "./lib.js":
			for name := range strings.SplitSeq(strings.Trim(what, "{ }"), ",") {
				if name = strings.TrimSpace(name); !slices.Contains(lib, name) {
					out = append(out, "lib.js exports no "+name)
				} else if len(regexp.MustCompile(`\b`+name+`\b`).FindAllString(script, 2)) < 2 {
					out = append(out, name+" is imported in vain")
				}
			}
		case from != "k6" && !strings.HasPrefix(from, "k6/"):
			out = append(out, "imports "+from)
		}
	}
	for _, url := range urls.FindAllString(script, -1) {
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			out = append(out, "knows "+url)
		}
	}
	if test == "lib" {
		return out
	}
	for _, must := range []string{
		"export const options = {", "\n  thresholds: ", "summaryTrendStats: statistics", "export default function () {",
		"export function handleSummary(data) {\n", "summarize('" + test + "', data)",
	} {
		if !strings.Contains(script, must) {
			out = append(out, "has no "+must)
		}
	}
	return out
}

// Each reason is found in a script that has it.
func TestProblems(t *testing.T) {
	const good = `import http from 'k6/http';
import { ask, statistics, summarize } from './lib.js';
export const options = {
  thresholds: { checks: ['rate>0.999'] },
  summaryTrendStats: statistics,
};
export default function () {
  ask(0);
}
export function handleSummary(data) {
  return summarize('good', data);
}
`
	lib := []string{"ask", "statistics", "summarize"}
	for _, c := range []struct{ old, now, want string }{
		{"", "", ""},
		{"'k6/http'", "'https://jslib.k6.io/httpx/index.js'", "imports https://jslib.k6.io/httpx/index.js|knows https://jslib.k6.io/httpx/index.js"},
		{"'k6/http'", "'./other.js'", "imports ./other.js"},
		{"ask(0)", "require('x')", "loads something by other means than import … from|ask is imported in vain"},
		{"ask(0)", "ask(open('x'))", "loads something by other means than import … from"},
		{"{ ask,", "{ asks, ask,", "lib.js exports no asks"},
		{"ask(0)", "ask('ws://example.com/x')", "knows ws://example.com/x"},
		{"\n  thresholds: { checks: ['rate>0.999'] },", "", "has no \n  thresholds: "},
		{"  summaryTrendStats: statistics,\n", "", "statistics is imported in vain|has no summaryTrendStats: statistics"},
		{"'good'", "'other'", "has no summarize('good', data)"},
		{"default ", "", "has no export default function () {"},
	} {
		if got := strings.Join(problems("good", strings.Replace(good, c.old, c.now, 1), lib), "|"); got != c.want {
			t.Errorf("%q for %q: got %q, want %q", c.now, c.old, got, c.want)
		}
	}
}

// The numbers that the whole is measured by.
func TestPromises(t *testing.T) {
	for name, wants := range map[string][]string{
		"lib.js": {
			"http_req_duration: ['p(99)<150'],", "http_req_failed: ['rate<0.001'],", "checks: ['rate>0.999'],",
			"'status': (r) => r.status === status,", "'X-Correlation-ID': (r) => /^[A-Za-z0-9._-]{1,128}$/.test(correlation(r)),",
		},
		"load.js":      {"number('RATE', 50000)", "executor: 'constant-arrival-rate'", "thresholds: onSchedule("},
		"ramp.js":      {"stages: [stage(2, 100), stage(5, 100), stage(2, 200), stage(5, 200), stage(2, 0)],", "number('SCALE', 1)", "thresholds: promised,"},
		"spike.js":     {"executor: 'ramping-arrival-rate'", "thresholds: onSchedule("},
		"soak.js":      {"seconds('DURATION', '10m')", "onSchedule(", "soak_looks: ['rate==1'],", "growth_of_heap: ['p(95)<1.3'],", "growth_of_goroutines: ['p(95)<1.1'],", "growth_of_descriptors: ['p(95)<1.1'],"},
		"websocket.js": {"/live-classes/ws`", "ws_failed: ['rate<0.001'],", "ws_round_trip: ['p(99)<150'],"},
		"../Makefile":  {"K6 := go.k6.io/k6@v1.8.1\n", "k6/$(TEST).js\n", "\nfind-rate: "},
	} {
		text := read(t, name)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
	}
}

// What soak.js looks for is what the gateway shows.
func TestSoakFindsItsMetrics(t *testing.T) {
	var shown bytes.Buffer
	meter.NewSet(time.Now).WritePrometheus(&shown)
	names := regexp.MustCompile(`(?m)^  (\w+): \{ now:`).FindAllStringSubmatch(read(t, "soak.js"), -1)
	for _, m := range names {
		if !regexp.MustCompile(`(?m)^` + m[1] + ` [0-9.e+]+$`).Match(shown.Bytes()) {
			t.Errorf("the gateway shows no %s", m[1])
		}
	}
	if len(names) != 4 {
		t.Errorf("found %q in soak.js, want four names", names)
	}
}

// Whoever reads README finds each test, and the numbers that it takes.
func TestReadme(t *testing.T) {
	readme := read(t, "README.md")
	for _, test := range tests {
		if !strings.Contains(readme, "| `"+test+"` |") {
			t.Errorf("README.md does not explain %s", test)
		}
	}
	knob := regexp.MustCompile(`(?:number|seconds)\('([A-Z_]+)'|__ENV\.([A-Z_]+)`)
	for _, name := range append([]string{"lib"}, tests...) {
		for _, m := range knob.FindAllStringSubmatch(read(t, name+".js"), -1) {
			if variable := m[1] + m[2]; !strings.Contains(readme, "`"+variable+"`") {
				t.Errorf("README.md does not tell of %s, which %s.js reads", variable, name)
			}
		}
	}
}
