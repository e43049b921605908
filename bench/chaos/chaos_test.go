package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The gateway of all rows. A route that names 500 has answers of a broken release tried
// again; timeouts are short, for a service that answers within milliseconds.
const configuration = `
services:
  a:
    endpoints: [%s]
    timeouts: {connect: 250ms, response: 2s, total: 5s}
    retry: {retries: 2, per_try: 500ms, when: [connect, reset, timeout, 500, 502, 503, 504], budget: 20%%, backoff: {initial: 1ms, maximum: 10ms}}
    connections: {maximum: 4096, idle: 1024}
%sroutes:
  a: {match: {path: "/{rest...}"}, service: a}
`

// measures are what the configuration adds against faults.
const measures = `    ejection: {consecutive: 5, base: 2s}
    health: {path: /small, interval: 500ms, timeout: 250ms, fall: 2, rise: 2, backoff: 1s}
`

// trial says how hard a run is.
type trial struct {
	rate   float64       // requests a second
	before time.Duration // of peace
	fault  time.Duration
	after  time.Duration // at most until all is as it was
	long   bool
}

// trialOf reads the environment: CHAOS_RATE and CHAOS_FAULT make it long.
func trialOf(t *testing.T) trial {
	t.Helper()
	tr := trial{rate: 200, before: 2 * time.Second, fault: 3 * time.Second, after: 4 * time.Second}
	if text := os.Getenv("CHAOS_RATE"); text != "" {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || rate < 1 {
			t.Fatalf("CHAOS_RATE=%s: want requests a second", text)
		}
		tr = trial{rate: rate, before: 5 * time.Second, fault: 10 * time.Second, after: 15 * time.Second, long: true}
	}
	if text := os.Getenv("CHAOS_FAULT"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second {
			t.Fatalf("CHAOS_FAULT=%s: want a duration of a second or more", text)
		}
		tr.fault = d
	}
	return tr
}

func (tr trial) duration() time.Duration { return tr.before + tr.fault + tr.after }

// warm opens the connections that a run at a high rate needs: to open thousands at once
// is a fault of its own, and none of the row's.
func (tr trial) warm(g *gateway, path string, rate float64) {
	if tr.long {
		g.underLoad(path, rate, 3*time.Second, func() {})
	}
}

// urls are endpoints as the configuration has them.
func urls(endpoints ...*endpoint) string {
	var all []string
	for _, e := range endpoints {
		all = append(all, fmt.Sprintf("{url: %q}", "http://"+e.address))
	}
	return strings.Join(all, ", ")
}

// table collects the rows that ended.
type table struct {
	mu   sync.Mutex
	rows []row
}

func (tb *table) add(r row) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows = append(tb.rows, r)
}

// mostFailed is the share of requests that may fail, and ejectWithin how long an endpoint
// may get requests that fails: five tries of 500 ms and the time to see it.
const (
	mostFailed  = 0.001
	ejectWithin = 3 * time.Second
	settled     = time.Second // for what was under way at the endpoint, and its further tries
)

// TestChaos breaks one endpoint of three in each way, and all of them.
func TestChaos(t *testing.T) {
	tr := trialOf(t)
	var tb table
	t.Run("rows", func(t *testing.T) {
		for _, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				if !tr.long {
					t.Parallel()
				}
				tb.add(tr.oneOfThree(t, f))
			})
		}
		for name, run := range map[string]func(trial, *testing.T) row{
			"total outage": trial.outage, "half of all answers are 500": trial.coin,
			"total outage with a breaker": trial.brokenOutage, "half with a breaker": trial.brokenCoin,
		} {
			t.Run(name, func(t *testing.T) {
				if !tr.long {
					t.Parallel()
				}
				tb.add(run(tr, t))
			})
		}
	})
	t.Logf("%v requests/s, each fault for %v; connect 250 ms, per try 500 ms, 2 retries on connect, reset, timeout, 500, 502, 503, 504, budget 20 %%; ejection after 5 failures for 2 s, health checks every 500 ms\n%s",
		tr.rate, tr.fault, tell(tb.rows))
}

// attempts is how often a row is tried: in the others the machine had something else to
// do, which shows in how long the load itself was kept from running.
const attempts = 3

// oneOfThree is the row of a fault of one endpoint, the best of its attempts.
func (tr trial) oneOfThree(t *testing.T, f fault) row {
	var told []string
	for range attempts {
		r, problems := tr.attempt(t, f)
		if len(problems) == 0 {
			return r
		}
		told = append(told, fmt.Sprintf("%s (the load was held up for %.0f ms)", strings.Join(problems, "; "), r.load.Held))
	}
	t.Errorf("in none of %d attempts it was as it should be:\n%s", attempts, strings.Join(told, "\n"))
	return row{name: f.name, load: &load{}, eject: -1, recover: -1, note: "failed"}
}

// attempt strikes one endpoint of three, and says what was not as it should be.
func (tr trial) attempt(t *testing.T, f fault) (row, []string) {
	sick := newEndpoint(t, f.distant)
	g := newGateway(t, fmt.Sprintf(configuration, urls(sick, newEndpoint(t, false), newEndpoint(t, false)), measures))
	defer end(g.cmd) // a further attempt has the machine for itself
	tr.warm(g, "/small", tr.rate)
	s := g.sampler()
	var struck, healed time.Time
	l := g.underLoad("/small", tr.rate, tr.duration(), func() {
		time.Sleep(tr.before)
		struck = time.Now()
		f.strike(sick)
		time.Sleep(time.Until(struck.Add(tr.fault)))
		healed = time.Now()
		f.heal(sick)
	})
	s.stop()
	r := row{name: f.name, load: l}
	r.eject = s.until(sick.address, struck, healed, func(share float64) bool { return share < 0.02 })
	r.recover = s.until(sick.address, healed, time.Now(), func(share float64) bool { return share > 0.25 })
	var problems []string
	if float64(l.Failed) > mostFailed*float64(l.Sent) {
		problems = append(problems, fmt.Sprintf("%d of %d requests failed: %v", l.Failed, l.Sent, l.Examples))
	}
	if r.eject < 0 || r.eject > ejectWithin {
		problems = append(problems, fmt.Sprintf("the endpoint was left alone after %v; want %v at most", took(r.eject), ejectWithin))
	} else if last := l.lastFailure(); last.After(struck.Add(r.eject + settled)) {
		problems = append(problems, fmt.Sprintf("a request failed %v after the fault began, long after the endpoint was left alone (%v): %v", last.Sub(struck), r.eject, l.Examples))
	}
	if r.recover < 0 {
		problems = append(problems, fmt.Sprintf("the endpoint did not come back within %v", tr.after))
	}
	return r, problems
}

// outage is the row of three endpoints that answer 500: retries may multiply what they
// get by a quarter, no more.
func (tr trial) outage(t *testing.T) row {
	all := []*endpoint{newEndpoint(t, false), newEndpoint(t, false), newEndpoint(t, false)}
	g := newGateway(t, fmt.Sprintf(configuration, urls(all...), measures))
	tr.warm(g, "/small", tr.rate)
	s := g.sampler()
	l := g.underLoad("/small", tr.rate, tr.duration(), func() {
		time.Sleep(tr.before)
		for _, e := range all {
			e.replace("-status", "500")
		}
		time.Sleep(tr.fault)
		for _, e := range all {
			e.replace()
		}
	})
	s.stop()
	var tries float64
	for _, n := range s.samples[len(s.samples)-1].tries {
		tries += n
	}
	multiplied := tries / float64(l.Sent)
	if multiplied > 1.25 {
		t.Errorf("%.0f tries for %d requests: %.2f each, want 1.25 at most", tries, l.Sent, multiplied)
	}
	if last := l.lastFailure(); last.Sub(l.Began) > tr.before+tr.fault+tr.after*3/4 {
		t.Errorf("the last request failed %v after the start, long after all was well", last.Sub(l.Began))
	}
	return row{name: "total outage (500)", load: l, eject: -1, recover: -1, note: fmt.Sprintf("%.2f tries a request", multiplied)}
}

// coin is the row of three endpoints that answer half of the requests by 500.
func (tr trial) coin(t *testing.T) row {
	all := []*endpoint{newEndpoint(t, false), newEndpoint(t, false), newEndpoint(t, false)}
	g := newGateway(t, fmt.Sprintf(configuration, urls(all...), measures))
	tr.warm(g, "/small", tr.rate)
	l := g.underLoad("/small", tr.rate, tr.duration(), func() {
		time.Sleep(tr.before)
		for _, e := range all {
			e.replace("-status", "500", "-share", "0.5")
		}
		time.Sleep(tr.fault)
		for _, e := range all {
			e.replace()
		}
	})
	if last := l.lastFailure(); last.Sub(l.Began) > tr.before+tr.fault+tr.after*3/4 {
		t.Errorf("the last request failed %v after the start, long after all was well", last.Sub(l.Began))
	}
	return row{name: "half of all answers are 500", load: l, eject: -1, recover: -1}
}
