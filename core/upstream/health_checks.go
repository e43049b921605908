package upstream

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/suuupra/gateway/core/meter"
)

const (
	// mostChecks is how many checks are under way at once. Ten thousand endpoints that
	// hang for a second each are through in ten, and no other waits longer.
	mostChecks = 1024
	// mostIdle is how many workers stay when there is nothing to do. A new one costs a tenth of
	// a check: its stack grows three times until it has the depth of a transport's read.
	mostIdle = 128
	// firstWithin is how soon an endpoint is checked for the first time, at the latest.
	firstWithin = time.Second
	// leastTick and longestTick bound how far apart the scheduler's wakes are at least: what falls
	// due together is begun together. A tick is tickPerCheck for each endpoint: of many of them
	// some hundred are begun at once, so that the answers of one batch wake a sleeping processor
	// once, which costs a third of a check.
	leastTick    = 10 * time.Millisecond
	longestTick  = 100 * time.Millisecond
	tickPerCheck = 10 * time.Microsecond
	// jitter is the share by which a pause is longer or shorter, at random, so that
	// neither endpoints nor gateways fall into step.
	jitter = 0.1
	// longestReason is how many bytes of a reason are kept.
	longestReason = 256
)

// checks runs the health checks of a registry. One goroutine, the runner, gives what is due
// to workers; all live as long as there is anything to check. Whoever lets go of a check waits
// until it is over, and of the last one, for them too.
type checks struct {
	Checking
	seconds *meter.Histogram // nil: nothing is published
	meter   *meter.Set

	// mu is taken twice for each check, and by views. It is never held while a check
	// waits, and nothing else is locked under it.
	mu       sync.Mutex
	all      map[checkKey]*check
	queue    checkQueue
	busy     int                    // checks under way
	armed    int64                  // when the runner wakes by itself
	runner   *runner                // nil: nothing is checked
	verdicts map[names][]*check     // of one address, in the order of their coming
	tallies  map[string]*tally      // by service
	gauges   map[names]func()       // what withdraws the series of an address
	pending  map[names]HealthRecord // to be recorded
}

// checkKey tells checks apart: what is checked, and how.
type checkKey struct {
	endpoint *Endpoint
	how      HealthCheck
}

// check is the health check of one endpoint. All but what is never written is guarded
// by the mu of checks.
type check struct {
	owner *checks
	key   checkKey // never written
	probe Probe    // never written
	names names    // never written
	tally *tally   // never written

	holders int // guarded by the registry's mu

	verdict verdict
	found   Checked
	begun   int  // checks that were begun, up to 2
	stopped bool // nobody wants it any more
	due     int64
	slot    int // in the queue; -1: not in it
	// under is the check that is under way.
	under sync.WaitGroup
}

func newChecks(c Checking, s *meter.Set) *checks {
	out := &checks{
		Checking: c, meter: s,
		all: map[checkKey]*check{}, verdicts: map[names][]*check{}, pending: map[names]HealthRecord{}, tallies: map[string]*tally{}, gauges: map[names]func(){},
	}
	if s != nil {
		out.seconds = s.Histogram("gateway_upstream_health_check_seconds", "How long a health check took.", checkBounds)
	}
	return out
}

// hold returns the check of e as h says for one more holder. Called under the registry's
// mu.
func (c *checks) hold(e *Endpoint, h HealthCheck) *check {
	key := checkKey{e, h}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.all[key]
	if k == nil {
		k = &check{owner: c, key: key, slot: -1, names: names{e.key.Service, e.Address}}
		k.probe = c.Prober.Probe(e, &k.key.how)
		if before := c.inForce(k.names); before != nil && before.key.how == h {
			// The same address with another certificate or other connections.
			k.verdict, k.found, k.begun = before.verdict, before.found, 1
		}
		c.all[key] = k
		c.show(k)
		if c.runner == nil {
			c.runner = c.newRunner()
		}
		c.schedule(k, time.Duration(rand.Int64N(int64(min(firstWithin, h.Interval)))))
	}
	k.holders++
	return k
}

// release takes one holder from k, and says whether it was the last: then the caller
// calls k.stop once it holds no lock. Called under the registry's mu.
func (c *checks) release(k *check) (last bool) {
	if k.holders--; k.holders > 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k.stopped = true
	delete(c.all, k.key)
	if k.slot >= 0 {
		heap.Remove(&c.queue, k.slot)
	}
	c.hide(k)
	return true
}

// stop waits for the end of k, whose probe is closed, and of the runner with the last one.
func (k *check) stop() {
	k.under.Wait()
	c := k.owner
	c.mu.Lock()
	var idle *runner
	if len(c.all) == 0 {
		idle, c.runner = c.runner, nil
	}
	c.mu.Unlock()
	if idle != nil {
		idle.end()
	}
}

// runner is what begins checks: it is started with the first one, and ended with the
// last.
type runner struct {
	ctx     context.Context // done when the runner has to end
	cancel  context.CancelFunc
	wake    chan struct{} // something is due earlier than thought
	changed chan struct{} // there is something to record
	work    chan *check   // for workers who wait; never full
	idle    int           // workers who wait; guarded by the mu of checks
	running sync.WaitGroup
}

// newRunner starts a runner. Called under mu.
func (c *checks) newRunner() *runner {
	r := &runner{wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), work: make(chan *check, mostIdle)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.running.Go(func() { c.run(r) })
	if c.Recorder != nil {
		r.running.Go(func() { c.record(r) })
	}
	return r
}

func (r *runner) end() {
	r.cancel()
	r.running.Wait()
}

// run begins what is due, until r ends.
func (c *checks) run(r *runner) {
	timer := c.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-timer.C():
		}
		timer.Reset(c.begin(r))
	}
}

// begin starts all checks that are due and that there is room for, and returns how long
// nothing else has to be done.
func (c *checks) begin(r *runner) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Clock.Mono()
	for c.runner == r && c.busy < mostChecks && len(c.queue) > 0 && c.queue[0].due <= now {
		k := heap.Pop(&c.queue).(*check)
		k.begun = min(k.begun+1, 2)
		c.busy++
		k.under.Add(1)
		if r.idle > 0 {
			r.idle--
			r.work <- k
		} else {
			r.running.Go(func() { c.serve(r, k) })
		}
	}
	wait := time.Hour
	if c.busy < mostChecks && len(c.queue) > 0 { // otherwise the next that ends wakes
		wait = max(time.Duration(c.queue[0].due-now), c.tick())
	}
	c.armed = now + int64(wait)
	return wait
}

// tick is how far apart wakes are at least. Called under mu.
func (c *checks) tick() time.Duration {
	return min(max(time.Duration(len(c.all))*tickPerCheck, leastTick), longestTick)
}

// schedule puts k into the queue. Called under mu.
func (c *checks) schedule(k *check, after time.Duration) {
	k.due = c.Clock.Mono() + int64(after)
	heap.Push(&c.queue, k)
	if k.due+int64(c.tick()) < c.armed && c.runner != nil {
		rouse(c.runner.wake)
	}
}

// rouse wakes whoever waits on to.
func rouse(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default: // it is woken already
	}
}

// serve is a worker: it makes a check, and then those that it is given, unless enough
// others wait for them.
func (c *checks) serve(r *runner, k *check) {
	for {
		c.check(k)
		if !c.rest(r) {
			return
		}
		select {
		case <-r.ctx.Done(): // after the last check was given out, which may be to us
			select {
			case k = <-r.work:
			default:
				return
			}
		case k = <-r.work:
		}
	}
}

// rest says whether a worker shall wait for more to do.
func (c *checks) rest(r *runner) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.idle == mostIdle {
		return false
	}
	r.idle++
	return true
}

// check checks k once.
func (c *checks) check(k *check) {
	defer k.under.Done()
	begun := c.Clock.Mono()
	outcome, err := k.try(begun)
	took := time.Duration(c.Clock.Mono() - begun)
	if c.seconds != nil {
		c.seconds.Observe(0, took)
	}
	k.tally.outcomes[outcome].Add(1)
	if c.conclude(k, outcome, err, took) {
		k.key.endpoint.registry.judge(k.names)
	}
}

// try makes the check. A probe that panics has not passed.
func (k *check) try(now int64) (outcome Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			outcome, err = Broken, fmt.Errorf("BUG: the check panicked: %v", p)
		}
	}()
	return k.probe.Check(now + int64(k.key.how.Timeout))
}

// conclude takes in what came of a check, says whether that changes the endpoint's
// health, and schedules the next one.
func (c *checks) conclude(k *check, outcome Outcome, err error, took time.Duration) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == mostChecks && c.runner != nil {
		rouse(c.runner.wake)
	}
	c.busy--
	if k.stopped {
		return false
	}
	changed = k.verdict.note(outcome == Passed, &k.key.how)
	k.found.Health, k.found.Last, k.found.Took, k.found.Outcome, k.found.Reason = k.verdict.health, c.Clock.Now(), took, outcome, ""
	if err != nil {
		k.found.Reason = reason(err)
	}
	if changed {
		k.found.Since = k.found.Last
	}
	c.schedule(k, k.pause()-took)
	return changed
}

// reason is err as it is shown.
func reason(err error) string {
	text := err.Error()
	return text[:min(len(text), longestReason)]
}

// pause is how long after its beginning a check is followed by the next. The second
// comes at any time within the interval, so that those that began together don't stay
// together.
func (k *check) pause() time.Duration {
	d := k.verdict.pause(&k.key.how)
	if k.begun < 2 {
		return time.Duration(rand.Int64N(int64(d)))
	}
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64()))
}

// checkQueue has the check on top that is due first.
type checkQueue []*check

func (q checkQueue) Len() int { return len(q) }

func (q checkQueue) Less(i, j int) bool { return q[i].due < q[j].due }

func (q checkQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].slot, q[j].slot = i, j
}

// Push adds a check; it implements heap.Interface.
func (q *checkQueue) Push(k any) {
	added := k.(*check)
	added.slot = len(*q)
	*q = append(*q, added)
}

// Pop removes the last check; it implements heap.Interface.
func (q *checkQueue) Pop() any {
	last := len(*q) - 1
	k := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	k.slot = -1
	return k
}
