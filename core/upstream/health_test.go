package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// answers is a Prober whose endpoints do as the test says.
type answers struct {
	mu     sync.Mutex
	says   map[string]func() error // by address; nil: it passes
	asked  map[string][]time.Time
	open   atomic.Int64
	under  atomic.Int64
	most   atomic.Int64
	closes atomic.Int64
}

func newAnswers() *answers {
	return &answers{says: map[string]func() error{}, asked: map[string][]time.Time{}}
}

func (a *answers) set(address string, says func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.says[address] = says
}

// times is when the address was asked.
func (a *answers) times(address string) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked[address])
}

// pauses are the times between two checks.
func (a *answers) pauses(address string) (out []time.Duration) {
	at := a.times(address)
	for i := 1; i < len(at); i++ {
		out = append(out, at[i].Sub(at[i-1]))
	}
	return out
}

type asked struct {
	*answers
	address string
	closed  chan struct{}
}

func (a *answers) Probe(e *Endpoint, _ *HealthCheck) Probe {
	a.open.Add(1)
	return &asked{a, e.Address, make(chan struct{})}
}

var errHanging = errors.New("it hangs")

func (p *asked) Check(int64) (Outcome, error) {
	if n := p.under.Add(1); n > p.most.Load() {
		p.most.Store(n)
	}
	defer p.under.Add(-1)
	p.mu.Lock()
	p.asked[p.address] = append(p.asked[p.address], time.Now())
	says := p.says[p.address]
	p.mu.Unlock()
	if says == nil {
		return Passed, nil
	}
	err := says()
	if err == errHanging {
		select {
		case <-p.closed:
		case <-time.After(time.Second):
		}
		return TimedOut, err
	}
	if err != nil {
		return WrongStatus, err
	}
	return Passed, nil
}

func (p *asked) Close() { close(p.closed); p.open.Add(-1); p.closes.Add(1) }

var errIll = errors.New("it answered 503; want 200")

func failing() error { return errIll }

// checked is a registry in a bubble of synctest that checks by answers.
type checked struct {
	*Registry
	answers *answers
	log     bytes.Buffer
	meter   *meter.Set
	spec    ServiceSpec
}

func checking(recorder Recorder, weights ...int) *checked {
	c := &checked{Registry: NewRegistry((&counting{}).open), answers: newAnswers(), meter: meter.NewSet(time.Now)}
	c.Publish(c.meter)
	c.Check(Checking{Clock: clock.Real(), Prober: c.answers, Log: zerolog.New(zerolog.SyncWriter(&c.log)), Recorder: recorder})
	c.spec = spec(WeightedRoundRobin, weights...)
	c.spec.Health = HealthCheck{Path: "/", Interval: 10 * time.Second, Timeout: time.Second, Rise: 2, Fall: 3, Backoff: time.Minute}
	return c
}

func (c *checked) acquire(t testing.TB) *Service {
	t.Helper()
	s, err := c.Acquire(c.spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// within says whether d is want, give or take the jitter and the scheduler's tick.
func within(d, want time.Duration) bool {
	slack := time.Duration(float64(want)*jitter) + 2*leastTick
	return d >= want-slack && d <= want+slack
}

// A whole life: unknown, healthy, unhealthy with growing pauses, healthy again.
func TestHealthRisesAndFalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := checking(nil, 1, 1)
		s := c.acquire(t)
		defer s.Release()
		a := s.Members()[0].Endpoint
		if got := a.Status(); got.Health != Unknown {
			t.Errorf("before the first check: %+v", got)
		}
		time.Sleep(firstWithin + leastTick)
		found, _ := a.Checked()
		if got := a.Status(); got.Health != Healthy || found.Health != Healthy || found.Last.IsZero() || found.Since.IsZero() || found.Since.After(found.Last) || found.Reason != "" {
			t.Errorf("after the first check: %+v, %+v", got, found)
		}
		time.Sleep(time.Minute)
		c.answers.set("a", failing)
		asked := len(c.answers.times("a"))
		for a.Status().Health == Healthy {
			if n := len(c.answers.times("a")) - asked; n >= 3 {
				t.Fatalf("healthy after %d failed checks", n)
			}
			time.Sleep(time.Second)
		}
		if n := len(c.answers.times("a")) - asked; n != 3 {
			t.Errorf("unhealthy after %d failed checks, want 3", n)
		}
		if got := a.Status(); got.Reason != errIll.Error() {
			t.Errorf("the reason is %q", got.Reason)
		}
		for range 10 {
			if s.Pick(&Tried{}, 0) == a {
				t.Fatal("an unhealthy endpoint is picked")
			}
		}
		from := len(c.answers.pauses("a"))
		time.Sleep(5 * time.Minute)
		want := []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute}
		pauses := c.answers.pauses("a")[from:]
		for i, w := range want {
			if !within(pauses[i], w) {
				t.Errorf("pauses while unhealthy: %v, want about %v", pauses, want)
				break
			}
		}
		c.answers.set("a", nil)
		asked = len(c.answers.times("a"))
		for a.Status().Health != Healthy {
			time.Sleep(time.Second)
		}
		at := c.answers.times("a")[asked:]
		if len(at) != 2 || !within(at[1].Sub(at[0]), 10*time.Second) {
			t.Errorf("healthy after %d checks, %v", len(at), at)
		}
		synctest.Wait()
		log := c.log.String()
		for _, line := range []string{
			`"level":"info","service":"s","endpoint":"a","message":"the endpoint is healthy"`,
			`"level":"warn","reason":"it answered 503; want 200","service":"s","endpoint":"a","message":"the endpoint is unhealthy`,
		} {
			if !strings.Contains(log, line) {
				t.Errorf("the log lacks %s:\n%s", line, log)
			}
		}
		if n := strings.Count(log, "\n"); n != 4 { // two for a, then a falls, then a rises
			t.Errorf("%d lines in the log:\n%s", n, log)
		}
	})
}

// Endpoints that come together are soon asked everywhere within the interval.
func TestChecksDontKeepStep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		weights := slices.Repeat([]int{1}, 200)
		c := checking(nil, weights...)
		s := c.acquire(t)
		defer s.Release()
		begun := time.Now()
		time.Sleep(30 * time.Second)
		var tenths [10]int
		for _, m := range s.Members() {
			at := c.answers.times(m.Address)
			if len(at) < 3 || at[0].Sub(begun) > firstWithin+2*leastTick {
				t.Fatalf("%s was asked at %v", m.Address, at)
			}
			tenths[int(at[1].Sub(begun)/time.Second)%10]++
			for i, p := range c.answers.pauses(m.Address)[1:] {
				if !within(p, 10*time.Second) {
					t.Errorf("pause %d of %s is %s", i+1, m.Address, p)
				}
			}
		}
		for i, n := range tenths {
			if n < 4 || n > 50 { // 20 expected
				t.Errorf("%d of 200 second checks are in second %d: %v", n, i, tenths)
			}
		}
	})
}

// What hangs takes no more than its places, and others are checked on.
func TestChecksAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, each = 2 * mostChecks, 8
		c := checking(nil, slices.Repeat([]int{1}, n)...)
		all := c.spec.Endpoints
		for _, e := range all {
			c.answers.set(e.Address, func() error { return errHanging })
		}
		c.answers.set("a", nil)
		var services []*Service
		for i := 0; i < n; i += each {
			c.spec.Name, c.spec.Endpoints = fmt.Sprint("s", i), all[i:i+each]
			services = append(services, c.acquire(t))
		}
		time.Sleep(4 * time.Second) // two rounds of hanging ones
		for _, e := range all {
			if len(c.answers.times(e.Address)) == 0 {
				t.Fatalf("%s was not asked", e.Address)
			}
		}
		if most := c.answers.most.Load(); most > mostChecks || most < mostChecks/2 {
			t.Errorf("%d checks at once, want up to %d", most, mostChecks)
		}
		time.Sleep(time.Minute)
		if len(c.answers.times("a")) < 5 || services[0].Members()[0].Status().Health != Healthy {
			t.Errorf("the one that is well was asked %d times", len(c.answers.times("a")))
		}
		for _, s := range services {
			s.Release()
		}
		if c.answers.open.Load() != 0 || c.answers.under.Load() != 0 {
			t.Error("something goes on after the last holder left")
		}
	})
}

// Checks outlive reloads as long as they are the same, and the newest counts otherwise.
func TestChecksOutliveReloads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := checking(nil, 1, 1)
		c.answers.set("a", failing)
		first := c.acquire(t)
		time.Sleep(time.Minute)
		a := first.Members()[0].Endpoint
		if a.Status().Health != Unhealthy {
			t.Fatal("a is not unhealthy")
		}
		opened := c.answers.closes.Load() + c.answers.open.Load()

		c.spec.Timeouts.Response = time.Second
		second := c.acquire(t)
		first.Release()
		if now := c.answers.closes.Load() + c.answers.open.Load(); now != opened || a.Status().Health != Unhealthy || second.Members()[0].Endpoint != a {
			t.Errorf("%d probes after a changed timeout, were %d; %+v", now, opened, a.Status())
		}

		c.spec.Connections.Maximum = 9 // another endpoint at the same address
		third := c.acquire(t)
		second.Release()
		moved := third.Members()[0].Endpoint
		if found, _ := moved.Checked(); moved == a || moved.Status().Health != Unhealthy || found.Health != Unhealthy {
			t.Errorf("with other connections: %+v, %+v", moved.Status(), found)
		}

		// A check that is declared otherwise has the word, once it has one.
		c.spec.Health.Path = "/better"
		c.answers.set("a", nil)
		fourth := c.acquire(t)
		if moved.Status().Health != Unhealthy {
			t.Error("a new check that has not been made changes the health")
		}
		time.Sleep(firstWithin + 2*leastTick)
		if moved.Status().Health != Healthy {
			t.Errorf("the new check passed: %+v", moved.Status())
		}
		third.Release()
		if moved.Status().Health != Healthy {
			t.Error("the old check took its word along")
		}

		// Without checks nothing is known.
		c.answers.set("a", failing)
		time.Sleep(time.Minute)
		if moved.Status().Health != Unhealthy {
			t.Fatal("it is not unhealthy")
		}
		c.spec.Health = HealthCheck{}
		fifth := c.acquire(t)
		fourth.Release()
		if _, is := moved.Checked(); is || moved.Status().Health != Unknown || fifth.Members()[0].Endpoint != moved {
			t.Errorf("without a check: %+v, checked %v", moved.Status(), is)
		}
		fifth.Release()
		if c.answers.open.Load() != 0 || len(c.checks.all)+len(c.checks.verdicts)+len(c.checks.tallies)+len(c.checks.gauges)+len(c.checks.queue) != 0 || c.checks.runner != nil {
			t.Error("something is left")
		}
	})
}

// A reload that is refused takes its checks along, and the old one has the word again.
func TestARefusedReloadLeavesTheOldCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := checking(nil, 1)
		s := c.acquire(t)
		defer s.Release()
		time.Sleep(2 * time.Second)
		c.spec.Health.Path, c.spec.Health.Fall = "/wrong", 1
		c.answers.set("a", failing)
		refused := c.acquire(t)
		time.Sleep(firstWithin + 2*leastTick)
		c.answers.set("a", nil)
		if s.Members()[0].Status().Health != Unhealthy {
			t.Fatal("the newest check has no word")
		}
		refused.Release()
		if got := s.Members()[0].Status().Health; got != Healthy {
			t.Errorf("%s after the newest check left", got)
		}
	})
}

// A probe that panics has failed, and the next check is made.
func TestAProbeThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := checking(nil, 1)
		c.answers.set("a", func() error { panic("oh") })
		s := c.acquire(t)
		defer s.Release()
		time.Sleep(time.Minute)
		if got := s.Members()[0].Status(); got.Health != Unhealthy || got.Reason != "BUG: the check panicked: oh" {
			t.Errorf("%+v", got)
		}
	})
}

func TestHealthSeries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := checking(nil, 1, 1)
		c.answers.set("b", failing)
		series := func() (out []string) {
			var all strings.Builder
			c.meter.WritePrometheus(&all)
			for line := range strings.Lines(all.String()) {
				if strings.HasPrefix(line, "gateway_upstream_health") && !strings.Contains(line, "_bucket") && !strings.HasSuffix(line, " 0\n") || strings.HasPrefix(line, "gateway_upstream_healthy{") {
					out = append(out, strings.TrimSpace(line))
				}
			}
			slices.Sort(out)
			return out
		}
		s := c.acquire(t)
		want := []string{`gateway_upstream_healthy{service="s",endpoint="a"} 1`, `gateway_upstream_healthy{service="s",endpoint="b"} 1`}
		if got := series(); !slices.Equal(got, want) {
			t.Errorf("before the first check: %q", got)
		}
		time.Sleep(time.Minute)
		passed, failed := len(c.answers.times("a")), len(c.answers.times("b"))
		want = []string{
			fmt.Sprintf("gateway_upstream_health_check_seconds_count %d", passed+failed),
			fmt.Sprintf(`gateway_upstream_health_checks_total{service="s",outcome="passed"} %d`, passed),
			fmt.Sprintf(`gateway_upstream_health_checks_total{service="s",outcome="status"} %d`, failed),
			`gateway_upstream_healthy{service="s",endpoint="a"} 1`, `gateway_upstream_healthy{service="s",endpoint="b"} 0`,
		}
		if got := series(); !slices.Equal(got, want) {
			t.Errorf("after a minute:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		s.Release()
		if got := series(); len(got) != 1 || !strings.Contains(got[0], "seconds_count") {
			t.Errorf("at the end: %q", got)
		}
	})
}

// TestVerdictEqualsItsModel holds the state machine to the plain list of checks.
func TestVerdictEqualsItsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := HealthCheck{
			Rise: rapid.IntRange(1, 5).Draw(t, "rise"), Fall: rapid.IntRange(1, 5).Draw(t, "fall"),
			Interval: time.Second, Backoff: time.Duration(rapid.IntRange(1, 100).Draw(t, "backoff")) * time.Second,
		}
		all := rapid.SliceOfN(rapid.Bool(), 1, 80).Draw(t, "passed")
		last := func(n, end int, passed bool) bool { // the n checks before end were all so
			return end >= n && !slices.Contains(all[end-n:end], !passed)
		}
		var v verdict
		model, since := Unknown, 0
		for i, passed := range all {
			before := model
			switch {
			case model == Unknown && passed,
				model == Unhealthy && i+1-since >= h.Rise && last(h.Rise, i+1, true):
				model = Healthy
			case model != Unhealthy && i+1-since >= h.Fall && last(h.Fall, i+1, false):
				model = Unhealthy
			}
			if model != before {
				since = i + 1
			}
			if changed := v.note(passed, &h); changed != (model != before) || v.health != model {
				t.Fatalf("check %d of %v: %s (changed %v), the model says %s", i, all[:i+1], v.health, changed, model)
			}
			want := h.Interval
			if model == Unhealthy {
				for j := i; j >= since && !all[j] && want < h.Backoff; j-- {
					want *= 2
				}
				want = min(want, h.Backoff)
			}
			if got := v.pause(&h); got != want {
				t.Fatalf("after %v, unhealthy since %d: a pause of %s, the model says %s", all[:i+1], since, got, want)
			}
		}
	})
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	s := StatusesOf(100, 204, 200, 599, 99, 600, -1)
	for status, want := range map[int]bool{99: false, 100: true, 163: false, 164: false, 200: true, 201: false, 204: true, 599: true, 600: false, 611: false, -5: false} {
		if s.Has(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
	if got := s.String(); got != "100 or 200 or 204 or 599" {
		t.Error(got)
	}
}
