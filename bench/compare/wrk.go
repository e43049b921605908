package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wrkResult is what wrk says of one round.
type wrkResult struct {
	Requests                              int64
	Duration                              time.Duration
	Connect, Read, Write, Status, Timeout int64 // errors; Status is an answer over 399
	P50, P99, P999, Max                   time.Duration
	CPU                                   time.Duration // of wrk itself
}

// resultMark begins the line that the script prints at the end.
const resultMark = "result "

// script is the Lua that wrk runs: the request of a scenario, and one line of
// numbers at the end (wrk's own text has no p99.9, and rounds).
func (sc *scenario) script() string {
	text := fmt.Sprintf("wrk.method = %q\n", sc.method)
	if sc.body > 0 {
		text += fmt.Sprintf("wrk.body = string.rep('x', %d)\n", sc.body)
	}
	if sc.closing {
		text += "wrk.headers['Connection'] = 'close'\n"
	}
	if sc.field.name != "" {
		text += fmt.Sprintf("wrk.headers[%q] = %q\n", sc.field.name, sc.field.value)
	}
	return text + `done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('` + resultMark + `%d %d %d %d %d %d %d %d %d %d %d\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
`
}

// runWrk loads an address with a scenario for a whole number of seconds.
func (st *stand) runWrk(ctx context.Context, address string, sc *scenario, d time.Duration) (wrkResult, error) {
	script := filepath.Join(st.dir, sc.name+".lua")
	if err := os.WriteFile(script, []byte(sc.script()), 0o600); err != nil {
		return wrkResult{}, fmt.Errorf("write the script of wrk: %w", err)
	}
	cmd := exec.CommandContext(ctx, "wrk",
		"-t", strconv.Itoa(st.threads), "-c", strconv.Itoa(st.connections), "-d", fmt.Sprintf("%ds", int(d.Seconds())),
		"--latency", "-s", script, sc.url(address, address == st.origin.address))
	text, err := cmd.CombinedOutput()
	if err != nil {
		return wrkResult{}, fmt.Errorf("wrk: %w: %s", err, text)
	}
	result, err := parseWrk(string(text))
	result.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return result, err
}

// parseWrk finds the line of the script in the output of wrk.
func parseWrk(text string) (wrkResult, error) {
	for line := range strings.Lines(text) {
		numbers, ok := strings.CutPrefix(line, resultMark)
		if !ok {
			continue
		}
		var n [11]int64
		words := strings.Fields(numbers)
		if len(words) != len(n) {
			return wrkResult{}, fmt.Errorf("wrk's result has %d numbers, want %d: %q", len(words), len(n), line)
		}
		for i, word := range words {
			var err error
			if n[i], err = strconv.ParseInt(word, 10, 64); err != nil || n[i] < 0 {
				return wrkResult{}, fmt.Errorf("wrk's result: %q is no count", word)
			}
		}
		if n[1] == 0 {
			return wrkResult{}, errors.New("wrk's result: it took no time")
		}
		us := func(i int) time.Duration { return time.Duration(n[i]) * time.Microsecond }
		return wrkResult{
			Requests: n[0], Duration: us(1),
			Connect: n[2], Read: n[3], Write: n[4], Status: n[5], Timeout: n[6],
			P50: us(7), P99: us(8), P999: us(9), Max: us(10),
		}, nil
	}
	return wrkResult{}, fmt.Errorf("no result in the output of wrk: %q", text)
}
