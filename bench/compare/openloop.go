package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sampleEvery is how often memory is looked at during an open-loop run.
const sampleEvery = 250 * time.Millisecond

// loadReport is what is used of the JSON of bench/load.
type loadReport struct {
	Rate      float64 `json:"rate"`
	Clean     bool    `json:"clean"`
	Answered  int64   `json:"answered"`
	PerSecond float64 `json:"answers_per_second"`
	Failed    int64   `json:"failed"`
	Latency   struct {
		P50  float64 `json:"p50"`
		P99  float64 `json:"p99"`
		P999 float64 `json:"p99.9"`
		Max  float64 `json:"max"`
	} `json:"latency_ms"`
	Held float64 `json:"held_ms"`
}

// openRun is one run at a constant rate.
type openRun struct {
	subject string
	load    loadReport
	cpu     float64 // µs a request
	memory  int64   // the most that was resident, in bytes
}

// openLoop measures each subject at the asked rate and at half of it.
func (st *stand) openLoop(ctx context.Context, sc *scenario) ([]openRun, error) {
	var runs []openRun
	for _, name := range sc.subjects {
		if !st.wants(name) {
			continue
		}
		s, err := st.start(ctx, name, sc)
		if err != nil {
			return nil, err
		}
		for _, rate := range []float64{st.openLoopRate / 2, st.openLoopRate} {
			run, err := st.openRun(ctx, s, sc, rate)
			if err != nil {
				st.stopAll([]*subject{s})
				return nil, err
			}
			runs = append(runs, run)
			st.say("%s at %.0f/s: p99 %.2f ms, %d failed\n", name, rate, run.load.Latency.P99, run.load.Failed)
		}
		st.stopAll([]*subject{s})
	}
	return runs, nil
}

// openRun is one run at one rate against one subject.
func (st *stand) openRun(ctx context.Context, s *subject, sc *scenario, rate float64) (openRun, error) {
	run := openRun{subject: s.name}
	pids, err := s.pids()
	if err != nil {
		return run, err
	}
	start, err := cpuTime(pids)
	if err != nil {
		return run, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(st.dir, "load"),
		"-url", "http://"+s.address+sc.path, "-method", sc.method, "-body", strings.Repeat("x", sc.body),
		"-rate", fmt.Sprint(rate), "-duration", st.duration.String(), "-connections", strconv.Itoa(st.connections))
	text, err := runLoad(cmd, func() {
		// A process that ends meanwhile shows in the failures of the run.
		if resident, err := memory(pids); err == nil {
			run.memory = max(run.memory, resident)
		}
	})
	if err != nil {
		return run, err
	}
	end, err := cpuTime(pids)
	if err != nil {
		return run, err
	}
	if err := json.Unmarshal([]byte(text), &run.load); err != nil {
		return run, fmt.Errorf("read the report of the load: %w", err)
	}
	run.cpu = float64(end-start) / float64(time.Microsecond) / float64(max(run.load.Answered, 1))
	return run, nil
}

// runLoad runs a command of bench/load to its end, returns the JSON, and calls look
// every now and then.
func runLoad(cmd *exec.Cmd, look func()) (string, error) {
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start the load: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // awaited below
	for {
		select {
		case err := <-ended:
			// Code 1 with a report: a run that was not clean.
			var exit *exec.ExitError
			if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1 && out.Len() > 0) {
				return "", fmt.Errorf("load: %w: %s", err, strings.TrimSpace(errOut.String()))
			}
			return out.String(), nil
		case <-time.After(sampleEvery):
			look()
		}
	}
}
