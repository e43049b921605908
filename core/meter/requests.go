package meter

import (
	"bufio"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// afterlife is how long the series of a route stay after its last holder.
const afterlife = 10 * time.Minute

// durationBounds are the buckets of gateway_request_duration_seconds, in seconds.
var durationBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10, 30}

// MethodIndex is a method as a label.
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

// routeKey tells the series of routes apart.
type routeKey struct{ route, service string }

// The range of statuses that are labels.
const (
	firstStatus = 100
	statuses    = 500
	perClass    = 100
)

// statusRow holds the histograms of one method and one class of statuses.
type statusRow [perClass]atomic.Pointer[Histogram]

// RouteSeries are the request metrics of one route and service. Its histograms
// are made at the first request of their method and status.
type RouteSeries struct {
	set  *Set
	key  routeKey
	rows [len(methodNames)][statuses / perClass]atomic.Pointer[statusRow]

	holders int       // guarded by set.mu
	left    time.Time // when holders became 0; guarded by set.mu

	mu     sync.Mutex // taken once for each histogram and each code
	faults sync.Map   // code → *Counter
}

// Route returns the series of that route and service for one more holder.
func (s *Set) Route(route, service string) *RouteSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := routeKey{route, service}
	r := s.routes[key]
	if r == nil {
		r = &RouteSeries{set: s, key: key}
		s.routes[key] = r
	}
	r.holders++
	return r
}

// Release gives a holder's claim back; each holder calls it once.
func (r *RouteSeries) Release() {
	r.set.mu.Lock()
	defer r.set.mu.Unlock()
	if r.holders--; r.holders == 0 {
		r.left = r.set.now()
	}
}

// Observe counts one request that ended with status after d. Statuses outside of
// 100–599 count as the nearest.
func (r *RouteSeries) Observe(stripe uint32, method MethodIndex, status int, d time.Duration) {
	i := min(max(status-firstStatus, 0), statuses-1)
	if row := r.rows[method][i/perClass].Load(); row != nil {
		if h := row[i%perClass].Load(); h != nil {
			h.Observe(stripe, d)
			return
		}
	}
	r.histogram(method, i).Observe(stripe, d)
}

// histogram makes the histogram of a method and status, if nobody has.
func (r *RouteSeries) histogram(method MethodIndex, status int) *Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.rows[method][status/perClass].Load()
	if row == nil {
		row = new(statusRow)
		r.rows[method][status/perClass].Store(row)
	}
	h := row[status%perClass].Load()
	if h == nil {
		h = newHistogram(r.set.stripes, durationBounds)
		row[status%perClass].Store(h)
	}
	return h
}

// Fault counts one answer that the gateway made itself; code is one of package
// fault's, of which there are few.
func (r *RouteSeries) Fault(stripe uint32, code string) {
	c, ok := r.faults.Load(code)
	if !ok {
		c, _ = r.faults.LoadOrStore(code, newCounter(r.set.stripes))
	}
	c.(*Counter).Add(stripe, 1)
}

// collect adds the route's series to those of each family.
func (r *RouteSeries) collect(requests, durations, faults map[string]series) {
	for m := range r.rows {
		for class := range r.rows[m] {
			row := r.rows[m][class].Load()
			if row == nil {
				continue
			}
			for i := range row {
				h := row[i].Load()
				if h == nil {
					continue
				}
				labels := written([]Label{{"method", methodNames[m]}, {"route", r.key.route},
					{"status_code", strconv.Itoa(firstStatus + class*perClass + i)}, {"service", r.key.service}})
				durations[labels], requests[labels] = h, counted{h}
			}
		}
	}
	r.faults.Range(func(code, c any) bool {
		faults[written([]Label{{"route", r.key.route}, {"service", r.key.service}, {"code", code.(string)}})] = c.(*Counter)
		return true
	})
}

// counted shows a histogram's count as a counter: one update serves both.
type counted struct{ h *Histogram }

func (c counted) write(w *bufio.Writer, name, labels string) {
	line(w, name, labels, strconv.FormatUint(c.h.Count(), 10))
}
