package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// loadReport is what is used of the JSON of bench/load.
type loadReport struct {
	Sent       int64             `json:"sent"`
	Answered   int64             `json:"answered"`
	Failed     int64             `json:"failed"`
	Reconnects int64             `json:"reconnects"`
	Examples   map[string]string `json:"examples"`
	Held       float64           `json:"held_ms"` // the longest the machine kept it from running
	Latency    struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"latency_ms"`
}

// flawless says what was wrong with a run, or nil.
func (r *loadReport) flawless() error {
	if r.Failed > 0 || r.Answered != r.Sent || r.Sent == 0 {
		return fmt.Errorf("%d of %d requests failed: %v", r.Failed, r.Sent, r.Examples)
	}
	return nil
}

// under runs bench/load against the socket for d, and change, if there is one,
// meanwhile.
func (st *stand) under(ctx context.Context, d time.Duration, change func() error) (*loadReport, error) {
	c := exec.CommandContext(ctx, filepath.Join(st.dir, "load"), "-url", "http://"+st.address+"/small",
		"-rate", fmt.Sprint(st.rate), "-connections", strconv.Itoa(st.connections),
		"-duration", d.String(), "-warmup", "200ms", "-timeout", patience.String())
	changed := make(chan error, 1)
	go func() { // awaited below
		if change == nil {
			changed <- nil
			return
		}
		changed <- change()
	}()
	text, err := c.Output()
	err = errors.Join(<-changed, exitOf(err))
	if err != nil {
		return nil, err
	}
	r := &loadReport{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read the report of the load %q: %w", text, err)
	}
	return r, nil
}

// exitOf is nil for a run whose report says what was unclean.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("run the load: %w", err)
	}
	return nil
}
