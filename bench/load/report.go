package main

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// cleanP99 is the latency that 99 % of the requests of a clean run stay below.
const cleanP99 = 150 * time.Millisecond

// milliseconds sums up a histogram.
type milliseconds struct {
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	P9999 float64 `json:"p99.99"`
	Max   float64 `json:"max"`
}

func summarize(h *hdrhistogram.Histogram) milliseconds {
	at := func(percent float64) float64 { return inMilliseconds(float64(h.ValueAtQuantile(percent))) }
	return milliseconds{
		Mean: inMilliseconds(h.Mean()), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99),
		Max: inMilliseconds(float64(h.Max())),
	}
}

func inMilliseconds(nanoseconds float64) float64 { return nanoseconds / float64(time.Millisecond) }

// report is what one run tells, as JSON and as text.
type report struct {
	Rate        float64           `json:"rate"` // asked for, requests a second
	Seconds     float64           `json:"seconds"`
	Connections int               `json:"connections"`
	Threads     int               `json:"threads"`
	Clean       bool              `json:"clean"` // no failure, and p99 below 150 ms
	Sent        int64             `json:"sent"`
	Answered    int64             `json:"answered"`
	PerSecond   float64           `json:"answers_per_second"` // after the warm-up
	Bytes       int64             `json:"bytes_received"`
	Reconnects  int64             `json:"reconnects"`
	Failed      int64             `json:"failed"`
	FirstFailed float64           `json:"first_failed_ms,omitempty"` // since Began, as the next
	LastFailed  float64           `json:"last_failed_ms,omitempty"`
	Began       time.Time         `json:"began"`
	Failures    map[string]int64  `json:"failures,omitempty"`
	Examples    map[string]string `json:"examples,omitempty"`
	Latency     milliseconds      `json:"latency_ms"` // from the moment a request was due
	Service     milliseconds      `json:"service_ms"` // from the moment it was sent
	Lag         milliseconds      `json:"lag_ms"`     // of the generator itself; part of the latency
	Held        float64           `json:"held_ms"`    // the longest the machine kept the generator from running
}

func newReport(p *plan, r *result) report {
	rep := report{
		Rate: p.rate, Seconds: p.duration.Seconds(), Connections: p.connections, Threads: p.threads,
		Sent: r.sent, Answered: r.answered, Bytes: r.bytes, Reconnects: r.reconnects, Failed: r.failedAll(),
		FirstFailed: inMilliseconds(float64(r.firstFailed)), LastFailed: inMilliseconds(float64(r.lastFailed)), Began: r.began,
		Held:    inMilliseconds(float64(r.held)),
		Latency: summarize(r.latency), Service: summarize(r.service), Lag: summarize(r.lag),
	}
	// Answers may have come after the end, so the time they took is longer.
	rep.PerSecond = float64(r.recorded) / max(p.duration, r.lastAnswer-p.warmup).Seconds()
	for f, n := range r.failed {
		if n == 0 {
			continue
		}
		if rep.Failures == nil {
			rep.Failures, rep.Examples = map[string]int64{}, map[string]string{}
		}
		rep.Failures[failure(f).String()] = n
		rep.Examples[failure(f).String()] = r.examples[f]
	}
	rep.Clean = rep.Failed == 0 && rep.Latency.P99 < inMilliseconds(float64(cleanP99))
	return rep
}

// header is the first line of a table of rows.
const header = "      rate    answers/s    failed       p50       p90       p99     p99.9       max       lag99      held   clean\n"

// row is one line of that table; latencies in ms.
func (r *report) row() string {
	l := &r.Latency
	return fmt.Sprintf("%10.0f  %11.0f  %8d  %8.2f  %8.2f  %8.2f  %8.2f  %8.2f    %8.2f  %8.2f   %v\n",
		r.Rate, r.PerSecond, r.Failed, l.P50, l.P90, l.P99, l.P999, l.Max, r.Lag.P99, r.Held, yesNo(r.Clean))
}

// explain lists the kinds of failure, each with an example, a line each.
func (r *report) explain() string {
	var text string
	for f := range failures {
		if n := r.Failures[f.String()]; n > 0 {
			text += fmt.Sprintf("            %d %s, like: %s\n", n, f, r.Examples[f.String()])
		}
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
