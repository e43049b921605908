package apikey_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	now      = time.Date(2026, 5, 4, 10, 30, 0, 0, time.UTC)
	anywhere = netip.MustParseAddr("203.0.113.9")
)

// store is a memory store that can be away, counts, and lets a test hold readers.
type store struct {
	*apikey.Memory
	loads atomic.Int64
	away  atomic.Bool
	sink  atomic.Bool // of usage: the test takes it
	takes atomic.Bool // usage, though it answers with an error

	mu    sync.Mutex
	after func(*apikey.Record, *error) // sees what each Load returns
	usage func([]apikey.UsageRow) error
	// forget is asked before ForgetUsage does anything.
	forget  func(most int) error
	forgets atomic.Int64
}

func (s *store) onForget(f func(most int) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget = f
}

func (s *store) ForgetUsage(ctx context.Context, before time.Time, most int) (int, error) {
	s.forgets.Add(1)
	s.mu.Lock()
	forget := s.forget
	s.mu.Unlock()
	if forget != nil {
		if err := forget(most); err != nil {
			return 0, err
		}
	}
	return s.Memory.ForgetUsage(ctx, before, most)
}

var errAway = errors.New("connection refused")

func (s *store) Load(ctx context.Context, id string) (apikey.Record, error) {
	s.loads.Add(1)
	if s.away.Load() {
		return apikey.Record{}, errors.Join(apikey.ErrUnavailable, errAway)
	}
	r, err := s.Memory.Load(ctx, id)
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after != nil {
		after(&r, &err)
	}
	return r, err
}

func (s *store) onLoad(f func(*apikey.Record, *error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

func (s *store) AddUsage(ctx context.Context, batch string, rows []apikey.UsageRow) error {
	s.mu.Lock()
	usage := s.usage
	s.mu.Unlock()
	if usage != nil {
		if err := usage(rows); err != nil {
			if s.takes.Load() {
				_ = s.Memory.AddUsage(ctx, batch, rows)
			}
			return err
		}
		if s.sink.Load() {
			return nil
		}
	}
	return s.Memory.AddUsage(ctx, batch, rows)
}

func (s *store) onUsage(f func([]apikey.UsageRow) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage = f
}

// rig is an instance with all that is around it.
type rig struct {
	*apikey.Keys
	t     *testing.T
	store *store
	shelf *apikeytest.Shelf // nil: no shared tier
	clock *clock.Fake
	meter *meter.Set
}

// newRig returns an instance whose store has one client. It does not run yet.
func newRig(t *testing.T, shelf *apikeytest.Shelf) *rig {
	t.Helper()
	m, err := apikey.NewMemory(nil, []apikey.Client{apikeytest.Client(1)})
	if err != nil {
		t.Fatal(err)
	}
	return rigOn(t, &store{Memory: m}, shelf)
}

// rigWith is newRig with other options.
func rigWith(t *testing.T, change func(*apikey.Options)) *rig {
	t.Helper()
	m, err := apikey.NewMemory(nil, []apikey.Client{apikeytest.Client(1)})
	if err != nil {
		t.Fatal(err)
	}
	return rigOf(t, &store{Memory: m}, nil, change)
}

func rigOn(t *testing.T, s *store, shelf *apikeytest.Shelf) *rig {
	return rigOf(t, s, shelf, func(*apikey.Options) {})
}

func rigOf(t *testing.T, s *store, shelf *apikeytest.Shelf, change func(*apikey.Options)) *rig {
	r := &rig{t: t, store: s, shelf: shelf, clock: clock.NewFake(now)}
	r.meter = meter.NewSet(r.clock.Now)
	o := apikey.Options{
		Store: r.store, StaleLimit: 15 * time.Minute, Clock: r.clock, Meter: r.meter, Log: zerolog.Nop(),
	}
	if shelf != nil {
		o.Shared = shelf
	}
	change(&o)
	r.Keys = apikey.New(o)
	return r
}

// run runs the instance until the test or the returned function ends it.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	r.t.Cleanup(stop)
	r.eventually("the store is watched", func() bool {
		return r.count("gateway_api_key_resyncs_total") >= 1 && (r.shelf == nil || r.count("gateway_api_key_resyncs_total") >= 2)
	})
	return stop
}

func (r *rig) create(n apikey.NewKey) (string, apikey.Key) {
	r.t.Helper()
	if n.Client == "" && n.User == "" {
		n.Client = apikeytest.Client(1).ID
	}
	if n.Scopes == nil {
		n.Scopes = []string{"courses"}
	}
	secret, key, err := r.Create(r.t.Context(), n)
	if err != nil {
		r.t.Fatal(err)
	}
	return secret, key
}

// wants checks the key and compares the outcome.
func (r *rig) wants(key string, want error) {
	r.t.Helper()
	got, err := r.Check([]byte(key), anywhere)
	if !errors.Is(err, want) || (err == nil) != (got != nil) {
		r.t.Fatalf("got %v and error %v, want error %v", got, err, want)
	}
}

// eventually polls.
func (r *rig) eventually(what string, is func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(apikeytest.Patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

// settled waits until that many pushes came, and nothing is owed to the shared tier:
// whoever changes a key hears
// of it from itself, from the store, and from the shared tier if there is one.
func (r *rig) settled(pushes uint64) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d pushes", pushes), func() bool {
		return r.count("gateway_api_key_pushes_total") >= pushes && apikey.Owed(r.Keys) == 0
	})
}

// count is the value of a counter.
func (r *rig) count(name string, labels ...meter.Label) uint64 {
	return r.meter.Counter(name, "", labels...).Value()
}

func (r *rig) outcome(of, outcome string) uint64 {
	return r.count("gateway_api_key_"+of+"_total", meter.Label{Name: "outcome", Value: outcome})
}

func (r *rig) refused(reason string) uint64 {
	return r.count("gateway_api_key_refused_total", meter.Label{Name: "reason", Value: reason})
}
