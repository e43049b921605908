package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// failure is why a request has no right answer.
type failure uint8

const (
	failReset     failure = iota // the connection broke
	failShort                    // it ended before the answer did
	failDifferent                // the answer is not the expected one
	failMalformed                // the answer is none
	failTimeout                  // no whole answer within the timeout
	failUnsent                   // no connection was free from its due time until the end
	failConnect                  // a connection could not be made; no request of its own
	failures
)

// String is the name in the JSON.
func (f failure) String() string {
	return [...]string{"reset", "short", "different", "malformed", "timeout", "unsent", "connect", "?"}[min(f, failures)]
}

// Latencies are recorded with three significant digits between these.
const (
	leastLatency   = time.Microsecond
	longestLatency = 10 * time.Minute
)

// result is what one loop has seen. It belongs to one goroutine at a time.
type result struct {
	began          time.Time // the start
	sent, answered int64     // of the whole run, warm-up included
	recorded       int64     // answers that count in the latencies
	failed         [failures]int64
	examples       [failures]string // the first of each kind
	reconnects     int64            // connections that the server closed in peace
	bytes          int64            // received
	lastAnswer     time.Duration    // since the start
	firstFailed    time.Duration    // since the start; of any kind, when it was seen
	lastFailed     time.Duration
	held           time.Duration // the longest the loop was kept from looking at its sockets

	latency *hdrhistogram.Histogram // from due to answered
	service *hdrhistogram.Histogram // from sent to answered
	lag     *hdrhistogram.Histogram // from (due, and a connection free) to sent: the generator's own
}

func newResult() *result {
	histogram := func() *hdrhistogram.Histogram {
		return hdrhistogram.New(int64(leastLatency), int64(longestLatency), 3)
	}
	return &result{latency: histogram(), service: histogram(), lag: histogram()}
}

// fail counts a failure that was seen at a time since the start, and keeps the first
// text of its kind.
func (r *result) fail(f failure, at time.Duration, text string) {
	if r.failedAll() == 0 {
		r.firstFailed = at
	}
	r.lastFailed = max(r.lastFailed, at)
	if r.failed[f]++; r.failed[f] == 1 {
		r.examples[f] = text
	}
}

// failedAll is how many failed, of every kind.
func (r *result) failedAll() int64 {
	var n int64
	for _, count := range r.failed {
		n += count
	}
	return n
}

// add takes the counts and latencies of another loop.
func (r *result) add(o *result) {
	r.sent += o.sent
	r.answered += o.answered
	r.recorded += o.recorded
	r.reconnects += o.reconnects
	r.bytes += o.bytes
	r.lastAnswer = max(r.lastAnswer, o.lastAnswer)
	if n := r.failedAll(); n == 0 || o.failedAll() > 0 && o.firstFailed < r.firstFailed {
		r.firstFailed = o.firstFailed
	}
	r.lastFailed = max(r.lastFailed, o.lastFailed)
	r.held = max(r.held, o.held)
	for f := range failures {
		r.failed[f] += o.failed[f]
		if r.examples[f] == "" {
			r.examples[f] = o.examples[f]
		}
	}
	r.latency.Merge(o.latency)
	r.service.Merge(o.service)
	r.lag.Merge(o.lag)
}

// note records a duration; one out of bounds is cut to the bound.
func note(h *hdrhistogram.Histogram, d time.Duration) {
	// The only error is a value out of bounds, and there is none left.
	_ = h.RecordValue(int64(min(max(d, leastLatency), longestLatency)))
}
