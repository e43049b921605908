package upstream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// visitor is a caller that may leave.
type visitor struct{ gone atomic.Bool }

func (v *visitor) Gone() bool { return v.gone.Load() }

// far is no bound of a caller's own.
const far = int64(1) << 62

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestBulkheadLetsInInOrder(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Now())
	b := NewBulkhead(BulkheadSpec{Maximum: 2, Queue: 5, QueueTimeout: time.Second}, c)
	for place := range 3 {
		if entered := b.Enter(); entered != (place < 2) {
			t.Fatalf("place %d of two: %v", place, entered)
		}
	}
	order := make(chan int, 5)
	var group sync.WaitGroup
	for i := range 5 {
		group.Go(func() {
			if got := b.Wait(&visitor{}, far); got != Entered {
				t.Errorf("waiter %d: %d", i, got)
			}
			order <- i
		})
		until(t, "it waits", func() bool { return b.View().Waiting == int64(i+1) })
	}
	if b.Enter() {
		t.Error("somebody passed the line")
	}
	if got := b.Wait(&visitor{}, far); got != Full {
		t.Errorf("a sixth: %d", got)
	}
	for i := range 5 {
		b.Leave()
		if got := <-order; got != i {
			t.Errorf("waiter %d came %d-th", got, i)
		}
	}
	group.Wait()
	if v := b.View(); v != (BulkheadView{InFlight: 2, Limit: 2}) {
		t.Errorf("%+v", v)
	}
}

func TestBulkheadTurnsAway(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Now())
	b := NewBulkhead(BulkheadSpec{Maximum: 1, Queue: 5, QueueTimeout: time.Second}, c)
	b.Enter()
	for name, w := range map[string]struct {
		due   int64
		gone  bool
		after time.Duration
		want  Entry
	}{
		"the queue's time":    {due: far, after: time.Second, want: Late},
		"the request's own":   {due: int64(300 * time.Millisecond), after: 300 * time.Millisecond, want: Late},
		"a caller that left":  {due: far, gone: true, after: lookEvery, want: Left},
		"a time that is over": {due: 0, want: Late},
	} {
		var v visitor
		v.gone.Store(w.gone)
		start := c.Mono()
		result := make(chan Entry, 1)
		go func() { result <- b.Wait(&v, start+min(w.due, far-start)) }() // received below
		var got Entry
		waited := time.Duration(0)
		for done := false; !done; {
			select {
			case got = <-result:
				done = true
			default:
				if c.Armed() > 0 {
					c.Advance(10 * time.Millisecond)
					waited += 10 * time.Millisecond
				}
				time.Sleep(50 * time.Microsecond)
			}
		}
		// The waiter may read the clock a few steps after the step that woke it.
		if got != w.want || waited < w.after {
			t.Errorf("%s: %d after %v, want %d after %v", name, got, waited, w.want, w.after)
		}
		if v := b.View(); v.Waiting != 0 || v.InFlight != 1 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if got := NewBulkhead(BulkheadSpec{Maximum: 1, QueueTimeout: time.Second}, c).Wait(&visitor{}, far); got != Full {
		t.Errorf("without a queue: %d", got)
	}
}

// TestBulkheadNeverHoldsTooMany: callers who come, wait, give up and leave as they like
// never exceed the limit, and lose no place.
func TestBulkheadNeverHoldsTooMany(t *testing.T) {
	t.Parallel()
	const maximum = 7
	b := NewBulkhead(BulkheadSpec{Maximum: maximum, Queue: 10, QueueTimeout: 200 * time.Microsecond}, clock.Real())
	var within, most, entered atomic.Int64
	var group sync.WaitGroup
	for i := range 64 {
		luck := rand.New(rand.NewPCG(7, uint64(i)))
		group.Go(func() {
			var v visitor
			v.gone.Store(i%8 == 0)
			for range 500 {
				if !b.Enter() && b.Wait(&v, far) != Entered {
					continue
				}
				entered.Add(1)
				n := within.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				if luck.IntN(4) == 0 {
					time.Sleep(time.Duration(luck.IntN(100)) * time.Microsecond)
				}
				within.Add(-1)
				b.Leave()
			}
		})
	}
	group.Wait()
	if most.Load() > maximum || entered.Load() == 0 {
		t.Errorf("%d at once, %d entered", most.Load(), entered.Load())
	}
	if v := b.View(); v != (BulkheadView{Limit: maximum}) {
		t.Errorf("at the end: %+v", v)
	}
}

// TestBulkheadLosesNoWakeup: with time to wait, everybody gets in.
func TestBulkheadLosesNoWakeup(t *testing.T) {
	t.Parallel()
	b := NewBulkhead(BulkheadSpec{Maximum: 2, Queue: 64, QueueTimeout: time.Hour}, clock.Real())
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for range 500 {
				if !b.Enter() {
					if got := b.Wait(&visitor{}, far); got != Entered {
						t.Errorf("turned away: %d", got)
						return
					}
				}
				b.Leave()
			}
		})
	}
	group.Wait()
}

// TestAdaptiveBulkheadLetsInWhenTheLimitGrows: whoever waits need not wait for one who
// leaves.
func TestAdaptiveBulkheadLetsInWhenTheLimitGrows(t *testing.T) {
	t.Parallel()
	b := NewBulkhead(BulkheadSpec{Maximum: 100, Queue: 1, QueueTimeout: time.Hour, Adaptive: true}, clock.Real())
	b.gradient.standard.reset(float64(time.Millisecond))
	b.gradient.set(10)
	b.limit.Store(10)
	for b.Enter() {
	}
	entered := make(chan Entry, 1)
	go func() { entered <- b.Wait(&visitor{}, far) }() // received below
	until(t, "it waits", func() bool { return b.View().Waiting == 1 })
	b.Done(Final{Fate: Nothing, Latency: time.Millisecond, Now: 1})
	for now := int64(1); b.View().Waiting > 0; now += gradientStep / 1000 {
		b.Done(Final{Fate: Success, Latency: time.Millisecond, Now: now})
		if now > int64(time.Minute) {
			t.Fatal("the limit did not grow")
		}
	}
	if got := <-entered; got != Entered {
		t.Errorf("%d", got)
	}
}

// TestGuardsOutliveDeclarations: what is open stays open while other things of the service
// change, and what is shown goes with the last holder.
func TestGuardsOutliveDeclarations(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	set := meter.NewSet(time.Now)
	r := NewRegistry((&counting{}).open)
	r.Publish(set)
	r.Guard(Guarding{Clock: clock.NewFake(time.Now()), Log: zerolog.New(&log)})
	first := spec(WeightedRoundRobin, 1)
	first.Breaker, first.Bulkhead = breaking, BulkheadSpec{Maximum: 1, Queue: 1, QueueTimeout: time.Second}
	a, _ := r.Acquire(first)
	for range 10 {
		ticket, _ := a.Breaker.Admit(1, 0)
		a.Breaker.Done(ticket, Final{Fate: Failure, Now: 1})
	}
	a.Breaker.Admit(1, 0)
	a.Bulkhead.Enter()
	a.Bulkhead.Wait(&visitor{}, 0)
	changed := first
	changed.Timeouts.Total = time.Hour
	b, _ := r.Acquire(changed)
	if b == a || b.Breaker != a.Breaker || b.Bulkhead != a.Bulkhead {
		t.Error("a changed timeout lost a guard")
	}
	changed.Breaker.Probes, changed.Bulkhead.Maximum = 9, 9
	c, _ := r.Acquire(changed)
	if c.Breaker == a.Breaker || c.Bulkhead == a.Bulkhead {
		t.Error("a changed guard is the same one")
	}
	c.Release()
	a.Release()
	var shown strings.Builder
	set.WritePrometheus(&shown)
	for _, line := range []string{
		`gateway_circuit_breaker_transitions_total{service="s",to="open"} 1`,
		`gateway_circuit_breaker_refused_total{service="s"} 1`,
		`gateway_circuit_breaker_state{service="s"} 1`, `gateway_bulkhead_in_flight{service="s"} 1`, `gateway_bulkhead_limit{service="s"} 1`,
		`gateway_bulkhead_shed_total{service="s",reason="queue_timeout"} 1`,
	} {
		if !strings.Contains(shown.String(), line+"\n") {
			t.Errorf("%s is not in\n%s", line, shown.String())
		}
	}
	if want := `"level":"warn","service":"s","from":"CLOSED","to":"OPEN","because":"failures in a row","open_ms":5000,"outcomes":10,"failures":10,"slow":0,"message":"circuit breaker"`; !strings.Contains(log.String(), want) {
		t.Errorf("log: %s", log.String())
	}
	b.Release()
	shown.Reset()
	set.WritePrometheus(&shown)
	for _, name := range []string{"gateway_circuit_breaker_state", "gateway_bulkhead_in_flight", "gateway_bulkhead_queue", "gateway_bulkhead_limit"} {
		if strings.Contains(shown.String(), name+"{") {
			t.Errorf("%s is still shown", name)
		}
	}
	if got := fmt.Sprint(len(r.guards.breakers), len(r.guards.bulkheads)); got != "0 0" {
		t.Errorf("%s guards are left", got)
	}
}
