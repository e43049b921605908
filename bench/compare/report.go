package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// environmentOf describes the machine and the programs, so that figures of two
// runs can be told apart. Nothing in it names the machine.
func (st *stand) environmentOf(ctx context.Context) []string {
	lines := []string{
		fmt.Sprintf("%s; %d cores; Linux %s; %s", processor(), runtime.NumCPU(), kernel(), runtime.Version()),
	}
	programs := []struct {
		subject string
		argv    []string
	}{
		{nginx, []string{nginx, "-v"}},
		{haproxy, []string{haproxy, "-v"}},
		{"", []string{"git", "describe", "--always", "--dirty"}},
	}
	for _, p := range programs {
		if p.subject != "" && !st.wants(p.subject) {
			continue
		}
		tool, err := lookTool(p.argv[0])
		if err != nil {
			continue // such as git: its line is a service to the reader
		}
		text, err := output(ctx, ".", append([]string{tool}, p.argv[1:]...)...)
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
		line, _, _ = strings.Cut(strings.TrimPrefix(line, "nginx version: "), " - http")
		if p.subject == "" {
			line = "gateway at " + line
		}
		lines = append(lines, line)
	}
	return lines
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "?"
	}
	release, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
	return release
}

// outcome is a whole run.
type outcome struct {
	environment []string
	loopback    loopback
	scenarios   []scenario
	tables      [][]measured // by scenario
}

// markdown is the report of a comparison.
func (o *outcome) markdown(opts *options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Gateway, nginx and HAProxy side by side\n\n")
	fmt.Fprintf(&b, "Written by `go run ./bench/compare` (`make bench`); %s.\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	for _, line := range o.environment {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- %d rounds of %v each, in an order drawn anew for each lap (seed %d); wrk with %d thread(s) and %d connections; each proxy with %d workers\n",
		opts.rounds, opts.duration, opts.seed, opts.threads, opts.connections, opts.workers)
	fmt.Fprintf(&b, "- raw loopback: %.0f round trips of %d bytes a second between two threads, %.2f µs of CPU each\n\n",
		o.loopback.perSecond, loopbackBytes, float64(o.loopback.cpu)/float64(time.Microsecond))
	b.WriteString(disturbance(o.tables...))
	b.WriteString("CPU is user and system time of all processes of the subject, divided by the requests of the round, at saturation. " +
		"Disturbances only add, so the lower quartile of the rounds is what is compared; × nginx gives the ratio of the lower quartiles, and of the medians. " +
		"Rates and latencies are medians over the rounds; load, origin and proxy share the cores. `direct` is the origin itself.\n")
	for i := range o.scenarios {
		fmt.Fprintf(&b, "\n## %s (`%s`)\n\n%s", o.scenarios[i].title, o.scenarios[i].name, table(o.tables[i]))
	}
	b.WriteString(o.kept())
	return b.String()
}

// quiet is how many cores strangers may use before a report says that its figures
// are not to be relied on.
const quiet = 0.1

// disturbance tells what else the machine was doing.
func disturbance(tables ...[]measured) string {
	var others []float64
	for _, rows := range tables {
		for i := range rows {
			others = append(others, rows[i].column(func(s sample) float64 { return s.others })...)
		}
	}
	text := fmt.Sprintf("Processes that have no part in this used %.2f cores (median of the rounds; at most %.2f).", median(others), quantile(others, 1))
	if median(others) > quiet {
		text += " **The machine was not quiet: the figures are not to be relied on.**"
	}
	return text + "\n\n"
}

// table is one scenario in Markdown.
func table(rows []measured) string {
	var b strings.Builder
	b.WriteString("| | CPU µs/request | median | × nginx | (median) | requests/s | p50 ms | p99 ms | p99.9 ms | memory MiB |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	cpu := func(s sample) float64 { return s.cpu }
	for i := range rows {
		m := &rows[i]
		middle := func(of func(sample) float64) float64 { return median(m.column(of)) }
		low, mid := lowerQuartile(m.column(cpu)), middle(cpu)
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %s | %s | %.0f | %.2f | %.2f | %.2f | %.1f |\n", m.subject, low, mid,
			ratio(m, rows, lowerQuartile), ratio(m, rows, median),
			middle(func(s sample) float64 { return s.rate }), middle(func(s sample) float64 { return s.p50 }),
			middle(func(s sample) float64 { return s.p99 }), middle(func(s sample) float64 { return s.p999 }),
			float64(m.memory)/(1<<20))
	}
	return b.String()
}

// ratio compares a subject's CPU time with nginx's in the same scenario.
func ratio(m *measured, rows []measured, figure func([]float64) float64) string {
	r, ok := toNginx(m, rows, figure)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%.2f", r)
}

func toNginx(m *measured, rows []measured, figure func([]float64) float64) (float64, bool) {
	if m.subject == direct {
		return 0, false // the origin does other work
	}
	cpu := func(s sample) float64 { return s.cpu }
	for i := range rows {
		if rows[i].subject == nginx {
			return figure(m.column(cpu)) / figure(rows[i].column(cpu)), true
		}
	}
	return 0, false
}

// openLoopMarkdown is the report of constant rates.
func openLoopMarkdown(opts *options, environment []string, runs []openRun) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Latency at a constant rate\n\n")
	fmt.Fprintf(&b, "Written by `go run ./bench/compare -open-loop %.0f` (`make bench-load`); %s.\n\n", opts.openLoopRate, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	for _, line := range environment {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- %v each, %d connections, GET of 128 bytes; load, origin and proxy share the cores\n\n", opts.duration, opts.connections)
	b.WriteString("Latencies in ms count from the moment a request was due. Clean: no failure, and p99 below 150 ms. Held: the longest the machine kept the load itself from running, in ms.\n\n")
	b.WriteString("| | rate/s | answers/s | failed | p50 | p99 | p99.9 | max | held | clean | CPU µs/request | memory MiB |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n")
	for i := range runs {
		r := &runs[i]
		l := &r.load
		clean := "no"
		if l.Clean {
			clean = "yes"
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %d | %.2f | %.2f | %.2f | %.2f | %.1f | %s | %.2f | %.1f |\n", r.subject, l.Rate, l.PerSecond, l.Failed,
			l.Latency.P50, l.Latency.P99, l.Latency.P999, l.Latency.Max, l.Held, clean, r.cpu, float64(r.memory)/(1<<20))
	}
	return b.String()
}
