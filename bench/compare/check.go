package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// counts is what the origin tells about itself (bench/origin).
type counts struct {
	Accepts  int64 `json:"accepts"`
	Requests int64 `json:"requests"`
}

// originCounts asks the origin. It costs one connection, which the answer
// includes.
func originCounts(ctx context.Context, address string) (counts, error) {
	var c counts
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/stats", nil)
	if err != nil {
		return c, fmt.Errorf("ask the origin: %w", err)
	}
	resp, err := client(nil).Do(req)
	if err != nil {
		return c, fmt.Errorf("ask the origin: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		return c, fmt.Errorf("ask the origin: %w", err)
	}
	return c, nil
}

// digest sends the request of a scenario and returns a digest of the body of the
// answer, which must be a 200.
func (st *stand) digest(ctx context.Context, address string, sc *scenario) (string, error) {
	req, err := http.NewRequestWithContext(ctx, sc.method, sc.url(address, address == st.origin.address), strings.NewReader(strings.Repeat("x", sc.body)))
	if err != nil {
		return "", fmt.Errorf("ask for %s: %w", sc.path, err)
	}
	if sc.field.name != "" {
		req.Header.Set(sc.field.name, sc.field.value)
	}
	resp, err := client(st.identity).Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for %s: %w", sc.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, resp.Body)
	if err != nil {
		return "", fmt.Errorf("read %s after %d bytes: %w", sc.path, n, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask for %s: status %d", sc.path, resp.StatusCode)
	}
	return fmt.Sprintf("%d bytes, sha256 %x", n, h.Sum(nil)), nil
}

// checkAnswers compares what each subject answers with what the origin does.
func (st *stand) checkAnswers(ctx context.Context, subjects []*subject, sc *scenario) error {
	want, err := st.digest(ctx, st.origin.address, sc)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		got, err := st.digest(ctx, s.address, sc)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if got != want {
			return fmt.Errorf("%s hands on %s, the origin gave %s", s.name, got, want)
		}
	}
	return nil
}

// checkWorkers makes sure that each proxy may use as many cores as the gateway.
func checkWorkers(s *subject, workers int) error {
	var have int
	var err error
	switch s.name {
	case ours, plain:
		var text string
		if text, err = environment(s.process.pid(), "GOMAXPROCS"); err == nil {
			have, err = strconv.Atoi(text)
		}
	case nginx:
		var pids []int
		pids, err = s.pids()
		have = len(pids) - 1 // the first is the master, which serves nobody
	case haproxy:
		have, err = threads(s.process.pid())
	default:
		return nil
	}
	if err != nil {
		return fmt.Errorf("workers of %s: %w", s.name, err)
	}
	if have != workers {
		return fmt.Errorf("%s has %d workers, want %d", s.name, have, workers)
	}
	return nil
}

// round is all that one round has shown.
type round struct {
	subject     string
	connections int
	wrk         wrkResult
	took        time.Duration // from before wrk started until it had ended
	cpu         time.Duration // of the subject
	part        time.Duration // CPU of all that takes part: subject, wrk, origin
	all         time.Duration // CPU of the whole machine
	before      counts
	after       counts
}

// check says whether the round counts.
func (r *round) check() error {
	w := &r.wrk
	if w.Connect+w.Read+w.Write+w.Status+w.Timeout > 0 {
		return fmt.Errorf("%s: %d connect, %d read, %d write errors, %d wrong statuses, %d timeouts",
			r.subject, w.Connect, w.Read, w.Write, w.Status, w.Timeout)
	}
	if w.Requests == 0 {
		return fmt.Errorf("%s answered nothing", r.subject)
	}
	if answered := r.after.Requests - r.before.Requests; answered < w.Requests {
		return fmt.Errorf("%s: the origin answered %d of %d requests; who answered the others?", r.subject, answered, w.Requests)
	}
	// One of the accepts was our own question.
	if accepts := r.after.Accepts - r.before.Accepts - 1; accepts > int64(2*r.connections) {
		return fmt.Errorf("%s: %d new connections to the origin in one round with %d clients: they are not kept alive", r.subject, accepts, r.connections)
	}
	// The cheapest request needs a few system calls: a microsecond and more.
	if r.cpu < time.Duration(w.Requests)*time.Microsecond {
		return fmt.Errorf("%s used %v of CPU for %d requests: the wrong processes were measured", r.subject, r.cpu, w.Requests)
	}
	return nil
}

// sample is the round in the units of the report.
func (r *round) sample() sample {
	return sample{
		cpu:  float64(r.cpu) / float64(time.Microsecond) / float64(r.wrk.Requests),
		rate: float64(r.wrk.Requests) / r.wrk.Duration.Seconds(),
		p50:  milliseconds(r.wrk.P50),
		p99:  milliseconds(r.wrk.P99),
		p999: milliseconds(r.wrk.P999),
		// Ticks are coarse: a quiet machine may come out below nothing.
		others: max(0, float64(r.all-r.part)/float64(r.took)),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
