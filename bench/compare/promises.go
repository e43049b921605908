package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// promise is a bound that the gateway keeps to, as a multiple of the figure of nginx, or
// of another subject, in the same run.
type promise struct {
	scenario string
	what     string
	bound    float64
	atLeast  bool // the bound is the least, not the most
	figure   func(*measured) float64
	beside   string // whose figure it is compared with; nginx if empty
}

// cpuOf is compared by the lower quartile: disturbances only add.
func cpuOf(m *measured) float64 {
	return lowerQuartile(m.column(func(s sample) float64 { return s.cpu }))
}

func rateOf(m *measured) float64 { return median(m.column(func(s sample) float64 { return s.rate })) }

// p99Of is the best of the rounds: a tail is what a busy machine disturbs first.
func p99Of(m *measured) float64 { return slices.Min(m.column(func(s sample) float64 { return s.p99 })) }

const (
	promisedCPU  = "CPU a request"
	promisedRate = "requests/s"
	promisedTail = "p99, best round"
)

// promises are what SPEC promises of speed beside nginx, and of what auth and limits may cost.
func promises() []promise {
	return []promise{
		{scenario: "small", what: promisedCPU, bound: 1.10, figure: cpuOf},
		{scenario: "small", what: promisedRate, bound: 0.95, atLeast: true, figure: rateOf},
		{scenario: "small", what: promisedTail, bound: 1.20, figure: p99Of},
		{scenario: "64k", what: promisedCPU, bound: 1.00, figure: cpuOf},
		{scenario: "stream", what: promisedCPU, bound: 0.70, figure: cpuOf},
		{scenario: "chunked", what: promisedCPU, bound: 0.70, figure: cpuOf},
		{scenario: "post", what: promisedCPU, bound: 1.00, figure: cpuOf},
		{scenario: "log", what: promisedCPU, bound: 1.25, figure: cpuOf},
		{scenario: "tls", what: promisedCPU, bound: 1.15, figure: cpuOf},
		{scenario: "handshake", what: "handshakes/s", bound: 0.80, atLeast: true, figure: rateOf},
		{scenario: "token", what: promisedCPU + ", × plain", bound: 1.08, figure: cpuOf, beside: plain},
		{scenario: "token", what: promisedCPU + ", × HAProxy", bound: 0.50, figure: cpuOf, beside: haproxy},
		{scenario: "key", what: promisedCPU + ", × plain", bound: 1.08, figure: cpuOf, beside: plain},
		{scenario: "guarded", what: promisedCPU + ", × plain", bound: 1.05, figure: cpuOf, beside: plain},
		{scenario: "policy-memory", what: promisedCPU + ", × plain", bound: 1.20, figure: cpuOf, beside: plain},
		{scenario: "policy-memory", what: promisedCPU + ", × HAProxy", bound: 0.40, figure: cpuOf, beside: haproxy},
		{scenario: "policy-leased", what: promisedCPU + ", × plain", bound: 1.20, figure: cpuOf, beside: plain},
		{scenario: "policy-leased", what: promisedCPU + ", × HAProxy", bound: 0.40, figure: cpuOf, beside: haproxy},
		{scenario: "policy-exact", what: promisedCPU + ", × plain", bound: 1.70, figure: cpuOf, beside: plain},
	}
}

// kept is the table of the promises that the run has measured.
func (o *outcome) kept() string {
	var b strings.Builder
	for _, p := range promises() {
		i := slices.IndexFunc(o.scenarios, func(s scenario) bool { return s.name == p.scenario })
		if i < 0 {
			continue
		}
		us, them := find(o.tables[i], ours), find(o.tables[i], cmp.Or(p.beside, nginx))
		if us == nil || them == nil {
			continue
		}
		ratio := p.figure(us) / p.figure(them)
		word, limit := "kept", "at most"
		if p.atLeast {
			limit = "at least"
		}
		if p.atLeast && ratio < p.bound || !p.atLeast && ratio > p.bound {
			word = "**not kept**"
		}
		fmt.Fprintf(&b, "| %s | %s | %.2f | %s %.2f | %s |\n", p.scenario, p.what, ratio, limit, p.bound, word)
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## Promises\n\n| scenario | figure | × nginx, or as said | promised | |\n| --- | --- | ---: | ---: | --- |\n" + b.String()
}

func find(rows []measured, subject string) *measured {
	i := slices.IndexFunc(rows, func(m measured) bool { return m.subject == subject })
	if i < 0 {
		return nil
	}
	return &rows[i]
}
