package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/suuupra/gateway/core/setting"
)

// LoadOptions says what to load, and what surrounds it.
type LoadOptions struct {
	// Files are the first file and those laid over it, in order.
	Files []string
	// Env returns the value of an environment variable, and whether it is set;
	// nil means os.LookupEnv.
	Env func(name string) (string, bool)
	// NoEnv tolerates variables that are not set, and files of secrets that
	// can't be read. The fields they stand in are not checked, so the result
	// must not be put in force.
	NoEnv bool
	// ReadFile reads a file; nil means os.ReadFile.
	ReadFile func(name string) ([]byte, error)
	// Glob lists the files that a pattern of `include` fits; nil means filepath.Glob.
	Glob func(pattern string) ([]string, error)
	// FileMode returns the permissions of a file; nil means those that os.Stat says.
	FileMode func(name string) (fs.FileMode, error)
	// Now is the time that certificates are judged by; nil means time.Now.
	Now func() time.Time
	// Plugins are the names of all plugins; any other is reported. If PluginAuth is
	// one of them, every route has it.
	Plugins []string
	// CheckPlugin reports what is wrong with the merged options of a plugin.
	// It is called once for options that several routes share; of cfg, around them,
	// the policies may be looked at. Nil checks nothing, and so marks no option as
	// secret.
	CheckPlugin func(name string, n *setting.Node, cfg *Config, r *setting.Report)
	// Reserved are the gateway's own paths on public listeners: literal ones,
	// or /prefix/{rest...}. A route that names one of them is reported.
	Reserved []string
}

// document is the whole of a file: a Config, and what is used up while loading.
type document struct {
	Include setting.StringList `yaml:"include" doc:"Further files, laid over this one in their order; patterns are relative to this file."`
	Config  `yaml:",inline"`
}

// Load reads, merges and checks configuration. The Config is nil if the report
// holds an error; warnings alone don't count.
func Load(o LoadOptions) (*Config, *setting.Report) {
	l := newLoader(o)
	cfg := l.decode()
	if l.broken {
		return nil, l.r
	}
	check(cfg, &l.o, l.r)
	if l.r.Failed() {
		return nil, l.r
	}
	return cfg, l.r
}

// Operators returns what a client of the admin listener has to know, whatever
// else is wrong with the files: a gateway that runs is asked to reload them just
// when something is. It returns false if the address or
// the directory can't be told for sure: a file can't be read that may name them, or
// a variable is not set.
func Operators(o LoadOptions) (a Admin, directory string, ok bool) {
	l := newLoader(o)
	cfg := l.decode()
	for _, n := range []*setting.Node{cfg.tree.Get("admin").Get("address"), cfg.tree.Get("directory")} {
		l.broken = l.broken || n != nil && n.Unset
	}
	return cfg.Admin, cfg.Directory, !l.broken
}

func newLoader(o LoadOptions) *loader {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Glob == nil {
		o.Glob = filepath.Glob
	}
	if o.FileMode == nil {
		o.FileMode = fileMode
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &loader{o: o, r: setting.NewReport(setting.ReportOptions{ReadFile: o.ReadFile, Tolerant: o.NoEnv})}
}

// decode reads the files into a Config that was not checked. If one of them is
// broken, what it holds is missing, and would be missed by the checks.
func (l *loader) decode() *Config {
	var doc document
	tree := spellOut(l.files())
	if !l.broken {
		tree = derive(tree, l.o.Plugins, l.r)
	}
	setting.Decode(tree, &doc, l.r)
	cfg := &doc.Config
	cfg.tree, cfg.secrets = tree, l.r.IsSecret
	finish(cfg)
	return cfg
}

// finish fills in what follows from other fields.
func finish(cfg *Config) {
	if n := given(cfg.tree, "directory"); n != nil && cfg.Directory != "" && !filepath.IsAbs(cfg.Directory) {
		cfg.Directory = filepath.Join(filepath.Dir(n.At.Source), cfg.Directory)
	}
	for _, s := range cfg.Services {
		s.Connections.Idle = min(s.Connections.Idle, s.Connections.Maximum)
		for _, e := range s.Endpoints {
			_, address, _ := strings.Cut(e.URL, "://")
			e.Address, e.Secure = strings.ToLower(address), strings.HasPrefix(e.URL, schemeTLS)
		}
	}
}

// fileMode is what os.Stat says of a file's permissions.
func fileMode(name string) (fs.FileMode, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

// maxNesting bounds how deep files may include each other.
const maxNesting = 32

// loader reads files.
type loader struct {
	o      LoadOptions
	r      *setting.Report
	stack  []string        // the files being read, each named by the one before
	seen   map[string]bool // the files read for one of LoadOptions.Files
	broken bool            // a file could not be read at all
}

// files reads and merges all files; it never returns nil.
func (l *loader) files() *setting.Node {
	var tree *setting.Node
	for _, name := range l.o.Files {
		l.seen = make(map[string]bool)
		tree = setting.Merge(tree, l.file(name, nil))
	}
	if tree == nil {
		tree = &setting.Node{Kind: setting.Map}
		l.broken = true
		l.r.Add(setting.Position{}, "", "want a configuration file, got none", "")
	}
	return tree.With("include", nil)
}

// file reads one file with all that it includes; named is what named it, nil for
// the command line. It never returns nil.
func (l *loader) file(name string, named *setting.Node) *setting.Node {
	start := setting.Position{Source: name, Line: 1, Column: 1}
	empty := &setting.Node{Kind: setting.Map, At: start}
	text, err := l.o.ReadFile(name)
	if err != nil {
		l.broken = true
		problem := "can't read " + name + ": " + reason(err)
		if named != nil {
			l.r.AddNode(named, problem, "")
		} else {
			l.r.Add(start, "", problem, "")
		}
		return empty
	}
	before := len(l.r.Problems())
	root := setting.Parse(name, text, l.r)
	switch {
	case root == nil:
		l.broken = l.broken || len(l.r.Problems()) > before
		return empty
	case root.Kind != setting.Map:
		l.broken = true
		l.r.AddNode(root, "want a map of keys such as services and routes, got "+root.Kind.String(), "")
		return empty
	}
	root = withoutExtensions(root)
	setting.Expand(root, setting.Variables{Lookup: l.o.Env, Tolerant: l.o.NoEnv}, l.r)
	l.seen[filepath.Clean(name)] = true
	l.stack = append(l.stack, filepath.Clean(name))
	defer func() { l.stack = l.stack[:len(l.stack)-1] }()
	return l.includes(root, name)
}

// withoutExtensions drops the keys that begin with x-.
func withoutExtensions(root *setting.Node) *setting.Node {
	for _, e := range slices.Clone(root.Entries) {
		if strings.HasPrefix(e.Key, "x-") {
			root = root.With(e.Key, nil)
		}
	}
	return root
}

// includes lays the files over root that it includes.
func (l *loader) includes(root *setting.Node, name string) *setting.Node {
	var list setting.StringList
	include := root.Get("include")
	if include == nil || include.IsOff() || include.Unset {
		return root
	}
	setting.Decode(include, &list, l.r)
	for i, pattern := range list {
		item := include.Values()[i]
		if pattern == "" {
			continue
		}
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(name), pattern)
		}
		for _, file := range l.expand(pattern, item) {
			root = setting.Merge(root, l.include(file, item))
		}
	}
	return root
}

// expand returns the files that a pattern fits, sorted. A pattern without
// wildcards fits the file of its name, whether it exists or not.
func (l *loader) expand(pattern string, item *setting.Node) []string {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	files, err := l.o.Glob(pattern)
	if err != nil {
		l.r.AddNode(item, "want a pattern of file names, got "+item.Describe()+": "+reason(err), "")
		return nil
	}
	slices.Sort(files)
	return files
}

// include reads one included file, unless it was read already.
func (l *loader) include(file string, item *setting.Node) *setting.Node {
	clean := filepath.Clean(file)
	switch {
	case slices.Contains(l.stack, clean):
		i := slices.Index(l.stack, clean)
		l.r.AddNode(item, "a file can't include itself: "+strings.Join(append(slices.Clone(l.stack[i:]), clean), " → "), "")
		return nil
	case l.seen[clean]:
		return nil
	case len(l.stack) >= maxNesting:
		l.r.AddNode(item, "files include each other too deeply", "")
		return nil
	}
	return l.file(file, item)
}

// reason drops the operation and path that the os package puts before an error.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}
