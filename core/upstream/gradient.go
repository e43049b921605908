package upstream

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// gradient finds out how many requests a service can have under way before they only wait
// for each other: it compares the latency of a moment with the one that the service has
// when it is not crowded, and lowers the limit by how much they differ. The idea is that of
// TCP Vegas (L. Brakmo and L. Peterson, 1995) and of Netflix's concurrency-limits
// (Gradient2Limit); unlike there the latency without a crowd is a minimum, not an average,
// which a lasting overload would raise with itself, and is measured again at intervals with
// half the limit.
type gradient struct {
	lanes [ringLanes]struct {
		sum, n atomic.Uint64 // ns, and how many
		_      [112]byte
	}
	peak atomic.Int64 // most under way in this step; written when it grows
	due  atomic.Int64 // when the step ends; written ten times a second

	mu       sync.Mutex // taken by whoever ends a step
	maximum  float64
	limit    float64
	base     [2]float64 // least latency, ns, of this period and the one before; 0: none
	period   int64      // when this period ends
	probing  int        // steps left at half the limit
	answered atomic.Int64
}

const (
	gradientStep    = int64(100 * time.Millisecond)
	gradientPeriod  = int64(30 * time.Second)
	gradientSamples = 10  // of a step, or it goes on
	gradientProbe   = 3   // steps at half the limit
	gradientFirst   = 20  // limit at the start
	gradientLeast   = 4   // least limit
	tolerance       = 1.5 // latency that is no crowd, of the least
	smoothing       = 0.2 // share of a step's finding that is taken
)

func newGradient(maximum int) *gradient {
	g := &gradient{maximum: float64(maximum)}
	g.limit = min(gradientFirst, g.maximum)
	g.answered.Store(int64(g.limit))
	return g
}

// Limit is the limit in force.
func (g *gradient) Limit() int64 { return g.answered.Load() }

// sample takes in how a request went while inFlight were under way. It returns the limit, and
// whether that is another one.
func (g *gradient) sample(r Final, inFlight int64) (int64, bool) {
	lane := &g.lanes[r.Stripe%ringLanes]
	lane.sum.Add(uint64(max(r.Latency, 1)))
	lane.n.Add(1)
	if peak := g.peak.Load(); inFlight > peak {
		g.peak.CompareAndSwap(peak, inFlight) // whoever comes second tells nothing new
	}
	if r.Now < g.due.Load() || !g.mu.TryLock() {
		return 0, false
	}
	defer g.mu.Unlock()
	if r.Now < g.due.Load() {
		return 0, false
	}
	return g.step(r.Now)
}

// step ends a step. Called under mu.
func (g *gradient) step(now int64) (int64, bool) {
	var n uint64
	for i := range g.lanes {
		n += g.lanes[i].n.Load()
	}
	g.due.Store(now + gradientStep)
	if n < gradientSamples {
		return 0, false
	}
	var sum uint64
	n = 0
	for i := range g.lanes {
		sum += g.lanes[i].sum.Swap(0)
		n += g.lanes[i].n.Swap(0)
	}
	g.learn(float64(sum)/float64(max(n, 1)), float64(g.peak.Swap(0)), now)
	was := g.answered.Load()
	limit := int64(g.limit)
	if g.probing > 0 {
		limit = max(limit/2, min(gradientLeast, limit))
	}
	g.answered.Store(limit)
	return limit, limit != was
}

// learn moves the limit by the mean latency of a step.
func (g *gradient) learn(latency, peak float64, now int64) {
	if g.period == 0 {
		g.period = now + gradientPeriod
	}
	if g.base[0] == 0 || latency < g.base[0] {
		g.base[0] = latency
	}
	least := g.base[0]
	if g.base[1] > 0 {
		least = min(least, g.base[1])
	}
	if g.probing > 0 {
		g.probing--
		return
	}
	if now >= g.period {
		g.period = now + gradientPeriod
		g.base[1], g.base[0] = g.base[0], 0
		g.probing = gradientProbe
		return
	}
	slope := min(max(tolerance*least/latency, 0.5), 1)
	if slope == 1 && peak < g.limit/2 {
		return // a limit that nobody has reached is not tried
	}
	aim := g.limit*slope + math.Sqrt(g.limit)
	g.limit = g.limit*(1-smoothing) + aim*smoothing
	g.limit = min(max(g.limit, min(gradientLeast, g.maximum)), g.maximum)
}
