package meter_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/meter"
)

// own returns what the set wrote of the gateway's own families.
func own(s *meter.Set) string {
	var all bytes.Buffer
	s.WritePrometheus(&all)
	var lines strings.Builder
	for line := range strings.Lines(all.String()) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if strings.HasPrefix(name, "gateway_") {
			lines.WriteString(line)
		}
	}
	return lines.String()
}

func TestTextFormat(t *testing.T) {
	t.Parallel()
	s := meter.NewSet(time.Now)
	s.Counter("gateway_tries_total", "Tries.\nOf \\ all.", meter.Label{Name: "why", Value: "a\\b\"c\nd"}).Add(0, 2)
	s.Counter("gateway_tries_total", "Tries.", meter.Label{Name: "why", Value: "bad\xffbyte"}).Add(7, 3)
	s.Gauge("gateway_heat", "Heat.", func() float64 { return 1.5 })
	s.Gauge("gateway_cold", "Cold.", func() float64 { return math.Inf(-1) }, meter.Label{Name: "a", Value: "1"}, meter.Label{Name: "b", Value: ""})
	s.CounterFunc("gateway_kept_total", "Kept elsewhere.", func() float64 { return 12345678 })
	h := s.Histogram("gateway_wait_seconds", "Waits.", []float64{.0025, .5})
	for _, d := range []time.Duration{-time.Second, 0, 2500 * time.Microsecond, 2500*time.Microsecond + 1, time.Second} {
		h.Observe(uint32(d), d)
	}
	s.Histogram("gateway_hold_seconds", "Holds.", []float64{10}, meter.Label{Name: "of", Value: "it"}).Observe(0, 1499*time.Nanosecond)
	want := `# HELP gateway_cold Cold.
# TYPE gateway_cold gauge
gateway_cold{a="1",b=""} -Inf
# HELP gateway_heat Heat.
# TYPE gateway_heat gauge
gateway_heat 1.5
# HELP gateway_hold_seconds Holds.
# TYPE gateway_hold_seconds histogram
gateway_hold_seconds_bucket{of="it",le="10"} 1
gateway_hold_seconds_bucket{of="it",le="+Inf"} 1
gateway_hold_seconds_sum{of="it"} 1e-06
gateway_hold_seconds_count{of="it"} 1
# HELP gateway_kept_total Kept elsewhere.
# TYPE gateway_kept_total counter
gateway_kept_total 1.2345678e+07
# HELP gateway_tries_total Tries.\nOf \\ all.
# TYPE gateway_tries_total counter
gateway_tries_total{why="a\\b\"c\nd"} 2
gateway_tries_total{why="bad` + "\uFFFD" + `byte"} 3
# HELP gateway_wait_seconds Waits.
# TYPE gateway_wait_seconds histogram
gateway_wait_seconds_bucket{le="0.0025"} 3
gateway_wait_seconds_bucket{le="0.5"} 4
gateway_wait_seconds_bucket{le="+Inf"} 5
gateway_wait_seconds_sum 1.005
gateway_wait_seconds_count 5
`
	if diff := cmp.Diff(want, own(s)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProcessIsShown(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	meter.NewSet(time.Now).WritePrometheus(&all)
	for _, name := range []string{"\nprocess_resident_memory_bytes ", "\nprocess_start_time_seconds ", "\ngo_goroutines ", "\nprocess_open_fds ", "\nprocess_max_fds "} {
		if !strings.Contains("\n"+all.String(), name) {
			t.Errorf("no %q among\n%s", name, all.String())
		}
	}
	if strings.Contains(all.String(), "# TYPE gateway_requests_total") {
		t.Error("a family without series is shown")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestReaderThatLeftIsIgnored(t *testing.T) {
	t.Parallel()
	meter.NewSet(time.Now).WritePrometheus(brokenWriter{})
}

func TestSameNameAndLabelsIsSameMetric(t *testing.T) {
	t.Parallel()
	s := meter.NewSet(time.Now)
	a, b := meter.Label{Name: "a", Value: "1"}, meter.Label{Name: "b", Value: "2"}
	first := s.Counter("gateway_x_total", "X.", a, b)
	if first != s.Counter("gateway_x_total", "X.", a, b) {
		t.Error("two counters")
	}
	if s.Counter("gateway_x_total", "X.", a) == s.Counter("gateway_x_total", "X.", b) {
		t.Error("one counter for two labels")
	}
	histogram := s.Histogram("gateway_x_seconds", "X.", []float64{1, 2}, a)
	if histogram != s.Histogram("gateway_x_seconds", "X.", []float64{1, 2}, a) {
		t.Error("two histograms")
	}
}

func TestGaugeGoesWithItsOwnRemove(t *testing.T) {
	t.Parallel()
	s := meter.NewSet(time.Now)
	removeFirst := s.Gauge("gateway_x", "X.", func() float64 { return 1 })
	removeSecond := s.Gauge("gateway_x", "X.", func() float64 { return 2 })
	removeFirst() // its place was taken: nothing to remove
	if got := own(s); !strings.Contains(got, "\ngateway_x 2\n") {
		t.Errorf("after the first was removed: %q", got)
	}
	removeSecond()
	removeSecond()
	if got := own(s); got != "" {
		t.Errorf("after both were removed: %q", got)
	}
}

func TestCallbackMayUseTheSet(t *testing.T) {
	t.Parallel()
	s := meter.NewSet(time.Now)
	s.Gauge("gateway_x", "X.", func() float64 {
		s.Counter("gateway_asked_total", "Asked.").Add(0, 1)
		return 0
	})
	own(s)
	if got := own(s); !strings.Contains(got, "gateway_asked_total 1\n") && !strings.Contains(got, "gateway_asked_total 2\n") {
		t.Errorf("got %q", got)
	}
}

func TestMistakesPanic(t *testing.T) {
	t.Parallel()
	none := func() float64 { return 0 }
	for name, c := range map[string]struct {
		make func(*meter.Set)
		want string
	}{
		"name":              {func(s *meter.Set) { s.Gauge("Gateway", "", none) }, "lower-case"},
		"empty name":        {func(s *meter.Set) { s.Gauge("", "", none) }, "lower-case"},
		"double _":          {func(s *meter.Set) { s.Gauge("gateway__x", "", none) }, "lower-case"},
		"dash":              {func(s *meter.Set) { s.Gauge("gateway-x", "", none) }, "lower-case"},
		"counter's end":     {func(s *meter.Set) { s.Counter("gateway_x", "") }, "_total"},
		"callback's end":    {func(s *meter.Set) { s.CounterFunc("gateway_x", "", none) }, "_total"},
		"gauge's end":       {func(s *meter.Set) { s.Gauge("gateway_x_total", "", none) }, "_total"},
		"histogram's end":   {func(s *meter.Set) { s.Histogram("gateway_x", "", []float64{1}) }, "_seconds"},
		"line of histogram": {func(s *meter.Set) { s.Gauge("gateway_x_count", "", none) }, "like a line"},
		"by route":          {func(s *meter.Set) { s.Counter("gateway_requests_total", "") }, "by route"},
		"by route, faults":  {func(s *meter.Set) { s.CounterFunc("gateway_faults_total", "", none) }, "by route"},
		"label":             {func(s *meter.Set) { s.Gauge("gateway_x", "", none, meter.Label{Name: "a-b"}) }, "label name"},
		"label le":          {func(s *meter.Set) { s.Gauge("gateway_x", "", none, meter.Label{Name: "le"}) }, "label name"},
		"label twice": {func(s *meter.Set) {
			s.Gauge("gateway_x", "", none, meter.Label{Name: "a"}, meter.Label{Name: "b"}, meter.Label{Name: "a"})
		}, "twice"},
		"no bounds' order": {func(s *meter.Set) { s.Histogram("gateway_x_seconds", "", []float64{1, 1}) }, "ascend"},
		"bound 0":          {func(s *meter.Set) { s.Histogram("gateway_x_seconds", "", []float64{0, 1}) }, "ascend"},
		"other bounds": {func(s *meter.Set) {
			s.Histogram("gateway_x_seconds", "", []float64{1})
			s.Histogram("gateway_x_seconds", "", []float64{2}, meter.Label{Name: "a"})
		}, "other bounds"},
		"two kinds": {func(s *meter.Set) {
			s.Gauge("gateway_x_seconds", "", none)
			s.Histogram("gateway_x_seconds", "", []float64{1})
		}, "is a gauge"},
		"counted, then asked": {func(s *meter.Set) { s.Counter("gateway_x_total", ""); s.CounterFunc("gateway_x_total", "", none) }, "counted here"},
		"asked, then counted": {func(s *meter.Set) { s.CounterFunc("gateway_x_total", "", none); s.Counter("gateway_x_total", "") }, "kept elsewhere"},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "BUG: ") || !strings.Contains(got, c.want) {
					t.Errorf("%s: panic %q, want one with %q", name, got, c.want)
				}
			}()
			c.make(meter.NewSet(time.Now))
		}()
	}
}

// A histogram counts what a plain one counts, whatever the stripes, on both sides
// of the point where it gets all of them.
func TestHistogramCountsAll(t *testing.T) {
	t.Parallel()
	bounds := []float64{.001, .0025, .005, .01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10, 30}
	rapid.Check(t, func(rt *rapid.T) {
		s := meter.NewSet(time.Now)
		h := s.Histogram("gateway_x_seconds", "X.", bounds)
		all := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) time.Duration {
			near := time.Duration(bounds[rapid.IntRange(0, len(bounds)-1).Draw(rt, "bound")] * 1e6)
			return near*time.Microsecond + time.Duration(rapid.IntRange(-1, 1).Draw(rt, "beside"))
		}), 1, 20).Draw(rt, "durations")
		times := rapid.SampledFrom([]int{1, 600, 2000}).Draw(rt, "times")
		counts, sum := make([]uint64, len(bounds)), 0.
		for i, d := range all {
			for j := range times {
				h.Observe(uint32(i+j), d)
			}
			for b, bound := range bounds {
				if d <= time.Duration(bound*1e6)*time.Microsecond {
					counts[b] += uint64(times)
				}
			}
			sum += float64(times) * d.Seconds()
		}
		if n := h.Count(); n != uint64(len(all)*times) {
			rt.Fatalf("count %d, want %d", n, len(all)*times)
		}
		text := own(s)
		for b, n := range counts {
			if want := fmt.Sprintf("gateway_x_seconds_bucket{le=\"%v\"} %d\n", bounds[b], n); !strings.Contains(text, want) {
				rt.Fatalf("no %q in\n%s", want, text)
			}
		}
		var got float64
		_, after, _ := strings.Cut(text, "gateway_x_seconds_sum ")
		if _, err := fmt.Sscan(after, &got); err != nil || math.Abs(got-sum) > 1e-6*float64(len(all)*times) {
			rt.Fatalf("sum %v (%v), want %v", got, err, sum)
		}
	})
}

func TestNothingIsLostAmongManyCallers(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 2000
	s := meter.NewSet(time.Now)
	c := s.Counter("gateway_x_total", "X.")
	h := s.Histogram("gateway_x_seconds", "X.", []float64{1})
	var group sync.WaitGroup
	for i := range uint32(callers) {
		group.Go(func() {
			last := uint64(0)
			for range each {
				c.Add(i, 2)
				h.Observe(i, time.Millisecond)
				if n := h.Count(); n < last {
					t.Errorf("%d after %d", n, last)
				} else {
					last = n
				}
			}
		})
	}
	group.Wait()
	if c.Value() != 2*callers*each || h.Count() != callers*each {
		t.Errorf("counter %d, histogram %d; want %d and %d", c.Value(), h.Count(), 2*callers*each, callers*each)
	}
}
