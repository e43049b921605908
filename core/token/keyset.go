package token

import (
	"context"
	"crypto"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
)

// The pace at which the key set of a foreign issuer is fetched: never twice within
// fetchPause, whatever tokens name, and again after refreshEvery without a reason.
const (
	fetchPause   = 30 * time.Second
	refreshEvery = 5 * time.Minute
)

// keySet is the public keys of one foreign issuer: never of two, for one of them
// could sign as the other (SECURITY I2).
type keySet struct {
	issuer     string // name, for logs
	algorithms []string
	fetcher    *fetcher
	clock      clock.Clock
	log        zerolog.Logger

	known   atomic.Pointer[map[string]*verificationKey] // nil until the first good answer; run writes, requests read
	fetched atomic.Int64                                // Mono of the last good answer; 0: none
	wanted  chan struct{}                               // a token named a kid that is not known
	good    atomic.Int64
	bad     atomic.Int64
	failing string // what the last fetch failed with, so that it is logged once; run's own
}

func newKeySet(f Foreign, c clock.Clock, log zerolog.Logger) (*keySet, error) {
	fetcher, err := newFetcher(f)
	if err != nil {
		return nil, err
	}
	return &keySet{
		issuer: f.Name, algorithms: f.Algorithms, fetcher: fetcher, clock: c,
		log: log.With().Str("issuer", f.Name).Logger(), wanted: make(chan struct{}, 1),
	}, nil
}

// count shows how the set fares.
func (s *keySet) count(m *meter.Set, name string) []func() {
	l := meter.Label{Name: "issuer", Value: name}
	result := func(r string) meter.Label { return meter.Label{Name: "result", Value: r} }
	const help = "Fetches of the key sets of foreign issuers."
	return []func(){
		m.Gauge("gateway_jwks_age_seconds", "Time since the key set of a foreign issuer was last fetched.", s.age, l),
		m.CounterFunc("gateway_jwks_fetches_total", help, func() float64 { return float64(s.good.Load()) }, l, result("ok")),
		m.CounterFunc("gateway_jwks_fetches_total", help, func() float64 { return float64(s.bad.Load()) }, l, result("failed")),
	}
}

// age is the seconds since the last good answer, or since the clock began.
func (s *keySet) age() float64 { return time.Duration(s.clock.Mono() - s.fetched.Load()).Seconds() }

// key returns the key of a kid. One that is not known is refused at once, and asks
// for the set to be fetched: nothing waits, and a flood of such asks once.
func (s *keySet) key(kid string) (*verificationKey, error) {
	known := s.known.Load()
	if known == nil {
		return nil, fmt.Errorf("%w: the key set of issuer %s was never fetched", ErrUnavailable, s.issuer)
	}
	if k := (*known)[kid]; k != nil {
		return k, nil
	}
	select {
	case s.wanted <- struct{}{}:
	default:
	}
	return nil, refused("no key of its issuer has its kid")
}

// run fetches the set until ctx is done: at the start, when a kid is asked for, and
// every few minutes. An issuer that is away keeps its last good keys.
func (s *keySet) run(ctx context.Context) {
	timer := s.clock.NewTimer(fetchPause)
	defer timer.Stop()
	for {
		good := s.fetch(ctx)
		timer.Reset(fetchPause)
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		if !good {
			continue // as often as it may be asked at all
		}
		timer.Reset(refreshEvery - fetchPause)
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		case <-s.wanted:
		}
	}
}

// fetch fetches the set once and takes it over if it is one.
func (s *keySet) fetch(ctx context.Context) (good bool) {
	text, err := s.fetcher.fetch(ctx)
	if err == nil {
		err = s.take(text)
	}
	switch {
	case err == nil:
		s.good.Add(1)
		if s.failing != "" {
			s.log.Info().Msg("the key set can be fetched again")
		}
		s.failing = ""
	case ctx.Err() == nil:
		s.bad.Add(1)
		if s.failing != err.Error() {
			s.log.Warn().Err(err).Msg("the key set can't be fetched; the last good one stays in use")
		}
		s.failing = err.Error()
	}
	return err == nil
}

// take reads a key set and takes it over. A set without a key that can be used is
// believed: its issuer may have withdrawn all of them.
func (s *keySet) take(text string) error {
	keys, passed, err := parseKeySet(text, s.algorithms)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		s.log.Warn().Int("passed_over", passed).Msg("the key set holds no key that can be used")
	}
	s.replace(keys)
	return nil
}

// replace takes over a set. A key that stays the same is the same key still, so
// that what it verified stays known; one that is gone or another is withdrawn.
func (s *keySet) replace(keys map[string]*verificationKey) {
	before := s.known.Load()
	if before != nil {
		for id, k := range keys {
			if old := (*before)[id]; old != nil && old.same(k) {
				keys[id] = old
			}
		}
	}
	s.known.Store(&keys)
	s.fetched.Store(s.clock.Mono())
	if before == nil {
		return
	}
	for id, old := range *before {
		if keys[id] != old {
			old.withdrawn.Store(true)
		}
	}
}

// same says whether two keys verify the same.
func (k *verificationKey) same(o *verificationKey) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.algorithm == o.algorithm && public.Equal(o.public)
}
