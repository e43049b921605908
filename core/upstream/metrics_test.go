package upstream

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/meter"
)

// scraped are the lines of the endpoints' series.
func scraped(s *meter.Set) string {
	var all, ours strings.Builder
	s.WritePrometheus(&all)
	for line := range strings.Lines(all.String()) {
		if strings.HasPrefix(line, "gateway_upstream_") {
			ours.WriteString(line)
		}
	}
	return ours.String()
}

func TestEndpointSeries(t *testing.T) {
	t.Parallel()
	set := meter.NewSet(time.Now)
	r := NewRegistry((&counting{}).open)
	r.Publish(set)
	acquire := func(name string, maximum int) *Service {
		s := spec(WeightedRoundRobin, 1, 1)
		s.Name, s.Connections.Maximum = name, maximum
		acquired, err := r.Acquire(s)
		if err != nil {
			t.Fatal(err)
		}
		return acquired
	}
	wants := func(when string, want string) {
		t.Helper()
		if got := scraped(set); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", when, got, want)
		}
	}
	series := func(of ...any) string { // service, endpoint, in flight, requests
		var ejections, inService, inFlight, requests string
		for i := 0; i < len(of); i += 4 {
			labels := fmt.Sprintf("{service=%q,endpoint=%q}", of[i], of[i+1])
			ejections += fmt.Sprintf("gateway_upstream_ejections_total%s 0\n", labels)
			inService += fmt.Sprintf("gateway_upstream_in_service%s 1\n", labels)
			inFlight += fmt.Sprintf("gateway_upstream_in_flight%s %d\n", labels, of[i+2])
			requests += fmt.Sprintf("gateway_upstream_requests_total%s %d\n", labels, of[i+3])
		}
		return ejections + inFlight + inService + requests
	}
	wants("before", "")
	one, other := acquire("one", 5), acquire("other", 5)
	if one.Members()[0].Endpoint == other.Members()[0].Endpoint {
		t.Error("two services share an endpoint")
	}
	for range 3 {
		one.Members()[0].Endpoint.Begin()
	}
	one.Members()[0].Endpoint.End()
	other.Members()[1].Endpoint.Begin()
	wants("two services", series("one", "a", 2, 3, "one", "b", 0, 0, "other", "a", 0, 0, "other", "b", 1, 1))
	changed := acquire("one", 6)
	changed.Members()[0].Endpoint.Begin()
	wants("while one is replaced", series("one", "a", 3, 4, "one", "b", 0, 0, "other", "a", 0, 0, "other", "b", 1, 1))
	one.Members()[0].Endpoint.End()
	one.Members()[0].Endpoint.End()
	one.Release()
	wants("when it was replaced", series("one", "a", 1, 4, "one", "b", 0, 0, "other", "a", 0, 0, "other", "b", 1, 1))
	changed.Release()
	wants("when it is gone", series("other", "a", 0, 0, "other", "b", 1, 1))
	other.Release()
	wants("at the end", "")
}

// Both numbers live in one word: neither may spill into the other.
func TestEndpointCounts(t *testing.T) {
	t.Parallel()
	var e Endpoint
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20_000 {
				e.Begin()
				if e.InFlight() < 1 {
					t.Error("nothing is under way within a request")
				}
				e.End()
			}
		})
	}
	group.Wait()
	if e.InFlight() != 0 || e.Requests() != 160_000 {
		t.Errorf("%d under way, %d begun", e.InFlight(), e.Requests())
	}
	e.counts.Store(^uint64(0) &^ (1<<inFlightBits - 1)) // the last before it goes round
	e.Begin()
	if e.InFlight() != 1 || e.Requests() != 0 {
		t.Errorf("after going round: %d under way, %d begun", e.InFlight(), e.Requests())
	}
	e.End()
	if e.InFlight() != 0 || e.Requests() != 0 {
		t.Errorf("after its end: %d under way, %d begun", e.InFlight(), e.Requests())
	}
}
