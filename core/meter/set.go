// Package meter counts what the gateway does and shows it in Prometheus' text
// format.
//
// # Stripes
//
// What each request updates is striped: every exchange carries an index of its
// own, and two exchanges that run on two cores mostly write two cache lines. The
// stripes are summed when somebody asks. One update costs a few nanoseconds and
// allocates nothing.
//
// # Labels
//
// No caller can make a series: labels come from the configuration and from the
// tables of this package, unknown methods are "other". The series of a route
// stay for ten minutes after the last snapshot that named it, so that a scrape
// still sees their last values, and are the same ones when the route comes back.
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
)

// Set holds all metrics of a process. Its methods may be called concurrently;
// those that make a metric are slow, and panic on names that Prometheus does not
// take and on one name with two types: both are bugs of the program.
type Set struct {
	now     func() time.Time
	stripes uint32 // a power of two

	mu       sync.Mutex // guards all below: taken to make metrics and to write them
	families map[string]*family
	routes   map[routeKey]*RouteSeries
}

// family is all series of one name.
type family struct {
	name, help, kind string
	series           map[string]series // by their labels as written
}

// series is one line, or the lines of one histogram.
type series interface {
	write(w *bufio.Writer, name, labels string)
}

// NewSet returns an empty set; now tells when a route's series have outlived it.
func NewSet(now func() time.Time) *Set {
	n := uint32(1)
	for n < uint32(runtime.GOMAXPROCS(0)) {
		n *= 2
	}
	return &Set{now: now, stripes: n, families: map[string]*family{}, routes: map[routeKey]*RouteSeries{}}
}

// Label is one name with its value. Values may hold anything.
type Label struct{ Name, Value string }

var (
	metricName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)
	escaper    = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
)

// written returns labels as they stand between the braces.
func written(labels []Label) string {
	var b strings.Builder
	for i, l := range labels {
		if !metricName.MatchString(l.Name) {
			panic(fmt.Sprintf("BUG: label name %q", l.Name))
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(l.Name + `="` + escaper.Replace(strings.ToValidUTF8(l.Value, "\uFFFD")) + `"`)
	}
	return b.String()
}

// family returns the family of that name, made if need be. It is called under mu.
func (s *Set) family(name, help, kind string) *family {
	f := s.families[name]
	if f == nil {
		if !metricName.MatchString(name) {
			panic(fmt.Sprintf("BUG: metric name %q", name))
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
	f, key := s.family(name, help, "counter"), written(labels)
	if c, ok := f.series[key].(*Counter); ok {
		return c
	}
	c := newCounter(s.stripes)
	f.series[key] = c
	return c
}

// Histogram returns the histogram of that name and labels: the same one each
// time. bounds are in seconds, ascending, and the same for the whole family.
func (s *Set) Histogram(name, help string, bounds []float64, labels ...Label) *Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, key := s.family(name, help, "histogram"), written(labels)
	if h, ok := f.series[key].(*Histogram); ok {
		return h
	}
	h := newHistogram(s.stripes, bounds)
	f.series[key] = h
	return h
}

// Gauge shows what f returns at each scrape, until remove is called. A later
// gauge of the same name and labels takes the place of an earlier one.
func (s *Set) Gauge(name, help string, f func() float64, labels ...Label) (remove func()) {
	return s.callback(name, help, "gauge", callback{&f}, labels)
}

// CounterFunc is Gauge for a number that only grows, kept elsewhere.
func (s *Set) CounterFunc(name, help string, f func() float64, labels ...Label) (remove func()) {
	return s.callback(name, help, "counter", callback{&f}, labels)
}

func (s *Set) callback(name, help, kind string, c callback, labels []Label) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	family, key := s.family(name, help, kind), written(labels)
	family.series[key] = c
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if family.series[key] == series(c) {
			delete(family.series, key)
		}
	}
}

// callback is a series whose value is asked for. The pointer tells two apart.
type callback struct{ f *func() float64 }

func (c callback) write(w *bufio.Writer, name, labels string) {
	line(w, name, labels, strconv.FormatFloat((*c.f)(), 'g', -1, 64))
}

// line writes one sample.
func line(w *bufio.Writer, name, labels, value string) {
	w.WriteString(name)
	if labels != "" {
		w.WriteByte('{')
		w.WriteString(labels)
		w.WriteByte('}')
	}
	w.WriteByte(' ')
	w.WriteString(value)
	w.WriteByte('\n')
}

// WritePrometheus writes everything in text format 0.0.4, families and series
// sorted, and after them what is known of the process. Callbacks are asked with
// no lock held, so they may take any of their own.
func (s *Set) WritePrometheus(w io.Writer) {
	out := bufio.NewWriter(w)
	for _, f := range s.collect() {
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, key := range slices.Sorted(keys(f.series)) {
			f.series[key].write(out, f.name, key)
		}
	}
	metrics.WriteProcessMetrics(out)
	_ = out.Flush() // a reader that left needs no metrics
}

func keys(m map[string]series) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// collect copies what is to be written, and forgets the routes that are long gone.
func (s *Set) collect() []family {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := family{name: "gateway_requests_total", help: "Requests that ended, by their final status.", kind: "counter", series: map[string]series{}}
	durations := family{name: "gateway_request_duration_seconds", help: "Time from the request's head to the end of its answer.", kind: "histogram", series: map[string]series{}}
	faults := family{name: "gateway_faults_total", help: "Answers that the gateway made itself because it could or would not forward.", kind: "counter", series: map[string]series{}}
	for key, r := range s.routes {
		if r.holders == 0 && s.now().Sub(r.left) > afterlife {
			delete(s.routes, key)
			continue
		}
		r.collect(requests.series, durations.series, faults.series)
	}
	out := []family{requests, durations, faults}
	for _, f := range s.families {
		c := *f
		c.series = make(map[string]series, len(f.series))
		for k, v := range f.series {
			c.series[k] = v
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b family) int { return strings.Compare(a.name, b.name) })
	return out
}
