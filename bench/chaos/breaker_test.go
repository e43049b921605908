package chaos

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The breaker of these rows. Its open time is short, for rows that last a few seconds.
const (
	openFirst   = 500 * time.Millisecond
	openMaximum = time.Second
	probes      = 3
	// atOnce is how long an answer may take for which nothing of the network is touched. It is held
	// against the fastest tenth of what a client sees: the others waited for a place on cores
	// that are full.
	atOnce = time.Millisecond
)

// breaking is what the configuration adds for a breaker that stays open up to longest. Half of
// all is beyond its share, within a second.
func breaking(longest time.Duration) string {
	return fmt.Sprintf("    breaker: {window: 1s, failures: 40%%, open: %v, open_maximum: %v, probes: %d}\n", openFirst, longest, probes)
}

// value is that of a series in /metrics; 0 if it is not there.
func value(metrics, series string) float64 {
	_, rest, _ := strings.Cut(metrics, "\n"+series+" ")
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return v
}

func (g *gateway) breaker(t *testing.T) (state, opened, halfOpened float64) {
	t.Helper()
	text, err := g.metrics()
	if err != nil {
		t.Fatal(err)
	}
	const transitions = `gateway_circuit_breaker_transitions_total{service="a",to="`
	return value(text, `gateway_circuit_breaker_state{service="a"}`), value(text, transitions+`open"}`), value(text, transitions+`half_open"}`)
}

// refusals asks until the given time, and returns how long it took where the breaker refused,
// the fastest first.
func (g *gateway) refusals(until time.Time) (took []time.Duration) {
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	for time.Now().Before(until) {
		began := time.Now()
		resp, err := client.Get("http://" + g.public + "/small")
		if err != nil {
			continue
		}
		text, err := io.ReadAll(resp.Body)
		d := time.Since(began)
		if closing := resp.Body.Close(); err == nil && closing == nil && bytes.Contains(text, []byte(`"circuit_open"`)) {
			took = append(took, d)
		}
		time.Sleep(time.Until(began.Add(5 * time.Millisecond)))
	}
	slices.Sort(took)
	return took
}

// brokenOutage is the row of three endpoints that are killed, behind a breaker: it answers at
// once, keeps requests from them, and lets them back soon after they have come back.
func (tr trial) brokenOutage(t *testing.T) row {
	all := []*endpoint{newEndpoint(t, false), newEndpoint(t, false), newEndpoint(t, false)}
	g := newGateway(t, fmt.Sprintf(configuration, urls(all...), breaking(openMaximum)))
	tr.warm(g, "/small", tr.rate)
	var healed time.Time
	var before, after map[string]float64
	var halfOpened float64
	var took []time.Duration
	l := g.underLoad("/small", tr.rate, tr.duration(), func() {
		time.Sleep(tr.before)
		struck := time.Now()
		for _, e := range all {
			end(e.origin)
		}
		eventually(t, "the breaker is open", func() bool { state, _, _ := g.breaker(t); return state != 0 })
		eventually(t, "what was let through before is over", func() bool {
			last := before
			before = triesOf(t, g)
			return last != nil && maps.Equal(last, before)
		})
		took = g.refusals(struck.Add(tr.fault))
		after = triesOf(t, g)
		_, _, halfOpened = g.breaker(t)
		for _, e := range all {
			e.start()
		}
		healed = time.Now()
	})
	r := row{name: "killed, all three, with a breaker", load: l, eject: -1, recover: max(l.lastFailure().Sub(healed), 0)}
	if most := 2 * openMaximum; r.recover > most {
		t.Errorf("the last request failed %v after all endpoints were back; want %v at most", r.recover, most)
	}
	var tries float64
	for address := range after {
		tries += after[address] - before[address]
	}
	if most := (halfOpened + 1) * probes * 3; tries > most { // each probe may try three times
		t.Errorf("while it was open %.0f tries were made; want %.0f at most", tries, most)
	}
	if len(took) < 10 {
		t.Errorf("the breaker refused only %d requests of a client that asked all the time", len(took))
		return r
	}
	if fast := took[len(took)/10]; fast > atOnce {
		t.Errorf("an open breaker answered after %v, the median after %v; want %v", fast, took[len(took)/2], atOnce)
	}
	r.note = fmt.Sprintf("refused in %v (median), %.0f tries while open", took[len(took)/2].Round(10*time.Microsecond), tries)
	return r
}

func triesOf(t *testing.T, g *gateway) map[string]float64 {
	t.Helper()
	text, err := g.metrics()
	if err != nil {
		t.Fatal(err)
	}
	return triesIn(text)
}

// brokenCoin is the row of three endpoints of whose answers half are 500, at random, behind a breaker and
// without retries: it must not open and close all the time. Each time that it opens it stays so
// for twice as long.
func (tr trial) brokenCoin(t *testing.T) row {
	all := []*endpoint{newEndpoint(t, false), newEndpoint(t, false), newEndpoint(t, false)}
	g := newGateway(t, strings.Replace(fmt.Sprintf(configuration, urls(all...), breaking(time.Minute)), "retries: 2,", "retries: 0,", 1))
	tr.warm(g, "/small", tr.rate)
	var opened float64
	l := g.underLoad("/small", tr.rate, tr.before+tr.fault, func() {
		time.Sleep(tr.before)
		for _, e := range all {
			e.replace("-status", "500", "-share", "0.5")
		}
		time.Sleep(tr.fault)
		_, opened, _ = g.breaker(t)
	})
	if most := math.Log2(float64(tr.fault/openFirst)+1) + 2; opened < 1 || opened > most {
		t.Errorf("in %v of failures by half the breaker opened %.0f times; want 1 to %.0f", tr.fault, opened, most)
	}
	return row{name: "half are 500, with a breaker, no retries", load: l, eject: -1, recover: -1, note: fmt.Sprintf("opened %.0f times", opened)}
}
