package chaos

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// sampleEvery is how often the gateway is asked what it has sent where.
const sampleEvery = 100 * time.Millisecond

// sample is how many tries each endpoint has got until a moment.
type sample struct {
	at    time.Time
	tries map[string]float64 // by address
}

// sampler asks the gateway at intervals until stop.
type sampler struct {
	g       *gateway
	quit    chan struct{}
	running sync.WaitGroup
	samples []sample // complete after stop
}

func (g *gateway) sampler() *sampler {
	s := &sampler{g: g, quit: make(chan struct{})}
	s.running.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			if text, err := g.metrics(); err == nil {
				s.samples = append(s.samples, sample{time.Now(), triesIn(text)})
			}
			select {
			case <-s.quit:
				return
			case <-tick.C:
			}
		}
	})
	return s
}

func (s *sampler) stop() {
	close(s.quit)
	s.running.Wait()
}

// triesIn are the tries that /metrics tells, by endpoint.
func triesIn(metrics string) map[string]float64 {
	tries := map[string]float64{}
	for line := range strings.Lines(metrics) {
		labels, number, found := strings.Cut(strings.TrimPrefix(line, "gateway_upstream_requests_total{"), "} ")
		if !found || len(labels) == len(line) || !strings.HasPrefix(line, "gateway_upstream_requests_total{") {
			continue
		}
		_, rest, _ := strings.Cut(labels, `endpoint="`)
		address, _, _ := strings.Cut(rest, `"`)
		if n, err := strconv.ParseFloat(strings.TrimSpace(number), 64); err == nil {
			tries[address] += n
		}
	}
	return tries
}

// window is how long an endpoint must be left alone, or be used again, to be taken for it.
const window = time.Second

// until is how long after from the endpoint's share of all tries is, for a whole window,
// one that content likes; -1 if that does not happen before to. What is told is where the
// window begins.
func (s *sampler) until(address string, from, to time.Time, content func(share float64) bool) time.Duration {
	for i, a := range s.samples {
		if a.at.Before(from) {
			continue
		}
		for _, b := range s.samples[i:] {
			if b.at.Sub(a.at) < window {
				continue
			}
			if b.at.After(to) {
				return -1
			}
			if content(share(a, b, address)) {
				return a.at.Sub(from)
			}
			break
		}
	}
	return -1
}

// share is the endpoint's part of the tries between two samples.
func share(a, b sample, address string) float64 {
	var all float64
	for endpoint, n := range b.tries {
		all += n - a.tries[endpoint]
	}
	if all == 0 {
		return 0
	}
	return (b.tries[address] - a.tries[address]) / all
}

// row is one line of the table.
type row struct {
	name           string
	load           *load
	eject, recover time.Duration // -1: did not happen
	note           string
}

// tell is the table for people. Held is the longest that the machine kept the load itself
// from running.
func tell(rows []row) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\trequests\tfailed\tp50 ms\tp99 ms\tejected after\trecovered after\theld ms\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%.1f\t%s\t%s\t%.0f\t  %s\n", r.name, r.load.Sent, r.load.Failed, r.load.Latency.P50, r.load.Latency.P99, took(r.eject), took(r.recover), r.load.Held, r.note)
	}
	_ = w.Flush() // to memory
	return b.String()
}

func took(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return d.Round(10 * time.Millisecond).String()
}
