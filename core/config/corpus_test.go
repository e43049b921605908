package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/setting"
)

// logOptions and headerOptions stand for the options of two plugins.
type logOptions struct {
	To     string             `yaml:"to" default:"stdout" doc:"Where to write."`
	Sample setting.Share      `yaml:"sample" default:"100%"`
	Slow   setting.Duration   `yaml:"slow" default:"1s"`
	Redact setting.StringList `yaml:"redact"`
	Token  setting.Secret     `yaml:"token" doc:"For the sink."`
}

type headerOptions struct {
	Frame string `yaml:"frame" default:"deny" enum:"deny|same_origin"`
}

var pluginTypes = map[string]reflect.Type{
	"access_log":       reflect.TypeFor[logOptions](),
	"security_headers": reflect.TypeFor[headerOptions](),
}

func checkPlugin(name string, n *setting.Node, _ *config.Config, r *setting.Report) {
	switch name {
	case "access_log":
		var o logOptions
		setting.Decode(n, &o, r)
		for i, f := range o.Redact {
			if strings.EqualFold(f, "host") {
				r.In(n).AddField("redact["+string(rune('0'+i))+"]", "want another field: Host is never a secret", "")
			}
		}
	case "security_headers":
		var o headerOptions
		setting.Decode(n, &o, r)
	}
}

// environment is what the corpus sees of the environment.
func environment(name string) (string, bool) {
	v, ok := map[string]string{
		"EMPTY": "", "PORT": "9001", "HOST": "10.1.2.3", "LEVEL": "loud", "COUNT": "7", "OFF": "off",
		"SERVICE": "a", "WORD": "s3cr3t-word", "PATTERN": "/a/{", "URL": "http://10.0.0.9:80",
	}[name]
	return v, ok
}

// options returns how corpus files are loaded: as if testdata were the current
// directory, so that messages show the same names everywhere.
func options(files ...string) config.LoadOptions {
	return config.LoadOptions{
		Files: files, Env: environment,
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := strings.CutPrefix(name, "tls/"); ok {
				return credential(text)
			}
			return os.ReadFile(filepath.Join("testdata", name))
		},
		FileMode: func(name string) (fs.FileMode, error) {
			if strings.Contains(name, "open") {
				return 0o644, nil
			}
			return 0o600, nil
		},
		Now: func() time.Time { return today },
		Glob: func(pattern string) ([]string, error) {
			names, err := filepath.Glob(filepath.Join("testdata", pattern))
			for i := range names {
				names[i] = strings.TrimPrefix(names[i], "testdata"+string(filepath.Separator))
			}
			return names, err
		},
		Plugins: []string{"access_log", "security_headers"}, CheckPlugin: checkPlugin,
		Reserved: []string{"/livez", "/readyz", "/health", "/auth/{rest...}"},
	}
}

// corpus returns the files of a folder below testdata.
func corpus(t testing.TB, folder string, atLeast int) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(names) < atLeast {
		t.Fatalf("%d files in testdata/%s, %v; want at least %d", len(names), folder, err, atLeast)
	}
	for i := range names {
		names[i] = filepath.Join(folder, filepath.Base(names[i]))
	}
	return names
}

var (
	wantLine  = regexp.MustCompile(`(?m)^# want: (.*)\n`)
	overlays  = regexp.MustCompile(`(?m)^# overlay: (.*)\n`)
	tolerated = regexp.MustCompile(`(?m)^# no-env\n`)
)

// load loads a corpus file with what its first lines ask for.
func load(t testing.TB, name string) (*config.Config, *setting.Report, string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	o := options(name)
	for _, m := range overlays.FindAllStringSubmatch(string(text), -1) {
		o.Files = append(o.Files, m[1])
	}
	o.NoEnv = tolerated.Match(text)
	cfg, r := config.Load(o)
	return cfg, r, string(text)
}

// messages returns every problem and warning, in the order they are printed in.
func messages(t testing.TB, r *setting.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.SplitSeq(b.String(), "\n") {
		if line != "" && !excerptLine.MatchString(line) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

var excerptLine = regexp.MustCompile(`^ *\d* \| `)

// TestBad holds every message to the letter. A file begins with what it must
// print; UPDATE_TESTDATA=1 writes that anew, to be read before it is committed.
func TestBad(t *testing.T) {
	t.Parallel()
	for _, name := range corpus(t, "bad", 50) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			cfg, r, text := load(t, name)
			got := messages(t, r)
			if os.Getenv("UPDATE_TESTDATA") != "" {
				// Positions count the want lines too, so their number must settle first.
				body := wantLine.ReplaceAllString(text, "")
				if n := strings.Count(got, "\n") + 1; n != len(wantLine.FindAllString(text, -1)) {
					write(t, name, strings.Repeat("# want: \n", n)+body)
					_, r, _ = load(t, name)
					got = messages(t, r)
				}
				write(t, name, "# want: "+strings.ReplaceAll(got, "\n", "\n# want: ")+"\n"+body)
				return
			}
			var want []string
			for _, m := range wantLine.FindAllStringSubmatch(text, -1) {
				want = append(want, m[1])
			}
			if diff := cmp.Diff(strings.Join(want, "\n"), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if onlyWarnings := len(r.Problems()) == 0; onlyWarnings != (cfg != nil) {
				t.Errorf("config is there: %v; want that exactly if there are only warnings: %v", cfg != nil, onlyWarnings)
			}
		})
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("testdata", name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGood wants no message at all from good files, overlays included.
func TestGood(t *testing.T) {
	t.Parallel()
	for _, name := range corpus(t, "good", 8) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			cfg, r, _ := load(t, name)
			if got := messages(t, r); got != "" || cfg == nil {
				t.Errorf("config is there: %v, and messages:\n%s", cfg != nil, got)
			}
		})
	}
}
