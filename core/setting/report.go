package setting

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration, or worth a warning.
type Problem struct {
	At      Position
	Path    string // in the file, such as routes.payments.plugins.auth; may be empty
	Text    string // what is wrong and what would be right
	Suggest string // what was probably meant; may be empty
	Warning bool   // the configuration works all the same
}

// String returns "file:line:column: path: text (did you mean "…"?)".
func (p Problem) String() string {
	var b strings.Builder
	if s := p.At.String(); s != "" {
		b.WriteString(s + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	if p.Suggest != "" {
		fmt.Fprintf(&b, " (did you mean %q?)", p.Suggest)
	}
	return b.String()
}

// Report collects the problems of one load, with the sources they stand in. The
// zero Report is ready for use. Reports made by Sub and In share the collection.
// A Report is not safe for concurrent use.
type Report struct {
	state  *state
	prefix string
	node   *Node
}

// state is what a report and its subs share.
type state struct {
	problems []Problem
	seen     map[Problem]bool
	sources  map[string]*sourceText // by name, for excerpts
	unparsed map[string]bool        // sources whose secrets could not be told
	masks    map[string]map[int]set // source → line → what must not be shown
	secrets  map[Position]bool      // where secrets were decoded
	options  ReportOptions
}

// set holds what an excerpt masks on one line: start column → characters.
type set map[int]int

// ReportOptions say where a load gets what its configuration names.
type ReportOptions struct {
	// ReadFile reads the files that _file twins name; nil means os.ReadFile.
	ReadFile func(name string) ([]byte, error)
	// Tolerant accepts files of secrets that can't be read, for checks on a
	// machine that does not hold them.
	Tolerant bool
}

// NewReport returns an empty report with options.
func NewReport(o ReportOptions) *Report {
	r := &Report{}
	r.shared().options = o
	return r
}

func (r *Report) shared() *state {
	if r.state == nil {
		r.state = &state{
			seen: make(map[Problem]bool), sources: make(map[string]*sourceText), unparsed: make(map[string]bool),
			masks: make(map[string]map[int]set), secrets: make(map[Position]bool),
		}
	}
	return r.state
}

// Add reports a problem at a place. path is relative to the prefix that Sub gave
// this report. suggestion may be empty. What was reported before in the same
// words at the same place is dropped: a default may be read for many routes.
func (r *Report) Add(at Position, path, text, suggestion string) {
	r.add(Problem{At: at, Path: r.prefix + path, Text: text, Suggest: suggestion})
}

// Warn is Add for what works all the same.
func (r *Report) Warn(at Position, path, text, suggestion string) {
	r.add(Problem{At: at, Path: r.prefix + path, Text: text, Suggest: suggestion, Warning: true})
}

// AddNode reports a problem of a value, at the value's own place and path.
// What must not be shown of n is taken out of text and suggestion.
func (r *Report) AddNode(n *Node, text, suggestion string) {
	r.add(r.conceal(Problem{At: n.At, Path: n.Path, Text: text, Suggest: suggestion}, n))
}

// WarnNode is AddNode for what works all the same.
func (r *Report) WarnNode(n *Node, text, suggestion string) {
	r.add(r.conceal(Problem{At: n.At, Path: n.Path, Text: text, Suggest: suggestion, Warning: true}, n))
}

// conceal takes the text of a secret or expanded scalar out of a message about
// it. Texts of a few letters are taken out in quotes only: they may stand in any
// word.
func (r *Report) conceal(p Problem, n *Node) Problem {
	if n.Kind != Scalar || n.Text == "" || !n.Expanded && !r.shared().secrets[n.At] {
		return p
	}
	instead := Masked
	if n.Expanded {
		instead = n.Describe()
	}
	p.Text = strings.ReplaceAll(p.Text, strconv.Quote(n.Text), instead)
	if len(n.Text) > 3 {
		p.Text = strings.ReplaceAll(p.Text, n.Text, instead)
	}
	p.Suggest = ""
	return p
}

// AddField reports a problem of a field beneath the node that In named, such as
// "accept[0]". If nothing was written there, the problem stands at the nearest
// value around it, with the path of the field. What must not be shown of the
// field's value is taken out of text and suggestion.
func (r *Report) AddField(field, text, suggestion string) {
	r.add(r.field(Problem{Text: text, Suggest: suggestion}, field))
}

// WarnField is AddField for what works all the same.
func (r *Report) WarnField(field, text, suggestion string) {
	r.add(r.field(Problem{Text: text, Suggest: suggestion, Warning: true}, field))
}

// field fills in where field stands.
func (r *Report) field(p Problem, field string) Problem {
	if r.node == nil {
		p.Path = r.prefix + field
		return p
	}
	n, rest := r.node.find(field)
	p.At, p.Path = n.At, n.Path
	switch {
	case rest == "":
	case p.Path == "" || rest[0] == '[':
		p.Path += rest
	default:
		p.Path += "." + rest
	}
	return r.conceal(p, n)
}

func (r *Report) add(p Problem) {
	s := r.shared()
	if s.seen[p] {
		return
	}
	s.seen[p] = true
	s.problems = append(s.problems, p)
}

// Sub returns a report whose Add puts prefix and a dot before each path. It
// collects into r.
func (r *Report) Sub(prefix string) *Report {
	return &Report{state: r.shared(), prefix: r.prefix + prefix + ".", node: r.node}
}

// In returns a report whose AddField looks beneath n. It collects into r.
func (r *Report) In(n *Node) *Report {
	return &Report{state: r.shared(), prefix: r.prefix, node: n}
}

// Node returns the node that In named, or nil.
func (r *Report) Node() *Node { return r.node }

// Problems returns the errors, sorted by file, line and column; warnings are left out.
func (r *Report) Problems() []Problem { return r.sorted(false) }

// Warnings returns the warnings, in the same order.
func (r *Report) Warnings() []Problem { return r.sorted(true) }

// All returns errors and warnings together, in the order in which Write prints them.
func (r *Report) All() []Problem {
	all := append(r.Problems(), r.Warnings()...)
	slices.SortStableFunc(all, compareProblems)
	return all
}

func (r *Report) sorted(warnings bool) []Problem {
	var out []Problem
	for _, p := range r.shared().problems {
		if p.Warning == warnings {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, compareProblems)
	return out
}

func compareProblems(a, b Problem) int {
	switch {
	case a.At.before(b.At):
		return -1
	case b.At.before(a.At):
		return 1
	}
	return strings.Compare(a.Path, b.Path)
}

// Failed says whether there is an error. It is cheaper than Err.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.shared().problems, func(p Problem) bool { return !p.Warning })
}

// Err returns nil if there is no error, else one that joins all of them, one to
// a line and without excerpts.
func (r *Report) Err() error {
	var errs []error
	for _, p := range r.Problems() {
		errs = append(errs, problemError{p})
	}
	return errors.Join(errs...)
}

// problemError is a problem as an error.
type problemError struct{ Problem }

func (e problemError) Error() string { return e.String() }

// Write prints every problem and warning in order, each with an excerpt of its
// source and a caret below its place. Excerpts mask secrets.
func (r *Report) Write(w io.Writer) error {
	for _, p := range r.All() {
		if _, err := io.WriteString(w, p.String()+"\n"+r.Excerpt(p.At)); err != nil {
			return fmt.Errorf("printing the problems: %w", err)
		}
	}
	return nil
}

// readFile reads a file that a _file twin names.
func (r *Report) readFile(name string) ([]byte, error) {
	if read := r.shared().options.ReadFile; read != nil {
		return read(name)
	}
	return os.ReadFile(name)
}
