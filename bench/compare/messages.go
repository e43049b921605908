package main

import (
	"fmt"
	"strings"
	"time"
)

// What SPEC promises of WebSockets (WS1): bytes and descriptors of an idle one, and the
// rate of messages beside nginx's.
const (
	promisedBytes       = 8 << 10
	promisedDescriptors = 2.01 // the connections to the origin that it keeps are counted, too
	promisedEcho        = 0.9
)

// markdown is the report of a run of WebSockets.
func (r *webSocketResult) markdown(opts *options, environment []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# WebSockets beside nginx\n\n")
	fmt.Fprintf(&b, "Written by `go run ./bench/compare -websockets %d` (`make bench-websocket`); %s.\n\n", opts.webSockets, time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	for _, line := range environment {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- client, proxy and upstream (`cmd/upstream`) are a process each and share the cores; each proxy with %d workers\n\n", opts.workers)
	fmt.Fprintf(&b, "## Idle\n\nWhat one of %d idle WebSockets costs, on average, beyond what the proxy held after a tenth of them had come and gone. "+
		"Live: heap in use and stacks, after a collection. Left: what is live of all of them when they have ended.\n\n", opts.webSockets)
	b.WriteString("| | live KiB | resident KiB | descriptors | left KiB |\n| --- | ---: | ---: | ---: | ---: |\n")
	for _, c := range r.idle {
		live, left := "", ""
		if c.live > 0 {
			live, left = fmt.Sprintf("%.2f", c.live/(1<<10)), fmt.Sprintf("%d", c.left>>10)
		}
		fmt.Fprintf(&b, "| %s | %s | %.2f | %.2f | %s |\n", c.subject, live, c.resident/(1<<10), c.descriptors, left)
	}
	fmt.Fprintf(&b, "\n## Echo\n\n%d busy WebSockets, each with one message of %d bytes under way; %d rounds of %v each, in an order drawn anew for each lap (seed %d). "+
		"A message is one there and back. Rates are medians of the rounds, CPU the lower quartile.\n\n", opts.connections, messageBytes, opts.rounds, opts.duration, opts.seed)
	b.WriteString(disturbance(r.echo))
	b.WriteString("| | messages/s | × nginx | CPU µs/message | × nginx |\n| --- | ---: | ---: | ---: | ---: |\n")
	them := find(r.echo, nginx)
	for i := range r.echo {
		m := &r.echo[i]
		rates, cpus := "", ""
		if them != nil && m.subject != direct {
			rates, cpus = fmt.Sprintf("%.2f", rateOf(m)/rateOf(them)), fmt.Sprintf("%.2f", cpuOf(m)/cpuOf(them))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %.2f | %s |\n", m.subject, rateOf(m), rates, cpuOf(m), cpus)
	}
	b.WriteString(r.kept())
	return b.String()
}

// kept is the table of the promises that the run has measured.
func (r *webSocketResult) kept() string {
	var b strings.Builder
	row := func(what string, figure float64, bound string, kept bool) {
		word := "kept"
		if !kept {
			word = "**not kept**"
		}
		fmt.Fprintf(&b, "| %s | %.2f | %s | %s |\n", what, figure, bound, word)
	}
	for _, c := range r.idle {
		if c.subject == ours {
			row("idle: live KiB", c.live/(1<<10), fmt.Sprintf("at most %.2f", float64(promisedBytes)/(1<<10)), c.live <= promisedBytes)
			row("idle: descriptors", c.descriptors, "at most 2.00", c.descriptors <= promisedDescriptors)
		}
	}
	if us, them := find(r.echo, ours), find(r.echo, nginx); us != nil && them != nil {
		ratio := rateOf(us) / rateOf(them)
		row("echo: messages/s × nginx", ratio, fmt.Sprintf("at least %.2f", promisedEcho), ratio >= promisedEcho)
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## Promises\n\n| figure | | promised | |\n| --- | ---: | ---: | --- |\n" + b.String()
}
