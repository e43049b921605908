package meter

import (
	"bufio"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// afterlife is how long the series of a route stay after its last holder.
const afterlife = 10 * time.Minute

// The families that Route makes, and nothing else may.
const (
	requestsName  = "gateway_requests_total"
	durationsName = "gateway_request_duration_seconds"
	faultsName    = "gateway_faults_total"
)

// durationBounds are the buckets of gateway_request_duration_seconds, in seconds.
var durationBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10, 30}

// MethodIndex is a method as a label; MethodOf makes them.
type MethodIndex uint8

// methodNames are the methods that are labels of their own; all others are the
// last one, for a caller could make up any number.
var methodNames = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "other"}

// MethodOf returns the index of a method; the bytes are only looked at.
func MethodOf(method []byte) MethodIndex {
	for i := range len(methodNames) - 1 {
		if string(method) == methodNames[i] {
			return MethodIndex(i)
		}
	}
	return MethodIndex(len(methodNames) - 1)
}

// String is the label's value.
func (m MethodIndex) String() string { return methodNames[m] }

// statusNames are the statuses as labels: those of the IANA registry and 499 (the
// client left) by themselves, the rest by class. An upstream that makes up
// statuses, or lets its callers do so, grows nothing.
var statusNames = [...]string{
	"other", "1xx", "2xx", "3xx", "4xx", "5xx",
	"100", "101", "102", "103", "104",
	"200", "201", "202", "203", "204", "205", "206", "207", "208", "226",
	"300", "301", "302", "303", "304", "305", "306", "307", "308",
	"400", "401", "402", "403", "404", "405", "406", "407", "408", "409", "410", "411", "412", "413", "414", "415",
	"416", "417", "418", "421", "422", "423", "424", "425", "426", "428", "429", "431", "451", "499",
	"500", "501", "502", "503", "504", "505", "506", "507", "508", "510", "511",
}

// statusIndexes are places in statusNames, by status.
var statusIndexes = func() (t [600]uint8) {
	for status := 100; status < len(t); status++ {
		t[status] = uint8(status / 100)
	}
	for i, name := range statusNames {
		if status, err := strconv.Atoi(name); err == nil {
			t[status] = uint8(i)
		}
	}
	return t
}()

// statusIndex returns the place of a status in statusNames.
func statusIndex(status int) uint8 {
	if status < 0 || status >= len(statusIndexes) {
		return 0
	}
	return statusIndexes[status]
}

// routeKey tells the series of routes apart.
type routeKey struct{ route, service string }

// RouteSeries are the request metrics of one route and service. Its histograms
// are made at the first request of their method and status.
type RouteSeries struct {
	set  *Set
	key  routeKey
	rows [len(methodNames)]atomic.Pointer[statusRow]

	holders int       // guarded by set.mu
	left    time.Time // when holders became 0; guarded by set.mu

	mu     sync.Mutex // taken to make a histogram or a fault's counter
	faults atomic.Pointer[map[string]*faultCounter]
}

// statusRow holds the series of one method, by statusIndex.
type statusRow [len(statusNames)]atomic.Pointer[requestSeries]

// requestSeries is one histogram with its labels as written.
type requestSeries struct {
	Histogram
	labels string
}

type faultCounter struct {
	Counter
	labels string
}

// Route returns the series of that route and service for one more holder.
func (s *Set) Route(route, service string) *RouteSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := routeKey{route, service}
	r := s.routes[key]
	if r == nil {
		r = &RouteSeries{set: s, key: key}
		r.faults.Store(&map[string]*faultCounter{})
		s.routes[key] = r
	}
	r.holders++
	if s.now().Sub(s.swept) > afterlife { // nobody scrapes: reloads must not pile routes up
		s.sweep()
	}
	return r
}

// Release gives a holder's claim back. Each holder calls it once; one call too
// many panics.
func (r *RouteSeries) Release() {
	r.set.mu.Lock()
	defer r.set.mu.Unlock()
	if r.holders == 0 {
		panic("BUG: route " + r.key.route + " is released, and nobody holds it")
	}
	if r.holders--; r.holders == 0 {
		r.left = r.set.now()
	}
}

// sweep forgets the routes that nobody has held for long. It is called under mu.
func (s *Set) sweep() {
	s.swept = s.now()
	maps.DeleteFunc(s.routes, func(_ routeKey, r *RouteSeries) bool {
		return r.holders == 0 && s.swept.Sub(r.left) > afterlife
	})
}

// Observe counts one request that ended with status after d.
func (r *RouteSeries) Observe(stripe uint32, method MethodIndex, status int, d time.Duration) {
	i := statusIndex(status)
	if statuses := r.rows[method].Load(); statuses != nil {
		if one := statuses[i].Load(); one != nil {
			one.Observe(stripe, d)
			return
		}
	}
	r.series(method, i).Observe(stripe, d)
}

// series makes the series of a method and status, if nobody has.
func (r *RouteSeries) series(method MethodIndex, status uint8) *requestSeries {
	r.mu.Lock()
	defer r.mu.Unlock()
	statuses := r.rows[method].Load()
	if statuses == nil {
		statuses = new(statusRow)
		r.rows[method].Store(statuses)
	}
	one := statuses[status].Load()
	if one == nil {
		one = &requestSeries{labels: written([]Label{{"method", methodNames[method]}, {"route", r.key.route},
			{"status_code", statusNames[status]}, {"service", r.key.service}})}
		one.start(r.set.durations, r.set.stripes)
		statuses[status].Store(one)
	}
	return one
}

// Fault counts one answer that the gateway made itself; code is one of package
// fault's, of which there are few.
func (r *RouteSeries) Fault(stripe uint32, code string) {
	c := (*r.faults.Load())[code]
	if c == nil {
		c = r.fault(code)
	}
	c.Add(stripe, 1)
}

// fault makes the counter of a code, if nobody has: readers take no lock, so the
// map is replaced, never written.
func (r *RouteSeries) fault(code string) *faultCounter {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.faults.Load()
	if c := old[code]; c != nil {
		return c
	}
	c := &faultCounter{*newCounter(r.set.stripes), written([]Label{{"route", r.key.route}, {"service", r.key.service}, {"code", code}})}
	all := maps.Clone(old)
	all[code] = c
	r.faults.Store(&all)
	return c
}

// requests lists the series of all routes. It is called under mu.
func (s *Set) requests() []shown {
	requests := shown{name: requestsName, help: "Requests that ended, by their final status.", kind: kindCounter}
	durations := shown{name: durationsName, help: "Time from the request's head to the end of its answer.", kind: kindHistogram}
	faults := shown{name: faultsName, help: "Answers that the gateway made itself because it could or would not forward.", kind: kindCounter}
	for _, r := range s.routes {
		for m := range r.rows {
			statuses := r.rows[m].Load()
			if statuses == nil {
				continue
			}
			for i := range statuses {
				if one := statuses[i].Load(); one != nil {
					requests.rows = append(requests.rows, row{one.labels, counted{&one.Histogram}})
					durations.rows = append(durations.rows, row{one.labels, &one.Histogram})
				}
			}
		}
		for _, c := range *r.faults.Load() {
			faults.rows = append(faults.rows, row{c.labels, &c.Counter})
		}
	}
	return []shown{requests, durations, faults}
}

// counted shows a histogram's count as a counter: one update serves both.
type counted struct{ h *Histogram }

func (c counted) write(w *bufio.Writer, name, labels string) {
	line(w, name, labels, strconv.FormatUint(c.h.Count(), 10))
}
