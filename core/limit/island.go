package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// ErrCounter is wrapped by the errors of a Store that are about one charge or one
// counter: there is something else under its key. The store itself is well, and decides
// about others.
var ErrCounter = errors.New("this counter can't be used")

// errAlone is the answer of an island that denies.
var errAlone = errors.New("the store of rate limits is away, and limiter.on_store_error is deny")

// OnStoreError is what decides about a request while the store can't (SPEC RL6).
type OnStoreError uint8

// The ways to decide.
const (
	// Local counts here: what the policy gives, divided by the instances that were seen
	// last, from nothing at the moment when the store went.
	Local OnStoreError = iota
	Allow              // admits all
	Deny               // fails
)

// Closer is a Store that must be closed.
type Closer interface {
	Store
	Close() error
}

// IslandOptions are what NewIslands needs.
type IslandOptions struct {
	OnError   OnStoreError
	Instances func() int    // how many share the store, as far as was seen last; nil: one
	Local     func() Closer // what an island counts in; nil: a Memory with its defaults
	// Of a primary that decides some requests without asking the store: Probe always asks
	// it, and Answers is how often it has answered. Without them the primary's decisions
	// would pass for signs that the store lives. nil: each decision is the store's.
	Probe   Store
	Answers func() int64
	Clock   clock.Clock
	Meter   *meter.Set
	Log     zerolog.Logger
}

// When an instance is alone, and how it finds back.
const (
	// mostFailures is how many more requests may fail than succeed before nobody asks.
	mostFailures = 5
	// The probes of an island begin soon and become rarer, each by up to a quarter
	// more or less: instances must not come back in step.
	firstProbe, lastProbe = 50 * time.Millisecond, 500 * time.Millisecond
	// probes is how many must succeed one after the other.
	probes = 3
)

// Islands asks a store that all instances share, and decides alone while that can't.
//
// After a few failures nobody asks any more, so that no request waits for a store that is
// away; a goroutine of its own probes it, and all return at once when it answers. A request
// that fails before that is decided as on an island that began with the first failure since
// the last success.
//
// What Local admits beyond the policy: a token bucket of n instances nothing in the long
// run, for each island of an instance gains Count/n every Per, from nothing; before it began,
// the store may have given all of Burst. A window or log admits Count/n in any Per, spread
// evenly over the first, so that it and what the store admitted in the Per before are at most
// twice Count. A share is at least one token, and n may be out of date: instances that
// the store never saw add their own shares.
//
// It is safe for concurrent use. While all is well it adds two reads of the clock and no
// shared write; an island allocates nothing for counters that it knows.
type Islands struct {
	primary Store
	o       IslandOptions
	island  atomic.Pointer[island] // nil while all is well; written with mu
	score   atomic.Int64           // failures less successes, from 0; written with mu

	mu     sync.Mutex // of who changes what is in force
	heard  int64      // of Answers, when they last told for the store; with mu
	wake   chan struct{}
	stop   context.CancelFunc
	ended  sync.WaitGroup
	forget []func() // gauges

	took   *meter.Histogram
	failed [3]*meter.Counter // by kinds
	alone  *meter.Counter
}

var _ Store = (*Islands)(nil)

// kinds are how a store fails, as labels.
const (
	kindTimeout = iota
	kindCounter
	kindError
)

// NewIslands returns a store that asks primary. Close it before that.
func NewIslands(primary Store, o IslandOptions) *Islands {
	if o.Instances == nil {
		o.Instances = func() int { return 1 }
	}
	if o.Local == nil {
		o.Local = func() Closer { return NewMemory(o.Clock, MemoryOptions{}) }
	}
	if o.Probe == nil {
		o.Probe = primary
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Islands{primary: primary, o: o, wake: make(chan struct{}, 1), stop: stop}
	s.measure(o.Meter)
	s.ended.Go(func() { s.probing(ctx) })
	return s
}

func (s *Islands) measure(set *meter.Set) {
	s.took = set.Histogram("gateway_rate_limit_store_seconds", "How long requests waited for the store of rate limits.",
		[]float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1})
	for kind, name := range []string{kindTimeout: "timeout", kindCounter: "counter", kindError: "error"} {
		s.failed[kind] = set.Counter("gateway_rate_limit_store_errors_total",
			"Requests that the store of rate limits did not decide: for a timeout, what lies under one counter's key, or another error.",
			meter.Label{Name: "kind", Value: name})
	}
	s.alone = set.Counter("gateway_rate_limit_alone_total", "Requests that were decided without the store of rate limits.")
	for mode, alone := range map[string]bool{"shared": false, "alone": true} {
		s.forget = append(s.forget, set.Gauge("gateway_rate_limit_mode", "1 for how requests are counted now: shared by all instances, or alone.", func() float64 {
			if s.Alone() == alone {
				return 1
			}
			return 0
		}, meter.Label{Name: "mode", Value: mode}))
	}
}

// Close ends the probes, and an island's store. Take works after it, and finds back
// from no island.
func (s *Islands) Close() error {
	s.stop()
	s.ended.Wait()
	for _, forget := range s.forget {
		forget()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.island.Load(); i != nil {
		return i.close()
	}
	return nil
}

// Alone says whether nobody asks the store at present.
func (s *Islands) Alone() bool {
	i := s.island.Load()
	return i != nil && i.open.Load()
}

// Take is Store's. It asks the store that is shared, or decides as OnError says.
func (s *Islands) Take(charges []Charge) (denied int, err error) {
	begun := s.o.Clock.Mono()
	stripe := uint32(begun) //nolint:gosec // nanoseconds are as good as chance
	if i := s.island.Load(); i != nil && i.open.Load() {
		s.alone.Add(stripe, 1)
		return s.decide(i, charges, errAlone)
	}
	denied, err = s.primary.Take(charges)
	s.took.Observe(stripe, time.Duration(s.o.Clock.Mono()-begun))
	switch {
	case err == nil:
		if s.score.Load() != 0 || s.island.Load() != nil {
			s.succeed()
		}
		return denied, nil
	case errors.Is(err, ErrCounter):
		s.failed[kindCounter].Add(stripe, 1)
		if s.o.OnError == Allow {
			return allow(charges)
		}
		return 0, err
	case errors.Is(err, context.DeadlineExceeded):
		s.failed[kindTimeout].Add(stripe, 1)
	default:
		s.failed[kindError].Add(stripe, 1)
	}
	s.alone.Add(stripe, 1)
	return s.decide(s.fail(err), charges, err)
}

// decide is the answer of an island.
func (s *Islands) decide(i *island, charges []Charge, cause error) (int, error) {
	switch s.o.OnError {
	case Allow:
		return allow(charges)
	case Deny:
		return 0, cause
	default:
		return i.take(charges)
	}
}

func allow(charges []Charge) (int, error) {
	for i := range charges {
		c := &charges[i]
		c.Remaining, c.Reset, c.Wait = c.Policy.Capacity(), 0, 0
	}
	return Admitted, nil
}

// fail notes that the store did not decide, and returns the island that does.
func (s *Islands) fail(cause error) *island {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.island.Load()
	if i == nil {
		i = newIsland(s.o)
		s.island.Store(i)
		_ = s.answered() // what it has answered before says nothing now
	}
	if i.open.Load() {
		return i
	}
	if s.score.Add(1) >= mostFailures {
		i.open.Store(true)
		s.o.Log.Warn().Err(cause).Int("instances", i.instances).Msg("rate limits are decided by each instance alone")
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return i
}

// succeed notes that the store decided, while that was in doubt.
func (s *Islands) succeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.island.Load()
	if i != nil && i.open.Load() {
		return // it was asked before; the probes tell
	}
	if !s.answered() {
		return
	}
	s.score.Store(max(s.score.Load()-1, 0))
	s.leave(i)
}

// answered says whether the store has answered since this was asked last, with mu held.
func (s *Islands) answered() bool {
	if s.o.Answers == nil {
		return true
	}
	before := s.heard
	s.heard = s.o.Answers()
	return s.heard != before
}

// rejoin ends an island.
func (s *Islands) rejoin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.score.Store(0)
	s.leave(s.island.Load())
	s.o.Log.Info().Msg("rate limits are counted for all instances")
}

// leave puts nothing in the place of the island, with mu held. Those who are there go on in
// its store.
func (s *Islands) leave(i *island) {
	if i == nil {
		return
	}
	s.island.Store(nil)
	if err := i.close(); err != nil {
		s.o.Log.Error().Err(err).Msg("closing the counters of one instance")
	}
}

// probing is the goroutine that finds out when the store is back.
func (s *Islands) probing(ctx context.Context) {
	timer := s.o.Clock.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for wait := firstProbe; ; wait = min(2*wait, lastProbe) {
			timer.Reset(wait*3/4 + rand.N(wait/2))
			select {
			case <-ctx.Done():
				return
			case <-timer.C():
			}
			if s.answers() {
				break
			}
		}
		s.rejoin()
	}
}

// answers says whether the store decides again. It is asked for what it is for: a
// replica that takes no writes is of no use.
func (s *Islands) answers() (well bool) {
	defer func() {
		if v := recover(); v != nil {
			s.o.Log.Error().Any("panic", v).Msg("probing the store of rate limits")
			well = false
		}
	}()
	policy := Policy{Name: "probe", Algorithm: TokenBucket, Count: 1, Per: time.Second, Burst: 1}
	for range probes {
		if _, err := s.o.Probe.Take([]Charge{{Policy: &policy, Key: []byte("rate_limit:probe"), Cost: 1, Bypass: true}}); err != nil && !errors.Is(err, ErrCounter) {
			return false
		}
	}
	return true
}

// String returns the word that configurations use.
func (o OnStoreError) String() string {
	return [...]string{"local", "allow", "deny"}[min(o, Deny)]
}

// ParseOnStoreError returns what a configuration's word means.
func ParseOnStoreError(word string) (OnStoreError, error) {
	for o := Local; o <= Deny; o++ {
		if word == o.String() {
			return o, nil
		}
	}
	return 0, fmt.Errorf("want local, allow or deny, got %q", word)
}
