package upstream

import (
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tended is a service whose endpoints may be ejected, on a clock that stands.
type tended struct {
	*Service
	t        testing.TB
	clock    *clock.Fake
	registry *Registry

	mu      sync.Mutex
	notices []Notice
}

func newTended(t testing.TB, s ServiceSpec) *tended {
	f := &tended{t: t, clock: clock.NewFake(time.Unix(1e9, 0)), registry: NewRegistry((&counting{}).open)}
	f.clock.Advance(time.Hour)
	f.registry.Tend(f.clock, func(n Notice) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.notices = append(f.notices, n)
	})
	f.Service = acquired(t, f.registry, s)
	t.Cleanup(func() {
		f.registry.Close()
		f.registry.Close() // once more changes nothing
	})
	return f
}

// ejecting is a spec of n endpoints that eject.
func ejecting(n int, e Ejection) ServiceSpec {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1
	}
	s := spec(WeightedRoundRobin, weights...)
	s.Ejection = e
	return s
}

var usual = Ejection{Consecutive: 5, Ratio: 0.8, Base: 30 * time.Second, MaximumShare: 0.5}

// try reports n tries at the i-th endpoint.
func (f *tended) try(i, n int, o Result) {
	e := f.Members()[i].Endpoint
	for range n {
		e.Begin()
		f.Report(e, o)
		e.End()
	}
}

// pass moves the clock, and waits until the registry has done what is due by then.
func (f *tended) pass(d time.Duration) {
	f.t.Helper()
	f.clock.Advance(d)
	late := time.Now().Add(time.Second)
	f.eventually("what is due is done", func() bool {
		f.registry.mu.Lock()
		defer f.registry.mu.Unlock()
		if time.Now().After(late) {
			f.registry.wakeUp() // the clock moved while a timer was being armed, which no real one does
		}
		due := never
		for st := range f.registry.out {
			due = min(due, st.until)
		}
		for _, s := range f.registry.services {
			due = min(due, s.nextStep)
		}
		return due > f.clock.Mono() && (due == never || f.clock.Armed() > 0)
	})
}

func (f *tended) eventually(what string, done func() bool) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// wants checks which endpoints are picked.
func (f *tended) wants(when, addresses string) {
	f.t.Helper()
	got := picked(f.Service, 40)
	if len(got) != len(addresses) {
		f.t.Errorf("%s: picked %v, want %q", when, got, addresses)
	}
	for _, a := range addresses {
		if got[string(a)] == 0 {
			f.t.Errorf("%s: picked %v, want %q", when, got, addresses)
		}
	}
}

func TestUP3_ConsecutiveFailuresEject(t *testing.T) {
	t.Parallel()
	for _, o := range []Result{Unreached, Lost, Overdue, Garbled, ServerError} {
		f := newTended(t, ejecting(3, usual))
		f.try(0, 4, o)
		f.try(0, 1, Answered)
		f.try(0, 4, o)
		f.wants("a success between", "abc")
		f.try(0, 1, o)
		f.wants("five in a row", "bc")
		f.try(0, 50, o) // those that were under way
		if s := f.Members()[0].Status(); s.InService || s.Ejected != 30*time.Second || s.Ejections != 1 {
			t.Errorf("%v: %+v", o, s)
		}
		f.pass(30*time.Second - 1)
		f.wants("a moment too early", "bc")
		f.pass(1)
		f.wants("when the time is over", "abc")
		f.mu.Lock()
		if n := f.notices; len(n) != 2 || n[0].In || n[0].Endpoint != "a" || n[0].Service != "s" || n[0].For != 30*time.Second ||
			n[0].Reason != "ejected: too many failures in a row; the last: "+o.String() || !n[1].In || n[1].Reason != "its ejection is over" {
			t.Errorf("%v: told %+v", o, n)
		}
		f.mu.Unlock()
	}
}

func TestUP3_TimesGrowAndRecover(t *testing.T) {
	t.Parallel()
	f := newTended(t, ejecting(3, usual))
	f.try(0, 5, ServerError)
	for _, want := range []time.Duration{30, 60, 120, 240, 300, 300} {
		if got := f.Members()[0].Status().Ejected; got != want*time.Second {
			t.Fatalf("away for %s, want %s", got, want*time.Second)
		}
		f.pass(want * time.Second)
		f.wants("back", "abc")
		f.try(0, 1, ServerError) // one is enough for who has not answered since
		f.wants("and away", "bc")
	}
	f.pass(5 * time.Minute)
	f.try(0, 100, Answered)
	f.try(0, 4, ServerError)
	f.wants("after it has answered, four are no five", "abc")
	f.pass(4 * time.Minute)
	f.try(0, 1, ServerError)
	if got := f.Members()[0].Status().Ejected; got != 300*time.Second {
		t.Errorf("it relapsed before it was well for as long as it was away: %s", got)
	}
	f.pass(5 * time.Minute)
	f.try(0, 100, Answered)
	f.pass(5 * time.Minute)
	f.try(0, 5, ServerError)
	if got := f.Members()[0].Status().Ejected; got != 30*time.Second {
		t.Errorf("after it was well for long it is away for %s, want 30s", got)
	}
}

func TestUP3_RatioEjects(t *testing.T) {
	t.Parallel()
	f := newTended(t, ejecting(3, Ejection{Ratio: 0.5, Base: time.Second, MaximumShare: 1}))
	for range 9 {
		f.try(0, 1, Overdue)
		f.try(0, 1, Answered)
	}
	f.wants("18 tries are too few to tell", "abc")
	f.try(0, 1, Answered)
	f.try(0, 1, Overdue)
	f.wants("half of 20 failed", "bc")
	f.try(1, 10, ServerError)
	f.pass(11 * time.Second)
	f.try(1, 10, ServerError)
	f.wants("ten failures, and ten in another window", "abc")
	f.try(2, 200, Answered)
	f.try(2, 19, ServerError)
	f.try(2, 60, Answered)
	f.try(2, 19, ServerError)
	f.wants("most tries of the window were answered", "abc")
}

func TestUP3_OneAlwaysStays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n, out int
		share  float64
	}{{1, 0, 1}, {2, 1, 0.5}, {2, 1, 1}, {3, 1, 0.5}, {3, 1, 0}, {3, 2, 1}, {4, 2, 0.5}, {10, 1, 0.1}, {10, 3, 0.3}, {10, 9, 1}} {
		limits := usual
		limits.MaximumShare = c.share
		f := newTended(t, ejecting(c.n, limits))
		for range 3 {
			for i := range c.n {
				f.try(i, 20, Unreached)
			}
		}
		if got := len(picked(f.Service, 100)); got != c.n-c.out {
			t.Errorf("%d endpoints at %v: %d are left, want %d", c.n, c.share, got, c.n-c.out)
		}
	}
	f := newTended(t, ejecting(3, Ejection{Consecutive: 1, Base: time.Second, MaximumShare: 1}))
	f.Members()[0].SetHealth(Unhealthy, "")
	f.Members()[1].SetDrained(true)
	f.try(2, 5, Unreached)
	f.wants("the others are out for other reasons", "c")
	f.Members()[1].SetDrained(false)
	f.try(2, 1, Unreached)
	f.wants("now there is another", "b")
	f.pass(time.Second)
	f.try(0, 5, Unreached)
	f.Members()[0].SetHealth(Healthy, "")
	f.wants("an ejected endpoint is found healthy", "bc")
}

func TestUP3_EjectionOutlivesReloads(t *testing.T) {
	t.Parallel()
	s := ejecting(3, usual)
	f := newTended(t, s)
	f.try(0, 5, Unreached)
	before := f.Service
	s.Timeouts.Response, s.Connections.Idle = time.Second, 7
	f.Service = acquired(t, f.registry, s)
	before.Release()
	f.wants("after a reload", "bc")
	f.pass(30 * time.Second)
	f.wants("in time", "abc")
	f.try(0, 1, Unreached)
	if got := f.Members()[0].Status(); got.Ejected != time.Minute || got.Ejections != 2 {
		t.Errorf("a relapse after a reload: %+v", got)
	}
	gone := f.Members()[0].Endpoint
	if err := f.SetEndpoints([]EndpointSpec{{Address: "b", Weight: 1}, {Address: "c", Weight: 1}}); err != nil {
		t.Fatal(err)
	}
	f.pass(time.Hour)
	f.Report(gone, Unreached) // by a request that was late
	f.wants("the ejected one has left", "bc")
}

func TestWithoutEjectionNothingIsCounted(t *testing.T) {
	t.Parallel()
	f := newTended(t, ejecting(2, Ejection{}))
	f.try(0, 1000, Unreached)
	f.wants("off", "ab")
	if f.Members()[0].trial.inRow.Load() != 0 {
		t.Error("failures are counted that nobody asks for")
	}
	untended := service(t, WeightedRoundRobin, 1, 1)
	untended.Report(untended.Members()[0].Endpoint, Unreached)
}

func TestPanicIsTold(t *testing.T) {
	t.Parallel()
	s := ejecting(4, Ejection{Consecutive: 1, Base: time.Second, MaximumShare: 1})
	s.PanicThreshold = 0.5
	f := newTended(t, s)
	for i := range 3 {
		f.try(i, 1, Unreached)
	}
	f.wants("panic", "abcd")
	f.pass(time.Second)
	var told []string
	f.mu.Lock()
	for _, n := range f.notices {
		if n.Endpoint == "" {
			told = append(told, n.Reason)
		}
	}
	f.mu.Unlock()
	if len(told) != 2 || !strings.HasPrefix(told[0], "fewer of its endpoints") || !strings.HasPrefix(told[1], "enough of its endpoints") {
		t.Errorf("told %q", told)
	}
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	s := spec(WeightedRoundRobin, 2, 2)
	s.SlowStart = 10 * time.Second
	s.Ejection = usual
	f := newTended(t, s)
	share := func(when string, want int) { // of b, in a cycle of the steadiest of them
		t.Helper()
		if got := picked(f.Service, 1100)["b"]; got < want-5 || got > want+5 {
			t.Errorf("%s: b has %d of 1,100, want %d", when, got, want)
		}
	}
	share("from the start", 550)
	f.try(1, 5, Unreached)
	share("ejected", 0)
	f.pass(30 * time.Second)
	share("just back: 1 to 10", 100)
	f.pass(2 * time.Second)
	share("2 to 10", 183)
	f.pass(3 * time.Second)
	share("5 to 10", 367)
	f.pass(5 * time.Second)
	share("warm", 550)
	f.Members()[1].SetHealth(Unhealthy, "")
	f.Members()[1].SetHealth(Healthy, "")
	share("recovered", 100)
	f.pass(10 * time.Second)
	f.Members()[1].SetDrained(true)
	f.Members()[1].SetDrained(false)
	share("put back", 100)
	f.pass(10 * time.Second)
	share("warm again", 550)
	if err := f.SetEndpoints([]EndpointSpec{{Address: "a", Weight: 2}, {Address: "b", Weight: 2}, {Address: "c", Weight: 4}}); err != nil {
		t.Fatal(err)
	}
	if got := picked(f.Service, 110); got["c"] != 10 || got["b"] != 50 {
		t.Errorf("joining: %v", got)
	}
	f.pass(10 * time.Second)
	if got := picked(f.Service, 120); got["c"] != 60 {
		t.Errorf("joined: %v", got)
	}
}

// TestEjectionKeepsItsPromises: whatever the outcomes, one endpoint stays, no more than
// the share are out, and everybody is back in the end.
func TestEjectionKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "endpoints")
		limits := Ejection{
			Consecutive: rapid.IntRange(0, 4).Draw(rt, "consecutive"), Ratio: rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(rt, "ratio"),
			Base: time.Second, MaximumShare: rapid.SampledFrom([]float64{0, 0.3, 0.5, 1}).Draw(rt, "share"),
		}
		s := ejecting(n, limits)
		r := NewRegistry((&counting{}).open)
		c := clock.NewFake(time.Unix(1e9, 0))
		r.Tend(c, nil)
		defer r.Close()
		f := &tended{t: t, Service: acquired(rt, r, s), clock: c, registry: r}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			c.Advance(time.Duration(rapid.IntRange(0, 900).Draw(rt, "ms")) * time.Millisecond)
			f.try(rapid.IntRange(0, n-1).Draw(rt, "endpoint"), rapid.IntRange(1, 25).Draw(rt, "tries"), rapid.SampledFrom([]Result{Answered, Unreached, ServerError}).Draw(rt, "outcome"))
			in := len(picked(f.Service, 4*n))
			if out := n - in; in == 0 || out > max(1, int(limits.MaximumShare*float64(n))) {
				rt.Fatalf("%d of %d are out at a share of %v", out, n, limits.MaximumShare)
			}
		}
		f.pass(longestEjection * time.Second)
		if in := len(picked(f.Service, 4*n)); in != n {
			rt.Fatalf("%d of %d are in service in the end", in, n)
		}
	})
}

func TestReportsOfManyCallers(t *testing.T) {
	t.Parallel()
	f := newTended(t, ejecting(4, usual))
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for i := range 500 {
				var tried Tried
				e := f.Pick(&tried, 0)
				e.Begin()
				if e.Address == "a" {
					f.Report(e, Unreached)
				} else {
					f.Report(e, Result(0))
				}
				e.End()
				if i%100 == 0 {
					f.Members()[3].SetHealth(Health(i/100%3), "")
				}
			}
		})
	}
	group.Wait()
	if s := f.Members()[0].Status(); s.InService || s.Ejections != 1 {
		t.Errorf("%+v", s)
	}
}
