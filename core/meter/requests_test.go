package meter_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/meter"
)

// hand is a time that a test moves.
type hand struct{ at time.Time }

func (h *hand) now() time.Time { return h.at }

// lines returns those lines of s's own text that have all parts.
func lines(s *meter.Set, parts ...string) []string {
	var out []string
all:
	for line := range strings.Lines(own(s)) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue all
			}
		}
		out = append(out, strings.TrimSuffix(line, "\n"))
	}
	return out
}

func TestRouteMetrics(t *testing.T) {
	t.Parallel()
	s := meter.NewSet(time.Now)
	r := s.Route(`quo"te`, "commerce")
	r.Observe(0, meter.MethodOf([]byte("GET")), 200, 3*time.Millisecond)
	r.Observe(1, meter.MethodOf([]byte("GET")), 200, 40*time.Second)
	r.Observe(0, meter.MethodOf([]byte("BREW")), 503, time.Second)
	r.Fault(5, "overloaded")
	r.Fault(6, "overloaded")
	want := `# HELP gateway_faults_total Answers that the gateway made itself because it could or would not forward.
# TYPE gateway_faults_total counter
gateway_faults_total{route="quo\"te",service="commerce",code="overloaded"} 2
# HELP gateway_request_duration_seconds Time from the request's head to the end of its answer.
# TYPE gateway_request_duration_seconds histogram
`
	for _, one := range []struct {
		labels string
		counts []int
		sum    string
	}{
		{`method="GET",route="quo\"te",status_code="200",service="commerce"`, []int{0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, "40.003"},
		{`method="other",route="quo\"te",status_code="503",service="commerce"`, []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1}, "1"},
	} {
		for i, le := range strings.Fields("0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.15 0.25 0.5 1 2.5 5 10 30 +Inf") {
			want += fmt.Sprintf("gateway_request_duration_seconds_bucket{%s,le=%q} %d\n", one.labels, le, one.counts[i])
		}
		want += fmt.Sprintf("gateway_request_duration_seconds_sum{%s} %s\n", one.labels, one.sum)
		want += fmt.Sprintf("gateway_request_duration_seconds_count{%s} %d\n", one.labels, one.counts[15])
	}
	want += `# HELP gateway_requests_total Requests that ended, by their final status.
# TYPE gateway_requests_total counter
gateway_requests_total{method="GET",route="quo\"te",status_code="200",service="commerce"} 2
gateway_requests_total{method="other",route="quo\"te",status_code="503",service="commerce"} 1
`
	if diff := cmp.Diff(want, own(s)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMethodOf(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]string{
		"GET": "GET", "HEAD": "HEAD", "POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE",
		"OPTIONS": "OPTIONS", "CONNECT": "CONNECT", "TRACE": "TRACE",
		"": "other", "get": "other", "GE": "other", "GETS": "other", "other": "other", "PROPFIND": "other",
	} {
		if got := meter.MethodOf([]byte(method)).String(); got != want {
			t.Errorf("%q is %q, want %q", method, got, want)
		}
	}
}

// Whatever callers and upstreams make up, the series of a route are few.
func TestNobodyGrowsLabels(t *testing.T) {
	t.Parallel()
	s := meter.NewSet(time.Now)
	r := s.Route("none", "none")
	for status := -10; status < 1100; status++ {
		for _, method := range []string{"GET", "BREW", fmt.Sprint("M", status)} {
			r.Observe(0, meter.MethodOf([]byte(method)), status, 0)
		}
	}
	got := lines(s, "gateway_requests_total{")
	if len(got) > 2*80 {
		t.Errorf("%d series of two methods", len(got))
	}
	for _, want := range []string{
		`{method="GET",route="none",status_code="299",`, `{method="GET",route="none",status_code="000",`,
	} {
		if found := lines(s, "gateway_requests_total"+want); len(found) != 0 {
			t.Errorf("%s", found)
		}
	}
	for status, n := range map[string]int{"200": 1, "404": 1, "499": 1, "511": 1, "1xx": 95, "2xx": 90, "5xx": 89, "other": 610} {
		want := fmt.Sprintf(`gateway_requests_total{method="GET",route="none",status_code=%q,service="none"} %d`, status, n)
		if diff := cmp.Diff([]string{want}, lines(s, "gateway_requests_total{", `"GET"`, fmt.Sprintf("status_code=%q", status))); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

func TestRouteOutlivesReloads(t *testing.T) {
	t.Parallel()
	h := &hand{time.Unix(1e9, 0)}
	s := meter.NewSet(h.now)
	count := func() string { return strings.Join(lines(s, "gateway_requests_total{"), ";") }
	one := func(n int) string {
		return fmt.Sprintf(`gateway_requests_total{method="GET",route="orders",status_code="200",service="commerce"} %d`, n)
	}
	first := s.Route("orders", "commerce")
	first.Observe(0, 0, 200, 0)
	second := s.Route("orders", "commerce") // the next snapshot comes before the last one goes
	first.Release()
	h.at = h.at.Add(24 * time.Hour)
	if second.Observe(0, 0, 200, 0); first != second || count() != one(2) {
		t.Errorf("held by the second snapshot: %q", count())
	}
	second.Release()
	h.at = h.at.Add(10 * time.Minute)
	if count() != one(2) {
		t.Errorf("ten minutes after: %q", count())
	}
	third := s.Route("orders", "commerce")
	if third.Observe(0, 0, 200, 0); count() != one(3) {
		t.Errorf("back in time: %q", count())
	}
	h.at = h.at.Add(time.Hour)
	if count() != one(3) {
		t.Errorf("still held: %q", count())
	}
	third.Release()
	h.at = h.at.Add(10*time.Minute + 1)
	if count() != "" {
		t.Errorf("later: %q", count())
	}
	if other := s.Route("orders", "commerce"); other == third || count() != "" {
		t.Errorf("a route that comes back later starts anew: %q", count())
	}
}

// Where nobody scrapes, series that are long gone go with the next reloads.
func TestRoutesGoWithoutScrapes(t *testing.T) {
	t.Parallel()
	h := &hand{time.Unix(1e9, 0)}
	s := meter.NewSet(h.now)
	gone := s.Route("orders", "commerce")
	gone.Release()
	h.at = h.at.Add(10*time.Minute + 1)
	s.Route("bills", "commerce")
	h.at = time.Unix(1e9, 0) // a scrape would not find it old now, were it still there
	if s.Route("orders", "commerce") == gone {
		t.Error("the old route is still there")
	}
}

func TestOneReleaseTooManyPanics(t *testing.T) {
	t.Parallel()
	r := meter.NewSet(time.Now).Route("orders", "commerce")
	r.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	r.Release()
}

func TestRouteAmongManyCallers(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 300
	s := meter.NewSet(time.Now)
	var group sync.WaitGroup
	for i := range uint32(callers) {
		group.Go(func() {
			r := s.Route("orders", "commerce")
			defer r.Release()
			for j := range each {
				r.Observe(i, meter.MethodIndex(j%3), 200+j%2, time.Millisecond)
				r.Fault(i, fmt.Sprint("code", j%5))
				if j%100 == 0 {
					own(s)
				}
			}
		})
	}
	group.Wait()
	var requests, faults int
	for _, line := range lines(s, "} ") {
		var n int
		name, value, _ := strings.Cut(line, "} ")
		if _, err := fmt.Sscan(value, &n); err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(name, "gateway_requests_total"):
			requests += n
		case strings.HasPrefix(name, "gateway_faults_total"):
			faults += n
		}
	}
	if requests != callers*each || faults != callers*each {
		t.Errorf("%d requests, %d faults; want %d each", requests, faults, callers*each)
	}
}
