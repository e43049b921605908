package meter

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/suuupra/gateway/core/meter/stdlog"
)

// The metrics have something to say about the kernel before main; stdlog is quicker.
var _ = stdlog.Filtered

// Set holds all metrics of a process. Its methods may be called concurrently;
// those that make a metric are slow, and panic on names that break the rules
// above and on one series made in two ways: both are bugs of the program.
type Set struct {
	now       func() time.Time
	stripes   uint32 // a power of two
	durations *scale

	mu       sync.Mutex // guards all below: taken to make metrics and to write them
	families map[string]*family
	routes   map[routeKey]*RouteSeries
	tallies  map[string]*Tally
	swept    time.Time // when routes were last looked through

	identities identities
}

// family is all series of one name.
type family struct {
	name, help, kind string
	scale            *scale // of histograms
	series           map[string]series
}

// series is one line, or the lines of one histogram.
type series interface {
	write(w *bufio.Writer, name, labels string)
}

// The kinds of families, as TYPE says them.
const (
	kindCounter   = "counter"
	kindGauge     = "gauge"
	kindHistogram = "histogram"
)

// NewSet returns an empty set; now tells when a route's series have outlived it.
func NewSet(now func() time.Time) *Set {
	n := uint32(1)
	for n < uint32(runtime.GOMAXPROCS(0)) {
		n *= 2
	}
	s := &Set{
		now: now, stripes: n, durations: newScale(durationBounds),
		families: map[string]*family{}, routes: map[routeKey]*RouteSeries{}, tallies: map[string]*Tally{}, swept: now(),
	}
	s.identities.known.Store(&map[caller]bool{})
	return s
}

// Label is one name with its value. Values may hold anything; "le" names the
// bounds of histograms and nothing else.
type Label struct{ Name, Value string }

var (
	validName    = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	escapeValue  = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	escapeHelp   = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	replacedByte = "\uFFFD"
)

// written returns labels as they stand between the braces.
func written(labels []Label) string {
	var b strings.Builder
	for i, l := range labels {
		if !validName.MatchString(l.Name) || l.Name == "le" {
			panic(fmt.Sprintf("BUG: label name %q", l.Name))
		}
		if slices.ContainsFunc(labels[:i], func(other Label) bool { return other.Name == l.Name }) {
			panic(fmt.Sprintf("BUG: label %s twice", l.Name))
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(l.Name + `="` + escapeValue.Replace(strings.ToValidUTF8(l.Value, replacedByte)) + `"`)
	}
	return b.String()
}

// wrongName says what is wrong with the name of a family, "" for nothing.
func wrongName(name, kind string) string {
	switch {
	case !validName.MatchString(name):
		return "is not lower-case words joined by _"
	case strings.HasSuffix(name, "_total") != (kind == kindCounter):
		return "ends in _total and is no counter, or the reverse"
	case kind == kindHistogram && !strings.HasSuffix(name, "_seconds"):
		return "is a histogram of durations, and does not end in _seconds"
	case strings.HasSuffix(name, "_bucket") || strings.HasSuffix(name, "_count") || strings.HasSuffix(name, "_sum"):
		return "ends like a line of a histogram"
	case name == requestsName || name == durationsName || name == faultsName:
		return "is counted by route"
	default:
		return ""
	}
}

// family returns the family of that name, made if need be. It is called under mu.
func (s *Set) family(name, help, kind string) *family {
	f := s.families[name]
	if f == nil {
		if wrong := wrongName(name, kind); wrong != "" {
			panic(fmt.Sprintf("BUG: metric name %q %s", name, wrong))
		}
		f = &family{name: name, help: help, kind: kind, series: map[string]series{}}
		s.families[name] = f
	}
	if f.kind != kind {
		panic(fmt.Sprintf("BUG: %s is a %s, not a %s", name, f.kind, kind))
	}
	return f
}

// Counter returns the counter of that name and labels: the same one each time.
func (s *Set) Counter(name, help string, labels ...Label) *Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, key := s.family(name, help, kindCounter), written(labels)
	switch c := f.series[key].(type) {
	case nil:
		made := newCounter(s.stripes)
		f.series[key] = made
		return made
	case *Counter:
		return c
	default:
		panic(fmt.Sprintf("BUG: %s{%s} is kept elsewhere", name, key))
	}
}

// Histogram returns the histogram of that name and labels: the same one each
// time. bounds are in seconds, ascending, and the same for the whole family.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...Label) *Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, key := s.family(name, help, kindHistogram), written(labels)
	if f.scale == nil {
		f.scale = newScale(bounds)
	}
	if !f.scale.of(bounds) {
		panic(fmt.Sprintf("BUG: %s has other bounds", name))
	}
	if h, ok := f.series[key].(*Histogram); ok {
		return h
	}
	h := new(Histogram)
	h.start(f.scale, s.stripes)
	f.series[key] = h
	return h
}

// Gauge shows what f returns at each scrape, until remove is called. A later
// gauge of the same name and labels takes the place of an earlier one.
func (s *Set) Gauge(name, help string, f func() float64, labels ...Label) (remove func()) {
	return s.asked(s.define(name, help, kindGauge, labels), f)
}

// CounterFunc is Gauge for a number that only grows, kept elsewhere.
func (s *Set) CounterFunc(name, help string, f func() float64, labels ...Label) (remove func()) {
	return s.asked(s.define(name, help, kindCounter, labels), f)
}

// place is where a series stands.
type place struct {
	family *family
	labels string
}

func (s *Set) define(name, help, kind string, labels []Label) place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return place{s.family(name, help, kind), written(labels)}
}

func (s *Set) asked(at place, f func() float64) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := at.family.series[at.labels].(*Counter); ok {
		panic(fmt.Sprintf("BUG: %s{%s} is counted here", at.family.name, at.labels))
	}
	c := callback{&f}
	at.family.series[at.labels] = c
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if at.family.series[at.labels] == series(c) {
			delete(at.family.series, at.labels)
		}
	}
}

// callback is a series whose value is asked for. The pointer tells two apart.
type callback struct{ f *func() float64 }

func (c callback) write(w *bufio.Writer, name, labels string) {
	line(w, name, labels, strconv.FormatFloat((*c.f)(), 'g', -1, 64))
}

// line writes one sample. Errors stay in w.
func line(w *bufio.Writer, name, labels, value string) {
	_, _ = w.WriteString(name)
	if labels != "" {
		_ = w.WriteByte('{')
		_, _ = w.WriteString(labels)
		_ = w.WriteByte('}')
	}
	_ = w.WriteByte(' ')
	_, _ = w.WriteString(value)
	_ = w.WriteByte('\n')
}

// shown is a family as it is written: what there is of it at that moment.
type shown struct {
	name, help, kind string
	rows             []row
}

type row struct {
	labels string
	series series
}

// WritePrometheus writes everything in text format 0.0.4, families and series
// sorted, and after them what is known of the process. Callbacks are asked with
// no lock held, so they may take any of their own.
func (s *Set) WritePrometheus(w io.Writer) {
	out := bufio.NewWriter(w)
	for _, f := range s.collect() {
		if len(f.rows) == 0 {
			continue
		}
		_, _ = fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, escapeHelp.Replace(f.help), f.name, f.kind)
		slices.SortFunc(f.rows, func(a, b row) int { return strings.Compare(a.labels, b.labels) })
		for _, r := range f.rows {
			r.series.write(out, f.name, r.labels)
		}
	}
	metrics.WriteProcessMetrics(out)
	metrics.WriteFDMetrics(out) // it counts them: a few milliseconds for 10,000
	_ = out.Flush()             // a reader that left needs no metrics
}

// collect lists what is to be written, without the routes that are long gone.
func (s *Set) collect() []shown {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	out := s.requests()
	for _, f := range s.families {
		c := shown{name: f.name, help: f.help, kind: f.kind, rows: make([]row, 0, len(f.series))}
		for labels, one := range f.series {
			c.rows = append(c.rows, row{labels, one})
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b shown) int { return strings.Compare(a.name, b.name) })
	return out
}
