package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A service that hangs may make those beside it slower by half, in the best of so many
// rounds: in the others the machine had something else to do.
const (
	slower = 1.5
	rounds = 5
)

// noise is a p99 that is good enough whatever it was before. A short run shares its
// machine with other tests.
func (tr trial) noise() float64 {
	if tr.long {
		return 2
	}
	return 50
}

// TestNeighbours hangs one of six services: the other five must hardly notice, and the
// gateway's memory must stay what it is.
func TestNeighbours(t *testing.T) {
	tr := trialOf(t)
	const services = 6
	var endpoints []*endpoint
	yaml, routes := "services:\n", "routes:\n"
	for i := range services {
		e := newEndpoint(t, false)
		endpoints = append(endpoints, e)
		yaml += fmt.Sprintf("  s%d: {endpoints: [%s], timeouts: {connect: 250ms, response: 500ms, total: 2s}, retry: {retries: 1, per_try: 500ms}}\n", i, urls(e))
		routes += fmt.Sprintf("  r%d: {match: {path: \"/s%d/{rest...}\"}, service: s%d, rewrite: \"/{rest}\"}\n", i, i, i)
	}
	g := newGateway(t, yaml+routes)
	hung := endpoints[0]
	others := func() (worst float64) {
		var mu sync.Mutex
		var running sync.WaitGroup
		for i := 1; i < services; i++ {
			running.Go(func() {
				l := g.underLoad(fmt.Sprintf("/s%d/small", i), tr.rate/services, tr.fault, func() {})
				mu.Lock()
				defer mu.Unlock()
				worst = max(worst, l.Latency.P99)
				if l.Failed > 0 {
					t.Errorf("%d requests of a service that is well failed: %v", l.Failed, l.Examples)
				}
			})
		}
		running.Wait()
		return worst
	}
	for i := range services {
		tr.warm(g, fmt.Sprintf("/s%d/small", i), tr.rate/services)
	}
	// What asks the service that hangs must not stop before it does.
	var told []string
	first := 0
	for range rounds {
		quiet := others()
		hung.signal(syscall.SIGSTOP)
		var beside float64
		g.besides(hung.address, "/s0/small", tr.rate/services, tr.fault, func() { beside = others() })
		hung.signal(syscall.SIGCONT)
		if now := g.memory(); first == 0 {
			first = now
		} else if now > first*3/2+16 {
			t.Errorf("the gateway had %d MiB after the first round, and has %d", first, now)
		}
		told = append(told, fmt.Sprintf("p99 %.2f ms, and %.2f ms while one of six hangs; the gateway has %d MiB", quiet, beside, g.memory()))
		if beside <= max(quiet*slower, tr.noise()) {
			t.Log("\n" + strings.Join(told, "\n"))
			return
		}
	}
	t.Errorf("in none of %d rounds the other five were as fast as %v times the quiet ones:\n%s", rounds, slower, strings.Join(told, "\n"))
}

// besides asks for path of the endpoint at address, which answers nothing, until change
// has returned. HEAD has no body, which would differ by its correlation id.
func (g *gateway) besides(address, path string, rate float64, d time.Duration, change func()) {
	before := g.tries(address)
	c := process(g.t, "load", "-url", "http://"+g.public+path, "-method", "HEAD", "-status", "504", "-rate", fmt.Sprint(rate), "-connections", strconv.Itoa(max(64, int(rate))),
		"-warmup", "0s", "-duration", (d + patience).String(), "-timeout", "10s")
	begin(g.t, c)
	change()
	end(c)
	if n := g.tries(address) - before; n < rate*d.Seconds()/4 { // it is asked once beforehand, for the answer to expect
		g.t.Errorf("the service that hangs got %v tries: it was hardly asked", n)
	}
}

// tries is how many the endpoint at address has got.
func (g *gateway) tries(address string) float64 {
	text, err := g.metrics()
	if err != nil {
		g.t.Fatal(err)
	}
	return triesIn(text)[address]
}

// memory is what the gateway holds, in MiB.
func (g *gateway) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	words := strings.Fields(string(text))
	pages, err := strconv.Atoi(words[1])
	if err != nil {
		g.t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}
